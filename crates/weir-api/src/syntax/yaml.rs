//! YAML (and so JSON) texts as trees with places.
//!
//! The text is cut at its `---` lines first, as kubectl does, and each document is parsed alone: an error in
//! one cannot hide the others.

use std::fmt;
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, Spanned};

use crate::diagnostic::Diagnostic;
use crate::node::{Entry, Node, Value};
use crate::source::{Place, Source, Span};

/// Deeper nesting is refused: no resource needs it, and it would cost stack.
const MAX_DEPTH: usize = 128;

/// The documents of a text, in order; one that holds nothing but comments is a null node.
pub fn documents(source: &Arc<Source>) -> Vec<Result<Node, Box<Diagnostic>>> {
    cut(&source.text).into_iter().map(|piece| document(source, &piece)).collect()
}

/// The texts of the documents that [`documents`] reads, one for each: together they are the whole text.
pub fn texts(source: &Source) -> Vec<&str> {
    cut(&source.text).into_iter().map(|piece| piece.text).collect()
}

/// A document's text and where it begins.
#[derive(Debug, PartialEq, Eq)]
struct Piece<'a> {
    text: &'a str,
    offset: usize,
    /// How many lines stand before it.
    lines: usize,
}

/// Cuts a text before each line that begins a new document.
fn cut(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = vec![];
    let mut start = (0, 0);
    let (mut offset, mut lines) = (0, 0);
    // Whether the piece has a mark, and whether it has nothing else.
    let (mut marked, mut empty) = (false, true);
    for line in text.split_inclusive('\n') {
        let marks = line.strip_prefix("---").is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']));
        if marks && (marked || !empty) {
            pieces.push(Piece { text: &text[start.0..offset], offset: start.0, lines: start.1 });
            start = (offset, lines);
            (marked, empty) = (false, true);
        }
        marked |= marks;
        // Directives (%YAML) and comments belong to the document that they stand before.
        empty &= marks || line.trim().is_empty() || line.starts_with(['#', '%']);
        if marks {
            empty &= line[3..].trim().is_empty();
        }
        offset += line.len();
        lines += 1;
    }
    pieces.push(Piece { text: &text[start.0..], offset: start.0, lines: start.1 });
    pieces
}

fn document(source: &Arc<Source>, piece: &Piece<'_>) -> Result<Node, Box<Diagnostic>> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_depth: MAX_DEPTH },
        strict_booleans: true,
        with_snippet: false,
    };
    let tree: Spanned<Tree> = serde_saphyr::from_str_with_options(piece.text, options).map_err(|error| {
        let span = error.location().map(|location| piece.span(location));
        let span = if is_tab(&error) { span.and_then(|span| piece.tab(span)).or(span) } else { span };
        let place = span.filter(|span| span.is_known()).map(|span| Place { source: source.clone(), span });
        Box::new(explain(&error).placed(place))
    })?;
    Ok(piece.node(tree))
}

/// Whether the parser stumbled over a tab in the indentation.
fn is_tab(error: &serde_saphyr::Error) -> bool {
    error.without_snippet().to_string().contains("tab")
}

/// The parser's error in words that name a remedy, where there is a usual one.
fn explain(error: &serde_saphyr::Error) -> Diagnostic {
    let text = error.without_snippet().to_string();
    let message = text.split(" at line ").next().unwrap_or(&text).to_owned();
    if let Some(rest) = message.strip_prefix("duplicate mapping key: ") {
        let key = rest.split(", set ").next().unwrap_or(rest);
        return Diagnostic::error(format!("the key `{key}` stands twice in one map")).with_help("keep one of the two");
    }
    if is_tab(error) {
        return Diagnostic::error("a tab in the indentation").with_help("YAML indents with spaces only: put spaces in place of the tab");
    }
    if message.contains("multiple YAML documents") {
        return Diagnostic::error("a `...` ends the document before here").with_help("remove it, or begin another document with `---`");
    }
    let help = if message.contains("mapping values are not allowed") {
        Some("a `:` begins a value here: is the line above indented rightly, or does a text want quotes?")
    } else if message.contains("unknown anchor") {
        Some("a text that begins with `*` wants quotes")
    } else if message.contains("multiline quoted") {
        Some("is the closing quote missing?")
    } else {
        None
    };
    let diagnostic = Diagnostic::error(format!("not valid YAML: {message}"));
    match help {
        Some(help) => diagnostic.with_help(help),
        None => diagnostic,
    }
}

