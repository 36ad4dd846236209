//! Trailers pass where both connections take them, and nothing that heads are checked for passes with them.

use serde_json::{Value, json};

use crate::support::{Proxy, Upstream, cluster, routes, to};

fn instance_options() -> Value {
    json!({"typedExtensionProtocolOptions": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicitHttpConfig": {"httpProtocolOptions": {"enableTrailers": true}},
    }}})
}

const REQUEST: &str = "PUT / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ntrailer: x-own, cookie\r\n\r\n\
    2\r\nok\r\n0\r\nx-own: 1\r\ncookie: a=1\r\nx-forwarded-client-cert: By=x\r\n\r\n";

#[tokio::test]
async fn trailers_pass_only_where_they_are_enabled_and_bring_nothing_in() {
    for (enabled, heard) in [(false, "2\r\nok\r\n0\r\n\r\n"), (true, "2\r\nok\r\n0\r\nx-own: 1\r\n\r\n")] {
        let upstream = Upstream::start().await;
        let manager = json!({"httpProtocolOptions": {"enableTrailers": enabled}});
        let proxy = Proxy::with_manager(manager, routes(json!([to("a")])), &[cluster("a", &[&upstream], instance_options())]).await;
        let mut client = proxy.connect().await;
        client.say(REQUEST).await;
        let mut instance = upstream.accept().await;
        instance.head().await;
        instance.hears(heard).await;
        instance.say("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
        assert_eq!(client.answer().await.0, "HTTP/1.1 200 OK");
    }
}
