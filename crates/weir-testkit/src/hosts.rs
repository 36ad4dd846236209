//! Hosts that only the processes of one mesh know, as if a server of DNS did: their `/etc/hosts` is another file, in a mount namespace
//! of their own.

use std::env;
use std::fs;
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// What a program is started by: the two files of the folder take the place of the system's, and then it is the program.
const SCRIPT: &str = r#"mount --bind "$0/hosts" /etc/hosts && mount --bind "$0/resolv.conf" /etc/resolv.conf && exec "$@""#;

/// Whether a process may have hosts of its own here. Where it may not, that is said, and it fails a test in CI.
pub fn can_be_named() -> bool {
    let found = unshare().is_some();
    if !found {
        let _ = writeln!(io::stderr(), "\nNOT TESTED WITH NAMES: unshare may not make a mount namespace here\n");
        assert!(env::var_os("CI").is_none_or(|ci| ci != "true"), "CI must test with names");
    }
    found
}

/// Writes the hosts that the processes of a folder are to know.
pub(crate) fn write(work: &Path, hosts: &[(&str, IpAddr)]) {
    let lines: String = hosts.iter().map(|(name, address)| format!("{address} {name}\n")).collect();
    fs::write(work.join("hosts"), format!("127.0.0.1 localhost\n{lines}")).expect("a file can be written");
    // Nobody answers there, and says so at once.
    fs::write(work.join("resolv.conf"), "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n").expect("a file can be written");
}

/// The words that begin the command of a process of this folder; none if the folder has no hosts.
pub(crate) fn namespace(work: &Path) -> Option<Vec<String>> {
    if !work.join("hosts").is_file() {
        return None;
    }
    let unshare = unshare().expect("who names hosts has looked whether that is possible");
    let script = ["sh".to_owned(), "-c".to_owned(), SCRIPT.to_owned(), work.display().to_string()];
    Some(unshare.iter().map(|word| (*word).to_owned()).chain(script).collect())
}

/// How a mount namespace is made: by root, or by somebody who is root in a namespace of users.
fn unshare() -> Option<&'static [&'static str]> {
    static FOUND: OnceLock<Option<&'static [&'static str]>> = OnceLock::new();
    const WAYS: [&[&str]; 2] = [&["unshare", "--mount"], &["unshare", "--map-root-user", "--mount"]];
    let works = |words: &&&[&str]| {
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).args(["sh", "-c", "mount --bind /etc/hosts /etc/hosts"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    };
    *FOUND.get_or_init(|| WAYS.iter().find(works).copied())
}
