//! What of a workload's traffic its sidecar gets.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

use crate::lists::{self, Interface, ListError, Selection};

/// Where Istio's sidecars serve what belongs to themselves: metrics and health, which are not the workload's.
const OWN_PORTS: [u16; 3] = [15020, 15021, 15090];
/// The user and the group that Istio's sidecars run as.
const ISTIO_PROXY: u32 = 1337;

/// What is captured, and by whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where the sidecar takes what the workload sends.
    pub outbound_port: u16,
    /// Where it takes what is sent to the workload.
    pub inbound_port: u16,
    /// How it gets there.
    pub mode: Mode,
    /// The routing table for answers to what the sidecar sends in its client's name, where the mode is [`Mode::Transparent`].
    pub route_table: u32,
    /// Where it takes tunnels, which are for it and are never redirected.
    pub tunnel_port: u16,
    /// Where it answers questions of DNS.
    pub dns_port: u16,
    /// The users that the sidecar runs as: what they send is never taken.
    pub proxy_users: BTreeSet<u32>,
    /// The groups that it runs as, likewise.
    pub proxy_groups: BTreeSet<u32>,
    /// The workload's ports that are captured.
    pub inbound_ports: Selection<u16>,
    /// Those that are not.
    pub excluded_inbound_ports: BTreeSet<u16>,
    /// Ports of others that are captured wherever they are.
    pub outbound_ports: BTreeSet<u16>,
    /// Ports of others that are not captured.
    pub excluded_outbound_ports: BTreeSet<u16>,
    /// Addresses of others that are captured.
    pub outbound_ranges: Selection<IpNet>,
    /// Those that are not.
    pub excluded_outbound_ranges: BTreeSet<IpNet>,
    /// Interfaces whose traffic is left alone.
    pub excluded_interfaces: BTreeSet<Interface>,
    /// Interfaces of virtual machines: what comes by them is what the workload sends.
    pub virtual_interfaces: BTreeSet<Interface>,
    /// Whose processes are captured.
    pub owner_groups: Groups,
    /// Which questions of DNS the sidecar gets; none if it gets none.
    pub dns: Option<Dns>,
    /// Whether packets that belong to no connection are dropped, which otherwise reset one.
    pub drop_invalid: bool,
}

/// How what is sent to a workload comes to its sidecar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// With another destination, which the sidecar asks the kernel for. The workload sees the sidecar as its client.
    #[default]
    Redirect,
    /// As it was sent, so that the sidecar can hand it over in its client's name. It needs the right to do so: `CAP_NET_ADMIN`.
    Transparent,
}

/// What is said to be a way of capture and is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no way of capture: REDIRECT or TPROXY is")]
pub struct UnknownMode(String);

impl FromStr for Mode {
    type Err = UnknownMode;

    /// Reads Istio's word for it.
    fn from_str(written: &str) -> Result<Self, UnknownMode> {
        match written {
            "REDIRECT" => Ok(Self::Redirect),
            "TPROXY" => Ok(Self::Transparent),
            other => Err(UnknownMode(other.to_owned())),
        }
    }
}

/// Whose processes are captured, by their group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Groups {
    /// Everybody's but theirs.
    Except(BTreeSet<u32>),
    /// Theirs alone.
    Only(BTreeSet<u32>),
}

/// Which questions of DNS are captured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dns {
    /// All.
    All,
    /// Those to these servers.
    Servers(BTreeSet<IpAddr>),
}

impl Default for Settings {
    /// Everything is captured but DNS, as Istio's injection asks for it.
    fn default() -> Self {
        Self {
            outbound_port: 15001,
            inbound_port: 15006,
            mode: Mode::default(),
            route_table: 133,
            tunnel_port: 15008,
            dns_port: 15053,
            proxy_users: [ISTIO_PROXY].into(),
            proxy_groups: [ISTIO_PROXY].into(),
            inbound_ports: Selection::All,
            excluded_inbound_ports: OWN_PORTS.into(),
            outbound_ports: BTreeSet::new(),
            excluded_outbound_ports: BTreeSet::new(),
            outbound_ranges: Selection::All,
            excluded_outbound_ranges: BTreeSet::new(),
            excluded_interfaces: BTreeSet::new(),
            virtual_interfaces: BTreeSet::new(),
            owner_groups: Groups::Except(BTreeSet::new()),
            dns: None,
            drop_invalid: false,
        }
    }
}

