//! The program's own code in memory.
//!
//! Of what a program executes when it starts (arguments, configuration, certificates) it needs little again. The system brings 64 KiB
//! for each place that is touched, and takes them back only when memory is short; until then they count as the process's own.

use std::fs;

/// Gives back the pages that hold this program's code. What is executed again comes back page by page, from memory as long as the
/// system keeps the file there. Does nothing where the system is not Linux, or does not say where code is.
#[cfg(target_os = "linux")]
#[allow(unsafe_code, reason = "the system is told about addresses")]
pub fn give_back() {
    use rustix::mm::{Advice, madvise};

    let Ok(own) = fs::read_link("/proc/self/exe") else { return };
    let Ok(maps) = fs::read_to_string("/proc/self/maps") else { return };
    for (start, len) in executable(&maps, &own.to_string_lossy()) {
        // SAFETY: these pages are mapped from the program's file, and are read and executed, never written: their contents come
        // back unchanged when they are touched, by whichever thread. A file that is executed cannot be written to.
        let _ = unsafe { madvise(std::ptr::with_exposed_provenance_mut(start), len, Advice::LinuxDontNeed) };
    }
}

/// The same where the system has no such thing.
#[cfg(not(target_os = "linux"))]
pub fn give_back() {}

/// Where a file's code is mapped, by `/proc/self/maps`: from where, and how many bytes. Only what nobody can have written to.
#[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "only asked there"))]
fn executable(maps: &str, file: &str) -> Vec<(usize, usize)> {
    let range = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let (range, rights) = (words.next()?, words.next()?);
        // Offset, device and inode stand before the path.
        let path = words.nth(3)?;
        let (start, end) = range.split_once('-')?;
        let (start, end) = (usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?);
        (rights == "r-xp" && path == file).then_some((start, end.checked_sub(start)?))
    };
    maps.lines().filter_map(range).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_of_the_file_is_named() {
        let maps = "55a000-55b000 r--p 00000000 fe:00 123  /usr/bin/weir\n\
                    55b000-55f000 r-xp 00001000 fe:00 123  /usr/bin/weir\n\
                    55f000-561000 rw-p 00005000 fe:00 123  /usr/bin/weir\n\
                    7f0000-7f1000 r-xp 00000000 fe:00 124  /usr/lib/libc.so.6\n\
                    7f2000-7f3000 rwxp 00000000 fe:00 123  /usr/bin/weir\n\
                    7f4000-7f5000 r-xp 00000000 00:00 0    [vdso]\n\
                    7f6000-7f7000 rw-p 00000000 00:00 0 \n\
                    nonsense\n";
        assert_eq!(executable(maps, "/usr/bin/weir"), [(0x55_b000, 0x4000)]);
        assert_eq!(executable(maps, "/usr/bin/other"), []);
    }

    #[test]
    fn code_that_was_given_back_is_executed_all_the_same() {
        for _ in 0..3 {
            give_back();
            assert_eq!((1..=10_u64).map(|number| number.to_string().len()).sum::<usize>(), 11);
        }
    }
}
