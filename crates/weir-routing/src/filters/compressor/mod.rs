//! Bodies that are compressed on their way: Envoy's compressor filter, compiled
//! (<https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/compressor_filter>).
//!
//! Answers are compressed where nothing is said, requests are not. An answer that would be compressed for another client says so
//! in `vary`.

use weir_http1::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, ETAG};
use weir_http1::{HeaderName, HeaderValue, Headers};
use weir_xds::compressor::compressor::{CommonDirectionConfig, RequestDirectionConfig, ResponseDirectionConfig};
use weir_xds::compressor::compressor_per_route::Override;
use weir_xds::compressor::{Compressor, CompressorOverrides, CompressorPerRoute, ResponseDirectionOverrides};

use super::Policy;
use super::coding::{Coding, Compression, declared_length, fields};
use crate::error::CompileError;

pub mod accept;
mod direction;

use accept::Offer;
use direction::Direction;

/// What is compressed, and how.
#[derive(Debug, Clone)]
pub struct CompressorPolicy {
    compression: Compression,
    goes_first: bool,
    request: Option<Direction>,
    response: Answers,
}

/// Which answers are compressed.
#[derive(Debug, Clone)]
struct Answers {
    direction: Direction,
    /// What becomes of those whose content has a tag.
    tagged: Tagged,
    /// Whether instances hear nothing of what clients accept.
    hides_accepted: bool,
    /// Statuses whose answers stay as they are.
    spared: Box<[u32]>,
    /// Whether clients are told what became of an answer, and why.
    tells: bool,
}

/// What becomes of an answer whose content has a tag (RFC 9110, 8.8.3): compressed, it is no longer the same byte for byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tagged {
    /// It loses the tag, if that says so much.
    LosesTag,
    /// The tag no longer says so much.
    Weakened,
    /// It is not compressed.
    Spared,
}

/// What a route says of it.
#[derive(Debug, Clone)]
pub enum CompressorOverride {
    /// Nothing is compressed.
    Disabled,
    /// Some of it is otherwise.
    Changed {
        /// Whether answers are compressed, whatever the filter says.
        enabled: bool,
        /// Whether instances hear nothing of what clients accept.
        hides_accepted: Option<bool>,
        /// How it is compressed.
        compression: Option<Compression>,
    },
}

/// The head of an answer, without its fields.
#[derive(Debug, Clone, Copy)]
pub struct AnswerHead {
    /// The status.
    pub status: u16,
    /// Whether there is a body.
    pub has_body: bool,
    /// How long it is, as far as that is known.
    pub length: Option<u64>,
    /// Whether the connection changes to another protocol with it.
    pub is_upgrade: bool,
}

/// What clients are told of it.
const STATUS: HeaderName = HeaderName::from_static("x-envoy-compression-status");

impl Policy for CompressorPolicy {
    type Message = Compressor;

    #[allow(deprecated)] // The older form is what people publish.
    fn compile(message: &Compressor) -> Result<Self, CompileError> {
        let Compressor {
            content_length,
            content_type,
            disable_on_etag_header,
            remove_accept_encoding_header,
            runtime_enabled,
            compressor_library,
            request_direction_config,
            response_direction_config,
            choose_first,
        } = message;
        let request = match request_direction_config {
            Some(RequestDirectionConfig { common_config }) => {
                Some(Direction::compile(common_config.as_ref()).map_err(|error| error.within("request_direction_config.common_config"))?)
            }
            None => None,
        };
        let response = match response_direction_config {
            Some(config) => Answers::compile(config).map_err(|error| error.within("response_direction_config"))?,
            // The older form.
            None => Answers::compile(&ResponseDirectionConfig {
                common_config: Some(CommonDirectionConfig {
                    enabled: runtime_enabled.clone(),
                    min_content_length: *content_length,
                    content_type: content_type.clone(),
                    content_type_matcher: vec![],
                }),
                disable_on_etag_header: *disable_on_etag_header,
                remove_accept_encoding_header: *remove_accept_encoding_header,
                ..ResponseDirectionConfig::default()
            })?,
        };
        let compression = Compression::compile(compressor_library.as_ref())?;
        Ok(Self { compression, goes_first: *choose_first, request, response })
    }
}

