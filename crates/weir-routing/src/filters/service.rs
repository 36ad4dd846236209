//! Services that filters ask about requests: in which cluster they are, what they are told of us, how long they may take.

use std::time::Duration;

use weir_http1::HeaderName;
use weir_xds::core::grpc_service::{EnvoyGrpc, TargetSpecifier};
use weir_xds::core::header_value_option::HeaderAppendAction;
use weir_xds::core::{GrpcService as XdsGrpcService, HeaderValue as XdsHeaderValue, HeaderValueOption};
use weir_xds::matcher::ListStringMatcher;
use weir_xds::prost_types::Duration as XdsDuration;
use weir_xds::types::HttpStatus;
use weir_xds::values::std_duration;

use crate::error::CompileError;
use crate::header_changes::HeaderChanges;
use crate::text_match::TextMatch;

/// The longest message that is taken as an answer, where nothing else is said: what gRPC's libraries take.
const MOST: usize = 4 << 20;

/// A gRPC service.
#[derive(Debug, Clone)]
pub struct GrpcService {
    /// Its cluster.
    pub cluster: Box<str>,
    /// The authority of calls.
    pub authority: Box<str>,
    /// More metadata of calls, made of the request that is asked about.
    pub metadata: HeaderChanges,
    /// How long an answer's message may be.
    pub most: usize,
    /// Whether it is told of this proxy (`x-envoy-internal` and the like).
    pub signed: bool,
}

impl GrpcService {
    /// Compiles the service, with what it says of the time that an answer may take.
    pub(super) fn compile(service: &XdsGrpcService) -> Result<(Self, Option<&XdsDuration>), CompileError> {
        let XdsGrpcService {
            timeout,
            initial_metadata,
            // A call is made once, which is reported.
            retry_policy: _,
            target_specifier,
        } = service;
        let EnvoyGrpc { cluster_name, authority, retry_policy: _, max_receive_message_length, skip_envoy_headers } = match target_specifier
        {
            Some(TargetSpecifier::EnvoyGrpc(envoy)) => envoy,
            Some(TargetSpecifier::GoogleGrpc(_)) => return Err(CompileError::unsupported("google_grpc")),
            None => return Err(CompileError::missing("target_specifier")),
        };
        if cluster_name.is_empty() {
            return Err(CompileError::missing("envoy_grpc.cluster_name"));
        }
        let authority = if authority.is_empty() { cluster_name } else { authority };
        let compiled = Self {
            cluster: cluster_name.as_str().into(),
            authority: authority.as_str().into(),
            metadata: overwriting(initial_metadata).map_err(|error| error.within("initial_metadata"))?,
            most: max_receive_message_length.map_or(MOST, |most| most as usize),
            signed: !skip_envoy_headers,
        };
        Ok((compiled, timeout.as_ref()))
    }
}

/// Headers that take the place of others.
pub(super) fn overwriting(headers: &[XdsHeaderValue]) -> Result<HeaderChanges, CompileError> {
    let option = |header: &XdsHeaderValue| HeaderValueOption {
        header: Some(header.clone()),
        append_action: HeaderAppendAction::OverwriteIfExistsOrAdd.into(),
        ..Default::default()
    };
    HeaderChanges::compile(&headers.iter().map(option).collect::<Vec<_>>(), &[]).and_then(HeaderChanges::without_authority)
}

/// How long an answer may take; for ever, where the configuration says 0.
pub(super) fn limit(timeout: Option<&XdsDuration>, usual: Duration) -> Option<Duration> {
    Some(timeout.map_or(usual, std_duration)).filter(|timeout| !timeout.is_zero())
}

/// A status that a filter answers with; where none is configured, or none that there is, the usual.
pub(super) fn status(status: Option<&HttpStatus>, least: u16, usual: u16) -> u16 {
    let code = status.and_then(|HttpStatus { code }| u16::try_from(*code).ok());
    code.filter(|code| (least..=511).contains(code)).unwrap_or(usual)
}

/// Names of headers, by how they are written.
#[derive(Debug, Clone, Default)]
pub struct Names(Box<[TextMatch]>);

impl Names {
    /// Compiles a list, if there is one.
    pub(super) fn compile(list: Option<&ListStringMatcher>, field: &str) -> Result<Option<Self>, CompileError> {
        let Some(ListStringMatcher { patterns }) = list else { return Ok(None) };
        if patterns.is_empty() {
            return Err(CompileError::missing("patterns").within(field));
        }
        let compile = |(i, pattern)| TextMatch::compile(pattern).map_err(|error| error.within(&format!("{field}.patterns[{i}]")));
        patterns.iter().enumerate().map(compile).collect::<Result<_, _>>().map(|patterns| Some(Self(patterns)))
    }

    /// The same, and none where there is no list.
    pub(super) fn listed(list: Option<&ListStringMatcher>, field: &str) -> Result<Self, CompileError> {
        Self::compile(list, field).map(Option::unwrap_or_default)
    }

    /// Whether this is one of them.
    pub fn matches(&self, name: &str) -> bool {
        self.0.iter().any(|pattern| pattern.matches(name.as_bytes()))
    }

    /// The same of a header.
    pub fn has(&self, name: &HeaderName) -> bool {
        self.matches(name.as_str())
    }
}

/// A text that may stand in a message: of bytes that are no UTF-8 each becomes `!`, as in Envoy.
pub fn sanitized(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| '!'));
    }
    text
}

#[cfg(test)]
mod tests {
    use weir_xds::core::grpc_service::GoogleGrpc;

    use super::*;

    fn envoy(cluster_name: &str) -> EnvoyGrpc {
        EnvoyGrpc { cluster_name: cluster_name.into(), ..Default::default() }
    }

    fn service(target_specifier: Option<TargetSpecifier>) -> XdsGrpcService {
        XdsGrpcService { target_specifier, ..Default::default() }
    }

    #[test]
    fn a_service_is_known_by_its_cluster() {
        let with_authority = EnvoyGrpc { authority: "b".into(), ..envoy("a") };
        let cases = [
            (Some(TargetSpecifier::EnvoyGrpc(envoy("a"))), Ok("a a")),
            (Some(TargetSpecifier::EnvoyGrpc(with_authority)), Ok("a b")),
            (Some(TargetSpecifier::EnvoyGrpc(envoy(""))), Err("envoy_grpc.cluster_name")),
            (Some(TargetSpecifier::GoogleGrpc(GoogleGrpc::default())), Err("google_grpc")),
            (None, Err("target_specifier")),
        ];
        for (target, expected) in cases {
            let service = service(target);
            let found = GrpcService::compile(&service).map(|(service, _)| format!("{} {}", service.cluster, service.authority));
            assert_eq!(found.map_err(|error| error.path), expected.map(str::to_owned).map_err(str::to_owned));
        }
    }

    #[test]
    fn a_status_is_one_that_there_is() {
        for (code, found) in [(0, 403), (99, 403), (100, 100), (511, 511), (512, 403), (-1, 403)] {
            assert_eq!(status(Some(&HttpStatus { code }), 100, 403), found, "{code}");
        }
        assert_eq!((status(None, 100, 403), status(Some(&HttpStatus { code: 200 }), 400, 429)), (403, 429));
    }

    #[test]
    fn bytes_that_are_no_text_become_marks() {
        assert_eq!(sanitized(b"a\xff\xc3\xa4\xc3b"), "a!\u{e4}!b");
    }
}
