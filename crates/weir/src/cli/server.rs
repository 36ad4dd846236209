//! Where a pilot serves xDS.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use weir_ads::grpc::socket_path;

/// An address, or the path of a Unix socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum XdsAddress {
    /// `IP:PORT`
    Tcp(SocketAddr),
    /// `unix:PATH`
    Unix(PathBuf),
}

impl FromStr for XdsAddress {
    type Err = String;

    fn from_str(written: &str) -> Result<Self, String> {
        match socket_path(written) {
            Some("") => Err("a path is missing behind `unix:`".to_owned()),
            // A name of the abstract namespace is open to every user of this machine.
            Some(path) if path.starts_with('@') => Err("`unix:@` has no file that could be protected: certificates pass there".to_owned()),
            Some(path) => Ok(Self::Unix(path.into())),
            None => written.parse().map(Self::Tcp).map_err(|_| "is neither IP:PORT nor unix:PATH".to_owned()),
        }
    }
}

/// As it is written.
impl fmt::Display for XdsAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_at_an_address_or_at_a_path() {
        let cases = [
            ("127.0.0.1:15010", Ok(XdsAddress::Tcp(([127, 0, 0, 1], 15010).into()))),
            ("unix:/run/xds", Ok(XdsAddress::Unix("/run/xds".into()))),
            ("unix:///run/xds", Ok(XdsAddress::Unix("/run/xds".into()))),
            ("unix:xds", Ok(XdsAddress::Unix("xds".into()))),
            ("unix:", Err("a path is missing behind `unix:`".to_owned())),
            ("unix:@xds", Err("`unix:@` has no file that could be protected: certificates pass there".to_owned())),
            ("unix://@xds", Err("`unix:@` has no file that could be protected: certificates pass there".to_owned())),
            ("localhost", Err("is neither IP:PORT nor unix:PATH".to_owned())),
        ];
        for (written, wanted) in cases {
            assert_eq!(written.parse::<XdsAddress>(), wanted, "{written}");
        }
    }
}
