//! TLS with the mesh's certificates: what a workload takes at its ports, and how its clients come to it.

use serde_json::{Value, json};
use weir_translate::{Translation, own, translate};

use crate::support::{cluster, findings, gateway, json_of, mesh_with, sidecar};

/// An application with an account, whose sidecar takes HTTP, bytes, and what it finds out; and one that names none.
const APPLICATION: &str = "apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: app}
spec: {address: 10.0.0.1, labels: {app: app}, serviceAccount: app}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: old}
spec: {address: 10.0.0.2, labels: {app: app}}
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: app}
spec:
  workloadSelector: {labels: {app: app}}
  ingress:
  - {port: {number: 9090, name: http, protocol: HTTP}, defaultEndpoint: '127.0.0.1:80'}
  - {port: {number: 9091, name: tcp, protocol: TCP}, defaultEndpoint: '127.0.0.1:81'}
  - {port: {number: 9092, name: any}, defaultEndpoint: '127.0.0.1:82'}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: app}
spec:
  hosts: [app.test]
  location: MESH_INTERNAL
  resolution: STATIC
  ports:
  - {number: 80, name: http, protocol: HTTP, targetPort: 9090}
  - {number: 81, name: tcp, protocol: TCP, targetPort: 9091}
  - {number: 82, name: grpc, protocol: GRPC, targetPort: 9090}
  workloadSelector: {labels: {app: app}}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: outside}
spec: {hosts: [outside.test], location: MESH_EXTERNAL, resolution: STATIC, ports: [{number: 80, name: http, protocol: HTTP}],
  endpoints: [{address: 10.0.1.1, serviceAccount: x}]}
---
";

fn policy(name: &str, spec: &str) -> String {
    format!("---\napiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {{name: {name}}}\nspec: {{{spec}}}\n")
}

fn rule(tls: &str) -> String {
    format!(
        "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: app}}\nspec: {{host: app.test, trafficPolicy: {{tls: {tls}}}}}\n"
    )
}

/// What the application's sidecar gets.
fn of_application(config: &str, more: &str) -> Translation {
    translate(&mesh_with(config, &[("mesh.yaml", &format!("{APPLICATION}{more}"))]), &sidecar("10.0.0.1", &[("app", "app")]))
}

/// What a client's sidecar gets.
fn of_client(config: &str, more: &str) -> Translation {
    translate(&mesh_with(config, &[("mesh.yaml", &format!("{APPLICATION}{more}"))]), &sidecar("10.0.0.9", &[]))
}

const PLAIN: &str = "accessLogFile: ''\n";

/// A listener's chains: how connections begin, what they offer, whether TLS ends there, and what becomes of them.
fn chains(made: &Translation, port: u16) -> Vec<String> {
    let name = format!("10.0.0.1_{port}");
    let listener = made.listeners.iter().find(|listener| listener.name == name).unwrap();
    let default = listener.default_filter_chain.iter().map(|chain| format!("else {}", chain_of(&json_of(chain))));
    listener.filter_chains.iter().map(|chain| chain_of(&json_of(chain))).chain(default).collect()
}

fn chain_of(chain: &Value) -> String {
    let condition = &chain["filter_chain_match"];
    let offered = condition["application_protocols"].as_array().map_or(0, Vec::len);
    let begins = condition["transport_protocol"].as_str().unwrap_or("any");
    let ends = if chain["transport_socket"].is_null() { "" } else { " mTLS" };
    let filter = chain["filters"][0]["name"].as_str().unwrap();
    let what = if filter.contains("http_connection_manager") { "http" } else { "bytes" };
    format!("{begins}/{offered}{ends} {what}")
}

