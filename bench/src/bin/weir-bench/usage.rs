//! What a process has taken from the machine.

use std::fs;
use std::process::Command;

use anyhow::Context;

/// How the kernel counts time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    per_second: f64,
}

impl Clock {
    /// # Errors
    /// If the system does not tell.
    pub fn new() -> anyhow::Result<Self> {
        let output = Command::new("getconf").arg("CLK_TCK").output().context("getconf cannot be run")?;
        let per_second = String::from_utf8_lossy(&output.stdout).trim().parse().context("getconf CLK_TCK gave no number")?;
        Ok(Self { per_second })
    }

    pub fn seconds(self, ticks: f64) -> f64 {
        ticks / self.per_second
    }

    /// The seconds that all threads of a process have used so far, in its own code and in the kernel's.
    ///
    /// # Errors
    /// If the process is gone.
    pub fn used(self, id: u32) -> anyhow::Result<f64> {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).context("the process is gone")?;
        let ticks = ticks(&stat, 11).with_context(|| format!("/proc/{id}/stat is not as expected: {stat}"))?;
        Ok(self.seconds(ticks))
    }
}

/// A field and the next one, of what is behind the program's name, which may hold anything, in parentheses.
pub(crate) fn ticks(stat: &str, field: usize) -> Option<f64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(field).map(str::parse::<f64>);
    Some(fields.next()?.ok()? + fields.next()?.ok()?)
}

/// The resident memory of a process, in KiB.
///
/// # Errors
/// If the process is gone.
pub(crate) fn resident(id: u32) -> anyhow::Result<f64> {
    let status = fs::read_to_string(format!("/proc/{id}/status")).context("the process is gone")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_found_behind_any_name() {
        assert_eq!(ticks("7 (a) b) S 1 2 3 4 5 6 7 8 9 10 100 23 0 0", 11), Some(123.0));
        assert_eq!(ticks("7 (a) S 1", 11), None);
    }
}
