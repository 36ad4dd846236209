//! Network namespaces, by the names that people have for them.

#[cfg(unix)]
mod held;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

#[cfg(unix)]
pub use held::{Cable, Namespace};

/// The file of a namespace: a path, the number of a process that is in it, or a name as `ip netns` gives it.
pub fn path_of(written: &str) -> PathBuf {
    match written {
        path if path.contains('/') => path.into(),
        process if !process.is_empty() && process.bytes().all(|byte| byte.is_ascii_digit()) => format!("/proc/{process}/ns/net").into(),
        name => Path::new("/run/netns").join(name),
    }
}

/// Moves the calling thread, and the processes that it starts from now on, into the namespace of a file.
///
/// # Errors
/// If there is none, or the user may not.
#[cfg(target_os = "linux")]
pub fn enter(path: &Path) -> io::Result<()> {
    use std::os::fd::AsFd;

    use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

    let file = File::open(path)?;
    Ok(move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?)
}

/// Only Linux has them.
///
/// # Errors
/// Always.
#[cfg(not(target_os = "linux"))]
pub fn enter(path: &Path) -> io::Result<()> {
    File::open(path).and(Err(io::ErrorKind::Unsupported.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_known_by_a_name_a_path_or_a_process() {
        for (written, expected) in
            [("shop", "/run/netns/shop"), ("./shop", "./shop"), ("/proc/self/ns/net", "/proc/self/ns/net"), ("42", "/proc/42/ns/net")]
        {
            assert_eq!(path_of(written), Path::new(expected), "{written}");
        }
    }
}
