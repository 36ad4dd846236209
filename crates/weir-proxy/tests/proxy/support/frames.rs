//! HTTP/2 as it is written, for clients and instances that no library would be.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Proxy, in_time};

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

/// Flags of [`HEADERS`], and of [`DATA`].
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// A frame.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Headers, none of which the other side is to remember.
pub(crate) fn fields(fields: &[(&str, &str)]) -> Vec<u8> {
    let text = |text: &str| {
        let mut length = vec![];
        // Seven bits, and what is beyond them in groups of seven.
        if text.len() < 127 {
            length.push(u8::try_from(text.len()).unwrap());
        } else {
            length.push(127);
            let mut rest = text.len() - 127;
            while rest >= 128 {
                length.push(u8::try_from(rest % 128 + 128).unwrap());
                rest /= 128;
            }
            length.push(u8::try_from(rest).unwrap());
        }
        length.extend(text.as_bytes());
        length
    };
    fields.iter().flat_map(|(name, value)| [vec![0], text(name), text(value)].concat()).collect()
}

/// What every request says.
pub(crate) fn request(path: &str) -> Vec<u8> {
    fields(&[(":method", "GET"), (":scheme", "http"), (":authority", "shop"), (":path", path)])
}

/// One end of a connection of HTTP/2.
pub(crate) struct Frames {
    stream: TcpStream,
}

impl Frames {
    /// Connects, and says what comes before all requests.
    pub(crate) async fn connect(proxy: &Proxy) -> Self {
        let mut client = Self { stream: TcpStream::connect(proxy.address()).await.unwrap() };
        client.say(&[b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(SETTINGS, 0, 0, b"")].concat()).await;
        client
    }

    /// An instance's end of a connection.
    pub(crate) fn of(stream: TcpStream) -> Self {
        // Small frames go back and forth.
        stream.set_nodelay(true).unwrap();
        Self { stream }
    }

    /// Hears what a client says before its first frame.
    pub(crate) async fn skip_preface(&mut self) {
        in_time("the proxy greets", self.stream.read_exact(&mut [0; 24])).await.unwrap();
    }

    /// Says this, if anybody still hears it.
    pub(crate) async fn say(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes).await;
    }

    /// Hears frames up to the first of this type, which it returns: flags, stream, what it says.
    pub(crate) async fn hear(&mut self, wanted: u8) -> (u8, u32, Vec<u8>) {
        self.heard_or_end(wanted).await.unwrap_or_else(|| panic!("the connection ended before a frame of type {wanted}"))
    }

    /// The same; none if the connection ends before.
    pub(crate) async fn heard_or_end(&mut self, wanted: u8) -> Option<(u8, u32, Vec<u8>)> {
        let heard = async {
            loop {
                let mut head = [0; 9];
                self.stream.read_exact(&mut head).await.ok()?;
                let [a, b, c, kind, flags, stream @ ..] = head;
                let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
                self.stream.read_exact(&mut payload).await.ok()?;
                if kind == wanted {
                    break Some((flags, u32::from_be_bytes(stream), payload));
                }
            }
        };
        in_time("a frame comes", heard).await
    }

    /// Says this again and again, whatever is answered, until the proxy has had enough of it.
    pub(crate) async fn say_until_the_end(self, bytes: &[u8]) {
        let (mut reading, mut writing) = self.stream.into_split();
        let heard = async {
            let mut answers = vec![0; 64 << 10];
            while reading.read(&mut answers).await.is_ok_and(|length| length > 0) {}
        };
        let said = async { while !bytes.is_empty() && writing.write_all(bytes).await.is_ok() {} };
        in_time("the proxy has had enough", async { tokio::join!(heard, said) }).await;
    }
}
