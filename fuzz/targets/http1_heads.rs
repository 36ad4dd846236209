//! Messages of HTTP/1.1, whole and byte by byte: the codec reads the same, and does not panic. The first byte says whose they are.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../crates/weir-http1/tests/proof/codec.rs"]
mod codec;
#[path = "../../crates/weir-http1/tests/proof/seen.rs"]
mod seen;

use seen::{Seen, Side};

/// All that was read; of a body that is not complete, how much came before the fault may depend on the pieces.
fn told(mut seen: Seen) -> String {
    if let Some(last) = seen.messages.last_mut().filter(|message| !message.complete) {
        last.body.clear();
    }
    seen.told()
}

fuzz_target!(|bytes: &[u8]| {
    let Some((first, bytes)) = bytes.split_first() else { return };
    let side = match first % 3 {
        0 => Side::Requests,
        rest => Side::Answers { head: rest == 1 },
    };
    let single: Vec<Vec<u8>> = bytes.iter().map(|byte| vec![*byte]).collect();
    assert_eq!(told(codec::read(side, &[bytes.to_vec()])), told(codec::read(side, &single)));
});
