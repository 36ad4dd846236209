//! The first message of a TLS client, as far as a filter chain is chosen by it (RFC 8446, 4.1.2 and 5.1; RFC 6066, 3; RFC 7301, 3.1).
//!
//! Older clients than the library speaks with are read as well: who passes TLS on does not ask for its version, and who ends it says
//! why it does not speak it.

const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
/// What stands before the content of a record.
const HEADER: usize = 5;
/// No record is longer.
const MAX_RECORD: usize = (1 << 14) + 2048;
const SERVER_NAME: u16 = 0;
const HOST_NAME: u8 = 0;
/// No name of a host is longer.
const MAX_NAME: usize = 255;
const ALPN: u16 = 16;

/// What a client says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ClientHello {
    /// The server that it asks for, in lower case.
    pub server_name: Option<String>,
    /// What it offers by ALPN.
    pub protocols: Vec<Vec<u8>>,
}

/// What was read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// All of it.
    Whole(ClientHello),
    /// The beginning.
    Begun,
    /// Something else.
    Other,
}

/// Reads the first bytes of a connection as they come. Each is looked at once, however they are cut: a client that sends them one by
/// one, each in a record of its own, makes no more work than others.
#[derive(Debug, Default)]
pub(super) struct Reading {
    /// How many bytes have been looked at.
    at: usize,
    /// How many of the record that has begun are to come.
    left: usize,
    /// What stood in the records.
    message: Vec<u8>,
}

impl Reading {
    /// What is known now that these are the first bytes, of which those that were given before are the beginning.
    pub fn read(&mut self, bytes: &[u8]) -> Read {
        loop {
            if let Some(known) = whole(&self.message) {
                return known;
            }
            let rest = bytes.get(self.at..).unwrap_or_default();
            if self.left > 0 {
                let part = rest.get(..self.left).unwrap_or(rest);
                if part.is_empty() {
                    return Read::Begun;
                }
                self.message.extend_from_slice(part);
                (self.at, self.left) = (self.at + part.len(), self.left - part.len());
                continue;
            }
            match header(rest) {
                Some(Ok(length)) => (self.at, self.left) = (self.at + HEADER, length),
                Some(Err(NoRecord)) => return Read::Other,
                None => return Read::Begun,
            }
        }
    }
}

struct NoRecord;

/// How much stands in the record that begins here; none if more bytes are needed.
fn header(bytes: &[u8]) -> Option<Result<usize, NoRecord>> {
    let mut reader = Reader(bytes);
    if reader.byte()? != HANDSHAKE || reader.byte().is_some_and(|major| major != 3) {
        return Some(Err(NoRecord));
    }
    reader.byte()?;
    let length = usize::from(reader.two()?);
    Some(if length == 0 || length > MAX_RECORD { Err(NoRecord) } else { Ok(length) })
}

/// What a message says; none if its end is missing.
fn whole(message: &[u8]) -> Option<Read> {
    let mut reader = Reader(message);
    if reader.byte()? != CLIENT_HELLO {
        return Some(Read::Other);
    }
    let length = reader.take(3)?.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
    let body = reader.take(length)?;
    Some(hello(body).map_or(Read::Other, Read::Whole))
}

fn hello(body: &[u8]) -> Option<ClientHello> {
    let mut body = Reader(body);
    // The version, and random bytes.
    body.take(2 + 32)?;
    // The session, the cipher suites, the compressions.
    let session = body.byte()?;
    body.take(session.into())?;
    body.list()?;
    let compressions = body.byte()?;
    body.take(compressions.into())?;
    let mut found = ClientHello::default();
    if body.0.is_empty() {
        return Some(found);
    }
    let mut extensions = Reader(body.list()?);
    let (mut has_name, mut has_protocols) = (false, false);
    while !extensions.0.is_empty() {
        let (kind, content) = (extensions.two()?, extensions.list()?);
        // Twice the same is refused by who ends TLS: who passes it on must not go by another one than that.
        match kind {
            SERVER_NAME if std::mem::replace(&mut has_name, true) => return None,
            SERVER_NAME => found.server_name = server_name(content)?,
            ALPN if std::mem::replace(&mut has_protocols, true) => return None,
            ALPN => found.protocols = protocols(content)?,
            _ => {}
        }
    }
    Some(found)
}

/// The first name of a host; none if no host can have it. It goes into logs and to filters as it is, so that it is no line's end and no
/// quote.
fn server_name(content: &[u8]) -> Option<Option<String>> {
    let mut names = Reader(Reader(content).list()?);
    while !names.0.is_empty() {
        let (kind, name) = (names.byte()?, names.list()?);
        if kind == HOST_NAME {
            let is_of_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._".contains(byte);
            let is_name = (1..=MAX_NAME).contains(&name.len()) && name.iter().all(is_of_name);
            return Some(std::str::from_utf8(name).ok().filter(|_| is_name).map(str::to_ascii_lowercase));
        }
    }
    Some(None)
}

