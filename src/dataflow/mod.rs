//! A dataflow: feed, export, sender, position. One worker per activation, one partition per worker.
//!
//! ```text
//! reader --batches--> worker: export::live --offer--> sender --requests--> Kinesis
//!                        |  ^                            |
//!    chunk (backfill) ---+  +---- tracker <--- done -----+
//!                                    |
//!                                    v   the position moves over what is done with
//!                     checkpoint: position, counters, cursor, dead letters, in one durable batch
//! ```
//!
//! Reading order: [`state`] (what is kept), [`progress`] (what is told), [`dead_letters`]; then the worker and the handle on it,
//! [`Dataflow`]. Whatever happens to the worker, the next one starts at the checkpoint: at most a window is exported again, and
//! nothing is skipped.

mod chunk;
pub mod dead_letters;
mod desks;
mod meter;
pub mod progress;
mod reader;
mod sabotage;
pub mod state;
mod tracker;
mod worker;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::export::mapping::MappingError;
use crate::export::{Mapping, MappingSpec};
use crate::feed::Feed;
use crate::kinesis::client::SharedClient;
use crate::kinesis::sender::Settings;
use crate::profile::change::ChangeError;
use crate::store::{Store, StoreError};
use dead_letters::Selection;
pub use desks::Desks;
use progress::Progress;
use state::Checkpoint;

/// Why a dataflow cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum DataflowError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What the store holds of the dataflow cannot be read.
    #[error("what is stored of the dataflow is damaged: {0}: restore the data directory from a backup")]
    Damaged(serde_json::Error),
    /// A stored profile cannot be read.
    #[error("a stored profile is damaged: {0}: restore the data directory from a backup")]
    Profile(ChangeError),
    /// The mapping cannot be used.
    #[error(transparent)]
    Mapping(#[from] MappingError),
    /// A task of the dataflow ended by itself.
    #[error("a task of the dataflow failed: {0}")]
    Task(#[from] tokio::task::JoinError),
    /// The dataflow has stopped.
    #[error("the dataflow does not run at this moment: try again later")]
    Stopped,
}

/// What a dataflow is asked to do. It can be changed while it runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// `namespace/name` of the activation: what its state is kept under.
    pub name: String,
    /// What is exported.
    pub mapping: MappingSpec,
    /// Whether the members of added audiences are exported.
    pub backfill: bool,
    /// The most that a backfill exports per second.
    pub backfill_records_per_second: Option<u32>,
    /// How records are delivered.
    pub sender: Settings,
    /// Another value than before asks for a resync.
    pub resync: Option<String>,
    /// Whether a lost position starts a resync by itself.
    pub resync_lost_position: bool,
}

/// Where the worker's changes come from, beside the feed itself.
pub struct Source<F> {
    /// The changes.
    pub feed: F,
    /// Where a new dataflow begins.
    pub start: u64,
    /// The feed's end, as it moves; `None` where the feed tells it by itself only.
    pub head: Option<watch::Receiver<u64>>,
}

/// A running dataflow, for its owner. Dropped without [`Dataflow::stop`], it ends as after a crash.
pub struct Dataflow {
    plan: watch::Sender<Arc<Plan>>,
    commands: mpsc::Sender<Command>,
    progress: watch::Receiver<Arc<Progress>>,
    stop: CancellationToken,
    task: AbortOnDropHandle<Result<(), DataflowError>>,
}

/// What a dataflow can be asked besides.
enum Command {
    /// Dead letters are to be sent again; answers how many.
    Resend(Selection, oneshot::Sender<Result<u64, DataflowError>>),
    /// Dead letters are to be dropped; answers how many.
    Discard(Selection, oneshot::Sender<Result<u64, DataflowError>>),
}

/// A way to ask a running dataflow, for others than its owner. Cheap to clone.
#[derive(Clone)]
pub struct Desk {
    commands: mpsc::Sender<Command>,
}

/// How long a stopping dataflow waits for its records under way. What is not through by then is exported again.
pub const DRAIN: Duration = Duration::from_secs(20);

