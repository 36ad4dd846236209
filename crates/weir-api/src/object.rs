//! An object: one resource, with its name, its typed content, and the text that it came from.

use std::sync::Arc;

use crate::diagnostic::{Diagnostic, Severity, Topic};
use crate::field_path::FieldPath;
use crate::kind::{DOCUMENT, KINDS, Kind, KindInfo, NETWORKING, SECURITY, is_namespaced};
use crate::likely::likely;
use crate::node::{Node, Value};
use crate::object_key::ObjectKey;
use crate::object_name::ObjectName;
use crate::resources::ingress::Ingress;
use crate::resources::kubernetes::{self, ConfigMap, EndpointSlice, Endpoints, Namespace, Pod, Secret, Service};
use crate::resources::meta::ObjectMeta;
use crate::resources::peer_authentication::PolicyRead;
use crate::resources::{
    AuthorizationPolicy, DestinationRule, EnvoyFilter, Gateway, PeerAuthentication, RequestAuthentication, ServiceEntry, Sidecar, Spec,
    VirtualService, WorkloadEntry, WorkloadGroup,
};
use crate::source::{Place, Source, Span};
use crate::stand_in;
use crate::syntax::de::{self, Unknown};
use crate::validate;

/// One resource of a mesh.
#[derive(Debug, Clone)]
pub struct Object {
    /// Its kind.
    pub kind: Kind,
    /// Its `apiVersion` as written.
    pub api_version: String,
    /// Its name, age, labels and annotations; the namespace is never empty for a namespaced kind.
    pub meta: ObjectMeta,
    /// Its typed content.
    pub spec: Spec,
    /// The text that it was read from.
    pub source: Arc<Source>,
    /// All of it, as written, each part with its place.
    pub node: Node,
}

impl Object {
    /// Which object it is.
    pub fn name(&self) -> ObjectName {
        ObjectName { kind: self.kind.name().to_owned(), namespace: self.meta.namespace.clone(), name: self.meta.name.clone() }
    }

    /// What tells it apart from the others of its mesh.
    pub fn key(&self) -> ObjectKey {
        ObjectKey { kind: self.kind, namespace: self.meta.namespace.clone(), name: self.meta.name.clone() }
    }

    /// Whether it stands for one that is refused: it refuses what that one may have been meant to.
    pub fn stands_in(&self) -> bool {
        match &self.spec {
            Spec::AuthorizationPolicy(policy) => policy.stands_in,
            Spec::PeerAuthentication(policy) => policy.read != PolicyRead::Whole,
            Spec::RequestAuthentication(policy) => policy.stands_in,
            _ => false,
        }
    }

    /// Where a field stands; the nearest part that is written, if the field is not.
    pub fn place(&self, path: &FieldPath) -> Option<Place> {
        self.node.place_at(&self.source, path)
    }

    /// A diagnostic about a field of this object, with its place.
    pub fn diagnostic(&self, severity: Severity, path: FieldPath, message: impl Into<String>) -> Diagnostic {
        let place = self.place(&path);
        Diagnostic { object: Some(self.name()), ..Diagnostic::new(severity, message).at(path).placed(place) }
    }
}

/// Two objects are equal if they say the same at the same place: all else of an object follows from its text.
impl PartialEq for Object {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
            || (self.kind == other.kind
                && self.meta.namespace == other.meta.namespace
                && self.source.path == other.source.path
                && self.node == other.node)
    }
}

/// What became of one document.
pub struct Read {
    /// The object, where its kind is known and its text has the form of that kind.
    pub object: Option<Object>,
    /// What is in force instead of one that is refused, if nothing better is known of it.
    pub stand_in: Option<Object>,
    /// Whether an error stands among the diagnostics.
    pub refused: bool,
    /// What is to be said of it.
    pub diagnostics: Vec<Diagnostic>,
}

/// Groups whose kinds Weir passes over: no traffic goes where it must not for want of them.
const NOT_TRAFFIC: &[&str] = &["telemetry.istio.io", "extensions.istio.io", "gateway.networking.k8s.io"];

