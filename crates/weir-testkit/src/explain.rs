//! The same question to `weir explain`, which knows the files only.

use std::fs;
use std::process::Command;

use crate::binaries;
use crate::config::Layout;
use crate::mesh::{lay_out, resources_of};

/// What `weir explain --calls` answers for a proxy: a line of JSON for each call, which is one, too.
///
/// # Panics
/// If it does not answer.
pub fn explain(layout: Layout, mesh_config: &str, resources: &[(&str, &str)], proxy: &str, calls: &str) -> Vec<String> {
    let work = lay_out(layout, mesh_config, resources);
    let file = |name: &str, text: &str| {
        let path = work.path().join(name);
        fs::write(&path, text).expect("a file can be written");
        path
    };
    let (proxy, calls) = (file("proxy.json", proxy), file("calls.json", calls));
    let mut command = Command::new(binaries::weir());
    command.arg("explain").arg("-f").arg(resources_of(work.path())).arg("--mesh-config").arg(work.path().join("mesh.yaml"));
    command.arg("--proxy").arg(proxy).arg("--calls").arg(calls);
    let output = command.output().expect("weir can be started");
    assert!(output.status.success(), "weir explain: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}
