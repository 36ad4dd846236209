//! The mesh's root is another one from one moment to the next, and no call of a webhook fails for that.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::tempdir;
use weir_testkit::{Cluster, MeshAuthority, until};

use super::*;
use crate::{ADMIN, XDS};

/// A new authority is read within ten seconds, and shown five seconds later. So long it is looked at what it does.
const WATCHED: Duration = Duration::from_secs(25);

/// How many certificates are in the bundles of a configuration's webhooks, if it is the same for all.
async fn roots(cluster: &Cluster, path: &str) -> usize {
    let hooks = hooks(cluster, path).await;
    let counts: Vec<usize> = hooks.iter().map(|hook| count(&hook["clientConfig"]["caBundle"])).collect();
    if counts.iter().all(|count| *count == counts[0]) { counts[0] } else { 0 }
}

fn count(bundle: &Value) -> usize {
    use base64::Engine as _;
    let bytes = base64::engine::general_purpose::STANDARD.decode(bundle.as_str().unwrap_or_default()).unwrap();
    String::from_utf8(bytes).unwrap().matches("BEGIN CERTIFICATE").count()
}

/// Another authority in the same folder, of which nobody was told before.
fn replace(folder: &Path) {
    MeshAuthority::new().write(folder);
}

#[tokio::test]
async fn no_call_fails_when_the_root_is_another_one() {
    let Some(cluster) = Cluster::start().await else { return };
    make_namespace(&cluster, "shop", &json!({"istio-injection": "enabled"})).await;
    until("there is a service account", async || cluster.exists_by_now("/api/v1/namespaces/shop/serviceaccounts/default").await).await;
    let folder = tempdir().unwrap();
    replace(folder.path());
    let ca = folder.path().display().to_string();
    let mut pilot = cluster.start_pilot_with(XDS, ADMIN, &["--ca", &ca, "--webhooks", "127.0.0.1:15017"]).await;
    let path = apply_all(&cluster, MUTATING, plane("default", &[]).injectors(&at(PORT))).await.remove(0);
    until("the root is known", async || roots(&cluster, &path).await == 1).await;
    let plain = pod(&json!({}), &json!({}));
    until("pods are injected", async || try_pod(&cluster, "shop", &plain).await.is_ok()).await;

    replace(folder.path());
    let (begin, mut calls, mut failed) = (Instant::now(), 0, vec![]);
    let mut both = None;
    while begin.elapsed() < WATCHED {
        calls += 1;
        failed.extend(try_pod(&cluster, "shop", &plain).await.err());
        if both.is_none() && roots(&cluster, &path).await == 2 {
            both = Some(begin.elapsed());
        }
    }
    assert!(failed.is_empty(), "{} of {calls}: {:?}", failed.len(), failed[0]);
    let both = both.expect("both roots are in the bundle");
    eprintln!("{calls} calls while the root was replaced, none failed; both roots were in the bundle after {both:?}");
    assert!(pilot.is_running());
}
