//! Route configurations, put together of virtual hosts whose routes are encoded already: byte for byte what they would be
//! if they were encoded as a whole.

use std::sync::Arc;

use weir_xds::core::{AggregatedConfigSource, ApiVersion, ConfigSource, Metadata, config_source::ConfigSourceSpecifier};
use weir_xds::resource::{ResourceType, virtual_host_name};
use weir_xds::route::{RouteConfiguration, Vhds, VirtualHost};
use weir_xds::values::{set_metadata, text};
use weir_xds::{Any, Message, Name};

use super::Encoded;
use super::lists::List;
use crate::virtual_host::{Host, Hosts, configuration};

/// The number of `RouteConfiguration.virtual_hosts`.
const VIRTUAL_HOSTS: u8 = 2;

/// A virtual host but for its routes, encoded: what stands before them, and what stands behind.
pub(super) struct Frame {
    begin: Vec<u8>,
    end: Vec<u8>,
}

impl Frame {
    /// That of a virtual host, and its routes.
    pub fn of(host: Host<List>) -> (Self, List) {
        // Fields are written by their numbers: name and domains, routes, all else.
        let (mut end, routes) = host.split();
        let (name, domains) = (std::mem::take(&mut end.name), std::mem::take(&mut end.domains));
        let begin = VirtualHost { name, domains, ..Default::default() };
        (Self { begin: begin.encode_to_vec(), end: end.encode_to_vec() }, routes)
    }

    fn len(&self, routes: &List) -> usize {
        self.begin.len() + routes.len() + self.end.len()
    }

    fn put(&self, buffer: &mut Vec<u8>, routes: &List) {
        buffer.extend_from_slice(&self.begin);
        buffer.extend_from_slice(routes.bytes());
        buffer.extend_from_slice(&self.end);
    }

    /// A route configuration that has this virtual host alone.
    pub fn encode_alone(&self, configuration_name: &str, routes: &List) -> Arc<Encoded> {
        let hosts = |buffer: &mut Vec<u8>| {
            put_key(buffer, VIRTUAL_HOSTS, self.len(routes));
            self.put(buffer, routes);
        };
        let body = body(configuration(configuration_name, vec![]), hosts);
        Encoded::packed(ResourceType::Route, configuration_name.into(), body)
    }

    /// The virtual host as a resource of its own.
    pub fn encode(&self, name: Arc<str>, routes: &List) -> Arc<Encoded> {
        let mut buffer = Vec::with_capacity(self.len(routes));
        self.put(&mut buffer, routes);
        Encoded::packed(ResourceType::VirtualHost, name, Any { type_url: VirtualHost::type_url(), value: buffer.into() })
    }
}

/// The route configuration of a name.
pub(super) fn encode(name: &str, hosts: Hosts<List>) -> Arc<Encoded> {
    let rest = RouteConfiguration { ignore_port_in_host_matching: !hosts.heeds_ports, ..configuration(name, vec![]) };
    let body = body(rest, |buffer| put_hosts(buffer, hosts));
    Encoded::packed(ResourceType::Route, name.into(), body)
}

/// What of a route configuration stays in it when virtual hosts are resources of their own: what is for any host, and what
/// holds for the table.
pub(super) fn encode_rest(name: &str, hosts: Hosts<List>) -> Arc<Encoded> {
    let source = ConfigSource {
        resource_api_version: ApiVersion::V3.into(),
        config_source_specifier: Some(ConfigSourceSpecifier::Ads(AggregatedConfigSource {})),
        ..Default::default()
    };
    let mut metadata = Metadata::default();
    // Other servers send virtual hosts when a request asks for them; here all of them come.
    set_metadata(&mut metadata, "weir", "virtual_hosts", text("all"));
    let vhds = Some(Vhds { config_source: Some(source) });
    let ignore_port_in_host_matching = !hosts.heeds_ports;
    let rest = RouteConfiguration { vhds, metadata: Some(metadata), ignore_port_in_host_matching, ..configuration(name, vec![]) };
    let (kind, body) = (ResourceType::Route, body(rest, |buffer| put_hosts(buffer, hosts)));
    Arc::new(Encoded { kind, name: name.into(), body, endpoints: None, is_divided: true, port: None })
}

/// The name of a virtual host that is a resource of its own.
pub(super) fn name_of(configuration: &str, host: &Host<List>) -> Arc<str> {
    virtual_host_name(configuration, &host.name).into()
}

fn body(mut rest: RouteConfiguration, put_hosts: impl FnOnce(&mut Vec<u8>)) -> Any {
    // Fields are written by their numbers: the name before the hosts, all else after them.
    let begin = RouteConfiguration { name: std::mem::take(&mut rest.name), ..Default::default() };
    let mut buffer = begin.encode_to_vec();
    put_hosts(&mut buffer);
    buffer.extend_from_slice(&rest.encode_to_vec());
    Any { type_url: RouteConfiguration::type_url(), value: buffer.into() }
}

fn put_hosts(buffer: &mut Vec<u8>, hosts: Hosts<List>) {
    for host in hosts.named {
        let (frame, routes) = Frame::of(host);
        put_key(buffer, VIRTUAL_HOSTS, frame.len(&routes));
        frame.put(buffer, &routes);
    }
    for host in &hosts.rest {
        put_field(buffer, VIRTUAL_HOSTS, &host.encode_to_vec());
    }
}

/// Writes a field that holds bytes.
pub(super) fn put_field(buffer: &mut Vec<u8>, number: u8, content: &[u8]) {
    put_key(buffer, number, content.len());
    buffer.extend_from_slice(content);
}

/// Fields that hold bytes, and were written one after the other, each with its key.
pub(super) fn fields(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let digits = bytes.get(1..)?.iter().position(|byte| byte & CONTINUES == 0)? + 1;
        let digit = |length: usize, byte: &u8| length << 7 | usize::from(byte & !CONTINUES);
        let length = bytes.get(1..=digits)?.iter().rev().fold(0, digit);
        let (field, rest) = bytes.split_at_checked(1 + digits + length)?;
        bytes = rest;
        Some(field)
    })
}

/// In a byte of a length: that another one follows.
const CONTINUES: u8 = 0x80;

fn put_key(buffer: &mut Vec<u8>, number: u8, length: usize) {
    const LENGTH_DELIMITED: u8 = 2;
    buffer.push(number << 3 | LENGTH_DELIMITED);
    let mut rest = length;
    while rest >= usize::from(CONTINUES) {
        buffer.push((rest % usize::from(CONTINUES)) as u8 | CONTINUES);
        rest /= usize::from(CONTINUES);
    }
    buffer.push(rest as u8);
}
