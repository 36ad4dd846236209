//! A folder to write to, and catalogs that are short enough to be compared.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use weir_api::{Severity, Spec};
use weir_registry::Catalog;

/// A folder that goes away with the test.
pub struct Dir(TempDir);

impl Dir {
    /// A folder with these files, each with its text.
    pub fn of(files: &[(&str, &str)]) -> Self {
        let dir = Self(tempfile::tempdir().unwrap());
        files.iter().for_each(|(path, text)| dir.put(path, text));
        dir
    }

    pub fn root(&self) -> &Path {
        self.0.path()
    }

    pub fn path(&self, path: &str) -> PathBuf {
        self.root().join(path)
    }

    /// Writes a file as a careful editor does, to a new file that is then given its name; makes its folders.
    pub fn put(&self, path: &str, text: impl AsRef<[u8]>) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let new = path.with_file_name(".new");
        fs::write(&new, text).unwrap();
        fs::rename(new, path).unwrap();
    }

    pub fn remove(&self, path: &str) {
        fs::remove_file(self.path(path)).unwrap();
    }

    /// What is said, in one line each, with paths as within this folder.
    pub fn said(&self, catalog: &Catalog) -> Vec<String> {
        let within = |text: String| text.replace(&format!("{}/", self.root().display()), "");
        catalog.diagnostics().map(|diagnostic| within(diagnostic.to_string())).collect()
    }
}

/// A resource whose versions differ by an address. More metadata may follow its name: `a, namespace: shop`.
pub fn entry(name: &str, address: &str) -> String {
    format!("---\napiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {{name: {name}}}\nspec: {{address: {address}}}\n")
}

/// The objects, in order: `a 10.0.0.1` for a WorkloadEntry of the namespace `default`, its full name for any other.
pub fn objects(catalog: &Catalog) -> Vec<String> {
    let text = |object: &weir_api::Object| match &object.spec {
        Spec::WorkloadEntry(entry) if object.meta.namespace == "default" => format!("{} {}", object.meta.name, entry.address),
        _ => object.name().to_string(),
    };
    catalog.objects().map(|object| text(object)).collect()
}

/// The names of those that stay in force though they are broken.
pub fn kept(catalog: &Catalog) -> Vec<String> {
    catalog.kept().map(|name| name.name.clone()).collect()
}

/// How many errors are said.
pub fn errors(catalog: &Catalog) -> usize {
    catalog.diagnostics().filter(|diagnostic| diagnostic.severity == Severity::Error).count()
}
