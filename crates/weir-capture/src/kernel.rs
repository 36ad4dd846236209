//! Gives rules to the kernel, by the tool that is there, in the network namespace of the calling thread.

use std::path::Path;

use crate::iptables::{self, Family};
use crate::programs::{Error, found, run};
use crate::ruleset::Capture;
use crate::{loopback, nft, routes};

/// What knows how to talk with the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tool {
    /// `nft`, which takes both families in one transaction.
    Nft,
    /// `iptables-restore` and `ip6tables-restore`, one transaction for each table.
    Iptables,
}

impl Tool {
    /// The programs that it consists of.
    fn programs(self) -> &'static [&'static str] {
        match self {
            Self::Nft => &["nft"],
            Self::Iptables => &["iptables-restore", "iptables-save"],
        }
    }

    /// Whether it is on this machine.
    fn is_here(self) -> bool {
        self.programs().iter().all(|program| found(program).is_some())
    }

    fn other(self) -> Self {
        match self {
            Self::Nft => Self::Iptables,
            Self::Iptables => Self::Nft,
        }
    }

    /// What of ours the kernel has by it, as text; nothing where it is not here.
    fn listed(self) -> Result<String, Error> {
        if !self.is_here() {
            return Ok(String::new());
        }
        match self {
            Self::Nft => {
                let tables = run("nft", &["list", "tables"], "")?;
                let is_there = tables.lines().any(|line| line.trim() == nft::TABLE);
                if is_there { run("nft", &nft::LIST, "") } else { Ok(String::new()) }
            }
            Self::Iptables => {
                let saved = families().into_iter().map(|programs| Ok(iptables::of_ours(&run(programs.save, &[], "")?)));
                saved.collect()
            }
        }
    }

    /// Takes that away; whether there was anything.
    fn remove(self) -> Result<bool, Error> {
        if self.listed()?.is_empty() {
            return Ok(false);
        }
        match self {
            Self::Nft => run("nft", &["-f", "-"], nft::REMOVE).map(drop)?,
            Self::Iptables => {
                for Programs { save, restore, .. } in families() {
                    let script = iptables::remove(&run(save, &[], "")?);
                    if !script.is_empty() {
                        run(restore, RESTORE, &script)?;
                    }
                }
            }
        }
        Ok(true)
    }
}

/// How the kernel's rules compare with those that are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// They are the same.
    Same,
    /// There are none.
    Absent,
    /// Something is missing, or is too much.
    Other {
        /// Lines that are wanted and not there.
        missing: Vec<String>,
        /// Lines that are there and not wanted.
        unwanted: Vec<String>,
    },
}

/// The kernel's rules, as a tool sets them.
#[derive(Debug, Clone, Copy)]
pub struct Kernel {
    tool: Tool,
}

impl Kernel {
    /// By this tool, or else by the better one that is here.
    ///
    /// # Errors
    /// If it is not here, or none is.
    pub fn by(tool: Option<Tool>) -> Result<Self, Error> {
        match tool {
            Some(tool) => match tool.programs().iter().find(|program| found(program).is_none()) {
                Some(missing) => Err(Error::NotHere((*missing).to_owned())),
                None => Ok(Self { tool }),
            },
            None => {
                let tool = [Tool::Nft, Tool::Iptables].into_iter().find(|tool| tool.is_here());
                Ok(Self { tool: tool.ok_or(Error::NoTool)? })
            }
        }
    }

    /// Makes these the rules, all at once, whatever of ours was there before. What the other tool had set goes after that.
    ///
    /// # Errors
    /// If the tool refuses: then nothing has changed, but for iptables, where the tables before the one that is refused have.
    pub fn install(self, capture: &Capture) -> Result<(), Error> {
        loopback::add()?;
        // Rules that need it never are without it: it comes before them, and goes after them.
        let is_new = capture.route.map(routes::add).transpose()?.unwrap_or(false);
        let installed = self.set(capture);
        if capture.route.is_none() && installed.is_ok() || is_new && installed.is_err() {
            routes::remove()?;
        }
        installed?;
        self.tool.other().remove().map(drop)
    }

