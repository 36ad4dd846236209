//! Places in texts: what a person needs to find the line that a message is about.

use std::fmt;
use std::sync::Arc;

/// A text that resources were read from, kept so that messages can show a picture of the place.
#[derive(Debug, PartialEq, Eq)]
pub struct Source {
    /// The file's path as the user named it; `-` for standard input.
    pub path: String,
    /// The whole text.
    pub text: String,
}

impl Source {
    /// A source that is shared by all that was read from it.
    pub fn new(path: impl Into<String>, text: impl Into<String>) -> Arc<Self> {
        Arc::new(Self { path: path.into(), text: text.into() })
    }
}

/// A stretch of a source, in one or more lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    /// Line of its first character, from 1; 0 where the place is not known (a resource from an API server).
    pub line: u32,
    /// Column of its first character, from 1, in characters.
    pub column: u32,
    /// Byte offset of its first character in the whole text.
    pub offset: u32,
    /// Length in bytes.
    pub length: u32,
}

impl Span {
    /// Whether this is a real place, and not that of something that came without a text.
    pub fn is_known(self) -> bool {
        self.line != 0
    }
}

/// A stretch of a certain source; prints as `file:line:column`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The text.
    pub source: Arc<Source>,
    /// Where in it.
    pub span: Span,
}

impl Place {
    /// `file:line`, the short form that access logs and tables use.
    pub fn line(&self) -> String {
        format!("{}:{}", self.source.path, self.span.line)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.source.path, self.span.line, self.span.column)
    }
}
