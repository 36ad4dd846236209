//! Finds bytes. Lines and names are short, where a call of the vectorized search costs more than the search: eight bytes are looked at
//! at once.

use memchr::memchr;

/// So many bytes are looked at here; what follows them is searched by the vector.
const NEAR: usize = 64;

/// The first place of a byte.
pub(crate) fn find(byte: u8, bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGH: u64 = ONES << 7;
    let (near, far) = bytes.split_at(bytes.len().min(NEAR));
    let (eights, rest) = near.as_chunks::<8>();
    let wanted = ONES * u64::from(byte);
    for (number, eight) in eights.iter().enumerate() {
        let differs = u64::from_le_bytes(*eight) ^ wanted;
        // The lowest byte that is marked is one that does not differ.
        let marked = differs.wrapping_sub(ONES) & !differs & HIGH;
        if marked != 0 {
            return Some(8 * number + marked.trailing_zeros() as usize / 8);
        }
    }
    let behind = near.len() - rest.len();
    match rest.iter().position(|other| *other == byte) {
        Some(at) => Some(behind + at),
        None if far.is_empty() => None,
        None => memchr(byte, far).map(|at| NEAR + at),
    }
}

/// All places of a byte, in their order.
pub(crate) fn places(byte: u8, bytes: &[u8]) -> impl Iterator<Item = usize> {
    const LOW: u64 = u64::from_ne_bytes([0x7f; 8]);
    let (eights, rest) = bytes.as_chunks::<8>();
    let wanted = u64::from_ne_bytes([byte; 8]);
    let (mut eights, mut behind, mut marked) = (eights.iter(), 0, 0_u64);
    let whole = std::iter::from_fn(move || {
        while marked == 0 {
            let differs = u64::from_le_bytes(*eights.next()?) ^ wanted;
            // The highest bit of each byte that does not differ.
            marked = !(((differs & LOW) + LOW) | differs | LOW);
            behind += 8;
        }
        let at = behind - 8 + marked.trailing_zeros() as usize / 8;
        marked &= marked - 1;
        Some(at)
    });
    let at_rest = bytes.len() - rest.len();
    whole.chain(rest.iter().enumerate().filter(move |(_, other)| **other == byte).map(move |(at, _)| at_rest + at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_found_wherever_it_stands() {
        for length in 0..150 {
            for at in 0..length {
                for (byte, others) in [(b'\n', b'\x0b'), (b':', b';'), (0, 1), (0x80, 0), (b'\n', b'\x8a')] {
                    let mut bytes = vec![others; length];
                    assert_eq!(find(byte, &bytes), None);
                    bytes[at] = byte;
                    *bytes.last_mut().expect("one") = byte;
                    assert_eq!(find(byte, &bytes), Some(at), "{byte} at {at} of {length}");
                }
            }
        }
    }

    #[test]
    fn all_are_found() {
        let bytes: Vec<u8> = (0..=u8::MAX).chain([b'\n', b'\n', 0x0b, 0x8a, b'\n']).collect();
        for from in 0..20 {
            for byte in [b'\n', 0x0b, 0x8a, 0, 0xff] {
                let rest = &bytes[from..];
                let expected: Vec<usize> = (0..rest.len()).filter(|at| rest[*at] == byte).collect();
                assert_eq!(places(byte, rest).collect::<Vec<_>>(), expected, "{byte} from {from}");
            }
        }
    }
}
