//! The programs that a mesh consists of.

use std::env;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Names the Envoy to test with.
const ENVOY: &str = "WEIR_TEST_ENVOY";

/// The `weir` binary, built as the test itself is.
///
/// Cargo builds a package's binaries for that package's own tests only, so it is asked once here: otherwise a test would
/// run whatever was left from an earlier build. While tests run, cargo does not hold the lock of the target folder.
pub(crate) fn weir() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let test = env::current_exe().expect("a test knows where it is");
        // target/PROFILE/deps/TEST
        let profile = test.parent().and_then(Path::parent).expect("a test is in a target folder");
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "--package", "weir", "--manifest-path"]);
        build
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.toml"))
            .arg("--target-dir")
            .arg(profile.parent().expect("a profile is in a target folder"));
        if cfg!(feature = "kubernetes") {
            build.args(["--features", "kubernetes"]);
        }
        if profile.ends_with("release") {
            build.arg("--release");
        } else if !profile.ends_with("debug") {
            build.arg("--profile").arg(profile.file_name().expect("a profile has a name"));
        }
        let status = build.status().expect("cargo can be started");
        assert!(status.success(), "weir cannot be built: {status}");
        profile.join("weir")
    })
}

/// The Envoy of this machine. Without one there is nothing to compare with, which must not go unseen: it is said on
/// standard error, where the test harness does not swallow it, and it fails a test in CI.
pub(crate) fn envoy() -> Option<&'static Path> {
    static FOUND: OnceLock<Option<PathBuf>> = OnceLock::new();
    let found = FOUND.get_or_init(|| named().or_else(in_path));
    if found.is_none() {
        let _ = writeln!(io::stderr(), "\nNOT TESTED OVER ENVOY: there is none in PATH; {ENVOY} may name one\n");
        assert!(env::var_os("CI").is_none_or(|ci| ci != "true"), "CI must test over Envoy");
    }
    found.as_deref()
}

fn named() -> Option<PathBuf> {
    let named = PathBuf::from(env::var_os(ENVOY).filter(|path| !path.is_empty())?);
    assert!(named.is_file(), "{ENVOY} names {}, which is no file", named.display());
    Some(named)
}

fn in_path() -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|folder| folder.join("envoy")).find(|candidate| candidate.is_file())
}