#[test]
fn a_port_takes_what_the_policy_says() {
    let table: [(&str, [&[&str]; 3]); 4] = [
        (
            "",
            [
                &["tls/5 mTLS http", "raw_buffer/0 http"],
                &["tls/5 mTLS bytes", "tls/0 bytes", "raw_buffer/0 bytes"],
                &["tls/3 mTLS http", "raw_buffer/2 http", "tls/2 mTLS bytes", "raw_buffer/0 bytes", "tls/0 bytes"],
            ],
        ),
        ("mtls: {mode: STRICT}", [&["tls/0 mTLS http"], &["tls/0 mTLS bytes"], &["tls/3 mTLS http", "tls/0 mTLS bytes"]]),
        ("mtls: {mode: DISABLE}", [&["any/0 http"], &["any/0 bytes"], &["raw_buffer/2 http", "else any/0 bytes"]]),
        (
            "selector: {matchLabels: {app: app}}, mtls: {mode: STRICT}, portLevelMtls: {9090: {mode: DISABLE}, 80: {mode: DISABLE}}",
            [&["any/0 http"], &["tls/0 mTLS bytes"], &["tls/3 mTLS http", "tls/0 mTLS bytes"]],
        ),
    ];
    for (spec, expected) in table {
        let made = of_application(PLAIN, &policy("p", spec));
        for (port, expected) in [9090, 9091, 9092].into_iter().zip(expected) {
            assert_eq!(chains(&made, port), expected, "{spec} {port}");
        }
        assert_eq!(findings(&made), Vec::<String>::new());
    }
}

#[test]
fn a_client_must_show_a_certificate_of_the_meshs_trust_domain_or_an_alias() {
    let config = "trustDomain: td\ntrustDomainAliases: [old.td, td]\nmeshMTLS: {minProtocolVersion: TLSV1_3}\n";
    let made = of_application(config, "");
    let listener = made.listeners.iter().find(|listener| listener.name == "10.0.0.1_9090").unwrap();
    let context = &json_of(&listener.filter_chains[0])["transport_socket"]["typed_config"];
    let common = &context["common_tls_context"];
    assert_eq!(context["require_client_certificate"], true);
    assert_eq!(common["alpn_protocols"], json!(["h2", "http/1.1"]));
    assert_eq!(common["tls_params"]["tls_minimum_protocol_version"], "TLSv1_3");
    assert_eq!(common["tls_certificate_sds_secret_configs"][0]["name"], "default");
    let validation = &common["combined_validation_context"];
    let names = |prefix: &str| json!({"san_type": "URI", "matcher": {"prefix": prefix}});
    assert_eq!(
        validation["default_validation_context"]["match_typed_subject_alt_names"],
        json!([names("spiffe://old.td/"), names("spiffe://td/")])
    );
    let authorities = &validation["validation_context_sds_secret_config"];
    assert_eq!(authorities["name"], "ROOTCA");
    let agent = &authorities["sds_config"]["api_config_source"]["grpc_services"][0]["envoy_grpc"]["cluster_name"];
    assert_eq!(agent, "sds-grpc");
}

#[test]
fn tls_of_an_ingress_listener_is_never_taken_as_plaintext() {
    let sidecar_with_tls = "---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: app}
spec:
  workloadSelector: {labels: {app: app}}
  ingress:
  - port: {number: 9090, name: https, protocol: HTTPS}
    defaultEndpoint: '127.0.0.1:80'
    tls: {mode: SIMPLE, privateKey: /k, serverCertificate: /c}
";
    let entry =
        "apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {name: app}\nspec: {address: 10.0.0.1, labels: {app: app}}\n";
    for (mode, opened, expected) in [
        ("DISABLE", false, "the listener takes nothing"),
        ("PERMISSIVE", true, "the listener takes mutual TLS of the mesh, and plaintext"),
        ("STRICT", true, "the listener takes mutual TLS of the mesh alone"),
    ] {
        let text = format!("{entry}{sidecar_with_tls}{}", policy("p", &format!("mtls: {{mode: {mode}}}")));
        let made = translate(&mesh_with(PLAIN, &[("mesh.yaml", &text)]), &sidecar("10.0.0.1", &[("app", "app")]));
        assert_eq!(made.listeners.iter().any(|listener| listener.name == "10.0.0.1_9090"), opened, "{mode}");
        let said = findings(&made);
        assert!(said.iter().any(|finding| finding.contains(expected)), "{mode}: {said:?}");
    }
}

