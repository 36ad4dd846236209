//! Why an exchange failed: who failed, at which step, and what had been sent by then.
//!
//! Everything that follows from a failure follows from this type and from nothing else: the status and body that the client
//! gets, Envoy's response flag and details for the log, whether it is tried again, and what the instance is charged with.

use std::borrow::Cow;

use bytes::Bytes;
use http::StatusCode;
use weir_config::flags::ResponseFlags;
use weir_routing::retry::RetryOn;

use crate::stats::cluster::WorkerClusterStats;
use crate::tls::refusal;

/// Who failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Party {
    /// The client: nobody else is charged with it.
    Client,
    /// The instance.
    Instance,
    /// The network, or the name service.
    Network,
    /// This proxy, by a limit of its configuration.
    Ourselves,
}

/// At which step an exchange failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Before the head of an answer was there.
    Request,
    /// While an answer streamed.
    Answer,
}

/// Why an exchange failed.
#[derive(Debug)]
pub struct Failure {
    /// What happened.
    pub kind: FailureKind,
    /// When.
    pub step: Step,
    /// Whether any of the request had gone out to an instance.
    pub sent: bool,
}

/// What happened.
#[derive(Debug)]
pub enum FailureKind {
    /// The cluster has no instance to choose.
    NoInstance,
    /// The host that the request names was not found.
    Unresolved,
    /// A limit of the cluster is reached.
    Overflow,
    /// No connection could be made.
    Connect(ConnectError),
    /// The instance's connection ended.
    Closed,
    /// The instance reset the stream.
    Reset,
    /// The instance refused the stream, so it has done nothing with it.
    RefusedStream,
    /// The instance does not speak the protocol.
    Protocol,
    /// A limit of time was reached.
    Expired(Expired),
    /// The client's request breaks off.
    ClientGone,
    /// The client's request turned out not to be HTTP after its head was fine.
    ClientMalformed,
    /// The trailers of the client's request are larger than they may be.
    ClientTooLarge,
    /// A filter does not let the client's body pass.
    Refused(Refused),
    /// The request cannot be said in the protocol that the instance speaks.
    Unsendable,
}

/// Why a client's body is refused while it passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// Envoy's words for the log.
    pub details: &'static str,
    /// What the client is told.
    pub body: &'static str,
}

/// Why a connection could not be made.
#[derive(Debug)]
pub enum ConnectError {
    /// The other side, or the system, refused.
    Refused(std::io::Error),
    /// The handshake of TLS failed.
    Handshake(std::io::Error),
    /// It took longer than the cluster's connect timeout.
    TimedOut,
    /// It failed for somebody else who had waited for the same connection.
    Elsewhere,
}

impl ConnectError {
    /// The reason as an access log shows it: in one word.
    pub fn logged(&self) -> String {
        self.reason().replace(' ', "_")
    }

    /// The reason, in Envoy's words, so that people find them.
    pub fn reason(&self) -> String {
        match self {
            Self::Refused(error) => format!("delayed connect error: {}", strip_os_error(&error.to_string())),
            Self::Handshake(error) => refusal::reason(error),
            Self::TimedOut => "connection timeout".to_owned(),
            Self::Elsewhere => "delayed connect error".to_owned(),
        }
    }
}

/// `Connection refused (os error 111)` without what only a programmer wants.
fn strip_os_error(text: &str) -> &str {
    text.split(" (os error").next().unwrap_or(text)
}

/// Which limit of time was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expired {
    /// The answer took too long after the request was complete.
    Timeout,
    /// One attempt took too long.
    Attempt,
    /// One attempt brought nothing for too long.
    AttemptIdle,
    /// Nothing was sent either way; and whether the request had come to its end.
    Idle(bool),
    /// It lasted too long in all; and whether the request had come to its end.
    Duration(bool),
    /// The request did not come to its end.
    Request,
}

/// What an instance is charged with, or credited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// An answer with this status.
    Status(u16),
    /// No answer.
    Failed,
    /// No answer in time.
    TimedOut,
}

/// What the client and the log are told.
#[derive(Debug, PartialEq, Eq)]
pub struct Told {
    /// The status of the answer, if it has not begun.
    pub status: StatusCode,
    /// Envoy's flag.
    pub flag: ResponseFlags,
    /// Envoy's words for the log.
    pub details: Cow<'static, str>,
    /// The body of the answer.
    pub body: Bytes,
}

impl From<FailureKind> for Failure {
    /// Before anything was sent.
    fn from(kind: FailureKind) -> Self {
        Self { kind, step: Step::Request, sent: false }
    }
}

impl Failure {
    /// After the request, or a part of it, had gone out.
    pub fn after_sending(kind: FailureKind) -> Self {
        Self { kind, step: Step::Request, sent: true }
    }

    /// While an answer streamed.
    pub fn of_answer(kind: FailureKind) -> Self {
        Self { kind, step: Step::Answer, sent: true }
    }

