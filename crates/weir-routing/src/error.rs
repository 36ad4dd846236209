//! Why a resource cannot be compiled.

/// What is wrong with an xDS resource, and in which of its fields.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {what}")]
pub struct CompileError {
    /// The field, from the resource's root.
    pub path: String,
    /// What is wrong with it.
    pub what: String,
}

impl CompileError {
    /// Something is wrong with a field.
    pub fn new(path: impl Into<String>, what: impl Into<String>) -> Self {
        Self { path: path.into(), what: what.into() }
    }

    /// A field that is needed is not there.
    pub fn missing(path: &str) -> Self {
        Self::new(path, "is missing")
    }

    /// A field asks for something that is not carried out.
    pub fn unsupported(path: &str) -> Self {
        Self::new(path, "is not supported")
    }

    /// A pattern is no valid regular expression.
    pub fn regex(pattern: &str, error: &regex::Error) -> Self {
        let reason = error.to_string();
        let reason = reason.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
        Self::new("regex", format!("`{pattern}` is no valid regular expression: {reason}"))
    }

    /// The error as seen from the message that holds the field.
    #[must_use]
    pub fn within(mut self, parent: &str) -> Self {
        let dot = if self.path.is_empty() || self.path.starts_with('[') { "" } else { "." };
        self.path = format!("{parent}{dot}{}", self.path);
        self
    }
}
