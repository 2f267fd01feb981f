//! Effects: the driver. One look at the world: what ended and what AWS answered is taken up, `reconcile` decides, and what it
//! decides is begun. It waits for no dataflow and for no answer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::dataflows::Dataflows;
use super::measure;
use super::probes::Probes;
use crate::dataflow::progress::Progress;
use crate::dataflow::{DataflowError, Desks, state};
use crate::hub::Hub;
use crate::hub::retention::{self, Retention};
use crate::kinesis::client::HttpPool;
use crate::reconcile::{self, Inventory, Memory, ObjectKey, Outcome, ProcessPolicy};
use crate::store::StoreError;
use crate::telemetry::clock;
use crate::telemetry::metrics::{HubSample, Metrics};

/// Between two looks at what can be forgotten.
const FORGET: Duration = Duration::from_secs(30);

/// What the process decides about its dataflows.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// How much of the change log is kept.
    pub retention: Retention,
    /// Whether a dataflow whose position is gone from the log goes on by a resync. Otherwise it stops and waits for one to be asked
    /// for.
    pub resync_lost_position: bool,
}

/// What it is done with.
pub struct Means {
    /// The profile hub.
    pub hub: Hub,
    /// Connections to AWS.
    pub pool: HttpPool,
    /// Where dataflows are asked.
    pub desks: Desks,
    /// What is measured.
    pub metrics: Metrics,
    /// What the process decides.
    pub settings: Settings,
}

/// What a shell has found.
#[derive(Clone, Copy)]
pub struct Look<'a> {
    /// The resources that are there, and could be read.
    pub inventory: &'a Inventory,
    /// Whether an activation that is not in the inventory may be there all the same, unreadable. Its state is kept.
    pub may_be_there: &'a dyn Fn(&ObjectKey) -> bool,
    /// What the process, not the user, decides.
    pub policy: &'a ProcessPolicy,
}

