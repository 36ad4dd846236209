//! What a process holds in memory, by what it is, as the system tells it in `/proc/PID/smaps`.

use std::fs;
use std::path::Path;

use anyhow::Context;

/// In KiB, what is resident.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Resident {
    /// Instructions of the program's file that were read in, with what lies around them.
    pub code: u64,
    /// What else of the file is as it was linked.
    pub constants: u64,
    /// What of the file was written to: statics, and constants that hold addresses.
    pub written: u64,
    /// Files of others: the C library.
    pub libraries: u64,
    /// What was allocated, and what the allocator keeps.
    pub heap: u64,
    pub stacks: u64,
    /// Of all this, what lies in huge pages.
    pub huge: u64,
}

/// A mapping of the process.
#[derive(Debug, Default)]
struct Mapping {
    from: u64,
    to: u64,
    permissions: String,
    name: String,
    resident: u64,
    anonymous: u64,
    huge: u64,
}

impl Resident {
    /// Of a process that runs this program.
    ///
    /// # Errors
    /// If there is no such process.
    pub fn of(process: u32, program: &Path) -> anyhow::Result<Self> {
        let text = fs::read_to_string(format!("/proc/{process}/smaps")).context("the system does not tell the mappings")?;
        Ok(Self::parse(&text, &program.display().to_string()))
    }

    /// All of it.
    pub fn total(&self) -> u64 {
        self.code + self.constants + self.libraries + self.anonymous()
    }

    /// What no file holds.
    pub fn anonymous(&self) -> u64 {
        self.written + self.heap + self.stacks
    }

    fn parse(smaps: &str, program: &str) -> Self {
        let mut all = Self::default();
        let mut guard = None;
        for mapping in mappings(smaps) {
            all.huge += mapping.huge;
            // A thread's stack lies above a page that nobody may touch.
            let is_stack = mapping.name == "[stack]" || (mapping.name.is_empty() && guard == Some(mapping.from));
            guard = mapping.permissions.starts_with("---").then_some(mapping.to);
            let of_file = mapping.resident.saturating_sub(mapping.anonymous);
            let place = match mapping.name.as_str() {
                _ if is_stack => &mut all.stacks,
                name if name == program => {
                    all.written += mapping.anonymous;
                    *(if mapping.permissions.contains('x') { &mut all.code } else { &mut all.constants }) += of_file;
                    continue;
                }
                name if name.starts_with('/') => {
                    all.written += mapping.anonymous;
                    all.libraries += of_file;
                    continue;
                }
                // The kernel's own, which every process has.
                "[vdso]" | "[vvar]" => &mut all.libraries,
                _ => &mut all.heap,
            };
            *place += mapping.resident;
        }
        all
    }
}

fn mappings(smaps: &str) -> Vec<Mapping> {
    let mut mappings: Vec<Mapping> = vec![];
    for line in smaps.lines() {
        if let Some(mapping) = head(line) {
            mappings.push(mapping);
        } else if let (Some(mapping), Some((key, value))) = (mappings.last_mut(), line.split_once(':')) {
            let number = || value.trim().trim_end_matches(" kB").parse().unwrap_or_default();
            match key {
                "Rss" => mapping.resident = number(),
                "Anonymous" => mapping.anonymous = number(),
                "AnonHugePages" => mapping.huge = number(),
                _ => {}
            }
        }
    }
    mappings
}

/// `FROM-TO PERMISSIONS OFFSET DEVICE INODE NAME`
fn head(line: &str) -> Option<Mapping> {
    let mut words = line.split_whitespace();
    let (from, to) = words.next()?.split_once('-')?;
    let (from, to) = (u64::from_str_radix(from, 16).ok()?, u64::from_str_radix(to, 16).ok()?);
    let permissions = words.next()?.to_owned();
    let name = words.nth(3).unwrap_or_default().to_owned();
    Some(Mapping { from, to, permissions, name, ..Default::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mapping_counts_as_what_it_is() {
        let entry =
            |head: &str, resident: u64, anonymous: u64| format!("{head}\nSize: 9 kB\nRss: {resident} kB\nAnonymous: {anonymous} kB\n");
        let smaps = [
            entry("10000-20000 rw-p 00000000 00:00 0", 700, 700) + "AnonHugePages: 512 kB\n",
            entry("55000-56000 r--p 00000000 08:01 7   /bin/weir", 100, 0),
            entry("56000-57000 r-xp 00000000 08:01 7   /bin/weir", 900, 0),
            entry("57000-58000 rw-p 00000000 08:01 7   /bin/weir", 50, 40),
            entry("70000-71000 ---p 00000000 00:00 0", 0, 0),
            entry("71000-72000 rw-p 00000000 00:00 0", 20, 20),
            entry("72000-73000 rw-p 00000000 00:00 0", 5, 5),
            entry("7f000-7f100 r-xp 00000000 08:01 8   /lib/libc.so.6", 300, 0),
            entry("7ff00-7ff10 rw-p 00000000 00:00 0   [stack]", 30, 30),
        ];
        let all = Resident::parse(&smaps.concat(), "/bin/weir");
        let expected = Resident { code: 900, constants: 110, written: 40, libraries: 300, heap: 705, stacks: 50, huge: 512 };
        assert_eq!(all, expected);
        assert_eq!((all.total(), all.anonymous()), (2105, 795));
    }
}
