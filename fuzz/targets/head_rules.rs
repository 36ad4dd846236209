//! Heads of requests, as the rules of a proxy's connection manager settle them. What they admit can be written and read again.
#![no_main]

use std::net::{IpAddr, SocketAddr};
use std::sync::OnceLock;

use bytes::{Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;
use weir_config::head::{self, Client, Head, Received, Target};
use weir_config::http::HttpConfig;
use weir_http1::{Case, HeadReader, Limits, encode, request};
use weir_xds::hcm::{HttpConnectionManager, Rds, http_connection_manager::RouteSpecifier};

fn config() -> &'static HttpConfig {
    static CONFIG: OnceLock<HttpConfig> = OnceLock::new();
    CONFIG.get_or_init(|| {
        let rds = RouteSpecifier::Rds(Rds::default());
        let manager =
            HttpConnectionManager { route_specifier: Some(rds), normalize_path: Some(true), merge_slashes: true, ..Default::default() };
        HttpConfig::compile(&manager).expect("it is valid")
    })
}

fn read(bytes: &[u8]) -> Option<(Bytes, request::Head)> {
    let limits = Limits::default();
    let head = HeadReader::default().take(&mut BytesMut::from(bytes), &limits).ok()??;
    let read = request::read(&head, &limits, false).ok()?;
    Some((head, read))
}

fuzz_target!(|bytes: &[u8]| {
    let Some((_, said)) = read(bytes) else { return };
    let received =
        Received { method: said.method, target: Target::Line(String::from_utf8_lossy(&said.target).into_owned()), version: said.version, headers: said.headers, spelling: None };
    let client = Client::new(SocketAddr::from(([198, 51, 100, 7], 1000)), false, 8080, IpAddr::from([192, 0, 2, 2]));
    let mut head = Head::default();
    if head::read(&mut head, received, config(), &client, || 4).is_err() {
        return;
    }
    let _ = (head.authority().len(), head.for_routing().path.len(), head.is_grpc());
    let mut written = vec![];
    encode::request_line(&head.method, head.path.as_bytes(), &mut written);
    encode::fields(&head.headers, Case::Lower, None, &mut written);
    written.extend_from_slice(encode::HEAD_END);
    let (_, again) = read(&written).expect("what is admitted is a head");
    assert_eq!((again.method, &again.target[..]), (head.method, head.path.as_str().as_bytes()));
    assert_eq!(again.headers, head.headers);
});
