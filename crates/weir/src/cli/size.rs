//! Sizes as people write them.

/// Reads a number of bytes, or of KiB, MiB or GiB.
///
/// # Errors
/// If it is none, or nothing.
pub(super) fn parse_size(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, u32); 3] = [("KiB", 10), ("MiB", 20), ("GiB", 30)];
    let found = UNITS.iter().find_map(|(unit, bits)| Some((text.strip_suffix(unit)?, *bits)));
    let (number, bits) = found.unwrap_or((text, 0));
    let size = number.trim().parse::<u64>().ok().and_then(|number| number.checked_mul(1 << bits));
    size.filter(|size| *size > 0).ok_or_else(|| "write a number of bytes, such as 536870912, or 512MiB".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, expected) in
            [("1000", Some(1000)), ("4KiB", Some(4096)), ("512 MiB", Some(512 << 20)), ("2GiB", Some(2 << 30)), ("0", None), ("1MB", None)]
        {
            assert_eq!(parse_size(text).ok(), expected, "{text}");
        }
        assert!(parse_size("99999999999GiB").is_err());
    }
}
