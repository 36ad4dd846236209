//! Objects in files: YAML and JSON, many documents in a file, files in folders of folders.

mod folder;
mod read;
mod watch;
mod writing;

pub use folder::Folder;
pub use read::{Input, read, read_documents};
pub use watch::{Watched, watch};

use std::ffi::OsStr;
use std::path::Path;

/// Whether a file holds objects, by its name. Hidden files and what editors leave behind (`reviews.yaml~`,
/// `.reviews.yaml.swp`, `reviews.yaml.bak`) do not.
pub(crate) fn is_wanted(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    path.file_name().is_some_and(|name| name.to_str().is_some() && !is_hidden(name)) && matches!(extension, "yaml" | "yml" | "json")
}

/// Whether a file or folder of this name is passed over.
pub(crate) fn is_hidden(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".")
}
