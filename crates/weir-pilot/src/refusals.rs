//! Who is refused: counted, and told in the log, but not so often that whoever tries again and again fills a disk.

use std::fmt::{Display, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tonic::Status;

/// Refusals of one kind are logged so often.
const QUIET: Duration = Duration::from_secs(10);
/// So many characters of a reason are told.
const LONGEST: usize = 512;

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Count {
    /// Certificates were asked for.
    Requests,
    /// One was issued.
    Issued,
    /// Who asks does not show who he is.
    NotKnown,
    /// The mesh does not know whom he says he is, or that is nobody whom a certificate could be for.
    NoIdentity,
    /// What is asked is not a request by who has its key.
    NoRequest,
    /// It could not be signed.
    NotSigned,
    /// An xDS stream came from another machine in plain text.
    FromElsewhere,
    /// One came of a node that is none of a mesh's, or contradicts itself.
    WrongNode,
    /// One came of somebody who has shown nothing that holds.
    WrongCredential,
    /// One came of a node that is not of who has come.
    WrongIdentity,
    /// A handshake of TLS failed.
    Handshake,
}

/// All of them: the name of the statistic, Istio's where it has one, and its labels.
const NAMES: [(&str, &str, Count); 11] = [
    ("citadel_server_csr_count", "", Count::Requests),
    ("citadel_server_success_cert_issuance_count", "", Count::Issued),
    ("citadel_server_authentication_failure_count", "", Count::NotKnown),
    ("citadel_server_id_extraction_err_count", "", Count::NoIdentity),
    ("citadel_server_csr_parsing_err_count", "", Count::NoRequest),
    ("citadel_server_csr_sign_err_count", "", Count::NotSigned),
    ("weir_xds_refused_streams_total", "{reason=\"another machine\"}", Count::FromElsewhere),
    ("weir_xds_refused_streams_total", "{reason=\"node\"}", Count::WrongNode),
    ("weir_xds_refused_streams_total", "{reason=\"credential\"}", Count::WrongCredential),
    ("weir_xds_refused_streams_total", "{reason=\"identity\"}", Count::WrongIdentity),
    ("weir_xds_failed_handshakes_total", "", Count::Handshake),
];

/// Something that is refused: what is counted of that, and what is answered.
#[derive(Debug)]
pub(crate) struct Refused {
    pub count: Count,
    pub status: Status,
}

impl Refused {
    pub fn new(count: Count, status: Status) -> Self {
        Self { count, status }
    }
}

/// When refusals were told of last, and how many were not told of since.
type Told = (Option<Instant>, u64);

/// What was refused, and what was not.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    counted: [AtomicU64; NAMES.len()],
    certificates: Mutex<Told>,
    streams: Mutex<Told>,
    handshakes: Mutex<Told>,
}

impl Refusals {
    /// Counts one more.
    pub fn count(&self, count: Count) {
        if let Some(counter) = self.counted.get(count as usize) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Tells of somebody who gets no certificate.
    pub fn tell_no_certificate(&self, who: impl Display, reason: &str) {
        if let Some(not_told) = may_tell(&self.certificates, Instant::now()) {
            tracing::warn!(not_told, "no certificate is issued to {who}: {reason}");
        }
    }

    /// Counts an xDS stream that is refused, and tells of it.
    pub fn refuse_stream(&self, count: Count, reason: &str) {
        self.count(count);
        if let Some(not_told) = may_tell(&self.streams, Instant::now()) {
            // A node wrote parts of that: the line is no longer for it.
            let reason: String = reason.chars().filter(|letter| !letter.is_control()).take(LONGEST).collect();
            tracing::warn!(not_told, "an xDS stream is refused: {reason}");
        }
    }

    /// Counts a handshake that failed, and tells of it.
    pub fn failed_handshake(&self, peer: impl Display, reason: impl Display) {
        self.count(Count::Handshake);
        if let Some(not_told) = may_tell(&self.handshakes, Instant::now()) {
            tracing::info!(not_told, "a proxy of another machine cannot connect: {peer}: {reason}");
        }
    }

    /// The statistics, as Prometheus reads them; with them, how many policies are refused.
    pub fn statistics(&self, policies: usize) -> String {
        let mut text = String::new();
        let mut last = "";
        for ((name, labels, _), counter) in NAMES.iter().zip(&self.counted) {
            if *name != last {
                let _ = writeln!(text, "# TYPE {name} counter");
            }
            last = name;
            let _ = writeln!(text, "{name}{labels} {}", counter.load(Ordering::Relaxed));
        }
        let _ = writeln!(text, "# TYPE weir_refused_policies gauge\nweir_refused_policies {policies}");
        text
    }
}

/// Whether to tell of one more, and of how many nobody was told meanwhile.
fn may_tell(told: &Mutex<Told>, now: Instant) -> Option<u64> {
    let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
    let (last, untold) = *told;
    let tells = last.is_none_or(|last| now.duration_since(last) >= QUIET);
    *told = if tells { (Some(now), 0) } else { (last, untold + 1) };
    tells.then_some(untold)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_counted_under_its_name() {
        let refusals = Refusals::default();
        for (at, (_, _, count)) in NAMES.iter().enumerate() {
            assert_eq!(*count as usize, at);
            (0..=at).for_each(|_| refusals.count(*count));
        }
        let text = refusals.statistics(3);
        assert!(text.contains("citadel_server_csr_count 1\n") && text.contains("reason=\"node\"} 8\n"), "{text}");
        let names: std::collections::BTreeSet<&str> = NAMES.iter().map(|(name, ..)| *name).collect();
        assert_eq!(text.matches("# TYPE").count(), names.len() + 1, "each name once, and the gauge: {text}");
        assert!(text.ends_with("weir_refused_policies 3\n"));
    }

    #[test]
    fn who_tries_again_and_again_is_told_of_now_and_then() {
        let (told, start) = (Mutex::default(), Instant::now());
        let at = |seconds| may_tell(&told, start + Duration::from_secs(seconds));
        assert_eq!([at(0), at(1), at(9), at(10), at(11), at(30)], [Some(0), None, None, Some(2), None, Some(1)]);
    }
}
