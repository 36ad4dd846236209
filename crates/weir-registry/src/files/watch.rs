//! Follows the changes of a folder.
//!
//! The system tells that something changed; what did, a look at the whole folder finds out: nothing is missed, whatever
//! an editor does to save a file. A change of several files at once is taken as one. As a net below the system's
//! events, which network file systems and links do not give, the folder is looked at now and then anyway.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};
use std::{io, thread};

use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::watch;

use super::Folder;
use crate::Catalog;

/// So long nothing may have happened before a change counts as complete.
const QUIET: Duration = Duration::from_millis(20);
/// A change that never comes to rest, and a file that is never closed, are taken as they are after this time.
const LONGEST: Duration = Duration::from_millis(100);
/// So many events wait to be looked at.
const DEPTH: usize = 256;
/// How often the folder is looked at without any event.
const UNPROMPTED: Duration = Duration::from_secs(2);

/// A folder that is followed, until this is dropped.
pub struct Watched {
    /// The newest catalog.
    pub catalog: watch::Receiver<Arc<Catalog>>,
    /// Ends the thread that looks when it goes away.
    _watcher: Option<RecommendedWatcher>,
}

/// Reads a folder and follows its changes.
///
/// # Errors
/// If the folder cannot be read, or the system gives no thread.
pub fn watch(root: &Path) -> io::Result<Watched> {
    root.read_dir()?;
    let (events, received) = sync_channel(DEPTH);
    let watcher = match start(root, events.clone()) {
        Ok(watcher) => Some(watcher),
        Err(error) => {
            tracing::warn!(%error, "the system does not tell of changes in {}: it is looked at every two seconds", root.display());
            None
        }
    };
    let mut folder = Folder::new(root);
    folder.refresh();
    let (sender, catalog) = watch::channel(Arc::new(folder.catalog()));
    // Without a watcher the thread must not end for want of a sender.
    let keep_alive = watcher.is_none().then_some(events);
    thread::Builder::new().name("files".to_owned()).spawn(move || {
        follow(&mut folder, &received, &sender);
        drop(keep_alive);
    })?;
    Ok(Watched { catalog, _watcher: watcher })
}

fn start(root: &Path, events: SyncSender<Event>) -> notify::Result<RecommendedWatcher> {
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
        if let Ok(event) = event {
            // Those that find no room are not needed: a look at the folder follows anyway.
            let _ = events.try_send(event);
        }
    })?;
    watcher.watch(root, RecursiveMode::Recursive)?;
    Ok(watcher)
}

/// Looks again after each change, until nobody wants to know any more.
fn follow(folder: &mut Folder, events: &Receiver<Event>, catalog: &watch::Sender<Arc<Catalog>>) {
    while !catalog.is_closed() {
        match events.recv_timeout(UNPROMPTED) {
            Ok(event) => {
                if !says_something(&event) {
                    continue;
                }
                settle(&event, events);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        if folder.refresh() {
            catalog.send_replace(Arc::new(folder.catalog()));
        }
    }
}

/// Reading a file is no change.
fn says_something(event: &Event) -> bool {
    !matches!(event.kind, EventKind::Access(kind) if kind != AccessKind::Close(AccessMode::Write))
}

/// Waits until a change is complete: nothing more happens for a while, and no file is being written.
fn settle(first: &Event, events: &Receiver<Event>) {
    let deadline = Instant::now() + LONGEST;
    let mut is_written = is_being_written(first);
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let wait = if is_written { left } else { QUIET.min(left) };
        match events.recv_timeout(wait) {
            Ok(event) if says_something(&event) => is_written = is_being_written(&event),
            Ok(_) if !left.is_zero() => {}
            _ => return,
        }
    }
}

/// Whether a file has been changed and not yet closed.
fn is_being_written(event: &Event) -> bool {
    use notify::event::ModifyKind;
    matches!(event.kind, EventKind::Modify(ModifyKind::Data(_)))
}
