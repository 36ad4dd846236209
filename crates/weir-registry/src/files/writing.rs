//! Which files are being written: what stands in one means nothing before it is closed. A shell empties a file before the
//! program begins that fills it, and a full disk leaves it half.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use notify::Event;
use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind};

/// A file that is not closed is taken as it is after this time. Only Linux tells of a file that it is closed.
const LONGEST: Duration = if cfg!(target_os = "linux") { Duration::from_secs(10) } else { Duration::from_millis(100) };

/// The files that are being written, as the system calls them, and since when.
#[derive(Debug, Default)]
pub(super) struct Writing(BTreeMap<PathBuf, Instant>);

impl Writing {
    /// Takes in what happened.
    pub fn see(&mut self, event: &Event, now: Instant) {
        match event.kind {
            EventKind::Modify(ModifyKind::Data(_)) => event.paths.iter().for_each(|path| {
                self.0.entry(path.clone()).or_insert(now);
            }),
            // It is whole, gone, or another file than the one that was being written.
            EventKind::Access(AccessKind::Close(AccessMode::Write))
            | EventKind::Create(_)
            | EventKind::Remove(_)
            | EventKind::Modify(ModifyKind::Name(_)) => event.paths.iter().for_each(|path| {
                self.0.remove(path);
            }),
            EventKind::Any | EventKind::Access(_) | EventKind::Modify(_) | EventKind::Other => {}
        }
    }

    /// Whether any is being written whose first change is not older than this.
    pub fn has_begun_since(&self, begin: Instant) -> bool {
        self.0.values().any(|since| *since >= begin)
    }

    /// Those that are to be left alone. One that takes too long is not, until it is changed again.
    pub fn unfinished(&mut self, now: Instant) -> impl Iterator<Item = &PathBuf> {
        self.0.retain(|_, since| now.saturating_duration_since(*since) < LONGEST);
        self.0.keys()
    }
}

/// Whether an event may mean that something is another thing than before. Reading a file does not.
pub(super) fn is_change(event: &Event) -> bool {
    !matches!(event.kind, EventKind::Access(kind) if kind != AccessKind::Close(AccessMode::Write))
}

#[cfg(test)]
mod tests {
    use notify::event::{DataChange, MetadataKind, RenameMode};

    use super::*;

    const WRITTEN: EventKind = EventKind::Modify(ModifyKind::Data(DataChange::Any));

    fn unfinished(events: &[EventKind], age: Duration) -> usize {
        let (mut writing, begin) = (Writing::default(), Instant::now());
        for (after, kind) in (0..).zip(events) {
            writing.see(&Event::new(*kind).add_path("/a.yaml".into()), begin + Duration::from_secs(after));
        }
        writing.unfinished(begin + age).count()
    }

    #[test]
    fn a_file_is_being_written_from_its_first_change_until_it_is_closed() {
        let closed = EventKind::Access(AccessKind::Close(AccessMode::Write));
        let mode = EventKind::Modify(ModifyKind::Metadata(MetadataKind::Any));
        let replaced = EventKind::Modify(ModifyKind::Name(RenameMode::To));
        for (events, count) in [
            (&[WRITTEN][..], 1),
            (&[WRITTEN, mode, WRITTEN], 1),
            (&[closed, WRITTEN], 1),
            (&[WRITTEN, WRITTEN, closed], 0),
            (&[WRITTEN, replaced], 0),
            (&[mode], 0),
        ] {
            assert_eq!(unfinished(events, Duration::from_secs(3)), count, "{events:?}");
        }
    }

    #[test]
    fn a_file_that_is_not_closed_for_long_is_taken_as_it_is() {
        assert_eq!(unfinished(&[WRITTEN, WRITTEN], LONGEST - Duration::from_millis(1)), 1);
        assert_eq!(unfinished(&[WRITTEN, WRITTEN], LONGEST), 0);
    }
}
