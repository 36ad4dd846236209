//! Objects in files: YAML and JSON, many documents in a file, files in folders of folders.

mod folder;
mod read;
mod watch;

pub use folder::Folder;
pub use read::{Input, read};
pub use watch::{Watched, watch};

use std::path::Path;

/// Whether a file holds objects, by its name. Hidden files and what editors leave behind (`reviews.yaml~`,
/// `.reviews.yaml.swp`, `reviews.yaml.bak`) do not.
pub(crate) fn is_wanted(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    !name.starts_with('.') && matches!(extension, "yaml" | "yml" | "json")
}
