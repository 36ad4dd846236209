//! Headers that a route adds, sets or removes.

use http::{HeaderName, HeaderValue};
use weir_xds::core::HeaderValueOption;
use weir_xds::core::header_value_option::HeaderAppendAction;

use crate::error::CompileError;
use crate::template::Template;

/// What happens where a header is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// The new value stands beside the old ones.
    Append,
    /// The new value takes the place of the old ones.
    Set,
    /// The old ones stay, and nothing is added.
    AddIfAbsent,
    /// The new value takes the place of the old ones; where there are none, nothing is added.
    SetIfPresent,
}

/// What is written.
#[derive(Debug, Clone)]
pub enum NewValue {
    /// Always the same, made once.
    Fixed(HeaderValue),
    /// Made for each request.
    Template(Template),
}

/// Which header is written; `host` is not a header like the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// The authority.
    Authority,
    /// A header.
    Header(HeaderName),
}

/// One header that is added or set.
#[derive(Debug, Clone)]
pub struct HeaderChange {
    /// Which.
    pub target: Target,
    /// To what. An empty text changes nothing, unless `keep_empty`.
    pub value: NewValue,
    /// What of the old values.
    pub action: Action,
    /// Whether an empty text is written too.
    pub keep_empty: bool,
}

/// All changes of one message by one route, virtual host or cluster weight.
#[derive(Debug, Clone, Default)]
pub struct HeaderChanges {
    /// Removed first.
    pub remove: Box<[HeaderName]>,
    /// Written then, in order.
    pub write: Box<[HeaderChange]>,
}

impl HeaderChanges {
    /// Compiles Envoy's lists, such as `request_headers_to_add` and `request_headers_to_remove`.
    ///
    /// # Errors
    /// If a name is no name of a header, or a value has an unknown operator.
    pub fn compile(add: &[HeaderValueOption], remove: &[String]) -> Result<Self, CompileError> {
        let remove = remove.iter().map(|name| header_name(name)).collect::<Result<_, _>>()?;
        let write = add.iter().map(HeaderChange::compile).collect::<Result<_, _>>()?;
        Ok(Self { remove, write })
    }

    /// These changes, if the authority is not among them, which filters may not change.
    ///
    /// # Errors
    /// If it is.
    pub(crate) fn without_authority(self) -> Result<Self, CompileError> {
        match self.write.iter().any(|change| change.target == Target::Authority) {
            true => Err(CompileError::new("", "`:authority` and `host` may not be changed")),
            false => Ok(self),
        }
    }

    /// Whether nothing is changed.
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.write.is_empty()
    }
}

impl HeaderChange {
    fn compile(option: &HeaderValueOption) -> Result<Self, CompileError> {
        let header = option.header.as_ref().ok_or_else(|| CompileError::missing("header"))?;
        let target = match header.key.to_ascii_lowercase().as_str() {
            "host" | ":authority" => Target::Authority,
            name => Target::Header(header_name(name)?),
        };
        let template = Template::compile(&header.value).map_err(|error| error.within(&header.key))?;
        let value = match template.literal() {
            Some(text) => {
                NewValue::Fixed(HeaderValue::from_bytes(text).map_err(|_| CompileError::new(&header.key, "is no valid value of a header"))?)
            }
            None => NewValue::Template(template),
        };
        Ok(Self { target, value, action: action(option), keep_empty: option.keep_empty_value })
    }
}

fn action(option: &HeaderValueOption) -> Action {
    #[allow(deprecated)] // What older control planes send.
    match (option.append, option.append_action()) {
        (Some(false), _) => Action::Set,
        (_, HeaderAppendAction::AppendIfExistsOrAdd) => Action::Append,
        (_, HeaderAppendAction::AddIfAbsent) => Action::AddIfAbsent,
        (_, HeaderAppendAction::OverwriteIfExistsOrAdd) => Action::Set,
        (_, HeaderAppendAction::OverwriteIfExists) => Action::SetIfPresent,
    }
}

fn header_name(name: &str) -> Result<HeaderName, CompileError> {
    HeaderName::try_from(name.to_ascii_lowercase()).map_err(|_| CompileError::new("", format!("`{name}` is no name of a header")))
}
