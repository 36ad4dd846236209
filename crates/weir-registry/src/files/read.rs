//! Reads texts once: what the tools are given with `-f`.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use weir_api::{Diagnostic, Parsed, Source};

use super::is_wanted;
use crate::Catalog;
use crate::catalog::Collector;

/// A text may be this large. A mesh of ten thousand rules in one file is smaller.
const MAX_BYTES: u64 = 64 << 20;
/// A folder may be this deep.
const MAX_DEPTH: usize = 64;

/// Where objects are read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A file, whatever its name, or all files of a folder that hold objects, and of its folders.
    Path(PathBuf),
    /// Standard input.
    Stdin,
}

impl From<&Path> for Input {
    fn from(path: &Path) -> Self {
        if path == Path::new("-") { Self::Stdin } else { Self::Path(path.to_owned()) }
    }
}

/// Reads all inputs, in order. What cannot be read is said among the diagnostics.
pub fn read(inputs: &[Input]) -> Catalog {
    let mut collector = Collector::default();
    for (parsed, path) in inputs.iter().flat_map(parse) {
        collector.add(&parsed.objects, &parsed.diagnostics);
        if let Some(time) = path.and_then(|path| Some((path.display().to_string(), path.metadata().ok()?.modified().ok()?))) {
            collector.changed(time.0, time.1);
        }
    }
    collector.finish()
}

fn parse(input: &Input) -> Vec<(Parsed, Option<PathBuf>)> {
    let path = match input {
        Input::Stdin => return vec![(of_text("-", text(io::stdin().lock())), None)],
        Input::Path(path) => path,
    };
    if !path.is_dir() {
        return vec![(file(path), Some(path.clone()))];
    }
    let Found { files, unreadable } = files(path);
    let failures = unreadable.iter().map(|(path, error)| (failed(path, error), None));
    failures.chain(files.into_iter().map(|path| (file(&path), Some(path)))).collect()
}

/// What cannot be read, as the only thing to be said.
fn failed(path: &Path, error: &io::Error) -> Parsed {
    let message = format!("{} cannot be read: {error}", path.display());
    Parsed { diagnostics: vec![Diagnostic::error(message)], ..Parsed::default() }
}

/// The objects of a file.
pub(super) fn file(path: &Path) -> Parsed {
    match File::open(path) {
        Ok(file) => of_text(&path.display().to_string(), text(file)),
        Err(error) => failed(path, &error),
    }
}

fn text(input: impl Read) -> io::Result<String> {
    let mut bytes = vec![];
    input.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(io::Error::other(format!("it is larger than {} MiB", MAX_BYTES >> 20)));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let line = 1 + error.as_bytes()[..valid].iter().filter(|byte| **byte == b'\n').count();
        io::Error::other(format!("it is no text in UTF-8: the byte at offset {valid}, in line {line}, is not"))
    })
}

fn of_text(path: &str, text: io::Result<String>) -> Parsed {
    match text {
        Ok(text) => weir_api::parse(&Source::new(path, text)),
        Err(error) => failed(Path::new(path), &error),
    }
}

/// What a look at a folder found.
#[derive(Default)]
pub(super) struct Found {
    /// The files that hold objects, in the order of their paths.
    pub files: Vec<PathBuf>,
    /// Folders that could not be read.
    pub unreadable: Vec<(PathBuf, io::Error)>,
}

/// The files of a folder, and of its folders, that hold objects.
pub(super) fn files(folder: &Path) -> Found {
    let mut found = Found::default();
    collect(folder, &mut vec![], &mut found);
    found.files.sort();
    found
}

/// `above` are the folders on the way here, without their links: a link to one of them is not followed.
fn collect(folder: &Path, above: &mut Vec<PathBuf>, found: &mut Found) {
    let itself = match folder.canonicalize() {
        Ok(itself) => itself,
        Err(error) => return found.unreadable.push((folder.to_owned(), error)),
    };
    if above.contains(&itself) || above.len() > MAX_DEPTH {
        return;
    }
    above.push(itself);
    list(folder, above, found);
    above.pop();
}

fn list(folder: &Path, above: &mut Vec<PathBuf>, found: &mut Found) {
    let entries = folder.read_dir().and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let entries = match entries {
        Ok(entries) => entries,
        Err(error) => return found.unreadable.push((folder.to_owned(), error)),
    };
    for path in entries.into_iter().map(|entry| entry.path()) {
        let is_hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if path.is_dir() {
            if !is_hidden {
                collect(&path, above, found);
            }
        } else if is_wanted(&path) && !is_special(&path) {
            found.files.push(path);
        }
    }
}

/// Whether it is a pipe or the like, which would keep its reader waiting. What cannot be looked at is not: reading it
/// says why.
fn is_special(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| !metadata.is_file())
}

/// What was read, to be shared.
pub(super) type Shared = Arc<Parsed>;
