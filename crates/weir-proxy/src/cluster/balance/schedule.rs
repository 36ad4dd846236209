//! Earliest deadline first: a schedule in which each position comes up as often as its weight says, evenly
//! spread.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// A weighted schedule of positions.
#[derive(Debug)]
pub struct Schedule {
    heap: BinaryHeap<Turn>,
}

#[derive(Debug, PartialEq)]
struct Turn {
    deadline: f64,
    position: usize,
}

impl Eq for Turn {}

/// The earliest deadline is the greatest, because the heap gives the greatest first; the first position breaks ties.
impl Ord for Turn {
    fn cmp(&self, other: &Self) -> Ordering {
        other.deadline.total_cmp(&self.deadline).then(other.position.cmp(&self.position))
    }
}

impl PartialOrd for Turn {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Schedule {
    /// A schedule of positions with these weights; `random` decides where it starts, so that many workers, or
    /// many proxies, do not all begin with the same instance.
    pub fn new(mut weights: Vec<f64>, random: u64) -> Self {
        weights.iter_mut().for_each(|weight| *weight = weight.max(f64::MIN_POSITIVE));
        let heap = weights.iter().enumerate().map(|(position, weight)| Turn { deadline: 1.0 / weight, position }).collect();
        let mut schedule = Self { heap };
        for _ in 0..random % (weights.len().max(1) as u64) {
            schedule.next(|position| weights[position]);
        }
        schedule
    }

    /// The next position; `weight` tells the one that it has now.
    pub fn next(&mut self, weight: impl Fn(usize) -> f64) -> Option<usize> {
        let Turn { deadline, position } = self.heap.pop()?;
        self.heap.push(Turn { deadline: deadline + 1.0 / weight(position).max(f64::MIN_POSITIVE), position });
        Some(position)
    }
}
