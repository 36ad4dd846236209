//! What enters and leaves the mesh as bytes: TLS that is forwarded by clusters' names, Secrets of DestinationRules, the PROXY
//! protocol and tunnels; and what a port's protocol adds to its listener.

use serde_json::{Value, json};
use weir_model::Proxy;
use weir_translate::{Translation, translate};

use crate::support::{cluster, findings, gateway, json_of, mesh_with, sidecar};

const SERVICES: &str = "apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: shop}
spec:
  hosts: [shop.test]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 443, name: tls, protocol: TLS}]
  endpoints:
  - {address: 10.0.0.1, labels: {version: v1, security.istio.io/tlsMode: istio}}
  - {address: 10.0.0.2, labels: {version: v2, security.istio.io/tlsMode: istio}}
  - {address: 10.0.0.3, labels: {version: v1}}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: bank}
spec: {hosts: [bank.test], location: MESH_EXTERNAL, resolution: STATIC, ports: [{number: 443, name: tls, protocol: TLS}],
  subjectAltNames: [vault.bank.test], endpoints: [{address: 10.0.1.1}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: shop}
spec: {host: shop.test, subsets: [{name: v2, labels: {version: v2}}]}
";

fn made(config: &str, more: &str, proxy: &Proxy) -> Translation {
    translate(&mesh_with(config, &[("mesh.yaml", &format!("{SERVICES}---\n{more}"))]), proxy)
}

fn server(port: &str, tls: &str, hosts: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{name: edge}}\nspec: {{selector: {{istio: ingressgateway}}, \
         servers: [{{port: {port}, hosts: {hosts}{tls}}}]}}\n"
    )
}

fn chains(made: &Translation) -> Vec<Value> {
    json_of(&made.listeners[0])["filter_chains"].as_array().unwrap().clone()
}

/// The addresses of an assignment's endpoints.
fn addresses(made: &Translation, name: &str) -> Vec<String> {
    let assignment = made.endpoints.iter().find(|assignment| assignment.cluster_name == name).unwrap();
    let endpoints = assignment.endpoints.iter().flat_map(|locality| &locality.lb_endpoints);
    let address = |endpoint: &Value| endpoint["endpoint"]["address"]["socket_address"]["address"].as_str().unwrap().to_owned();
    endpoints.map(|endpoint| address(&json_of(endpoint))).collect()
}

#[test]
fn auto_passthrough_forwards_tls_of_the_mesh_to_the_cluster_that_it_names() {
    let edge = server("{number: 15443, name: tls, protocol: TLS}", ", tls: {mode: AUTO_PASSTHROUGH}", "['*.test']");
    let made = made("accessLogFile: ''\n", &edge, &gateway());
    let of_chain = |chain: &Value| {
        let condition = &chain["filter_chain_match"];
        (
            condition["server_names"].clone(),
            condition["application_protocols"].clone(),
            chain["filters"][0]["typed_config"]["cluster"].clone(),
        )
    };
    let protocols = json!(["istio", "istio-peer-exchange", "istio-http/1.0", "istio-http/1.1", "istio-h2"]);
    let wanted = |name: &str| (json!([name]), protocols.clone(), json!(name));
    assert_eq!(
        chains(&made).iter().map(of_chain).collect::<Vec<_>>(),
        [wanted("outbound_.443_._.shop.test"), wanted("outbound_.443_.v2_.shop.test")]
    );
    // Who takes no TLS of the mesh is not reached.
    assert_eq!(addresses(&made, "outbound_.443_._.shop.test"), ["10.0.0.1", "10.0.0.2"]);
    assert_eq!(addresses(&made, "outbound_.443_.v2_.shop.test"), ["10.0.0.2"]);
    assert_eq!(addresses(&made, "outbound|443||shop.test").len(), 3);
}

#[test]
fn only_a_gateway_that_forwards_by_names_has_clusters_for_it() {
    let edge = server("{number: 80, name: http, protocol: HTTP}", "", "['*.test']");
    let made = made("accessLogFile: ''\n", &edge, &gateway());
    assert!(made.clusters.iter().all(|cluster| !cluster.name.starts_with("outbound_.")));
}

