//! Effects: the shelf between those who dereference and the loop that passes: what was brought lies there, and whoever waits is
//! woken.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, mpsc};

use super::scope::{Named, Place};
use super::stock::Stock;
use crate::reconcile::{About, ObjectKey};

/// Requests of one queue that wait; whoever asks for more waits.
const QUEUE: usize = 256;

/// What was brought. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Shelf {
    stock: Arc<Mutex<Stock>>,
    woken: Arc<Notify>,
}

impl Shelf {
    /// Looks at it, or changes it without anybody being woken. Must not wait for anything meanwhile.
    pub fn stock(&self) -> MutexGuard<'_, Stock> {
        // What is guarded is whole after every statement, so a thread that panicked leaves nothing half-done.
        self.stock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the loop.
    pub fn wake(&self) {
        self.woken.notify_one();
    }

    /// Until it is woken.
    pub async fn woken(&self) {
        self.woken.notified().await;
    }
}

/// A request to dereference a resource.
#[derive(Debug, Clone)]
pub struct Request {
    /// Which.
    pub key: ObjectKey,
    /// Why, for the log.
    pub why: &'static str,
}

/// The queues of those who dereference, one for each kind and place.
#[derive(Debug, Default)]
pub struct Queues {
    senders: BTreeMap<(About, Place), mpsc::Sender<Request>>,
}

impl Queues {
    /// Opens the queue of a kind in a place.
    pub fn open(&mut self, about: About, place: &Place) -> mpsc::Receiver<Request> {
        let (sender, receiver) = mpsc::channel(QUEUE);
        self.senders.insert((about, place.clone()), sender);
        receiver
    }

    /// Asks for a resource to be dereferenced again. Where its queue has ended, so has the process.
    pub async fn ask(&self, (about, key): Named, why: &'static str) {
        if let Some(sender) = self.of(about, &key.namespace) {
            // As above.
            let _ = sender.send(Request { key, why }).await;
        }
    }

    /// The same without waiting: false where the queue is full.
    pub fn try_ask(&self, (about, key): Named, why: &'static str) -> bool {
        self.of(about, &key.namespace).is_some_and(|sender| sender.try_send(Request { key, why }).is_ok())
    }

    fn of(&self, about: About, namespace: &str) -> Option<&mpsc::Sender<Request>> {
        let found = self.senders.iter().find(|((kind, place), _)| *kind == about && place.holds(namespace));
        found.map(|(_, sender)| sender)
    }
}