/// Gives a document its type and checks it.
pub fn read(source: &Arc<Source>, node: Node) -> Read {
    let root = FieldPath::default();
    let text = |key: &str| node.get(key).and_then(Node::as_str).unwrap_or_default().to_owned();
    let (kind, api_version) = (text("kind"), text("apiVersion"));
    let (mut meta, meta_errors) = de::read::<ObjectMeta>(&node, &root.key("metadata"), Unknown::Refuse);
    let (group, version) = api_version.rsplit_once('/').unwrap_or(("", &api_version));
    let info = KINDS.iter().find(|info| info.name == kind && info.group == group);
    settle_namespace(&mut meta, group, &kind);
    let name = ObjectName { kind: kind.clone(), namespace: meta.namespace.clone(), name: meta.name.clone() };
    let finish = |diagnostics: Vec<Diagnostic>, node: &Node| -> Vec<Diagnostic> {
        let complete = |diagnostic: Diagnostic| {
            let mut diagnostic = diagnostic.placed_in(source, node);
            diagnostic.object = (!name.kind.is_empty()).then(|| name.clone());
            diagnostic
        };
        diagnostics.into_iter().map(complete).collect()
    };
    let Some(info) = info else {
        let diagnostics = finish(vec![unknown_kind(&kind, &api_version, group)], &node);
        let refused = any_error(&diagnostics);
        let meant = meant_policy(&kind, group).filter(|_| refused);
        let closed = meant.and_then(|kind| Some((kind, stand_in::of(kind, &meta, &node, &[])?)));
        let stand_in = closed.map(|(kind, spec)| Object { kind, api_version, meta, spec, source: source.clone(), node });
        return Read { object: None, stand_in, refused, diagnostics };
    };
    let mut diagnostics = meta_errors;
    if !info.versions.contains(&version) {
        let known: Vec<String> = info.versions.iter().map(|v| format!("`{}{v}`", prefix(info.group))).collect();
        let error = Diagnostic::error(format!("unknown version `{api_version}`")).at(root.key("apiVersion"));
        diagnostics.push(error.with_help(format!("known are {}", known.join(", "))));
    }
    if meta.name.is_empty() {
        diagnostics.push(Diagnostic::error("it has no name").at(root.key("metadata").key("name")).with_help("add `metadata.name`"));
    }
    let (spec, errors) = content(info, &node);
    let unreadable = any_error(&errors);
    let said_of_text = said_of_text(info, &node);
    let is_sound = !unreadable && !any_error(&said_of_text);
    diagnostics.extend(errors);
    diagnostics.extend(said_of_text);
    if is_sound {
        diagnostics.extend(validate::check(&meta, &spec));
    }
    let refused = any_error(&diagnostics);
    let object = Object { kind: info.kind, api_version, meta, spec, source: source.clone(), node };
    let stand_in = refused.then(|| stand_in::of(object.kind, &object.meta, &object.node, &diagnostics)).flatten();
    let stand_in = stand_in.map(|spec| Object { spec, ..object.clone() });
    diagnostics.extend(stand_in.as_ref().map(|_| stand_in::warning(info.kind)));
    let diagnostics = finish(diagnostics, &object.node);
    Read { object: (!unreadable).then_some(object), stand_in, refused, diagnostics }
}

/// Gives what is written without a namespace the one that it is in, and takes it from what is in none.
pub(crate) fn settle_namespace(meta: &mut ObjectMeta, group: &str, kind: &str) {
    if !is_namespaced(group, kind) {
        meta.namespace.clear();
    } else if meta.namespace.is_empty() {
        meta.namespace = "default".to_owned();
    }
}

/// Which policy somebody probably meant: it may be the only one that keeps anybody out.
fn meant_policy(kind: &str, group: &str) -> Option<Kind> {
    let policies = || KINDS.iter().filter(|info| info.group == SECURITY);
    let kinds: Vec<&str> = policies().map(|info| info.name).collect();
    let is_of_group = group.is_empty() || likely(group, &[SECURITY]).is_some();
    let meant = likely(kind, &kinds).filter(|_| is_of_group)?;
    policies().find(|info| info.name == meant).map(|info| info.kind)
}

/// What stands in for a document that cannot be read, where it speaks of a policy; `at` is a place within it.
pub(crate) fn of_unreadable(source: &Arc<Source>, at: Option<usize>) -> Vec<Object> {
    stand_in::unreadable(&source.text, at).into_iter().map(|(kind, meta, spec)| unwritten(source, kind, meta, spec)).collect()
}