const SECRET: &str =
    "---\napiVersion: v1\nkind: Secret\nmetadata: {name: bank, namespace: NS}\nstringData: {tls.crt: c, tls.key: k, ca.crt: a}\n";

fn rule(policy: &str, more: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: bank}}\n\
         spec: {{host: bank.test, trafficPolicy: {policy}{more}}}\n"
    )
}

#[test]
fn secrets_of_rules_are_for_gateways_and_for_selected_sidecars() {
    let policy = "{tls: {mode: MUTUAL, sni: a.test, credentialName: bank}}";
    let names = |made: &Translation| made.secrets.iter().map(|secret| secret.name.clone()).collect::<Vec<_>>();
    let config = "accessLogFile: ''\n";
    let at_gateway = made(config, &(rule(policy, "") + &SECRET.replace("NS", "istio-system")), &gateway());
    assert_eq!(names(&at_gateway), ["kubernetes://bank", "kubernetes://bank-cacert"]);
    let tls = json_of(cluster(&at_gateway, "outbound|443||bank.test"))["transport_socket"]["typed_config"]["common_tls_context"].take();
    assert_eq!(tls["tls_certificate_sds_secret_configs"][0]["name"], "kubernetes://bank");
    let validation = &tls["combined_validation_context"];
    assert_eq!(validation["validation_context_sds_secret_config"]["name"], "kubernetes://bank-cacert");
    assert_eq!(validation["default_validation_context"]["match_typed_subject_alt_names"][0]["matcher"]["exact"], "vault.bank.test");

    let client = sidecar("10.2.0.1", &[("app", "client")]);
    let secret = SECRET.replace("NS", "default");
    let selected = made(config, &(rule(policy, ", workloadSelector: {matchLabels: {app: client}}") + &secret), &client);
    assert_eq!(names(&selected), ["kubernetes://bank", "kubernetes://bank-cacert"]);
    let of_all = made(config, &(rule(policy, "") + &secret), &client);
    assert_eq!(names(&of_all), Vec::<String>::new());
    assert!(of_all.clusters.iter().all(|cluster| cluster.name != "outbound|443||bank.test"));
    assert!(findings(&of_all).iter().any(|finding| finding.contains("credentialName is for gateways")), "{:?}", findings(&of_all));
}

#[test]
fn a_secret_that_is_not_there_is_told_and_the_cluster_waits_for_it() {
    let made = made("accessLogFile: ''\n", &rule("{tls: {mode: SIMPLE, credentialName: bank}}", ""), &gateway());
    let socket = json_of(cluster(&made, "outbound|443||bank.test"))["transport_socket"]["typed_config"].take();
    let validation = &socket["common_tls_context"]["combined_validation_context"];
    assert_eq!(validation["validation_context_sds_secret_config"]["name"], "kubernetes://bank-cacert");
    assert!(findings(&made).iter().any(|finding| finding.contains("there is no Secret istio-system/bank")), "{:?}", findings(&made));
}

#[test]
fn names_of_a_service_entry_count_where_the_rule_lists_none() {
    let names = |policy: &str| {
        let made = made("accessLogFile: ''\n", &rule(policy, ""), &gateway());
        let context = json_of(cluster(&made, "outbound|443||bank.test"))["transport_socket"]["typed_config"]["common_tls_context"].take();
        context["validation_context"]["match_typed_subject_alt_names"][0]["matcher"]["exact"].clone()
    };
    assert_eq!(names("{tls: {mode: SIMPLE}}"), "vault.bank.test");
    assert_eq!(names("{tls: {mode: SIMPLE, subjectAltNames: [a.test]}}"), "a.test");
}

#[test]
fn the_proxy_protocol_goes_before_tls() {
    let socket = |policy: &str| {
        let made = made("accessLogFile: ''\n", &rule(policy, ""), &gateway());
        json_of(cluster(&made, "outbound|443||bank.test"))["transport_socket"]["typed_config"].take()
    };
    let plain = socket("{proxyProtocol: {version: V1}}");
    assert_eq!(plain["transport_socket"]["name"], "envoy.transport_sockets.raw_buffer");
    let secure = socket("{proxyProtocol: {version: V2}, tls: {mode: SIMPLE, sni: a.test}}");
    assert_eq!((&secure["config"]["version"], &secure["transport_socket"]["typed_config"]["sni"]), (&json!("V2"), &json!("a.test")));
}

