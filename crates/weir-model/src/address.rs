//! Addresses as they are compared: one that is written in two ways is one.

use std::net::IpAddr;

/// An address in the one form in which it is compared: an IP address as RFC 5952 writes it, and one of IPv4 that is mapped into IPv6 as of
/// IPv4, since it leads to the same place. Names and paths stay as they are.
pub fn canonical(written: &str) -> String {
    written.parse::<IpAddr>().map_or_else(|_| written.to_owned(), |address| address.to_canonical().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_one_form() {
        for (written, expected) in [
            ("10.0.0.1", "10.0.0.1"),
            ("FD00:0::0A", "fd00::a"),
            ("::ffff:10.0.0.1", "10.0.0.1"),
            ("Reviews.example.com", "Reviews.example.com"),
            ("unix:///run/A.sock", "unix:///run/A.sock"),
            ("10.0.0.01", "10.0.0.01"),
            ("", ""),
        ] {
            assert_eq!(canonical(written), expected);
        }
    }
}
