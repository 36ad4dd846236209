//! What somebody shows who comes by TLS from another machine. Whether that is enough is for whoever serves him to say.

use std::fmt;
use std::net::SocketAddr;
use std::time::SystemTime;

/// How a token stands before itself in the header `authorization` (RFC 6750).
const SCHEME: &str = "Bearer";

/// What a client shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Where it comes from.
    pub peer: SocketAddr,
    /// The certificate that the handshake has shown; none if it has shown none. One that does not hold is the reason why.
    pub certificate: Result<Option<Certified>, String>,
    /// The token of a call; nobody has looked at it yet.
    pub token: Option<Token>,
}

/// A certificate that holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certified {
    /// Whose it is: the only name in it.
    pub id: String,
    /// Until when it holds.
    pub ends: SystemTime,
}

/// A token, which no log shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// One that is written like this.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The one in a header `authorization`, if that holds one.
    pub fn of_header(value: &str) -> Option<Self> {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case(SCHEME).then(|| Self::new(token.trim()))
    }

    /// As such a header has it.
    pub fn to_header(&self) -> String {
        format!("{SCHEME} {}", self.0)
    }

    /// As it is written.
    pub fn text(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_stands_behind_its_scheme_and_in_no_log() {
        let of = |value: &str| Token::of_header(value).map(|token| token.text().to_owned());
        assert_eq!(
            [of("Bearer a.b.c"), of("bearer  a "), of("Basic a"), of("a.b.c"), of("")].map(Option::unwrap_or_default),
            ["a.b.c", "a", "", "", ""]
        );
        assert_eq!(format!("{:?}", Token::new("a.b.c")), "Token");
        assert_eq!(Token::of_header(&Token::new("a.b.c").to_header()), Some(Token::new("a.b.c")));
    }
}
