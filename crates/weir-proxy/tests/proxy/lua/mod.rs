//! Scripts in Lua, between a client and an instance that do word for word what a test says.

mod bodies;
mod calls;
mod configured;
mod handle;
mod misbehaving;

use serde_json::{Value, json};

use crate::support::{Proxy, Told, Upstream, Wire, cluster, routes, to};

/// A filter of this kind.
fn filter(name: &str, kind: &str, mut config: Value) -> Value {
    config["@type"] = json!(format!("type.googleapis.com/envoy.extensions.filters.http.{kind}"));
    json!({"name": name, "typedConfig": config})
}

fn router() -> Value {
    filter("router", "router.v3.Router", json!({}))
}

/// A connection manager whose filters are this script and the router.
fn script(code: &str) -> Value {
    manager(json!({"defaultSourceCode": {"inlineString": code}}))
}

fn manager(config: Value) -> Value {
    json!({"httpFilters": [filter("lua", "lua.v3.Lua", config), router()]})
}

/// A proxy with a script before one instance.
struct Scripted {
    proxy: Proxy,
    upstream: Upstream,
}

impl Scripted {
    async fn start(code: &str) -> Self {
        Self::with_manager(script(code)).await
    }

    async fn with_manager(manager: Value) -> Self {
        let upstream = Upstream::start().await;
        let proxy = Proxy::with_manager(manager, routes(json!([to("a")])), &[cluster("a", &[&upstream], json!({}))]).await;
        Self { proxy, upstream }
    }

    /// What the instance hears of the head of a request, and what the client hears, whose connection is left open.
    async fn exchange(&self, request: &str, answer: &str) -> (Vec<String>, (String, Vec<String>), Wire, Wire) {
        let mut client = self.proxy.connect().await;
        client.say(request).await;
        let mut instance = self.upstream.accept().await;
        let heard = instance.head().await;
        // The next request comes by a connection of its own.
        instance.say(&answer.replacen("\r\n", "\r\nconnection: close\r\n", 1)).await;
        let told = client.answer().await;
        (heard, told, client, instance)
    }

    /// What the client hears where no instance hears anything.
    async fn refused(&self, request: &str) -> (String, Vec<String>, Wire) {
        let mut client = self.proxy.connect().await;
        client.say(request).await;
        let (status, headers) = client.answer().await;
        (status, headers, client)
    }
}

const GET: &str = "GET /p?q=1 HTTP/1.1\r\nhost: a.test\r\nx-one: 1\r\nx-many: 1\r\nx-many: 2\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// The value of a header among lines.
fn value<'l>(lines: &'l [String], name: &str) -> Option<&'l str> {
    lines.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

/// Says in a header of the request what an expression comes to.
fn tells(expression: &str) -> String {
    format!("function envoy_on_request(handle) local told = {expression} handle:headers():replace('x-told', tostring(told)) end")
}

/// What an expression comes to while a request is seen.
async fn comes_to(expression: &str) -> String {
    let (heard, ..) = Scripted::start(&tells(expression)).await.exchange(GET, OK).await;
    value(&heard, "x-told").unwrap_or("nothing").to_owned()
}
