//! Envoy's command operators (`%REQ(X-ID)%`), compiled: the language of access logs and of header values.
//!
//! See <https://www.envoyproxy.io/docs/envoy/latest/configuration/observability/access_log/usage#command-operators>.
//! What an operator's value is, only the proxy knows: it gives [`Values`].

mod operator;
mod parse;

pub use operator::{AddressPart, CertificatePart, Field, GrpcStatusForm, Message, Operator, PathSource, PeerField, PeerPart, PeerSide};

use crate::error::CompileError;

/// A text with operators in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    pieces: Vec<Piece>,
}

/// A part of a [`Template`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Stands for itself.
    Literal(Box<[u8]>),
    /// Stands for a value, cut to so many bytes.
    Operator(Operator, Option<usize>),
}

/// What operators stand for.
pub trait Values {
    /// Appends an operator's value; false if there is none, and then nothing is appended.
    fn append(&self, operator: &Operator, out: &mut Vec<u8>) -> bool;
}

impl Template {
    /// Compiles a text.
    ///
    /// # Errors
    /// If an operator is not known or not closed.
    pub fn compile(text: &str) -> Result<Self, CompileError> {
        let text = &parse::in_colon_form(text);
        let mut pieces = vec![];
        let mut literal = String::new();
        let mut rest = text.as_str();
        while let Some(start) = rest.find('%') {
            literal.push_str(&rest[..start]);
            rest = &rest[start + 1..];
            if let Some(after) = rest.strip_prefix('%') {
                literal.push('%');
                rest = after;
                continue;
            }
            let (call, after) =
                parse::call(rest).ok_or_else(|| CompileError::new("", format!("no operator stands at a `%` of `{text}`")))?;
            if !literal.is_empty() {
                pieces.push(Piece::Literal(std::mem::take(&mut literal).into_bytes().into()));
            }
            pieces.push(Piece::Operator(call.operator()?, call.limit));
            rest = after;
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal.into_bytes().into()));
        }
        Ok(Self { pieces })
    }

    /// Its parts.
    pub fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// The text, where it has no operator: then it need not be rendered for each request.
    pub fn literal(&self) -> Option<&[u8]> {
        match self.pieces.as_slice() {
            [] => Some(b""),
            [Piece::Literal(text)] => Some(text),
            _ => None,
        }
    }

    /// Appends the text with its values; `absent` stands for each value that there is not.
    pub fn render(&self, values: &impl Values, absent: &[u8], out: &mut Vec<u8>) {
        for piece in &self.pieces {
            match piece {
                Piece::Literal(text) => out.extend_from_slice(text),
                Piece::Operator(operator, limit) => {
                    let start = out.len();
                    if !values.append(operator, out) {
                        out.extend_from_slice(absent);
                    } else if let Some(limit) = limit {
                        out.truncate((start + limit).min(out.len()));
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed;

    impl Values for Fixed {
        fn append(&self, operator: &Operator, out: &mut Vec<u8>) -> bool {
            match operator {
                Operator::ResponseCode => out.extend_from_slice(b"200"),
                Operator::Path { .. } => out.extend_from_slice(b"/abc"),
                Operator::StartTime(Some(format)) => out.extend_from_slice(format.as_bytes()),
                _ => return false,
            }
            true
        }
    }

    fn render(text: &str) -> String {
        let mut out = vec![];
        Template::compile(text).expect("valid").render(&Fixed, b"-", &mut out);
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn operators_are_replaced() {
        assert_eq!(render("a %RESPONSE_CODE% b"), "a 200 b");
        assert_eq!(render("%PATH:2%%%[%REQ(X-A?:PATH)%]"), "/a%[-]");
        assert_eq!(render("%START_TIME(%Y/%m)%"), "%Y/%m");
        assert_eq!(render("%METADATA(ROUTE:weir:source)%"), "-");
        assert_eq!(render("%START_TIME(a)b)%"), "a)b");
        assert_eq!(Template::compile("plain").expect("valid").literal(), Some(&b"plain"[..]));
    }

    #[test]
    fn what_is_not_known_is_refused_by_name() {
        for text in ["%NOPE%", "%REQ(", "%", "100%", "%REQ(a b)%", "%REQ(x)", "% PROTOCOL%", "%protocol%"] {
            let error = Template::compile(text).expect_err(text).to_string();
            assert!(error.contains(text), "{error}");
        }
    }

    #[test]
    fn istios_default_format_is_understood() {
        let format = concat!(
            "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" %RESPONSE_CODE% %RESPONSE_FLAGS% ",
            "%RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% \"%UPSTREAM_TRANSPORT_FAILURE_REASON%\" %BYTES_RECEIVED% ",
            "%BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" ",
            "\"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\" %UPSTREAM_CLUSTER_RAW% %UPSTREAM_LOCAL_ADDRESS% ",
            "%DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% %ROUTE_NAME%\n"
        );
        assert!(Template::compile(format).is_ok());
    }
}