/// What stands in for the policies of a text that is not UTF-8, by what of it is.
pub fn of_broken_text(source: &Arc<Source>) -> Vec<Arc<Object>> {
    of_unreadable(source, None).into_iter().map(Arc::new).collect()
}

/// What stands in for whatever may be at a path that cannot be read at all: nobody gets in anywhere.
pub fn of_unknown(path: &str) -> Option<Arc<Object>> {
    let (meta, spec) = stand_in::of_unknown(path)?;
    Some(Arc::new(unwritten(&Source::new(path, ""), Kind::AuthorizationPolicy, meta, spec)))
}

fn unwritten(source: &Arc<Source>, kind: Kind, meta: ObjectMeta, spec: Spec) -> Object {
    let node = Node { value: Value::Null, span: Span::default() };
    Object { kind, api_version: String::new(), meta, spec, source: source.clone(), node }
}

fn any_error(diagnostics: &[Diagnostic]) -> bool {
    diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error)
}

fn prefix(group: &str) -> String {
    if group.is_empty() { String::new() } else { format!("{group}/") }
}

fn unknown_kind(kind: &str, api_version: &str, group: &str) -> Diagnostic {
    let root = FieldPath::default();
    if kind.is_empty() || api_version.is_empty() {
        let missing = if kind.is_empty() { "kind" } else { "apiVersion" };
        return Diagnostic::error(format!("not a resource: it has no `{missing}`"))
            .on(Topic::Unreadable)
            .with_help("every document begins with `apiVersion` and `kind`");
    }
    let same_name = KINDS.iter().find(|info| info.name == kind);
    let names: Vec<&str> = KINDS.iter().filter(|info| info.group == group).map(|info| info.name).collect();
    if let Some(info) = same_name.filter(|info| likely(group, &[info.group]).is_some() || (group.is_empty() && info.group == SECURITY)) {
        let help = format!("did you mean `{}{}`?", prefix(info.group), info.versions[0]);
        let error = Diagnostic::error(format!("unknown version `{api_version}` of {kind}")).on(Topic::Unreadable);
        return error.at(root.key("apiVersion")).with_help(help);
    }
    if [NETWORKING, SECURITY].contains(&group) {
        let of_group: Vec<&str> = KINDS.iter().filter(|info| info.group == group).map(|info| info.name).collect();
        let error = Diagnostic::error(format!("unknown kind `{kind}`")).on(Topic::Unreadable).at(root.key("kind"));
        return match likely(kind, &names) {
            Some(meant) => error.with_help(format!("did you mean `{meant}`?")),
            None => error.with_help(format!("known are {}", of_group.join(", "))),
        };
    }
    if NOT_TRAFFIC.contains(&group) {
        return Diagnostic::warning(format!("{api_version} {kind} is not carried out")).on(Topic::NotCarriedOut).at(root.key("kind"));
    }
    let said = format!("{api_version} {kind} is nothing that a mesh reads");
    Diagnostic::new(Severity::Info, said).on(Topic::NotCarriedOut).at(root.key("kind"))
}

/// Reads the content of a kind. Istio's fields are known to the last one; of Kubernetes' only those that a mesh reads.
fn content(info: &KindInfo, node: &Node) -> (Spec, Vec<Diagnostic>) {
    let top = FieldPath::default();
    macro_rules! istio {
        ($kind:ident) => {{
            let (spec, errors) = de::read::<$kind>(node, &de::spec(), Unknown::Refuse);
            (Spec::$kind(spec.into()), errors)
        }};
    }
    macro_rules! kubernetes {
        ($kind:ident) => {{
            let (spec, errors) = de::read::<$kind>(node, &top, Unknown::Allow);
            (Spec::$kind(spec.into()), errors)
        }};
    }
    match info.kind {
        Kind::VirtualService => istio!(VirtualService),
        Kind::DestinationRule => istio!(DestinationRule),
        Kind::Gateway => istio!(Gateway),
        Kind::ServiceEntry => istio!(ServiceEntry),
        Kind::WorkloadEntry => istio!(WorkloadEntry),
        Kind::WorkloadGroup => istio!(WorkloadGroup),
        Kind::Sidecar => istio!(Sidecar),
        Kind::EnvoyFilter => istio!(EnvoyFilter),
        Kind::RequestAuthentication => istio!(RequestAuthentication),
        Kind::AuthorizationPolicy => istio!(AuthorizationPolicy),
        Kind::PeerAuthentication => istio!(PeerAuthentication),
        Kind::Ingress => kubernetes!(Ingress),
        Kind::Service => kubernetes!(Service),
        Kind::EndpointSlice => kubernetes!(EndpointSlice),
        Kind::Endpoints => kubernetes!(Endpoints),
        Kind::Pod => kubernetes!(Pod),
        Kind::Node => {
            let (spec, errors) = de::read::<kubernetes::Node>(node, &top, Unknown::Allow);
            (Spec::Node(spec), errors)
        }
        Kind::Namespace => kubernetes!(Namespace),
        Kind::Secret => kubernetes!(Secret),
        Kind::ConfigMap => kubernetes!(ConfigMap),
    }
}

