//! What of a request is compared with texts, so that many texts can be looked up at once.

use std::borrow::Cow;
use std::net::IpAddr;

use smallvec::SmallVec;
use weir_xds::prost_types::value::Kind;

use super::address::Which;
use super::facts::Facts;
use super::principal::namespaces;
use crate::condition::Subject as HeaderSubject;
use crate::metadata_match::at;

/// How much of a value is compared with a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Whole,
    Begin,
    End,
}

/// What is compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Subject {
    /// The path, without its query.
    Path,
    /// The values of a header.
    Header(HeaderSubject),
    /// The same in lower case.
    FoldedHeader(HeaderSubject),
    /// The names of the client's certificate.
    Principal,
    /// The namespaces in these names.
    Namespace,
    /// The server name of the TLS handshake.
    ServerName,
    /// A value that a filter has left, or the items of a list.
    Metadata(Box<str>, Box<[Box<str>]>),
    /// The port that the client connected to, as two bytes.
    Port,
    /// The first so many bits of an address of one family, as its bytes, all other bits of which are 0.
    Network { which: Which, is_v4: bool, length: u8 },
}

impl Subject {
    /// How well it tells policies apart: the lowest best.
    pub(super) fn rank(&self) -> u8 {
        match self {
            Self::Path | Self::Principal | Self::Metadata(..) => 0,
            Self::Header(HeaderSubject::Method | HeaderSubject::Scheme) => 5,
            Self::Header(_) | Self::FoldedHeader(_) => 1,
            Self::Namespace | Self::ServerName => 2,
            Self::Network { which: Which::Local, .. } | Self::Port => 4,
            Self::Network { is_v4, length, .. } => {
                if *length == if *is_v4 { 32 } else { 128 } {
                    1
                } else {
                    3
                }
            }
        }
    }

    /// Whether one of the values satisfies a test; which is asked for all of them until one does.
    pub(super) fn any(&self, facts: &Facts<'_>, test: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        match self {
            Self::Path => facts.path().is_some_and(|path| test(path.as_bytes())),
            Self::Header(subject) => facts.request.is_some_and(|head| subject.values(&head).iter().any(|value| test(value))),
            Self::FoldedHeader(subject) => facts.request.is_some_and(|head| subject.values(&head).iter().any(|value| test(&folded(value)))),
            Self::Principal => facts.connection.peer.is_some_and(|peer| peer.names().any(|name| test(name.as_bytes()))),
            Self::Namespace => {
                let names = facts.connection.peer.into_iter().flat_map(|peer| peer.names());
                names.flat_map(namespaces).any(|namespace| test(namespace.as_bytes()))
            }
            Self::ServerName => test(facts.connection.server_name.as_bytes()),
            Self::Metadata(namespace, path) => match facts.metadata.get(&**namespace).and_then(|fields| at(fields, path)) {
                Some(Kind::StringValue(text)) => test(text.as_bytes()),
                Some(Kind::ListValue(list)) => {
                    list.values.iter().any(|value| matches!(&value.kind, Some(Kind::StringValue(text)) if test(text.as_bytes())))
                }
                _ => false,
            },
            Self::Port => test(&facts.connection.local.port().to_be_bytes()),
            Self::Network { which, is_v4, length } => {
                let address = which.of(facts);
                address.is_ipv4() == *is_v4 && test(&first_bits(address, *length))
            }
        }
    }
}

/// The network of so many bits that an address is in, as its bytes.
fn first_bits(address: IpAddr, length: u8) -> SmallVec<[u8; 16]> {
    match address {
        IpAddr::V4(address) => {
            let others = u32::MAX.checked_shr(length.into()).unwrap_or_default();
            SmallVec::from_slice(&(address.to_bits() & !others).to_be_bytes())
        }
        IpAddr::V6(address) => {
            let others = u128::MAX.checked_shr(length.into()).unwrap_or_default();
            SmallVec::from_slice(&(address.to_bits() & !others).to_be_bytes())
        }
    }
}

fn folded(value: &[u8]) -> Cow<'_, [u8]> {
    if value.iter().any(u8::is_ascii_uppercase) { Cow::Owned(value.to_ascii_lowercase()) } else { Cow::Borrowed(value) }
}
