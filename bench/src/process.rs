//! Processes that end with the bench, each pinned to a core.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

/// Where a process runs: what is measured is alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Core {
    /// Core 0, for what is measured.
    Measured,
    /// Core 1, for all the rest.
    Others,
    /// Wherever the system lets it run, for what uses all cores.
    Any,
}

impl Core {
    /// A command on this core. taskset becomes the program, so the id is the program's.
    pub fn command(self, program: &Path) -> Command {
        let core = match self {
            Self::Measured => "0",
            Self::Others => "1",
            Self::Any => return Command::new(program),
        };
        let mut command = Command::new("taskset");
        command.arg("-c").arg(core).arg(program);
        command
    }
}

/// A process that is killed, by its id, when it is dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a program; what it says goes to a file.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start<I>(core: Core, program: &Path, args: I, log: PathBuf) -> anyhow::Result<Self>
    where
        I: IntoIterator<Item: AsRef<OsStr>>,
    {
        let file = File::create(&log)?;
        let mut command = core.command(program);
        command.args(args).stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let child = command.spawn().with_context(|| format!("{} cannot be started", program.display()))?;
        Ok(Self { child, log })
    }

    /// As the system counts it.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// # Errors
    /// If it has ended; says its last words.
    pub fn check(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            Some(status) => bail!("it ended with {status}; it said:\n{}", self.last_words()),
            None => Ok(()),
        }
    }

    /// Waits until it ends by itself.
    ///
    /// # Errors
    /// If it does not end in time, or ends with an error; says its last words.
    pub fn wait(&mut self, deadline: Duration) -> anyhow::Result<()> {
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            ensure!(start.elapsed() < deadline, "it did not end in {deadline:?}; it said:\n{}", self.last_words());
            pause();
        };
        ensure!(status.success(), "it ended with {status}; it said:\n{}", self.last_words());
        Ok(())
    }

    /// Asks it to end, by SIGTERM, so that it can finish what it does, and waits until it has ended, however it ends.
    ///
    /// # Errors
    /// If it does not end in time.
    pub fn terminate(&mut self, deadline: Duration) -> anyhow::Result<()> {
        let sent = Command::new("kill").args(["-TERM", &self.id().to_string()]).status().context("kill cannot be run")?;
        ensure!(sent.success(), "it cannot be ended: {sent}");
        let start = Instant::now();
        while self.child.try_wait()?.is_none() {
            ensure!(start.elapsed() < deadline, "it did not end in {deadline:?} after SIGTERM; it said:\n{}", self.last_words());
            pause();
        }
        Ok(())
    }

    /// All that it said.
    ///
    /// # Errors
    /// If that cannot be read.
    pub fn output(&self) -> anyhow::Result<String> {
        Ok(String::from_utf8_lossy(&fs::read(&self.log)?).into_owned())
    }

    /// The end of what it said.
    pub fn last_words(&self) -> String {
        let text = self.output().unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(12)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Between two looks at something that does not say when it is ready.
pub const PAUSE: Duration = Duration::from_millis(20);

/// Lets a moment pass.
#[expect(clippy::disallowed_methods, reason = "a process of another make says nothing when it is ready: it must be asked again and again")]
pub fn pause() {
    std::thread::sleep(PAUSE);
}

/// A program on the PATH.
pub fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}
