//! Examples as people wrote them: every complete document of the pages that Weir began with, as it stands there.

#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

use std::fs;
use std::path::{Path, PathBuf};

use weir_api::parse::{self, Parsed};
use weir_api::source::Source;

/// The two that were never right, and why.
const REFUSED: &[(&str, &str)] = &[
    ("004-01-virtual-service-xx.yaml", "`http` has no rules"),
    ("004-04-service-entry-xx.yaml", "unknown value \"static\", expected one of `NONE`, `STATIC`, `DNS`, `DNS_ROUND_ROBIN`, `DYNAMIC_DNS`"),
];

fn seeds() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/seeds");
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn read(file: &Path) -> (String, Parsed) {
    let name = file.file_name().unwrap().to_string_lossy().into_owned();
    let parsed = parse::parse(&Source::new(name.clone(), fs::read_to_string(file).unwrap()));
    (name, parsed)
}

#[test]
fn complete_examples_are_read() {
    let mut read_well = 0;
    for (name, parsed) in seeds().iter().map(|file| read(file)) {
        if REFUSED.iter().any(|(refused, _)| *refused == name) {
            continue;
        }
        assert!(!parsed.has_errors() && parsed.objects.len() == 1, "{name}: {:?}", parsed.diagnostics);
        read_well += 1;
    }
    assert_eq!(read_well, 26);
}

#[test]
fn wrong_examples_are_refused() {
    for (file, message) in REFUSED {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/seeds").join(file);
        let (_, parsed) = read(&path);
        let messages: Vec<&str> = parsed.diagnostics.iter().map(|diagnostic| diagnostic.message.as_str()).collect();
        assert_eq!(messages, [*message], "{file}");
        assert!(parsed.objects.is_empty());
    }
}
