//! What the process logs, for all tests of this binary.

use std::io;
use std::sync::{Mutex, Once, PoisonError};
use std::time::Duration;

use tokio::time::{sleep, timeout};

/// What is not logged by then will not be.
const DEADLINE: Duration = Duration::from_secs(20);

static SAID: Mutex<Vec<u8>> = Mutex::new(vec![]);

struct Kept;

impl io::Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        SAID.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Keeps what is logged from now on, at the level that is usual.
pub(super) fn keep() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let log = tracing_subscriber::fmt().with_max_level(tracing::Level::INFO).with_ansi(false).with_writer(|| Kept);
        log.try_init().unwrap();
    });
}

/// Keeps what is logged, and other tests that do the same from logging anything, for as long as what is returned is there.
#[allow(dead_code, reason = "for tests that cannot tell their lines from those of others")]
pub(super) async fn alone() -> tokio::sync::MutexGuard<'static, ()> {
    static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    keep();
    ALONE.lock().await
}

/// Forgets what was logged before.
#[allow(dead_code, reason = "of many tests at once none may")]
pub(super) fn forget() {
    SAID.lock().unwrap_or_else(PoisonError::into_inner).clear();
}

/// The line that names somebody, when there is one.
pub(super) async fn line_about(name: &str) -> String {
    let find = || {
        let said = String::from_utf8_lossy(&SAID.lock().unwrap_or_else(PoisonError::into_inner)).into_owned();
        said.lines().find(|line| line.contains(name)).map(str::to_owned)
    };
    let said = async {
        loop {
            match find() {
                Some(line) => return line,
                None => sleep(Duration::from_millis(5)).await,
            }
        }
    };
    timeout(DEADLINE, said).await.unwrap_or_else(|_| panic!("the log does not name {name}"))
}
