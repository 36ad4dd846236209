//! Processes of a demo, and the folder in which they meet. Both go with it, however it ends.

use std::fs::{self, DirBuilder, File};
use std::hash::{BuildHasher, RandomState};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf, absolute};
use std::process::{Child, Command, Stdio};
use std::{env, process};

use anyhow::{Context, bail};

/// A folder for its owner alone: processes show by a secret in it whose they are.
#[derive(Debug)]
pub(super) struct Folder(PathBuf);

impl Folder {
    /// A new one, where the system has such folders. Its name is nobody's: one that was killed leaves its own behind.
    pub fn new() -> anyhow::Result<Self> {
        // Each of these states has keys of its own, which are random.
        let name = format!("weir-demo-{:016x}", RandomState::new().hash_one(process::id()));
        // Processes on other machines begin in another folder.
        let path = absolute(env::temp_dir().join(name))?;
        DirBuilder::new().mode(0o700).create(&path).with_context(|| format!("the folder {} cannot be made", path.display()))?;
        Ok(Self(path))
    }

    /// A file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Where the pilot serves xDS.
    pub fn xds(&self) -> PathBuf {
        self.file("xds")
    }

    /// Where it keeps its secret.
    pub fn state(&self) -> PathBuf {
        self.file("state")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // There is nothing to be done about what cannot be removed.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A process that ends with this.
#[derive(Debug)]
pub(super) struct Running {
    what: String,
    child: Child,
    log: PathBuf,
}

impl Running {
    /// Starts a command, which is called `what`. What it has to say about itself goes to a file, and what it prints to our own output, if
    /// `prints`, or else to that file too.
    pub fn start(what: String, mut command: Command, log: &Path, prints: bool) -> anyhow::Result<Self> {
        let said = File::create(log).with_context(|| format!("{} cannot be written", log.display()))?;
        let out = if prints { Stdio::inherit() } else { said.try_clone()?.into() };
        // Ctrl-C at the terminal is for us: we end it, in our order.
        command.process_group(0).stdin(Stdio::null()).stdout(out).stderr(said);
        let child = command.spawn().with_context(|| format!("{what} cannot be started"))?;
        Ok(Self { what, child, log: log.to_owned() })
    }

    /// Looks whether it still runs.
    ///
    /// # Errors
    /// If it does not; tells what it said last.
    pub fn check(&mut self) -> anyhow::Result<()> {
        let Some(status) = self.child.try_wait()? else { return Ok(()) };
        let said = fs::read(&self.log).unwrap_or_default();
        let said = String::from_utf8_lossy(&said);
        bail!("{} has ended ({status}): {}", self.what, said.trim_end().lines().last().unwrap_or("it said nothing"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_has_left_is_in_nobody_s_way() {
        let folders = [Folder::new().unwrap(), Folder::new().unwrap()];
        let paths = folders.each_ref().map(|folder| folder.0.clone());
        assert_ne!(paths[0], paths[1]);
        drop(folders);
        assert!(paths.iter().all(|path| !path.exists()));
    }
}
