//! Why a check failed.

/// A check that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckFailure {
    /// Of which sort.
    pub kind: CheckFailureKind,
    /// What happened, for people.
    pub reason: String,
}

/// Sorts of failures. They differ in whether one is enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckFailureKind {
    /// The instance itself says that it is not well: one is enough.
    Answer,
    /// It says so in words that the configuration calls retriable: the threshold counts.
    Retriable,
    /// It could not be asked, or did not answer in time: the threshold counts.
    Network,
}

impl CheckFailure {
    /// The instance says that it is not well.
    pub fn answer(reason: impl Into<String>) -> Self {
        Self { kind: CheckFailureKind::Answer, reason: reason.into() }
    }

    /// The instance could not be asked.
    pub fn network(reason: impl ToString) -> Self {
        Self { kind: CheckFailureKind::Network, reason: reason.to_string() }
    }
}

/// What a check found.
pub type Result<T = ()> = std::result::Result<T, CheckFailure>;
