//! Questions that wait for other servers. Who asks what is asked already waits for that answer.
//!
//! A server that is asked may ask us in turn, such as the resolver of this machine whose questions the kernel hands over: then one question
//! would become ever more. So the same thing is asked by few messages at a time, however they differ otherwise.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use super::message::{ID, asked};
use super::reply::Transport;
use super::upstream::Upstream;

/// By so many different messages the same may be asked at a time: resolvers differ in what they add to a question.
const VARIANTS: usize = 16;

/// An answer, once it is known; then there may be none.
type Answer = Option<Option<Arc<[u8]>>>;
/// What is asked, and by which messages.
type Asked = HashMap<Vec<u8>, Vec<Variant>>;

/// Asks other servers.
#[derive(Clone)]
pub(super) struct Waiting {
    upstream: Upstream,
    asked: Arc<Mutex<Asked>>,
}

/// One message by which something is asked.
struct Variant {
    /// All of it but its identifier.
    message: Vec<u8>,
    transport: Transport,
    answer: watch::Receiver<Answer>,
}

impl Waiting {
    pub fn new(upstream: Upstream) -> Self {
        Self { upstream, asked: Arc::default() }
    }

    /// The answer to a question, if a server gives one.
    pub async fn ask(&self, question: &[u8], transport: Transport) -> Option<Vec<u8>> {
        let id = question.get(..ID)?;
        let mut answer = self.asking(question, transport)?;
        let answer = answer.wait_for(Option::is_some).await.ok()?.clone()??;
        Some([id, answer.get(ID..)?].concat())
    }

    /// Where the answer to a question will be; none if the same is asked too often already.
    fn asking(&self, question: &[u8], transport: Transport) -> Option<watch::Receiver<Answer>> {
        let message = question.get(ID..)?;
        // What is no question with a name is its own.
        let what = asked(question).unwrap_or_else(|| message.to_vec());
        let mut all = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let variants = all.entry(what.clone()).or_default();
        if let Some(same) = variants.iter().find(|variant| variant.transport == transport && variant.message == message) {
            return Some(same.answer.clone());
        }
        if variants.len() >= VARIANTS {
            return None;
        }
        let (told, answer) = watch::channel(None);
        variants.push(Variant { message: message.to_vec(), transport, answer: answer.clone() });
        drop(all);
        let (waiting, question) = (self.clone(), question.to_vec());
        // Not by whoever asked first: that one may go away.
        tokio::spawn(async move {
            let answer = waiting.upstream.ask(&question, transport).await;
            waiting.forget(&what, &question, transport);
            told.send_replace(Some(answer.map(Arc::from)));
        });
        Some(answer)
    }

    fn forget(&self, what: &[u8], question: &[u8], transport: Transport) {
        let mut all = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(variants) = all.get_mut(what) else { return };
        variants.retain(|variant| variant.transport != transport || question.get(ID..) != Some(&*variant.message));
        if variants.is_empty() {
            all.remove(what);
        }
    }
}
