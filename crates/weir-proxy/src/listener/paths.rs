//! Listening sockets at paths. All workers accept at one, since the kernel shares none out.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use socket2::{Domain, SockAddr, Socket, Type};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 4096;

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
/// If somebody accepts there, or the system refuses.
pub fn open(path: &Path, mode: u32) -> io::Result<(UnixListener, Option<Identity>)> {
    let bytes = path.as_os_str().as_bytes();
    let name = bytes.strip_prefix(b"@");
    // For the system, names of the abstract namespace begin with a zero.
    let address = match name {
        Some(name) => SockAddr::unix(OsStr::from_bytes(&[&[0], name].concat()))?,
        None => SockAddr::unix(path)?,
    };
    let is_file = name.is_none();
    if is_file && is_left_behind(path)? {
        fs::remove_file(path)?;
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address)?;
    if is_file && mode != 0 {
        fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    }
    socket.listen(BACKLOG)?;
    Ok((socket.into(), identity(path).filter(|_| is_file)))
}

/// Removes a socket, if it is still the one that was opened.
pub fn remove(path: &Path, opened: Identity) {
    if identity(path) == Some(opened) {
        // Somebody else may be faster.
        let _ = fs::remove_file(path);
    }
}

/// Whether there is a socket at which nobody accepts any more.
fn is_left_behind(path: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => {}
        Ok(_) => return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is a file of that name")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(true),
        _ => Err(io::ErrorKind::AddrInUse.into()),
    }
}
