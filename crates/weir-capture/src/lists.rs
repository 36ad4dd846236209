//! Lists as Istio writes them: members with commas between them, `*` for all.
//!
//! What is read here ends in the text of rules, so that nothing is taken that is not exactly what it should be.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

/// The longest name that the kernel takes for an interface.
const LONGEST_INTERFACE: usize = 15;

/// Why a list is not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ListError {
    /// A member is nothing that such a list may have.
    #[error("{0:?} is no {1}")]
    Member(String, &'static str),
    /// `*` stands beside others.
    #[error("`*` means all, and has nothing beside it")]
    AllAndOthers,
    /// `*` where all cannot be meant.
    #[error("`*` would be all: name those that are meant")]
    All,
}

/// All there are, or some.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection<T> {
    /// `*`.
    All,
    /// These; none of them, none at all.
    Only(BTreeSet<T>),
}

impl<T> Default for Selection<T> {
    fn default() -> Self {
        Self::Only(BTreeSet::new())
    }
}

impl<T: Ord> Selection<T> {
    /// Reads a list in which `*` is all.
    pub(crate) fn read(written: &str, member: impl Fn(&str) -> Result<T, ListError>) -> Result<Self, ListError> {
        match members(written).collect::<Vec<_>>().as_slice() {
            ["*"] => Ok(Self::All),
            several if several.contains(&"*") => Err(ListError::AllAndOthers),
            several => several.iter().map(|text| member(text)).collect::<Result<_, _>>().map(Self::Only),
        }
    }
}

/// Reads a list that may not be all.
pub(crate) fn some<T: Ord>(written: &str, member: impl Fn(&str) -> Result<T, ListError>) -> Result<BTreeSet<T>, ListError> {
    members(written).map(|text| if text == "*" { Err(ListError::All) } else { member(text) }).collect()
}

fn members(written: &str) -> impl Iterator<Item = &str> {
    written.split(',').map(str::trim).filter(|text| !text.is_empty())
}

/// A port.
pub(crate) fn port(text: &str) -> Result<u16, ListError> {
    text.parse().ok().filter(|port| *port != 0).ok_or_else(|| ListError::Member(text.to_owned(), "port: ports are 1 to 65535"))
}

/// The number of a user or a group.
pub(crate) fn id(text: &str) -> Result<u32, ListError> {
    text.parse().map_err(|_| ListError::Member(text.to_owned(), "number of a user or a group"))
}

/// A range of addresses; an address is the range of itself.
pub(crate) fn range(text: &str) -> Result<IpNet, ListError> {
    let alone = || text.parse::<IpAddr>().ok().map(IpNet::from);
    let range = text.parse::<IpNet>().ok().or_else(alone);
    range.map(|range| range.trunc()).ok_or_else(|| ListError::Member(text.to_owned(), "range of addresses such as 10.0.0.0/8"))
}

/// The name of an interface, or with `+` at its end of all that begin so.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Interface(String);

impl Interface {
    /// The loopback interface.
    pub(crate) fn loopback() -> Self {
        Self("lo".to_owned())
    }

    /// What its name begins with, if that is all that is said.
    pub(crate) fn prefix(&self) -> Option<&str> {
        self.0.strip_suffix('+')
    }
}

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Interface {
    type Err = ListError;

    fn from_str(text: &str) -> Result<Self, ListError> {
        let name = text.strip_suffix('+').unwrap_or(text);
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':' | b'@');
        match (1..=LONGEST_INTERFACE).contains(&name.len()) && name.bytes().all(is_plain) {
            true => Ok(Self(text.to_owned())),
            false => Err(ListError::Member(text.to_owned(), "name of an interface")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_as_istio_writes_it() {
        let read = |written: &str| Selection::read(written, port);
        let only = |ports: &[u16]| Ok(Selection::Only(ports.iter().copied().collect()));
        for (written, expected) in [
            ("", only(&[])),
            (" , ", only(&[])),
            ("80", only(&[80])),
            ("443, 80,", only(&[80, 443])),
            ("*", Ok(Selection::All)),
            ("*,80", Err(ListError::AllAndOthers)),
            ("0", Err(ListError::Member("0".to_owned(), "port: ports are 1 to 65535"))),
            ("80-90", Err(ListError::Member("80-90".to_owned(), "port: ports are 1 to 65535"))),
            ("65536", Err(ListError::Member("65536".to_owned(), "port: ports are 1 to 65535"))),
        ] {
            assert_eq!(read(written), expected, "{written:?}");
        }
        assert_eq!(some("*", port), Err(ListError::All));
        assert_eq!(some("80", port), Ok([80].into()));
    }

    #[test]
    fn a_range_has_the_address_that_it_begins_with() {
        let read = |text: &str| range(text).map(|range| range.to_string()).ok();
        for (text, expected) in [
            ("10.1.2.3/8", Some("10.0.0.0/8")),
            ("10.1.2.3", Some("10.1.2.3/32")),
            ("fd00::1", Some("fd00::1/128")),
            ("::/0", Some("::/0")),
            ("10.0.0.0/33", None),
            ("shop.test", None),
            ("10.0.0.0/8 drop", None),
        ] {
            assert_eq!(read(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn an_interface_is_a_name_and_nothing_else() {
        for good in ["eth0", "net1.100", "veth-a_b", "tap+", "a@b"] {
            assert!(good.parse::<Interface>().is_ok(), "{good}");
        }
        for bad in ["", "+", "a b", "eth0\"", "a;drop", "a\n", "a/b", "sixteen-letters-", "a+b", "é"] {
            assert!(bad.parse::<Interface>().is_err(), "{bad}");
        }
    }
}
