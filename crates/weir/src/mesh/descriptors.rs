//! The open files that the system allows this process, and how many connections they are enough for.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the limit as far as this process may: each connection is an open file, and the usual limit is meant for programs that
/// need few. Returns how many there may be; none if that is not limited.
pub(crate) fn raise() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    match setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    }
}

/// How many connections of clients there may be with so many open files. A quarter is left for connections to instances, log
/// files and the like: most connections of clients are idle, and need none.
pub(super) fn connections(descriptors: Option<u64>) -> Option<u64> {
    descriptors.map(|descriptors| (descriptors - descriptors / 4).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_left_for_instances() {
        let cases = [(None, None), (Some(0), Some(1)), (Some(1024), Some(768)), (Some(1 << 20), Some(786_432))];
        for (descriptors, expected) in cases {
            assert_eq!(connections(descriptors), expected);
        }
        assert!(raise().is_none_or(|descriptors| descriptors > 0));
    }
}