/// What is wrong with the text of an object of Istio's, whatever its type makes of it.
fn said_of_text(info: &KindInfo, node: &Node) -> Vec<Diagnostic> {
    if ![NETWORKING, SECURITY].contains(&info.group) {
        return vec![];
    }
    let mut found = unknown_top_fields(node);
    found.extend(validate::check_text(info.kind, node));
    found
}

fn unknown_top_fields(node: &Node) -> Vec<Diagnostic> {
    let unknown = node.entries().iter().filter(|entry| !DOCUMENT.contains(&entry.key.as_str()));
    unknown
        .map(|entry| {
            let error =
                Diagnostic::error(format!("unknown field `{}`", entry.key)).about_name().at(FieldPath::default().key(entry.key.clone()));
            match likely(&entry.key, DOCUMENT) {
                Some(meant) => error.with_help(format!("did you mean `{meant}`?")),
                None => error.with_help("the fields of a resource stand below `spec`"),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse;

    #[test]
    fn documents_find_their_kind() {
        let said = |kind: &str| {
            let text = format!("apiVersion: {kind}\nmetadata: {{name: a}}\nspec: {{address: 10.0.0.1}}\n");
            let parsed = parse::parse(&Source::new("x.yaml", text));
            let said = parsed.diagnostics.iter().map(|diagnostic| format!("{}: {}", diagnostic.severity.as_str(), diagnostic.message));
            (parsed.objects.len(), said.collect::<Vec<_>>().join(", "))
        };
        for (kind, objects, message) in [
            ("networking.istio.io/v1alpha3\nkind: WorkloadEntry", 1, ""),
            ("networking.istio.io/v3\nkind: WorkloadEntry", 0, "error: unknown version `networking.istio.io/v3`"),
            ("networking.istio.io/v1\nkind: WorkloadEntri", 0, "error: unknown kind `WorkloadEntri`"),
            ("networking.itsio.io/v1\nkind: WorkloadEntry", 0, "error: unknown version `networking.itsio.io/v1` of WorkloadEntry"),
            ("v1\nstatus: {}", 0, "error: not a resource: it has no `kind`"),
            ("telemetry.istio.io/v1\nkind: Telemetry", 0, "warning: telemetry.istio.io/v1 Telemetry is not carried out"),
            ("security.istio.io/v1\nkind: AuthorisationPolicy", 0, "error: unknown kind `AuthorisationPolicy`"),
            ("security.itsio.io/v1\nkind: PeerAuthentication", 0, "error: unknown version `security.itsio.io/v1` of PeerAuthentication"),
            (
                "policy.linkerd.io/v1\nkind: AuthorizationPolicy",
                0,
                "info: policy.linkerd.io/v1 AuthorizationPolicy is nothing that a mesh reads",
            ),
            ("apps/v1\nkind: Deployment", 0, "info: apps/v1 Deployment is nothing that a mesh reads"),
        ] {
            assert_eq!(said(kind), (objects, message.to_owned()), "{kind}");
        }
    }

    #[test]
    fn refused_objects_are_kept_apart() {
        let document = |spec: &str| format!("apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {{name: a}}\nspec: {{{spec}}}\n");
        for (spec, objects, refused) in [("egress: [{hosts: ['*/*']}]", 1, 0), ("egress: [{hosts: ['*']}]", 0, 1), ("egress: 1", 0, 0)] {
            let parsed = parse::parse(&Source::new("x.yaml", document(spec)));
            assert_eq!((parsed.objects.len(), parsed.refused.len()), (objects, refused), "{spec}");
        }
    }
}
