//! Headers that a route adds, sets or removes.

use weir_http1::{HeaderName, HeaderValue};
use weir_xds::core::header_value_option::HeaderAppendAction;
use weir_xds::core::{HeaderValue as XdsHeaderValue, HeaderValueOption};

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
    /// Written then: first what takes the place of old values, then what stands beside them.
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

    /// Compiles the lists of a route, of a virtual host or the like: there the authority and what begins with `:` cannot be
    /// changed, because routes have fields for it.
    ///
    /// # Errors
    /// If they are not valid.
    pub fn of_route(add: &[HeaderValueOption], remove: &[String]) -> Result<Self, CompileError> {
        let added = add.iter().filter_map(|option| option.header.as_ref()).map(|header| &header.key);
        let fixed = |name: &&String| name.starts_with(':') || name.eq_ignore_ascii_case("host");
        if let Some(name) = added.chain(remove).find(fixed) {
            return Err(CompileError::new("", format!("`{name}` cannot be changed as headers are")));
        }
        Self::compile(add, remove)
    }

    /// Whether nothing is changed.
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.write.is_empty()
    }
}

impl HeaderChange {
    fn compile(option: &HeaderValueOption) -> Result<Self, CompileError> {
        #[allow(deprecated)] // What older control planes send.
        let HeaderValueOption { header, append, append_action: _, keep_empty_value } = option;
        // Envoy ignores the bytes where a text is expected.
        let XdsHeaderValue { key, value, raw_value: _ } = header.as_ref().ok_or_else(|| CompileError::missing("header"))?;
        let action = action(*append, option.append_action()).map_err(|error| error.within(key))?;
        let target = match key.to_ascii_lowercase().as_str() {
            "host" | ":authority" => Target::Authority,
            name => Target::Header(header_name(name)?),
        };
        let template = Template::compile(value).map_err(|error| error.within(key))?;
        let value = match template.literal() {
            Some(text) => {
                NewValue::Fixed(HeaderValue::from_bytes(text).map_err(|_| CompileError::new(key, "is no valid value of a header"))?)
            }
            None => NewValue::Template(template),
        };
        Ok(Self { target, value, action, keep_empty: *keep_empty_value })
    }
}

/// What happens to old values: by `append_action`, or by `append`, which is older; both are one too many.
fn action(append: Option<bool>, action: HeaderAppendAction) -> Result<Action, CompileError> {
    Ok(match (append, action) {
        (None | Some(true), HeaderAppendAction::AppendIfExistsOrAdd) => Action::Append,
        (Some(false), HeaderAppendAction::AppendIfExistsOrAdd) => Action::Set,
        (None, HeaderAppendAction::AddIfAbsent) => Action::AddIfAbsent,
        (None, HeaderAppendAction::OverwriteIfExistsOrAdd) => Action::Set,
        (None, HeaderAppendAction::OverwriteIfExists) => Action::SetIfPresent,
        (Some(_), _) => return Err(CompileError::new("append", "is given beside append_action")),
    })
}

fn header_name(name: &str) -> Result<HeaderName, CompileError> {
    HeaderName::try_from(name.to_ascii_lowercase()).map_err(|_| CompileError::new("", format!("`{name}` is no name of a header")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn option(key: &str, append: Option<bool>, append_action: HeaderAppendAction) -> HeaderValueOption {
        let header = Some(XdsHeaderValue { key: key.into(), value: "v".into(), ..Default::default() });
        #[allow(deprecated)]
        HeaderValueOption { header, append, append_action: append_action.into(), ..Default::default() }
    }

    #[test]
    fn what_becomes_of_old_values_is_said_once() {
        use HeaderAppendAction::{AddIfAbsent, AppendIfExistsOrAdd, OverwriteIfExists, OverwriteIfExistsOrAdd};
        let cases = [
            (None, AppendIfExistsOrAdd, Some(Action::Append)),
            (None, AddIfAbsent, Some(Action::AddIfAbsent)),
            (None, OverwriteIfExistsOrAdd, Some(Action::Set)),
            (None, OverwriteIfExists, Some(Action::SetIfPresent)),
            (Some(true), AppendIfExistsOrAdd, Some(Action::Append)),
            (Some(false), AppendIfExistsOrAdd, Some(Action::Set)),
            (Some(false), OverwriteIfExistsOrAdd, None),
        ];
        for (append, action, expected) in cases {
            let changes = HeaderChanges::compile(&[option("x", append, action)], &[]);
            assert_eq!(changes.ok().map(|changes| changes.write[0].action), expected, "{append:?} {action:?}");
        }
    }

    #[test]
    fn routes_do_not_change_the_authority_as_headers_are() {
        for name in ["host", "Host", ":authority", ":path"] {
            assert!(HeaderChanges::of_route(&[option(name, None, HeaderAppendAction::AddIfAbsent)], &[]).is_err(), "{name}");
            assert!(HeaderChanges::of_route(&[], &[name.to_owned()]).is_err(), "{name}");
        }
        assert!(HeaderChanges::of_route(&[option("x-host", None, HeaderAppendAction::AddIfAbsent)], &["hosts".to_owned()]).is_ok());
    }
}
