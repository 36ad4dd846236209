//! A process of our own that does something whenever it is told to, so that its time is counted apart.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use weir_bench::process::pause;

/// Long for a debug build with many services.
const PATIENCE: Duration = Duration::from_secs(120);

/// Such a process, killed when it is dropped.
pub(crate) struct Ordered {
    child: Child,
    orders: ChildStdin,
    log: PathBuf,
}

impl Ordered {
    /// Starts this program with these words, and waits until it says `0`.
    ///
    /// # Errors
    /// If it does not.
    pub fn start(words: &[&str], log: &Path) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(words).stdin(Stdio::piped()).stdout(File::create(log)?);
        let mut child = command.spawn()?;
        let orders = child.stdin.take().context("it takes no orders")?;
        let ordered = Self { child, orders, log: log.to_owned() };
        ordered.until_it_says(0)?;
        Ok(ordered)
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it has said a number.
    ///
    /// # Errors
    /// If it does not in time.
    pub fn until_it_says(&self, number: usize) -> anyhow::Result<()> {
        let (begun, line) = (Instant::now(), number.to_string());
        while !fs::read_to_string(&self.log)?.lines().any(|said| said == line) {
            ensure!(begun.elapsed() < PATIENCE, "it has not come to {number} after {PATIENCE:?}");
            pause();
        }
        Ok(())
    }

    /// Tells it to do what it does.
    ///
    /// # Errors
    /// If it has ended.
    pub fn order(&mut self, words: &str) -> anyhow::Result<()> {
        writeln!(self.orders, "{words}")?;
        Ok(self.orders.flush()?)
    }
}

impl Drop for Ordered {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
