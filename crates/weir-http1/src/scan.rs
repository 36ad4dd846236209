//! Finds bytes. Lines and names are short, where a call of the vectorized search costs more than the search: eight bytes are looked at
//! at once.

use memchr::memchr;

/// So many bytes are looked at here; what follows them is searched by the vector.
const NEAR: usize = 64;

/// One in each of eight bytes.
const ONES: u64 = u64::from_ne_bytes([1; 8]);

/// The first place of a byte.
#[inline]
pub(crate) fn find(byte: u8, bytes: &[u8]) -> Option<usize> {
    let wanted = ONES * u64::from(byte);
    let mut rest = bytes;
    while let Some((eight, behind)) = rest.split_first_chunk() {
        let marked = zeros(u64::from_le_bytes(*eight) ^ wanted);
        if marked != 0 {
            return Some(bytes.len() - rest.len() + first(marked));
        }
        rest = behind;
        if bytes.len() - rest.len() >= NEAR {
            return memchr(byte, rest).map(|at| bytes.len() - rest.len() + at);
        }
    }
    rest.iter().position(|other| *other == byte).map(|at| bytes.len() - rest.len() + at)
}

/// The first place of a control character, but for the tab: where a value ends, or what must not stand in it.
#[inline]
pub(crate) fn find_control(bytes: &[u8]) -> Option<usize> {
    let mut rest = bytes;
    while let Some((eight, behind)) = rest.split_first_chunk() {
        let marked = low_or_delete(u64::from_le_bytes(*eight));
        if marked == 0 {
            rest = behind;
            continue;
        }
        let (before, others) = rest.split_at_checked(first(marked))?;
        if others.first() != Some(&b'\t') {
            return Some(bytes.len() - rest.len() + before.len());
        }
        rest = others.get(1..).unwrap_or_default();
    }
    rest.iter().position(|byte| *byte < b' ' && *byte != b'\t' || *byte == 0x7f).map(|at| bytes.len() - rest.len() + at)
}

/// Which of eight bytes is the first that is marked.
fn first(marked: u64) -> usize {
    marked.trailing_zeros() as usize / 8
}

/// Marks bytes that are zero by their highest bit. Those behind the first may be marked falsely.
fn zeros(eight: u64) -> u64 {
    eight.wrapping_sub(ONES) & !eight & (ONES << 7)
}

/// Marks control characters likewise, the tab among them.
fn low_or_delete(eight: u64) -> u64 {
    let delete = eight ^ (0x7f * ONES);
    let marked = eight.wrapping_sub(u64::from(b' ') * ONES) & !eight | delete.wrapping_sub(ONES) & !delete;
    marked & (ONES << 7)
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
    fn control_characters_are_found_but_for_tabs() {
        for length in 1..40 {
            for at in 0..length {
                for byte in 0..=u8::MAX {
                    for others in [b'a', b'\t', b' ', 0x80, 0xff] {
                        let mut bytes = vec![others; length];
                        bytes[at] = byte;
                        let expected = (byte < b' ' && byte != b'\t' || byte == 0x7f).then_some(at);
                        assert_eq!(find_control(&bytes), expected, "{byte} at {at} of {length} {others}");
                    }
                }
            }
        }
        assert_eq!((find_control(b"a\tb\n\r"), find_control(b"")), (Some(3), None));
    }
}