fn protocols(content: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut names = Reader(Reader(content).list()?);
    let mut found = vec![];
    while !names.0.is_empty() {
        let length = names.byte()?;
        found.push(names.take(length.into())?.to_vec());
    }
    Some(found)
}

struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    fn take(&mut self, count: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn two(&mut self) -> Option<u16> {
        self.take(2)?.try_into().ok().map(u16::from_be_bytes)
    }

    /// What stands behind a length of two bytes.
    fn list(&mut self) -> Option<&'b [u8]> {
        let length = self.two()?;
        self.take(length.into())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn list(content: &[u8]) -> Vec<u8> {
        [&u16::try_from(content.len()).unwrap().to_be_bytes()[..], content].concat()
    }

    /// A message with these extensions, in one record; as a client of TLS 1.0 sends it.
    fn message(extensions: &[(u16, Vec<u8>)]) -> Vec<u8> {
        let extensions: Vec<u8> =
            extensions.iter().flat_map(|(kind, content)| [kind.to_be_bytes().to_vec(), list(content)].concat()).collect();
        let body = [&[3, 1][..], &[7; 32], &[0], &list(&[0, 0x2f]), &[1, 0], &list(&extensions)].concat();
        [&[CLIENT_HELLO, 0][..], &list(&body)].concat()
    }

    fn record(content: &[u8]) -> Vec<u8> {
        [&[HANDSHAKE, 3, 1][..], &list(content)].concat()
    }

    fn name(host: &str) -> (u16, Vec<u8>) {
        (SERVER_NAME, list(&[&[HOST_NAME][..], &list(host.as_bytes())].concat()))
    }

    fn read(bytes: &[u8]) -> Read {
        Reading::default().read(bytes)
    }

    #[test]
    fn a_name_that_no_host_can_have_is_none() {
        let name_of = |host: &str| match read(&record(&message(&[name(host), (ALPN, list(b"\x02h2"))]))) {
            Read::Whole(hello) => (hello.server_name, hello.protocols.len()),
            read => panic!("{host}: {read:?}"),
        };
        for host in ["a\n[fake] line", "a\r\nb", "\u{1b}[2J", "a\0b", "a\"b", "a b", "ü.test", "", "a/b", &"a".repeat(256)] {
            assert_eq!(name_of(host), (None, 1), "{host:?}");
        }
        for host in ["a_b.test", "192.0.2.1", "xn--a.test.", &"a".repeat(255)] {
            assert_eq!(name_of(host), (Some(host.to_owned()), 1));
        }
    }

    #[test]
    fn a_message_of_records_of_one_byte_is_looked_at_once() {
        let message = message(&[name("a.test"), (21, vec![0; 9_000])]);
        let bytes: Vec<u8> = message.iter().flat_map(|byte| record(&[*byte])).collect();
        let mut reading = Reading::default();
        for end in 0..bytes.len() {
            let before = reading.at;
            assert_eq!(reading.read(&bytes[..end]), Read::Begun, "{end}");
            assert!(reading.at >= before && end - reading.at < HEADER, "{end}");
        }
        let Read::Whole(hello) = reading.read(&bytes) else { panic!("it is whole") };
        assert_eq!(hello.server_name.as_deref(), Some("a.test"));
    }

    #[test]
    fn an_extension_that_comes_twice_is_refused() {
        for extensions in [[name("a.test"), name("b.test")], [(ALPN, list(b"\x02h2")), (ALPN, list(b"\x02h3"))]] {
            assert_eq!(read(&record(&message(&extensions))), Read::Other);
        }
    }

    #[test]
    fn a_name_and_protocols_are_found_wherever_the_bytes_are_cut() {
        let message = message(&[(10, vec![0, 0]), name("Shop.Test"), (ALPN, list(b"\x02h2\x05istio"))]);
        let wanted = ClientHello { server_name: Some("shop.test".to_owned()), protocols: vec![b"h2".to_vec(), b"istio".to_vec()] };
        let whole = record(&message);
        assert_eq!(read(&whole), Read::Whole(ClientHello { ..wanted }));
        for end in 0..whole.len() {
            assert_eq!(read(&whole[..end]), Read::Begun, "{end}");
        }
        // In two records, with something behind it.
        let (first, second) = message.split_at(20);
        let cut = [record(first), record(second), vec![20, 3, 1, 0, 1, 1]].concat();
        assert_eq!(read(&cut), read(&whole));
    }

    #[test]
    fn what_is_no_first_message_is_none() {
        assert_eq!(read(&record(&message(&[]))), Read::Whole(ClientHello::default()));
        for bytes in [
            &b"GET / HTTP/1.1\r\n\r\n"[..],
            &record(b"hello"),
            &[HANDSHAKE, 2, 0],
            &[HANDSHAKE, 3, 1, 0, 0],
            &[HANDSHAKE, 3, 1, 0xff, 0xff],
        ] {
            assert_eq!(read(bytes), Read::Other, "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_comes_is_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), begins in any::<bool>()) {
            let bytes = if begins { record(&[&[CLIENT_HELLO, 0, 0, 200][..], &bytes].concat()) } else { bytes };
            let _ = read(&bytes);
        }
    }
}
