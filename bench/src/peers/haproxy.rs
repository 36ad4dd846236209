//! HAProxy, which knows no xDS: the case is told in its own language.

use std::ffi::OsStr;
use std::path::Path;

/// In the foreground, so that its id is the one that was started; without chatter about the configuration.
pub(crate) fn arguments(config: &Path) -> [&OsStr; 4] {
    ["-db".as_ref(), "-q".as_ref(), "-f".as_ref(), config.as_os_str()]
}
