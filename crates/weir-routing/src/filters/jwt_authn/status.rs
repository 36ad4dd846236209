//! Why a token, or a set of keys, is not accepted: in Envoy's words, which clients and logs are told, with its numbers.

/// Makes the enum of one list: the number, the name and the words of each.
macro_rules! statuses {
    ($($code:literal $name:ident $text:literal;)+) => {
        /// Why a token, or a set of keys, is not accepted.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[allow(missing_docs)] // Each is said by its words.
        pub enum Status {
            $($name,)+
        }

        impl Status {
            /// What clients and logs are told.
            pub fn text(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)+
                }
            }

            /// Its number in Envoy's metadata.
            pub fn code(self) -> u32 {
                match self {
                    $(Self::$name => $code,)+
                }
            }
        }
    };
}

statuses! {
    1 Missing "Jwt is missing";
    2 NotYetValid "Jwt not yet valid";
    3 Expired "Jwt is expired";
    4 BadFormat "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections";
    5 HeaderBadBase64 "Jwt header is an invalid Base64url encoded";
    6 HeaderBadJson "Jwt header is an invalid JSON";
    7 HeaderBadAlg "Jwt header [alg] field is required and must be a string";
    8 HeaderUnknownAlg "Jwt header [alg] is not supported";
    9 HeaderBadKid "Jwt header [kid] field is not a string";
    10 PayloadBadBase64 "Jwt payload is an invalid Base64url encoded";
    11 PayloadBadJson "Jwt payload is an invalid JSON";
    12 IssNotString "Jwt payload [iss] field is not a string";
    13 SubNotString "Jwt payload [sub] field is not a string";
    14 IatNotInteger "Jwt payload [iat] field is not an integer";
    15 IatOutOfRange "Jwt payload [iat] field is not a positive 64 bit integer";
    16 NbfNotInteger "Jwt payload [nbf] field is not an integer";
    17 NbfOutOfRange "Jwt payload [nbf] field is not a positive 64 bit integer";
    18 ExpNotInteger "Jwt payload [exp] field is not an integer";
    19 ExpOutOfRange "Jwt payload [exp] field is not a positive 64 bit integer";
    20 JtiNotString "Jwt payload [jti] field is not a string";
    21 AudNotString "Jwt payload [aud] field is not a string or string list";
    22 SignatureBadBase64 "Jwt signature is an invalid Base64url encoded";
    23 Ed25519WrongLength "Jwt ED25519 signature is wrong length";
    24 UnknownIssuer "Jwt issuer is not configured";
    25 AudienceNotAllowed "Audiences in Jwt are not allowed";
    26 VerificationFails "Jwt verification fails";
    28 KeysBadJson "Jwks is an invalid JSON";
    29 NoKeys "Jwks does not have [keys] field";
    30 BadKeys "[keys] in Jwks is not an array";
    31 NoValidKeys "Jwks doesn't have any valid public key";
    32 NoMatchingKey "Jwks doesn't have key to match kid or alg from Jwt";
    33 RsaBad "Jwks RSA [n] or [e] field is missing or has a parse error";
    35 EcBadBase64 "Jwks EC [x] or [y] field is an invalid Base64.";
    36 EcBad "Jwks EC [x] and [y] fields have a parse error.";
    37 OctBadBase64 "Jwks Oct key is an invalid Base64";
    38 OkpBadBase64 "Jwks OKP [x] field is an invalid Base64.";
    39 OkpWrongLength "Jwks OKP [x] field is wrong length.";
    40 FetchFails "Jwks remote fetch is failed";
    41 MissingKty "[kty] is missing in [keys]";
    42 BadKty "[kty] is bad in [keys]";
    43 UnknownKty "[kty] is not supported in [keys]";
    44 RsaBadAlg "[alg] is not started with [RS] or [PS] for an RSA key";
    49 EcBadAlg "[alg] is not started with [ES] for an EC key";
    51 EcUnknownCurve "[crv] or [alg] field is not supported for an EC key";
    52 EcOtherCurve "[crv] field specified is not compatible with [alg] for an EC key";
    57 OctBadAlg "[alg] does not start with [HS] for an HMAC key";
    60 OkpBadAlg "[alg] is not [EdDSA] for an OKP key";
    63 OkpUnknownCurve "[crv] field is not supported for an OKP key";
    67 CertificateBad "X509 parse pubkey fails";
    68 CertificateNoKey "X509 parse pubkey internal fails: get pubkey";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_the_number_that_envoy_gives_it() {
        let known = [
            (Status::Missing, 1),
            (Status::BadFormat, 4),
            (Status::UnknownIssuer, 24),
            (Status::NoMatchingKey, 32),
            (Status::FetchFails, 40),
        ];
        for (status, code) in known {
            assert_eq!(status.code(), code, "{}", status.text());
        }
    }
}
