//! Weir: the pilot that serves the cases, and the proxy that is measured.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use crate::process::{Core, Process};

/// Nothing that would cost a request more than its way: no access log, no traces.
const MESH: &str = "accessLogFile: ''\nenableTracing: false\ndefaultProviders: {}\n";

/// Serves the resources. Who follows it tries again until it listens.
///
/// # Errors
/// If it cannot be started.
pub(crate) fn pilot(binary: &Path, work: &Path, istio: &str, xds: u16) -> anyhow::Result<Process> {
    let (folder, mesh) = (resources(work), work.join("mesh.yaml"));
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("case.yaml"), istio)?;
    fs::write(&mesh, MESH)?;
    let address = format!("127.0.0.1:{xds}");
    let state = state(work);
    let arguments: [&OsStr; 8] = [
        "pilot".as_ref(),
        folder.as_os_str(),
        "--xds".as_ref(),
        address.as_ref(),
        "--mesh-config".as_ref(),
        mesh.as_os_str(),
        "--state".as_ref(),
        state.as_os_str(),
    ];
    Process::start(Core::Others, binary, arguments, work.join("pilot.log"))
}

pub(crate) fn resources(work: &Path) -> PathBuf {
    work.join("resources")
}

/// Where a pilot keeps its root, and the secret by which proxies are certified.
pub(crate) fn state(work: &Path) -> PathBuf {
    work.join("state")
}

/// One worker, as Envoy has, and an admin interface that disturbs nobody.
pub(crate) const ALONE: [&str; 4] = ["--workers", "1", "--admin", "127.0.0.1:0"];

pub(crate) fn arguments(bootstrap: &Path) -> [&OsStr; 7] {
    let [workers, one, admin, address] = ALONE.map(OsStr::new);
    ["proxy".as_ref(), "-c".as_ref(), bootstrap.as_os_str(), workers, one, admin, address]
}
