//! A token as it comes: a JWT in its compact form (RFC 7519, RFC 7515), of which nothing is believed yet.

use std::borrow::Cow;

use base64::Engine;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use weir_xds::prost_types::Struct;
use weir_xds::prost_types::value::Kind;

use super::json::object;
use super::signature::Algorithm;
use super::status::Status;

/// As Envoy decodes it: padding may be there or not, and bits behind the last byte are not looked at.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent).with_decode_allow_trailing_bits(true),
);

/// Decodes base64 of the alphabet for URLs. White space is passed over, as in Envoy.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    let text: Cow<'_, str> = match text.contains(|one: char| one.is_ascii_whitespace()) {
        true => text.split_ascii_whitespace().collect::<String>().into(),
        false => text.into(),
    };
    BASE64.decode(&*text).ok()
}

/// A token.
#[derive(Debug)]
pub(super) struct Token<'t> {
    /// What is signed: header and payload as they are written.
    pub signed: &'t str,
    /// The payload as it is written.
    pub written_payload: &'t str,
    pub header: Struct,
    pub payload: Struct,
    pub algorithm: Algorithm,
    /// Which key has signed it; empty if it does not say.
    pub key_id: String,
    pub issuer: String,
    pub subject: String,
    pub audiences: Vec<String>,
    /// From when on it is valid, in seconds since 1970; 0 if always.
    not_before: u64,
    /// Until when; 0 if for ever.
    pub expires: u64,
    pub signature: Vec<u8>,
}

impl<'t> Token<'t> {
    /// Reads a token.
    ///
    /// # Errors
    /// Why it is none.
    pub fn parse(text: &'t str) -> Result<Self, Status> {
        let mut parts = text.split('.');
        let (Some(header_text), Some(written_payload), Some(signature), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Status::BadFormat);
        };
        if [header_text, written_payload, signature].iter().any(|part| part.is_empty()) {
            return Err(Status::BadFormat);
        }
        let header = object(&decode(header_text).ok_or(Status::HeaderBadBase64)?).ok_or(Status::HeaderBadJson)?;
        let algorithm = match text_of(&header, "alg") {
            Ok(Some(name)) => Algorithm::named(name).ok_or(Status::HeaderUnknownAlg)?,
            Ok(None) | Err(()) => return Err(Status::HeaderBadAlg),
        };
        // Who writes it says that a reader who does not know what it names must not accept the token (RFC 7515, 4.1.11).
        if header.fields.contains_key("crit") {
            return Err(Status::VerificationFails);
        }
        let key_id = text_of(&header, "kid").map_err(|()| Status::HeaderBadKid)?.unwrap_or_default().to_owned();
        let payload = object(&decode(written_payload).ok_or(Status::PayloadBadBase64)?).ok_or(Status::PayloadBadJson)?;
        let claim = |name, wrong| text_of(&payload, name).map(|text| text.unwrap_or_default().to_owned()).map_err(|()| wrong);
        let (issuer, subject) = (claim("iss", Status::IssNotString)?, claim("sub", Status::SubNotString)?);
        seconds_of(&payload, "iat", Status::IatNotInteger, Status::IatOutOfRange)?;
        let not_before = seconds_of(&payload, "nbf", Status::NbfNotInteger, Status::NbfOutOfRange)?;
        let expires = seconds_of(&payload, "exp", Status::ExpNotInteger, Status::ExpOutOfRange)?;
        claim("jti", Status::JtiNotString)?;
        let audiences = audiences(&payload).ok_or(Status::AudNotString)?;
        let signature = decode(signature).ok_or(Status::SignatureBadBase64)?;
        let signed = text.get(..header_text.len() + 1 + written_payload.len()).ok_or(Status::BadFormat)?;
        Ok(Self { signed, written_payload, header, payload, algorithm, key_id, issuer, subject, audiences, not_before, expires, signature })
    }

    /// Whether it is valid at this moment, give or take so many seconds.
    ///
    /// # Errors
    /// If it is not yet, or no more.
    pub fn check_time(&self, now: u64, leeway: u64) -> Result<(), Status> {
        if now.saturating_add(leeway) < self.not_before {
            return Err(Status::NotYetValid);
        }
        if self.expires != 0 && now > self.expires.saturating_add(leeway) {
            return Err(Status::Expired);
        }
        Ok(())
    }
}

/// A text; none if there is none.
///
/// # Errors
/// If something else is there.
pub(super) fn text_of<'s>(fields: &'s Struct, name: &str) -> Result<Option<&'s str>, ()> {
    match fields.fields.get(name).map(|value| value.kind.as_ref()) {
        None => Ok(None),
        Some(Some(Kind::StringValue(text))) => Ok(Some(text)),
        Some(_) => Err(()),
    }
}

/// Seconds since 1970; 0 if there are none. Parts of a second do not count.
fn seconds_of(fields: &Struct, name: &str, no_number: Status, out_of_range: Status) -> Result<u64, Status> {
    match fields.fields.get(name).map(|value| value.kind.as_ref()) {
        None => Ok(0),
        Some(Some(Kind::NumberValue(number))) if (0.0..u64::MAX as f64).contains(number) => Ok(*number as u64),
        Some(Some(Kind::NumberValue(_))) => Err(out_of_range),
        Some(_) => Err(no_number),
    }
}

/// For whom a token is: one text, or a list of them.
fn audiences(payload: &Struct) -> Option<Vec<String>> {
    let text = |kind: &Kind| match kind {
        Kind::StringValue(text) => Some(text.clone()),
        _ => None,
    };
    match payload.fields.get("aud").map(|value| value.kind.as_ref()) {
        None => Some(vec![]),
        Some(Some(Kind::ListValue(list))) => list.values.iter().map(|value| text(value.kind.as_ref()?)).collect(),
        Some(kind) => Some(vec![text(kind?)?]),
    }
}