#[test]
fn bytes_in_tls_are_agreed_on_as_istio_does() {
    let made = of_application(PLAIN, &policy("p", "mtls: {mode: STRICT}"));
    let listener = made.listeners.iter().find(|listener| listener.name == "10.0.0.1_9091").unwrap();
    let common = &json_of(&listener.filter_chains[0])["transport_socket"]["typed_config"]["common_tls_context"];
    assert_eq!(common["alpn_protocols"], json!(["istio-peer-exchange", "h2", "http/1.1"]));
}

#[test]
fn where_no_instance_is_known_who_answers_must_be_of_the_mesh() {
    let none = "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: none}\nspec: {hosts: [none.test], \
                location: MESH_INTERNAL, resolution: STATIC, ports: [{number: 80, name: http, protocol: HTTP}], workloadSelector: \
                {labels: {app: none}}}\n";
    let made = of_client("trustDomainAliases: [old.td]\n", none);
    let socket = &json_of(cluster(&made, "outbound|80||none.test"))["transport_socket_matches"][0]["transport_socket"];
    let common = &socket["typed_config"]["common_tls_context"];
    let of = |prefix: &str| json!({"san_type": "URI", "matcher": {"prefix": prefix}});
    assert_eq!(
        common["combined_validation_context"]["default_validation_context"]["match_typed_subject_alt_names"],
        json!([of("spiffe://cluster.local/"), of("spiffe://old.td/")])
    );
}

#[test]
fn without_certificates_nothing_but_plaintext_is_permitted_and_strict_stays_strict() {
    let of = |more: &str| {
        let mesh = mesh_with(PLAIN, &[("mesh.yaml", &format!("{APPLICATION}{more}"))]);
        own(&mesh, &sidecar("10.0.0.1", &[("app", "app")]), false, false)
    };
    assert_eq!(chains(&of(""), 9090), ["any/0 http"]);
    assert_eq!(chains(&of(&policy("p", "mtls: {mode: STRICT}")), 9090), ["tls/0 mTLS http"]);
}

/// How a cluster's instances are spoken to: by each, or all alike; with what names, server name and protocols.
fn way(made: &Translation, name: &str) -> String {
    let cluster = json_of(cluster(made, name));
    let of = |socket: &Value| {
        let context = &socket["typed_config"];
        let common = &context["common_tls_context"];
        let asked = &common["combined_validation_context"]["default_validation_context"]["match_typed_subject_alt_names"];
        let names = asked.as_array().map(Vec::as_slice).unwrap_or_default().iter().map(|name| name["matcher"]["exact"].as_str().unwrap());
        let names = names.collect::<Vec<_>>().join(" ");
        format!("{} [{names}] {}", context["sni"].as_str().unwrap_or_default(), common["alpn_protocols"])
    };
    match (cluster["transport_socket_matches"].as_array(), &cluster["transport_socket"]) {
        (Some(each), Value::Null) => {
            assert_eq!((each.len(), &each[0]["match"]["tlsMode"], &each[1]["match"]), (2, &json!("istio"), &json!({})));
            format!("each: {}", of(&each[0]["transport_socket"]))
        }
        (None, Value::Null) => "plaintext".to_owned(),
        (None, socket) => format!("all: {}", of(socket)),
        (Some(_), _) => panic!("both"),
    }
}

#[test]
fn each_instance_that_takes_it_is_spoken_to_with_the_meshs_certificates() {
    let made = of_client("trustDomainAliases: [old.td]\n", "");
    let names = "spiffe://cluster.local/ns/default/sa/app spiffe://old.td/ns/default/sa/app";
    assert_eq!(way(&made, "outbound|80||app.test"), format!("each: outbound_.80_._.app.test [{names}] [\"istio\"]"));
    assert_eq!(way(&made, "outbound|82||app.test"), format!("each: outbound_.82_._.app.test [{names}] [\"istio\",\"h2\"]"));
    assert_eq!(way(&made, "outbound|80||outside.test"), "plaintext");
    let assignment = made.endpoints.iter().find(|assignment| assignment.cluster_name == "outbound|80||app.test").unwrap();
    let endpoints = assignment.endpoints.iter().flat_map(|locality| &locality.lb_endpoints).map(json_of);
    let modes: Vec<Value> =
        endpoints.map(|endpoint| endpoint["metadata"]["filter_metadata"]["envoy.transport_socket_match"]["tlsMode"].clone()).collect();
    assert_eq!(modes, [json!("istio"), Value::Null]);
}

