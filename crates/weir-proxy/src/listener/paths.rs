//! Listening sockets at paths. All workers accept at one, since the kernel shares none out.

use std::ffi::OsStr;
use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 4096;
/// So often a folder is asked for that another process has, and so long it is waited in between.
const TRIES: (usize, Duration) = (50, Duration::from_millis(10));

/// What tells a file from another that later has its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity(u64, u64);

fn identity(path: &Path) -> Option<Identity> {
    let found = fs::symlink_metadata(path).ok()?;
    Some(Identity(found.dev(), found.ino()))
}

/// Opens a socket at a path, or at a name of the abstract namespace that `@` begins. One that was left behind is replaced. Its file has
/// these permissions, where they are not 0, before anybody can connect.
///
/// # Errors
/// If somebody accepts there, or the system refuses; also where permissions are asked for and there is no file.
pub fn open(path: &Path, mode: u32) -> io::Result<(UnixListener, Option<Identity>)> {
    let bytes = path.as_os_str().as_bytes();
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    if let Some(name) = bytes.strip_prefix(b"@") {
        if mode != 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a name of the abstract namespace has no permissions"));
        }
        // For the system, names of the abstract namespace begin with a zero.
        socket.bind(&SockAddr::unix(OsStr::from_bytes(&[&[0], name].concat()))?)?;
        socket.listen(BACKLOG)?;
        return Ok((socket.into(), None));
    }
    let _folder = lock(path)?;
    if is_left_behind(path)? {
        fs::remove_file(path)?;
    }
    socket.bind(&SockAddr::unix(path)?)?;
    let opened = identity(path).ok_or(io::ErrorKind::NotFound)?;
    // Nobody can connect before it listens.
    if mode != 0 {
        set_mode(path, opened, mode)?;
    }
    socket.listen(BACKLOG)?;
    Ok((socket.into(), Some(opened)))
}

/// Removes a socket, if it is still the one that was opened.
pub fn remove(path: &Path, opened: Identity) {
    let _folder = lock(path);
    if identity(path) == Some(opened) {
        // Somebody else may be faster.
        let _ = fs::remove_file(path);
    }
}

/// Gives the file of a socket that was opened other permissions.
///
/// # Errors
/// If it is not there any more, or the system refuses.
pub fn set_mode(path: &Path, opened: Identity, mode: u32) -> io::Result<()> {
    let gone = || io::Error::new(io::ErrorKind::NotFound, "another file has taken the place of the socket");
    change_mode(path, opened, mode)?.then_some(()).ok_or_else(gone)
}

/// By a descriptor: behind a path there may be another file, or a link to one, at any time. False if there is another.
#[cfg(target_os = "linux")]
fn change_mode(path: &Path, opened: Identity, mode: u32) -> io::Result<bool> {
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::PermissionsExt;

    use rustix::fs::{Mode, OFlags};
    let file: File = rustix::fs::open(path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?.into();
    let found = file.metadata()?;
    if Identity(found.dev(), found.ino()) != opened {
        return Ok(false);
    }
    if found.mode() & 0o7777 == mode {
        return Ok(true);
    }
    fs::set_permissions(format!("/proc/self/fd/{}", file.as_raw_fd()), fs::Permissions::from_mode(mode)).map(|()| true)
}

/// Elsewhere a file cannot be had without opening it.
#[cfg(not(target_os = "linux"))]
fn change_mode(path: &Path, opened: Identity, mode: u32) -> io::Result<bool> {
    use std::os::unix::fs::PermissionsExt;
    if identity(path) != Some(opened) {
        return Ok(false);
    }
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map(|()| true)
}

/// Of what another process does with a file the system tells nothing.
#[expect(clippy::disallowed_methods, reason = "nobody tells of it, and it is short")]
fn wait_a_moment() {
    std::thread::sleep(TRIES.1);
}

/// Keeps other processes of this program out of a path's folder: between a look at a socket and its removal another could open its own.
/// None where the folder cannot be read.
fn lock(path: &Path) -> io::Result<Option<File>> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = match File::open(folder) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Ok(None),
        folder => folder?,
    };
    for _ in 0..TRIES.0 {
        match folder.try_lock() {
            Ok(()) => return Ok(Some(folder)),
            Err(TryLockError::WouldBlock) => wait_a_moment(),
            // Not every file system has locks.
            Err(TryLockError::Error(_)) => return Ok(None),
        }
    }
    Err(io::Error::new(io::ErrorKind::WouldBlock, "another process has locked its folder"))
}

