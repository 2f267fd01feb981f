//! Effects: the hub's own change log as a feed.

use tokio::sync::watch;

use super::{Feed, FeedError, Item};
use crate::hub::Hub;
use crate::store::{Store, StoreError};

/// The log of the hub in this process.
pub struct Embedded {
    store: Store,
    head: watch::Receiver<u64>,
}

impl Embedded {
    /// Of that hub.
    pub fn new(hub: &Hub) -> Self {
        Self { store: hub.store().clone(), head: hub.head() }
    }
}

impl Feed for Embedded {
    /// Changes.
    const AHEAD: u64 = 200_000;

    async fn read(&mut self, position: u64, limit: usize, max_bytes: usize) -> Result<Vec<Item>, FeedError> {
        // No further than what was announced: beyond it, a group that is only just being written may show in part.
        let there = self.head().saturating_sub(position);
        if there == 0 {
            return Ok(Vec::new());
        }
        let limit = limit.min(usize::try_from(there).unwrap_or(limit));
        let store = self.store.clone();
        let read = tokio::task::spawn_blocking(move || {
            let first = store.first_position()?;
            if position < first {
                return Ok(Err(FeedError::PositionLost { position, first }));
            }
            let entries = store.read_log(position, limit, max_bytes)?;
            // Trimmed in between.
            if entries.first().is_none_or(|entry| entry.position != position) {
                return Ok(Err(FeedError::PositionLost { position, first: store.first_position()? }));
            }
            Ok(Ok(entries
                .into_iter()
                .map(|entry| Item { next: entry.position + 1, change: entry.into_change() })
                .collect()))
        });
        match read.await {
            Ok(Ok(items)) => items,
            Ok(Err::<_, StoreError>(error)) => Err(FeedError::Unreachable(error.to_string())),
            Err(error) => Err(FeedError::Unreachable(error.to_string())),
        }
    }

    async fn wait(&mut self, position: u64) -> Result<(), FeedError> {
        match self.head.wait_for(|head| *head > position).await {
            Ok(_) => Ok(()),
            Err(_) => Err(FeedError::Unreachable("the hub has stopped".to_owned())),
        }
    }

    fn head(&self) -> u64 {
        *self.head.borrow()
    }

    fn ended(&self) -> bool {
        false
    }
}
