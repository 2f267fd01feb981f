//! Effects: where a worker's changes come from. A feed hands out changes in order, from a position on, and nothing else.

pub mod embedded;
pub mod file;
#[cfg(test)]
mod tests;

use std::future::Future;

use bytes::Bytes;

pub use embedded::Embedded;
pub use file::ChangeFile;

/// One change of a feed.
#[derive(Debug, Clone)]
pub struct Item {
    /// Where to go on once this change is done with.
    pub next: u64,
    /// The change as JSON text.
    pub change: Bytes,
}

/// Why a feed cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// What the position pointed at is gone.
    #[error("position {position} is gone: the log now begins at {first}")]
    PositionLost {
        /// Where the worker wanted to go on.
        position: u64,
        /// What is still there.
        first: u64,
    },
    /// The feed cannot be read at this moment.
    #[error("the feed cannot be read: {0}")]
    Unreachable(String),
}

/// A source of changes.
pub trait Feed: Send {
    /// How many positions a worker reads ahead of what is done with, at most. After a crash, a changed mapping waits for so many:
    /// they may have been exported under the old one.
    const AHEAD: u64;

    /// The changes from `position` on: at most `limit`, about `max_bytes`; empty where there is none yet.
    fn read(
        &mut self,
        position: u64,
        limit: usize,
        max_bytes: usize,
    ) -> impl Future<Output = Result<Vec<Item>, FeedError>> + Send;

    /// Returns when there may be a change at `position`. Safe to drop and call again.
    fn wait(&mut self, position: u64) -> impl Future<Output = Result<(), FeedError>> + Send;

    /// The position behind the last change that is there now.
    fn head(&self) -> u64;

    /// Whether nothing more will ever come behind `head`.
    fn ended(&self) -> bool;
}