/// Whether there is a socket at which nobody accepts any more. Who has bound one listens a moment later: so it is asked twice.
fn is_left_behind(path: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => {}
        Ok(_) => return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is a file of that name")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    }
    let found = identity(path);
    if !refuses(path)? {
        return Err(io::ErrorKind::AddrInUse.into());
    }
    wait_a_moment();
    if refuses(path)? && identity(path) == found { Ok(true) } else { Err(io::ErrorKind::AddrInUse.into()) }
}

/// Whether a connection to a socket is refused. Where its queue is full nobody is waited for: then it is somebody's.
fn refuses(path: &Path) -> io::Result<bool> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    let connected = socket.connect(&SockAddr::unix(path)?);
    Ok(connected.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixStream;
    use std::sync::mpsc;

    use super::*;

    fn mode_of(path: &Path) -> u32 {
        path.metadata().expect("it is there").permissions().mode() & 0o777
    }

    #[test]
    fn a_name_without_a_file_has_no_permissions() {
        let name = format!("@weir-paths-{}", std::process::id());
        let error = open(Path::new(&name), 0o600).expect_err("there is no file to protect").to_string();
        assert!(error.contains("abstract namespace"), "{error}");
        assert!(open(Path::new(&name), 0).expect("nobody is there").1.is_none());
    }

    #[test]
    fn who_holds_a_path_and_accepts_nobody_is_not_waited_for() {
        let folder = tempfile::tempdir().expect("there is room for a folder");
        let path = folder.path().join("socket");
        let full = Socket::new(Domain::UNIX, Type::STREAM, None).expect("a socket");
        full.bind(&SockAddr::unix(&path).expect("a path")).expect("nobody is there");
        full.listen(0).expect("it listens");
        let _waiting: Vec<Socket> = (0..8)
            .map(|_| {
                let client = Socket::new(Domain::UNIX, Type::STREAM, None).expect("a socket");
                client.set_nonblocking(true).expect("an option");
                let _ = client.connect(&SockAddr::unix(&path).expect("a path"));
                client
            })
            .collect();
        let (done, tried) = mpsc::channel();
        let at = path.clone();
        std::thread::spawn(move || done.send(open(&at, 0).map(drop).map_err(|error| error.kind())));
        assert_eq!(tried.recv_timeout(Duration::from_secs(10)), Ok(Err(io::ErrorKind::AddrInUse)));
        assert!(path.exists());
    }

    #[test]
    fn of_many_who_replace_what_was_left_behind_one_has_it() {
        let folder = tempfile::tempdir().expect("there is room for a folder");
        let path = folder.path().join("socket");
        for _ in 0..10 {
            let _ = fs::remove_file(&path);
            drop(UnixListener::bind(&path).expect("nobody is there"));
            let all: Vec<_> = (0..4)
                .map(|_| {
                    let path = path.clone();
                    std::thread::spawn(move || open(&path, 0o600).ok())
                })
                .collect();
            let opened: Vec<_> = all.into_iter().filter_map(|one| one.join().expect("it ends")).collect();
            assert_eq!(opened.len(), 1);
            assert!(UnixStream::connect(&path).is_ok());
        }
    }

    #[test]
    fn permissions_are_those_of_the_socket_and_of_nothing_in_its_place() {
        let folder = tempfile::tempdir().expect("there is room for a folder");
        let (path, other) = (folder.path().join("socket"), folder.path().join("other"));
        let (_socket, opened) = open(&path, 0o666).expect("nobody is there");
        let opened = opened.expect("a file");
        assert_eq!(mode_of(&path), 0o666);
        set_mode(&path, opened, 0o600).expect("it is there");
        assert_eq!(mode_of(&path), 0o600);
        fs::write(&other, "").expect("there is room");
        fs::remove_file(&path).expect("it is there");
        std::os::unix::fs::symlink(&other, &path).expect("there is room");
        let before = mode_of(&other);
        assert!(set_mode(&path, opened, 0o777).is_err());
        remove(&path, opened);
        assert_eq!(mode_of(&other), before);
        assert!(path.exists());
    }
}
