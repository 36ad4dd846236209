//! Tables whose virtual hosts come one by one: whole, or as they were.

use serde_json::{Value, json};

use crate::support::{Proxy, Wire, in_time};

/// A table of virtual hosts, each of which answers by itself with a status; the last stays in the route configuration.
fn table(hosts: &[(&str, u16)]) -> Value {
    let host = |(domain, status): &(&str, u16)| {
        let routes = json!([{"match": {"prefix": "/"}, "directResponse": {"status": status}}]);
        json!({"name": format!("host {domain}"), "domains": [domain], "routes": routes})
    };
    json!({
        "name": "routes",
        "virtualHosts": hosts.iter().map(host).collect::<Vec<_>>(),
        "vhds": {"configSource": {"ads": {}, "resourceApiVersion": "V3"}},
        "metadata": {"filterMetadata": {"weir": {"virtual_hosts": "all"}}},
    })
}

/// The status of the answer to a request for a host.
async fn ask(client: &mut Wire, host: &str) -> u16 {
    client.say(&format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n")).await;
    let (status, _) = client.answer().await;
    status.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("{status}"))
}

/// Asks until the answer is another one than before, and then that.
async fn until(client: &mut Wire, host: &str, expected: u16) {
    let asking = async { while ask(client, host).await != expected {} };
    in_time("the change is in force", asking).await;
}

#[tokio::test]
async fn a_table_changes_as_a_whole() {
    let proxy = Proxy::start(table(&[("a", 201), ("b", 202), ("*", 204)]), &[]).await;
    let mut client = proxy.connect().await;
    assert_eq!([ask(&mut client, "a").await, ask(&mut client, "b").await, ask(&mut client, "c").await], [201, 202, 204]);
    // One changes, one goes, one comes, and so does what stays in the table.
    proxy.change(table(&[("a", 211), ("c", 213), ("*", 214)]), &[]);
    loop {
        let seen = [ask(&mut client, "x").await, ask(&mut client, "a").await, ask(&mut client, "b").await, ask(&mut client, "c").await];
        // The change may come between two requests, and then all after it see it.
        let (old, new) = ([204, 201, 202, 204], [214, 211, 214, 213]);
        let is_one_after_the_other = (0..=seen.len()).any(|at| seen[..at] == old[..at] && seen[at..] == new[at..]);
        assert!(is_one_after_the_other, "{seen:?}");
        if seen == new {
            break;
        }
    }
}

#[tokio::test]
async fn a_virtual_host_that_is_refused_leaves_the_table_as_it_was() {
    let proxy = Proxy::start(table(&[("a", 201), ("b", 202), ("*", 204)]), &[]).await;
    let mut client = proxy.connect().await;
    assert_eq!(ask(&mut client, "a").await, 201);
    let mut bad = table(&[("a", 211), ("b", 212), ("*", 214)]);
    bad["virtualHosts"][1]["matcher"] = json!({});
    proxy.change(bad, &[]);
    let refused = async {
        loop {
            let dump = proxy.ask_admin("/config_dump").await;
            if dump.contains("routes/host b") && dump.contains("\"error\"") {
                return dump;
            }
        }
    };
    let dump = in_time("it is refused", refused).await;
    assert!(dump.contains("matcher"), "{dump}");
    for (host, status) in [("a", 201), ("b", 202), ("x", 204)] {
        assert_eq!(ask(&mut client, host).await, status, "{host}");
    }
    // When it is mended, all that came with it is in force too.
    proxy.change(table(&[("a", 211), ("b", 222), ("*", 214)]), &[]);
    until(&mut client, "b", 222).await;
    assert_eq!([ask(&mut client, "a").await, ask(&mut client, "x").await], [211, 214]);
}

#[tokio::test]
async fn two_virtual_hosts_of_one_domain_leave_the_table_as_it_was() {
    let proxy = Proxy::start(table(&[("a", 201), ("*", 204)]), &[]).await;
    let mut client = proxy.connect().await;
    let mut twice = table(&[("a", 211), ("b", 212), ("*", 214)]);
    twice["virtualHosts"][1]["domains"] = json!(["A"]);
    proxy.change(twice, &[]);
    let refused = async { while !proxy.ask_admin("/config_dump").await.contains("is listed twice") {} };
    in_time("it is refused", refused).await;
    assert_eq!([ask(&mut client, "a").await, ask(&mut client, "x").await], [201, 204]);
    proxy.change(table(&[("a", 221), ("*", 214)]), &[]);
    until(&mut client, "a", 221).await;
    assert_eq!(ask(&mut client, "x").await, 214);
}

#[tokio::test]
async fn a_table_may_come_in_parts_or_whole_as_it_was() {
    let whole = |hosts: &[(&str, u16)]| {
        let mut table = table(hosts);
        table.as_object_mut().unwrap().remove("vhds");
        table
    };
    let proxy = Proxy::start(whole(&[("a", 201), ("*", 204)]), &[]).await;
    let mut client = proxy.connect().await;
    assert_eq!(ask(&mut client, "a").await, 201);
    proxy.change(table(&[("a", 211), ("b", 212), ("*", 214)]), &[]);
    until(&mut client, "b", 212).await;
    assert_eq!([ask(&mut client, "a").await, ask(&mut client, "x").await], [211, 214]);
    assert!(proxy.ask_admin("/config_dump").await.contains("host b"));
    proxy.change(whole(&[("a", 221), ("*", 224)]), &[]);
    until(&mut client, "a", 221).await;
    assert_eq!(ask(&mut client, "b").await, 224);
    assert!(!proxy.ask_admin("/config_dump").await.contains("host b"));
}
