//! Applies the header changes of routes.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use weir_routing::header_changes::{Action, HeaderChange, HeaderChanges, NewValue, Target};
use weir_routing::inline_headers::{REQUEST, RESPONSE, append};

use crate::exchange::Exchange;

/// Where Envoy keeps the authority that a client sent, when a route changes it.
const ORIGINAL_HOST: HeaderName = HeaderName::from_static("x-envoy-original-host");

/// Changes the headers of the exchange's request. `host` counts as the authority.
pub fn apply_to_request(changes: &HeaderChanges, exchange: &Exchange) {
    if changes.is_empty() {
        return;
    }
    for name in changes.remove.iter().filter(|name| **name != header::HOST) {
        exchange.request.borrow_mut().headers.remove(name);
    }
    let values = values(changes, exchange);
    write(changes, values, &mut exchange.request.borrow_mut().headers, &REQUEST, set_authority);
}

/// Changes the headers of an answer.
pub fn apply_to_response(changes: &HeaderChanges, headers: &mut HeaderMap, exchange: &Exchange) {
    if changes.is_empty() {
        return;
    }
    for name in &changes.remove {
        headers.remove(name);
    }
    let values = values(changes, exchange);
    write(changes, values, headers, &RESPONSE, |headers, value| drop(headers.insert(header::HOST, value)));
}

/// Gives a request another authority, and tells the instance the old one.
pub fn set_authority(headers: &mut HeaderMap, value: HeaderValue) {
    if let Some(old) = headers.insert(header::HOST, value) {
        headers.insert(ORIGINAL_HOST, old);
    }
}

/// What is to be written, before any of it is: no value sees what another writes. What a request brought along may be no
/// valid value elsewhere; then there is none, and what is empty changes nothing.
fn values(changes: &HeaderChanges, exchange: &Exchange) -> Vec<Option<HeaderValue>> {
    let value = |change: &HeaderChange| {
        let value = match &change.value {
            NewValue::Fixed(value) => value.clone(),
            NewValue::Template(template) => {
                let mut text = vec![];
                template.render(exchange, b"", &mut text);
                HeaderValue::from_bytes(&text).ok()?
            }
        };
        (!value.is_empty() || change.keep_empty).then_some(value)
    };
    changes.write.iter().map(value).collect()
}

/// Writes headers: first what takes the place of others, then what is added, whatever their order. What depends on whether a
/// header is there means before anything is written.
fn write(
    changes: &HeaderChanges,
    values: Vec<Option<HeaderValue>>,
    headers: &mut HeaderMap,
    inline: &[HeaderName],
    set_authority: impl Fn(&mut HeaderMap, HeaderValue),
) {
    let mut added = vec![];
    let mut set = vec![];
    for (change, value) in changes.write.iter().zip(values) {
        let Some(value) = value else { continue };
        let Target::Header(name) = &change.target else {
            set_authority(headers, value);
            continue;
        };
        match change.action {
            Action::Append => added.push((name, value)),
            Action::AddIfAbsent if !headers.contains_key(name) => added.push((name, value)),
            Action::Set => set.push((name, value)),
            Action::SetIfPresent if headers.contains_key(name) => set.push((name, value)),
            Action::AddIfAbsent | Action::SetIfPresent => {}
        }
    }
    for (name, value) in set {
        headers.insert(name, value);
    }
    for (name, value) in added {
        append(headers, name, value, inline);
    }
}

#[cfg(test)]
mod tests {
    use weir_xds::core::{HeaderValue as Written, HeaderValueOption, header_value_option::HeaderAppendAction};

    use super::*;

    /// The values of `x-a` after these changes of it, for a message with and without the header.
    fn changed(written: &[(&str, HeaderAppendAction)]) -> [String; 2] {
        let option = |(value, action): &(&str, HeaderAppendAction)| HeaderValueOption {
            header: Some(Written { key: "x-a".to_owned(), value: (*value).to_owned(), ..Default::default() }),
            append_action: (*action).into(),
            ..Default::default()
        };
        let written: Vec<HeaderValueOption> = written.iter().map(option).collect();
        let changes = HeaderChanges::compile(&written, &[]).expect("valid");
        let values: Vec<Option<HeaderValue>> = changes
            .write
            .iter()
            .map(|change| match &change.value {
                NewValue::Fixed(value) => Some(value.clone()),
                NewValue::Template(_) => None,
            })
            .collect();
        [Some("old"), None].map(|old| {
            let mut headers = HeaderMap::new();
            headers.extend(old.map(|old| (HeaderName::from_static("x-a"), HeaderValue::from_static(old))));
            write(&changes, values.clone(), &mut headers, &REQUEST, set_authority);
            headers.get_all("x-a").iter().filter_map(|value| value.to_str().ok()).collect::<Vec<_>>().join(" ")
        })
    }

    #[test]
    fn what_is_set_is_written_before_what_is_added() {
        use HeaderAppendAction::{AddIfAbsent, AppendIfExistsOrAdd as Append, OverwriteIfExists, OverwriteIfExistsOrAdd as Set};
        for (written, expected) in [
            (vec![("add", Append), ("set", Set)], ["set add", "set add"]),
            (vec![("set", Set), ("add", Append), ("again", Set), ("more", Append)], ["again add more", "again add more"]),
            (vec![("set", Set), ("absent", AddIfAbsent)], ["set", "set absent"]),
            (vec![("add", Append), ("present", OverwriteIfExists)], ["present add", "add"]),
        ] {
            assert_eq!(changed(&written), expected, "{written:?}");
        }
    }
}
