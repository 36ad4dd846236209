//! What a process has used so far, as the system counts it.

use std::fs;
use std::time::Duration;

use anyhow::Context;

/// The system counts CPU in hundredths of a second, on all of Linux' common platforms.
const TICK: Duration = Duration::from_millis(10);

/// What a process has used.
#[derive(Debug, Clone, Copy)]
pub struct Used {
    /// User and system time.
    pub cpu: Duration,
    /// Resident, in bytes.
    pub memory: u64,
}

impl Used {
    /// By the process of this id.
    ///
    /// # Errors
    /// If it has ended.
    pub fn by(id: u32) -> anyhow::Result<Self> {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).context("the process has ended")?;
        let ticks = ticks(&stat).context("/proc/PID/stat has another form")?;
        let status = fs::read_to_string(format!("/proc/{id}/status")).context("the process has ended")?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("/proc/PID/status has no VmRSS")?;
        let kilobytes: u64 = resident.trim().trim_end_matches(" kB").parse()?;
        Ok(Self { cpu: TICK * ticks, memory: 1024 * kilobytes })
    }
}

/// utime and stime, which stand after the program's name, in which there may be anything: see proc_pid_stat(5).
fn ticks(stat: &str) -> Option<u32> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<u32>().ok();
    Some(next()? + next()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_is_read_whatever_the_program_is_called() {
        assert_eq!(ticks("12 (a b) c) S 1 12 12 0 -1 4194560 100 0 0 0 7 5 0 0 20 0 1"), Some(12));
        assert_eq!(ticks("12 (a"), None);
    }
}
