//! Where the programs of a cluster are, and the definitions of resources that go with it: what `.ci/kubernetes` has made.

use std::env;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use weir_capture::programs;

/// Names the folder where they are, if that is not `target/kubernetes`.
const FOLDER: &str = "WEIR_TEST_KUBERNETES";

/// What was built.
const BUILT: [&str; 7] = ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet", "kubectl", "coredns"];

/// What a cluster is made of.
#[derive(Debug)]
pub(super) struct Programs {
    pub etcd: PathBuf,
    folder: PathBuf,
    /// Folders of Go's module cache: definitions of resources, and Istio's own sources.
    definitions: Vec<PathBuf>,
    istio: PathBuf,
}

/// Those of this machine. Without them nothing is tested over a cluster, which must not go unseen: it is said on standard error, where the
/// test harness does not swallow it, and it fails a test in CI.
pub(super) fn programs() -> Option<&'static Programs> {
    static FOUND: OnceLock<Result<Programs, String>> = OnceLock::new();
    let found = FOUND.get_or_init(find);
    if let Err(missing) = found {
        let _ = writeln!(io::stderr(), "\nNOT TESTED OVER KUBERNETES: {missing}; `.ci/kubernetes` makes what is missing\n");
        assert!(env::var_os("CI").is_none_or(|ci| ci != "true"), "CI must test over Kubernetes");
    }
    found.as_ref().ok()
}

fn find() -> Result<Programs, String> {
    let built = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/kubernetes");
    let folder = env::var_os(FOLDER).filter(|path| !path.is_empty()).map_or_else(built, PathBuf::from);
    if let Some(missing) = BUILT.iter().map(|name| folder.join(name)).find(|path| !path.is_file()) {
        return Err(format!("there is no {}", missing.display()));
    }
    let definitions = modules(&folder.join("definitions"))?;
    let istio = modules(&folder.join("istio"))?.pop().ok_or("no sources of Istio's are named")?;
    let etcd = programs::found("etcd").ok_or("there is no etcd in PATH")?;
    Ok(Programs { etcd, folder, definitions, istio })
}

/// The folders that a file names.
fn modules(list: &Path) -> Result<Vec<PathBuf>, String> {
    let listed = fs::read_to_string(list).map_err(|error| format!("{}: {error}", list.display()))?;
    let folders: Vec<PathBuf> = listed.lines().map(PathBuf::from).collect();
    folders.iter().find(|path| !path.is_dir()).map_or(Ok(()), |missing| Err(format!("there is no {}", missing.display())))?;
    Ok(folders)
}

impl Programs {
    /// Where one is that was built.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Where Istio's own sources are.
    pub fn istio(&self) -> &Path {
        &self.istio
    }

    /// The definitions of Istio's resources and the Gateway API's, as JSON.
    ///
    /// # Panics
    /// If one cannot be read.
    pub fn definitions(&self) -> Vec<serde_json::Value> {
        let files = self.definitions.iter().flat_map(|module| {
            let one = module.join("kubernetes/customresourcedefinitions.gen.yaml");
            if one.is_file() { vec![one] } else { yaml_files(&module.join("config/crd/standard")) }
        });
        let texts = files.map(|path| fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())));
        let documents: Vec<serde_json::Value> = texts.flat_map(|text| documents(&text)).collect();
        documents.into_iter().filter(|document| document["kind"] == "CustomResourceDefinition").collect()
    }
}

fn yaml_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    entries.map(|entry| entry.expect("a folder can be listed").path()).collect()
}

fn documents(text: &str) -> Vec<serde_json::Value> {
    let mut texts = vec![String::new()];
    for line in text.lines() {
        match (line, texts.last_mut()) {
            ("---", _) => texts.push(String::new()),
            (line, Some(last)) => last.extend([line, "\n"]),
            (_, None) => {}
        }
    }
    texts.iter().map(|text| serde_saphyr::from_str(text).expect("a definition is YAML")).collect()
}
