//! Listening on the wire, as whoever sits between two machines can.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use weir_capture::namespace;

/// All protocols, see packet(7).
const ETH_P_ALL: u16 = 3;
/// How long a frame is waited for before it is looked whether it is enough.
const PATIENCE: Duration = Duration::from_millis(20);
/// The longest frame there can be, as far as the kernel has put several together.
const LONGEST: usize = 1 << 17;
/// Two addresses of the link layer: those of loopback are zero.
const ADDRESSES: usize = 12;

/// What passes in a network namespace, frame by frame.
pub struct Wire {
    enough: Arc<AtomicBool>,
    listening: JoinHandle<Vec<Vec<u8>>>,
}

impl Wire {
    /// Listens in the namespace of a file, but not to what it says to itself.
    ///
    /// # Panics
    /// If it cannot.
    pub fn open(path: &Path) -> Self {
        let (path, enough) = (path.to_owned(), Arc::new(AtomicBool::new(false)));
        let (ready, is_ready) = std::sync::mpsc::sync_channel(1);
        let told = enough.clone();
        let listening = thread::spawn(move || {
            namespace::enter(&path).expect("a test's namespace can be entered");
            let socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(i32::from(ETH_P_ALL.to_be()))));
            let socket = socket.expect("root may listen");
            socket.set_read_timeout(Some(PATIENCE)).expect("a socket can be told how long to wait");
            ready.send(()).expect("the test waits");
            frames(socket, &told)
        });
        is_ready.recv().expect("the listener is ready");
        Self { enough, listening }
    }

    /// Ends listening, and gives back every frame.
    ///
    /// # Panics
    /// If listening has failed.
    pub fn heard(self) -> Vec<Vec<u8>> {
        self.enough.store(true, Ordering::Relaxed);
        self.listening.join().expect("who listens does not fail")
    }
}

/// Reads until it is enough and nothing more is there.
fn frames(mut socket: Socket, enough: &AtomicBool) -> Vec<Vec<u8>> {
    let (mut frames, mut frame) = (vec![], vec![0; LONGEST]);
    loop {
        match socket.read(&mut frame) {
            Ok(length) => {
                let frame = &frame[..length];
                if frame.iter().take(ADDRESSES).any(|byte| *byte != 0) {
                    frames.push(frame.to_vec());
                }
            }
            Err(_) if enough.load(Ordering::Relaxed) => return frames,
            Err(_) => {}
        }
    }
}
