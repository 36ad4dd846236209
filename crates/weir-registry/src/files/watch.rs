//! Follows the changes of a folder.
//!
//! The system tells where something changed, and what did, a look there finds out; where more may have changed than was
//! told, the whole folder is looked at: nothing is missed, whatever an editor does to save a file. A change of several
//! files at once is taken as one, and a file that is being written stays as it was. As a net below the system's events, which network file systems and links do not
//! give, the folder is looked at now and then anyway.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};
use std::{io, thread};

use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::watch;

use super::Folder;
use super::writing::{Writing, is_change};
use crate::Catalog;

/// So long nothing may have happened before a change counts as complete.
const QUIET: Duration = Duration::from_millis(8);
/// A change that never comes to rest is taken as it is after this time, but for files that are still being written.
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

/// What the system tells.
struct Events {
    received: Receiver<Event>,
    /// Whether some found no room, so that nobody knows where they happened.
    lost: Arc<AtomicBool>,
}

/// Reads a folder and follows its changes.
///
/// # Errors
/// If the folder cannot be read, or the system gives no thread.
pub fn watch(root: &Path) -> io::Result<Watched> {
    root.read_dir()?;
    let (sender, received) = sync_channel(DEPTH);
    let events = Events { received, lost: Arc::default() };
    let watcher = match start(root, sender.clone(), events.lost.clone()) {
        Ok(watcher) => Some(watcher),
        Err(error) => {
            tracing::warn!(%error, "the system does not tell of changes in {}: it is looked at every two seconds", root.display());
            None
        }
    };
    let mut folder = Folder::new(root);
    folder.refresh();
    let (catalog, newest) = watch::channel(Arc::new(folder.catalog()));
    // Without a watcher the thread must not end for want of a sender.
    let keep_alive = watcher.is_none().then_some(sender);
    thread::Builder::new().name("files".to_owned()).spawn(move || {
        follow(&mut folder, &events, &catalog);
        drop(keep_alive);
    })?;
    Ok(Watched { catalog: newest, _watcher: watcher })
}

fn start(root: &Path, events: SyncSender<Event>, lost: Arc<AtomicBool>) -> notify::Result<RecommendedWatcher> {
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
        // One that finds no room, and an error of the system's, may be about anything.
        if event.map_or(true, |event| is_change(&event) && events.try_send(event).is_err()) {
            lost.store(true, Ordering::Release);
        }
    })?;
    watcher.watch(root, RecursiveMode::Recursive)?;
    Ok(watcher)
}

/// Looks again after each change, until nobody wants to know any more.
fn follow(folder: &mut Folder, events: &Events, catalog: &watch::Sender<Arc<Catalog>>) {
    let places = Places::of(folder.root());
    let mut writing = Writing::default();
    let mut next_look = Instant::now() + UNPROMPTED;
    while !catalog.is_closed() {
        let happened = match events.received.recv_timeout(next_look.saturating_duration_since(Instant::now())) {
            Ok(event) => settle(event, &events.received, &mut writing),
            Err(RecvTimeoutError::Timeout) => vec![],
            Err(RecvTimeoutError::Disconnected) => return,
        };
        let now = Instant::now();
        let is_known = !events.lost.swap(false, Ordering::AcqRel) && !happened.iter().any(Event::need_rescan);
        folder.leave_alone(writing.unfinished(now).filter_map(|path| places.within(path)).collect());
        let changed = match places.all(&happened) {
            Some(paths) if is_known && now < next_look => folder.refresh_at(&paths),
            _ => {
                next_look = now + UNPROMPTED;
                folder.refresh()
            }
        };
        if changed {
            catalog.send_replace(Arc::new(folder.catalog()));
        }
    }
}

/// Puts places as the system calls them into the words of who asked to follow the folder.
struct Places {
    root: PathBuf,
    absolute: PathBuf,
}

impl Places {
    fn of(root: &Path) -> Self {
        Self { root: root.to_owned(), absolute: std::path::absolute(root).unwrap_or_else(|_| root.to_owned()) }
    }

    /// Where all of this happened; none if nobody knows.
    fn all(&self, happened: &[Event]) -> Option<BTreeSet<PathBuf>> {
        let is_told = happened.iter().all(|event| !event.paths.is_empty());
        let paths = happened.iter().flat_map(|event| &event.paths).map(|path| self.within(path));
        paths.collect::<Option<_>>().filter(|_| is_told)
    }

    fn within(&self, path: &Path) -> Option<PathBuf> {
        path.strip_prefix(&self.absolute).ok().map(|within| self.root.join(within))
    }
}

/// Waits until a change is complete: nothing more happens for a while, and no file is being written that was not before. Returns
/// all that happened.
fn settle(first: Event, events: &Receiver<Event>, writing: &mut Writing) -> Vec<Event> {
    let begin = Instant::now();
    writing.see(&first, begin);
    let mut happened = vec![first];
    loop {
        let left = LONGEST.saturating_sub(begin.elapsed());
        let wait = if writing.has_begun_since(begin) { left } else { QUIET.min(left) };
        match events.recv_timeout(wait) {
            Ok(event) => {
                writing.see(&event, Instant::now());
                happened.push(event);
            }
            Err(_) => return happened,
        }
        if left.is_zero() {
            return happened;
        }
    }
}
