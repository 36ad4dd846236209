//! Things that a person may try with a running sample.

use std::fmt;

/// One thing to try: what it shows, and the command that does it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suggestion {
    /// One sentence for a person.
    pub sentence: &'static str,
    /// What to type into a shell, possibly several lines.
    pub command: String,
}

impl fmt::Display for Suggestion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n", self.sentence)?;
        self.command.lines().try_for_each(|line| writeln!(f, "{line}"))
    }
}

/// A suggestion for files in `dir`: each `DIR/` of the command becomes that folder, quoted if the shell needs it.
pub(crate) fn suggest(dir: &str, sentence: &'static str, command: &str) -> Suggestion {
    let dir = dir.strip_suffix('/').filter(|dir| !dir.is_empty()).unwrap_or(dir);
    let command = command.trim_end().replace("DIR/", &format!("{}/", shell_quoted(dir)));
    Suggestion { sentence, command }
}

fn shell_quoted(text: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "/._-+:@%,".contains(c);
    if !text.is_empty() && text.chars().all(plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_is_quoted_if_it_must_be() {
        assert_eq!(suggest("/tmp/weir", "", "ls DIR/a.yaml").command, "ls /tmp/weir/a.yaml");
        assert_eq!(suggest("./mesh/", "", "ls DIR/a.yaml").command, "ls ./mesh/a.yaml");
        assert_eq!(suggest("my mesh", "", "ls DIR/a.yaml").command, "ls 'my mesh'/a.yaml");
        assert_eq!(suggest("it's", "", "ls DIR/a.yaml").command, r"ls 'it'\''s'/a.yaml");
    }
}
