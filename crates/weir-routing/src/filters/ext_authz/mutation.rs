//! What a service changes of a request, or of the answer to it.

use std::collections::BTreeMap;

use weir_http1::header::NameSet;
use weir_http1::{HeaderName, HeaderValue, Headers};
use weir_xds::core::HeaderValueOption;
use weir_xds::core::header_value_option::HeaderAppendAction;

use crate::inline_headers::append;

/// What is done with a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// The value takes the place of the old ones.
    Set,
    /// It stands beside them.
    Add,
    /// It stands behind the first of them, within the same header; where there is none, nothing is done.
    Join,
    /// Where there are some, nothing is done.
    AddIfAbsent,
    /// It takes their place, if there are any.
    SetIfPresent,
}

/// A change to a header. What a service writes may be no header at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mutation {
    /// The header's name; it may begin with `:`.
    pub name: String,
    /// The value.
    pub value: Vec<u8>,
    /// What is done with it.
    pub action: Action,
}

/// Whose header it is: what is read of the two ways to say what is done with it depends on that, as in Envoy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message {
    /// A request's: `append` alone counts.
    Request,
    /// An answer's to a request that passes: `append`, or else `append_action`.
    Answer,
    /// A refusal's: all values of a name stand there, but for those that are to be appended to others, of which there are none.
    Refusal,
}

impl Mutation {
    /// A change that a gRPC service asks for; none if nobody knows what it is.
    pub(super) fn of(option: &HeaderValueOption, message: Message) -> Option<Self> {
        #[allow(deprecated)] // Most services still say it so.
        let HeaderValueOption { header, append, append_action, keep_empty_value: _ } = option;
        let header = header.clone().unwrap_or_default();
        let action = match (message, append, HeaderAppendAction::try_from(*append_action)) {
            (Message::Request | Message::Refusal, Some(true), _) => Action::Join,
            (Message::Request, _, _) => Action::Set,
            (Message::Refusal, _, _) => Action::Add,
            (Message::Answer, Some(true), _) | (_, None, Ok(HeaderAppendAction::AppendIfExistsOrAdd)) => Action::Add,
            (Message::Answer, Some(false), _) | (_, None, Ok(HeaderAppendAction::OverwriteIfExistsOrAdd)) => Action::Set,
            (_, None, Ok(HeaderAppendAction::AddIfAbsent)) => Action::AddIfAbsent,
            (_, None, Ok(HeaderAppendAction::OverwriteIfExists)) => Action::SetIfPresent,
            (_, None, Err(_)) => return None,
        };
        Some(Self { name: header.key.to_ascii_lowercase(), value: header.value.into_bytes(), action })
    }

    /// Whether it is about a header, or about the request line.
    pub fn is_valid(&self) -> bool {
        HeaderName::from_bytes(self.name.trim_start_matches(':').as_bytes()).is_ok() && HeaderValue::from_bytes(&self.value).is_ok()
    }

    /// Changes headers, those of them that are joined in one; what is no header changes nothing.
    pub fn apply(&self, headers: &mut Headers, inline: &NameSet) {
        let (Ok(name), Ok(value)) = (HeaderName::from_bytes(self.name.as_bytes()), HeaderValue::from_bytes(&self.value)) else { return };
        let is_there = headers.contains_key(&name);
        match self.action {
            Action::Set => drop(headers.insert(&name, value)),
            Action::Add => append(headers, &name, value, inline),
            Action::Join => join(headers, &name, &value),
            Action::AddIfAbsent if is_there => {}
            Action::AddIfAbsent => append(headers, &name, value, inline),
            Action::SetIfPresent if is_there => drop(headers.insert(&name, value)),
            Action::SetIfPresent => {}
        }
    }
}

/// Appends a value to the first one of a header, if there is one.
fn join(headers: &mut Headers, name: &HeaderName, value: &HeaderValue) {
    let Some(first) = headers.get_mut(name) else { return };
    let between: &[u8] = if name.as_str() == "cookie" { b"; " } else { b"," };
    let joined = if first.is_empty() { value.as_bytes().to_vec() } else { [first.as_bytes(), value.as_bytes()].join(between) };
    if let Ok(joined) = HeaderValue::from_bytes(&joined) {
        *first = joined;
    }
}

/// Changes to the query of a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QueryChanges {
    /// Parameters that are set; all old values of theirs go.
    pub set: Vec<(String, String)>,
    /// Parameters that are removed then.
    pub remove: Vec<String>,
}

