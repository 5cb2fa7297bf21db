//! Answers to requests: one subscription for all of them, and a place for each request that waits.
//!
//! A request that ends, for whatever reason, leaves nothing behind. When the connection breaks, all that wait are told: an answer
//! that was on its way is lost, and a repeat on the next connection is faster than a deadline.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use async_nats::{Message, Subscriber};
use futures_util::StreamExt;
use parking_lot::Mutex;
use tokio::sync::mpsc;

/// Who waits, by the last token of the subject of the answer.
#[derive(Default)]
pub(super) struct Replies {
    waiting: Mutex<HashMap<u64, mpsc::Sender<Message>>>,
    next: AtomicU64,
}

/// The answers to one request.
pub(super) struct Reply {
    replies: Arc<Replies>,
    token: u64,
    messages: mpsc::Receiver<Message>,
}

impl Replies {
    /// Makes room for at most `count` answers to one request.
    pub(super) fn expect(self: &Arc<Self>, count: usize) -> Reply {
        let token = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, messages) = mpsc::channel(count.max(1));
        self.waiting.lock().insert(token, sender);
        Reply { replies: Arc::clone(self), token, messages }
    }

    /// Ends every wait.
    pub(super) fn fail_all(&self) {
        self.waiting.lock().clear();
    }

    /// Hands out answers until the connection is closed.
    pub(super) async fn route(self: Arc<Self>, mut answers: Subscriber) {
        while let Some(answer) = answers.next().await {
            let token = answer.subject.rsplit('.').next().and_then(|token| token.parse().ok());
            let Some(token) = token else { continue };
            let sender = self.waiting.lock().get(&token).cloned();
            if let Some(sender) = sender {
                // More answers than expected are not for this request.
                let _ = sender.try_send(answer);
            }
        }
        self.fail_all();
    }
}

impl Reply {
    /// The last token of the subject at which the answers are expected.
    pub(super) fn token(&self) -> u64 {
        self.token
    }

    /// Waits for the next answer; `None` when the connection broke.
    pub(super) async fn next(&mut self) -> Option<Message> {
        self.messages.recv().await
    }

    /// Takes an answer that has already arrived.
    pub(super) fn arrived(&mut self) -> Option<Message> {
        self.messages.try_recv().ok()
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        self.replies.waiting.lock().remove(&self.token);
    }
}
