//! What is wrong, where, and what would be right: the one form in which every part of Weir tells a person.

use std::fmt;
use std::sync::Arc;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{Annotation, AnnotationKind, Group, Level, Renderer, Snippet};

use crate::field_path::FieldPath;
use crate::node::Node;
use crate::object_name::ObjectName;
use crate::source::{Place, Source};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Good to know; nothing is wrong.
    Info,
    /// Accepted, but probably not what was meant, or not carried out.
    Warning,
    /// Refused.
    Error,
}

impl Severity {
    /// The word that starts a message.
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Error => "error",
        }
    }
}

/// What kind of thing a message says, for those who sort messages and do not read them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Topic {
    /// What is written does not make sense, or hardly.
    #[default]
    Validity,
    /// The document is none that a mesh could be made of: it cannot be read, or its kind is not known.
    Unreadable,
    /// It makes sense, and Weir does not do it.
    NotCarriedOut,
    /// A rule that no traffic reaches.
    UnreachableRule,
    /// A condition that no traffic reaches, because an earlier one takes all that it matches.
    IneffectiveMatch,
    /// A condition that a wider one beside it makes needless.
    NeedlessCondition,
}

/// A message for the person who must act.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// The resource that it is about, where one could be made out.
    pub object: Option<ObjectName>,
    /// The field that it is about; empty for the resource as a whole.
    pub path: FieldPath,
    /// What is wrong, in one sentence without a full stop.
    pub message: String,
    /// What would be right.
    pub help: Option<String>,
    /// Where it stands.
    pub place: Option<Place>,
    /// Whether it is about the name of the field, and not about its value.
    pub about_name: bool,
    /// What kind of thing it says.
    pub topic: Topic,
}

impl Diagnostic {
    /// An error without a place yet.
    pub fn error(message: impl Into<String>) -> Self {
        Self::new(Severity::Error, message)
    }

    /// A warning without a place yet.
    pub fn warning(message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, message)
    }

    /// A message without a place yet.
    pub fn new(severity: Severity, message: impl Into<String>) -> Self {
        Self {
            severity,
            object: None,
            path: FieldPath::default(),
            message: message.into(),
            help: None,
            place: None,
            about_name: false,
            topic: Topic::default(),
        }
    }

    /// Adds what would be right.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds the field.
    #[must_use]
    pub fn at(mut self, path: FieldPath) -> Self {
        self.path = path;
        self
    }

    /// Says that it is about the name of the field.
    #[must_use]
    pub fn about_name(mut self) -> Self {
        self.about_name = true;
        self
    }

    /// Says what kind of thing it says.
    #[must_use]
    pub fn on(mut self, topic: Topic) -> Self {
        self.topic = topic;
        self
    }

    /// Adds the place.
    #[must_use]
    pub fn placed(mut self, place: Option<Place>) -> Self {
        self.place = place;
        self
    }

    /// Adds the place of its field in a document, unless it has one already.
    #[must_use]
    pub fn placed_in(mut self, source: &Arc<Source>, document: &Node) -> Self {
        let span = if self.about_name { document.name_span_at(&self.path) } else { document.span_at(&self.path) };
        let place = || span.is_known().then(|| Place { source: source.clone(), span });
        self.place = self.place.take().or_else(place);
        self
    }

    /// The message with a picture of its place, as a compiler would show it, ending in a newline.
    pub fn render(&self, color: bool) -> String {
        let title = self.title();
        let level = match self.severity {
            Severity::Info => Level::INFO,
            Severity::Warning => Level::WARNING,
            Severity::Error => Level::ERROR,
        };
        let mut group = Group::with_title(level.primary_title(&title));
        if let Some(place) = &self.place {
            group = group.element(self.picture(place));
        }
        if let Some(help) = &self.help {
            group = group.element(Level::HELP.message(help));
        }
        let renderer = if color { Renderer::styled() } else { Renderer::plain() };
        let text = renderer.decor_style(DecorStyle::Ascii).render(&[group]).to_string();
        // The renderer pads a few lines with spaces, which no file that keeps its output wants.
        let mut lines: String = text.lines().map(|line| format!("{}\n", line.trim_end())).collect();
        if lines.is_empty() {
            lines.push('\n');
        }
        lines
    }

    fn title(&self) -> String {
        let mut about = String::new();
        if let Some(object) = &self.object {
            about = format!("{object}: ");
        }
        if !self.path.0.is_empty() {
            about += &format!("{}: ", self.path);
        }
        about + &self.message
    }

    fn picture<'a>(&self, place: &'a Place) -> Snippet<'a, Annotation<'a>> {
        let text = &place.source.text;
        // The parser's places of errors are not always those of whole characters.
        let start = text.floor_char_boundary(place.span.offset as usize);
        let line_end = text[start..].find('\n').map_or(text.len(), |i| start + i);
        let end = text.ceil_char_boundary(start + place.span.length as usize).clamp(start, line_end);
        Snippet::source(text.as_str()).path(place.source.path.as_str()).fold(true).annotation(AnnotationKind::Primary.span(start..end))
    }
}

/// The message in one line: `file:line:column: error: what is wrong (what would be right)`.
impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        write!(f, "{}: {}", self.severity.as_str(), self.title())?;
        match &self.help {
            Some(help) => write!(f, " ({help})"),
            None => Ok(()),
        }
    }
}