impl QueryChanges {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.remove.is_empty()
    }

    /// Whether all that is set can stand in a query.
    pub fn are_valid(&self) -> bool {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~%".contains(&byte);
        self.set.iter().all(|(name, value)| name.bytes().chain(value.bytes()).all(fits))
    }

    /// The path with its query as it is then. As in Envoy the query is written anew, in the order of the names.
    pub fn apply(&self, path: &str) -> String {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let mut parameters = BTreeMap::<&str, Vec<&str>>::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            parameters.entry(name).or_default().push(value);
        }
        parameters.extend(self.set.iter().map(|(name, value)| (name.as_str(), vec![value.as_str()])));
        parameters.retain(|name, _| !self.remove.iter().any(|removed| removed == name));
        let mut changed = path.to_owned();
        for (i, (name, value)) in parameters.iter().flat_map(|(name, values)| values.iter().map(move |value| (name, value))).enumerate() {
            changed.push(if i == 0 { '?' } else { '&' });
            changed.extend([*name, "=", *value]);
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    use weir_xds::core::HeaderValue as XdsHeaderValue;

    use super::*;
    use crate::inline_headers::REQUEST;

    fn option(append: Option<bool>, append_action: i32) -> HeaderValueOption {
        let header = Some(XdsHeaderValue { key: "X-A".into(), value: "v".into(), ..Default::default() });
        #[allow(deprecated)]
        HeaderValueOption { header, append, append_action, ..Default::default() }
    }

    #[test]
    fn what_is_done_with_a_header_is_said_in_two_ways() {
        use HeaderAppendAction::{AddIfAbsent, AppendIfExistsOrAdd, OverwriteIfExists, OverwriteIfExistsOrAdd};
        let cases = [
            (Some(true), 0, Action::Join, Some(Action::Add), Action::Join),
            (Some(false), 0, Action::Set, Some(Action::Set), Action::Add),
            (None, AppendIfExistsOrAdd.into(), Action::Set, Some(Action::Add), Action::Add),
            (None, AddIfAbsent.into(), Action::Set, Some(Action::AddIfAbsent), Action::Add),
            (None, OverwriteIfExistsOrAdd.into(), Action::Set, Some(Action::Set), Action::Add),
            (None, OverwriteIfExists.into(), Action::Set, Some(Action::SetIfPresent), Action::Add),
            (None, 99, Action::Set, None, Action::Add),
        ];
        for (append, action, request, answer, refusal) in cases {
            let found = |message| Mutation::of(&option(append, action), message).map(|mutation| mutation.action);
            let expected = (Some(request), answer, Some(refusal));
            assert_eq!((found(Message::Request), found(Message::Answer), found(Message::Refusal)), expected, "{append:?} {action}");
        }
    }

    #[test]
    fn headers_are_changed_as_is_asked() {
        let cases = [
            (Action::Set, "v", "v"),
            (Action::Add, "1+2+v", "v"),
            (Action::Join, "1,v+2", ""),
            (Action::AddIfAbsent, "1+2", "v"),
            (Action::SetIfPresent, "v", ""),
        ];
        for (action, there, absent) in cases {
            let changed = |old: &[&'static str]| {
                let name = HeaderName::from_static("x-a");
                let mut headers: Headers = old.iter().map(|value| (name.clone(), HeaderValue::from_static(value))).collect();
                Mutation { name: "x-a".into(), value: b"v".to_vec(), action }.apply(&mut headers, &REQUEST);
                headers.get_all("x-a").iter().map(|value| value.to_str().unwrap_or_default().to_owned()).collect::<Vec<_>>().join("+")
            };
            assert_eq!((changed(&["1", "2"]).as_str(), changed(&[]).as_str()), (there, absent), "{action:?}");
        }
    }

    #[test]
    fn what_is_no_header_changes_nothing() {
        for (name, value, valid) in
            [("x-a", "v", true), (":path", "/v", true), ("x a", "v", false), ("", "v", false), ("x-a", "v\n", false)]
        {
            let mutation = Mutation { name: name.into(), value: value.into(), action: Action::Set };
            let mut headers = Headers::new();
            mutation.apply(&mut headers, &REQUEST);
            assert_eq!((mutation.is_valid(), headers.len()), (valid, usize::from(valid && name == "x-a")), "{name} {value}");
        }
    }

    #[test]
    fn a_query_is_written_anew() {
        let changes = |set: &[(&str, &str)], remove: &[&str]| QueryChanges {
            set: set.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            remove: remove.iter().map(|name| (*name).to_owned()).collect(),
        };
        let cases = [
            ("/p?b=1&a=%20&b=2&c", changes(&[("d", "x")], &[]), "/p?a=%20&b=1&b=2&c=&d=x"),
            ("/p?b=1&a=2&b=3", changes(&[("b", "9")], &["a"]), "/p?b=9"),
            ("/p?a=1", changes(&[], &["a"]), "/p"),
            ("/p", changes(&[("a", "")], &[]), "/p?a="),
            ("/p?a=1", changes(&[("a", "2")], &["a"]), "/p"),
        ];
        for (path, changes, expected) in cases {
            assert_eq!(changes.apply(path), expected, "{path} {changes:?}");
        }
        assert!(changes(&[("a", "b%20c")], &[]).are_valid() && !changes(&[("a", "b c")], &[]).are_valid());
    }
}
