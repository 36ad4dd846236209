//! Rules of Gateway.

use super::checker::Checker;
use super::hosts::{self, Reader};
use super::{server_tls, values};
use crate::resources::Gateway;
use crate::resources::gateway::{Port, Server, ServerTlsSettings};
use crate::resources::protocol::Protocol;

/// Checks a Gateway of that name.
pub(super) fn check(c: &mut Checker<'_>, name: &str, gateway: &Gateway) {
    if !name.is_empty() && !hosts::is_label(name) {
        let message = format!("`{name}` is not possible as the name of a Gateway");
        c.field("metadata", |c| {
            c.field("name", |c| c.error_help(message, "letters, digits and `-`: VirtualServices take a dot for a domain"))
        });
    }
    c.field("spec", |c| {
        if gateway.servers.is_empty() {
            c.error_help("the Gateway opens nothing", "add `servers`");
        }
        c.each("servers", &gateway.servers, check_server);
        check_together(c, &gateway.servers);
    });
}

fn check_server(c: &mut Checker<'_>, server: &Server) {
    if server.hosts.is_empty() {
        c.error_help("the server has no hosts", "add `hosts`; `*` means any");
    }
    c.each("hosts", &server.hosts, |c, host| hosts::check_namespaced(c, host, Reader::Gateway));
    c.field("hosts", |c| {
        for (index, host) in server.hosts.iter().enumerate().filter(|(index, host)| server.hosts[..*index].contains(host)) {
            c.item(index, |c| c.warn(format!("`{host}` stands twice")));
        }
    });
    match &server.port {
        Some(port) => c.field("port", |c| check_port(c, port, &server.bind)),
        None => c.error_help("the port is missing", "add `port` with `number`, `name` and `protocol`"),
    }
    check_bind(c, server);
    c.some("tls", &server.tls, server_tls::check);
    if let Some(protocol) = server.port.as_ref().and_then(Port::protocol) {
        check_tls_fits(c, protocol, server.tls.as_ref());
    }
    if !server.default_endpoint.is_empty() {
        c.field("defaultEndpoint", |c| c.warn_help("`defaultEndpoint` is not carried out", "add a VirtualService for the hosts"));
    }
}

fn check_port(c: &mut Checker<'_>, port: &Port, bind: &str) {
    if port.protocol.is_empty() {
        c.error_help("the protocol is missing", "add `protocol`, such as HTTP, HTTPS, TLS or TCP");
    } else if port.protocol().is_none() {
        c.field("protocol", |c| values::unknown_protocol(c, &port.protocol));
    }
    if port.number > 0 || !bind.starts_with(values::UNIX) {
        c.field("number", |c| values::check_port(c, port.number));
    }
    if port.target_port > 0 {
        c.field("targetPort", |c| c.error_help("`targetPort` has no effect on a Gateway", "leave it away: the Gateway's Service has it"));
    }
    if port.name.is_empty() {
        c.error_help("the port has no name", "add `name`");
    }
}

fn check_bind(c: &mut Checker<'_>, server: &Server) {
    if server.bind.is_empty() {
        return;
    }
    c.field("bind", |c| match server.bind.strip_prefix(values::UNIX) {
        Some(path) => values::check_socket(c, path),
        None => values::check_ip(c, &server.bind),
    });
    if let Some(port) = server.port.as_ref().filter(|port| port.number != 0 && server.bind.starts_with(values::UNIX)) {
        let message = format!("a socket in the file system has no port {}", port.number);
        c.field("port", |c| c.field("number", |c| c.error_help(message, "write 0")));
    }
}

fn check_tls_fits(c: &mut Checker<'_>, protocol: Protocol, tls: Option<&ServerTlsSettings>) {
    let name = protocol.name();
    match tls {
        None if protocol.is_tls() => c.error_help(format!("a server for {name} needs TLS settings"), "add `tls` with a `mode`"),
        Some(tls) if protocol.is_http() => {
            // Only the redirect to https makes sense here.
            let own = !tls.server_certificate.is_empty() || !tls.private_key.is_empty() || !tls.ca_certificates.is_empty();
            if own || !tls.mode.is_passthrough() {
                c.field("tls", |c| {
                    c.error_help(format!("{name} is plain text, so it has no certificates"), "choose HTTPS as the protocol")
                });
            }
        }
        Some(tls) if !protocol.is_tls() => {
            c.field("tls", |c| c.error_help(format!("{name} is without TLS"), "choose TLS or HTTPS as the protocol"));
            if tls.https_redirect {
                redirect_without_http(c);
            }
        }
        Some(tls) if tls.https_redirect => redirect_without_http(c),
        _ => {}
    }
}

fn redirect_without_http(c: &mut Checker<'_>) {
    let help = "set it on the server for HTTP, port 80";
    c.field("tls", |c| c.field("httpsRedirect", |c| c.warn_help("only plain HTTP is redirected to https", help)));
}