impl Piece<'_> {
    /// The first tab in an indentation from the line of `near` on: the parser tells what stands before it.
    fn tab(&self, near: Span) -> Option<Span> {
        let mut offset = self.offset;
        for (index, line) in self.text.split_inclusive('\n').enumerate() {
            let number = (index + 1 + self.lines) as u32;
            let indentation = line.len() - line.trim_start_matches([' ', '\t']).len();
            if let Some(column) = line[..indentation].find('\t').filter(|_| number >= near.line) {
                return Some(Span { line: number, column: (column + 1) as u32, offset: (offset + column) as u32, length: 1 });
            }
            offset += line.len();
        }
        None
    }

    /// The parser's location as a span of the whole text. Errors of syntax know no bytes, only lines.
    fn span(&self, location: Location) -> Span {
        let (line, column) = (location.line(), location.column());
        if line == 0 {
            return Span::default();
        }
        let (offset, length) = match (location.span().byte_offset(), location.span().byte_len()) {
            (Some(offset), Some(length)) => (offset as usize, length as usize),
            _ => {
                let before: usize = self.text.split_inclusive('\n').take(line as usize - 1).map(str::len).sum();
                let rest = self.text.get(before..).unwrap_or_default();
                let within = rest.char_indices().nth((column as usize).saturating_sub(1)).map_or(0, |(i, _)| i);
                (before + within, 1)
            }
        };
        Span {
            line: (line as usize + self.lines) as u32,
            column: column as u32,
            offset: (offset + self.offset) as u32,
            length: length as u32,
        }
    }

    /// A key as Kubernetes reads it: by YAML 1.1, in which some words are truth values.
    fn key(&self, key: String, span: &Span) -> String {
        let is_plain = self.text.get(span.offset as usize - self.offset..).is_some_and(|text| text.starts_with(&key));
        match truth_value(&key) {
            Some(truth) if is_plain => truth.to_string(),
            _ => key,
        }
    }

    fn node(&self, tree: Spanned<Tree>) -> Node {
        let span = self.span(tree.referenced);
        let value = match tree.value {
            Tree::Scalar(value) => value,
            Tree::List(items) => Value::List(items.into_iter().map(|item| self.node(item)).collect()),
            Tree::Map(entries) => Value::Map(
                entries
                    .into_iter()
                    .map(|(key, value)| {
                        let key_span = self.span(key.referenced);
                        Entry { key: self.key(key.value, &key_span), key_span, node: self.node(value) }
                    })
                    .collect(),
            ),
        };
        Node { value, span }
    }
}

/// The truth value that a word is in YAML 1.1 (<https://yaml.org/type/bool.html>).
pub(crate) fn truth_value(word: &str) -> Option<bool> {
    match word {
        "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" | "true" | "True" | "TRUE" => Some(true),
        "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" | "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}

/// What the parser fills, before its locations are made those of the whole text.
enum Tree {
    Scalar(Value),
    List(Vec<Spanned<Tree>>),
    Map(Vec<(Spanned<String>, Spanned<Tree>)>),
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TreeVisitor)
    }
}

struct TreeVisitor;

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Scalar(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Tree, E> {
        Ok(Tree::Scalar(Value::Null))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
        Ok(Tree::Scalar(Value::Bool(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Tree, E> {
        Ok(Tree::Scalar(Value::Int(value.into())))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Tree, E> {
        Ok(Tree::Scalar(Value::Int(value.into())))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Tree, E> {
        Ok(Tree::Scalar(Value::Float(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Tree, E> {
        Ok(Tree::Scalar(Value::String(value.to_owned())))
    }

    fn visit_string<E>(self, value: String) -> Result<Tree, E> {
        Ok(Tree::Scalar(Value::String(value)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Tree, A::Error> {
        let mut items = vec![];
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Tree::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Tree, A::Error> {
        let mut entries = vec![];
        while let Some(entry) = access.next_entry()? {
            entries.push(entry);
        }
        Ok(Tree::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Vec<&str> {
        cut(text).into_iter().map(|piece| piece.text).collect()
    }

    #[test]
    fn documents_are_cut_at_their_marks() {
        assert_eq!(texts("a: 1\n---\nb: 2\n"), ["a: 1\n", "---\nb: 2\n"]);
        assert_eq!(texts("---\na: 1\n--- # two\nb: 2\n"), ["---\na: 1\n", "--- # two\nb: 2\n"]);
        assert_eq!(texts("# licence\n---\na: 1\n"), ["# licence\n---\na: 1\n"]);
        assert_eq!(texts("---\n\n---\na: 1\n"), ["---\n\n", "---\na: 1\n"]);
        assert_eq!(texts("a: |\n  ---\n----\n"), ["a: |\n  ---\n----\n"]);
        assert_eq!(texts("--- {a: 1}\n--- {b: 2}"), ["--- {a: 1}\n", "--- {b: 2}"]);
        assert_eq!(texts(""), [""]);
    }

    #[test]
    fn places_count_from_the_start_of_the_file() {
        let source = Source::new("x.yaml", "a: 1\n---\nb:\n  é: c\n");
        let trees = documents(&source);
        let tree = trees[1].as_ref().expect("valid YAML");
        let node = tree.get("b").and_then(|b| b.get("é")).expect("b.é");
        assert_eq!((node.span.line, node.span.column), (4, 6));
        let text = &source.text[node.span.offset as usize..][..node.span.length as usize];
        assert_eq!(text, "c");
    }

    #[test]
    fn an_error_hides_no_neighbour() {
        let source = Source::new("x.yaml", "a: 1\n---\nb: 1\n\tc: 2\n---\nc: 3\n");
        let trees = documents(&source);
        assert!(trees[0].is_ok() && trees[2].is_ok());
        let error = trees[1].as_ref().expect_err("a tab");
        assert_eq!(error.place.as_ref().expect("a place").to_string(), "x.yaml:4:1");
    }
}
