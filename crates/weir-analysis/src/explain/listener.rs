//! The listener that takes a connection.

use std::net::IpAddr;

use weir_xds::listener::Listener;
use weir_xds::values::to_socket_addr;

use super::answer::{Answer, Error};
use super::call::{Call, Direction, UNKNOWN_ADDRESS};

/// Takes what was meant for other addresses, where traffic is intercepted.
const VIRTUAL_OUTBOUND: &str = "virtualOutbound";
const VIRTUAL_INBOUND: &str = "virtualInbound";

/// The listener for the address and port; else the one for all addresses and the port; else the one for all that is
/// intercepted.
pub(super) fn find<'l>(listeners: &'l [Listener], call: &Call, answer: &mut Answer) -> Result<&'l Listener, Error> {
    let at = |ip: IpAddr| {
        let found = |listener: &&Listener| {
            let address = listener.address.as_ref().and_then(to_socket_addr);
            address.is_some_and(|address| address.port() == call.port && address.ip() == ip && faces(listener, call))
        };
        listeners.iter().find(found)
    };
    let any: IpAddr = if call.address.is_ipv6() { [0_u16; 8].into() } else { [0_u8; 4].into() };
    let named = |name: &str| listeners.iter().find(|listener| listener.name == name);
    let destination = call.destination();
    let (listener, why) = if call.direction == Direction::Inbound && named(VIRTUAL_INBOUND).is_some() {
        (named(VIRTUAL_INBOUND), "takes all that is sent to the workload".to_owned())
    } else if let Some(listener) = at(call.address) {
        (Some(listener), format!("takes connections to {destination}"))
    } else if let Some(listener) = at(any) {
        (Some(listener), format!("takes connections to port {} of every address", call.port))
    } else if let Some(listener) = listeners.iter().find(|listener| call.address == UNKNOWN_ADDRESS && is_at(listener, call.port)) {
        // Nobody said which address; who can reach it knows one.
        (Some(listener), format!("takes connections to port {} of its own address", call.port))
    } else {
        let virtual_outbound = if call.direction == Direction::Inbound { None } else { named(VIRTUAL_OUTBOUND) };
        (virtual_outbound, format!("takes what no other listener does; none is for {destination}"))
    };
    let Some(listener) = listener else {
        answer.step("no listener", format!("nothing listens at {destination}"));
        return Err(Error::NoListener);
    };
    answer.listener = Some(listener.name.clone());
    answer.step(format!("listener {}", listener.name), why);
    Ok(listener)
}

/// Whether a listener has a port, and is opened: one that is not is for other addresses than those of clients.
fn is_at(listener: &Listener, port: u16) -> bool {
    let address = listener.address.as_ref().and_then(to_socket_addr);
    address.is_some_and(|address| address.port() == port) && listener.bind_to_port != Some(false)
}

/// Whether a listener is on the side that the call comes to.
fn faces(listener: &Listener, call: &Call) -> bool {
    use weir_xds::core::TrafficDirection;
    match call.direction {
        Direction::Inbound => listener.traffic_direction() == TrafficDirection::Inbound,
        Direction::Auto | Direction::Outbound | Direction::Gateway => true,
    }
}
