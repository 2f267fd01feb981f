//! Effects: reads a feed ahead of the worker, in a task of its own, a bounded number of batches far.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use crate::feed::{Feed, FeedError, Item};

/// Batches that wait for the worker.
const AHEAD: usize = 2;
/// Changes of one batch.
const LIMIT: usize = 1000;
/// Bytes of one batch, about (2 MiB).
const BYTES: usize = 2 << 20;
/// Between two tries of a feed that cannot be read.
const RETRY: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(10));

/// What the reader found.
#[derive(Debug)]
pub(super) enum Read {
    /// Changes, in order.
    Items(Vec<Item>),
    /// The feed cannot be read at this moment; it is tried again.
    Unreachable(String),
    /// The position is gone; the reader waits to be told another.
    Lost(FeedError),
    /// Nothing more will come.
    Ended,
}

/// The worker's end. Dropping it ends the task.
pub(super) struct Reader {
    batches: mpsc::Receiver<Read>,
    positions: mpsc::Sender<u64>,
    _task: AbortOnDropHandle<()>,
}

impl Reader {
    /// Starts to read `feed` at `position`.
    pub(super) fn start<F: Feed + 'static>(feed: F, position: u64) -> Self {
        let (out, batches) = mpsc::channel(AHEAD);
        let (positions, restart) = mpsc::channel(1);
        let task = AbortOnDropHandle::new(tokio::spawn(read(feed, position, out, restart)));
        Self { batches, positions, _task: task }
    }

    /// What was found next; `None` after the end. Safe to drop and call again.
    pub(super) async fn next(&mut self) -> Option<Read> {
        self.batches.recv().await
    }

    /// After [`Read::Lost`]: goes on at `position`.
    pub(super) async fn restart(&self, position: u64) {
        // A reader that ended has told so already.
        let _ = self.positions.send(position).await;
    }
}

async fn read<F: Feed>(mut feed: F, mut position: u64, out: mpsc::Sender<Read>, mut restart: mpsc::Receiver<u64>) {
    let mut pause = RETRY.0;
    loop {
        let found = match feed.read(position, LIMIT, BYTES).await {
            Ok(items) if items.is_empty() && feed.ended() => Read::Ended,
            Ok(items) if items.is_empty() => match feed.wait(position).await {
                Ok(()) => continue,
                Err(error) => Read::Unreachable(error.to_string()),
            },
            Ok(items) => {
                position = items.last().map_or(position, |item| item.next);
                pause = RETRY.0;
                Read::Items(items)
            }
            Err(error @ FeedError::PositionLost { .. }) => Read::Lost(error),
            Err(FeedError::Unreachable(message)) => Read::Unreachable(message),
        };
        let (ended, lost, unreachable) =
            (matches!(found, Read::Ended), matches!(found, Read::Lost(_)), matches!(found, Read::Unreachable(_)));
        if out.send(found).await.is_err() || ended {
            return;
        }
        if lost {
            match restart.recv().await {
                Some(other) => position = other,
                None => return,
            }
        }
        if unreachable {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(RETRY.1);
        }
    }
}
