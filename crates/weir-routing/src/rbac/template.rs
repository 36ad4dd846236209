//! Templates of paths: Envoy's URI templates, compiled
//! (<https://www.envoyproxy.io/docs/envoy/latest/api-v3/extensions/path/match/uri_template/v3/uri_template_match.proto>).

use regex::bytes::Regex;
use weir_xds::core::TypedExtensionConfig;
use weir_xds::envoy::extensions::path::r#match::uri_template::v3::UriTemplateMatchConfig;
use weir_xds::matcher::RegexMatcher;

use crate::error::CompileError;
use crate::text_match::compile_regex;

/// What may stand in a segment of a path, as in a class of an expression; in a template itself `*` is a wildcard.
const LETTERS: &str = r"a-zA-Z0-9._~%!$&'()*+,;:@=\-";

/// A template that a path must be of.
#[derive(Debug, Clone)]
pub(super) struct PathTemplate {
    expression: Regex,
    /// How every such path begins.
    pub(super) prefix: Box<str>,
}

impl PathTemplate {
    pub(super) fn compile(config: &TypedExtensionConfig) -> Result<Self, CompileError> {
        let TypedExtensionConfig { name: _, typed_config } = config;
        let config = typed_config.as_ref().ok_or_else(|| CompileError::missing("typed_config"))?;
        if !config.is::<UriTemplateMatchConfig>() {
            return Err(CompileError::new("typed_config", format!("the type `{}` is not supported", config.type_name())));
        }
        let UriTemplateMatchConfig { path_template } =
            config.unpack().map_err(|error| CompileError::new("typed_config", error.to_string()))?;
        Self::of(&path_template).map_err(|error| error.within("typed_config.path_template"))
    }

    fn of(template: &str) -> Result<Self, CompileError> {
        let wrong = |what: &str| CompileError::new("", format!("`{template}` {what}"));
        let segments = template.strip_prefix('/').ok_or_else(|| wrong("does not begin with `/`"))?;
        let (mut expression, mut prefix, mut is_plain) = (String::new(), String::new(), true);
        let mut several = false;
        let count = segments.split('/').count();
        for (i, segment) in segments.split('/').enumerate() {
            expression.push('/');
            prefix.push_str(if is_plain { "/" } else { "" });
            let (glob, literal) = split(segment);
            // A literal may follow a wildcard in the last segment alone.
            let is_last = i + 1 == count;
            if (!glob.is_empty() && !literal.is_empty() && !is_last) || !literal.bytes().all(is_letter) {
                return Err(wrong("has a segment that is neither a text, `*` nor `**`"));
            }
            if literal.is_empty() && glob.is_empty() && !is_last {
                return Err(wrong("has an empty segment"));
            }
            is_plain &= glob.is_empty();
            match glob {
                "" => {}
                _ if several => return Err(wrong("has a wildcard behind `**`")),
                "*" => expression.push_str(&format!("[{LETTERS}]+")),
                _ => {
                    several = true;
                    expression.push_str(&format!("[{LETTERS}/]*"));
                }
            }
            expression.push_str(&regex_syntax::escape(literal));
            prefix.push_str(if is_plain { literal } else { "" });
        }
        let expression = compile_regex(&RegexMatcher { regex: expression, ..RegexMatcher::default() })?;
        Ok(Self { expression, prefix: prefix.into() })
    }

    /// Whether a path, without its query, is of it.
    pub(super) fn holds(&self, path: &str) -> bool {
        self.expression.is_match(path.as_bytes())
    }
}

/// The wildcard that a segment begins with, and the rest.
fn split(segment: &str) -> (&str, &str) {
    let length = segment.bytes().take_while(|byte| *byte == b'*').count().min(2);
    segment.split_at(length)
}

fn is_letter(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%!$&'()+,;:@=".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_is_a_segment_or_all_that_follows() {
        let cases = [
            ("/one/*/end", "/one/a/end", true),
            ("/one/*/end", "/one//end", false),
            ("/one/*/end", "/one/a/b/end", false),
            ("/one/*/end", "/one/a%2fb/end", true),
            ("/one/*/end", "/one/a/end/", false),
            ("/all/**", "/all/", true),
            ("/all/**", "/all", false),
            ("/all/**", "/all/a/b/", true),
            ("/**", "/", true),
            ("/**/end", "/a/b/end", true),
            ("/**.js", "/a/b.js", true),
            ("/a.b/*", "/axb/c", false),
            ("/a", "/a", true),
            ("/*", "/a*b", true),
            ("/*", "/a|b", false),
        ];
        for (template, path, expected) in cases {
            let compiled = PathTemplate::of(template).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(compiled.holds(path), expected, "{template} of {path}");
            assert!(!expected || path.starts_with(&*compiled.prefix), "{template} does not begin with {}", compiled.prefix);
        }
    }

    #[test]
    fn what_is_no_template_is_refused() {
        for template in ["", "a", "/a//b", "/**/*", "/**/a/**", "/*a/b", "/a*", "/{a}", "/a b"] {
            assert!(PathTemplate::of(template).is_err(), "{template}");
        }
    }
}
