//! Effects: AWS asked about destinations, one question for each at a time, and never faster than an account bears.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::task::{JoinError, JoinSet};

use super::bucket::Bucket;
use crate::kinesis::client::{HttpPool, StreamClient};
use crate::kinesis::probe::{self, ProbeReport};
use crate::reconcile::{ObjectKey, ValidDestination};

/// `ListStreams` allows five calls a second to an account, and others call it too: a probe begins at most this often, for all
/// destinations together, since whose accounts they are is not known.
const EVERY: Duration = Duration::from_millis(500);
/// So many begin at once after a quiet time.
const BURST: u32 = 5;
/// So many are under way at most: one that waits for an unreachable endpoint must not hold up the others.
const UNDER_WAY: usize = 16;

/// The probes that wait and those under way.
pub(super) struct Probes {
    pool: HttpPool,
    bucket: Bucket,
    waiting: VecDeque<(ObjectKey, ValidDestination)>,
    under_way: JoinSet<(ValidDestination, ProbeReport)>,
}

impl Probes {
    pub(super) fn new(pool: HttpPool) -> Self {
        Self { pool, bucket: Bucket::new(EVERY, BURST), waiting: VecDeque::new(), under_way: JoinSet::new() }
    }

    /// Asks about `destination` when its turn comes; a question about its older spec that still waits gives way.
    pub(super) fn ask(&mut self, key: &ObjectKey, destination: &ValidDestination) {
        match self.waiting.iter_mut().find(|(waiting, _)| waiting == key) {
            Some((_, older)) => *older = destination.clone(),
            None => self.waiting.push_back((key.clone(), destination.clone())),
        }
    }

    /// Begins what may begin.
    pub(super) fn begin(&mut self, now: Duration) {
        while !self.waiting.is_empty() && self.under_way.len() < UNDER_WAY && self.bucket.take(now) {
            let Some((key, destination)) = self.waiting.pop_front() else { break };
            tracing::debug!(destination = %key, "asking AWS what may be done");
            let pool = self.pool.clone();
            self.under_way.spawn(async move {
                let client = StreamClient::connect(&destination.target, &pool).await;
                let report = probe::probe(&client, destination.method).await;
                (destination, report)
            });
        }
    }

    /// An answer, if there is one.
    pub(super) fn answered(&mut self) -> Result<Option<(ValidDestination, ProbeReport)>, JoinError> {
        self.under_way.try_join_next().transpose()
    }

    /// Whether there is nothing that waits for an answer.
    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.under_way.is_empty()
    }

    /// Gives up whatever waits.
    pub(super) fn end(&mut self) {
        self.waiting.clear();
        self.under_way.abort_all();
    }
}
