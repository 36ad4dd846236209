//! Istio's `StringMatch`: how a text of a request is compared.

use serde::{Deserialize, Deserializer, de};

/// How a text is compared. Matching is by bytes, case and all.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub enum StringMatch {
    /// `{}`: the text need only be there.
    #[default]
    Present,
    /// The whole text.
    Exact(String),
    /// How it begins.
    Prefix(String),
    /// An RE2 expression for the whole text.
    Regex(String),
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Fields {
    exact: Option<String>,
    prefix: Option<String>,
    regex: Option<String>,
}

impl<'de> Deserialize<'de> for StringMatch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Fields::deserialize(deserializer)? {
            Fields { exact: None, prefix: None, regex: None } => Ok(Self::Present),
            Fields { exact: Some(text), prefix: None, regex: None } => Ok(Self::Exact(text)),
            Fields { exact: None, prefix: Some(text), regex: None } => Ok(Self::Prefix(text)),
            Fields { exact: None, prefix: None, regex: Some(text) } => Ok(Self::Regex(text)),
            _ => Err(de::Error::custom("`exact`, `prefix` and `regex` exclude one another; keep one of them")),
        }
    }
}