#[test]
fn gateways_behind_proxies_read_the_proxy_protocol_first() {
    let edge = server("{number: 80, name: http, protocol: HTTP}", "", "['*.test']");
    let filters = |config: &str| {
        let made = made(config, &edge, &gateway());
        made.listeners[0].listener_filters.iter().map(|filter| filter.name.clone()).collect::<Vec<_>>()
    };
    assert_eq!(filters("accessLogFile: ''\n"), Vec::<String>::new());
    assert_eq!(filters("defaultConfig: {gatewayTopology: {proxyProtocol: {}}}\n"), ["envoy.filters.listener.proxy_protocol"]);
}

#[test]
fn a_tunnel_is_for_the_routes_of_its_own_rule_or_subset() {
    let hostname = |policy: &str, subset: &str| {
        let edge = server("{number: 9000, name: tcp, protocol: TCP}", "", "['*']");
        let route = format!(
            "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: t}}\nspec: {{hosts: ['*'], gateways: [edge], \
             tcp: [{{route: [{{destination: {{host: bank.test{subset}}}}}]}}]}}\n---\n"
        );
        let rule = rule(
            policy,
            ", subsets: [{name: plain, labels: {}}, {name: v1, labels: {}, trafficPolicy: {tunnel: {targetHost: '2001:db8::1', targetPort: 9, protocol: POST}}}]",
        );
        let made = made("accessLogFile: ''\n", &(edge + &route + &rule), &gateway());
        chains(&made)[0]["filters"][0]["typed_config"]["tunneling_config"].clone()
    };
    let tunnel = "{tunnel: {targetHost: far.test, targetPort: 443}}";
    assert_eq!(hostname(tunnel, ""), json!({"hostname": "far.test:443"}));
    assert_eq!(hostname(tunnel, ", subset: plain"), Value::Null);
    assert_eq!(hostname(tunnel, ", subset: v1"), json!({"hostname": "[2001:db8::1]:9", "use_post": true}));
    assert_eq!(hostname("{connectionPool: {tcp: {maxConnections: 1}}}", ""), Value::Null);
}

#[test]
fn what_a_port_speaks_says_what_its_requests_pass() {
    let first = |protocol: &str, config: &str| {
        let made = made(config, &server(&format!("{{number: 80, name: a, protocol: {protocol}}}"), "", "['*']"), &gateway());
        let manager = chains(&made)[0]["filters"][0]["typed_config"].clone();
        (manager["http_filters"][0]["name"].clone(), manager["http_protocol_options"]["accept_http_10"].clone())
    };
    let plain = "accessLogFile: ''\n";
    assert_eq!(first("HTTP", plain), (json!("envoy.filters.http.grpc_stats"), Value::Null));
    assert_eq!(first("GRPC-WEB", plain).0, "envoy.filters.http.grpc_web");
    assert_eq!(first("HTTP", "defaultConfig: {proxyMetadata: {ISTIO_META_HTTP10: '1'}}\n").1, true);
}

#[test]
fn hosts_of_dynamic_dns_are_looked_up_when_requests_name_them() {
    let entry = |protocol: &str| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: far}}\nspec: {{hosts: ['*.far.test'], \
             location: MESH_EXTERNAL, resolution: DYNAMIC_DNS, ports: [{{number: 80, name: a, protocol: {protocol}}}]}}\n"
        )
    };
    let edge = server("{number: 80, name: http, protocol: HTTP}", "", "['*']");
    let made_of = |protocol: &str| made("accessLogFile: ''\n", &format!("{edge}---\n{}", entry(protocol)), &gateway());
    let http = made_of("HTTP");
    let cluster = json_of(cluster(&http, "outbound|80||*.far.test"));
    assert_eq!(
        (&cluster["cluster_type"]["name"], &cluster["lb_policy"]),
        (&json!("envoy.clusters.dynamic_forward_proxy"), &json!("CLUSTER_PROVIDED"))
    );
    let filters = chains(&http)[0]["filters"][0]["typed_config"]["http_filters"].clone();
    let names: Vec<&str> = filters.as_array().unwrap().iter().filter_map(|filter| filter["name"].as_str()).collect();
    assert!(names.contains(&"envoy.filters.http.dynamic_forward_proxy"), "{names:?}");
    // Of bytes nobody knows for which host they are.
    let tls = made_of("TLS");
    assert!(tls.clusters.iter().all(|cluster| cluster.name != "outbound|80||*.far.test"));
    assert!(findings(&tls).iter().any(|finding| finding.contains("of port 80 only bytes are seen")), "{:?}", findings(&tls));
}

