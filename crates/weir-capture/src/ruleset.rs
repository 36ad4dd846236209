//! Rules of the kernel's, as far as capture needs them, before they are written for one tool or the other.

use std::collections::BTreeSet;

use ipnet::IpNet;

use crate::lists::Interface;

/// The rules of a workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capture {
    pub(crate) chains: Vec<Chain>,
    /// The route that some of them need.
    pub(crate) route: Option<MarkRoute>,
}

/// Packets of a mark go to this machine, whatever their destination is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MarkRoute {
    pub mark: u32,
    /// The routing table that says so.
    pub table: u32,
}

/// Rules that are tried in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chain {
    pub name: &'static str,
    pub table: Table,
    /// Where the kernel comes to it; none if only other chains lead to it.
    pub hook: Option<Hook>,
    pub rules: Vec<Rule>,
}

/// When packets are looked at, in iptables' words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Table {
    /// Before it is known which connection one is of.
    Raw,
    /// Once that is known. What goes out finds another route when it gets another mark.
    Mangle,
    /// The first packet of each connection.
    Nat,
}

/// Where packets pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hook {
    /// What comes in.
    Prerouting,
    /// What this machine sends.
    Output,
}

/// What becomes of packets for which all conditions hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rule {
    pub why: &'static str,
    pub conditions: Vec<Condition>,
    pub verdict: Verdict,
}

/// A rule, and why it is there.
pub(crate) fn rule(why: &'static str, conditions: impl Into<Vec<Condition>>, verdict: Verdict) -> Rule {
    Rule { why, conditions: conditions.into(), verdict }
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
    /// It begins a connection.
    Begins,
    /// It carries this mark.
    Mark(u32),
    /// Its connection carries this mark.
    ConnectionMark(u32),
    /// It is the first of its connection, as far as that is known.
    IsNew,
    /// It is for an address of this machine.
    ToThisMachine,
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
    /// It goes as it is to who has its connection on this port of this machine, or listens there. If nobody does, the next rule is
    /// tried, or it is dropped.
    HandOver(u16),
    /// It gets this mark, and the next rule is tried.
    Mark(u32),
    /// Its connection gets this mark, and the next rule is tried.
    MarkConnection(u32),
    Drop,
}
