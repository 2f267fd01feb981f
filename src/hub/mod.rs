//! Effects: the embedded profile hub. Profiles, membership index and change log, written as one.
//!
//! One writer: it takes the requests that wait, applies them in order ([`write`]), commits them as one durable batch, and only
//! then answers each ([`commit`]). Readers see what is committed and nothing else. It evaluates no audience and stitches no
//! identity.

mod commit;
pub mod ingest;
mod lines;
pub mod retention;
#[cfg(test)]
mod tests;
mod write;

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};

use crate::store::{ProfileKey, Store, StoreError, StoredProfile};
use ingest::{Answer, IngestError, Request};

/// How many requests wait for the writer at most.
const QUEUE: usize = 1024;

/// How many bytes of request bodies wait for the writer at most (64 MiB).
const QUEUE_BYTES: usize = 64 << 20;

/// The hub, for its callers. Cheap to clone.
#[derive(Clone)]
pub struct Hub {
    store: Store,
    requests: mpsc::Sender<write::Waiting>,
    room: Arc<Semaphore>,
    head: watch::Receiver<u64>,
}

/// The hub's writer, for its owner: ends when every [`Hub`] is dropped.
pub struct Writer {
    /// Merging, then committing.
    threads: [JoinHandle<Result<(), StoreError>>; 2],
}

impl Hub {
    /// Starts the writer on `store`.
    pub fn start(store: Store) -> Result<(Self, Writer), StoreError> {
        let head = store.head()?;
        let (requests, waiting) = mpsc::channel(QUEUE);
        let (announce, watched) = watch::channel(head.next);
        let committed = commit::Committed::default();
        // No room in between: while one group is committed the next is made, and takes in what comes until it is asked for.
        let (ready, groups) = std::sync::mpsc::sync_channel(0);
        let applier = write::Applier::new(store.clone(), head, waiting, ready, Arc::clone(&committed));
        let merging = spawn("hub-merge", move || applier.run())?;
        let committing = spawn("hub-commit", move || commit::run(&groups, &committed, &announce))?;
        let hub = Self { store, requests, room: Arc::new(Semaphore::new(QUEUE_BYTES)), head: watched };
        Ok((hub, Writer { threads: [merging, committing] }))
    }

    /// Takes a request if there is room for it, and answers when it is durable. [`IngestError::Busy`] asks to come again.
    pub async fn ingest(&self, request: Request) -> Result<Answer, IngestError> {
        let permit = Arc::clone(&self.room).try_acquire_many_owned(weight(&request)).map_err(|_| IngestError::Busy)?;
        let place = self.requests.try_reserve().map_err(|error| match error {
            mpsc::error::TrySendError::Full(()) => IngestError::Busy,
            mpsc::error::TrySendError::Closed(()) => IngestError::Closed,
        })?;
        submit(place, request, permit).await
    }

    /// The same, but waits for room: for a file, which has nowhere else to go.
    pub async fn ingest_waiting(&self, request: Request) -> Result<Answer, IngestError> {
        let permit =
            Arc::clone(&self.room).acquire_many_owned(weight(&request)).await.map_err(|_| IngestError::Closed)?;
        let place = self.requests.reserve().await.map_err(|_| IngestError::Closed)?;
        submit(place, request, permit).await
    }

    /// One profile as it is.
    pub fn profile(&self, merge_policy_id: &str, profile_id: &str) -> Result<Option<StoredProfile>, StoreError> {
        self.store.profile(&ProfileKey::new(merge_policy_id, profile_id))
    }

    /// The position that the next change gets; tells when it moves.
    pub fn head(&self) -> watch::Receiver<u64> {
        self.head.clone()
    }

    /// Whether the writer still runs: one that ended takes no update any more.
    pub fn is_running(&self) -> bool {
        // The one half holds the requests' end, the other the head's.
        !self.requests.is_closed() && self.head.has_changed().is_ok()
    }

    /// How many bytes of request bodies wait for the writer or are being written.
    pub fn queued_bytes(&self) -> u64 {
        QUEUE_BYTES.saturating_sub(self.room.available_permits()) as u64
    }

    /// The store beneath.
    pub fn store(&self) -> &Store {
        &self.store
    }
}

impl Writer {
    /// Waits for the writer to end. The error is what made it stop before it was told to.
    pub fn join(self) -> Result<(), StoreError> {
        let [merging, committing] =
            self.threads.map(|thread| thread.join().unwrap_or(Err(StoreError::Value("hub writer, which panicked"))));
        // The half that fails ends the other, which then has nothing to say.
        committing.and(merging)
    }
}

fn spawn(
    name: &str,
    work: impl FnOnce() -> Result<(), StoreError> + Send + 'static,
) -> Result<JoinHandle<Result<(), StoreError>>, StoreError> {
    let failed = |source: io::Error| StoreError::Directory { path: format!("the thread {name}").into(), source };
    std::thread::Builder::new().name(name.to_owned()).spawn(work).map_err(failed)
}

async fn submit(
    place: mpsc::Permit<'_, write::Waiting>,
    request: Request,
    room: OwnedSemaphorePermit,
) -> Result<Answer, IngestError> {
    let (answer, answered) = oneshot::channel();
    place.send(write::Waiting { request, answer, room });
    answered.await.map_err(|_| IngestError::Closed)?
}

/// What a request takes of the queue's bytes: at least one, at most all of them.
fn weight(request: &Request) -> u32 {
    request.body.len().clamp(1, QUEUE_BYTES) as u32
}
