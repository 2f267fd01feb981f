//! Effects: the second half of the writer. Groups become durable in the order in which they were made, and only then is each
//! request answered and the new head told.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Receiver;

use tokio::sync::{OwnedSemaphorePermit, oneshot, watch};

use super::ingest::{Answer, IngestError};
use crate::store::{Batch, StoreError};

/// The number of the last group that is in the store. What it and those before it made is read from there.
pub(super) type Committed = Arc<AtomicU64>;

/// A group that waits to be made durable.
pub(super) struct Ready {
    pub(super) number: u64,
    pub(super) batch: Batch,
    /// The log's next position behind it.
    pub(super) head: u64,
    pub(super) answers: Vec<Unanswered>,
}

/// Who asked, what the answer will be, and the request's share of the queue, given back with the answer.
pub(super) type Unanswered = (oneshot::Sender<Result<Answer, IngestError>>, Answer, OwnedSemaphorePermit);

/// Runs until the other half has ended, or the store fails: then nobody who waits is told that it worked.
pub(super) fn run(
    groups: &Receiver<Ready>,
    committed: &AtomicU64,
    announce: &watch::Sender<u64>,
) -> Result<(), StoreError> {
    while let Ok(Ready { number, batch, head, answers }) = groups.recv() {
        if !batch.is_empty() {
            batch.commit()?;
        }
        committed.store(number, Ordering::Release);
        announce.send_if_modified(|told| std::mem::replace(told, head) != head);
        for (asked, answer, room) in answers {
            drop(room);
            // Whoever asked may have gone; what was taken up stays.
            let _ = asked.send(Ok(answer));
        }
    }
    Ok(())
}
