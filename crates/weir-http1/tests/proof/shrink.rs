//! Makes what fails small enough to be understood.

use crate::generate::Case;

/// Takes away from a case what is not needed for it to fail.
pub fn shrink(mut case: Case, fails: impl Fn(&Case) -> bool) -> Case {
    for cuts in [vec![], (1..case.bytes.len()).collect()] {
        let whole = Case { cuts, ..case.clone() };
        if fails(&whole) {
            case = whole;
            break;
        }
    }
    let mut size = case.bytes.len() / 2;
    while size > 0 {
        let mut at = 0;
        while at < case.bytes.len() {
            let mut less = case.clone();
            less.bytes.drain(at..(at + size).min(less.bytes.len()));
            if !less.bytes.is_empty() && fails(&less) { case = less } else { at += size }
        }
        size /= 2;
    }
    case
}
