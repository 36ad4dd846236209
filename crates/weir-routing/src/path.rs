//! Conditions on the path: the part of a `RouteMatch` that every route has.

use regex::bytes::Regex;
use weir_xds::route::route_match::PathSpecifier;

use crate::error::CompileError;
use crate::text_match::compile_regex;

/// What a path, without its query, must be.
#[derive(Debug, Clone)]
pub enum PathMatch {
    /// The whole path.
    Exact(Box<str>),
    /// How it begins: `/foo` also matches `/foobar`.
    Prefix(Box<str>),
    /// A prefix that ends where a segment ends: `/foo` matches `/foo` and `/foo/bar`.
    SegmentPrefix(Box<str>),
    /// An expression for the whole path.
    Regex(Box<Regex>),
}

/// A condition on the path.
#[derive(Debug, Clone)]
pub struct PathCondition {
    /// What it must be; in lower case if case does not matter.
    pub path: PathMatch,
    /// Whether ASCII case is ignored; never for an expression.
    pub ignore_case: bool,
}

impl PathCondition {
    /// Compiles the path part of Envoy's route match.
    ///
    /// # Errors
    /// If it is missing, not valid, or of a kind that is not carried out.
    pub fn compile(specifier: Option<&PathSpecifier>, case_sensitive: Option<bool>) -> Result<Self, CompileError> {
        let ignore_case = case_sensitive == Some(false);
        let fold = |text: &str| -> Box<str> { if ignore_case { text.to_ascii_lowercase().into() } else { text.into() } };
        let path = match specifier {
            Some(PathSpecifier::Path(path)) => PathMatch::Exact(fold(path)),
            Some(PathSpecifier::Prefix(prefix)) => PathMatch::Prefix(fold(prefix)),
            Some(PathSpecifier::PathSeparatedPrefix(prefix))
                if prefix.len() < 2 || prefix.ends_with('/') || prefix.contains(['?', '#']) =>
            {
                return Err(CompileError::new("path_separated_prefix", format!("`{prefix}` does not end with a segment of a path")));
            }
            Some(PathSpecifier::PathSeparatedPrefix(prefix)) => PathMatch::SegmentPrefix(fold(prefix)),
            Some(PathSpecifier::SafeRegex(regex)) => {
                let regex = compile_regex(regex).map_err(|error| error.within("safe_regex"))?;
                return Ok(Self { path: PathMatch::Regex(Box::new(regex)), ignore_case: false });
            }
            Some(PathSpecifier::ConnectMatcher(_)) => return Err(CompileError::unsupported("connect_matcher")),
            Some(PathSpecifier::PathMatchPolicy(_)) => return Err(CompileError::unsupported("path_match_policy")),
            None => return Err(CompileError::missing("path_specifier")),
        };
        Ok(Self { path, ignore_case })
    }

    /// Whether a path, without its query, satisfies this condition.
    pub fn holds(&self, path: &str) -> bool {
        match &self.path {
            PathMatch::Exact(exact) if self.ignore_case => path.eq_ignore_ascii_case(exact),
            PathMatch::Exact(exact) => **exact == *path,
            PathMatch::Prefix(prefix) => self.begins(path, prefix),
            PathMatch::SegmentPrefix(prefix) => self.begins(path, prefix) && matches!(path.as_bytes().get(prefix.len()), None | Some(b'/')),
            PathMatch::Regex(regex) => regex.is_match(path.as_bytes()),
        }
    }

    fn begins(&self, path: &str, prefix: &str) -> bool {
        match path.as_bytes().get(..prefix.len()) {
            Some(start) if self.ignore_case => start.eq_ignore_ascii_case(prefix.as_bytes()),
            Some(start) => start == prefix.as_bytes(),
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_of_segments_ends_with_one() {
        for (prefix, valid) in [("/a", true), ("/a/b", true), ("/", false), ("", false), ("/a/", false), ("/a?", false), ("/a#b", false)] {
            let compiled = PathCondition::compile(Some(&PathSpecifier::PathSeparatedPrefix(prefix.into())), None);
            assert_eq!(compiled.is_ok(), valid, "{prefix}");
        }
    }
}