/// The addresses of a cluster's instances that say they take mutual TLS.
fn taking(made: &Translation, name: &str) -> usize {
    let assignment = made.endpoints.iter().find(|assignment| assignment.cluster_name == name).unwrap();
    let endpoints = assignment.endpoints.iter().flat_map(|locality| &locality.lb_endpoints).map(json_of);
    endpoints.filter(|endpoint| !endpoint["metadata"]["filter_metadata"]["envoy.transport_socket_match"].is_null()).count()
}

#[test]
fn a_policy_or_a_rule_may_say_otherwise() {
    let of_workload =
        |mode: &str, ports: &str| policy("w", &format!("selector: {{matchLabels: {{app: app}}}}, mtls: {{mode: {mode}}}{ports}"));
    let sni = "outbound_.80_._.app.test";
    let account = "spiffe://cluster.local/ns/default/sa/app";
    let automatic = format!("each: {sni} [{account}] [\"istio\"]");
    let asked = format!("all: {sni} [{account}] [\"istio\"]");
    for (config, more, expected, instances) in [
        (PLAIN, policy("n", "mtls: {mode: STRICT}"), automatic.as_str(), 1),
        (PLAIN, policy("n", "mtls: {mode: DISABLE}"), "plaintext", 0),
        ("enableAutoMtls: false\n", policy("n", "mtls: {mode: STRICT}"), "plaintext", 1),
        (PLAIN, of_workload("DISABLE", ""), &automatic, 0),
        (PLAIN, of_workload("STRICT", ", portLevelMtls: {9090: {mode: DISABLE}}"), &automatic, 0),
        (PLAIN, of_workload("DISABLE", ", portLevelMtls: {9090: {mode: STRICT}}"), &automatic, 1),
        // As with Istio: who is told that the namespace takes none sends none, whatever a workload takes.
        (PLAIN, policy("n", "mtls: {mode: DISABLE}") + &of_workload("STRICT", ""), "plaintext", 1),
        (PLAIN, policy("n", "mtls: {mode: DISABLE}") + &rule("{mode: ISTIO_MUTUAL}"), &asked, 0),
        (PLAIN, rule("{mode: DISABLE}"), "plaintext", 1),
        (
            PLAIN,
            rule("{mode: ISTIO_MUTUAL, sni: a.test, subjectAltNames: ['spiffe://x/y', b.test]}"),
            "all: a.test [spiffe://x/y b.test] [\"istio\"]",
            1,
        ),
    ] {
        let made = of_client(config, &more);
        assert_eq!(
            (way(&made, "outbound|80||app.test").as_str(), taking(&made, "outbound|80||app.test")),
            (expected, instances),
            "{config}{more}"
        );
        assert_eq!(findings(&made), Vec::<String>::new(), "{more}");
    }
}

#[test]
fn clients_of_a_gateway_may_be_of_the_mesh() {
    let server = "---\napiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: edge}\nspec: {selector: {istio: ingressgateway}, servers: [\
                  {port: {number: 443, name: https, protocol: HTTPS}, hosts: [a.test], tls: {mode: ISTIO_MUTUAL, subjectAltNames: ['spiffe://x/y']}}]}\n";
    let made = translate(&mesh_with(PLAIN, &[("mesh.yaml", &format!("{APPLICATION}{server}"))]), &gateway());
    let chain = json_of(&made.listeners[0].filter_chains[0]);
    let context = &chain["transport_socket"]["typed_config"];
    assert_eq!((&context["require_client_certificate"], &chain["filter_chain_match"]["server_names"]), (&json!(true), &json!(["a.test"])));
    let validation = &context["common_tls_context"]["combined_validation_context"];
    assert_eq!(
        validation["default_validation_context"]["match_typed_subject_alt_names"],
        json!([{"san_type": "URI", "matcher": {"exact": "spiffe://x/y"}}])
    );
    assert_eq!(validation["validation_context_sds_secret_config"]["name"], "ROOTCA");
    assert_eq!(findings(&made), Vec::<String>::new());
}
