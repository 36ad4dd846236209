//! Log files: workers hand over whole lines in batches, one thread writes them.
//!
//! A worker never waits for a disk: where the thread falls behind, batches are dropped and counted. Files are
//! opened for appending, shared by all proxies of the process, and opened anew on request (SIGHUP).

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::rc::{Rc, Weak};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Batches that may wait for the disk.
const QUEUE: usize = 256;
/// A batch of this size is handed over at once.
const BATCH: usize = 64 << 10;
/// A line is handed over no later than this after it was written.
const DELAY: Duration = Duration::from_millis(50);

enum Order {
    Write(Arc<str>, Vec<u8>),
    /// Nobody writes to a file any more, as far as one worker knows; one that still does opens it anew.
    Close(Arc<str>),
    Reopen,
    /// Ends the thread, once all that came before is written.
    Stop,
}

/// The thread that writes log files, and the way to it.
#[derive(Debug)]
pub struct LogWriter {
    orders: SyncSender<Order>,
    /// Batches that were dropped because the disk could not follow, or refused.
    pub dropped: Arc<AtomicU64>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl LogWriter {
    /// Starts the thread.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start() -> io::Result<Arc<Self>> {
        let (orders, received) = sync_channel(QUEUE);
        let dropped = Arc::new(AtomicU64::new(0));
        let lost = dropped.clone();
        let thread = std::thread::Builder::new().name("access-log".into()).spawn(move || Files::new(lost).run(&received))?;
        Ok(Arc::new(Self { orders, dropped, thread: Mutex::new(Some(thread)) }))
    }

    /// Opens all files anew: they were moved away.
    pub fn reopen(&self) {
        // A full queue means that writing goes on anyway; the request must not be lost.
        let _ = self.orders.send(Order::Reopen);
    }

    /// Writes what is still waiting, and ends the thread.
    pub fn stop(&self) {
        let _ = self.orders.send(Order::Stop);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }

    fn hand_over(&self, path: &Arc<str>, batch: Vec<u8>) {
        match self.orders.try_send(Order::Write(path.clone(), batch)) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// The open files; only the writer's thread has them.
struct Files {
    open: HashMap<Arc<str>, io::Result<Target>>,
    dropped: Arc<AtomicU64>,
}

enum Target {
    Stdout,
    Stderr,
    File(File),
}

impl Files {
    fn new(dropped: Arc<AtomicU64>) -> Self {
        Self { open: HashMap::new(), dropped }
    }

    /// Carries out orders until the last.
    fn run(&mut self, orders: &Receiver<Order>) {
        for order in orders {
            match order {
                Order::Write(path, batch) => self.write(&path, &batch),
                Order::Close(path) => drop(self.open.remove(&path)),
                Order::Reopen => self.open.clear(),
                Order::Stop => return,
            }
        }
    }

    fn write(&mut self, path: &Arc<str>, batch: &[u8]) {
        let target = self.open.entry(path.clone()).or_insert_with(|| {
            let target = open(path);
            if let Err(error) = &target {
                tracing::error!("the access log {path} cannot be opened: {error}");
            }
            target
        });
        let Ok(file) = target else {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let written = match file {
            Target::Stdout => io::stdout().lock().write_all(batch),
            Target::Stderr => io::stderr().lock().write_all(batch),
            Target::File(file) => file.write_all(batch),
        };
        if let Err(error) = written {
            // Said once for each run of failures, not for each batch: a full disk stays full for a while.
            if self.dropped.fetch_add(1, Ordering::Relaxed) == 0 {
                tracing::error!("the access log {path} cannot be written: {error}; lines are dropped until it can");
            }
        }
    }
}

fn open(path: &str) -> io::Result<Target> {
    match path {
        "/dev/stdout" => Ok(Target::Stdout),
        "/dev/stderr" => Ok(Target::Stderr),
        _ => OpenOptions::new().create(true).append(true).open(path).map(Target::File),
    }
}

/// One worker's end of a log file: lines gather here for a moment.
#[derive(Debug)]
pub struct LogSink {
    path: Arc<str>,
    writer: Arc<LogWriter>,
    lines: RefCell<Vec<u8>>,
    /// To itself, for the timer that hands the lines over.
    this: Weak<LogSink>,
}

impl LogSink {
    /// A sink for a file. Only for a worker's own thread.
    pub fn new(path: Arc<str>, writer: Arc<LogWriter>) -> Rc<Self> {
        Rc::new_cyclic(|this| Self { path, writer, lines: RefCell::default(), this: this.clone() })
    }

    /// Adds a line: `write` appends it.
    pub fn line(&self, write: impl FnOnce(&mut Vec<u8>)) {
        let mut lines = self.lines.borrow_mut();
        let was_empty = lines.is_empty();
        write(&mut lines);
        if lines.len() >= BATCH {
            let batch = std::mem::take(&mut *lines);
            self.writer.hand_over(&self.path, batch);
        } else if was_empty && let Some(this) = self.this.upgrade() {
            tokio::task::spawn_local(async move {
                tokio::time::sleep(DELAY).await;
                this.flush();
            });
        }
    }

    /// Hands over what is there.
    pub fn flush(&self) {
        let batch = std::mem::take(&mut *self.lines.borrow_mut());
        if !batch.is_empty() {
            self.writer.hand_over(&self.path, batch);
        }
    }
}

impl Drop for LogSink {
    fn drop(&mut self) {
        self.flush();
        // Where the thread falls behind, the file stays open until the next time.
        let _ = self.writer.orders.try_send(Order::Close(self.path.clone()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_nobody_writes_any_more_is_closed() {
        let mut files = Files::new(Arc::default());
        let (orders, received) = sync_channel(QUEUE);
        let writer = Arc::new(LogWriter { orders, dropped: Arc::default(), thread: Mutex::new(None) });
        let folder = tempfile::tempdir().expect("a folder");
        let path: Arc<str> = folder.path().join("a.log").to_string_lossy().into();
        let sink = LogSink::new(path.clone(), writer.clone());
        sink.lines.borrow_mut().extend_from_slice(b"line\n");
        drop(sink);
        writer.orders.send(Order::Stop).expect("room");
        files.run(&received);
        assert!(files.open.is_empty());
        assert_eq!(std::fs::read_to_string(&*path).expect("a log"), "line\n");
    }
}
