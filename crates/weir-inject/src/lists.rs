//! The values of annotations: lists, numbers, quantities. What is let in here is what `weir capture`, `weir proxy` and Kubernetes take, so
//! that a pod is refused when it is made and does not fail when it starts.

use std::net::IpAddr;

use ipnet::IpNet;

/// The longest name that the kernel takes for an interface.
const LONGEST_INTERFACE: usize = 15;

/// Why a value cannot be read: what would be right.
pub(crate) type Wrong = String;

fn members(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|member| !member.is_empty())
}

fn each(text: &str, star: bool, good: impl Fn(&str) -> bool, what: &str) -> Result<String, Wrong> {
    let listed: Vec<&str> = members(text).collect();
    match listed.iter().find(|member| !(good(member) || (star && listed == ["*"]))) {
        None => Ok(listed.join(",")),
        Some(&"*") if star => Err("`*` means all, and has nothing beside it".to_owned()),
        Some(&"*") => Err("`*` would be all: name those that are meant".to_owned()),
        Some(member) => Err(format!("{member:?} is no {what}")),
    }
}

/// A list of ports; with `star`, `*` is all of them.
pub(crate) fn ports(text: &str, star: bool) -> Result<String, Wrong> {
    each(text, star, |member| port(member).is_ok_and(|port| port != 0), "port: ports are 1 to 65535, with commas between them")
}

/// A list of ranges of addresses; an address is the range of itself.
pub(crate) fn ranges(text: &str, star: bool) -> Result<String, Wrong> {
    let good = |member: &str| member.parse::<IpNet>().is_ok() || member.parse::<IpAddr>().is_ok();
    each(text, star, good, "range of addresses such as 10.0.0.0/8")
}

/// A list of interfaces; `+` at the end of a name means all that begin so.
pub(crate) fn interfaces(text: &str) -> Result<String, Wrong> {
    let good = |member: &str| {
        let name = member.strip_suffix('+').unwrap_or(member);
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':' | b'@');
        (1..=LONGEST_INTERFACE).contains(&name.len()) && name.bytes().all(is_plain)
    };
    each(text, false, good, "name of an interface")
}

/// A port, or 0 for none.
pub(crate) fn port(text: &str) -> Result<u16, Wrong> {
    number(text, u16::MAX.into()).and_then(|port| u16::try_from(port).map_err(|_| String::new()))
}

/// A whole number of at most so much.
pub(crate) fn number(text: &str, most: u32) -> Result<u32, Wrong> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let read = text.parse::<u32>().ok().filter(|number| digits && *number <= most);
    read.ok_or_else(|| format!("write a whole number from 0 to {most}"))
}

/// Yes or no, in the spellings of Go, which Istio takes.
pub(crate) fn boolean(text: &str) -> Result<bool, Wrong> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("write \"true\" or \"false\"".to_owned()),
    }
}

/// An amount of a resource, such as `100m` or `1.5Gi`.
pub(crate) fn quantity(text: &str) -> Result<String, Wrong> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let is_number = number.bytes().any(|byte| byte.is_ascii_digit()) && number.matches('.').count() <= 1;
    let exponent = |unit: &str| {
        let power = unit.strip_prefix(['e', 'E'])?;
        power.strip_prefix(['+', '-']).unwrap_or(power).parse::<u8>().ok()
    };
    let units = ["", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    match is_number && (units.contains(&unit) || exponent(unit).is_some()) {
        true => Ok(text.to_owned()),
        false => Err("write an amount as Kubernetes does, such as 100m or 128Mi".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_what_capture_takes() {
        assert_eq!(ports(" 443, 80,", false), Ok("443,80".to_owned()));
        assert_eq!((ports("*", true), ports("", true)), (Ok("*".to_owned()), Ok(String::new())));
        for (text, star) in [("*", false), ("*,80", true), ("0", true), ("65536", true), ("80-90", true), ("+80", true), ("x", true)] {
            assert!(ports(text, star).is_err(), "{text}");
        }
        assert_eq!(ranges("10.0.0.0/8,fd00::1", true), Ok("10.0.0.0/8,fd00::1".to_owned()));
        for text in ["10.0.0.0/33", "shop", "*,10.0.0.0/8"] {
            assert!(ranges(text, true).is_err(), "{text}");
        }
        assert_eq!(interfaces("net1,tap+"), Ok("net1,tap+".to_owned()));
        for text in ["*", "a b", "a;drop", "sixteen-letters-x"] {
            assert!(interfaces(text).is_err(), "{text}");
        }
    }

    #[test]
    fn quantities_are_those_of_kubernetes() {
        for good in ["100m", "128Mi", "2", "1.5Gi", ".5", "1e3", "2E-2", "1E"] {
            assert!(quantity(good).is_ok(), "{good}");
        }
        for bad in ["", "m", "-1", "1.2.3", "1 Gi", "1gi", "1e", "100m\n", "1e999"] {
            assert!(quantity(bad).is_err(), "{bad:?}");
        }
    }
}
