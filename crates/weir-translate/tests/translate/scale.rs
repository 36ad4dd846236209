//! Large edges: many hosts, and many certificates at one port.

use std::collections::BTreeSet;
use std::fmt::Write;

use weir_api::{ObjectChange, Source, parse};
use weir_model::MeshSnapshot;
use weir_translate::{Class, ClassKey, Encoded, Labels, Work};
use weir_xds::resource::ResourceType;

use crate::misdirected::CERTIFICATE;
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
             {{istio: ingressgateway}}, servers: [{{port: {{number: 443, name: s{number}, protocol: HTTPS}}, hosts: [s{number}.w.test], tls: \
             {{mode: SIMPLE, credentialName: c{number}}}}}]}}\n"
        );
    }
    text
}

/// A certificate that is for the hosts of all servers.
fn secret(number: usize, key: &str) -> String {
    secret_with(number, CERTIFICATE, key)
}

fn secret_with(number: usize, certificate: &str, key: &str) -> String {
    let indented: String = certificate.lines().map(|line| format!("    {line}\n")).collect();
    format!(
        "---\napiVersion: v1\nkind: Secret\nmetadata: {{name: c{number}, namespace: istio-system}}\nstringData:\n  tls.key: {key}\n  tls.crt: \
         |\n{indented}"
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
    let begun = class.work();
    assert_eq!((begun.secrets, begun.certificates, begun.reviews), (CERTIFICATES, CERTIFICATES, 1));

    // It is renewed: that is read and made, and nothing else is looked at.
    let renewed = with(&before, secret(7, "new"));
    assert_eq!(refresh(&mut class, &renewed), [(ResourceType::Secret, "kubernetes://c7".to_owned())]);
    let expected = Work { secrets: begun.secrets + 1, certificates: begun.certificates + 1, ..begun };
    assert_eq!(class.work(), expected);

    // It is for nothing any more that can be told: of the other servers' hosts too its own knows nothing then.
    let last = with(&renewed, secret_with(7, "none", "new"));
    let other = refresh(&mut class, &last);
    let own = "https.443.s7.g7.default".to_owned();
    assert_eq!(
        other.into_iter().collect::<BTreeSet<_>>(),
        [(ResourceType::Secret, "kubernetes://c7".to_owned()), (ResourceType::Route, own)].into()
    );
    let work = class.work();
    assert_eq!((work.secrets, work.certificates, work.clusters), (expected.secrets + 1, expected.certificates + 1, expected.clusters));

    // What concerns another namespace's proxies is nothing to this one.
    let foreign = secret(7, "k").replace("istio-system", "default");
    let added = ObjectChange::added(parse(&Source::new("other.yaml", foreign)).objects[0].clone());
    assert_eq!(refresh(&mut class, &last.update(&[added], None, &[])), []);
}

/// The mesh with another version of the seventh Secret.
fn with(mesh: &MeshSnapshot, text: String) -> MeshSnapshot {
    let old = mesh.secrets[&("istio-system".to_owned(), "c7".to_owned())].clone();
    let new = parse(&Source::new("secret.yaml", text)).objects[0].clone();
    mesh.update(&[ObjectChange { old: Some(old), new: Some(new) }], None, &[])
}
