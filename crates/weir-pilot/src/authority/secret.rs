//! By what a process shows that it is of the pilot's user: a secret that only this user can read.
//!
//! It goes over no connection. Who asks for a certificate proves by it that he knows it, and so does who answers: a port of this
//! machine is anybody's who comes first, and an address of it says nothing of who is there.

use std::io;
use std::path::{Path, PathBuf};

use aws_lc_rs::hmac;
use weir_ads::certificates::{IstioCertificateRequest, IstioCertificateResponse};
use weir_xds::prost_types::value::Kind;
use weir_xds::values::text;

use super::{AuthorityError, private};

/// Where it is, in the folder of what is kept.
const FILE: &str = "caller-secret";
const REQUEST: &[u8] = b"weir request";
const ANSWER: &[u8] = b"weir answer";
/// Where a request's metadata has what no other request has.
const NONCE: &str = "weir.nonce";

/// The secret.
#[derive(Debug)]
pub struct Secret(hmac::Key);

impl Secret {
    /// The one that is kept in a folder; made, if there is none yet.
    ///
    /// # Errors
    /// If the folder is not ours alone to write to, or the file not ours alone to read.
    pub fn kept_in(state: &Path) -> Result<Self, AuthorityError> {
        private::folder(state)?;
        let _locked = private::lock(state)?;
        let path = file(state);
        let failed = |error| AuthorityError::File(path.clone(), error);
        if !path.try_exists().map_err(failed)? {
            let made = private::random_hex::<32>().and_then(|secret| private::put_new(&path, secret.as_bytes()));
            made.map_err(failed)?;
        }
        Self::read(state)
    }

    /// The one that a pilot of this user keeps in a folder.
    ///
    /// # Errors
    /// If there is none, or others may read it.
    pub fn read(state: &Path) -> Result<Self, AuthorityError> {
        let text = private::read(&file(state))?;
        if text.trim().len() < 64 {
            return Err(AuthorityError::Unusable(file(state), "it is not a secret: remove it, the pilot makes another".to_owned()));
        }
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, text.trim().as_bytes())))
    }

    /// A request with the proof that who asks knows the secret. An answer to it is one to no other request, not even to the same
    /// question.
    ///
    /// # Errors
    /// If the system has no randomness.
    pub fn sign_request(&self, request: IstioCertificateRequest) -> io::Result<IstioCertificateRequest> {
        let request = with_nonce(request, &private::random_hex::<16>()?);
        let proof = hex(hmac::sign(&self.0, &of_request(&request)).as_ref());
        Ok(request.with_proof(&proof))
    }

    /// Whether who asks knows the secret.
    pub(super) fn vouches_for_request(&self, request: &IstioCertificateRequest) -> bool {
        request.proof().is_some_and(|proof| self.holds(&of_request(request), proof))
    }

    /// Adds the proof that who answers knows it.
    pub(super) fn sign_answer(&self, request: &IstioCertificateRequest, answer: &mut IstioCertificateResponse) {
        answer.proof = hex(hmac::sign(&self.0, &of_answer(request, answer)).as_ref());
    }

    /// Whether the answer to a request is of somebody who knows the secret.
    pub fn vouches_for_answer(&self, request: &IstioCertificateRequest, answer: &IstioCertificateResponse) -> bool {
        self.holds(&of_answer(request, answer), &answer.proof)
    }

    fn holds(&self, message: &[u8], proof: &str) -> bool {
        bytes(proof).is_some_and(|proof| hmac::verify(&self.0, message, &proof).is_ok())
    }
}

fn file(state: &Path) -> PathBuf {
    state.join(FILE)
}

fn with_nonce(mut request: IstioCertificateRequest, nonce: &str) -> IstioCertificateRequest {
    request.metadata.get_or_insert_default().fields.insert(NONCE.to_owned(), text(nonce));
    request
}

fn nonce(request: &IstioCertificateRequest) -> &str {
    let found = request.metadata.as_ref().and_then(|metadata| metadata.fields.get(NONCE));
    match found.and_then(|value| value.kind.as_ref()) {
        Some(Kind::StringValue(nonce)) => nonce,
        _ => "",
    }
}

/// Everything that an answer depends on.
fn of_request(request: &IstioCertificateRequest) -> Vec<u8> {
    let (node, known) = (request.node().unwrap_or_default(), request.known().unwrap_or_default());
    message(&[
        REQUEST,
        nonce(request).as_bytes(),
        node.as_bytes(),
        request.csr.as_bytes(),
        &request.validity_duration.to_be_bytes(),
        // Who knows nothing yet asks for changes too.
        &[u8::from(request.known().is_some())],
        known.as_bytes(),
    ])
}

