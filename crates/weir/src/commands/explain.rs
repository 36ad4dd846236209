//! `weir explain`: where a request goes, and why.

mod ask;
mod from;
mod story;

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, anyhow};
use weir_analysis::explain::{Call, Explainer};
use weir_model::{DEFAULT_DOMAIN, Interception, Proxy, ProxyKind};

use super::offline::{self, Read};
use crate::cli::{ExplainArgs, Output};
use crate::print;
use weir_pilot::standalone;

/// Where gateways live.
const GATEWAYS: &str = "istio-system";

/// Reads, translates for the proxy, asks, and prints. An answered question is a success, whatever the answer.
///
/// # Errors
/// If a file cannot be read, or the question is none.
pub(crate) fn run(args: &ExplainArgs) -> anyhow::Result<ExitCode> {
    // What is no proxy is told before a cluster is read.
    let written = args.proxy.as_deref().map(offline::read_proxy).transpose()?;
    let read = offline::read(&args.input, &args.revision, args.mesh_config.as_deref())?;
    let proxy = match written {
        Some(proxy) => proxy,
        None => proxy(args, &read)?,
    };
    let mesh = read.mesh;
    let translation = offline::translate_for(&mesh, &proxy, args.dns);
    let changes = match mesh.envoy_filters.is_empty() {
        true => vec![],
        false => weir_translate::patched(&mesh, &proxy),
    };
    weir_translate::unmatched(&mesh, &proxy).iter().for_each(print::diagnostic);
    let token_rules = weir_translate::token_rules(&mesh, &proxy);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let explainer =
        Explainer::new(&translation).with_changes(&changes).with_policies(&mesh.authorization_policies).with_tokens(&token_rules, now);
    if let Some(path) = &args.calls {
        for call in read_calls(path)? {
            print::result(&(serde_json::to_string(&explainer.explain(&call))? + "\n"));
        }
        return Ok(ExitCode::SUCCESS);
    }
    let call = ask::call(args, &mesh, &proxy)?;
    let answer = explainer.explain(&call);
    match args.output {
        Output::Table => print::result(&story::tell(&call, &proxy, args.from.is_some(), &answer)),
        Output::Json => print::result(&(serde_json::to_string_pretty(&answer)? + "\n")),
        Output::Yaml => print::result(&serde_saphyr::to_string(&answer)?),
    }
    Ok(ExitCode::SUCCESS)
}

/// The proxy that gets the request.
fn proxy(args: &ExplainArgs, read: &Read) -> anyhow::Result<Proxy> {
    let own = read.cluster.as_ref().map_or("default", |cluster| cluster.namespace());
    if let Some(written) = &args.from {
        return from::proxy(written, args.namespace.as_deref().unwrap_or(own), &read.mesh, read.cluster.as_ref());
    }
    let (kind, labels, usual) = match &args.gateway {
        Some(labels) => (ProxyKind::Router, labels.as_str(), GATEWAYS),
        None => (ProxyKind::Sidecar, "", own),
    };
    let labels = standalone::parse_labels(labels).map_err(|error| anyhow!("--gateway: {error}"))?;
    let (name, namespace) = ("explain", args.namespace.as_deref().unwrap_or(usual));
    Ok(Proxy {
        id: Proxy::make_id(kind, "0.0.0.0", name, namespace, DEFAULT_DOMAIN),
        kind,
        name: name.to_owned(),
        namespace: namespace.to_owned(),
        labels,
        interception: Interception::Redirect,
        addresses: vec![],
        locality: String::new(),
    })
}

fn read_calls(path: &Path) -> anyhow::Result<Vec<Call>> {
    let text = match path.to_str() {
        Some("-") => std::io::read_to_string(std::io::stdin()).context("standard input cannot be read")?,
        _ => fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?,
    };
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines.map(|(i, line)| serde_json::from_str(line).with_context(|| format!("{}:{} is no call", path.display(), i + 1))).collect()
}
