//! The mesh that is measured, as a folder: the documents that Kubernetes would have.

use std::fs;
use std::path::{Path, PathBuf};

/// So many services stand in one file.
const TOGETHER: usize = 100;
/// What changes stands in files of its own.
pub(crate) const ENDPOINT: &str = "endpoint.yaml";
pub(crate) const RULE: &str = "rule.yaml";
/// There only while it changes.
const FILTER: &str = "filter.yaml";

/// A folder that a pilot reads.
pub(crate) struct Folder {
    path: PathBuf,
    endpoints: usize,
}

impl Folder {
    /// Writes a mesh.
    ///
    /// # Errors
    /// If there is no room for it.
    pub fn write(path: &Path, services: usize, endpoints: usize) -> anyhow::Result<Self> {
        let folder = Self { path: path.to_owned(), endpoints };
        fs::create_dir(&folder.path)?;
        for first in (0..services).step_by(TOGETHER) {
            let here = first..services.min(first + TOGETHER);
            let documents: Vec<String> = here.flat_map(|i| folder.documents(i)).collect();
            fs::write(folder.path.join(format!("services-{first}.yaml")), documents.join("---\n"))?;
        }
        folder.save(ENDPOINT, &slice(0, &addresses(0, endpoints)))?;
        folder.save(RULE, &virtual_service(0, "jason"))?;
        Ok(folder)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The first instance of the first service gets an address that tells which change it is of.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn change_endpoint(&self, mark: u32) -> anyhow::Result<String> {
        self.save(ENDPOINT, &changed_slice(mark, self.endpoints))?;
        Ok(marked(mark))
    }

    /// The first service's rule asks for another header.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn change_rule(&self, mark: u32) -> anyhow::Result<String> {
        self.save(RULE, &changed_rule(mark))?;
        Ok(asked_for(mark))
    }

    /// An EnvoyFilter changes the first service's clusters.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn change_filter(&self, mark: u32) -> anyhow::Result<String> {
        let mark = format!("limited-{mark}");
        self.save(FILTER, &envoy_filter(0, &mark))?;
        Ok(mark)
    }

    /// There is no EnvoyFilter any more.
    ///
    /// # Errors
    /// If there was none.
    pub fn remove_filter(&self) -> anyhow::Result<()> {
        Ok(fs::remove_file(self.path.join(FILTER))?)
    }

    /// As careful editors save: the pilot sees the old file or the new one.
    fn save(&self, name: &str, text: &str) -> anyhow::Result<()> {
        let draft = self.path.with_extension("draft");
        fs::write(&draft, text)?;
        Ok(fs::rename(draft, self.path.join(name))?)
    }

    /// What of a service never changes.
    fn documents(&self, i: usize) -> Vec<String> {
        let mut documents = vec![service(i), destination_rule(i)];
        if i > 0 {
            documents.extend([virtual_service(i, "jason"), slice(i, &addresses(i, self.endpoints))]);
        }
        documents
    }
}

fn addresses(i: usize, endpoints: usize) -> Vec<String> {
    let address = |number: usize| format!("100.{}.{}.{}", 64 + number / 65536, number / 256 % 256, number % 256);
    (0..endpoints).map(|k| address(i * endpoints + k)).collect()
}

/// The first service's instances after a change.
pub(crate) fn changed_slice(mark: u32, endpoints: usize) -> String {
    let mut addresses = addresses(0, endpoints);
    addresses.splice(..1, [marked(mark)]);
    slice(0, &addresses)
}

/// The first service's rule after a change.
pub(crate) fn changed_rule(mark: u32) -> String {
    virtual_service(0, &asked_for(mark))
}

/// The header's value that tells which change of the rule it is.
pub(crate) fn asked_for(mark: u32) -> String {
    format!("jason-{mark}")
}

/// Addresses for benchmarks, of which nobody else makes use.
const MARKED: &str = "198.18.";

pub(crate) fn marked(mark: u32) -> String {
    format!("{MARKED}{}.{}", mark / 256 % 256, mark % 256)
}

/// Which change of the endpoint stands in bytes.
pub(crate) fn mark(bytes: &[u8]) -> Option<u32> {
    let at = bytes.windows(MARKED.len()).position(|window| window == MARKED.as_bytes())? + MARKED.len();
    let is_of_address = |byte: &u8| byte.is_ascii_digit() || *byte == b'.';
    let rest = bytes.get(at..)?.iter().take_while(|byte| is_of_address(byte)).map(|byte| char::from(*byte)).collect::<String>();
    let (high, low) = rest.split_once('.')?;
    Some(high.parse::<u32>().ok()? * 256 + low.parse::<u32>().ok()?)
}

fn service(i: usize) -> String {
    let (a, b, c) = (100 + i / 62500, i / 250 % 250, i % 250 + 1);
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: s{i}, namespace: default}}\nspec:\n  clusterIP: 10.{a}.{b}.{c}\n  \
         ports: [{{port: 80, targetPort: 8080, name: http}}]\n"
    )
}

fn slice(i: usize, addresses: &[String]) -> String {
    let endpoints: String =
        addresses.iter().map(|address| format!("- {{addresses: [{address}], conditions: {{ready: true, serving: true}}}}\n")).collect();
    format!(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: s{i}, namespace: default, labels: \
         {{kubernetes.io/service-name: s{i}}}}}\naddressType: IPv4\nports: [{{name: http, port: 8080, protocol: TCP}}]\nendpoints:\n{endpoints}"
    )
}

fn virtual_service(i: usize, user: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: s{i}, namespace: default}}
spec:
  hosts: [s{i}]
  http:
  - match: [{{headers: {{end-user: {{exact: {user}}}}}}}]
    route: [{{destination: {{host: s{i}, subset: v2}}}}]
  - route:
    - {{destination: {{host: s{i}, subset: v1}}, weight: 90}}
    - {{destination: {{host: s{i}, subset: v2}}, weight: 10}}
"
    )
}

/// It tells all sidecars how the service's clusters are called in statistics.
fn envoy_filter(i: usize, name: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {{name: s{i}, namespace: istio-system}}
spec:
  configPatches:
  - applyTo: CLUSTER
    match: {{context: SIDECAR_OUTBOUND, cluster: {{service: s{i}.default.svc.cluster.local}}}}
    patch: {{operation: MERGE, value: {{alt_stat_name: {name}}}}}
"
    )
}

fn destination_rule(i: usize) -> String {
    format!(
        "apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: s{i}, namespace: default}}
spec:
  host: s{i}
  subsets: [{{name: v1, labels: {{version: v1}}}}, {{name: v2, labels: {{version: v2}}}}]
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_told_by_its_address() {
        for number in [0, 255, 256, 65_535] {
            assert_eq!(mark(changed_slice(number, 3).as_bytes()), Some(number));
        }
        assert_eq!(mark(b"198.18."), None);
    }
}
