//! What the bench runs in processes of its own, so that each has its core and its time is counted: these tools start themselves.

use std::ffi::OsString;

use anyhow::Context;

use crate::open_loop::{self, Plan};
use crate::{handshakes, origin, relay};

const ORIGIN: &str = "helper-origin";
const RELAY: &str = "helper-relay";
const OPEN_LOOP: &str = "helper-open-loop";
const HANDSHAKES: &str = "helper-handshakes";

/// Does a helper's work, if that is what this process was started for. A tool asks this before anything else.
pub fn run() -> Option<anyhow::Result<()>> {
    let mut words = std::env::args().skip(1);
    let helper: fn(Vec<String>) -> anyhow::Result<()> = match words.next()?.as_str() {
        ORIGIN => |words| origin::run(numbers(&words)?),
        RELAY => |words| relay::run(numbers(&words)?),
        OPEN_LOOP => |words| open_loop::run(&Plan::parse(&words)?),
        HANDSHAKES => |words| handshakes::run(&handshakes::Plan::parse(&words)?),
        _ => return None,
    };
    Some(helper(words.collect()))
}

pub(crate) fn origin_arguments(ports: [u16; 3]) -> Vec<OsString> {
    arguments(ORIGIN, ports.map(|port| port.to_string()))
}

pub(crate) fn relay_arguments(ports: [u16; 2]) -> Vec<OsString> {
    arguments(RELAY, ports.map(|port| port.to_string()))
}

pub(crate) fn open_loop_arguments(plan: &Plan) -> Vec<OsString> {
    arguments(OPEN_LOOP, plan.words())
}

pub(crate) fn handshake_arguments(plan: &handshakes::Plan) -> Vec<OsString> {
    arguments(HANDSHAKES, plan.words())
}

fn arguments(helper: &str, words: impl IntoIterator<Item = String>) -> Vec<OsString> {
    std::iter::once(helper.to_owned()).chain(words).map(OsString::from).collect()
}

/// Exactly so many ports.
fn numbers<const N: usize>(words: &[String]) -> anyhow::Result<[u16; N]> {
    let numbers: Vec<u16> = words.iter().map(|word| word.parse()).collect::<Result<_, _>>()?;
    numbers.try_into().ok().with_context(|| format!("{N} ports are expected"))
}
