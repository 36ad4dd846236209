//! Bodies that are decompressed on their way: Envoy's decompressor filter, compiled
//! (<https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/decompressor_filter>).
//!
//! Both ways are decompressed where nothing is said, and instances are told that they may compress.

use weir_http1::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE};
use weir_http1::{HeaderName, HeaderValue, Headers};
use weir_xds::decompressor::Decompressor;
use weir_xds::decompressor::decompressor::{CommonDirectionConfig, RequestDirectionConfig, ResponseDirectionConfig};

use super::Policy;
use super::coding::{Decompression, fields, switch};
use crate::error::CompileError;

/// What is decompressed.
#[derive(Debug, Clone)]
pub struct DecompressorPolicy {
    /// How.
    pub decompression: Decompression,
    /// Trailers that tell how long a body was, and is now.
    pub told: Told,
    advertises: bool,
    request: Direction,
    response: Direction,
}

/// Trailers that tell how long a body was that has been decompressed, and is now. A library's name need not be one of a header.
#[derive(Debug, Clone)]
pub struct Told {
    /// Its length as it came.
    pub compressed: Option<HeaderName>,
    /// Its length as it went on.
    pub uncompressed: Option<HeaderName>,
}

/// Which bodies are decompressed that go one way.
#[derive(Debug, Clone, Copy)]
struct Direction {
    enabled: bool,
    /// Whether also those are that nobody may change.
    whatever: bool,
}

impl Policy for DecompressorPolicy {
    type Message = Decompressor;

    fn compile(message: &Decompressor) -> Result<Self, CompileError> {
        let Decompressor { decompressor_library, request_direction_config, response_direction_config } = message;
        let nothing = (RequestDirectionConfig::default(), ResponseDirectionConfig::default());
        let RequestDirectionConfig { common_config: request, advertise_accept_encoding } =
            request_direction_config.as_ref().unwrap_or(&nothing.0);
        let ResponseDirectionConfig { common_config: response } = response_direction_config.as_ref().unwrap_or(&nothing.1);
        let decompression = Decompression::compile(decompressor_library.as_ref())?;
        let name = decompressor_library.as_ref().map_or("", |library| &library.name);
        Ok(Self {
            decompression,
            told: Told::of(name),
            advertises: advertise_accept_encoding.unwrap_or(true),
            request: Direction::compile(request.as_ref()).map_err(|error| error.within("request_direction_config.common_config"))?,
            response: Direction::compile(response.as_ref()).map_err(|error| error.within("response_direction_config.common_config"))?,
        })
    }
}

impl Told {
    fn of(library: &str) -> Self {
        let name =
            |what| HeaderName::from_bytes(format!("x-envoy-decompressor-{library}-{what}-bytes").to_ascii_lowercase().as_bytes()).ok();
        Self { compressed: name("compressed"), uncompressed: name("uncompressed") }
    }
}

impl Direction {
    fn compile(message: Option<&CommonDirectionConfig>) -> Result<Self, CompileError> {
        let nothing = CommonDirectionConfig::default();
        let CommonDirectionConfig { enabled, ignore_no_transform_header } = message.unwrap_or(&nothing);
        Ok(Self { enabled: switch(enabled.as_ref(), "enabled")?, whatever: *ignore_no_transform_header })
    }
}

impl DecompressorPolicy {
    /// Prepares the head of a request; whether its body, if it has one, is decompressed.
    pub fn on_request(&self, has_body: bool, headers: &mut Headers) -> bool {
        if self.response.enabled && self.advertises {
            self.advertise(headers);
        }
        has_body && self.decode(self.request, headers)
    }

    /// Prepares the head of an answer that has a body; whether that is decompressed. A part of a body in a coding is not.
    pub fn on_answer(&self, headers: &mut Headers) -> bool {
        !headers.contains_key(CONTENT_RANGE) && self.decode(self.response, headers)
    }

    /// Tells the instance that it may compress, and that this is liked best.
    fn advertise(&self, headers: &mut Headers) {
        let token = self.decompression.coding.token();
        let is_other = |entry: &&[u8]| entry.split(|byte| *byte == b';').next() != Some(token.as_bytes());
        let before = headers.get(ACCEPT_ENCODING).map_or(&[][..], HeaderValue::as_bytes);
        let others = before.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|entry| !entry.is_empty());
        let all: Vec<&[u8]> = others.filter(is_other).chain([token.as_bytes()]).collect();
        let accepted = HeaderValue::from_bytes(&all.join(&b","[..]));
        accepted.into_iter().for_each(|accepted| drop(headers.insert(ACCEPT_ENCODING, accepted)));
    }

    /// Takes the coding off, if it is the one that was put on last; whether it is. (Envoy takes the one that was put on first for
    /// that, and so makes nothing of what has two.)
    fn decode(&self, direction: Direction, headers: &mut Headers) -> bool {
        if !direction.enabled || (!direction.whatever && fields::forbid_transformation(headers)) {
            return false;
        }
        let Some(codings) = headers.get(CONTENT_ENCODING).map(HeaderValue::as_bytes) else { return false };
        let comma = codings.iter().rposition(|byte| *byte == b',');
        let last = comma.map_or(codings, |comma| codings.get(comma + 1..).unwrap_or_default());
        if !last.trim_ascii().eq_ignore_ascii_case(self.decompression.coding.token().as_bytes()) {
            return false;
        }
        let others = comma.and_then(|comma| HeaderValue::from_bytes(codings.get(..comma)?.trim_ascii()).ok());
        match others.filter(|others| !others.is_empty()) {
            Some(others) => drop(headers.insert(CONTENT_ENCODING, others)),
            None => drop(headers.remove(CONTENT_ENCODING)),
        }
        headers.remove(CONTENT_LENGTH);
        true
    }
}

