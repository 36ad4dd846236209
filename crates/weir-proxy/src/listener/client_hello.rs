//! The first message of a TLS client, as far as a filter chain is chosen by it (RFC 8446, 4.1.2 and 5.1; RFC 6066, 3; RFC 7301, 3.1).
//!
//! Older clients than the library speaks with are read as well: who passes TLS on does not ask for its version, and who ends it says
//! why it does not speak it.

use std::borrow::Cow;

const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
/// No record is longer.
const MAX_RECORD: usize = (1 << 14) + 2048;
const SERVER_NAME: u16 = 0;
const HOST_NAME: u8 = 0;
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

/// Reads the first bytes of a connection.
pub(super) fn read(bytes: &[u8]) -> Read {
    let Some((message, may_go_on)) = records(bytes) else { return Read::Other };
    let more = if may_go_on { Read::Begun } else { Read::Other };
    let mut reader = Reader(&message);
    match reader.byte() {
        Some(CLIENT_HELLO) => {}
        Some(_) => return Read::Other,
        None => return more,
    }
    let Some(length) = reader.take(3).map(|length| length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte))) else { return more };
    match reader.take(length) {
        Some(body) => hello(body).map_or(Read::Other, Read::Whole),
        None => more,
    }
}

/// What stands in the records, and whether there may be more of it; none if these are none.
fn records(bytes: &[u8]) -> Option<(Cow<'_, [u8]>, bool)> {
    let mut message = Cow::Borrowed(&[][..]);
    let mut rest = Reader(bytes);
    while let Some(kind) = rest.byte() {
        let major = rest.byte();
        if kind != HANDSHAKE || major.is_some_and(|major| major != 3) {
            // What follows a whole message is not looked at.
            return (!message.is_empty()).then_some((message, false));
        }
        let Some(length) = rest.byte().and_then(|_| rest.two()) else { return Some((message, true)) };
        let length = usize::from(length);
        if length == 0 || length > MAX_RECORD {
            return None;
        }
        let part = rest.take(length.min(rest.0.len()))?;
        match message.is_empty() {
            true => message = Cow::Borrowed(part),
            false => message.to_mut().extend_from_slice(part),
        }
    }
    Some((message, true))
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
    while !extensions.0.is_empty() {
        let (kind, content) = (extensions.two()?, extensions.list()?);
        match kind {
            SERVER_NAME => found.server_name = server_name(content)?,
            ALPN => found.protocols = protocols(content)?,
            _ => {}
        }
    }
    Some(found)
}

/// The first name of a host.
fn server_name(content: &[u8]) -> Option<Option<String>> {
    let mut names = Reader(Reader(content).list()?);
    while !names.0.is_empty() {
        let (kind, name) = (names.byte()?, names.list()?);
        if kind == HOST_NAME {
            return Some(Some(std::str::from_utf8(name).ok().filter(|name| name.is_ascii())?.to_ascii_lowercase()));
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
        let name_of = |host: &str| match read(&record(&message(&[name(host)]))) {
            Read::Whole(hello) => hello.server_name,
            _ => None,
        };
        assert_eq!(name_of("192.0.2.1").as_deref(), Some("192.0.2.1"));
        assert_eq!(name_of("ü.test"), None);
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