impl Dataflow {
    /// Starts a dataflow where it stopped, or, a new one, at the feed's `start`, which is durable before anything runs.
    pub async fn start<F: Feed + 'static>(
        source: Source<F>,
        store: Store,
        client: SharedClient,
        plan: Plan,
        now: Timestamp,
    ) -> Result<Self, DataflowError> {
        let (opened, source, store, plan) = tokio::task::spawn_blocking(move || {
            let opened = open(&store, &plan, source.start, F::AHEAD, now);
            opened.map(|opened| (opened, source, store, plan))
        })
        .await??;
        let plan = Arc::new(plan);
        let (plan_sender, plans) = watch::channel(Arc::clone(&plan));
        let (command_sender, commands) = mpsc::channel(16);
        let stop = CancellationToken::new();
        let (worker, progress) = worker::Worker::new(
            opened,
            source,
            store,
            client,
            plan,
            worker::Inbox { plans, commands, stop: stop.clone() },
        );
        Ok(Self {
            plan: plan_sender,
            commands: command_sender,
            progress,
            stop,
            task: AbortOnDropHandle::new(tokio::spawn(worker.run())),
        })
    }

    /// Changes what it does: at once where it can, and at a drained, checkpointed position where the mapping changes.
    pub fn follow(&self, plan: Plan) {
        self.plan.send_if_modified(|current| {
            let changed = **current != plan;
            if changed {
                *current = Arc::new(plan);
            }
            changed
        });
    }

    /// What it was asked to do last.
    pub fn plan(&self) -> Arc<Plan> {
        Arc::clone(&self.plan.borrow())
    }

    /// What it tells of itself; tells when that moves.
    pub fn progress(&self) -> watch::Receiver<Arc<Progress>> {
        self.progress.clone()
    }

    /// A way to ask it.
    pub fn desk(&self) -> Desk {
        Desk { commands: self.commands.clone() }
    }

    /// Whether it has ended, by itself or because it was told to.
    pub fn is_finished(&self) -> bool {
        self.task.is_finished()
    }

    /// Asks it to stop: what is under way is awaited for [`DRAIN`], and checkpointed.
    pub fn begin_stop(&self) {
        self.stop.cancel();
    }

    /// Stops it and waits until it has. The error is what made it end before.
    pub async fn stop(self) -> Result<(), DataflowError> {
        self.stop.cancel();
        self.task.await?
    }
}

impl Desk {
    /// Sends dead letters again, through the fence, each profile as it is by then. Answers how many.
    pub async fn resend(&self, selection: Selection) -> Result<u64, DataflowError> {
        self.ask(|answer| Command::Resend(selection, answer)).await
    }

    /// Drops dead letters. Answers how many.
    pub async fn discard(&self, selection: Selection) -> Result<u64, DataflowError> {
        self.ask(|answer| Command::Discard(selection, answer)).await
    }

    async fn ask(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<u64, DataflowError>>) -> Command,
    ) -> Result<u64, DataflowError> {
        let (answer, answered) = oneshot::channel();
        self.commands.send(command(answer)).await.map_err(|_| DataflowError::Stopped)?;
        answered.await.map_err(|_| DataflowError::Stopped)?
    }
}

/// What a worker starts with.
struct Opened {
    checkpoint: Checkpoint,
    mapping: Arc<Mapping>,
    /// Below this position the mapping in force stays: it may have been exported under it.
    replay_until: u64,
    /// Whether another owner may have requests on their way: its last checkpoint is not of a clean stop.
    taken_over: bool,
    dead_letters: u64,
    oldest_dead_letter: Option<Timestamp>,
}

/// Reads what is stored, or begins, and makes durable that something is under way from now on.
fn open(store: &Store, plan: &Plan, start: u64, ahead: u64, now: Timestamp) -> Result<Opened, DataflowError> {
    let known = state::load(store, &plan.name)?.zip(state::load_mapping(store, &plan.name)?);
    let taken_over = known.as_ref().is_some_and(|(checkpoint, _)| !checkpoint.clean);
    let (mut checkpoint, spec, replay_until) = match known {
        Some((checkpoint, spec)) if !checkpoint.clean => {
            let replay_until = checkpoint.position.saturating_add(ahead).min(start);
            (checkpoint, spec, replay_until)
        }
        Some((mut checkpoint, spec)) => {
            if spec != plan.mapping {
                checkpoint.adopt(Some(&spec), &plan.mapping, plan.backfill, now);
                checkpoint.generation += 1;
            }
            let position = checkpoint.position;
            (checkpoint, plan.mapping.clone(), position)
        }
        None => {
            let mut checkpoint = Checkpoint::new(start, &plan.mapping, plan.backfill, now);
            // The first backfill tells everything that this resync would.
            checkpoint.resync.clone_from(&plan.resync);
            (checkpoint, plan.mapping.clone(), start)
        }
    };
    let mapping = Arc::new(Mapping::compile(spec)?);
    checkpoint.deleted_at = None;
    checkpoint.clean = false;
    let mut batch = store.batch();
    state::put_mapping(&mut batch, &plan.name, mapping.spec())?;
    state::put(&mut batch, &plan.name, &checkpoint)?;
    batch.commit()?;
    let (dead_letters, oldest_dead_letter) = dead_letters::count(store, &plan.name)?;
    Ok(Opened { checkpoint, mapping, replay_until, taken_over, dead_letters, oldest_dead_letter })
}
