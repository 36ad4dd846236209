//! `weir kube-inject`: objects with sidecars, from a file.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, bail};
use weir_api::Source;
use weir_inject::{DocumentError, Mesh, Settings, inject_documents};

use crate::cli::KubeInjectArgs;
use crate::mesh::mesh_as_written;
use crate::print;

/// Injects, or prints nothing and says what is wrong.
///
/// # Errors
/// If a file cannot be read, or an object asks for what cannot be read.
pub(crate) fn run(args: &KubeInjectArgs) -> anyhow::Result<ExitCode> {
    let settings = settings(args)?;
    let (name, text) = read(&args.file)?;
    let injected = match inject_documents(&Source::new(name, text), &settings) {
        Ok(injected) => injected,
        Err(DocumentError::Syntax(diagnostic)) => {
            print::diagnostic(&diagnostic);
            bail!("{} cannot be injected", args.file.display());
        }
        Err(DocumentError::Object(problem)) => bail!("{}: {problem}", args.file.display()),
    };
    injected.notes.iter().for_each(|note| print::say(&format!("weir: {note}")));
    match &args.output {
        Some(path) => fs::write(path, &injected.text).with_context(|| format!("{} cannot be written", path.display()))?,
        None => print::result(&injected.text),
    }
    Ok(ExitCode::SUCCESS)
}

fn settings(args: &KubeInjectArgs) -> anyhow::Result<Settings> {
    let mesh = mesh(args.mesh_config.as_deref())?;
    Ok(Settings { native_sidecars: args.native_sidecars, ..args.sidecar.settings(&args.revision, &args.istio_namespace, mesh) })
}

fn mesh(path: Option<&Path>) -> anyhow::Result<Mesh> {
    let (mesh, found) = mesh_as_written(path)?;
    found.iter().for_each(print::diagnostic);
    Ok(mesh)
}

/// A text, and what people call it.
fn read(path: &Path) -> anyhow::Result<(String, String)> {
    if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("standard input cannot be read")?;
        return Ok(("standard input".to_owned(), text));
    }
    let text = fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
    Ok((path.display().to_string(), text))
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::Value;
    use weir_inject::{DataPlane, Settings, inject_documents};

    use super::*;
    use crate::cli::Cli;

    /// A pod that asks for all that makes a difference to a command line.
    const POD: &str = r#"{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": {"app": "p"}, "annotations": {
        "sidecar.istio.io/interceptionMode": "TPROXY", "traffic.sidecar.istio.io/includeOutboundIPRanges": "10.0.0.0/8",
        "traffic.sidecar.istio.io/excludeOutboundIPRanges": "10.1.0.0/16", "traffic.sidecar.istio.io/includeInboundPorts": "80",
        "traffic.sidecar.istio.io/excludeInboundPorts": "22", "traffic.sidecar.istio.io/includeOutboundPorts": "3306",
        "traffic.sidecar.istio.io/excludeOutboundPorts": "5432", "traffic.sidecar.istio.io/excludeInterfaces": "net1",
        "traffic.sidecar.istio.io/kubevirtInterfaces": "tap0", "sidecar.istio.io/logLevel": "debug", "TEMPLATES": "NAMES",
        "proxy.istio.io/config": "{proxyMetadata: {ISTIO_META_DNS_CAPTURE: 'true'}, holdApplicationUntilProxyStarts: true}"
        }}, "spec": {"containers": [{"name": "p", "image": "p"}]}}"#;

    /// The command lines of the containers whose program is `weir`, as the kubelet would write them.
    fn lines(templates: &str, data_plane: DataPlane) -> Vec<Vec<String>> {
        let text = POD.replace("TEMPLATES", "inject.istio.io/templates").replace("NAMES", templates);
        let injected = inject_documents(&Source::new("pod", text), &Settings { data_plane, ..Settings::default() }).unwrap();
        let pod: Value = serde_saphyr::from_str(&injected.text).unwrap();
        let known = [
            ("INSTANCE_IPS", "10.0.0.7,fd00::7"),
            ("INSTANCE_IP", "10.0.0.7"),
            ("POD_NAME", "p"),
            ("POD_NAMESPACE", "shop"),
            ("ISTIO_CPU_LIMIT", "2"),
            ("GOMEMLIMIT", "1073741824"),
        ];
        let expanded = |word: &Value| {
            let word = word.as_str().unwrap().to_owned();
            known.iter().fold(word, |word, (name, value)| word.replace(&format!("$({name})"), value))
        };
        let containers = ["initContainers", "containers"].iter().flat_map(|field| pod["spec"][*field].as_array().into_iter().flatten());
        let mut lines = vec![];
        for container in containers.filter(|container| container["name"] != "p") {
            // Envoy's own has a command, and is not ours to read.
            lines.extend(container["args"].as_array().map(|args| args.iter().map(expanded).collect()));
            let hook = &container["lifecycle"]["postStart"]["exec"]["command"];
            lines.extend(hook.as_array().map(|command| command[1..].iter().map(expanded).collect()));
        }
        lines
    }

    #[test]
    fn what_is_injected_is_understood_by_this_very_program() {
        let both = ["sidecar", "gateway"].map(|templates| [DataPlane::Weir, DataPlane::Envoy].map(|plane| lines(templates, plane)));
        let all: Vec<Vec<String>> = both.into_iter().flatten().flatten().collect();
        let commands: Vec<&str> = all.iter().map(|line| line[0].as_str()).collect();
        assert_eq!(commands, ["capture", "proxy", "wait", "capture", "agent", "wait", "proxy", "agent"]);
        for line in &all {
            let parsed = Cli::try_parse_from(std::iter::once("weir").chain(line.iter().map(String::as_str)));
            assert!(parsed.is_ok(), "{line:?}: {}", parsed.unwrap_err());
            assert!(!line.iter().any(|word| word.contains("$(")), "{line:?}");
        }
    }
}
