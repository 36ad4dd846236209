//! What callgrind counted, by function. Its format: <https://valgrind.org/docs/manual/cl-format.html>.

use std::collections::HashMap;

use anyhow::{Context, ensure};

/// A whole run.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    total: u64,
    /// What functions execute themselves, without those that they call.
    own: HashMap<String, u64>,
}

/// One request.
#[derive(Debug)]
pub(crate) struct Profile {
    pub total: f64,
    /// Functions, those first that execute the most themselves.
    pub functions: Vec<(String, f64)>,
}

impl Counts {
    /// Reads what callgrind has written.
    ///
    /// # Errors
    /// If there is no total in it.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let mut counts = Self::default();
        let mut names: HashMap<&str, &str> = HashMap::new();
        let (mut function, mut is_call) = ("", false);
        for line in text.lines() {
            if let Some(written) = line.strip_prefix("fn=") {
                function = name(written, &mut names);
            } else if let Some(written) = line.strip_prefix("cfn=") {
                // A name may be given where it is called, before its own lines.
                name(written, &mut names);
            } else if let Some(total) = line.strip_prefix("totals:") {
                counts.total = total.trim().parse().context("the total is no number")?;
            } else if line.starts_with("calls=") {
                is_call = true;
            } else if let Some(cost) = cost(line) {
                // The line after `calls=` is what the called function took.
                if !std::mem::take(&mut is_call) {
                    *counts.own.entry(function.to_owned()).or_default() += cost;
                }
            }
        }
        ensure!(counts.total > 0, "there is no total");
        Ok(counts)
    }
}

/// The name behind `fn=`: `(3) name` where it comes first, later `(3)`.
fn name<'t>(written: &'t str, names: &mut HashMap<&'t str, &'t str>) -> &'t str {
    match written.split_once(' ') {
        Some((number, name)) => {
            names.insert(number, name);
            name
        }
        None => names.get(written).copied().unwrap_or(written),
    }
}

/// What a line of numbers counts: its first is a position, absolute or relative.
fn cost(line: &str) -> Option<u64> {
    let (position, cost) = line.split_once(' ')?;
    position.starts_with(|first: char| first.is_ascii_digit() || matches!(first, '+' | '-' | '*')).then(|| cost.trim().parse().ok())?
}

impl Profile {
    /// What a request took, by a run with few and one with this many more.
    pub fn difference(few: &Counts, many: &Counts, requests: u32) -> Self {
        let of = |many: u64, few: u64| (many as f64 - few as f64) / f64::from(requests);
        let own = |(name, count): (&String, &u64)| (name.clone(), of(*count, few.own.get(name).copied().unwrap_or_default()));
        let mut functions: Vec<(String, f64)> = many.own.iter().map(own).collect();
        functions.sort_by(|one, other| other.1.total_cmp(&one.1));
        Self { total: of(many.total, few.total), functions }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FEW: &str = "positions: line\nevents: Ir\nfl=(1) a.rs\nfn=(1) one\n16 100\n+2 20\ncfn=(2) two\ncalls=3 +5\n* 300\n* 5\n\nfn=(2)\n1 300\n\ntotals: 425\n";
    const MANY: &str = "events: Ir\nfn=(7) two\n1 500\nfn=(1) one\n3 125\ntotals: 625\n";

    #[test]
    fn what_is_called_is_not_counted_twice() {
        let counts = Counts::parse(FEW).unwrap();
        assert_eq!(counts.own, HashMap::from([("one".to_owned(), 125), ("two".to_owned(), 300)]));
    }

    #[test]
    fn a_difference_is_one_request() {
        let profile = Profile::difference(&Counts::parse(FEW).unwrap(), &Counts::parse(MANY).unwrap(), 100);
        assert_eq!(profile.functions, [("two".to_owned(), 2.0), ("one".to_owned(), 0.0)]);
        assert!((profile.total - 2.0).abs() < 1e-9);
    }

    #[test]
    fn without_a_total_nothing_was_counted() {
        assert!(Counts::parse("events: Ir\n").is_err());
    }
}
