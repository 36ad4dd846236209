//! Changes to headers, trailers and query parameters: Envoy's header mutation filter, compiled
//! (<https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/header_mutation_filter>).
//!
//! Unlike the header changes of routes these are made one after the other: each sees what those before it wrote. The filter's
//! come first, then those of all levels that have some.

use weir_http1::header::NameSet;
use weir_http1::{HeaderName, HeaderValue, Headers};
use weir_xds::envoy::config::common::mutation_rules::v3::HeaderMutation as XdsMutation;
use weir_xds::envoy::config::common::mutation_rules::v3::header_mutation::{Action as XdsAction, RemoveOnMatch};
use weir_xds::header_mutation::{HeaderMutation, HeaderMutationPerRoute, Mutations as XdsMutations};

use super::{Levels, Policy};
use crate::error::CompileError;
use crate::header_changes::{Action, HeaderChange, HeaderChanges, NewValue, Target};
use crate::inline_headers::append;
use crate::template::Template;
use crate::text_match::TextMatch;

mod query;

pub use query::{InvalidPath, QueryMutation};

/// What the filter changes.
#[derive(Debug, Clone)]
pub struct HeaderMutationPolicy {
    /// First.
    pub mutations: Mutations,
    /// Whether the most specific level comes last, and so may undo what the others did. Else it comes first.
    pub most_specific_wins: bool,
}

/// What the filter or one level changes.
#[derive(Debug, Clone, Default)]
pub struct Mutations {
    /// Of requests' headers.
    pub request: Box<[Mutation]>,
    /// Of requests' paths, after that.
    pub query: Box<[QueryMutation]>,
    /// Of requests' trailers.
    pub request_trailers: Box<[Mutation]>,
    /// Of answers' headers.
    pub response: Box<[Mutation]>,
    /// Of answers' trailers.
    pub response_trailers: Box<[Mutation]>,
}

/// One change.
#[derive(Debug, Clone)]
pub enum Mutation {
    /// A header goes.
    Remove(HeaderName),
    /// All headers go whose names match.
    RemoveMatching(TextMatch),
    /// A header is written.
    Write {
        /// Which.
        name: HeaderName,
        /// What.
        value: NewValue,
        /// What of the old values.
        action: Action,
        /// Whether an empty value is written too.
        keep_empty: bool,
    },
}

impl Policy for HeaderMutationPolicy {
    type Message = HeaderMutation;

    fn compile(message: &HeaderMutation) -> Result<Self, CompileError> {
        let HeaderMutation { mutations, most_specific_header_mutations_wins } = message;
        Ok(Self { mutations: Mutations::of(mutations.as_ref())?, most_specific_wins: *most_specific_header_mutations_wins })
    }
}

impl Policy for Mutations {
    type Message = HeaderMutationPerRoute;

    fn compile(message: &HeaderMutationPerRoute) -> Result<Self, CompileError> {
        let HeaderMutationPerRoute { mutations } = message;
        Self::of(mutations.as_ref())
    }
}