/// The answer with all that it says, and the request that it answers, which has a nonce: no answer is of use a second time.
fn of_answer(request: &IstioCertificateRequest, answer: &IstioCertificateResponse) -> Vec<u8> {
    let asked = of_request(request);
    let parts = [ANSWER, asked.as_slice(), answer.state.as_bytes()].into_iter();
    message(&parts.chain(answer.cert_chain.iter().map(String::as_bytes)).collect::<Vec<_>>())
}

/// Texts with their lengths before them: no two lists are the same message.
fn message(parts: &[&[u8]]) -> Vec<u8> {
    parts.iter().flat_map(|part| [&(part.len() as u64).to_be_bytes()[..], part].concat()).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const NODE: &str = "sidecar~10.0.0.1~a.b~b.svc.cluster.local";

    fn request(csr: &str) -> IstioCertificateRequest {
        IstioCertificateRequest::new(NODE, csr.to_owned(), 60)
    }

    #[test]
    fn who_knows_the_secret_is_believed_and_nobody_else() {
        let (state, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let pilots = Secret::kept_in(state.path()).unwrap();
        let (own, strange) = (Secret::read(state.path()).unwrap(), Secret::kept_in(other.path()).unwrap());
        let signed = own.sign_request(request("c")).unwrap();
        let other_key = IstioCertificateRequest { csr: "d".to_owned(), ..signed.clone() };
        assert!(pilots.vouches_for_request(&signed) && !strange.vouches_for_request(&signed));
        assert!(!pilots.vouches_for_request(&request("c")), "without a proof");
        let proof = signed.proof().unwrap().to_owned();
        assert!(!pilots.vouches_for_request(&other_key), "for another key");
        for wrong in ["", "zz", "0", "ü", &proof[2..]] {
            assert!(!pilots.vouches_for_request(&signed.clone().with_proof(wrong)), "{wrong}");
        }
        let mut answer = IstioCertificateResponse { cert_chain: vec!["a".to_owned(), "b".to_owned()], ..Default::default() };
        assert!(!own.vouches_for_answer(&signed, &answer));
        pilots.sign_answer(&signed, &mut answer);
        assert!(own.vouches_for_answer(&signed, &answer) && !own.vouches_for_answer(&other_key, &answer));
        answer.cert_chain[1] = "c".to_owned();
        assert!(!own.vouches_for_answer(&signed, &answer), "with another root");
    }

    #[test]
    fn an_answer_about_changes_that_was_altered_or_is_one_to_another_request_is_refused() {
        let state = tempfile::tempdir().unwrap();
        let secret = Secret::kept_in(state.path()).unwrap();
        let ask = |known: &str| secret.sign_request(IstioCertificateRequest::for_changes(NODE, known)).unwrap();
        let asked = ask("one");
        let mut answer = IstioCertificateResponse { state: "one".to_owned(), ..Default::default() };
        assert!(!secret.vouches_for_answer(&asked, &answer), "without a proof");
        secret.sign_answer(&asked, &mut answer);
        assert!(secret.vouches_for_answer(&asked, &answer));
        for altered in ["", "two"] {
            let altered = IstioCertificateResponse { state: altered.to_owned(), ..answer.clone() };
            assert!(!secret.vouches_for_answer(&asked, &altered), "{}", altered.state);
        }
        let altered = IstioCertificateResponse { cert_chain: vec!["a".to_owned()], ..answer.clone() };
        assert!(!secret.vouches_for_answer(&asked, &altered), "with a certificate");
        assert!(!secret.vouches_for_answer(&ask("one"), &answer), "a second time");
        for other in [
            IstioCertificateRequest::for_changes(NODE, "two"),
            IstioCertificateRequest::for_changes("another", "one"),
            IstioCertificateRequest::new(NODE, String::new(), 0),
        ] {
            assert!(!secret.vouches_for_answer(&with_nonce(other.clone(), nonce(&asked)), &answer), "{other:?}");
        }
    }

    #[test]
    fn a_secret_that_others_may_read_or_that_is_none_is_refused() {
        let state = tempfile::tempdir().unwrap();
        Secret::kept_in(state.path()).unwrap();
        let path = file(state.path());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(state.path()).unwrap().count(), 1, "nothing is left beside it");
        let refused = || Secret::read(state.path()).unwrap_err().to_string();
        fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
        assert!(refused().contains("others may read it"));
        fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        fs::write(&path, "short").unwrap();
        assert!(refused().contains("it is not a secret"));
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
        assert!(Secret::read(state.path()).is_err());
    }
}