    /// Who failed.
    pub fn party(&self) -> Party {
        match &self.kind {
            FailureKind::ClientGone | FailureKind::ClientMalformed | FailureKind::ClientTooLarge => Party::Client,
            FailureKind::Refused(_) | FailureKind::Unsendable => Party::Client,
            FailureKind::Expired(Expired::Request | Expired::Idle(false) | Expired::Duration(false)) => Party::Client,
            FailureKind::NoInstance | FailureKind::Overflow => Party::Ourselves,
            FailureKind::Unresolved | FailureKind::Connect(ConnectError::Elsewhere) => Party::Network,
            FailureKind::Connect(_) | FailureKind::Closed | FailureKind::Reset => Party::Instance,
            FailureKind::RefusedStream | FailureKind::Protocol | FailureKind::Expired(_) => Party::Instance,
        }
    }

    /// What the instance is charged with; nothing where it is not its fault, or where nobody knows whose.
    pub fn outcome(&self) -> Option<Outcome> {
        if self.party() != Party::Instance {
            return None;
        }
        match &self.kind {
            FailureKind::Expired(Expired::Timeout | Expired::Attempt | Expired::AttemptIdle) => Some(Outcome::TimedOut),
            // How long a stream may be silent or last is up to both sides.
            FailureKind::Expired(_) => None,
            _ => Some(Outcome::Failed),
        }
    }

    /// The words of `retry_on` of which any makes another attempt.
    pub fn retried_by(&self) -> RetryOn {
        let any_reset = RetryOn::SERVER_ERROR.and(RetryOn::GATEWAY_ERROR).and(RetryOn::RESET);
        match &self.kind {
            _ if self.step == Step::Answer => RetryOn::default(),
            FailureKind::Connect(_) => any_reset.and(RetryOn::CONNECT_FAILURE).and(RetryOn::RESET_BEFORE_REQUEST),
            FailureKind::RefusedStream => any_reset.and(RetryOn::REFUSED_STREAM),
            FailureKind::Closed | FailureKind::Reset | FailureKind::Protocol if !self.sent => any_reset.and(RetryOn::RESET_BEFORE_REQUEST),
            FailureKind::Closed | FailureKind::Reset | FailureKind::Protocol => any_reset,
            FailureKind::Expired(Expired::Attempt | Expired::AttemptIdle) => any_reset,
            FailureKind::NoInstance | FailureKind::Unresolved | FailureKind::Overflow | FailureKind::Expired(_) => RetryOn::default(),
            FailureKind::ClientGone | FailureKind::ClientMalformed | FailureKind::ClientTooLarge => RetryOn::default(),
            FailureKind::Refused(_) | FailureKind::Unsendable => RetryOn::default(),
        }
    }

    /// What the client and the log are told. `retried` says that it is not the first attempt.
    pub fn told(&self, retried: bool) -> Told {
        match &self.kind {
            FailureKind::NoInstance => told(503, ResponseFlags::NO_HEALTHY_UPSTREAM, "no_healthy_upstream", "no healthy upstream"),
            FailureKind::Unresolved => told(503, ResponseFlags::DNS_FAILURE, "dns_resolution_failure", "DNS resolution failure"),
            FailureKind::Overflow => self.reset(503, ResponseFlags::UPSTREAM_OVERFLOW, "overflow", retried),
            FailureKind::Connect(ConnectError::TimedOut) => {
                self.reset(503, ResponseFlags::UPSTREAM_CONNECTION_FAILURE, "connection timeout", retried)
            }
            FailureKind::Connect(error) => {
                let reason = "remote connection failure";
                let told = self.reset(503, ResponseFlags::UPSTREAM_CONNECTION_FAILURE, reason, retried);
                let why = error.logged();
                Told { details: format!("upstream_reset_before_response_started{{remote_connection_failure|{why}}}").into(), ..told }
            }
            FailureKind::Closed => self.reset(503, ResponseFlags::UPSTREAM_TERMINATED, "connection termination", retried),
            FailureKind::Reset => self.reset(503, ResponseFlags::UPSTREAM_RESET, "remote reset", retried),
            FailureKind::RefusedStream => self.reset(503, ResponseFlags::UPSTREAM_RESET, "remote refused stream reset", retried),
            FailureKind::Protocol => self.reset(502, ResponseFlags::UPSTREAM_PROTOCOL_ERROR, "protocol error", retried),
            FailureKind::Expired(expired) => expired.told(),
            FailureKind::ClientGone => told(400, ResponseFlags::DOWNSTREAM_TERMINATED, "downstream_remote_disconnect", ""),
            FailureKind::ClientMalformed => told(400, ResponseFlags::DOWNSTREAM_PROTOCOL_ERROR, "http1.codec_error", "Bad Request"),
            FailureKind::ClientTooLarge => {
                let body = "Request Header Fields Too Large";
                told(431, ResponseFlags::DOWNSTREAM_PROTOCOL_ERROR, "http1.trailers_too_large", body)
            }
            FailureKind::Refused(refused) => told(400, ResponseFlags::default(), refused.details, refused.body),
            FailureKind::Unsendable => told(400, ResponseFlags::default(), "invalid_header", ""),
        }
    }

