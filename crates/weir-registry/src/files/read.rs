//! Reads texts once: what the tools are given with `-f`.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use weir_api::{Diagnostic, Document, Parsed, Source};

use super::{is_hidden, is_wanted};
use crate::Catalog;
use crate::catalog::{Edit, Text, TextKey};

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
    let mut edit = Edit::of(Catalog::default());
    let all = inputs.iter().enumerate().flat_map(|(index, input)| parse(input).into_iter().map(move |read| (index, read)));
    for (input, (parsed, path)) in all {
        let changed = path.metadata().and_then(|metadata| metadata.modified()).ok();
        let objects = parsed.objects.into_iter().chain(parsed.stand_ins).collect();
        let text = Text { objects, kept: vec![], diagnostics: parsed.diagnostics, changed, written: None };
        edit.put(TextKey { input, path }, Some(text));
    }
    edit.finish().unwrap_or_default()
}

/// Reads all documents of all inputs, in order, whatever their kind, and says what is none.
pub fn read_documents(inputs: &[Input]) -> (Vec<Document>, Vec<Diagnostic>) {
    let (mut documents, mut diagnostics) = (vec![], vec![]);
    for (path, text) in inputs.iter().flat_map(texts) {
        match text {
            Ok(text) => {
                let (found, said) = weir_api::documents(&text);
                documents.extend(found);
                diagnostics.extend(said);
            }
            Err(error) => diagnostics.extend(failed(&path, &error).diagnostics),
        }
    }
    (documents, diagnostics)
}

fn parse(input: &Input) -> Vec<(Parsed, PathBuf)> {
    texts(input).into_iter().map(|(path, text)| (parsed(&path, text).parsed, path)).collect()
}

/// The texts of an input, with their paths.
fn texts(input: &Input) -> Vec<(PathBuf, io::Result<Arc<Source>>)> {
    let path = match input {
        Input::Stdin => return vec![(PathBuf::from("-"), content(io::stdin().lock()).map(|text| Source::new("-", text)))],
        Input::Path(path) => path,
    };
    if !path.is_dir() {
        return vec![(path.clone(), text(path))];
    }
    let Found { files, unreadable, .. } = files(path);
    let failures = unreadable.into_iter().map(|(path, error)| (path, Err(error)));
    let read = |path: PathBuf| {
        let text = text(&path);
        (path, text)
    };
    failures.chain(files.into_iter().map(read)).collect()
}

/// What cannot be read, as the only thing to be said.
fn failed(path: &Path, error: &io::Error) -> Parsed {
    let message = format!("{} cannot be read: {error}", path.display());
    Parsed { diagnostics: vec![Diagnostic::error(message)], ..Parsed::default() }
}

/// What stands in a file.
pub(super) fn text(path: &Path) -> io::Result<Arc<Source>> {
    Ok(Source::new(path.display().to_string(), content(File::open(path)?)?))
}

/// What of a file is text, with marks in place of what is not; none if it cannot be read at all.
pub(super) fn as_far_as_it_is_text(path: &Path) -> Option<Arc<Source>> {
    let bytes = bytes(File::open(path).ok()?).ok()?;
    Some(Source::new(path.display().to_string(), String::from_utf8_lossy(&bytes).into_owned()))
}

/// A file that was read, or was not to be read.
pub(super) struct ReadFile {
    /// What stands in it.
    pub text: Option<Arc<Source>>,
    /// Its objects, and what is to be said of it.
    pub parsed: Parsed,
}

/// The objects of a file with this text.
pub(super) fn parsed(path: &Path, text: io::Result<Arc<Source>>) -> ReadFile {
    match text {
        Ok(text) => ReadFile { parsed: weir_api::parse(&text), text: Some(text) },
        Err(error) => ReadFile { parsed: failed(path, &error), text: None },
    }
}

fn bytes(input: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = vec![];
    input.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(io::Error::other(format!("it is larger than {} MiB", MAX_BYTES >> 20)));
    }
    Ok(bytes)
}

fn content(input: impl Read) -> io::Result<String> {
    String::from_utf8(bytes(input)?).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let line = 1 + error.as_bytes()[..valid].iter().filter(|byte| **byte == b'\n').count();
        io::Error::other(format!("it is no text in UTF-8: the byte at offset {valid}, in line {line}, is not"))
    })
}

/// What a look at a folder found.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The files that hold objects, in the order of their paths.
    pub files: Vec<PathBuf>,
    /// Folders that could not be read, and what could not be looked at.
    pub unreadable: Vec<(PathBuf, io::Error)>,
    /// Whether any of what was found, or passed over, is a link.
    pub has_links: bool,
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
    for entry in entries {
        let path = entry.path();
        // What the folder tells itself costs nothing more, and thousands of files are looked at every two seconds.
        let told = entry.file_type().ok().filter(|told| !told.is_symlink());
        found.has_links |= told.is_none() && path.is_symlink();
        let kind = match told.map_or_else(|| path.metadata().map(|metadata| metadata.file_type()), Ok) {
            Ok(kind) => kind,
            // A link that leads nowhere: reading it says so.
            Err(error) if is_gone(&error) => {
                found.files.extend(is_wanted(&path).then_some(path));
                continue;
            }
            // It may be, or lead to, a folder.
            Err(error) => {
                found.unreadable.extend((!is_hidden(&entry.file_name())).then_some((path, error)));
                continue;
            }
        };
        if kind.is_dir() {
            if !path.file_name().is_some_and(is_hidden) {
                collect(&path, above, found);
            }
        } else if is_wanted(&path) && kind.is_file() {
            // A pipe or the like would keep its reader waiting.
            found.files.push(path);
        }
    }
}

/// Whether a file may be readable the next time though nothing of it has changed: that too many are open, say, passes by itself. What
/// stands in it does not, and a right to read it comes with a change.
pub(super) fn may_pass(error: &io::Error) -> bool {
    !matches!(error.kind(), io::ErrorKind::Other | io::ErrorKind::PermissionDenied)
}

/// Whether it means that there is nothing of that name. All other errors may pass, and say nothing of what is there.
pub(super) fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}
