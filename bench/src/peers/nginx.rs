//! nginx, which knows no xDS: the case is told in its own language.

use std::ffi::OsStr;
use std::path::Path;

/// One process, whose id is the one that was started: the file says the rest.
pub(crate) fn arguments<'a>(work: &'a Path, config: &'a Path) -> [&'a OsStr; 6] {
    ["-e".as_ref(), "stderr".as_ref(), "-p".as_ref(), work.as_os_str(), "-c".as_ref(), config.as_os_str()]
}