#[cfg(test)]
mod tests {
    use weir_xds::Any;
    use weir_xds::core::{RuntimeFeatureFlag, TypedExtensionConfig};
    use weir_xds::envoy::extensions::compression::gzip::decompressor::v3::Gzip;

    use super::*;

    type Pairs<'p> = &'p [(&'static str, &'static str)];

    fn headers(pairs: Pairs<'_>) -> Headers {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    fn policy(request: RequestDirectionConfig, response: CommonDirectionConfig) -> DecompressorPolicy {
        let library = TypedExtensionConfig { name: "Lib".into(), typed_config: Some(Any::pack(&Gzip::default())) };
        let message = Decompressor {
            decompressor_library: Some(library),
            request_direction_config: Some(request),
            response_direction_config: Some(ResponseDirectionConfig { common_config: Some(response) }),
        };
        DecompressorPolicy::compile(&message).expect("valid")
    }

    fn off() -> CommonDirectionConfig {
        let flag = RuntimeFeatureFlag { default_value: Some(false), ..Default::default() };
        CommonDirectionConfig { enabled: Some(flag), ..Default::default() }
    }

    #[test]
    fn a_body_is_decompressed_that_was_compressed_last_with_this() {
        let usual = policy(RequestDirectionConfig::default(), CommonDirectionConfig::default());
        let whatever = CommonDirectionConfig { ignore_no_transform_header: true, ..Default::default() };
        let whatever = policy(RequestDirectionConfig::default(), whatever);
        let off = policy(RequestDirectionConfig::default(), off());
        let gzip = ("content-encoding", "gzip");
        let kept = ("cache-control", "no-transform");
        let cases: [(&DecompressorPolicy, Pairs<'_>, Option<Pairs<'_>>); 10] = [
            (&usual, &[gzip, ("content-length", "9")], Some(&[])),
            (&usual, &[("content-encoding", " GZip")], Some(&[])),
            (&usual, &[("content-encoding", "br, gzip")], Some(&[("content-encoding", "br")])),
            (&usual, &[("content-encoding", "gzip, br")], None),
            (&usual, &[("content-encoding", "br")], None),
            (&usual, &[], None),
            (&usual, &[gzip, kept], None),
            (&whatever, &[gzip, kept], Some(&[kept])),
            (&off, &[gzip], None),
            (&usual, &[gzip, ("content-range", "bytes 0-8/100")], None),
        ];
        for (policy, before, expected) in cases {
            let mut after = headers(before);
            assert_eq!(policy.on_answer(&mut after), expected.is_some(), "{before:?}");
            assert_eq!(after, headers(expected.unwrap_or(before)), "{before:?}");
        }
        let mut request = headers(&[gzip]);
        assert!(off.on_request(true, &mut request) && !off.on_request(true, &mut request), "{request:?}");
        assert!(!usual.on_request(false, &mut headers(&[gzip])));
    }

    #[test]
    fn instances_are_told_that_they_may_compress() {
        let usual = policy(RequestDirectionConfig::default(), CommonDirectionConfig::default());
        let silent = RequestDirectionConfig { advertise_accept_encoding: Some(false), ..Default::default() };
        let silent = policy(silent, CommonDirectionConfig::default());
        let off = policy(RequestDirectionConfig::default(), off());
        let cases = [
            (&usual, None, "gzip"),
            (&usual, Some("br , deflate;q=0.5"), "br,deflate;q=0.5,gzip"),
            (&usual, Some("gzip;q=0.1, br"), "br,gzip"),
            (&silent, Some("br"), "br"),
            (&off, Some("br"), "br"),
        ];
        for (policy, before, expected) in cases {
            let mut request: Headers = before.map(|before| (ACCEPT_ENCODING, HeaderValue::from_static(before))).into_iter().collect();
            assert!(!policy.on_request(false, &mut request));
            assert_eq!(request[ACCEPT_ENCODING], expected, "{before:?}");
        }
    }

    #[test]
    fn trailers_are_called_after_the_library() {
        let told = Told::of("Lib");
        let name = |name: Option<HeaderName>| name.map(|name| name.as_str().to_owned());
        assert_eq!(name(told.compressed).as_deref(), Some("x-envoy-decompressor-lib-compressed-bytes"));
        assert_eq!(name(told.uncompressed).as_deref(), Some("x-envoy-decompressor-lib-uncompressed-bytes"));
        assert_eq!(name(Told::of("a b").compressed), None);
    }

    #[test]
    fn what_envoy_refuses_is_refused() {
        let no_default = CommonDirectionConfig { enabled: Some(RuntimeFeatureFlag::default()), ..Default::default() };
        let library = TypedExtensionConfig { name: "l".into(), typed_config: Some(Any::pack(&Gzip::default())) };
        let message = Decompressor {
            decompressor_library: Some(library),
            response_direction_config: Some(ResponseDirectionConfig { common_config: Some(no_default) }),
            ..Default::default()
        };
        let error = DecompressorPolicy::compile(&message).expect_err("no default");
        assert_eq!(error.path, "response_direction_config.common_config.enabled.default_value");
        assert!(DecompressorPolicy::compile(&Decompressor::default()).is_err());
    }
}
