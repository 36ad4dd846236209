//! Applies the header changes of routes.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use weir_routing::header_changes::{Action, HeaderChanges, NewValue, Target};

use super::head::join;
use crate::log::exchange::Exchange;

/// Where Envoy keeps the authority that a client sent, when a route changes it.
const ORIGINAL_HOST: HeaderName = HeaderName::from_static("x-envoy-original-host");

/// Changes the headers of a request. `host` counts as the authority.
pub fn apply_to_request(changes: &HeaderChanges, headers: &mut HeaderMap, exchange: &Exchange) {
    if changes.is_empty() {
        return;
    }
    for name in changes.remove.iter().filter(|name| **name != header::HOST) {
        headers.remove(name);
    }
    write(changes, headers, exchange, set_authority);
}

/// Changes the headers of an answer.
pub fn apply_to_response(changes: &HeaderChanges, headers: &mut HeaderMap, exchange: &Exchange) {
    if changes.is_empty() {
        return;
    }
    for name in &changes.remove {
        headers.remove(name);
    }
    write(changes, headers, exchange, |headers, value| drop(headers.insert(header::HOST, value)));
}

/// Gives a request another authority, and tells the instance the old one.
pub fn set_authority(headers: &mut HeaderMap, value: HeaderValue) {
    if let Some(old) = headers.insert(header::HOST, value) {
        headers.insert(ORIGINAL_HOST, old);
    }
}

fn write(changes: &HeaderChanges, headers: &mut HeaderMap, exchange: &Exchange, authority: impl Fn(&mut HeaderMap, HeaderValue)) {
    for change in &changes.write {
        let value = match &change.value {
            NewValue::Fixed(value) => value.clone(),
            NewValue::Template(template) => {
                let mut text = vec![];
                template.render(exchange, b"", &mut text);
                // What a request brought along may be no valid value elsewhere; then nothing is written.
                let Ok(value) = HeaderValue::from_bytes(&text) else { continue };
                value
            }
        };
        if value.is_empty() && !change.keep_empty {
            continue;
        }
        let Target::Header(name) = &change.target else {
            authority(headers, value);
            continue;
        };
        match change.action {
            Action::Append => {
                headers.append(name, value);
                // Of a header that can be there only once, Envoy makes one.
                if *name == header::LOCATION && headers.get_all(name).iter().nth(1).is_some() {
                    join(headers, name);
                }
            }
            Action::Set => drop(headers.insert(name, value)),
            Action::AddIfAbsent if headers.contains_key(name) => {}
            Action::AddIfAbsent => drop(headers.insert(name, value)),
            Action::SetIfPresent if !headers.contains_key(name) => {}
            Action::SetIfPresent => drop(headers.insert(name, value)),
        }
    }
}
