//! Every field of every kind is known, and arrives where it belongs.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

use std::fs;
use std::path::Path;

use weir_api::diagnostic::Severity;
use weir_api::parse;
use weir_api::resources::Spec;
use weir_api::resources::destination_rule::ClientTlsMode;
use weir_api::resources::http_policy::UnmatchedPreflights;
use weir_api::resources::kubernetes::IntOrString;
use weir_api::resources::{Duration, VirtualService};
use weir_api::source::Source;

/// The contents of a file's documents, and how many warnings there are.
fn read(file: &str) -> (Vec<Spec>, usize) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fields").join(file);
    let parsed = parse::parse(&Source::new(file, fs::read_to_string(path).unwrap()));
    let said: Vec<String> = parsed.diagnostics.iter().map(ToString::to_string).collect();
    assert!(parsed.diagnostics.iter().all(|diagnostic| diagnostic.severity == Severity::Warning), "{said:#?}");
    (parsed.objects.iter().map(|object| object.spec.clone()).collect(), said.len())
}

fn virtual_service(spec: &Spec) -> &VirtualService {
    match spec {
        Spec::VirtualService(spec) => spec,
        other => panic!("{other:?}"),
    }
}

#[test]
fn virtual_services() {
    let (specs, warnings) = read("virtual-service.yaml");
    assert_eq!((specs.len(), warnings), (3, 4));
    let rules = &virtual_service(&specs[0]).http;
    assert_eq!(rules[0].timeout, Some(Duration::from_secs(10)));
    assert_eq!(rules[0].route.iter().map(|route| route.weight).collect::<Vec<_>>(), [75, 25]);
    let cors = rules[0].cors_policy.as_ref().unwrap();
    assert_eq!((cors.unmatched_preflights, cors.allow_credentials), (UnmatchedPreflights::Ignore, Some(true)));
    assert_eq!(rules[2].redirect.as_ref().unwrap().prefix_rewrite.as_deref(), Some("/g"));
    assert_eq!(virtual_service(&specs[1]).http[0].mirror_percent, Some(5));
    assert_eq!(virtual_service(&specs[2]).tls[0].r#match[0].sni_hosts, ["db.example.com"]);
}

#[test]
fn destination_rules() {
    let (specs, warnings) = read("destination-rule.yaml");
    assert_eq!((specs.len(), warnings), (2, 4));
    let Spec::DestinationRule(rule) = &specs[0] else { panic!("{:?}", specs[0]) };
    let policy = rule.traffic_policy.as_ref().unwrap();
    assert_eq!(policy.retry_budget.as_ref().unwrap().percent, Some(25.0));
    let outliers = policy.outlier_detection.as_ref().unwrap();
    assert_eq!((outliers.consecutive_5xx_errors, &outliers.outlier_detection_http_error_codes), (Some(7), &vec![500, 503]));
    let tls = policy.tls.as_ref().unwrap();
    assert_eq!((tls.mode, tls.ca_crl.as_str()), (ClientTlsMode::Mutual, "/certs/crl.pem"));
    let balancers = policy.port_level_settings.iter().filter_map(|settings| settings.load_balancer.as_ref());
    let zones: Vec<_> = balancers.filter_map(|balancer| balancer.zone_aware_lb_setting.as_ref()).collect();
    assert_eq!(zones[0].min_cluster_size, Some(6));
}

#[test]
fn gateways() {
    let (specs, warnings) = read("gateway.yaml");
    assert_eq!((specs.len(), warnings), (1, 1));
    let Spec::Gateway(gateway) = &specs[0] else { panic!("{:?}", specs[0]) };
    let tls = |index: usize| gateway.servers[index].tls.as_ref().unwrap();
    assert!(tls(0).https_redirect);
    assert_eq!(tls(2).credential_names, ["rsa", "ecdsa"]);
    assert_eq!(tls(3).tls_certificates[1].private_key, "/certs/e.key");
    assert_eq!(tls(4).ca_cert_credential_name, "d-ca");
}

#[test]
fn the_other_kinds_of_istio() {
    let (specs, warnings) = read("others.yaml");
    assert_eq!((specs.len(), warnings), (11, 0));
    let Spec::ServiceEntry(entry) = &specs[0] else { panic!("{:?}", specs[0]) };
    assert_eq!((entry.endpoints[0].weight, entry.endpoints[0].locality.as_str()), (5, "eu/a/1"));
    let Spec::EnvoyFilter(filter) = &specs[9] else { panic!("{:?}", specs[9]) };
    assert_eq!((filter.priority, filter.config_patches.len()), (-5, 11));
}

#[test]
fn kubernetes() {
    let (specs, warnings) = read("kubernetes.yaml");
    assert_eq!((specs.len(), warnings), (9, 0));
    let Spec::Service(web) = &specs[0] else { panic!("{:?}", specs[0]) };
    let targets: Vec<_> = web.spec.ports.iter().map(|port| port.target_port.clone().unwrap()).collect();
    assert_eq!(targets, [IntOrString::String("web".to_owned()), IntOrString::Int(8443)]);
    let Spec::Service(none) = &specs[1] else { panic!("{:?}", specs[1]) };
    let Spec::Service(alias) = &specs[2] else { panic!("{:?}", specs[2]) };
    assert!(none.spec.is_headless() && !web.spec.is_headless() && alias.spec.is_external_name());
    let Spec::EndpointSlice(slice) = &specs[3] else { panic!("{:?}", specs[3]) };
    let ready: Vec<bool> = slice.endpoints.iter().map(|endpoint| endpoint.conditions.is_ready()).collect();
    assert_eq!(ready, [true, false, true]);
    let Spec::Pod(pod) = &specs[5] else { panic!("{:?}", specs[5]) };
    assert_eq!((pod.spec.service_account_name.as_str(), pod.status.pod_ips.len(), pod.status.is_ready()), ("web", 2, true));
    let Spec::Secret(secret) = &specs[7] else { panic!("{:?}", specs[7]) };
    assert_eq!(secret.data["tls.crt"], "YQ==");
    assert!(!format!("{secret:?}").contains("YQ=="));
}
