//! What a message of DNS is, as far as one must know that to pass it on (RFC 1035, 4.1).

/// How long the identifier is that an answer has in common with its question.
pub(super) const ID: usize = 2;
/// How long the head is.
const HEAD: usize = 12;
/// Where the second byte of flags says how it went: 0 is no error.
const CODE: u8 = 0x0f;

/// Whether a server says only that it cannot, or does not want to, say anything: another one may.
pub(super) fn is_refusal(answer: &[u8]) -> bool {
    const SERVER_FAILURE: u8 = 2;
    const REFUSED: u8 = 5;
    answer.get(3).is_some_and(|flags| matches!(flags & CODE, SERVER_FAILURE | REFUSED))
}

/// Whether a message is an answer to a question: it says so, has its identifier, and repeats what was asked. Only an error may repeat
/// nothing: some servers could not read the question. What is told of a name without it could be about any.
pub(super) fn answers(answer: &[u8], question: &[u8]) -> bool {
    const IS_ANSWER: u8 = 0x80;
    let is_answer = answer.get(ID).is_some_and(|flags| flags & IS_ANSWER != 0) && answer.get(..ID) == question.get(..ID);
    let is_error = answer.get(3).is_some_and(|flags| flags & CODE != 0);
    let repeats = answer.get(4..6) != Some(&[0, 0]);
    is_answer && if repeats { asked(answer) == asked(question) } else { is_error }
}

/// What a message asks first: a name, in lower case, a type and a class.
pub(super) fn asked(message: &[u8]) -> Option<Vec<u8>> {
    message.get(HEAD..end_of_question(message)?).map(<[u8]>::to_ascii_lowercase)
}

/// Where the first question of a message ends: behind a name, a type and a class.
fn end_of_question(message: &[u8]) -> Option<usize> {
    let mut at = HEAD;
    loop {
        match usize::from(*message.get(at)?) {
            0 => return Some(at + 5),
            label => at += 1 + label,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message with this head and this question.
    fn message(head: [u8; HEAD], name: &[u8]) -> Vec<u8> {
        [&head[..], name, &[0, 0, 1, 0, 1]].concat()
    }

    #[test]
    fn an_answer_is_to_what_was_asked() {
        let head = |id, flags, count| [0, id, flags, 0, 0, count, 0, 0, 0, 0, 0, 0];
        let question = message(head(7, 1, 1), b"\x01a\x04test");
        for (answer, expected) in [
            (message(head(7, 0x81, 1), b"\x01a\x04test"), true),
            (message(head(7, 0x81, 1), b"\x01A\x04Test"), true),
            (head(7, 0x81, 0).to_vec(), false),
            ([&head(7, 0x81, 0)[..3], &[2], &head(7, 0x81, 0)[4..]].concat(), true),
            (question.clone(), false),
            (message(head(8, 0x81, 1), b"\x01a\x04test"), false),
            (message(head(7, 0x81, 1), b"\x01b\x04test"), false),
            (message(head(7, 0x81, 1), b"\x3fa"), false),
            (head(7, 0x81, 1).to_vec(), false),
            (vec![0, 7], false),
            (vec![], false),
        ] {
            assert_eq!(answers(&answer, &question), expected, "{answer:?}");
        }
    }
}
