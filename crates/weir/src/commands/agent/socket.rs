//! The socket at which Envoy gets its certificates: nobody but its owner may open it.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::Path;

use tokio::net::UnixListener;

/// Which file is at a path.
pub(super) fn identity_of(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path).ok().map(|found| (found.dev(), found.ino()))
}

/// Whether a socket of ours is there at which nobody listens any more: what an agent leaves that is killed.
fn is_left(path: &Path) -> bool {
    let is_own = |found: fs::Metadata| found.file_type().is_socket() && found.uid() == rustix::process::geteuid().as_raw();
    let refuses = || matches!(UnixStream::connect(path), Err(error) if error.kind() == io::ErrorKind::ConnectionRefused);
    fs::symlink_metadata(path).is_ok_and(is_own) && refuses()
}

/// A socket that only its owner may open. One that an earlier agent left is taken away, and nothing else.
pub(super) fn bind(path: &Path) -> io::Result<UnixListener> {
    use rustix::fs::Mode;
    if is_left(path) {
        fs::remove_file(path)?;
    }
    let before = rustix::process::umask(Mode::RWXG | Mode::RWXO | Mode::XUSR);
    let listener = UnixListener::bind(path);
    rustix::process::umask(before);
    listener
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_a_socket_that_an_agent_left_is_taken_away() {
        let folder = tempfile::tempdir().unwrap();
        let (left, file, taken) = (folder.path().join("left"), folder.path().join("file"), folder.path().join("taken"));
        drop(bind(&left).unwrap());
        assert!(left.exists() && bind(&left).is_ok());
        fs::write(&file, "kept").unwrap();
        assert!(bind(&file).is_err());
        assert_eq!(fs::read_to_string(&file).unwrap(), "kept");
        let _listening = bind(&taken).unwrap();
        let before = identity_of(&taken);
        assert!(bind(&taken).is_err());
        assert_eq!(identity_of(&taken), before);
    }
}
