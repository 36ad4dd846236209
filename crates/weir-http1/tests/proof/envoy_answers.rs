//! What Envoy makes of an instance's answer.

use weir_http1::Fault;

use crate::against_envoy::{Difference, Differs, own};
use crate::codec;
use crate::envoy::{self, Lane, Patience};
use crate::generate::Case;
use crate::seen::{Message, Seen, Side};

/// Has the backend answer with the case.
pub fn compare(lane: &Lane, case: &Case, head: bool, patience: Patience) -> Option<Difference> {
    let pieces = case.pieces();
    let ours = codec::read(case.side, &pieces);
    lane.backend.reset(Some(pieces));
    let method = if head { "HEAD" } else { "GET" };
    let request = format!("{method} / HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n\r\n");
    let got = envoy::ask(lane.address, &[request.into_bytes()], patience, |bytes| {
        codec::read(Side::Answers { head }, &[bytes.to_vec()]).messages.first().is_some_and(|message| message.complete)
    });
    let theirs = codec::read(Side::Answers { head }, std::slice::from_ref(&got.bytes));
    let differs = differs(&ours, theirs.messages.first())?;
    let told = format!("  {:?}, closed: {}\n{}", String::from_utf8_lossy(&got.bytes), got.closed, theirs.told());
    Some(Difference { differs, case: case.clone(), ours, at: 0, theirs: told, details: String::new() })
}

fn differs(ours: &Seen, theirs: Option<&Message>) -> Option<Differs> {
    let Some(theirs) = theirs else { return Some(Differs::TheyWait) };
    let own_status = matches!(theirs.first.as_str(), "502" | "503").then(|| theirs.first.parse().unwrap_or(0));
    match (ours.messages.first(), ours.fault, own_status) {
        (Some(message), None, Some(status)) if message.first != theirs.first => Some(Differs::TheyRefuse(status)),
        (Some(message), None, _) => content(message, theirs),
        // Its head was good, and told before the rest came, or not.
        (Some(_), Some(_), Some(_)) => None,
        (Some(_), Some(fault), None) => theirs.complete.then_some(Differs::WeRefuse(fault)),
        (None, Some(fault), None) => Some(Differs::WeRefuse(fault)),
        (None, Some(fault), Some(status)) => {
            // What breaks off may have begun badly.
            (status != 502 && fault != Fault::BrokenOff).then_some(Differs::Status(fault, status))
        }
        (None, None, _) => None,
    }
}

fn content(ours: &Message, theirs: &Message) -> Option<Differs> {
    let what = if ours.first != theirs.first {
        "status"
    } else if !theirs.complete {
        "complete"
    } else if ours.body != theirs.body {
        "body"
    } else if own(&ours.fields) != own(&theirs.fields) {
        "fields"
    } else if ours.trailers.as_ref().map(own).unwrap_or_default() != theirs.trailers.as_ref().map(own).unwrap_or_default() {
        "trailers"
    } else {
        return None;
    };
    Some(Differs::Content(what))
}
