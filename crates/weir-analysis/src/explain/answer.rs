//! What became of a call. The JSON form is a contract: names and meaning of fields stay.

use serde::Serialize;

/// What becomes of a call: the names of what it went through, as far as it came, and the story of its way.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    /// The listener that takes the connection.
    pub listener: Option<String>,
    /// The listener's filter chain that handles it.
    pub filter_chain: Option<String>,
    /// Where its routes stand.
    pub route_config: Option<String>,
    /// The virtual host of the request.
    pub virtual_host: Option<String>,
    /// The route of the request.
    pub route: Option<String>,
    /// The cluster that gets it; where several share, the first.
    pub cluster: Option<String>,
    /// All clusters that may get it.
    pub clusters: Vec<Share>,
    /// Why it goes nowhere.
    pub error: Option<Error>,
    /// What was decided on the way.
    pub steps: Vec<Step>,
}

/// A cluster that may get a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Share {
    /// Its name.
    pub name: String,
    /// Its share, relative to the others'.
    pub weight: u32,
}

/// Why a call goes nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Error {
    /// Nothing listens there.
    NoListener,
    /// No filter chain is for such a connection.
    NoFilterChain,
    /// Several are: a proxy refuses the listener.
    MultipleFilterChain,
    /// No virtual host is for the request's host: 404.
    NoVirtualHost,
    /// No route of the virtual host is for the request: 404.
    NoRoute,
    /// The client is sent to `https`.
    #[serde(rename = "TLSRedirect")]
    TlsRedirect,
    /// TLS is expected, and the client does not speak it.
    #[serde(rename = "TLSError")]
    TlsError,
    /// A certificate of the mesh is expected, or is not.
    #[serde(rename = "MTLSError")]
    MtlsError,
    /// The client speaks something else than what is expected.
    ProtocolError,
    /// A policy refuses it.
    AccessDenied,
}

/// A decision on the way of a call.
#[derive(Debug, Serialize)]
pub struct Step {
    /// What was decided.
    pub what: String,
    /// Why.
    pub why: String,
    /// Where the rule stands that decided.
    pub source: Option<Place>,
}

/// A place in a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Place {
    /// The file, as it was named when it was read.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
}

impl Place {
    /// Reads `file:line`, as the metadata of xDS resources has it.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (file, line) = text.rsplit_once(':')?;
        Some(Self { file: file.to_owned(), line: line.parse().ok()? })
    }
}

impl Answer {
    pub(super) fn step(&mut self, what: impl Into<String>, why: impl Into<String>) {
        self.steps.push(Step { what: what.into(), why: why.into(), source: None });
    }

    pub(super) fn step_at(&mut self, what: impl Into<String>, why: impl Into<String>, source: Option<&str>) {
        self.steps.push(Step { what: what.into(), why: why.into(), source: source.and_then(Place::parse) });
    }
}
