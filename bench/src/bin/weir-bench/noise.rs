//! What else ran on the two cores. Somebody's compiler beside a proxy costs it its caches, and starves the load generator, so that
//! the proxy is woken for each single request: it then takes up to twice the time. Such a round must be known for what it is.

use std::fs;

use anyhow::Context;

use crate::usage::{Clock, ticks};

/// A round with more than this part of the two cores taken by others is tried again.
pub(crate) const TOO_MUCH: f64 = 0.03;

/// The work done so far on the two cores, and the part of it that is the bench's own.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Work {
    all: f64,
    own: f64,
}

impl Work {
    /// # Errors
    /// If the system does not tell.
    pub fn now(clock: Clock, own: &[u32]) -> anyhow::Result<Self> {
        let stat = fs::read_to_string("/proc/stat")?;
        let all = ["cpu0 ", "cpu1 "].iter().filter_map(|core| stat.lines().find_map(|line| line.strip_prefix(core)).map(busy)).sum::<f64>();
        let mut own = own.iter().map(|id| clock.used(*id)).sum::<Result<f64, _>>()?;
        // The load generator has ended and was waited for.
        let bench = fs::read_to_string("/proc/self/stat")?;
        own += clock.seconds(ticks(&bench, 13).context("/proc/self/stat is not as expected")?);
        Ok(Self { all: clock.seconds(all), own })
    }

    /// The part of the two cores that others had in these seconds.
    pub fn others_since(self, before: Self, seconds: f64) -> f64 {
        (((self.all - before.all) - (self.own - before.own)) / (2.0 * seconds)).max(0.0)
    }
}

/// The ticks of a core for programs and the kernel, and those that another machine stole.
fn busy(line: &str) -> f64 {
    let fields: Vec<f64> = line.split_whitespace().filter_map(|field| field.parse().ok()).collect();
    [0, 1, 2, 7].iter().filter_map(|field| fields.get(*field)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_and_interrupts_are_nobodys_work() {
        assert!((busy("1 2 3 1000 1000 50 50 4 0 0") - 10.0).abs() < 1e-9);
    }

    #[test]
    fn others_are_what_is_left() {
        let (before, after) = (Work { all: 10.0, own: 5.0 }, Work { all: 20.0, own: 14.0 });
        assert!((after.others_since(before, 5.0) - 0.1).abs() < 1e-9);
    }
}
