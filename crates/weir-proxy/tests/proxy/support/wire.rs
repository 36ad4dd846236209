//! A side of a conversation, byte for byte.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// What has not happened by then will not.
const DEADLINE: Duration = Duration::from_secs(20);

/// Waits, but not for ever.
pub(crate) async fn in_time<T>(what: &str, happens: impl Future<Output = T>) -> T {
    timeout(DEADLINE, happens).await.unwrap_or_else(|_| panic!("not within {DEADLINE:?}: {what}"))
}

/// An instance: the test answers each connection itself.
pub(crate) struct Upstream {
    listener: TcpListener,
}

impl Upstream {
    /// Listens, at a port of its own.
    pub(crate) async fn start() -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").await.unwrap() }
    }

    /// Whether nobody has come whom it did not accept.
    pub(crate) fn was_left_alone(self) -> bool {
        // Asked of the system: the runtime may not know yet.
        let listener = self.listener.into_std().unwrap();
        matches!(listener.accept(), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
    }

    /// Listens there.
    pub(crate) async fn at(address: SocketAddr) -> Self {
        Self { listener: TcpListener::bind(address).await.unwrap() }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    /// Answers every request on every connection, on threads of its own: whatever else a test does, it does not wait.
    pub(crate) fn answer_all(self, answer: &'static [u8]) {
        let listener = self.listener.into_std().unwrap();
        listener.set_nonblocking(false).unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                std::thread::spawn(move || {
                    let mut heard = vec![];
                    let mut room = [0; 4096];
                    while let Ok(length @ 1..) = stream.read(&mut room) {
                        heard.extend_from_slice(&room[..length]);
                        if heard.ends_with(b"\r\n\r\n") {
                            heard.clear();
                            let _ = stream.write_all(answer);
                        }
                    }
                });
            }
        });
    }

    /// The next connection that the proxy makes.
    pub(crate) async fn accept(&self) -> Wire {
        Wire::new(in_time("a connection comes", self.listener.accept()).await.unwrap().0)
    }
}

/// One end of a connection.
pub(crate) struct Wire<S = TcpStream> {
    stream: BufReader<S>,
}

impl Wire {
    pub(super) async fn connect(address: SocketAddr) -> Self {
        Self::new(TcpStream::connect(address).await.unwrap())
    }

    /// Its address.
    pub(crate) fn local_address(&self) -> SocketAddr {
        self.stream.get_ref().local_addr().unwrap()
    }

    /// Goes away as a process does that is killed.
    pub(crate) fn reset(self) {
        let stream = self.stream.into_inner();
        let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream: BufReader::new(stream) }
    }

    /// Says this.
    pub(crate) async fn say(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// Says this, which need not be text.
    pub(crate) async fn say_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// Says this, or as much of it as anybody takes.
    pub(crate) async fn say_or_end(&mut self, text: &str) {
        if self.stream.write_all(text.as_bytes()).await.is_err() {
            // The other side has gone: there is nothing more to say.
            std::future::pending().await
        }
    }

    /// Has said all that it will say.
    pub(crate) async fn finish(&mut self) {
        self.stream.shutdown().await.unwrap();
    }

    /// Says so much that the other side takes no more of it for now, and leaves it at that.
    pub(crate) async fn say_until_nobody_reads(&mut self) {
        let much = vec![b'x'; 64 << 10];
        while let Ok(said) = timeout(Duration::from_millis(200), self.stream.write(&much)).await {
            said.unwrap();
        }
    }

    /// Hears a head: its lines, the first as it is, the headers in order of their names.
    pub(crate) async fn head(&mut self) -> Vec<String> {
        let mut lines = vec![];
        loop {
            let mut line = String::new();
            let length = in_time("a head comes", self.stream.read_line(&mut line)).await.unwrap();
            assert!(length > 0, "the connection ended within a head: {lines:?}");
            match line.trim_end() {
                "" => break,
                line => lines.push(line.to_owned()),
            }
        }
        lines[1..].sort();
        lines
    }

    /// Hears so many bytes, whatever they are; none if it ends before.
    pub(crate) async fn skip(&mut self, count: usize) -> Option<()> {
        self.stream.read_exact(&mut vec![0; count]).await.ok().map(drop)
    }

    /// Hears one line; none if nothing comes any more.
    pub(crate) async fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let length = self.stream.read_line(&mut line).await.unwrap_or_default();
        (length > 0).then(|| line.trim_end().to_owned())
    }

    /// Hears exactly this.
    pub(crate) async fn hears(&mut self, text: &str) {
        let mut bytes = vec![0; text.len()];
        in_time(text, self.stream.read_exact(&mut bytes)).await.unwrap_or_else(|error| panic!("{error} instead of {text:?}"));
        assert_eq!(String::from_utf8_lossy(&bytes), text);
    }

    /// Hears the status of an answer, and its headers.
    pub(crate) async fn answer(&mut self) -> (String, Vec<String>) {
        let mut lines = self.head().await;
        let status = lines.remove(0);
        (status, lines)
    }

    /// Waits until the other side is gone, however it went; returns what it said before.
    pub(crate) async fn end(&mut self) -> String {
        let mut rest = vec![];
        let _ = in_time("the connection ends", self.stream.read_to_end(&mut rest)).await;
        String::from_utf8_lossy(&rest).into_owned()
    }

    pub(super) fn get_ref(&self) -> &S {
        self.stream.get_ref()
    }

    /// The connection itself, for another protocol. Nothing must have been heard on it.
    pub(crate) fn into_stream(self) -> S {
        self.stream.into_inner()
    }
}