/// Why the process cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// The store, or the hub's writer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What is stored of a dataflow.
    #[error(transparent)]
    Dataflow(#[from] DataflowError),
    /// A task ended by itself.
    #[error("a task failed: {0}")]
    Task(#[from] tokio::task::JoinError),
}

/// Runs the dataflows that a shell's resources ask for.
pub struct Driver {
    means: Means,
    memory: Memory,
    dataflows: Dataflows,
    probes: Probes,
    progress: BTreeMap<ObjectKey, Progress>,
    /// The activations for which it was last looked whose state nobody needs.
    there: Option<BTreeSet<ObjectKey>>,
    /// When it was last looked at what can be forgotten.
    forgotten: Duration,
}

impl Driver {
    /// With what the store holds of the dataflows that ran before.
    pub fn open(means: Means) -> Result<Self, DriverError> {
        let mut memory = Memory::default();
        let store = means.hub.store();
        for (name, _) in state::all(store)? {
            if let (Some((namespace, object)), Some(mapping)) =
                (name.split_once('/'), state::load_mapping(store, &name)?)
            {
                memory.recall(ObjectKey::new(namespace, object), Arc::new(mapping));
            }
        }
        let now = clock::monotonic();
        let probes = Probes::new(means.pool.clone());
        let (dataflows, progress) = (Dataflows::default(), BTreeMap::new());
        Ok(Self { means, memory, dataflows, probes, progress, there: None, forgotten: now })
    }

    /// One look, and what follows from it. An error ends the process: without its store it is of no use.
    pub async fn turn(&mut self, look: Look<'_>) -> Result<Outcome, DriverError> {
        if !self.means.hub.is_running() {
            return Err(DriverError::Store(StoreError::Value("hub writer, which has ended")));
        }
        for (key, why) in self.dataflows.take_up_ends(&self.means).await {
            self.failed(&key, &why);
        }
        while let Some((destination, report)) = self.probes.answered()? {
            self.memory.probed(&destination, report, clock::now());
        }
        self.progress = self.dataflows.progress();
        let outcome = self.pass(look);
        for (key, words) in &outcome.panics {
            tracing::error!("{key}: its judgement panicked, what runs of it is left as it is: {words}");
        }
        for (key, step) in &outcome.steps {
            tracing::info!("dataflow {key}: {step}");
            if let Err(error) = self.dataflows.begin(&self.means, key, step).await {
                self.failed(key, &format!("{step}: {error}"));
            }
        }
        for (key, destination) in &outcome.probes_due {
            self.probes.ask(key, destination);
        }
        self.probes.begin(clock::monotonic());
        self.measure(&outcome, clock::now());
        self.forget(look).await?;
        Ok(outcome)
    }

    fn pass(&mut self, look: Look<'_>) -> Outcome {
        reconcile::pass(look.inventory, &mut self.memory, &self.progress, look.policy, clock::now())
    }

    fn failed(&mut self, key: &ObjectKey, why: &str) {
        tracing::error!("dataflow {key}: {why}");
        self.memory.ended(key, why, clock::now());
    }

    /// What the dataflows told before the last pass.
    pub fn progress(&self) -> &BTreeMap<ObjectKey, Progress> {
        &self.progress
    }

    /// The profile hub.
    pub fn hub(&self) -> &Hub {
        &self.means.hub
    }

    /// Whether nothing runs of that activation, and nothing is still stopping.
    pub fn is_stopped(&self, key: &ObjectKey) -> bool {
        self.dataflows.is_stopped(key)
    }

    /// Whether everything in the log is exported, and nothing waits for an answer of AWS.
    pub fn is_idle(&self) -> bool {
        let head = *self.means.hub.head().borrow();
        self.probes.is_idle() && self.dataflows.is_idle(head)
    }

    /// Stops every dataflow at once, each drained and checkpointed. What a last pass says of them comes either way.
    pub async fn end(&mut self, look: Look<'_>) -> (Outcome, Result<(), DriverError>) {
        let (last, stopped) = self.dataflows.stop_all(&self.means).await;
        self.probes.end();
        self.progress = last;
        let outcome = self.pass(look);
        let there = look.inventory.activations.keys().cloned().collect();
        let marked = self.mark_deleted(&there, look);
        (outcome, stopped.map_err(DriverError::Dataflow).and(marked))
    }

    fn measure(&self, outcome: &Outcome, now: Timestamp) {
        for (key, progress) in &self.progress {
            let status = outcome.activation_statuses.get(key);
            // What has begun to stop in this pass is no longer measured.
            let Some(status) = status.filter(|_| self.dataflows.runs(key)) else { continue };
            self.means.metrics.set_dataflow(&key.namespace, &key.name, measure::sample(progress, status, now));
        }
    }

    /// Marks the state of dataflows whose activations are gone, forgets what has been gone for a day, and trims the log.
    async fn forget(&mut self, look: Look<'_>) -> Result<(), DriverError> {
        // What is still stopping writes its last checkpoint first, which would take the mark away.
        let mut there: BTreeSet<ObjectKey> = look.inventory.activations.keys().cloned().collect();
        there.extend(self.dataflows.keys().cloned());
        let now = clock::monotonic();
        let due = now.saturating_sub(self.forgotten) >= FORGET;
        if due || self.there.as_ref() != Some(&there) {
            self.mark_deleted(&there, look)?;
            self.there = Some(there);
        }
        if due {
            self.forgotten = now;
            self.trim().await?;
        }
        Ok(())
    }

    fn mark_deleted(&self, there: &BTreeSet<ObjectKey>, look: Look<'_>) -> Result<(), DriverError> {
        let is_there = |name: &str| {
            name.split_once('/').is_some_and(|(namespace, name)| {
                let key = ObjectKey::new(namespace, name);
                there.contains(&key) || (look.may_be_there)(&key)
            })
        };
        Ok(state::mark_deleted(self.means.hub.store(), is_there, clock::now())?)
    }

    async fn trim(&self) -> Result<(), DriverError> {
        let (store, bounds) = (self.means.hub.store().clone(), self.means.settings.retention);
        let (first, disk) = tokio::task::spawn_blocking(move || {
            let now = clock::now();
            let trimmed = retention::trim(&store, state::slowest(&store)?, bounds, now)?;
            retention::forget_answers(&store, now)?;
            tracing::debug!(trimmed, "trimmed the change log");
            Ok::<_, DriverError>((store.first_position()?, store.disk_bytes()))
        })
        .await??;
        self.means.metrics.set_hub(HubSample {
            log_first: first,
            log_head: *self.means.hub.head().borrow(),
            store_bytes: disk,
            queued_bytes: self.means.hub.queued_bytes(),
        });
        Ok(())
    }
}
