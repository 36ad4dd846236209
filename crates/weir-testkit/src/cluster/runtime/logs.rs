//! What a container says, as a kubelet reads it: a line is `TIME stdout|stderr F|P TEXT`, where P says that the line goes on in the next.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};

/// A container's log.
pub(super) struct Log {
    path: PathBuf,
    file: Mutex<File>,
}

impl Log {
    /// Opens one, which may be there from a container that was here before.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn open(path: PathBuf) -> io::Result<Arc<Self>> {
        let file = Mutex::new(appended(&path)?);
        Ok(Arc::new(Self { path, file }))
    }

    /// Goes on in a new file: the kubelet has moved the old one away.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn reopen(&self) -> io::Result<()> {
        *self.file.lock().unwrap_or_else(PoisonError::into_inner) = appended(&self.path)?;
        Ok(())
    }

    /// Writes what comes of a stream of this name, until that ends.
    pub async fn write(self: Arc<Self>, stream: &'static str, from: impl AsyncRead + Unpin) {
        let mut reader = BufReader::new(from);
        // A stream that breaks has ended.
        while let Ok(read) = reader.fill_buf().await {
            if read.is_empty() {
                return;
            }
            let end = read.iter().position(|byte| *byte == b'\n');
            let (text, taken) = end.map_or((read, read.len()), |end| (&read[..end], end + 1));
            // A full disk is no reason for a container to stand still.
            let _ = self.put(stream, if end.is_some() { "F" } else { "P" }, text);
            reader.consume(taken);
        }
    }

    fn put(&self, stream: &str, tag: &str, text: &[u8]) -> io::Result<()> {
        let line = [format!("{} {stream} {tag} ", Timestamp::now()).as_bytes(), text, b"\n"].concat();
        self.file.lock().unwrap_or_else(PoisonError::into_inner).write_all(&line)
    }
}

fn appended(path: &PathBuf) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_have_a_time_and_their_stream() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("0.log");
        let log = Log::open(path.clone()).unwrap();
        log.clone().write("stdout", &b"one\ntwo"[..]).await;
        std::fs::rename(&path, folder.path().join("1.log")).unwrap();
        log.reopen().unwrap();
        log.clone().write("stderr", &b"\n"[..]).await;
        let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
        let said: Vec<String> = read("1.log").lines().map(|line| line.split_once(' ').unwrap().1.to_owned()).collect();
        assert_eq!(said, ["stdout F one", "stdout P two"]);
        assert!(read("0.log").ends_with("Z stderr F \n"), "{}", read("0.log"));
        let (time, _) = said_time(&read("0.log"));
        assert!(time.parse::<Timestamp>().is_ok(), "{time}");
    }

    fn said_time(line: &str) -> (String, String) {
        let (time, rest) = line.split_once(' ').unwrap();
        (time.to_owned(), rest.to_owned())
    }
}
