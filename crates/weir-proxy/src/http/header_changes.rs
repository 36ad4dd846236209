//! Applies the header changes of routes.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use weir_routing::header_changes::{Action, HeaderChanges, NewValue, Target};
use weir_routing::template::Template;

use weir_config::head::join;

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
    let rendered = render(changes, exchange);
    write(changes, rendered, &mut exchange.request.borrow_mut().headers, set_authority);
}

/// Changes the headers of an answer.
pub fn apply_to_response(changes: &HeaderChanges, headers: &mut HeaderMap, exchange: &Exchange) {
    if changes.is_empty() {
        return;
    }
    for name in &changes.remove {
        headers.remove(name);
    }
    write(changes, render(changes, exchange), headers, |headers, value| drop(headers.insert(header::HOST, value)));
}

/// Gives a request another authority, and tells the instance the old one.
pub fn set_authority(headers: &mut HeaderMap, value: HeaderValue) {
    if let Some(old) = headers.insert(header::HOST, value) {
        headers.insert(ORIGINAL_HOST, old);
    }
}

/// The values of all templates, in their order, before any of them is written: none sees what another writes. What a request
/// brought along may be no valid value elsewhere; then there is none.
fn render(changes: &HeaderChanges, exchange: &Exchange) -> Vec<Option<HeaderValue>> {
    let templates = changes.write.iter().filter_map(|change| match &change.value {
        NewValue::Fixed(_) => None,
        NewValue::Template(template) => Some(template),
    });
    let render = |template: &Template| {
        let mut text = vec![];
        template.render(exchange, b"", &mut text);
        HeaderValue::from_bytes(&text).ok()
    };
    templates.map(render).collect()
}

/// Writes headers; `rendered` are the values of the templates.
fn write(
    changes: &HeaderChanges,
    rendered: Vec<Option<HeaderValue>>,
    headers: &mut HeaderMap,
    authority: impl Fn(&mut HeaderMap, HeaderValue),
) {
    let mut rendered = rendered.into_iter();
    for change in &changes.write {
        let value = match &change.value {
            NewValue::Fixed(value) => Some(value.clone()),
            NewValue::Template(_) => rendered.next().flatten(),
        };
        let Some(value) = value else { continue };
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
