//! Rules of the kernel's, as far as capture needs them, before they are written for one tool or the other.

use std::collections::BTreeSet;

use ipnet::IpNet;

use crate::lists::Interface;

/// The rules of a workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capture {
    pub(crate) chains: Vec<Chain>,
}

/// Rules that are tried in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chain {
    pub name: &'static str,
    /// Where the kernel comes to it; none if only other chains lead to it.
    pub hook: Option<Hook>,
    pub rules: Vec<Rule>,
}

/// Where packets pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hook {
    /// What comes in, before it is known which connection it is of.
    RawPrerouting,
    /// The same of what goes out.
    RawOutput,
    /// What comes in, once that is known.
    ManglePrerouting,
    /// The first packet of what comes in.
    NatPrerouting,
    /// The first packet of what goes out.
    NatOutput,
}

/// What becomes of packets for which all conditions hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rule {
    pub why: &'static str,
    pub conditions: Vec<Condition>,
    pub verdict: Verdict,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Tcp,
    Udp,
}

/// What a packet must be like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Condition {
    Protocol(Protocol),
    ToPorts(Protocol, BTreeSet<u16>),
    NotToPorts(Protocol, BTreeSet<u16>),
    FromPort(Protocol, u16),
    From(IpNet),
    To(IpNet),
    NotTo(IpNet),
    /// Sent by a process of this user.
    User(u32),
    /// Sent by a process of this group.
    Group(u32),
    NotGroup(u32),
    /// It came by this interface.
    By(Interface),
    /// It leaves by this one.
    Through(Interface),
    /// It is of no connection that is known.
    Invalid,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It goes on as it would without us.
    Leave,
    /// It goes to this port of this machine.
    Redirect(u16),
    /// Another chain is tried, and then the next rule.
    Jump(&'static str),
    /// Another chain decides.
    Goto(&'static str),
    /// Its connection is kept apart from those of other zones.
    Zone(u16),
    Drop,
}