impl Settings {
    /// Users of the sidecar, in a list.
    ///
    /// # Errors
    /// If a member is no number.
    pub fn set_proxy_users(&mut self, written: &str) -> Result<(), ListError> {
        self.proxy_users = lists::some(written, lists::id)?;
        Ok(())
    }

    /// Groups of the sidecar, in a list.
    ///
    /// # Errors
    /// If a member is no number.
    pub fn set_proxy_groups(&mut self, written: &str) -> Result<(), ListError> {
        self.proxy_groups = lists::some(written, lists::id)?;
        Ok(())
    }

    /// `includeInboundPorts`.
    ///
    /// # Errors
    /// If a member is no port.
    pub fn include_inbound_ports(&mut self, written: &str) -> Result<(), ListError> {
        self.inbound_ports = Selection::read(written, lists::port)?;
        Ok(())
    }

    /// `excludeInboundPorts`; the sidecar's own are always left out as well.
    ///
    /// # Errors
    /// If a member is no port.
    pub fn exclude_inbound_ports(&mut self, written: &str) -> Result<(), ListError> {
        self.excluded_inbound_ports.extend(lists::some(written, lists::port)?);
        Ok(())
    }

    /// `includeOutboundPorts`.
    ///
    /// # Errors
    /// If a member is no port.
    pub fn include_outbound_ports(&mut self, written: &str) -> Result<(), ListError> {
        self.outbound_ports = lists::some(written, lists::port)?;
        Ok(())
    }

    /// `excludeOutboundPorts`.
    ///
    /// # Errors
    /// If a member is no port.
    pub fn exclude_outbound_ports(&mut self, written: &str) -> Result<(), ListError> {
        self.excluded_outbound_ports = lists::some(written, lists::port)?;
        Ok(())
    }

    /// `includeOutboundIPRanges`.
    ///
    /// # Errors
    /// If a member is no range of addresses.
    pub fn include_outbound_ranges(&mut self, written: &str) -> Result<(), ListError> {
        self.outbound_ranges = Selection::read(written, lists::range)?;
        Ok(())
    }

    /// `excludeOutboundIPRanges`.
    ///
    /// # Errors
    /// If a member is no range of addresses.
    pub fn exclude_outbound_ranges(&mut self, written: &str) -> Result<(), ListError> {
        self.excluded_outbound_ranges = lists::some(written, lists::range)?;
        Ok(())
    }

    /// `excludeInterfaces`.
    ///
    /// # Errors
    /// If a member is no name of an interface.
    pub fn exclude_interfaces(&mut self, written: &str) -> Result<(), ListError> {
        self.excluded_interfaces = lists::some(written, str::parse)?;
        Ok(())
    }

    /// `kubevirtInterfaces`, by its later name `reroute-virtual-interfaces`.
    ///
    /// # Errors
    /// If a member is no name of an interface.
    pub fn reroute_virtual_interfaces(&mut self, written: &str) -> Result<(), ListError> {
        self.virtual_interfaces = lists::some(written, str::parse)?;
        Ok(())
    }

    /// The groups whose processes are captured, `*` for everybody's.
    ///
    /// # Errors
    /// If a member is no number.
    pub fn include_owner_groups(&mut self, written: &str) -> Result<(), ListError> {
        self.owner_groups = match Selection::read(written, lists::id)? {
            Selection::All => Groups::Except(BTreeSet::new()),
            Selection::Only(groups) => Groups::Only(groups),
        };
        Ok(())
    }

    /// The groups whose processes are not captured.
    ///
    /// # Errors
    /// If a member is no number.
    pub fn exclude_owner_groups(&mut self, written: &str) -> Result<(), ListError> {
        self.owner_groups = Groups::Except(lists::some(written, lists::id)?);
        Ok(())
    }
}
