//! What a handshake may agree on: `TlsParameters`.
//!
//! Names are BoringSSL's, codes are those that go over the wire. What has no code here cannot be done: it is left out and
//! reported, or refused where nothing is left.

use weir_routing::CompileError;
use weir_xds::tls::TlsParameters;
use weir_xds::tls::tls_parameters::TlsProtocol;

/// What a handshake may agree on. Where a list is empty, everything that can be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameters {
    /// The versions of TLS.
    pub versions: Versions,
    /// The cipher suites of TLS 1.2; those of TLS 1.3 cannot be chosen.
    pub cipher_suites: Vec<u16>,
    /// The groups of the key exchange.
    pub groups: Vec<u16>,
    /// How the other side may sign.
    pub signature_schemes: Vec<u16>,
}

/// The versions of TLS that may be agreed on. Older ones than 1.2 are not carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Versions {
    /// Whether TLS 1.2 is one.
    pub tls12: bool,
    /// Whether TLS 1.3 is one.
    pub tls13: bool,
}

/// A name and its code.
type Known = (&'static str, u16);

const CIPHER_SUITES: &[Known] = &[
    ("ECDHE-ECDSA-AES128-GCM-SHA256", 0xc02b),
    ("ECDHE-ECDSA-AES256-GCM-SHA384", 0xc02c),
    ("ECDHE-ECDSA-CHACHA20-POLY1305", 0xcca9),
    ("ECDHE-RSA-AES128-GCM-SHA256", 0xc02f),
    ("ECDHE-RSA-AES256-GCM-SHA384", 0xc030),
    ("ECDHE-RSA-CHACHA20-POLY1305", 0xcca8),
];

const GROUPS: &[Known] =
    &[("P-256", 0x0017), ("prime256v1", 0x0017), ("P-384", 0x0018), ("secp384r1", 0x0018), ("X25519", 0x001d), ("X25519MLKEM768", 0x11ec)];

const SIGNATURE_SCHEMES: &[Known] = &[
    ("rsa_pkcs1_sha256", 0x0401),
    ("rsa_pkcs1_sha384", 0x0501),
    ("rsa_pkcs1_sha512", 0x0601),
    ("ecdsa_secp256r1_sha256", 0x0403),
    ("ecdsa_secp384r1_sha384", 0x0503),
    ("ecdsa_secp521r1_sha512", 0x0603),
    ("rsa_pss_rsae_sha256", 0x0804),
    ("rsa_pss_rsae_sha384", 0x0805),
    ("rsa_pss_rsae_sha512", 0x0806),
    ("ed25519", 0x0807),
];

impl Parameters {
    pub(super) fn compile(parameters: Option<&TlsParameters>) -> Result<Self, CompileError> {
        let default = TlsParameters::default();
        let parameters = parameters.unwrap_or(&default);
        let TlsParameters {
            tls_minimum_protocol_version: _,
            tls_maximum_protocol_version: _,
            cipher_suites,
            ecdh_curves,
            signature_algorithms,
            compliance_policies,
        } = parameters;
        if !compliance_policies.is_empty() {
            return Err(CompileError::unsupported("compliance_policies"));
        }
        let mut versions = Versions::compile(parameters)?;
        let suites = codes(CIPHER_SUITES, cipher_suites);
        if suites.is_empty() && !cipher_suites.is_empty() {
            if !versions.tls13 {
                return Err(none_left("cipher_suites", cipher_suites));
            }
            versions.tls12 = false;
        }
        Ok(Self {
            versions,
            cipher_suites: suites,
            groups: needed("ecdh_curves", GROUPS, ecdh_curves)?,
            signature_schemes: needed("signature_algorithms", SIGNATURE_SCHEMES, signature_algorithms)?,
        })
    }
}

impl Versions {
    fn compile(parameters: &TlsParameters) -> Result<Self, CompileError> {
        let number = |protocol: TlsProtocol, automatic: u8| match protocol {
            TlsProtocol::TlsAuto => automatic,
            TlsProtocol::TlSv10 => 0,
            TlsProtocol::TlSv11 => 1,
            TlsProtocol::TlSv12 => 2,
            TlsProtocol::TlSv13 => 3,
        };
        let min = number(parameters.tls_minimum_protocol_version(), 2);
        let max = number(parameters.tls_maximum_protocol_version(), 3);
        let allowed = min..=max;
        let versions = Self { tls12: allowed.contains(&2), tls13: allowed.contains(&3) };
        if !versions.tls12 && !versions.tls13 {
            return Err(CompileError::new(
                "tls_maximum_protocol_version",
                "allows neither TLS 1.2 nor TLS 1.3, and older ones are not supported",
            ));
        }
        Ok(versions)
    }
}

/// What of a field of `TlsParameters` cannot be carried out.
pub fn not_carried_out<'t>(field: &str, written: &[&'t str]) -> Vec<&'t str> {
    let known = match field {
        "cipher_suites" => CIPHER_SUITES,
        "ecdh_curves" => GROUPS,
        "signature_algorithms" => SIGNATURE_SCHEMES,
        _ => return vec![],
    };
    written.iter().flat_map(|text| alternatives(text)).filter(|name| code(known, name).is_none()).collect()
}

