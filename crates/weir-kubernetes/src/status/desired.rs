//! What the status of a resource is to say.

use weir_api::{Diagnostic, Severity};
use weir_pilot::Progress;

/// So many messages stand in a status, and so many characters in each and in a condition: a status is no log.
const MESSAGES: usize = 16;
const LENGTH: usize = 512;
/// Istio's code of what its schema or its rules forbid, and where that is described.
const REFUSED: (&str, &str) = ("IST0106", "https://istio.io/latest/docs/reference/config/analysis/ist0106/");
/// Ours of what is accepted, and to be said of.
const SAID: (&str, &str) = ("WEIR0001", "");

/// How a generation of a resource stands with the proxies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// All proxies have it that followed at that moment.
    InForce,
    /// Some do not have it yet.
    Pending,
    /// It is broken: the pilot sends nothing of it.
    Refused,
    /// There is no proxy that could have it.
    NoProxies,
}

impl State {
    /// The condition's `status` and `reason`.
    pub fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::InForce => ("True", "Acknowledged"),
            Self::Pending => ("False", "Pending"),
            Self::Refused => ("False", "Refused"),
            Self::NoProxies => ("Unknown", "NoProxies"),
        }
    }
}

/// The condition `weir.dev/InForce`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct InForce {
    pub state: State,
    pub message: String,
}

impl InForce {
    /// That of a resource which is in the configuration since this version of it. Of the proxies of others, so many have it of so many.
    pub fn by(progress: &Progress, since: u64, (others_having, others): (usize, usize)) -> Self {
        let (having, all) = (progress.having(since) + others_having, progress.proxies + others);
        if all == 0 {
            return Self { state: State::NoProxies, message: "no proxy follows a control plane".to_owned() };
        }
        if having == all {
            return Self { state: State::InForce, message: format!("acknowledged by {all} of {all} proxies") };
        }
        let mut message = format!("acknowledged by {having} of {all} proxies");
        if let Some((proxy, reason)) = progress.refusal() {
            message += &format!("; {proxy} refuses something of what it was sent: {reason}");
        }
        Self { state: State::Pending, message: shortened(&message) }
    }

    /// That of one that is broken, for the first of these reasons.
    pub fn refused(messages: &[Message], rest: &str) -> Self {
        let reason = messages.iter().find(|message| message.level == "ERROR").map_or("it cannot be read", |message| &message.text);
        Self { state: State::Refused, message: shortened(&format!("{rest}: {reason}")) }
    }
}

/// One of the `validationMessages`. There is no field for its words but the name of its type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    pub level: &'static str,
    pub code: &'static str,
    pub url: &'static str,
    pub text: String,
}

impl Message {
    /// The message of a finding about a resource, which itself is not named.
    fn of(finding: &Diagnostic) -> Self {
        let (level, (code, url)) = match finding.severity {
            Severity::Error => ("ERROR", REFUSED),
            Severity::Warning => ("WARNING", SAID),
            Severity::Info => ("INFO", SAID),
        };
        let path = if finding.path.0.is_empty() { String::new() } else { format!("{}: ", finding.path) };
        let help = finding.help.as_ref().map_or_else(String::new, |help| format!(" ({help})"));
        Self { level, code, url, text: shortened(&format!("{path}{}{help}", finding.message)) }
    }

    /// Those of all findings about one resource, the worst first.
    pub fn all(findings: &[&Diagnostic]) -> Vec<Self> {
        let mut sorted: Vec<&Diagnostic> = findings.to_vec();
        sorted.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        let mut messages: Vec<Self> = sorted.iter().take(MESSAGES).map(|finding| Self::of(finding)).collect();
        messages.dedup();
        if sorted.len() > MESSAGES {
            let text = format!("and {} more", sorted.len() - MESSAGES);
            messages.push(Self { level: "INFO", code: SAID.0, url: SAID.1, text });
        }
        messages
    }
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(LENGTH) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// All that the status of a generation is to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Desired {
    pub generation: i64,
    pub in_force: InForce,
    pub messages: Vec<Message>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resource_is_in_force_when_all_have_it() {
        let mut progress = Progress::default();
        let mut said = |proxy: Option<(u64, Option<&str>)>| {
            proxy.into_iter().for_each(|(answered, refused)| progress.add("p.shop", answered, refused));
            let InForce { state, message } = InForce::by(&progress, 3, (0, 0));
            (state, message)
        };
        assert_eq!(said(None).0, State::NoProxies);
        assert_eq!(said(Some((3, None))), (State::InForce, "acknowledged by 1 of 1 proxies".to_owned()));
        assert_eq!(said(Some((2, None))), (State::Pending, "acknowledged by 1 of 2 proxies".to_owned()));
        let refused = "acknowledged by 1 of 3 proxies; p.shop refuses something of what it was sent: no".to_owned();
        assert_eq!(said(Some((3, Some("no")))), (State::Pending, refused));
        let told = |others| InForce::by(&Progress::default(), 3, others);
        assert_eq!(told((2, 2)).state, State::InForce);
        assert_eq!(told((1, 2)).message, "acknowledged by 1 of 2 proxies");
    }

    #[test]
    fn messages_are_few_short_and_the_worst_first() {
        let many: Vec<Diagnostic> = (0..40).map(|index| Diagnostic::warning(format!("{index}"))).collect();
        let error = Diagnostic::error("ä".repeat(1000)).with_help("x");
        let all: Vec<&Diagnostic> = many.iter().chain([&error]).collect();
        let messages = Message::all(&all);
        assert_eq!((messages.len(), messages[0].level, messages[0].text.chars().count()), (MESSAGES + 1, "ERROR", LENGTH + 1));
        assert_eq!(messages[MESSAGES].text, "and 25 more");
        let refused = InForce::refused(&messages, "the last good version stays in force");
        assert!(refused.message.starts_with("the last good version stays in force: ää"), "{}", refused.message);
    }
}
