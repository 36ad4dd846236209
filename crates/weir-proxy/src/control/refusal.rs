//! Why a resource is refused, and whether it is worth trying again.

use std::io;

use rustix::io::Errno;
use weir_config::CompileError;

use crate::listener::sockets::BindError;

/// Why a resource is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResourceRefusal {
    /// It is wrong, and stays so until the server sends another one.
    Wrong(String),
    /// Its address cannot be opened now: somebody else has it, it is not this machine's yet, or no descriptor is left.
    NotNow(String),
}

impl ResourceRefusal {
    /// The reason, in words.
    pub fn reason(&self) -> &str {
        match self {
            Self::Wrong(reason) | Self::NotNow(reason) => reason,
        }
    }

    /// Whether the same resource may be accepted later.
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::NotNow(_))
    }
}

impl From<String> for ResourceRefusal {
    fn from(reason: String) -> Self {
        Self::Wrong(reason)
    }
}

impl From<CompileError> for ResourceRefusal {
    fn from(error: CompileError) -> Self {
        Self::Wrong(error.to_string())
    }
}

impl From<BindError> for ResourceRefusal {
    fn from(error: BindError) -> Self {
        match error {
            BindError::Taken { .. } => Self::NotNow(error.to_string()),
            BindError::Refused { error: ref reason, .. } if may_pass(reason) => Self::NotNow(error.to_string()),
            BindError::Refused { .. } => Self::Wrong(error.to_string()),
        }
    }
}

/// Whether an address that cannot be opened may be opened later: it may yet be given to this machine, as with one that moves from
/// machine to machine, and descriptors may be closed.
fn may_pass(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable || matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_is_not_ours_yet_and_a_lack_of_descriptors_may_pass() {
        for (errno, passes) in [(Errno::ADDRNOTAVAIL, true), (Errno::MFILE, true), (Errno::NFILE, true), (Errno::ACCESS, false)] {
            let error = BindError::Refused { address: ([192, 0, 2, 1], 80).into(), owner: "l".to_owned(), error: errno.into() };
            assert_eq!(ResourceRefusal::from(error).may_pass(), passes, "{errno}");
        }
    }
}
