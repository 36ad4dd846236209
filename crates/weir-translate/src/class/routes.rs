//! Route configurations, put together of virtual hosts whose routes are encoded already: byte for byte what they would be
//! if they were encoded as a whole.

use std::sync::Arc;

use weir_xds::resource::ResourceType;
use weir_xds::route::{RouteConfiguration, VirtualHost};
use weir_xds::{Any, Message, Name};

use super::Encoded;
use super::lists::List;
use crate::virtual_host::{Hosts, configuration};

/// The number of `RouteConfiguration.virtual_hosts`.
const VIRTUAL_HOSTS: u8 = 2;

/// The route configuration of a name.
pub(super) fn encode(name: &str, hosts: Hosts<List>) -> Arc<Encoded> {
    // Fields are written by their numbers: the name before the hosts, all else after them.
    let mut rest = configuration(name, vec![]);
    let begin = RouteConfiguration { name: std::mem::take(&mut rest.name), ..Default::default() };
    let mut buffer = begin.encode_to_vec();
    for host in hosts.named {
        // Likewise: name and domains, routes, all else.
        let (mut end, routes) = host.split();
        let (name, domains) = (std::mem::take(&mut end.name), std::mem::take(&mut end.domains));
        let (begin, end) = (VirtualHost { name, domains, ..Default::default() }.encode_to_vec(), end.encode_to_vec());
        put_key(&mut buffer, VIRTUAL_HOSTS, begin.len() + routes.len() + end.len());
        buffer.extend_from_slice(&begin);
        buffer.extend_from_slice(routes.bytes());
        buffer.extend_from_slice(&end);
    }
    if let Some(host) = &hosts.rest {
        put_field(&mut buffer, VIRTUAL_HOSTS, &host.encode_to_vec());
    }
    buffer.extend_from_slice(&rest.encode_to_vec());
    let body = Any { type_url: RouteConfiguration::type_url(), value: buffer.into() };
    Arc::new(Encoded { kind: ResourceType::Route, name: name.into(), body, endpoints: None })
}

/// Writes a field that holds bytes.
pub(super) fn put_field(buffer: &mut Vec<u8>, number: u8, content: &[u8]) {
    put_key(buffer, number, content.len());
    buffer.extend_from_slice(content);
}

fn put_key(buffer: &mut Vec<u8>, number: u8, length: usize) {
    const LENGTH_DELIMITED: u8 = 2;
    const CONTINUES: u8 = 0x80;
    buffer.push(number << 3 | LENGTH_DELIMITED);
    let mut rest = length;
    while rest >= usize::from(CONTINUES) {
        buffer.push((rest % usize::from(CONTINUES)) as u8 | CONTINUES);
        rest /= usize::from(CONTINUES);
    }
    buffer.push(rest as u8);
}
