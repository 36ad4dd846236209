//! What the listeners of a gateway are told of those whom they let in and believe.

use serde_json::{Value, json};
use weir_translate::translate;

use crate::support::{gateway, json_of, mesh_with};

/// The only filter chain of a gateway's listener.
fn chain(config: &str, port: &str, tls: &str) -> Value {
    let shop = format!(
        "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{name: shop}}\nspec: {{selector: {{istio: ingressgateway}}, \
         servers: [{{port: {port}, hosts: [shop.test]{tls}}}]}}\n---\n\
         apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: shop}}\nspec: {{hosts: [shop.test], gateways: [shop], \
         http: [{{directResponse: {{status: 204}}}}]}}\n"
    );
    let made = translate(&mesh_with(config, &[("shop.yaml", &shop)]), &gateway());
    json_of(&made.listeners[0])["filter_chains"][0].take()
}

#[test]
fn of_optional_certificates_those_that_are_shown_are_looked_at() {
    let asked = |mode: &str| {
        let files = "serverCertificate: /own.pem, privateKey: /own.key, caCertificates: /ca.pem";
        let tls = format!(", tls: {{mode: {mode}, {files}}}");
        let chain = chain("accessLogFile: ''\n", "{number: 443, name: https, protocol: HTTPS}", &tls);
        let context = &chain["transport_socket"]["typed_config"];
        let common = &context["common_tls_context"];
        let validates = ["validation_context", "combined_validation_context", "validation_context_sds_secret_config"];
        (validates.iter().any(|name| common[*name].is_object()), context["require_client_certificate"].as_bool())
    };
    assert_eq!(asked("SIMPLE"), (false, Some(false)));
    assert_eq!(asked("OPTIONAL_MUTUAL"), (true, Some(false)));
    assert_eq!(asked("MUTUAL"), (true, Some(true)));
}

#[test]
fn as_many_proxies_are_believed_as_the_topology_of_gateways_says() {
    let hops = |config: &str| {
        let chain = chain(config, "{number: 80, name: http, protocol: HTTP}", "");
        chain["filters"][0]["typed_config"]["xff_num_trusted_hops"].as_u64().unwrap_or_default()
    };
    assert_eq!(hops("accessLogFile: ''\n"), 0);
    assert_eq!(hops("defaultConfig: {gatewayTopology: {numTrustedProxies: 2}}\n"), 2);
}

#[test]
fn what_a_server_does_not_say_of_tls_the_mesh_does() {
    let mesh = "tlsDefaults: {minProtocolVersion: TLSV1_3, cipherSuites: [ECDHE-RSA-AES256-GCM-SHA384], ecdhCurves: [P-256]}\n";
    let parameters = |config: &str, own: &str| {
        let files = "serverCertificate: /own.pem, privateKey: /own.key";
        let tls = format!(", tls: {{mode: SIMPLE, {files}{own}}}");
        let mut chain = chain(config, "{number: 443, name: https, protocol: HTTPS}", &tls);
        chain["transport_socket"]["typed_config"]["common_tls_context"]["tls_params"].take()
    };
    assert_eq!(parameters("accessLogFile: ''\n", ""), Value::Null);
    let of_mesh = json!({
        "tls_minimum_protocol_version": "TLSv1_3", "cipher_suites": ["ECDHE-RSA-AES256-GCM-SHA384"], "ecdh_curves": ["P-256"]
    });
    assert_eq!(parameters(mesh, ""), of_mesh);
    let own = json!({
        "tls_minimum_protocol_version": "TLSv1_2", "cipher_suites": ["ECDHE-RSA-AES128-GCM-SHA256"], "ecdh_curves": ["P-256"]
    });
    assert_eq!(parameters(mesh, ", minProtocolVersion: TLSV1_2, cipherSuites: [ECDHE-RSA-AES128-GCM-SHA256]"), own);
}