impl HeaderMutationPolicy {
    /// All mutations for a request, in their order; `name` is the filter's.
    pub fn in_order<'o>(&'o self, levels: &Levels<'o>, name: &str) -> impl Iterator<Item = &'o Mutations> {
        let mut levels: smallvec::SmallVec<[&'o Mutations; 4]> = levels.all(name).collect();
        if !self.most_specific_wins {
            levels.reverse();
        }
        std::iter::once(&self.mutations).chain(levels)
    }
}

/// What a message has beside its headers; a pattern may not match it, since without it there is no message.
const REQUEST_LINE: &[&str] = &[":authority", ":method", ":path", ":scheme"];
const STATUS_LINE: &[&str] = &[":status"];

impl Mutations {
    fn of(message: Option<&XdsMutations>) -> Result<Self, CompileError> {
        let Some(message) = message else { return Ok(Self::default()) };
        let XdsMutations {
            request_mutations,
            query_parameter_mutations,
            response_mutations,
            response_trailers_mutations,
            request_trailers_mutations,
        } = message;
        let query = |(i, mutation)| {
            QueryMutation::compile(mutation).map_err(|error| error.within(&format!("mutations.query_parameter_mutations[{i}]")))
        };
        Ok(Self {
            request: list(request_mutations, "request_mutations", REQUEST_LINE)?,
            query: query_parameter_mutations.iter().enumerate().map(query).collect::<Result<_, _>>()?,
            request_trailers: list(request_trailers_mutations, "request_trailers_mutations", &[])?,
            response: list(response_mutations, "response_mutations", STATUS_LINE)?,
            response_trailers: list(response_trailers_mutations, "response_trailers_mutations", &[])?,
        })
    }
}

/// What only its own field of a request or answer can hold, and no list of headers.
fn is_reserved(name: &str) -> bool {
    name.starts_with(':') || name.eq_ignore_ascii_case("host")
}

fn list(mutations: &[XdsMutation], field: &str, line: &[&str]) -> Result<Box<[Mutation]>, CompileError> {
    let compile =
        |(i, mutation)| Mutation::compile(mutation, line).map_err(|error| error.within(&format!("mutations.{field}[{i}]"))).transpose();
    mutations.iter().enumerate().filter_map(compile).collect()
}

impl Mutation {
    /// `None` if it can never change anything.
    fn compile(mutation: &XdsMutation, line: &[&str]) -> Result<Option<Self>, CompileError> {
        let XdsMutation { action } = mutation;
        match action {
            // Envoy takes this, and has no message to send on then.
            Some(XdsAction::Remove(name)) if is_reserved(name) => Err(CompileError::new("remove", format!("`{name}` may not be removed"))),
            Some(XdsAction::Remove(name)) => Ok(HeaderName::from_bytes(name.as_bytes()).ok().map(Self::Remove)),
            Some(XdsAction::RemoveOnMatch(RemoveOnMatch { key_matcher })) => {
                let matcher = key_matcher.as_ref().ok_or_else(|| CompileError::missing("remove_on_match.key_matcher"))?;
                let matcher = TextMatch::compile(matcher).map_err(|error| error.within("remove_on_match.key_matcher"))?;
                match line.iter().find(|part| matcher.matches(part.as_bytes())) {
                    Some(part) => Err(CompileError::new("remove_on_match", format!("`{part}` may not be removed"))),
                    None => Ok(Some(Self::RemoveMatching(matcher))),
                }
            }
            Some(XdsAction::Append(option)) => {
                let changes = HeaderChanges::compile(std::slice::from_ref(option), &[]).and_then(HeaderChanges::without_authority);
                let changes = changes.map_err(|error| error.within("append"))?;
                Ok(changes.write.into_iter().next().and_then(Self::write))
            }
            None => Err(CompileError::missing("action")),
        }
    }

    fn write(change: HeaderChange) -> Option<Self> {
        let HeaderChange { target, value, action, keep_empty } = change;
        match target {
            Target::Header(name) => Some(Self::Write { name, value, action, keep_empty }),
            Target::Authority => None,
        }
    }

    /// The text of which a value must be made before this is applied.
    pub fn template(&self) -> Option<&Template> {
        match self {
            Self::Write { value: NewValue::Template(template), .. } => Some(template),
            _ => None,
        }
    }

    /// Makes the change. `rendered` is what was made of its template, if it has one; headers that are `inline` are there once.
    pub fn apply(&self, rendered: Option<HeaderValue>, headers: &mut Headers, inline: &NameSet) {
        match self {
            Self::Remove(name) => drop(headers.remove(name)),
            Self::RemoveMatching(matcher) => {
                // The authority of a request is none of the headers, wherever it may be kept.
                let matching = headers.keys().filter(|name| !is_reserved(name.as_str()) && matcher.matches(name.as_str().as_bytes()));
                for name in matching.cloned().collect::<Vec<_>>() {
                    headers.remove(name);
                }
            }
            Self::Write { name, value, action, keep_empty } => {
                let value = match value {
                    NewValue::Fixed(value) => Some(value.clone()),
                    NewValue::Template(_) => rendered,
                };
                if let Some(value) = value.filter(|value| *keep_empty || !value.is_empty()) {
                    write(name, value, *action, headers, inline);
                }
            }
        }
    }
}

fn write(name: &HeaderName, value: HeaderValue, action: Action, headers: &mut Headers, inline: &NameSet) {
    let is_there = headers.contains_key(name);
    match action {
        Action::Append => append(headers, name, value, inline),
        Action::AddIfAbsent if is_there => {}
        Action::SetIfPresent if !is_there => {}
        Action::Set | Action::AddIfAbsent | Action::SetIfPresent => drop(headers.insert(name, value)),
    }
}

#[cfg(test)]
mod tests;
