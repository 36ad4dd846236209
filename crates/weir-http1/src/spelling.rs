//! How the names of header fields are spelled. That is nothing that a recipient may rely on (RFC 9110, 5.1), but some do.

use bytes::Bytes;

/// How names are spelled that go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Case {
    /// In lower case.
    #[default]
    Lower,
    /// With a capital at the beginning and after all that is neither letter nor digit: `Content-Type`.
    Proper,
    /// As they came, where they came from somewhere.
    Preserve,
}

/// How the names of a message were spelled.
#[derive(Debug, Clone, Default)]
pub struct Spelling {
    names: Vec<Bytes>,
}

impl Spelling {
    /// Notes one. The first spelling of a name counts, as with Envoy's `preserve_case`.
    pub fn note(&mut self, name: &[u8]) {
        let differs = name.iter().any(u8::is_ascii_uppercase);
        if differs && self.of(name).is_none() {
            self.names.push(Bytes::copy_from_slice(name));
        }
    }

    /// How a name was spelled, if other than in lower case.
    pub fn of(&self, name: &[u8]) -> Option<&[u8]> {
        self.names.iter().map(|known| &known[..]).find(|known| known.eq_ignore_ascii_case(name))
    }

    /// Whether all was in lower case.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }
}

/// Writes a name as it is to be spelled: as it came, if that is known, and else as the case says. Envoy decides so, too: how a message
/// was spelled goes before what its connection is told.
pub(crate) fn write(name: &[u8], case: Case, spelling: Option<&Spelling>, out: &mut Vec<u8>) {
    match (spelling, case) {
        (Some(spelling), _) => out.extend_from_slice(spelling.of(name).unwrap_or(name)),
        (None, Case::Lower | Case::Preserve) => out.extend_from_slice(name),
        (None, Case::Proper) => {
            let mut capital = true;
            out.extend(name.iter().map(|byte| {
                let spelled = if capital { byte.to_ascii_uppercase() } else { *byte };
                capital = !byte.is_ascii_alphanumeric();
                spelled
            }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_spelled_as_asked() {
        let mut spelling = Spelling::default();
        for name in ["X-OWN", "x-own", "host", "hOST"] {
            spelling.note(name.as_bytes());
        }
        let spelled = |name: &str, case, spelling| {
            let mut out = vec![];
            write(name.as_bytes(), case, spelling, &mut out);
            String::from_utf8(out).expect("ASCII")
        };
        for case in [Case::Lower, Case::Proper, Case::Preserve] {
            assert_eq!(spelled("x-own", case, Some(&spelling)), "X-OWN");
            assert_eq!(spelled("host", case, Some(&spelling)), "hOST");
            assert_eq!(spelled("x-new", case, Some(&spelling)), "x-new");
        }
        assert_eq!(spelled("x-own", Case::Lower, None), "x-own");
        assert_eq!(spelled("x-own", Case::Preserve, None), "x-own");
        assert_eq!(spelled("x-own_b1c", Case::Proper, None), "X-Own_B1c");
    }
}
