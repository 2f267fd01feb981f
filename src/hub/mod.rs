//! Effects: the embedded profile hub. Profiles, membership index and change log, written as one.
//!
//! One thread writes: it takes the requests that wait, applies them in order, commits them as one durable batch, and only then
//! answers each. Readers see what is committed and nothing else. It evaluates no audience and stitches no identity.

pub mod ingest;
pub mod retention;
mod write;

use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};

use crate::store::{ProfileKey, Store, StoreError, StoredProfile};
use ingest::{Answer, IngestError, Request};

/// How many requests wait for the writer at most.
const QUEUE: usize = 256;

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
    thread: JoinHandle<Result<(), StoreError>>,
}

impl Hub {
    /// Starts the writer on `store`.
    pub fn start(store: Store) -> Result<(Self, Writer), StoreError> {
        let head = store.head()?;
        let (requests, waiting) = mpsc::channel(QUEUE);
        let (announce, watched) = watch::channel(head.next);
        let writer = write::Writer::new(store.clone(), head, waiting, announce);
        let thread = std::thread::Builder::new()
            .name("hub-writer".to_owned())
            .spawn(move || writer.run())
            .map_err(|source| StoreError::Directory { path: "the hub's writer thread".into(), source })?;
        Ok((Self { store, requests, room: Arc::new(Semaphore::new(QUEUE_BYTES)), head: watched }, Writer { thread }))
    }

    /// Takes a request if there is room for it, and answers when it is durable. [`IngestError::Busy`] asks to come again.
    pub async fn ingest(&self, request: Request) -> Result<Answer, IngestError> {
        let permit = Arc::clone(&self.room).try_acquire_many_owned(weight(&request)).map_err(|_| IngestError::Busy)?;
        self.send(request, permit).await
    }

    /// The same, but waits for room: for a file, which has nowhere else to go.
    pub async fn ingest_waiting(&self, request: Request) -> Result<Answer, IngestError> {
        let permit =
            Arc::clone(&self.room).acquire_many_owned(weight(&request)).await.map_err(|_| IngestError::Closed)?;
        self.send(request, permit).await
    }

    async fn send(&self, request: Request, permit: OwnedSemaphorePermit) -> Result<Answer, IngestError> {
        let (answer, answered) = oneshot::channel();
        let waiting = write::Waiting { request, answer, _room: permit };
        self.requests.send(waiting).await.map_err(|_| IngestError::Closed)?;
        answered.await.map_err(|_| IngestError::Closed)?
    }

    /// One profile as it is.
    pub fn profile(&self, merge_policy_id: &str, profile_id: &str) -> Result<Option<StoredProfile>, StoreError> {
        self.store.profile(&ProfileKey::new(merge_policy_id, profile_id))
    }

    /// The position that the next change gets; tells when it moves.
    pub fn head(&self) -> watch::Receiver<u64> {
        self.head.clone()
    }

    /// The store beneath.
    pub fn store(&self) -> &Store {
        &self.store
    }
}

impl Writer {
    /// Waits for the writer to end. The error is what made it stop before it was told to.
    pub fn join(self) -> Result<(), StoreError> {
        self.thread.join().unwrap_or(Err(StoreError::Value("hub writer, which panicked")))
    }

    /// Whether it still runs: a writer that ended by itself takes no update any more.
    pub fn is_running(&self) -> bool {
        !self.thread.is_finished()
    }
}

/// What a request takes of the queue's bytes: at least one, at most all of them.
fn weight(request: &Request) -> u32 {
    request.body.len().clamp(1, QUEUE_BYTES) as u32
}
