//! Listening sockets: one for each worker on one address, so that the kernel shares connections out.
//!
//! `SO_REUSEPORT`, which makes that possible, would also let two proxies, or another program of the same user,
//! share an address unseen. So each address is claimed first, and a second claim is an error that names both.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use socket2::{Domain, Protocol, Socket, Type};

use super::{holder, paths};
use crate::io::{transparent, unix_socket};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 4096;
/// Where a privileged port is served by a process that may not open it.
const UNPRIVILEGED_OFFSET: u16 = 8000;

/// The listening sockets of one address. They close when the last worker lets go of them.
#[derive(Debug)]
pub struct Bound {
    /// The address that was asked for.
    pub wanted: SocketAddr,
    /// The address that is open: the same, or with another port where the process may not open that one.
    pub address: SocketAddr,
    owner: String,
    /// The file that a path's socket is.
    file: Option<paths::Identity>,
    /// The permissions that it was given last; 0 leaves them.
    mode: AtomicU32,
    transparent: bool,
    sockets: Mutex<Vec<Option<Opened>>>,
}

/// What a listening socket is like.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SocketKind {
    /// The permissions of a path's file; 0 leaves them.
    pub mode: u32,
    /// Whether it takes connections to addresses that are not this machine's, as the kernel hands them over (`IP_TRANSPARENT`). The process
    /// needs `CAP_NET_ADMIN`.
    pub transparent: bool,
}

/// A socket that is open.
#[derive(Debug)]
pub enum Opened {
    /// At an address.
    Tcp(TcpListener),
    /// At a path.
    Unix(UnixListener),
}

impl Bound {
    /// Takes the socket of a worker. Each can be taken once.
    pub fn take(&self, worker: usize) -> Option<Opened> {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner).get_mut(worker)?.take()
    }

    /// Makes the open socket like this: the file of a path's socket gets these permissions, if it has others.
    ///
    /// # Errors
    /// If the file is not there any more, the system refuses, or a socket that is open cannot become like this.
    pub fn become_like(&self, SocketKind { mode, transparent }: SocketKind) -> Result<(), BindError> {
        if transparent != self.transparent {
            let error = io::Error::other("whether it is transparent cannot change while it is open");
            return Err(BindError::Refused { address: self.address, owner: self.owner.clone(), error });
        }
        let Some((path, file)) = unix_socket::path(self.address).zip(self.file) else { return Ok(()) };
        if mode == 0 || self.mode.load(Ordering::Relaxed) == mode {
            return Ok(());
        }
        let refused = |error| BindError::Refused { address: self.address, owner: self.owner.clone(), error };
        paths::set_mode(Path::new(&*path), file, mode).map_err(refused)?;
        self.mode.store(mode, Ordering::Relaxed);
        Ok(())
    }
}

/// A path is free for others when nobody listens there any more.
impl Drop for Bound {
    fn drop(&mut self) {
        if let Some((path, file)) = unix_socket::path(self.address).zip(self.file) {
            paths::remove(Path::new(&*path), file);
        }
    }
}

/// Why an address cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Somebody else has it.
    #[error("{} is taken by {holder}, so {owner} cannot open it", unix_socket::shown(*.address))]
    Taken {
        /// The address.
        address: SocketAddr,
        /// Who has it.
        holder: String,
        /// Who wants it.
        owner: String,
    },
    /// The system refuses.
    #[error("{owner} cannot open {}: {error}", unix_socket::shown(*.address))]
    Refused {
        /// The address.
        address: SocketAddr,
        /// Who wants it.
        owner: String,
        /// The system's reason.
        error: io::Error,
    },
}

/// All listening sockets of this process.
#[derive(Debug)]
pub struct Sockets {
    workers: usize,
    claims: Mutex<HashMap<SocketAddr, Weak<Bound>>>,
}

impl Sockets {
    /// For so many workers.
    pub fn new(workers: usize) -> Self {
        Self { workers, claims: Mutex::default() }
    }

    /// Opens an address for `owner`, which is how errors name it.
    ///
    /// # Errors
    /// If the address is taken, or the system refuses.
    pub fn open(&self, address: SocketAddr, kind: SocketKind, owner: &str) -> Result<Arc<Bound>, BindError> {
        let mut claims = self.claims.lock().unwrap_or_else(PoisonError::into_inner);
        claims.retain(|_, bound| bound.strong_count() > 0);
        if let Some(bound) = claims.get(&address).and_then(Weak::upgrade) {
            return Err(BindError::Taken { address, holder: bound.owner.clone(), owner: owner.to_owned() });
        }
        let bound = match unix_socket::path(address) {
            Some(path) => self.bind_path(&path, kind.mode, address, owner),
            None => self.bind(address, kind.transparent, owner),
        };
        let bound = Arc::new(bound?);
        claims.insert(address, Arc::downgrade(&bound));
        Ok(bound)
    }