    fn set(self, capture: &Capture) -> Result<(), Error> {
        match self.tool {
            Tool::Nft => run("nft", &["-f", "-"], &capture.nft()).map(drop),
            Tool::Iptables => families().into_iter().try_for_each(|programs| {
                let saved = run(programs.save, &[], "")?;
                run(programs.restore, RESTORE, &capture.iptables(programs.family, &saved)).map(drop)
            }),
        }
    }

    /// How the rules compare with these, whichever tool has set them. What they look like when the kernel has taken them is found out in a network namespace that is
    /// there for this alone.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn compare(self, capture: &Capture) -> Result<State, Error> {
        let wanted = match self.tool {
            Tool::Nft => aside("nft -f - && nft list table inet weir", &capture.nft())?,
            Tool::Iptables => {
                let taken = |Programs { family, save, restore }: Programs| {
                    let script = format!("{restore} --noflush && {save}");
                    Ok(iptables::of_ours(&aside(&script, &capture.iptables(family, ""))?))
                };
                families().into_iter().map(taken).collect::<Result<String, Error>>()?
            }
        };
        let address = |is_so| if is_so { loopback::LINE } else { "" };
        let there = self.tool.listed()? + &self.tool.other().listed()? + address(loopback::is_there()) + &routes::listed();
        Ok(difference(&there, &(wanted + address(loopback::is_wanted()) + &routes::written(capture.route))))
    }
}

/// Ends what was captured, whichever tool had done it; says whether there was anything.
///
/// # Errors
/// If a tool refuses.
pub fn remove() -> Result<bool, Error> {
    let (by_nft, by_iptables) = (Tool::Nft.remove()?, Tool::Iptables.remove()?);
    let (had_address, had_route) = (loopback::remove()?, routes::remove()?);
    Ok(by_nft || by_iptables || had_address || had_route)
}

/// Rules of others stay, and who else sets rules at this moment is waited for.
const RESTORE: &[&str] = &["--noflush", "--wait"];

/// The programs for a family.
struct Programs {
    family: Family,
    save: &'static str,
    restore: &'static str,
}

/// Those of the families that the kernel knows.
fn families() -> Vec<Programs> {
    let v4 = Programs { family: Family::V4, save: "iptables-save", restore: "iptables-restore" };
    let v6 = Programs { family: Family::V6, save: "ip6tables-save", restore: "ip6tables-restore" };
    let has_v6 = Path::new("/proc/net/if_inet6").exists();
    if has_v6 { vec![v4, v6] } else { vec![v4] }
}

fn difference(there: &str, wanted: &str) -> State {
    if there == wanted {
        return State::Same;
    }
    if there.is_empty() {
        return State::Absent;
    }
    let lacking = |lines: &str, of: &str| -> Vec<String> {
        let known: Vec<&str> = of.lines().collect();
        lines.lines().filter(|line| !known.contains(line)).map(|line| line.trim().to_owned()).collect()
    };
    State::Other { missing: lacking(wanted, there), unwanted: lacking(there, wanted) }
}

/// Runs a script of the shell's in a network namespace of its own.
fn aside(script: &str, input: &str) -> Result<String, Error> {
    run("unshare", &["-n", "sh", "-c", script], input)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_told_line_by_line() {
        let wanted = "table {\n\ta\n\tb\n}\n";
        assert_eq!(difference(wanted, wanted), State::Same);
        assert_eq!(difference("", wanted), State::Absent);
        let other = State::Other { missing: vec!["b".to_owned()], unwanted: vec!["c".to_owned()] };
        assert_eq!(difference("table {\n\ta\n\tc\n}\n", wanted), other);
    }
}
