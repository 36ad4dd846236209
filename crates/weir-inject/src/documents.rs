//! Files of many documents: what makes pods comes out injected, and everything else as it is written, each where it was.

use std::sync::Arc;

use serde_json::Value;
use weir_api::syntax::yaml;
use weir_api::{Diagnostic, Source};

use crate::objects::{Outcome, inject_object};
use crate::settings::Settings;

/// A text with its pods injected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Documents {
    /// The text.
    pub text: String,
    /// What a person should know.
    pub notes: Vec<String>,
}

/// Why a text cannot be injected. Nothing of it is.
#[derive(Debug)]
pub enum DocumentError {
    /// It is no YAML.
    Syntax(Box<Diagnostic>),
    /// An object asks for what cannot be read, or cannot be written.
    Object(String),
}

/// Injects the documents of a text.
///
/// # Errors
/// If one of them is wrong.
pub fn inject_documents(source: &Arc<Source>, settings: &Settings) -> Result<Documents, DocumentError> {
    let mut out = Documents { text: String::with_capacity(source.text.len()), notes: vec![] };
    for (text, node) in yaml::texts(source).into_iter().zip(yaml::documents(source)) {
        let object = node.map_err(DocumentError::Syntax)?.to_json();
        let Outcome { changed, notes } = inject_object(&object, settings).map_err(DocumentError::Object)?;
        out.notes.extend(notes);
        match changed {
            None => out.text.push_str(text),
            Some(object) => {
                out.text.push_str(&before(text));
                out.text.push_str(&written(&object).map_err(DocumentError::Object)?);
            }
        }
    }
    Ok(out)
}

/// An object as YAML.
fn written(object: &Value) -> Result<String, String> {
    let text = serde_saphyr::to_string(object).map_err(|error| format!("an injected object cannot be written: {error}"))?;
    Ok(if text.ends_with('\n') { text } else { text + "\n" })
}

/// What stands before a document: comments, and the mark that begins it.
fn before(text: &str) -> String {
    let mut kept = String::new();
    for line in text.split_inclusive('\n') {
        if line.starts_with("---") {
            return kept + "---\n";
        }
        kept.push_str(line);
    }
    // It has no mark: the comments that it begins with are kept.
    text.split_inclusive('\n').take_while(|line| line.starts_with('#') || line.trim().is_empty()).collect()
}