    fn bind_path(&self, path: &str, mode: u32, address: SocketAddr, owner: &str) -> Result<Bound, BindError> {
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::AddrInUse => BindError::Taken { address, holder: "another process".to_owned(), owner: owner.to_owned() },
            _ => BindError::Refused { address, owner: owner.to_owned(), error },
        };
        let (first, file) = paths::open(Path::new(path), mode).map_err(failed)?;
        let others = (1..self.workers).map(|_| first.try_clone());
        let others: Vec<UnixListener> = others.collect::<Result<_, _>>().map_err(failed)?;
        let sockets = std::iter::once(first).chain(others).map(|socket| Some(Opened::Unix(socket))).collect();
        let (owner, sockets) = (owner.to_owned(), Mutex::new(sockets));
        Ok(Bound { wanted: address, address, owner, file, mode: mode.into(), transparent: false, sockets })
    }

    fn bind(&self, wanted: SocketAddr, transparent: bool, owner: &str) -> Result<Bound, BindError> {
        let refused = |address, error| BindError::Refused { address, owner: owner.to_owned(), error };
        let mut address = wanted;
        loop {
            match self.bind_all(address, transparent) {
                Ok((address, sockets)) => {
                    let (owner, mode) = (owner.to_owned(), AtomicU32::new(0));
                    return Ok(Bound { wanted, address, owner, file: None, mode, transparent, sockets: Mutex::new(sockets) });
                }
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                    let holder = holder::of(address).unwrap_or_else(|| "another process".to_owned());
                    return Err(BindError::Taken { address, holder, owner: owner.to_owned() });
                }
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied && address.port() < 1024 => {
                    address.set_port(wanted.port() + UNPRIVILEGED_OFFSET);
                    tracing::warn!("{owner}: this process may not open port {}; it is served at {address}", wanted.port());
                }
                Err(error) => return Err(refused(address, error)),
            }
        }
    }

    fn bind_all(&self, address: SocketAddr, transparent: bool) -> io::Result<(SocketAddr, Vec<Option<Opened>>)> {
        probe(address)?;
        let open = |address| open(address, true, transparent);
        let first = open(address)?;
        // Port 0 is a free one, and the same for all workers.
        let address = first.local_addr()?;
        let others = (1..self.workers).map(|_| open(address));
        let sockets = std::iter::once(Ok(first)).chain(others).map(|socket| socket.map(|socket| Some(Opened::Tcp(socket))));
        Ok((address, sockets.collect::<Result<_, _>>()?))
    }
}

/// Fails if anybody accepts at an address, also one who would let others share it. Other addresses of this
/// very process do not count: beside `0.0.0.0:80` it may serve `127.0.0.1:80`.
fn probe(address: SocketAddr) -> io::Result<()> {
    match open(address, false, false) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && holder::is_only_us_elsewhere(address) => Ok(()),
        result => result.map(drop),
    }
}

fn open(address: SocketAddr, share: bool, transparent: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(share)?;
    if address.is_ipv6() {
        // `::` also takes IPv4, as Envoy's `ipv4_compat`.
        socket.set_only_v6(false)?;
    }
    if transparent {
        transparent::set(&socket, address)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    if share {
        socket.listen(BACKLOG)?;
    }
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_claim_names_both() {
        let sockets = Sockets::new(2);
        let bound = sockets.open(([127, 0, 0, 1], 0).into(), SocketKind::default(), "gateway a").expect("a free port");
        let error = sockets.open(bound.address, SocketKind::default(), "sidecar b").expect_err("taken").to_string();
        assert!(error.contains("sidecar b") && (error.contains("gateway a") || error.contains("this process")), "{error}");
    }

    #[test]
    fn an_address_of_another_program_is_not_shared() {
        let other = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = other.local_addr().expect("an address");
        let error = Sockets::new(1).open(address, SocketKind::default(), "gateway a").expect_err("taken").to_string();
        assert!(error.contains("gateway a") && error.contains("process"), "{error}");
    }

    #[test]
    fn each_worker_gets_one_socket_and_the_address_is_free_again_afterwards() {
        let sockets = Sockets::new(2);
        let bound = sockets.open(([127, 0, 0, 1], 0).into(), SocketKind::default(), "a").expect("a free port");
        let address = bound.address;
        assert!(bound.take(0).is_some() && bound.take(1).is_some() && bound.take(0).is_none() && bound.take(2).is_none());
        drop(bound);
        assert!(sockets.open(address, SocketKind::default(), "b").is_ok());
    }

    #[test]
    fn a_path_has_one_socket_for_all_workers_and_one_that_was_left_behind_is_replaced() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("there is room for a folder");
        let path = folder.path().join("socket");
        let address = unix_socket::address(path.to_str().expect("a path of letters"));
        // Who leaves it behind does not remove it.
        drop(UnixListener::bind(&path).expect("nobody is there"));
        let sockets = Sockets::new(2);
        let bound = sockets.open(address, SocketKind { mode: 0o600, transparent: false }, "sidecar a").expect("nobody accepts there");
        assert_eq!(path.metadata().expect("it is there").permissions().mode() & 0o777, 0o600);
        // A change of permissions alone reaches the file; 0 says nothing of them.
        for (asked, wanted) in [(0o660, 0o660), (0, 0o660), (0o600, 0o600)] {
            bound.become_like(SocketKind { mode: asked, transparent: false }).expect("the file is its own");
            assert_eq!(path.metadata().expect("it is there").permissions().mode() & 0o777, wanted, "{asked:o}");
        }
        let taken = [bound.take(0), bound.take(1), bound.take(2)];
        assert_eq!(taken.each_ref().map(Option::is_some), [true, true, false]);
        let error = Sockets::new(1).open(address, SocketKind::default(), "sidecar b").expect_err("somebody accepts there").to_string();
        assert!(error.contains("sidecar b") && error.contains("socket is taken"), "{error}");
        drop((taken, bound));
        assert!(!path.exists());
        std::fs::write(&path, "a file").expect("there is room");
        let error = sockets.open(address, SocketKind::default(), "sidecar a").expect_err("it is somebody's file").to_string();
        assert!(error.contains("there is a file of that name"), "{error}");
        assert!(path.exists());
    }
}
