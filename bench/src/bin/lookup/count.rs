//! How many instructions something takes, counted by valgrind's callgrind: the same number on any day.

use std::process::Command;

use anyhow::{Context, ensure};

use crate::kinds::Kind;

/// Instructions of one lookup.
///
/// # Errors
/// If callgrind cannot be run, or says something else than expected.
pub(crate) fn instructions(kind: Kind, size: u32, often: u32) -> anyhow::Result<f64> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--collect-atstart=no", "--toggle-collect=lookup::measured"])
        .arg(std::env::current_exe()?)
        .args(["--only", kind.name(), &size.to_string(), &often.to_string()])
        .output()
        .context("valgrind cannot be run")?;
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "callgrind failed: {told}");
    let total = told.lines().find_map(|line| line.split_once("Collected :")).context("callgrind told no number")?.1;
    let total: f64 = total.trim().parse().with_context(|| format!("callgrind told no number but {total}"))?;
    ensure!(total > 0.0, "callgrind saw no lookup");
    Ok(total / f64::from(often))
}
