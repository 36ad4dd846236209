//! Values as people write them, as Envoy's matchers: `x*`, `*x`, `*`.

use weir_xds::Any;
use weir_xds::core::{CidrRange, TypedExtensionConfig};
use weir_xds::envoy::extensions::path::r#match::uri_template::v3::UriTemplateMatchConfig;
use weir_xds::matcher::list_matcher::MatchPattern as ListPattern;
use weir_xds::matcher::metadata_matcher::{PathSegment, path_segment::Segment};
use weir_xds::matcher::string_matcher::MatchPattern;
use weir_xds::matcher::value_matcher::MatchPattern as ValuePattern;
use weir_xds::matcher::{ListMatcher, MetadataMatcher, OrMatcher, RegexMatcher, StringMatcher, ValueMatcher};
use weir_xds::route::HeaderMatcher;
use weir_xds::route::header_matcher::HeaderMatchSpecifier;

/// A matcher of a kind.
pub(super) fn of(pattern: MatchPattern) -> StringMatcher {
    StringMatcher { match_pattern: Some(pattern), ignore_case: false }
}

/// An expression for the whole text.
pub(super) fn regex(regex: impl Into<String>) -> StringMatcher {
    of(MatchPattern::SafeRegex(RegexMatcher { regex: regex.into(), ..Default::default() }))
}

/// A text that is there.
pub(super) fn present() -> StringMatcher {
    regex(".+")
}

/// A value, with a text before it that all have.
pub(super) fn text_behind(before: &str, value: &str) -> StringMatcher {
    if value == "*" {
        return present();
    }
    if let Some(suffix) = value.strip_prefix('*') {
        return match before {
            "" => of(MatchPattern::Suffix(suffix.to_owned())),
            before => regex(format!("{before}.*{}", quoted(suffix))),
        };
    }
    match value.strip_suffix('*') {
        Some(prefix) => of(MatchPattern::Prefix(format!("{before}{prefix}"))),
        None => of(MatchPattern::Exact(format!("{before}{value}"))),
    }
}

/// A value.
pub(super) fn text(value: &str) -> StringMatcher {
    text_behind("", value)
}

/// A header that has a value; one that is there for `*`.
pub(super) fn header(name: &str, value: &str, ignore_case: bool) -> HeaderMatcher {
    let specifier = match value {
        "*" => HeaderMatchSpecifier::PresentMatch(true),
        value => HeaderMatchSpecifier::StringMatch(StringMatcher { ignore_case, ..text(value) }),
    };
    HeaderMatcher { name: name.to_owned(), header_match_specifier: Some(specifier), ..Default::default() }
}

/// An address, or a range of them.
pub(super) fn range(value: &str) -> Option<CidrRange> {
    let net = match value.parse::<ipnet::IpNet>() {
        Ok(net) => net,
        Err(_) => ipnet::IpNet::from(value.parse::<std::net::IpAddr>().ok()?),
    };
    Some(CidrRange { address_prefix: net.addr().to_string(), prefix_len: Some(net.prefix_len().into()) })
}

/// Whether a path is a template.
pub(super) fn is_template(path: &str) -> bool {
    path.contains("{*}") || path.contains("{**}")
}

/// A template of paths.
pub(super) fn template(path: &str) -> TypedExtensionConfig {
    let path_template = path.replace("{*}", "*").replace("{**}", "**");
    TypedExtensionConfig { name: "uri-template".to_owned(), typed_config: Some(Any::pack(&UriTemplateMatchConfig { path_template })) }
}

/// A value that a filter has left.
pub(super) fn metadata(filter: &str, path: &[&str], value: ValueMatcher) -> MetadataMatcher {
    let segment = |key: &&str| PathSegment { segment: Some(Segment::Key((*key).to_owned())) };
    MetadataMatcher { filter: filter.to_owned(), path: path.iter().map(segment).collect(), value: Some(value), invert: false }
}

fn value(pattern: ValuePattern) -> ValueMatcher {
    ValueMatcher { match_pattern: Some(pattern) }
}

/// A value that is a text.
pub(super) fn text_value(text: StringMatcher) -> ValueMatcher {
    value(ValuePattern::StringMatch(text))
}

/// A list with such an item.
pub(super) fn list_value(item: ValueMatcher) -> ValueMatcher {
    value(ValuePattern::ListMatch(Box::new(ListMatcher { match_pattern: Some(ListPattern::OneOf(Box::new(item))) })))
}

/// One of several values.
pub(super) fn any_value(mut values: Vec<ValueMatcher>) -> ValueMatcher {
    match values.len() {
        1 => values.remove(0),
        _ => value(ValuePattern::OrMatch(OrMatcher { value_matchers: values })),
    }
}

/// The expression for a text as it stands: what RE2 takes for more than itself is escaped.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        if r"\.+*?()|[]{}^$".contains(letter) {
            out.push('\\');
        }
        out.push(letter);
    }
    out
}
