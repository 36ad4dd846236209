//! Conditions on addresses.

use std::net::IpAddr;

use ipnet::IpNet;
use weir_xds::core::CidrRange;

use super::facts::Facts;
use super::subject::Subject;
use crate::error::CompileError;

/// Which address is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    /// The one that the client connected to.
    Local,
    /// Who has connected.
    DirectRemote,
    /// The client, as proxies before this one tell it.
    Remote,
}

impl Which {
    /// That address.
    pub(super) fn of(self, facts: &Facts<'_>) -> IpAddr {
        let address = match self {
            Self::Local => facts.connection.local.ip(),
            Self::DirectRemote => facts.connection.direct_remote,
            Self::Remote => facts.remote,
        };
        address.to_canonical()
    }
}

/// The bytes of an address.
fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// A range that an address must be in.
#[derive(Debug, Clone, Copy)]
pub(super) struct AddressIn {
    which: Which,
    range: IpNet,
}

impl AddressIn {
    pub(super) fn compile(which: Which, range: &CidrRange) -> Result<Self, CompileError> {
        let CidrRange { address_prefix, prefix_len } = range;
        let wrong = || CompileError::new("address_prefix", format!("`{address_prefix}` is no range of addresses"));
        let address: IpAddr = address_prefix.parse().map_err(|_| wrong())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        // As in Envoy a length that is not given is 0, and one that is too great is the greatest.
        let length = u8::try_from(prefix_len.unwrap_or(0).min(most)).map_err(|_| wrong())?;
        let range = IpNet::new(address, length).map_err(|_| wrong())?;
        Ok(Self { which, range: range.trunc() })
    }

    /// Of whose first bits it speaks, and which those must be.
    pub(super) fn network(&self) -> (Subject, Vec<u8>) {
        let network = self.range.network();
        let subject = Subject::Network { which: self.which, is_v4: network.is_ipv4(), length: self.range.prefix_len() };
        (subject, octets(network))
    }

    pub(super) fn holds(&self, facts: &Facts<'_>) -> bool {
        self.range.contains(&self.which.of(facts))
    }
}
