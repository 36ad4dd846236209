//! What a client has, or is being sent.
//!
//! Once it is told of everything a client has what it asks for, in the server's versions. Kept are those names alone of which that is
//! not so, so that a client costs what it lacks and not what there is.

use std::sync::Arc;

use crate::resources::Version;
use crate::shared_map::HashMap;

/// What a client has, by name.
#[derive(Debug, Clone, Default)]
pub(super) struct Sent {
    /// Names that it has in another version than usual, or has not though it usually would.
    unusual: HashMap<Arc<str>, Option<Version>>,
}

impl Sent {
    /// Whether it has all that is usual, and nothing else.
    pub fn is_usual(&self) -> bool {
        self.unusual.is_empty()
    }

    /// Which version of a name it has; `usual` is what a client of its subscription has that lacks nothing.
    pub fn get(&self, name: &str, usual: impl FnOnce() -> Option<Version>) -> Option<Version> {
        self.unusual.get(name).copied().unwrap_or_else(usual)
    }

    /// It has this version of a name, or none.
    pub fn set(&mut self, name: &Arc<str>, has: Option<Version>, usual: Option<Version>) {
        if has == usual {
            self.unusual.remove(name);
        } else {
            self.unusual.insert(name.clone(), has);
        }
    }

    /// The names of which it has not what is usual.
    pub fn unusual(&self) -> impl Iterator<Item = (&Arc<str>, Option<Version>)> {
        self.unusual.iter().map(|(name, has)| (name, *has))
    }

    /// Gives back the room for what it lacked at the beginning: that was much, and later is little.
    pub fn shrink(&mut self) {
        if self.unusual.capacity() > 64 + 4 * self.unusual.len() {
            self.unusual.shrink_to_fit();
        }
    }
}
