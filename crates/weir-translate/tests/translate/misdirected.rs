//! What a gateway says to requests that come by the connection of another server.

use weir_translate::{Translation, translate};

use crate::support::{gateway, json_of, mesh};

/// For `a.test` and `*.w.test`.
pub(crate) const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----
MIIBjDCCATKgAwIBAgIURefUzIDlctaquKmghDQFZnknb1swCgYIKoZIzj0EAwIw
DDEKMAgGA1UEAwwBYTAgFw0yNjExMjcwMjU3NTdaGA8yMTI2MTEwMzAyNTc1N1ow
DDEKMAgGA1UEAwwBYTBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABHRIm5Tq/N1P
HZBOPgISCSAqYSEn5tIQ47cSy5tIo204LiyTlOpk2R02ui8k1mqff0iwEEYP/Noy
gUQEMuuS6umjcDBuMB0GA1UdDgQWBBSdZPb3+8LijReKipFJh6DWOaxqVjAfBgNV
HSMEGDAWgBSdZPb3+8LijReKipFJh6DWOaxqVjAPBgNVHRMBAf8EBTADAQH/MBsG
A1UdEQQUMBKCBmEudGVzdIIIKi53LnRlc3QwCgYIKoZIzj0EAwIDSAAwRQIhAJEW
Ff4oE8AoTDrvYr1Ztb/waWXZXuDKLD21kBvroKNpAiAPslALjMrIdiuxUSJB5Pi+
7vFCIzwL/ApDTWIiyLlaaw==
-----END CERTIFICATE-----
";

/// A server: its name, its hosts, and how it ends TLS.
type Server<'s> = (&'s str, &'s str, &'s str);

fn made(servers: &[Server<'_>], rules: &[(&str, &str)]) -> Translation {
    let indented: String = CERTIFICATE.lines().map(|line| format!("    {line}\n")).collect();
    let mut text = format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: many, namespace: istio-system}}\nstringData:\n  tls.key: k\n  tls.crt: |\n{indented}"
    );
    for (name, hosts, tls) in servers {
        text += &format!(
            "---\napiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{name: {name}, namespace: default}}\nspec: {{selector: {{istio: \
             ingressgateway}}, servers: [{{port: {{number: 443, name: {name}, protocol: HTTPS}}, hosts: [{hosts}], tls: {{{tls}}}}}]}}\n"
        );
    }
    for (gateway, host) in rules {
        text += &format!(
            "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: {gateway}, namespace: default}}\nspec: {{hosts: \
             [{host}], gateways: [{gateway}], http: [{{directResponse: {{status: 204}}}}]}}\n"
        );
    }
    translate(&mesh(&[("edge.yaml", &text)]), &gateway())
}

/// The hosts that a server's routes answer with 421.
fn misdirected(made: &Translation, server: &str) -> Vec<String> {
    let table = made.routes.iter().find(|table| table.name == format!("https.443.{server}.{server}.default")).unwrap();
    let host = table.virtual_hosts.iter().find(|host| host.name == "misdirected:443");
    let Some(host) = host else { return vec![] };
    assert_eq!(json_of(host)["routes"][0]["direct_response"]["status"], 421);
    host.domains.clone()
}

const SHARED: &str = "mode: SIMPLE, credentialName: shared";
const MANY: &str = "mode: SIMPLE, credentialName: many";
const OTHER: &str = "mode: SIMPLE, credentialName: other";
const FILES: &str = "mode: SIMPLE, serverCertificate: /a.pem, privateKey: /a.key";
const OTHER_FILES: &str = "mode: SIMPLE, serverCertificate: /b.pem, privateKey: /b.key";

#[test]
fn hosts_of_servers_with_the_same_certificate_are_asked_for_elsewhere() {
    let rules = [("a", "a.test"), ("b", "b.test"), ("c", "c.test")];
    let of = |tls: [&str; 3]| {
        let made = made(&[("a", "a.test", tls[0]), ("b", "b.test", tls[1]), ("c", "c.test", tls[2])], &rules);
        ["a", "b", "c"].map(|server| misdirected(&made, server).join(" "))
    };
    assert_eq!(of([SHARED, SHARED, OTHER]), ["b.test", "a.test", ""]);
    assert_eq!(of([FILES, FILES, OTHER_FILES]), ["b.test", "a.test", ""]);
    assert_eq!(of([SHARED, FILES, OTHER]), ["", "", ""]);
    // Both have it among others.
    assert_eq!(of([SHARED, "mode: MUTUAL, credentialNames: [other, shared]", OTHER]), ["b.test", "a.test c.test", "b.test"]);
}

#[test]
fn hosts_that_a_certificate_is_for_are_asked_for_elsewhere() {
    let servers = [("a", "a.test", MANY), ("w", "x.w.test", OTHER), ("v", "x.y.w.test", SHARED), ("p", "p.w.test", "mode: PASSTHROUGH")];
    let made = made(&servers, &[("a", "a.test"), ("w", "x.w.test"), ("v", "x.y.w.test")]);
    // A wildcard stands for one label; who passes TLS on has a connection of its own, too.
    assert_eq!(misdirected(&made, "a"), ["p.w.test", "x.w.test"]);
    assert_eq!((misdirected(&made, "w").len(), misdirected(&made, "v").len()), (0, 0));
}

