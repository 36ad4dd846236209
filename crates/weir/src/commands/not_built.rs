//! The commands over a cluster, in a `weir` that is built without them.

use std::process::ExitCode;

use anyhow::bail;

use crate::cli::{CheckArgs, InstallArgs, UninstallArgs};

pub(crate) fn install(_: &InstallArgs) -> anyhow::Result<ExitCode> {
    refuse()
}

pub(crate) fn upgrade(_: &InstallArgs) -> anyhow::Result<ExitCode> {
    refuse()
}

pub(crate) fn uninstall(_: &UninstallArgs) -> anyhow::Result<ExitCode> {
    refuse()
}

pub(crate) fn check(_: &CheckArgs) -> anyhow::Result<ExitCode> {
    refuse()
}

fn refuse() -> anyhow::Result<ExitCode> {
    bail!("this weir is built without Kubernetes: build it with `cargo build -p weir --features kubernetes`")
}