#[test]
fn what_is_no_http_passes_an_ingress_listener_that_finds_out() {
    let workload = "apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {name: w}\nspec: {address: 10.3.0.1, labels: {app: w}}\n---\n\
                    apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {name: w}\nspec: {workloadSelector: {labels: {app: w}}, \
                    egress: [{hosts: ['~/*']}], ingress: [{port: {number: 90, name: any}, defaultEndpoint: '127.0.0.1:91'}]}\n---\n\
                    apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: w}\nspec: {mtls: {mode: DISABLE}}\n";
    let made = made("accessLogFile: ''\n", workload, &sidecar("10.3.0.1", &[("app", "w")]));
    let listener = made.listeners.iter().map(json_of).find(|listener| listener["name"] == "10.3.0.1_90").unwrap();
    assert_eq!(listener["filter_chains"].as_array().unwrap().len(), 1);
    assert_eq!(listener["default_filter_chain"]["filters"][0]["name"], "envoy.filters.network.tcp_proxy");
}

#[test]
fn certificates_in_files_come_as_secrets_of_their_own() {
    let tls = ", tls: {mode: MUTUAL, serverCertificate: /own.pem, privateKey: /own.key, caCertificates: /ca.pem}";
    let edge = server("{number: 443, name: https, protocol: HTTPS}", tls, "['*.test']");
    let policy = "{tls: {mode: MUTUAL, sni: a.test, clientCertificate: /c.pem, privateKey: /c.key, caCertificates: /ca.pem}}";
    let made = made("accessLogFile: ''\n", &format!("{edge}---\n{}", rule(policy, "")), &gateway());
    let names: Vec<&str> = made.secrets.iter().map(|secret| secret.name.as_str()).collect();
    assert_eq!(names, ["file-cert:/own.pem~/own.key", "file-root:/ca.pem", "file-cert:/c.pem~/c.key"]);
    let common = chains(&made)[0]["transport_socket"]["typed_config"]["common_tls_context"].clone();
    assert_eq!(common["tls_certificate_sds_secret_configs"][0]["name"], "file-cert:/own.pem~/own.key");
    assert_eq!(common["combined_validation_context"]["validation_context_sds_secret_config"]["name"], "file-root:/ca.pem");
    assert_eq!(json_of(&made.secrets[0])["tls_certificate"]["certificate_chain"]["filename"], "/own.pem");
}

/// Two chains of one condition would make Envoy refuse the whole port.
#[test]
fn a_rule_that_passes_tls_on_leaves_the_names_to_servers_that_end_it() {
    let own =
        "{port: {number: 443, name: own, protocol: HTTPS}, hosts: [a.test], tls: {mode: SIMPLE, serverCertificate: /c, privateKey: /k}}";
    let rest = "{port: {number: 443, name: rest, protocol: TLS}, hosts: ['*.test'], tls: {mode: PASSTHROUGH}}";
    let edge = format!(
        "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{name: edge}}\nspec: {{selector: {{istio: ingressgateway}}, \
         servers: [{own}, {rest}]}}\n---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: t}}\nspec: {{hosts: \
         ['*.test'], gateways: [edge], tls: [{{match: [{{sniHosts: [a.test]}}], route: [{{destination: {{host: shop.test}}}}]}}, \
         {{match: [{{sniHosts: [b.test]}}], route: [{{destination: {{host: shop.test}}}}]}}]}}\n"
    );
    let made = made("accessLogFile: ''\n", &edge, &gateway());
    let names: Vec<Value> = chains(&made).iter().map(|chain| chain["filter_chain_match"]["server_names"].clone()).collect();
    assert_eq!(names, [json!(["a.test"]), json!(["b.test"])]);
    assert!(findings(&made).iter().any(|finding| finding.contains("has the server name a.test already")), "{:?}", findings(&made));
}
