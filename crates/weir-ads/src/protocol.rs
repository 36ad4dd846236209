//! The two variants of the protocol.

/// Which of the two variants of the protocol a stream speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protocol {
    /// Only what changed is sent.
    #[default]
    Delta,
    /// All clusters and listeners are sent when one of them changes.
    StateOfTheWorld,
}
