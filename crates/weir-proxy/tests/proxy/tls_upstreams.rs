//! TLS towards instances: what is asked for, what is agreed on, who is believed, and which connection may carry which request.

use h2::server;
use http::Response;
use rcgen::date_time_ymd;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Authority, Proxy, SecureUpstream, Told, Upstream, Wire, cluster, in_time, routes, secure, to};

const GET: &str = "GET / HTTP/1.1\r\nhost: a.test\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

/// A cluster `a` of this instance with this TLS context, and more.
pub(crate) fn secured(instance: &SecureUpstream, context: Value, more: Value) -> Value {
    let mut fields = json!({"transportSocket": secure("Upstream", context)});
    fields.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    cluster("a", &[&instance.upstream], fields)
}

pub(crate) fn trusting(authority: &Authority) -> Value {
    json!({"commonTlsContext": {"validationContext": authority.validation()}, "sni": "a.test"})
}

async fn proxy(cluster: Value) -> Proxy {
    Proxy::start(routes(json!([to("a")])), &[cluster]).await
}

pub(crate) fn http_options(options: Value) -> Value {
    let mut typed = json!({"@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions"});
    typed.as_object_mut().unwrap().extend(options.as_object().unwrap().clone());
    json!({"typedExtensionProtocolOptions": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": typed}})
}

/// Asks, and answers in the instance's place.
async fn is_served(client: &mut Wire, instance: &SecureUpstream) -> Wire<tokio_rustls::server::TlsStream<TcpStream>> {
    client.say(GET).await;
    let mut request = instance.accept().await;
    request.head().await;
    request.say(OK).await;
    assert_eq!(client.answer().await.0, "HTTP/1.1 200 OK");
    request
}

/// The line of the access log of a request whose handshake fails.
async fn refused(instance: &SecureUpstream, context: Value) -> String {
    let proxy = proxy(secured(instance, context, json!({}))).await;
    let mut client = proxy.connect().await;
    client.say(GET).await;
    let (_, answer) = tokio::join!(instance.try_accept(), client.answer());
    assert_eq!(answer.0, "HTTP/1.1 503 Service Unavailable");
    drop(client);
    proxy.stop().await.remove(0)
}

#[tokio::test]
async fn requests_go_by_tls_and_their_connection_is_kept() {
    let authority = Authority::new();
    let instance = SecureUpstream::start(&authority.credentials("a.test"), &["http/1.1"]).await;
    let proxy = proxy(secured(&instance, trusting(&authority), json!({}))).await;
    let mut client = proxy.connect().await;
    let mut connection = is_served(&mut client, &instance).await;
    assert_eq!(connection.server_name().as_deref(), Some("a.test"));
    assert!(!connection.showed_certificate());
    client.say("POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 4\r\n\r\nbody").await;
    assert_eq!(connection.head().await[0], "POST / HTTP/1.1");
    connection.hears("body").await;
    connection.say("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nyes\r\n0\r\n\r\n").await;
    client.answer().await;
    client.hears("3\r\nyes\r\n0\r\n\r\n").await;
    assert!(proxy.ask_admin("/stats/prometheus").await.contains("envoy_cluster_ssl_handshake{"), "it is counted");
}

#[tokio::test]
async fn a_connection_that_the_other_side_has_closed_by_tls_is_not_used_again() {
    let authority = Authority::new();
    let instance = SecureUpstream::start(&authority.credentials("a.test"), &[]).await;
    let proxy = proxy(secured(&instance, trusting(&authority), json!({}))).await;
    let mut client = proxy.connect().await;
    for _ in 0..3 {
        // It says by TLS that it closes, and leaves the socket open.
        let connection = is_served(&mut client, &instance).await;
        let (mut socket, mut session) = connection.into_stream().into_inner();
        session.send_close_notify();
        let mut bytes = vec![];
        session.write_tls(&mut bytes).unwrap();
        socket.write_all(&bytes).await.unwrap();
    }
    drop(client);
    assert_eq!(proxy.stop().await, ["200 - via_upstream"; 3]);
}

/// Serves one request by HTTP/2.
async fn serve_http2(instance: &SecureUpstream) -> String {
    let stream = instance.accept().await.into_stream();
    let mut connection = in_time("the proxy greets", server::handshake(stream)).await.unwrap();
    let (request, mut respond) = in_time("a request comes", connection.accept()).await.unwrap().unwrap();
    respond.send_response(Response::new(()), true).unwrap();
    tokio::spawn(async move { while connection.accept().await.is_some() {} });
    request.uri().to_string()
}

#[tokio::test]
async fn what_is_spoken_is_agreed_on_by_alpn() {
    let authority = Authority::new();
    let auto = http_options(json!({"autoConfig": {}}));
    let newer = SecureUpstream::start(&authority.credentials("a.test"), &["h2", "http/1.1"]).await;
    let of_newer = proxy(secured(&newer, trusting(&authority), auto.clone())).await;
    let mut client = of_newer.connect().await;
    client.say(GET).await;
    assert_eq!(serve_http2(&newer).await, "http://a.test/");
    assert_eq!(client.answer().await.0, "HTTP/1.1 200 OK");

    for older in [&["http/1.1"][..], &[]] {
        let older = SecureUpstream::start(&authority.credentials("a.test"), older).await;
        let of_older = proxy(secured(&older, trusting(&authority), auto.clone())).await;
        let mut client = of_older.connect().await;
        let mut connection = is_served(&mut client, &older).await;
        // That is known now, and the connection is kept. A request that comes before it is back may get one of its own.
        let mut is_kept = false;
        for _ in 0..10 {
            client.say(GET).await;
            tokio::select! {
                _ = connection.head() => {
                    connection.say(OK).await;
                    is_kept = true;
                }
                mut other = older.accept() => {
                    other.head().await;
                    other.say(OK).await;
                }
            }
            assert_eq!(client.answer().await.0, "HTTP/1.1 200 OK");
        }
        assert!(is_kept);
    }
}

#[tokio::test]
async fn http2_is_offered_where_only_http2_is_spoken() {
    let authority = Authority::new();
    let instance = SecureUpstream::start(&authority.credentials("a.test"), &["h2"]).await;
    let options = http_options(json!({"explicitHttpConfig": {"http2ProtocolOptions": {}}}));
    let proxy = proxy(secured(&instance, trusting(&authority), options)).await;
    let mut client = proxy.connect().await;
    client.say(GET).await;
    assert_eq!(serve_http2(&instance).await, "http://a.test/");
    assert_eq!(client.answer().await.0, "HTTP/1.1 200 OK");
}

#[tokio::test]
async fn an_instance_that_nobody_trusted_vouches_for_is_refused_and_the_log_says_why() {
    let (authority, other) = (Authority::new(), Authority::new());
    let instance = SecureUpstream::start(&other.credentials("a.test"), &[]).await;
    let line = refused(&instance, trusting(&authority)).await;
    let reason =
        "TLS_error:|CERTIFICATE_VERIFY_FAILED:verify_cert_failed:_X509_verify_cert:_unable_to_get_local_issuer_certificate:TLS_error_end";
    assert_eq!(line, format!("503 UF upstream_reset_before_response_started{{remote_connection_failure|{reason}}}"));
}

#[tokio::test]
async fn an_instance_whose_certificate_is_for_others_is_refused() {
    let authority = Authority::new();
    let instance = SecureUpstream::start(&authority.credentials("b.test"), &[]).await;
    let mut validation = authority.validation();
    validation["matchTypedSubjectAltNames"] = json!([{"sanType": "DNS", "matcher": {"exact": "a.test"}}]);
    let line = refused(&instance, json!({"commonTlsContext": {"validationContext": validation}})).await;
    assert!(line.starts_with("503 UF") && line.contains("SAN_matcher,_certificate_SANs_are_[b.test]"), "{line}");
    let by_sni = json!({"commonTlsContext": {"validationContext": authority.validation()}, "sni": "a.test", "autoSniSanValidation": true});
    let line = refused(&instance, by_sni).await;
    assert!(line.contains("verify_SAN_list,_expected_SANs:_[a.test],_certificate_SANs:_[b.test]"), "{line}");
}

#[tokio::test]
async fn an_instance_whose_certificate_has_expired_is_refused() {
    let authority = Authority::new();
    let old = authority.credentials_with("a.test", |params| params.not_after = date_time_ymd(2021, 1, 1));
    let instance = SecureUpstream::start(&old, &[]).await;
    let line = refused(&instance, trusting(&authority)).await;
    assert!(line.starts_with("503 UF") && line.contains("X509_verify_cert:_certificate_has_expired"), "{line}");
}

#[tokio::test]
async fn an_instance_that_speaks_no_tls_gets_no_request() {
    let authority = Authority::new();
    let plain = Upstream::start().await;
    let context = json!({"transportSocket": secure("Upstream", trusting(&authority))});
    let proxy = proxy(cluster("a", &[&plain], context)).await;
    let mut client = proxy.connect().await;
    client.say(GET).await;
    let mut stream = plain.accept().await.into_stream();
    let mut first = [0; 3];
    stream.read_exact(&mut first).await.unwrap();
    assert_eq!(first[..2], [0x16, 0x03], "it greets by TLS");
    stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
    assert_eq!(client.answer().await.0, "HTTP/1.1 503 Service Unavailable");
    drop(client);
    let log = proxy.stop().await;
    assert!(log[0].contains("TLS_error:|WRONG_VERSION_NUMBER"), "{log:?}");
}

/// A cluster whose certificates come by SDS.
fn by_sds(instance: &SecureUpstream) -> Value {
    let common = json!({
        "tlsCertificateSdsSecretConfigs": [{"name": "own", "sdsConfig": {"ads": {}}}],
        "validationContextSdsSecretConfig": {"name": "ca", "sdsConfig": {"ads": {}}},
    });
    secured(instance, json!({ "commonTlsContext": common, "sni": "a.test" }), json!({}))
}

#[tokio::test]
async fn certificates_and_authorities_come_by_sds_and_are_exchanged_without_a_change_of_the_cluster() {
    let (old, new) = (Authority::new(), Authority::new());
    let (first, second) =
        (SecureUpstream::asking(&old.credentials("a.test"), &old).await, SecureUpstream::asking(&new.credentials("a.test"), &new).await);
    let secrets = |authority: &Authority| {
        let own = json!({"name": "own", "tlsCertificate": authority.credentials("client").certificate()});
        vec![own, json!({"name": "ca", "validationContext": authority.validation()})]
    };
    let other = {
        let mut cluster = by_sds(&second);
        cluster["name"] = json!("b");
        cluster
    };
    let both = routes(json!([{"match": {"path": "/b"}, "route": {"cluster": "b"}}, to("a")]));
    let told = Told { routes: both, clusters: vec![by_sds(&first), other], secrets: secrets(&old), ..Told::default() };
    let proxy = Proxy::told(told.clone()).await;
    let mut client = proxy.connect().await;
    let mut kept = is_served(&mut client, &first).await;
    assert!(kept.showed_certificate());

    // Nobody vouches for the other yet.
    let mut client = proxy.connect().await;
    client.say("GET /b HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let (failed, answer) = tokio::join!(second.try_accept(), client.answer());
    assert!(failed.is_err());
    assert_eq!(answer.0, "HTTP/1.1 503 Service Unavailable");
    proxy.tell(&Told { secrets: secrets(&new), ..told });
    let mut served = None;
    for _ in 0..1000 {
        client = proxy.connect().await;
        client.say("GET /b HTTP/1.1\r\nhost: a\r\n\r\n").await;
        if let Ok(connection) = second.try_accept().await {
            served = Some(connection);
            break;
        }
        client.answer().await;
    }
    let mut served = served.expect("the new secrets come into force");
    served.head().await;
    served.say(OK).await;
    assert_eq!(client.answer().await.0, "HTTP/1.1 200 OK");
    // What was agreed on before stands.
    client = proxy.connect().await;
    client.say(GET).await;
    kept.head().await;
    kept.say(OK).await;
    assert_eq!(client.answer().await.0, "HTTP/1.1 200 OK");
}

#[tokio::test]
async fn while_a_secret_is_missing_nobody_is_asked_and_the_log_names_it() {
    let authority = Authority::new();
    let instance = SecureUpstream::asking(&authority.credentials("a.test"), &authority).await;
    let own = json!({"name": "own", "tlsCertificate": authority.credentials("client").certificate()});
    let routes = routes(json!([to("a")]));
    let proxy = Proxy::told(Told { routes, clusters: vec![by_sds(&instance)], secrets: vec![own], ..Told::default() }).await;
    let mut client = proxy.connect().await;
    client.say(GET).await;
    let (_, answer) = tokio::join!(instance.try_accept(), client.answer());
    assert_eq!(answer.0, "HTTP/1.1 503 Service Unavailable");
    drop(client);
    let log = proxy.stop().await;
    assert!(log[0].starts_with("503 UF") && log[0].contains("TLS_error:_Secret_is_not_supplied_by_SDS:_ca"), "{log:?}");
}

#[tokio::test]
async fn each_endpoint_is_spoken_to_as_its_metadata_says() {
    let authority = Authority::new();
    let instance = SecureUpstream::start(&authority.credentials("a.test"), &[]).await;
    let plain = Upstream::start().await;
    let endpoint = |upstream: &Upstream, mode: &str| {
        let address = upstream.address();
        json!({
            "endpoint": {"address": {"socketAddress": {"address": address.ip().to_string(), "portValue": address.port()}}},
            "metadata": {"filterMetadata": {"envoy.transport_socket_match": {"tlsMode": mode}}},
        })
    };
    let endpoints = [endpoint(&instance.upstream, "istio"), endpoint(&plain, "disabled")];
    let cluster = json!({
        "name": "a", "type": "STATIC", "lbPolicy": "ROUND_ROBIN",
        "loadAssignment": {"clusterName": "a", "endpoints": [{"lbEndpoints": endpoints}]},
        "transportSocketMatches": [
            {"name": "tls", "match": {"tlsMode": "istio"}, "transportSocket": secure("Upstream", trusting(&authority))},
            {"name": "plain", "match": {}, "transportSocket": {"name": "envoy.transport_sockets.raw_buffer", "typedConfig": {
                "@type": "type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"}}},
        ],
    });
    let proxy = proxy(cluster).await;
    let mut client = proxy.connect().await;
    for _ in 0..2 {
        client.say(GET).await;
        tokio::select! {
            mut secure = instance.accept() => {
                secure.head().await;
                secure.say("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\nx-by: tls\r\n\r\n").await;
            }
            mut plain = plain.accept() => {
                plain.head().await;
                plain.say("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\nx-by: plain\r\n\r\n").await;
            }
        }
        assert_eq!(client.answer().await.0, "HTTP/1.1 200 OK");
    }
    drop(client);
    assert_eq!(proxy.stop().await.len(), 2);
}

#[tokio::test]
async fn requests_for_other_hosts_take_other_connections_where_the_host_is_asked_for() {
    let authority = Authority::new();
    let all =
        authority.credentials_with("a.test", |params| params.subject_alt_names.push(rcgen::SanType::DnsName("b.test".try_into().unwrap())));
    let instance = SecureUpstream::start(&all, &[]).await;
    let options = http_options(json!({
        "explicitHttpConfig": {"httpProtocolOptions": {}},
        "upstreamHttpProtocolOptions": {"autoSni": true, "autoSanValidation": true},
    }));
    let context = json!({"commonTlsContext": {"validationContext": authority.validation()}});
    let proxy = proxy(secured(&instance, context, options)).await;
    let mut client = proxy.connect().await;
    let mut connections = vec![];
    for host in ["a.test:8443", "b.test"] {
        client.say(&format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n")).await;
        let mut connection = instance.accept().await;
        connection.head().await;
        connection.say(OK).await;
        client.answer().await;
        connections.push(connection);
    }
    let names: Vec<Option<String>> = connections.iter().map(Wire::server_name).collect();
    assert_eq!(names, [Some("a.test".to_owned()), Some("b.test".to_owned())]);
    // Each is found again by its own host.
    client.say("GET /again HTTP/1.1\r\nhost: a.test\r\n\r\n").await;
    assert_eq!(connections[0].head().await[0], "GET /again HTTP/1.1");
    connections[0].say(OK).await;
    client.answer().await;
    client.say("GET / HTTP/1.1\r\nhost: c.test\r\n\r\n").await;
    let (_, answer) = tokio::join!(instance.try_accept(), client.answer());
    assert_eq!(answer.0, "HTTP/1.1 503 Service Unavailable");
    drop(client);
    let log = proxy.stop().await;
    assert!(log[3].contains("verify_SAN_list,_expected_SANs:_[c.test],_certificate_SANs:_[a.test,_b.test]"), "{log:?}");
}

#[tokio::test]
async fn a_websocket_passes_through_tls() {
    let authority = Authority::new();
    let instance = SecureUpstream::start(&authority.credentials("a.test"), &["h2", "http/1.1"]).await;
    let proxy = proxy(secured(&instance, trusting(&authority), http_options(json!({"autoConfig": {}})))).await;
    let mut client = proxy.connect().await;
    client.say("GET /chat HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-key: eA==\r\n\r\n").await;
    let mut connection = instance.accept().await;
    connection.head().await;
    connection
        .say("HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: eQ==\r\n\r\nfirst")
        .await;
    assert_eq!(client.answer().await.0, "HTTP/1.1 101 Switching Protocols");
    client.hears("first").await;
    client.say("question").await;
    connection.hears("question").await;
    drop(client);
}

#[tokio::test]
async fn tcp_passes_through_tls() {
    let authority = Authority::new();
    let instance = SecureUpstream::start(&authority.credentials("a.test"), &[]).await;
    let filter = json!({"name": "tcp", "typedConfig": {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy", "statPrefix": "tcp", "cluster": "a",
    }});
    let clusters = vec![secured(&instance, trusting(&authority), json!({}))];
    let proxy = Proxy::told(Told { chain: json!({"filters": [filter]}), clusters, ..Told::default() }).await;
    let mut client = proxy.connect().await;
    client.say("question").await;
    let mut connection = instance.accept().await;
    connection.hears("question").await;
    connection.say("answer").await;
    client.hears("answer").await;
    drop(connection);
    assert_eq!(client.end().await, "");
}

#[tokio::test]
async fn health_is_checked_by_https() {
    let (authority, other) = (Authority::new(), Authority::new());
    let instance = SecureUpstream::start(&authority.credentials("a.test"), &["probe"]).await;
    let check = json!({
        "timeout": "10s", "interval": "0.01s", "noTrafficInterval": "0.01s", "unhealthyThreshold": 1, "healthyThreshold": 1,
        "reuseConnection": false, "httpHealthCheck": {"path": "/healthz"}, "tlsOptions": {"alpnProtocols": ["probe"]},
    });
    let more = json!({"healthChecks": [check], "commonLbConfig": {"healthyPanicThreshold": {}}});
    let answering = async {
        let mut check = instance.accept().await;
        assert_eq!(check.head().await[0], "GET /healthz HTTP/1.1");
        check.say(OK).await;
    };
    let (proxy, ()) = tokio::join!(proxy(secured(&instance, trusting(&authority), more.clone())), answering);
    // Nobody vouches for it any more: no check passes.
    proxy.change(routes(json!([to("a")])), &[secured(&instance, trusting(&other), more)]);
    in_time("a handshake fails", async { while instance.try_accept().await.is_ok() {} }).await;
    in_time("it is left out", async {
        loop {
            let mut client = proxy.connect().await;
            client.say("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
            let answer = tokio::select! {
                answer = client.end() => answer,
                never = async { loop { let _ = instance.try_accept().await; } } => never,
            };
            if answer.contains("no healthy upstream") {
                return;
            }
        }
    })
    .await;
}
