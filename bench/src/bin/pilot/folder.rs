//! The mesh that is measured, as a folder: the documents that Kubernetes would have.

use std::fs;
use std::path::{Path, PathBuf};

/// So many services stand in one file.
const TOGETHER: usize = 100;
/// What changes stands in files of its own.
const ENDPOINT: &str = "endpoint.yaml";
const RULE: &str = "rule.yaml";

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
    pub fn write(work: &Path, services: usize, endpoints: usize) -> anyhow::Result<Self> {
        let folder = Self { path: work.join("mesh"), endpoints };
        fs::create_dir(&folder.path)?;
        for first in (0..services).step_by(TOGETHER) {
            let here = first..services.min(first + TOGETHER);
            let documents: Vec<String> = here.flat_map(|i| folder.documents(i)).collect();
            fs::write(folder.path.join(format!("services-{first}.yaml")), documents.join("---\n"))?;
        }
        folder.save(ENDPOINT, &slice(0, &folder.addresses(0)))?;
        folder.save(RULE, &virtual_service(0, "jason"))?;
        Ok(folder)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The first instance of the first service gets this address.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn change_endpoint(&self, mark: u32) -> anyhow::Result<String> {
        let mut addresses = self.addresses(0);
        let changed = format!("198.51.100.{}", 1 + mark % 250);
        addresses.splice(..1, [changed.clone()]);
        self.save(ENDPOINT, &slice(0, &addresses))?;
        Ok(changed)
    }

    /// The first service's rule asks for another header.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn change_rule(&self, mark: u32) -> anyhow::Result<String> {
        let changed = format!("jason-{mark}");
        self.save(RULE, &virtual_service(0, &changed))?;
        Ok(changed)
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
            documents.extend([virtual_service(i, "jason"), slice(i, &self.addresses(i))]);
        }
        documents
    }

    fn addresses(&self, i: usize) -> Vec<String> {
        let address = |number: usize| format!("100.{}.{}.{}", 64 + number / 65536, number / 256 % 256, number % 256);
        (0..self.endpoints).map(|k| address(i * self.endpoints + k)).collect()
    }
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
