//! Large edges: many hosts, and many certificates at one port.

use std::fmt::Write;

use weir_api::{ObjectChange, Source, parse};
use weir_model::MeshSnapshot;
use weir_translate::{Class, ClassKey, Encoded, Labels};
use weir_xds::resource::ResourceType;

use crate::support::{gateway, mesh};

const HOSTS: usize = 10_000;
const CERTIFICATES: usize = 1_000;

/// Hosts outside the mesh, as ServiceEntries.
fn entries() -> String {
    let mut text = String::new();
    for number in 0..HOSTS {
        let _ = write!(
            text,
            "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: e{number}}}\nspec: {{hosts: [e{number}.far.test], \
             resolution: DNS, ports: [{{number: 443, name: tls, protocol: TLS}}]}}\n"
        );
    }
    text
}

/// A server for each certificate, at one port.
fn servers() -> String {
    let mut text = String::new();
    for number in 0..CERTIFICATES {
        let _ = write!(
            text,
            "---\napiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{name: g{number}, namespace: default}}\nspec: {{selector: \
             {{istio: ingressgateway}}, servers: [{{port: {{number: 443, name: s{number}, protocol: HTTPS}}, hosts: [s{number}.test], tls: \
             {{mode: SIMPLE, credentialName: c{number}}}}}]}}\n"
        );
    }
    text
}

fn secret(number: usize, content: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Secret\nmetadata: {{name: c{number}, namespace: istio-system}}\nstringData: {{tls.crt: {content}, tls.key: k}}\n"
    )
}

fn refresh(class: &mut Class, mesh: &MeshSnapshot) -> Vec<(ResourceType, String)> {
    let update = class.refresh(mesh, &gateway());
    assert!(update.removals.is_empty());
    update.upserts.iter().map(|made: &std::sync::Arc<Encoded>| (made.kind, made.name.to_string())).collect()
}

#[test]
fn a_certificate_of_a_thousand_changes_alone() {
    let (entries, servers) = (entries(), servers());
    let secrets: String = (0..CERTIFICATES).map(|number| secret(number, "old")).collect();
    let before = mesh(&[("entries.yaml", &entries), ("servers.yaml", &servers), ("secrets.yaml", &secrets)]);
    let mut class = Class::new(ClassKey::of(&before, &Labels::of(&before), &gateway()));
    let all = refresh(&mut class, &before);
    let count = |kind: ResourceType| all.iter().filter(|(made, _)| *made == kind).count();
    assert_eq!((count(ResourceType::Secret), count(ResourceType::Listener)), (CERTIFICATES, 1));
    assert!(count(ResourceType::Cluster) >= HOSTS && count(ResourceType::Route) == CERTIFICATES);
    let old = before.secrets[&("istio-system".to_owned(), "c7".to_owned())].clone();
    let new = parse(&Source::new("secret.yaml", secret(7, "new"))).objects[0].clone();
    let after = before.update(&[ObjectChange { old: Some(old), new: Some(new) }], None, &[]);
    assert_eq!(refresh(&mut class, &after), [(ResourceType::Secret, "kubernetes://c7".to_owned())]);
}
