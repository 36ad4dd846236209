//! The envelope of what the API server asks a webhook, and of the answer: an AdmissionReview. What is asked about, and what is to be said of
//! it, is its reader's.
//!
//! Facts: <https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/>.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// The largest body that is read: twice what the API server takes, which may be twice what it keeps. As Istio's.
pub const LARGEST_BODY: usize = 6 * 1024 * 1024;
/// The one version of the review that is spoken.
const VERSION: &str = "admission.k8s.io/v1";
/// The API server shows no more characters of a warning,
const LONGEST_WARNING: usize = 256;
/// and of all of them no more than 4096.
const MOST_WARNINGS: usize = 16;

/// An answer to a call of a webhook.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The status of HTTP.
    pub status: u16,
    /// The body: an AdmissionReview, or where there can be none a sentence.
    pub body: String,
    /// What is to be logged: what became of it, and why.
    pub log: String,
    /// What became of what is asked about.
    pub end: End,
}

/// What becomes of what a webhook is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It is made as it is.
    Allowed,
    /// It is made with changes.
    Changed,
    /// It is not made.
    Refused,
    /// Nobody can tell what was asked.
    NotUnderstood,
}

impl Answer {
    /// There is nothing to answer to but that.
    pub fn not_understood(status: u16, reason: &str) -> Self {
        Self { status, body: reason.to_owned() + "\n", log: reason.to_owned(), end: End::NotUnderstood }
    }
}

/// What a webhook has to say of a request.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Verdict {
    /// Why it is refused, if it is.
    pub refusal: Option<String>,
    /// How what it makes is changed, as a JSON Patch.
    pub patch: Option<Value>,
    /// What whoever asks the API server is told besides; each is cut to what that shows.
    pub warnings: Vec<String>,
    /// What is to be logged.
    pub log: String,
}

/// What the API server asks about.
#[derive(Debug, Clone, PartialEq)]
pub struct Review {
    uid: String,
    /// The AdmissionRequest.
    pub request: Value,
}

impl Review {
    /// Reads a call.
    ///
    /// # Errors
    /// The answer, if it is no review.
    pub fn read(content_type: Option<&str>, body: &[u8]) -> Result<Self, Answer> {
        let essence = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
        if !essence.eq_ignore_ascii_case("application/json") {
            return Err(Answer::not_understood(415, "a review comes as application/json"));
        }
        if body.len() > LARGEST_BODY {
            return Err(Answer::not_understood(413, &format!("a review has at most {LARGEST_BODY} bytes")));
        }
        let mut review: Value =
            serde_json::from_slice(body).map_err(|error| Answer::not_understood(400, &format!("the body is no JSON: {error}")))?;
        let version = review["apiVersion"].as_str().unwrap_or_default();
        if (version, review["kind"].as_str()) != (VERSION, Some("AdmissionReview")) {
            let found = format!("{version:?}, {}", review["kind"]);
            return Err(Answer::not_understood(400, &format!("the body is no AdmissionReview of {VERSION}, but {found}")));
        }
        // Without it nobody could tell which request is answered.
        let uid = review["request"]["uid"].as_str().filter(|uid| !uid.is_empty()).map(str::to_owned);
        let uid = uid.ok_or_else(|| Answer::not_understood(400, "the AdmissionReview has no request with a uid"))?;
        Ok(Self { uid, request: review["request"].take() })
    }

    /// A field of the request that is a word; empty if it is none.
    pub fn word(&self, field: &str) -> &str {
        self.request[field].as_str().unwrap_or_default()
    }

    /// The answer.
    pub fn answer(&self, verdict: Verdict) -> Answer {
        let Verdict { refusal, patch, warnings, log } = verdict;
        let mut response = json!({"uid": self.uid, "allowed": refusal.is_none()});
        let end = match (&refusal, &patch) {
            (Some(_), _) => End::Refused,
            (None, Some(_)) => End::Changed,
            (None, None) => End::Allowed,
        };
        if let Some(patch) = patch {
            response["patchType"] = "JSONPatch".into();
            response["patch"] = STANDARD.encode(patch.to_string()).into();
        }
        if !warnings.is_empty() {
            response["warnings"] = warnings.iter().take(MOST_WARNINGS).map(|text| shorten(text)).collect::<Vec<_>>().into();
        }
        if let Some(reason) = refusal {
            response["status"] = json!({"status": "Failure", "message": reason, "reason": "Invalid", "code": 422});
        }
        let answer = json!({"apiVersion": VERSION, "kind": "AdmissionReview", "response": response});
        Answer { status: 200, body: answer.to_string(), log, end }
    }
}

/// A warning as the API server passes it on: in one line, and no longer than it shows.
fn shorten(text: &str) -> String {
    let line: String = text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    match line.char_indices().nth(LONGEST_WARNING) {
        Some(_) => line.chars().take(LONGEST_WARNING - 1).chain(['…']).collect(),
        None => line,
    }
}
