//! Applies the header changes of routes.

use smallvec::SmallVec;
use weir_http1::header::{self, HeaderName, HeaderValue, Headers, NameSet};
use weir_routing::header_changes::{Action, HeaderChange, HeaderChanges, NewValue, Target};
use weir_routing::template::{Field, Message, Operator, Values};

use weir_routing::inline_headers::{REQUEST, RESPONSE, append};

use crate::exchange::{Exchange, bytes};

/// Where Envoy keeps the authority that a client sent, when a route changes it.
const ORIGINAL_HOST: HeaderName = HeaderName::from_static("x-envoy-original-host");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Changes the headers of the exchange's request. `host` counts as the authority.
pub fn apply_to_request(changes: &HeaderChanges, exchange: &Exchange) {
    if changes.is_empty() {
        return;
    }
    for name in changes.remove.iter().filter(|name| **name != header::HOST) {
        exchange.request.borrow_mut().headers.remove(name);
    }
    let rendered = render(changes, exchange);
    write(changes, rendered, &mut exchange.request.borrow_mut().headers, &REQUEST);
}

/// Changes the headers of a request of a filter's own, which is sent for the exchange.
pub fn apply_to_own(changes: &HeaderChanges, headers: &mut Headers, exchange: &Exchange) {
    if !changes.is_empty() {
        write(changes, render(changes, exchange), headers, &REQUEST);
    }
}

/// Changes the headers of an answer.
pub fn apply_to_response(changes: &HeaderChanges, headers: &mut Headers, exchange: &Exchange) {
    if changes.is_empty() {
        return;
    }
    for name in &changes.remove {
        headers.remove(name);
    }
    let rendered = render(changes, &OfAnswer { exchange, headers });
    write(changes, rendered, headers, &RESPONSE);
}

/// The values of an exchange while the headers of its answer are made: they are not noted for the log yet.
struct OfAnswer<'a> {
    exchange: &'a Exchange,
    headers: &'a Headers,
}

impl OfAnswer<'_> {
    fn header(&self, field: &Field, out: &mut Vec<u8>) -> bool {
        match field {
            Field::Header(name) => bytes(self.headers.get(name).map(HeaderValue::as_bytes), out),
            field => self.exchange.append(&Operator::Header(Message::Response, field.clone(), None), out),
        }
    }
}

impl Values for OfAnswer<'_> {
    fn append(&self, operator: &Operator, out: &mut Vec<u8>) -> bool {
        match operator {
            Operator::Header(Message::Response, first, second) => {
                self.header(first, out) || second.as_ref().is_some_and(|second| self.header(second, out))
            }
            operator => self.exchange.append(operator, out),
        }
    }
}

/// Gives a request another authority; the old one is kept in a header of Envoy's where there are to be such, and with `append` in
/// `x-forwarded-host`.
pub fn set_authority(headers: &mut Headers, value: HeaderValue, append: bool, suppress_envoy_headers: bool) {
    let Some(old) = headers.insert(header::HOST, value) else { return };
    if append && !old.is_empty() {
        append_forwarded_host(headers, &old);
    }
    if !suppress_envoy_headers {
        headers.insert(ORIGINAL_HOST, old);
    }
}

/// Adds a host to the list of those that a request was sent to, unless it is the last one there.
fn append_forwarded_host(headers: &mut Headers, host: &HeaderValue) {
    let known = headers.get(FORWARDED_HOST).map(HeaderValue::as_bytes).unwrap_or_default();
    if known.rsplit(|byte| *byte == b',').next() == Some(host.as_bytes()) {
        return;
    }
    let list = if known.is_empty() { host.as_bytes().to_vec() } else { [known, host.as_bytes()].join(&b',') };
    if let Ok(list) = HeaderValue::from_bytes(&list) {
        headers.insert(FORWARDED_HOST, list);
    }
}

/// What is written, in its order, before any of it is: no template sees what another writes. What a request brought along may
/// be no valid value elsewhere; then nothing is written.
fn render(changes: &HeaderChanges, values: &impl Values) -> Vec<Option<HeaderValue>> {
    let render = |change: &HeaderChange| {
        let value = match &change.value {
            NewValue::Fixed(value) => value.clone(),
            NewValue::Template(template) => {
                let mut text = vec![];
                template.render(values, b"", &mut text);
                HeaderValue::from_bytes(&text).ok()?
            }
        };
        (!value.is_empty() || change.keep_empty).then_some(value)
    };
    changes.write.iter().map(render).collect()
}

