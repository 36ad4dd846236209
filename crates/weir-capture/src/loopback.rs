//! The address of IPv6 from which a sidecar hands over to its workload. Of IPv4 all of 127.0.0.0/8 is the machine's own anyway.

use std::fs;

use crate::programs::{Error, run};

/// As the kernel lists addresses.
const SOURCE: &str = "00000000000000000000000000000006";
const LOCALHOST: &str = "00000000000000000000000000000001";
const ADDRESS: [&str; 3] = ["::6/128", "dev", "lo"];

/// How the address is written among the rules.
pub(crate) const LINE: &str = "address ::6 of lo\n";

/// Whether the calling thread's network has IPv6 at all.
pub(crate) fn is_wanted() -> bool {
    has(LOCALHOST)
}

/// Whether the address is there.
pub(crate) fn is_there() -> bool {
    has(SOURCE)
}

/// Adds it where it is wanted and not there.
pub(crate) fn add() -> Result<(), Error> {
    if !is_wanted() || is_there() {
        return Ok(());
    }
    run("ip", &[["-6", "address", "add"], ADDRESS].concat(), "").map(drop)
}

/// Takes it away; whether it was there.
pub(crate) fn remove() -> Result<bool, Error> {
    let is_there = is_there();
    if is_there {
        run("ip", &[["-6", "address", "delete"], ADDRESS].concat(), "")?;
    }
    Ok(is_there)
}

/// Whether loopback has an address. Where there is no IPv6, there is no list.
fn has(address: &str) -> bool {
    let listed = fs::read_to_string("/proc/thread-self/net/if_inet6").unwrap_or_default();
    listed.lines().any(|line| line.starts_with(address) && line.split_whitespace().last() == Some("lo"))
}
