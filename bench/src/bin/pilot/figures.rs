//! Figures of many rounds.

use std::time::Duration;

/// The figure below which this share of all is; they are sorted.
pub(crate) fn share(sorted: &[Duration], share: f64) -> Duration {
    let last = sorted.len().saturating_sub(1);
    sorted.get((last as f64 * share).round() as usize).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_of_all_figures() {
        let sorted: Vec<Duration> = (1..=100).map(Duration::from_millis).collect();
        assert_eq!([0.0, 0.5, 0.99, 1.0].map(|of| share(&sorted, of).as_millis()), [1, 51, 99, 100]);
        assert_eq!(share(&[], 0.5), Duration::ZERO);
    }
}