    /// What is told of a stream that was reset.
    fn reset(&self, status: u16, flag: ResponseFlags, reason: &str, retried: bool) -> Told {
        let words = reason.replace(' ', "_");
        let when = match self.step {
            Step::Request => "before",
            Step::Answer => "after",
        };
        let details = format!("upstream_reset_{when}_response_started{{{words}}}");
        let how = if retried { "retried and the latest reset reason" } else { "reset reason" };
        let body = format!("upstream connect error or disconnect/reset before headers. {how}: {reason}");
        Told { status: code(status), flag, details: details.into(), body: body.into() }
    }
}

impl Expired {
    /// Counts what is a cluster's matter.
    pub fn count(self, stats: &WorkerClusterStats) {
        match self {
            Self::Timeout => stats.rq_timeout.add(1),
            Self::Attempt => stats.rq_per_try_timeout.add(1),
            Self::AttemptIdle => stats.rq_per_try_idle_timeout.add(1),
            Self::Idle(_) | Self::Duration(_) | Self::Request => {}
        }
    }

    fn told(self) -> Told {
        let slow = |complete: bool| if complete { 504 } else { 408 };
        match self {
            Self::Timeout => told(504, ResponseFlags::UPSTREAM_TIMEOUT, "response_timeout", "upstream request timeout"),
            Self::Attempt => told(504, ResponseFlags::UPSTREAM_TIMEOUT, "upstream_per_try_timeout", "upstream request timeout"),
            Self::AttemptIdle => told(504, ResponseFlags::UPSTREAM_TIMEOUT, "upstream_per_try_idle_timeout", "upstream request timeout"),
            Self::Idle(complete) => told(slow(complete), ResponseFlags::STREAM_IDLE_TIMEOUT, "stream_idle_timeout", "stream timeout"),
            Self::Duration(complete) => {
                // Envoy has a flag for connections that last too long, and none for this.
                told(slow(complete), ResponseFlags::default(), "max_duration_timeout", "downstream duration timeout")
            }
            Self::Request => told(408, ResponseFlags::default(), "request_overall_timeout", "request timeout"),
        }
    }
}

fn told(status: u16, flag: ResponseFlags, details: &'static str, body: &'static str) -> Told {
    Told { status: code(status), flag, details: details.into(), body: Bytes::from_static(body.as_bytes()) }
}

fn code(status: u16) -> StatusCode {
    StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_does_is_charged_to_no_instance_and_not_tried_again() {
        let of_client = [FailureKind::ClientGone, FailureKind::ClientMalformed, FailureKind::ClientTooLarge, FailureKind::Unsendable];
        let slow = [Expired::Request, Expired::Idle(false), Expired::Duration(false)].map(FailureKind::Expired);
        for kind in of_client.into_iter().chain(slow) {
            let failure = Failure::after_sending(kind);
            assert_eq!((failure.party(), failure.outcome(), failure.retried_by()), (Party::Client, None, RetryOn::default()));
            assert!(failure.told(false).status.is_client_error(), "{failure:?}");
        }
    }

    #[test]
    fn what_an_instance_does_is_charged_to_it() {
        let cases = [
            (FailureKind::Connect(ConnectError::TimedOut), Outcome::Failed, 503),
            (FailureKind::Closed, Outcome::Failed, 503),
            (FailureKind::Reset, Outcome::Failed, 503),
            (FailureKind::Protocol, Outcome::Failed, 502),
            (FailureKind::Expired(Expired::Attempt), Outcome::TimedOut, 504),
            (FailureKind::Expired(Expired::Timeout), Outcome::TimedOut, 504),
        ];
        for (kind, outcome, status) in cases {
            let failure = Failure::after_sending(kind);
            assert_eq!((failure.outcome(), failure.told(false).status.as_u16()), (Some(outcome), status), "{failure:?}");
        }
    }

    #[test]
    fn the_words_are_envoys() {
        let told = |failure: Failure, retried| (failure.told(retried).details.into_owned(), failure.told(retried).body);
        let (details, body) = told(Failure::after_sending(FailureKind::Closed), true);
        assert_eq!(details, "upstream_reset_before_response_started{connection_termination}");
        assert!(body.ends_with(b"retried and the latest reset reason: connection termination"), "{body:?}");
        let (details, _) = told(Failure::of_answer(FailureKind::Reset), false);
        assert_eq!(details, "upstream_reset_after_response_started{remote_reset}");
        let refused = std::io::Error::from_raw_os_error(111);
        let (details, _) = told(FailureKind::Connect(ConnectError::Refused(refused)).into(), false);
        assert_eq!(details, "upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}");
    }
}
