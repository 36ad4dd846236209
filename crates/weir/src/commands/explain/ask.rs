//! A question as a person writes it: a request as on curl's command line.

use std::net::IpAddr;

use anyhow::{Context, bail};
use http::Uri;
use http::uri::Scheme;
use weir_analysis::explain::{Call, Direction, Protocol, Tls, UNKNOWN_ADDRESS};
use weir_model::{MeshSnapshot, Proxy};
use weir_translate::name_table;
use weir_xds::names::NameTable;

use crate::cli::ExplainArgs;

/// The call of a command line.
///
/// # Errors
/// If its URL or one of its headers is none.
pub(super) fn call(args: &ExplainArgs, mesh: &MeshSnapshot, proxy: &Proxy) -> anyhow::Result<Call> {
    let text = args.url.as_deref().unwrap_or_default();
    let text = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let url: Uri = text.parse().with_context(|| format!("{text} is no URL"))?;
    let authority = url.authority().with_context(|| format!("{text} names no host"))?;
    let host = authority.host();
    let scheme = url.scheme().map_or("http", Scheme::as_str);
    let (protocol, tls, usual_port) = match scheme {
        "http" => (Protocol::Http, Tls::Plaintext, Some(80)),
        "https" => (Protocol::Http, Tls::Tls, Some(443)),
        "grpc" => (Protocol::Http2, Tls::Plaintext, Some(80)),
        "tcp" => (Protocol::Tcp, Tls::Plaintext, None),
        "tls" => (Protocol::Tcp, Tls::Tls, Some(443)),
        _ => bail!("{text}: {scheme} is none of http, https, grpc, tcp and tls"),
    };
    let port = url.port_u16().or(usual_port).with_context(|| format!("{text} names no port"))?;
    let mut call = Call {
        direction: Direction::Auto,
        address: address(host, mesh, proxy, args.dns),
        port,
        protocol,
        tls,
        alpn: None,
        sni: (tls != Tls::Plaintext).then(|| host.to_owned()),
        source: args.source,
        principal: args.principal.clone(),
        host: Some(authority.as_str().to_owned()),
        method: args.method.clone(),
        path: url.path_and_query().map(|path| path.as_str().to_owned()),
        headers: std::collections::BTreeMap::new(),
    };
    for header in &args.headers {
        let (name, value) = header.split_once(':').with_context(|| format!("-H {header:?}: write 'name: value'"))?;
        let (name, value) = (name.trim().to_ascii_lowercase(), value.trim().to_owned());
        match name.as_str() {
            "host" => call.host = Some(value),
            _ => call.headers.entry(name).or_default().push(value),
        }
    }
    Ok(call)
}

/// The address that a client would connect to: that of the service, as DNS would tell it, or the sidecar if that answers.
fn address(host: &str, mesh: &MeshSnapshot, proxy: &Proxy, answers_dns: bool) -> IpAddr {
    let bare = host.trim_matches(['[', ']']);
    if let Ok(ip) = bare.parse() {
        return ip;
    }
    if bare.eq_ignore_ascii_case("localhost") {
        return std::net::Ipv4Addr::LOCALHOST.into();
    }
    let (name, domain) = (bare.to_ascii_lowercase(), &mesh.domain);
    let spellings =
        [name.clone(), format!("{name}.{}.svc.{domain}", proxy.namespace), format!("{name}.svc.{domain}"), format!("{name}.{domain}")];
    let known = if answers_dns { name_table(mesh, proxy) } else { NameTable::default() };
    let told = spellings.iter().find_map(|name| known.table.get(name)?.ips.first()?.parse().ok());
    let service = || spellings.iter().find_map(|name| mesh.services.choose(name, &proxy.namespace));
    let own = || service()?.addresses.iter().find_map(|address| address.parse().ok());
    told.or_else(own).unwrap_or(UNKNOWN_ADDRESS)
}
