//! From a text to a mesh's configuration, which may stand in a ConfigMap.

use std::ops::Range;
use std::sync::Arc;

use crate::diagnostic::Diagnostic;
use crate::field_path::FieldPath;
use crate::node::{Entry, Node, Value};
use crate::resources::MeshConfig;
use crate::source::{Source, Span};
use crate::syntax::de::{self, Unknown};
use crate::syntax::yaml;
use crate::validate;

impl MeshConfig {
    /// Reads a mesh's configuration: a plain one, or the ConfigMap whose `mesh` is one. No text at all is the default.
    /// Where an error stands among the diagnostics, the configuration is not to be used.
    pub fn parse(source: &Arc<Source>) -> (Self, Vec<Diagnostic>) {
        let (mesh, _, diagnostics) = Self::parse_as_written(source);
        (mesh, diagnostics)
    }

    /// The same, and what is written, without defaults, as JSON; null if it cannot be read.
    pub fn parse_as_written(source: &Arc<Source>) -> (Self, serde_json::Value, Vec<Diagnostic>) {
        let (source, node) = match configuration(source) {
            Ok(found) => found,
            Err(error) => return (Self::default(), serde_json::Value::Null, vec![*error]),
        };
        let (mesh, mut diagnostics) = de::read::<Self>(&node, &FieldPath::default(), Unknown::Refuse);
        if diagnostics.is_empty() {
            diagnostics = validate::check_mesh_config(&mesh, &node);
        }
        let diagnostics = diagnostics.into_iter().map(|diagnostic| diagnostic.placed_in(&source, &node)).collect();
        (mesh, node.to_json(), diagnostics)
    }
}

/// The configuration as a tree, and the text that its places are in.
fn configuration(source: &Arc<Source>) -> Result<(Arc<Source>, Node), Box<Diagnostic>> {
    let node = only_document(source)?;
    if node.get("kind").and_then(Node::as_str) != Some("ConfigMap") {
        return Ok((source.clone(), node));
    }
    let entry = node.get("data").and_then(|data| data.entries().iter().find(|entry| entry.key == "mesh"));
    match entry.and_then(|entry| Some((entry, entry.node.as_str()?))) {
        Some((entry, text)) => embedded(source, entry, text),
        None => {
            let place = node.place_at(source, &FieldPath::default().key("data"));
            Err(Diagnostic::error("the ConfigMap holds no `mesh`")
                .with_help("the one that Istio reads is called `istio`")
                .placed(place)
                .into())
        }
    }
}

fn only_document(source: &Arc<Source>) -> Result<Node, Box<Diagnostic>> {
    let documents = yaml::documents(source).into_iter().collect::<Result<Vec<_>, _>>()?;
    let mut written = documents.into_iter().filter(|node| node.value != Value::Null);
    let node = written.next().unwrap_or(Node { value: Value::Null, span: Span::default() });
    match written.next() {
        None => Ok(node),
        Some(second) => {
            let place = second.place_at(source, &FieldPath::default());
            Err(Diagnostic::error("a second document, where a mesh has one configuration")
                .with_help("keep one of them")
                .placed(place)
                .into())
        }
    }
}

/// Reads a text within a text. Where it stands there as a block (`mesh: |`), places are those of the whole text.
fn embedded(source: &Arc<Source>, entry: &Entry, text: &str) -> Result<(Arc<Source>, Node), Box<Diagnostic>> {
    let start = entry.node.span.offset as usize;
    let block = start..start + entry.node.span.length as usize;
    let before = source.text.get(entry.key_span.offset as usize..start).unwrap_or_default();
    if !before.contains('|') {
        let alone = Source::new(format!("{} (data.mesh)", source.path), text);
        let node = only_document(&alone)?;
        return Ok((alone, node));
    }
    let masked = Source::new(source.path.clone(), blank_around(&source.text, &block));
    let node = only_document(&masked).map_err(|mut error| {
        if let Some(place) = &mut error.place {
            place.source = source.clone();
        }
        error
    })?;
    Ok((source.clone(), node))
}