#[test]
fn what_a_server_has_routes_for_is_not_misdirected() {
    let made = made(&[("all", "'*'", SHARED), ("a", "a.test", SHARED)], &[("all", "'*.test'"), ("a", "a.test")]);
    assert_eq!(misdirected(&made, "all"), Vec::<String>::new());
    // No certificate is for everything.
    assert_eq!(misdirected(&made, "a"), Vec::<String>::new());
}

#[test]
fn a_server_without_routes_knows_who_else_is_there() {
    let made = made(&[("a", "a.test", SHARED), ("b", "b.test", SHARED)], &[("b", "b.test")]);
    let names = |server: &str| {
        let table = made.routes.iter().find(|table| table.name.contains(&format!(".{server}.{server}."))).unwrap();
        table.virtual_hosts.iter().map(|host| host.name.clone()).collect::<Vec<_>>()
    };
    assert_eq!(names("a"), ["misdirected:443", "blackhole:443"]);
}

/// The hosts of a server for which it says that there is nothing, beside those of others.
fn unserved(made: &Translation, server: &str) -> Vec<String> {
    let table = made.routes.iter().find(|table| table.name == format!("https.443.{server}.{server}.default")).unwrap();
    let host = table.virtual_hosts.iter().find(|host| host.name == "unserved:443");
    assert!(host.is_none_or(|host| host.routes.is_empty()));
    host.map(|host| host.domains.clone()).unwrap_or_default()
}

#[test]
fn a_servers_own_hosts_are_never_asked_for_elsewhere() {
    // There is no rule for it yet.
    let both = made(&[("a", "a.test", SHARED), ("all", "'*.test'", SHARED)], &[]);
    assert_eq!((misdirected(&both, "a"), unserved(&both, "a")), (vec!["*.test".to_owned()], vec!["a.test".to_owned()]));
    assert_eq!((misdirected(&both, "all"), unserved(&both, "all").len()), (vec!["a.test".to_owned()], 0));
    let served = made(&[("a", "a.test", SHARED), ("all", "'*.test'", SHARED)], &[("a", "a.test")]);
    assert_eq!((misdirected(&served, "a"), unserved(&served, "a").len()), (vec!["*.test".to_owned()], 0));
    // Beside so many that they are told by their domain.
    let names: Vec<String> = (0..70).map(|number| format!("s{number}")).collect();
    let hosts: Vec<String> = names.iter().map(|name| format!("{name}.test")).collect();
    let mut servers: Vec<Server<'_>> = names.iter().zip(&hosts).map(|(name, host)| (name.as_str(), host.as_str(), SHARED)).collect();
    servers.extend([("all", "'*'", SHARED), ("domain", "'*.test'", SHARED)]);
    let many = made(&servers, &[]);
    assert_eq!((misdirected(&many, "s7"), unserved(&many, "s7")), (vec!["*.test".to_owned()], vec!["s7.test".to_owned()]));
    // Whose domain it is has nothing but these hosts that others have.
    assert_eq!(
        (misdirected(&many, "domain"), unserved(&many, "domain").len()),
        (hosts.iter().cloned().collect::<std::collections::BTreeSet<_>>().into_iter().collect(), 0)
    );
    let of_all = misdirected(&many, "all");
    assert!(of_all.len() == 71 && of_all.contains(&"*.test".to_owned()), "{of_all:?}");
}

#[test]
fn what_a_certificate_is_not_for_is_not_asked_for_elsewhere() {
    let servers = [("a", "A.test", MANY), ("b", "b.test", MANY), ("w", "X.w.test", MANY), ("all", "'*'", MANY)];
    let made = made(&servers, &[("b", "b.test")]);
    assert_eq!((misdirected(&made, "a"), unserved(&made, "a").len()), (vec!["*.w.test".to_owned(), "x.w.test".to_owned()], 0));
    assert_eq!(misdirected(&made, "b"), ["*.w.test", "a.test", "x.w.test"]);
    // Its own part of what the certificate is for.
    assert_eq!(
        (misdirected(&made, "w"), unserved(&made, "w")),
        (vec!["*.w.test".to_owned(), "a.test".to_owned()], vec!["x.w.test".to_owned()])
    );
    assert_eq!(misdirected(&made, "all"), ["a.test", "x.w.test"]);
}

#[test]
fn a_thousand_servers_that_show_one_wildcard_certificate_name_its_domain() {
    let names: Vec<String> = (0..1_000).map(|number| format!("s{number}")).collect();
    let hosts: Vec<String> = names.iter().map(|name| format!("{name}.w.test")).collect();
    let servers: Vec<Server<'_>> = names.iter().zip(&hosts).map(|(name, host)| (name.as_str(), host.as_str(), MANY)).collect();
    let made = made(&servers, &[("s7", "s7.w.test")]);
    for (server, own) in [("s7", None), ("s8", Some("s8.w.test"))] {
        assert_eq!(misdirected(&made, server), ["*.w.test"]);
        assert_eq!(unserved(&made, server).first().map(String::as_str), own);
    }
}

#[test]
fn many_hosts_of_one_domain_are_told_by_it() {
    let names: Vec<String> = (0..100).map(|number| format!("s{number}")).collect();
    let hosts: Vec<String> = names.iter().map(|name| format!("{name}.test")).collect();
    let servers: Vec<Server<'_>> = names.iter().zip(&hosts).map(|(name, host)| (name.as_str(), host.as_str(), SHARED)).collect();
    let rules: Vec<(&str, &str)> = names.iter().zip(&hosts).map(|(name, host)| (name.as_str(), host.as_str())).collect();
    let made = made(&servers, &rules);
    assert_eq!(misdirected(&made, "s7"), ["*.test"]);
}