impl Answers {
    fn compile(message: &ResponseDirectionConfig) -> Result<Self, CompileError> {
        let ResponseDirectionConfig {
            common_config,
            disable_on_etag_header,
            weaken_etag_on_compress,
            remove_accept_encoding_header,
            uncompressible_response_codes,
            status_header_enabled,
        } = message;
        for (i, status) in uncompressible_response_codes.iter().enumerate() {
            let field = || format!("uncompressible_response_codes[{i}]");
            if !(200..600).contains(status) {
                return Err(CompileError::new(field(), "must be from 200 to 599"));
            }
            if uncompressible_response_codes.iter().take(i).any(|known| known == status) {
                return Err(CompileError::new(field(), "is there twice"));
            }
        }
        Ok(Self {
            direction: Direction::compile(common_config.as_ref()).map_err(|error| error.within("common_config"))?,
            tagged: match (weaken_etag_on_compress, disable_on_etag_header) {
                (true, _) => Tagged::Weakened,
                (false, true) => Tagged::Spared,
                (false, false) => Tagged::LosesTag,
            },
            hides_accepted: *remove_accept_encoding_header,
            spared: uncompressible_response_codes.as_slice().into(),
            tells: *status_header_enabled,
        })
    }
}

impl Policy for CompressorOverride {
    type Message = CompressorPerRoute;

    fn compile(message: &CompressorPerRoute) -> Result<Self, CompileError> {
        let CompressorPerRoute { r#override } = message;
        match r#override {
            Some(Override::Disabled(true)) => Ok(Self::Disabled),
            Some(Override::Disabled(false)) => Err(CompileError::new("disabled", "must be true")),
            Some(Override::Overrides(overrides)) => {
                let CompressorOverrides { response_direction_config, compressor_library } = overrides;
                let compression = match compressor_library {
                    None => None,
                    library => Some(Compression::compile(library.as_ref()).map_err(|error| error.within("overrides"))?),
                };
                let hides_accepted = match response_direction_config {
                    Some(ResponseDirectionOverrides { remove_accept_encoding_header }) => *remove_accept_encoding_header,
                    None => None,
                };
                Ok(Self::Changed { enabled: response_direction_config.is_some(), hides_accepted, compression })
            }
            None => Err(CompileError::missing("override")),
        }
    }
}

impl CompressorPolicy {
    /// The coding that it offers.
    pub fn coding(&self, route: Option<&CompressorOverride>) -> Coding {
        self.compression(route).coding()
    }

    /// What it offers a client for an answer with these fields; nothing where it compresses no content of their type.
    pub fn offer(&self, route: Option<&CompressorOverride>, headers: &Headers) -> Option<Offer> {
        let offer = Offer { coding: self.coding(route), first: self.goes_first };
        self.response.direction.takes_type(headers).then_some(offer)
    }