fn needed(field: &str, known: &[Known], written: &[String]) -> Result<Vec<u16>, CompileError> {
    let codes = codes(known, written);
    if codes.is_empty() && !written.is_empty() { Err(none_left(field, written)) } else { Ok(codes) }
}

fn none_left(field: &str, written: &[String]) -> CompileError {
    CompileError::new(field, format!("none of {} is supported", written.join(", ")))
}

fn codes(known: &[Known], written: &[String]) -> Vec<u16> {
    written.iter().flat_map(|text| alternatives(text)).filter_map(|name| code(known, name)).collect()
}

fn code(known: &[Known], name: &str) -> Option<u16> {
    known.iter().find(|(known, _)| *known == name).map(|(_, code)| *code)
}

/// `[A|B]` are equally wanted.
fn alternatives(text: &str) -> impl Iterator<Item = &str> {
    text.trim_start_matches('[').trim_end_matches(']').split('|').map(str::trim)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn compile(parameters: Value) -> Result<Parameters, String> {
        let parameters: TlsParameters = weir_xds::json::from_value(parameters).unwrap();
        Parameters::compile(Some(&parameters)).map_err(|error| error.to_string())
    }

    #[test]
    fn versions_are_agreed_on_within_their_limits() {
        let versions = |min: &str, max: &str| {
            let parameters = compile(json!({"tlsMinimumProtocolVersion": min, "tlsMaximumProtocolVersion": max}));
            parameters.map(|parameters| (parameters.versions.tls12, parameters.versions.tls13))
        };
        assert_eq!(versions("TLS_AUTO", "TLS_AUTO"), Ok((true, true)));
        assert_eq!(versions("TLSv1_0", "TLSv1_2"), Ok((true, false)));
        assert_eq!(versions("TLSv1_3", "TLSv1_3"), Ok((false, true)));
        assert!(versions("TLSv1_0", "TLSv1_1").unwrap_err().contains("neither TLS 1.2 nor TLS 1.3"));
    }

    #[test]
    fn what_cannot_be_done_is_left_out_and_refused_where_nothing_is_left() {
        let some =
            compile(json!({"cipherSuites": ["[ECDHE-RSA-AES128-GCM-SHA256|AES128-SHA]"], "ecdhCurves": ["P-521", "P-256"]})).unwrap();
        assert_eq!((some.cipher_suites, some.groups), (vec![0xc02f], vec![0x17]));
        assert_eq!(not_carried_out("cipher_suites", &["[ECDHE-RSA-AES128-GCM-SHA256|AES128-SHA]"]), ["AES128-SHA"]);
        let old = compile(json!({"cipherSuites": ["AES128-SHA"]})).unwrap();
        assert_eq!((old.versions.tls12, old.versions.tls13), (false, true));
        let only12 = json!({"cipherSuites": ["AES128-SHA"], "tlsMaximumProtocolVersion": "TLSv1_2"});
        assert_eq!(compile(only12).unwrap_err(), "cipher_suites: none of AES128-SHA is supported");
        assert_eq!(compile(json!({"ecdhCurves": ["P-521"]})).unwrap_err(), "ecdh_curves: none of P-521 is supported");
        assert_eq!(
            compile(json!({"signatureAlgorithms": ["rsa_pkcs1_sha1"]})).unwrap_err(),
            "signature_algorithms: none of rsa_pkcs1_sha1 is supported"
        );
        assert_eq!(compile(json!({"compliancePolicies": ["FIPS_202205"]})).unwrap_err(), "compliance_policies: is not supported");
    }
}