/// Checks the servers of one Gateway against one another.
fn check_together(c: &mut Checker<'_>, servers: &[Server]) {
    c.field("servers", |c| {
        for (index, server) in servers.iter().enumerate() {
            let Some(port) = &server.port else { continue };
            let earlier = || servers[..index].iter().filter_map(|earlier| earlier.port.as_ref().map(|port| (earlier, port)));
            let same_name = earlier().any(|(_, other)| other.name == port.name && !port.name.is_empty());
            let clash = earlier().find(|(other, other_port)| {
                let same_place = other_port.number == port.number && other.bind == server.bind;
                same_place && other_port.protocol().map(Protocol::is_tls) != port.protocol().map(Protocol::is_tls)
            });
            c.item(index, |c| {
                c.field("port", |c| {
                    if same_name {
                        c.field("name", |c| {
                            c.error_help(format!("a second port `{}`", port.name), "the names of a Gateway's ports differ")
                        });
                    }
                    if let Some((_, other)) = clash {
                        let message = format!("port {} speaks {} already, so this server is not opened", port.number, other.protocol);
                        c.field("protocol", |c| c.warn_help(message, "use another port"));
                    }
                });
            });
        }
    });
}

#[cfg(test)]
mod tests {
    use crate::validate::testing::{check_table, check_within, said_of};

    #[test]
    fn servers_are_complete() {
        check_table("Gateway", &[("selector: {a: b}", &["error: spec"])]);
        check_within(
            "Gateway",
            "servers: [{…}]",
            "servers[0]",
            &[
                ("port: {number: 80, name: a, protocol: HTTP}, hosts: ['*', ns/a.b, './c.d']", &[]),
                ("port: {number: 80, name: a, protocol: http}, hosts: ['*']", &[]),
                ("port: {number: 80, name: a, protocol: HTTP}", &["error: "]),
                ("port: {number: 80, name: a, protocol: HTTP}, hosts: [a]", &["error: .hosts[0]"]),
                ("port: {number: 80, name: a, protocol: HTTP}, hosts: [a.b, a.b]", &["warning: .hosts[1]"]),
                ("hosts: ['*']", &["error: "]),
                ("port: {number: 80, name: a}, hosts: ['*']", &["error: .port"]),
                ("port: {number: 80, name: a, protocol: SPDY}, hosts: ['*']", &["error: .port.protocol"]),
                ("port: {number: 80, protocol: HTTP}, hosts: ['*']", &["error: .port"]),
                ("port: {number: 0, name: a, protocol: HTTP}, hosts: ['*']", &["error: .port.number"]),
                ("port: {number: 80, name: a, protocol: HTTP, targetPort: 8080}, hosts: ['*']", &["error: .port.targetPort"]),
                ("port: {number: 80, name: a, protocol: HTTP}, hosts: ['*'], bind: 10.0.0.1", &[]),
                ("port: {number: 80, name: a, protocol: HTTP}, hosts: ['*'], bind: a.b", &["error: .bind"]),
                ("port: {name: a, protocol: HTTP}, hosts: ['*'], bind: 'unix:///run/a'", &[]),
                ("port: {number: 80, name: a, protocol: HTTP}, hosts: ['*'], bind: 'unix:///run/a'", &["error: .port.number"]),
                (
                    "port: {number: 80, name: a, protocol: HTTP}, hosts: ['*'], defaultEndpoint: '127.0.0.1:80'",
                    &["warning: .defaultEndpoint"],
                ),
            ],
        );
    }

    #[test]
    fn tls_fits_the_protocol() {
        check_within(
            "Gateway",
            "servers: [{port: {number: 80, name: a, protocol: …}, hosts: ['*']}]",
            "servers[0]",
            &[("TCP", &[]), ("TLS", &["error: "]), ("HTTPS", &["error: "])],
        );
        check_within(
            "Gateway",
            "servers: [{port: {number: 80, name: a, protocol: …}, hosts: ['*']}]",
            "servers[0]",
            &[
                ("HTTP}, tls: {httpsRedirect: true", &[]),
                ("HTTP}, tls: {mode: SIMPLE, credentialName: c", &["error: .tls"]),
                ("HTTPS}, tls: {mode: SIMPLE, credentialName: c, httpsRedirect: true", &["warning: .tls.httpsRedirect"]),
                ("TCP}, tls: {mode: SIMPLE, credentialName: c", &["error: .tls"]),
            ],
        );
    }

    #[test]
    fn servers_do_not_clash() {
        let spec = "servers:\n- {port: {number: 80, name: a, protocol: HTTP}, hosts: ['*']}\n- {port: {…}, hosts: [b.c]}";
        check_within(
            "Gateway",
            spec,
            "servers[1]",
            &[
                ("number: 80, name: b, protocol: HTTP", &[]),
                ("number: 81, name: a, protocol: HTTP", &["error: .port.name"]),
                ("number: 80, name: b, protocol: TLS}, tls: {mode: PASSTHROUGH", &["warning: .port.protocol"]),
            ],
        );
    }

    #[test]
    fn names_have_no_dots() {
        let spec = "servers: [{port: {number: 80, name: a, protocol: HTTP}, hosts: ['*']}]";
        assert_eq!(said_of("Gateway", "name: a.b", spec), ["error: metadata.name"]);
    }
}