    /// Prepares the head of a request; how its body is compressed, if it is. What asks for another protocol counts as without one.
    pub fn on_request<'p>(
        &'p self,
        route: Option<&'p CompressorOverride>,
        has_body: bool,
        headers: &mut Headers,
    ) -> Option<&'p Compression> {
        if self.compresses_answers(route) && self.hides_accepted(route) {
            headers.remove(ACCEPT_ENCODING);
        }
        let direction = self.request.as_ref().filter(|direction| has_body && direction.enabled)?;
        let takes = direction.takes_length(declared_length(headers)) && direction.takes_type(headers) && fields::are_plain(headers);
        takes.then(|| self.encode(route, headers))
    }

    /// Prepares the head of an answer; how its body is compressed, if it is. `is_chosen` says whether this is the coding of the
    /// chain's that the client likes best.
    pub fn on_answer<'p>(
        &'p self,
        route: Option<&'p CompressorOverride>,
        answer: &AnswerHead,
        headers: &mut Headers,
        is_chosen: impl FnOnce(&Headers) -> bool,
    ) -> Option<&'p Compression> {
        let may_be = self.compresses_answers(route) && self.response.direction.takes_length(answer.length);
        let would_be = may_be && self.response.takes(answer, headers);
        let is_compressed = answer.has_body && may_be && is_chosen(headers) && would_be;
        if self.response.tells {
            self.tell(route, answer, headers, is_compressed);
        }
        let compression = is_compressed.then(|| {
            self.response.tagged.settle(headers);
            self.encode(route, headers)
        });
        if would_be {
            fields::vary(headers);
        }
        compression
    }

    fn compression<'p>(&'p self, route: Option<&'p CompressorOverride>) -> &'p Compression {
        match route {
            Some(CompressorOverride::Changed { compression: Some(compression), .. }) => compression,
            _ => &self.compression,
        }
    }

    fn encode<'p>(&'p self, route: Option<&'p CompressorOverride>, headers: &mut Headers) -> &'p Compression {
        let compression = self.compression(route);
        headers.remove(CONTENT_LENGTH);
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static(compression.coding().token()));
        compression
    }

    fn compresses_answers(&self, route: Option<&CompressorOverride>) -> bool {
        match route {
            Some(CompressorOverride::Disabled) => false,
            Some(CompressorOverride::Changed { enabled: true, .. }) => true,
            _ => self.response.direction.enabled,
        }
    }

    fn hides_accepted(&self, route: Option<&CompressorOverride>) -> bool {
        match route {
            Some(CompressorOverride::Changed { hides_accepted: Some(hides), .. }) => *hides,
            _ => self.response.hides_accepted,
        }
    }

    /// Tells the client what became of an answer.
    fn tell(&self, route: Option<&CompressorOverride>, answer: &AnswerHead, headers: &mut Headers, is_compressed: bool) {
        if !self.compresses_answers(route) || !answer.has_body || !answer.is_free(headers) {
            return;
        }
        let token = self.compression(route).coding().token();
        let told = match (is_compressed, self.response.obstacle(answer, headers)) {
            (true, _) => {
                let length = answer.length.map_or_else(String::new, |length| length.to_string());
                format!("{token};Compressed;OriginalLength={length}")
            }
            (false, Some(obstacle)) => format!("{token};{obstacle}"),
            (false, None) => return,
        };
        let told = match headers.get(&STATUS).and_then(|before| before.to_str().ok()) {
            Some(before) => format!("{before},{told}"),
            None => told,
        };
        HeaderValue::try_from(told).into_iter().for_each(|told| drop(headers.insert(STATUS, told)));
    }
}

impl AnswerHead {
    /// Whether anybody may compress the answer.
    fn is_free(&self, headers: &Headers) -> bool {
        !self.is_upgrade && fields::are_plain(headers) && !fields::forbid_transformation(headers)
    }
}

impl Answers {
    /// Whether an answer is compressed for a client that likes that.
    fn takes(&self, answer: &AnswerHead, headers: &Headers) -> bool {
        answer.is_free(headers) && self.obstacle(answer, headers).is_none()
    }

    /// Why an answer is not compressed, in Envoy's words, where it has some.
    fn obstacle(&self, answer: &AnswerHead, headers: &Headers) -> Option<&'static str> {
        if !self.direction.takes_length(answer.length) {
            Some("ContentLengthTooSmall")
        } else if !self.direction.takes_type(headers) {
            Some("ContentTypeNotAllowed")
        } else if self.tagged == Tagged::Spared && headers.contains_key(ETAG) {
            Some("EtagNotAllowed")
        } else if self.spared.contains(&u32::from(answer.status)) {
            Some("StatusCodeNotAllowed")
        } else {
            None
        }
    }
}

impl Tagged {
    /// What becomes of the tag of content that is compressed.
    fn settle(self, headers: &mut Headers) {
        let Some(tag) = headers.get(ETAG).filter(|tag| !fields::is_weak(tag)) else { return };
        match self {
            Self::Weakened => {
                let weak = HeaderValue::from_bytes(&[b"W/", tag.as_bytes()].concat());
                weak.into_iter().for_each(|weak| drop(headers.insert(ETAG, weak)));
            }
            Self::LosesTag | Self::Spared => drop(headers.remove(ETAG)),
        }
    }
}

#[cfg(test)]
mod tests;
