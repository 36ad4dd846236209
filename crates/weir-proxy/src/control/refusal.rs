//! Why a resource is refused, and whether it is worth trying again.

use weir_config::CompileError;

use crate::listener::sockets::BindError;

/// Why a resource is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResourceRefusal {
    /// It is wrong, and stays so until the server sends another one.
    Wrong(String),
    /// Somebody else has its address: it may become free.
    AddressTaken(String),
}

impl ResourceRefusal {
    /// The reason, in words.
    pub fn reason(&self) -> &str {
        match self {
            Self::Wrong(reason) | Self::AddressTaken(reason) => reason,
        }
    }

    /// Whether the same resource may be accepted later.
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::AddressTaken(_))
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
            BindError::Taken { .. } => Self::AddressTaken(error.to_string()),
            BindError::Refused { .. } => Self::Wrong(error.to_string()),
        }
    }
}