/// The same text with spaces for all that is not in a range, so that what is keeps its place.
fn blank_around(text: &str, kept: &Range<usize>) -> String {
    let mut out = String::with_capacity(text.len());
    for (offset, letter) in text.char_indices() {
        if letter == '\n' || kept.contains(&offset) {
            out.push(letter);
        } else {
            out.extend(std::iter::repeat_n(' ', letter.len_utf8()));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::Duration;
    use crate::resources::mesh_config::OutboundMode;

    fn parse(text: &str) -> (MeshConfig, Vec<String>) {
        let (mesh, diagnostics) = MeshConfig::parse(&Source::new("mesh.yaml", text));
        (mesh, diagnostics.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn nothing_is_the_default() {
        for text in ["", "# nothing\n", "---\n", "{}"] {
            assert_eq!(parse(text), (MeshConfig::default(), vec![]), "{text}");
        }
        let mesh = MeshConfig::default();
        assert!(mesh.enable_auto_mtls && mesh.locality_lb_enabled() && mesh.access_log_file.is_empty());
        assert_eq!((mesh.connect_timeout, mesh.outbound_traffic_policy.mode), (Duration::from_secs(10), OutboundMode::AllowAny));
        assert_eq!((mesh.default_config.drain_duration, mesh.default_config.status_port), (Duration::from_secs(45), 15020));
    }

    #[test]
    fn what_is_written_takes_the_defaults_place() {
        let (mesh, said) = parse(
            "accessLogFile: /dev/stdout\noutboundTrafficPolicy:\n  mode: REGISTRY_ONLY\ndefaultProviders: {}\nenableTracing: false\ndefaultConfig:\n  concurrency: 2\n  tracing:\n    zipkin: {address: z:9411}\nextensionProviders:\n- name: otel\n  opentelemetry: {port: 4317}\nmeshMTLS:\n  minProtocolVersion: TLSV1_3\n",
        );
        assert_eq!(
            said,
            [
                "mesh.yaml:10:1: warning: extensionProviders: not carried out yet: only those that decide about requests are asked",
                "mesh.yaml:7:16: warning: defaultConfig.concurrency: not carried out yet: a process is told by --workers",
                "mesh.yaml:8:3: warning: defaultConfig.tracing: not carried out yet: no request is traced",
            ]
        );
        assert_eq!((mesh.access_log_file.as_str(), mesh.outbound_traffic_policy.mode), ("/dev/stdout", OutboundMode::RegistryOnly));
        assert_eq!((mesh.default_config.concurrency, mesh.default_config.proxy_admin_port), (Some(2), 15000));
    }

    #[test]
    fn a_config_map_is_looked_into() {
        let text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio}\ndata:\n  # Zürich\n  mesh: |-\n    accessLogFile: /x\n    connectTimout: 5s\n    proxyListenPort: 0\n  meshNetworks: 'networks: {}'\n";
        let (mesh, said) = parse(text);
        assert_eq!(mesh.access_log_file, "/x");
        assert_eq!(said, ["mesh.yaml:8:5: error: connectTimout: unknown field `connectTimout` (did you mean `connectTimeout`?)"]);
        let (_, said) = parse("kind: ConfigMap\ndata:\n  mesh: \"accessLogFil: x\"\n");
        assert_eq!(said, ["mesh.yaml (data.mesh):1:1: error: accessLogFil: unknown field `accessLogFil` (did you mean `accessLogFile`?)"]);
        let (_, said) = parse("kind: ConfigMap\ndata:\n  mesh: |\n    a: [\n");
        assert!(said.iter().all(|line| line.starts_with("mesh.yaml:")), "{said:?}");
        let (_, said) = parse("kind: ConfigMap\ndata: {}\n");
        assert_eq!(said, ["mesh.yaml:2:1: error: the ConfigMap holds no `mesh` (the one that Istio reads is called `istio`)"]);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let (_, said) = parse("proxyListenPort: 0\nconnectTimeout: 2h\ntrustDomain: a_b\ndefaultServiceExportTo: [a/b]\n");
        assert_eq!(
            said,
            [
                "mesh.yaml:1:18: error: proxyListenPort: 0 is not the number of a port (1 to 65535)",
                "mesh.yaml:2:17: error: connectTimeout: 7200s is too long (1h at most)",
                "mesh.yaml:3:14: error: trustDomain: `a_b` is not a trust domain (a name such as `cluster.local`)",
                "mesh.yaml:4:26: error: defaultServiceExportTo[0]: `a/b` is not a namespace (`*`, `.`, `~`, or the names of namespaces)",
            ]
        );
        let (_, said) = parse("a: 1\n---\nb: 2\n");
        assert_eq!(said, ["mesh.yaml:3:1: error: a second document, where a mesh has one configuration (keep one of them)"]);
    }
}
