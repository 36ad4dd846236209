//! What a cookie says of a session: Envoy's message `Cookie`, which is an address and when it is forgotten.

use std::time::Duration;

/// Field 1, bytes of a length.
const ADDRESS: u8 = 0x0a;
/// Field 2, a number.
const EXPIRES: u8 = 0x10;

/// The token for an instance, until a moment since 1970.
pub(super) fn of(address: &str, expires: Option<Duration>) -> Vec<u8> {
    let mut token = vec![ADDRESS];
    push_number(address.len() as u64, &mut token);
    token.extend_from_slice(address.as_bytes());
    if let Some(expires) = expires {
        token.push(EXPIRES);
        push_number(expires.as_secs(), &mut token);
    }
    token
}

/// The address in a token that is not forgotten yet. What is no token is taken for an address, as it was before there were such.
pub(super) fn address(token: &[u8], now: Duration) -> Option<Box<str>> {
    let (address, expires) = read(token).unwrap_or((token, 0));
    let is_good = expires == 0 || now.as_secs() <= expires;
    let address = std::str::from_utf8(address).ok().filter(|address| is_good && !address.is_empty())?;
    Some(address.into())
}

fn read(mut token: &[u8]) -> Option<(&[u8], u64)> {
    let (mut address, mut expires) = (&b""[..], 0);
    while let Some((key, rest)) = token.split_first() {
        let (number, rest) = take_number(rest)?;
        token = match *key {
            ADDRESS => {
                let length = usize::try_from(number).ok()?;
                address = rest.get(..length)?;
                rest.get(length..)?
            }
            EXPIRES => {
                expires = number;
                rest
            }
            _ => return None,
        };
    }
    Some((address, expires))
}

fn push_number(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn take_number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut number = 0;
    for (i, byte) in bytes.iter().enumerate().take(10) {
        number |= u64::from(byte & 0x7f).checked_shl(7 * i as u32)?;
        if byte & 0x80 == 0 {
            return Some((number, bytes.get(i + 1..)?));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_an_address_until_it_is_forgotten() {
        let at = Duration::from_secs;
        let token = of("10.0.0.1:80", Some(at(1000)));
        assert_eq!(token, b"\x0a\x0b10.0.0.1:80\x10\xe8\x07");
        let cases: [(&[u8], u64, Option<&str>); 9] = [
            (&token, 1000, Some("10.0.0.1:80")),
            (&token, 1001, None),
            (&of("10.0.0.1:80", None), 1 << 40, Some("10.0.0.1:80")),
            (b"10.0.0.1:80", 0, Some("10.0.0.1:80")),
            (b"", 0, None),
            (b"\x0a\x00", 0, None),
            (b"\x0a\xff", 0, None),
            (b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 0, None),
            (b"\xff\xfe", 0, None),
        ];
        for (token, now, expected) in cases {
            assert_eq!(address(token, at(now)).as_deref(), expected, "{token:?}");
        }
    }
}
