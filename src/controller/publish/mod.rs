//! Effects: the one writer of status. Whoever has a new status offers it and goes on; one task writes, by server-side apply with one
//! field manager.
//!
//! [`queue`] says what is written when (pure), by [`bucket`] and what it keeps of each object, [`entry`]; [`status`] is what is
//! offered, [`write`] one write.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use kube::core::object::HasStatus;
use kube::{Client, ResourceExt};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::reconcile::{About, ObjectKey};
use crate::telemetry::clock;
use crate::telemetry::health::Heartbeats;
use crate::telemetry::metrics::Metrics;

pub mod entry;
pub mod queue;
pub mod status;
mod write;

pub use status::{Status, Subject};
pub(crate) use write::resource;

use entry::Failure;
use queue::{Next, Queue, Write};
use write::{WriteError, Written};

/// Who owns the fields of every status, for the API server.
pub const FIELD_MANAGER: &str = "activation-operator";

/// Writes on their way at once: one object that takes long holds up no other.
const AT_ONCE: usize = 8;
/// The task turns at least this often.
const TURN: Duration = Duration::from_secs(10);
/// A task that has not turned for so long is told by `/livez`.
const STANDSTILL: Duration = Duration::from_mins(1);

/// Where statuses are offered. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Publisher {
    shared: Arc<Shared>,
}

/// Writes what was offered: for its owner to run.
pub struct StatusWriter {
    shared: Arc<Shared>,
    client: Client,
    metrics: Metrics,
    heartbeats: Heartbeats,
}

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    /// There is something new to write.
    offered: Notify,
    /// A write ended.
    ended: Notify,
}

/// A publisher, and who writes for it.
pub fn publisher(client: Client, metrics: Metrics, heartbeats: Heartbeats) -> (Publisher, StatusWriter) {
    let shared = Arc::new(Shared::default());
    (Publisher { shared: Arc::clone(&shared) }, StatusWriter { shared, client, metrics, heartbeats })
}

impl Publisher {
    /// Offers the newest status of `object`, which is as the watch shows it. What differs is written in its turn; what the object
    /// holds already is not.
    pub fn offer<K>(&self, object: &K, status: K::Status)
    where
        K: ResourceExt + HasStatus,
        K::Status: Clone,
        Status: From<K::Status>,
    {
        let status = Status::from(status);
        let subject = Subject::of(status.about(), object);
        let version = object.resource_version().unwrap_or_default();
        let now = clock::monotonic();
        let held = || object.status().cloned().map(Status::from);
        let mut queue = self.shared.queue();
        let overwritten = queue.see(&subject, &version, held, now);
        if queue.offer(&subject, status, now) || overwritten {
            self.shared.offered.notify_one();
        }
    }

    /// Forgets an object that is gone.
    pub fn forget(&self, about: About, key: &ObjectKey) {
        self.shared.queue().forget(about, key);
    }

    /// What was offered is the last: writes it without waiting for anything but the pace. Returns how many objects still hold
    /// another status after `within`.
    pub async fn flush(&self, within: Duration) -> usize {
        self.shared.queue().flush();
        self.shared.offered.notify_one();
        let all_written = async {
            loop {
                let ended = self.shared.ended.notified();
                if self.shared.queue().pending() == 0 {
                    return;
                }
                ended.await;
            }
        };
        // What is left is counted below.
        let _ = timeout(within, all_written).await;
        self.shared.queue().pending()
    }
}

impl Shared {
    /// What is guarded is whole after every statement, so a thread that panicked leaves nothing half-done.
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StatusWriter {
    /// Writes until `stop`. What is on its way then is given up, so flush first.
    pub async fn run(self, stop: CancellationToken) {
        let heartbeat = self.heartbeats.watch("status writer", STANDSTILL, clock::monotonic());
        let mut writes = FuturesUnordered::new();
        loop {
            heartbeat.beat(clock::monotonic());
            let wait = loop {
                if writes.len() >= AT_ONCE {
                    break TURN;
                }
                let now = clock::monotonic();
                match self.shared.queue().next(now) {
                    Next::Write(due) => writes.push(self.write(due)),
                    Next::Wait(until) => break until.map_or(TURN, |until| until.saturating_sub(now)).min(TURN),
                }
            };
            self.metrics.set_statuses_pending(self.shared.queue().pending() as u64);
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.shared.offered.notified() => {}
                Some((write, result)) = writes.next() => {
                    self.take_up(&write, result);
                    self.shared.ended.notify_waiters();
                }
                () = sleep(wait) => {}
            }
        }
    }

    async fn write(&self, due: Write) -> (Write, Result<Written, WriteError>) {
        let result = write::write(self.client.clone(), &due).await;
        (due, result)
    }

    fn take_up(&self, write: &Write, result: Result<Written, WriteError>) {
        let subject = &write.subject;
        let resource = write::resource(subject.about);
        let (kind, key) = (subject.about.kind(), &subject.key);
        let now = clock::monotonic();
        let mut queue = self.shared.queue();
        let was_cut_off = queue.is_cut_off();
        let (error, failure, counted) = match result {
            Ok(Written { version, shown }) => {
                queue.written(write, &version, shown, now);
                self.metrics.count_status_write(kind, "written");
                if was_cut_off {
                    tracing::info!("the API server answers again: statuses catch up");
                }
                return;
            }
            Err(error) => {
                let (failure, counted) = error.failure();
                (error, failure, counted)
            }
        };
        self.metrics.count_status_write(kind, counted);
        let first = queue.failed(write, failure.clone(), now);
        drop(queue);
        match failure {
            Failure::Changed { .. } | Failure::Gone => {
                tracing::debug!("{kind} {key}: its status is not written: {error}")
            }
            Failure::Forbidden if first => tracing::error!(
                "{kind} {key}: its status may not be written: {error}: let this service account `patch` \
                 `{plural}/status` of the API group `{group}` in the namespace {namespace}, as the chart's role does; it is tried again",
                plural = resource.plural,
                group = resource.group,
                namespace = key.namespace,
            ),
            Failure::Unreachable if first => {
                tracing::warn!("the API server cannot be reached, so statuses wait; dataflows go on: {error}");
            }
            Failure::Forbidden | Failure::Unreachable => {}
            Failure::Refused => tracing::warn!("{kind} {key}: its status is not written, and tried again: {error}"),
        }
    }
}