/// Writes headers: as Envoy does, first all that take the place of old ones, then all that stand beside others. What depends
/// on a header's presence depends on what was there before.
fn write(changes: &HeaderChanges, rendered: Vec<Option<HeaderValue>>, headers: &mut Headers, inline: &NameSet) {
    let wanted = changes.write.iter().zip(rendered).filter_map(|(change, value)| {
        let Target::Header(name) = &change.target else { return None };
        let is_there = headers.contains_key(name);
        let wanted = match change.action {
            Action::Append | Action::Set => true,
            Action::AddIfAbsent => !is_there,
            Action::SetIfPresent => is_there,
        };
        Some((name, change.action, value.filter(|_| wanted)?))
    });
    let (set, add): (SmallVec<[_; 4]>, SmallVec<[_; 4]>) =
        wanted.partition(|(_, action, _)| matches!(action, Action::Set | Action::SetIfPresent));
    for (name, _, value) in set {
        headers.insert(name, value);
    }
    for (name, _, value) in add {
        append(headers, name, value, inline);
    }
}

#[cfg(test)]
mod tests {
    use weir_xds::core::header_value_option::HeaderAppendAction;
    use weir_xds::core::{HeaderValue as XdsHeaderValue, HeaderValueOption};

    use super::*;

    struct Nothing;

    impl Values for Nothing {
        fn append(&self, _: &Operator, _: &mut Vec<u8>) -> bool {
            false
        }
    }

    #[test]
    fn what_replaces_comes_before_what_is_added() {
        use HeaderAppendAction::{AddIfAbsent, AppendIfExistsOrAdd, OverwriteIfExists, OverwriteIfExistsOrAdd};
        let option = |(key, value, action): (&str, &str, HeaderAppendAction)| HeaderValueOption {
            header: Some(XdsHeaderValue { key: key.into(), value: value.into(), ..Default::default() }),
            append_action: action.into(),
            ..Default::default()
        };
        let changes = [
            ("x-a", "added", AppendIfExistsOrAdd),
            ("x-a", "set", OverwriteIfExistsOrAdd),
            // Both look at what was there before.
            ("x-b", "1", AddIfAbsent),
            ("x-b", "2", AddIfAbsent),
            ("x-c", "1", OverwriteIfExistsOrAdd),
            ("x-c", "2", OverwriteIfExists),
            ("x-d", "%REQ(x)%", OverwriteIfExistsOrAdd),
        ];
        let changes = HeaderChanges::compile(&changes.map(option), &[]).expect("valid");
        let mut headers = Headers::from_iter([(HeaderName::from_static("x-a"), HeaderValue::from_static("old"))]);
        write(&changes, render(&changes, &Nothing), &mut headers, &REQUEST);
        let values = |name: &str| headers.get_all(name).iter().map(|value| value.to_str().expect("ASCII")).collect::<Vec<_>>();
        assert_eq!((values("x-a"), values("x-b"), values("x-c")), (vec!["set", "added"], vec!["1", "2"], vec!["1"]));
        assert!(values("x-d").is_empty());
    }

    #[test]
    fn hosts_that_were_rewritten_are_kept_in_a_list() {
        let mut headers = Headers::from_iter([(header::HOST, HeaderValue::from_static("a.test"))]);
        for (host, expected) in [("b.test", "a.test"), ("a.test", "a.test,b.test"), ("b.test", "a.test,b.test,a.test")] {
            set_authority(&mut headers, HeaderValue::from_static(host), true, false);
            assert_eq!(headers[FORWARDED_HOST], expected);
        }
        set_authority(&mut headers, HeaderValue::from_static("c.test"), false, false);
        assert_eq!(
            (&headers[FORWARDED_HOST], &headers[ORIGINAL_HOST]),
            (&HeaderValue::from_static("a.test,b.test,a.test"), &HeaderValue::from_static("b.test"))
        );
        set_authority(&mut headers, HeaderValue::from_static("d.test"), false, true);
        assert_eq!(
            (&headers[header::HOST], &headers[ORIGINAL_HOST]),
            (&HeaderValue::from_static("d.test"), &HeaderValue::from_static("b.test"))
        );
    }
}
