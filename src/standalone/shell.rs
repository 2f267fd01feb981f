//! Effects: the shell. A pass over the folder's manifests every half second: probes and steps are carried out, statuses written,
//! the board drawn. It decides nothing: `reconcile` does.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::board::Row;
use super::fleet::Fleet;
use super::folder::ManifestFolder;
use super::manifests::{ACTIVATION, DESTINATION};
use super::measure;
use super::publish::{PublishError, StatusFolder};
use super::summary::Summary;
use super::updates::{self, Taken, Updates, UpdatesError};
use crate::dataflow::progress::Progress;
use crate::dataflow::{DataflowError, Desks, state};
use crate::hub::retention::{self, Retention};
use crate::hub::{Hub, Writer};
use crate::kinesis::client::{HttpPool, StreamClient};
use crate::kinesis::probe::{self, ProbeReport};
use crate::reconcile::{self, About, Memory, Notification, ObjectKey, Outcome, ProcessPolicy, ValidDestination};
use crate::store::StoreError;
use crate::telemetry::clock;
use crate::telemetry::health::{Heartbeats, Readiness};
use crate::telemetry::metrics::{HubSample, Metrics};

/// Between two passes.
const PASS: Duration = Duration::from_millis(500);
/// Between two looks at what can be forgotten.
const FORGET: Duration = Duration::from_secs(30);
/// A loop that has not turned for so long is told by `/livez`.
const STANDSTILL: Duration = Duration::from_mins(1);

/// The gate that opens once the manifests were taken up.
pub const READY: &str = "manifests";

/// What to run.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The manifests: a folder or a file.
    pub manifests: PathBuf,
    /// Where statuses are written.
    pub statuses: PathBuf,
    /// Updates to take up besides those that come by HTTP.
    pub updates: Option<Updates>,
    /// Whether to end once everything is taken up and exported.
    pub until_idle: bool,
    /// What the process decides.
    pub policy: ProcessPolicy,
    /// Whether destinations of every namespace may use the process's own credentials: whoever fills the folder lends them.
    pub allow_ambient: bool,
    /// How much of the change log is kept.
    pub retention: Retention,
    /// Whether a dataflow whose position is gone from the log goes on by a resync. Otherwise it stops and waits for one to be asked
    /// for.
    pub resync_lost_position: bool,
}

/// What it runs with.
pub struct Means {
    /// The profile hub.
    pub hub: Hub,
    /// The hub's writer, which must not end before the shell.
    pub writer: Writer,
    /// Connections to AWS.
    pub pool: HttpPool,
    /// Where dataflows are asked.
    pub desks: Desks,
    /// What is measured.
    pub metrics: Metrics,
    /// Who turns.
    pub heartbeats: Heartbeats,
    /// What must be there before the process serves.
    pub readiness: Readiness,
}

/// Why the shell cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum ShellError {
    /// The store, or the hub's writer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What is stored of a dataflow.
    #[error(transparent)]
    Dataflow(#[from] DataflowError),
    /// There is no folder for the statuses.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// The updates could not be taken up.
    #[error(transparent)]
    Updates(#[from] UpdatesError),
    /// A task ended by itself.
    #[error("a task failed: {0}")]
    Task(#[from] tokio::task::JoinError),
    /// There is nothing to run.
    #[error("{}: no manifest could be used: mend what is told above", .0.display())]
    Nothing(PathBuf),
}

struct Shell<'a> {
    settings: &'a Settings,
    means: &'a Means,
    folder: ManifestFolder,
    statuses: StatusFolder,
    memory: Memory,
    fleet: Fleet<'a>,
    probes: JoinSet<(ValidDestination, ProbeReport)>,
    updates: Option<JoinHandle<Result<Taken, UpdatesError>>>,
    summary: Summary,
    rows: Vec<Row>,
    notifications: Vec<Notification>,
    /// Why the statuses could not be written the last time.
    trouble: Option<String>,
    /// When it was last looked at what can be forgotten.
    forgotten: Duration,
}

/// Runs until `stop`, or, where it is asked to, until everything is exported. `show` draws the board after each pass; `post` takes
/// what is to be told to a webhook.
pub async fn run(
    settings: &Settings,
    means: &Means,
    stop: CancellationToken,
    mut show: impl FnMut(&[Row]),
    mut post: impl FnMut(Notification),
) -> Result<Summary, ShellError> {
    let mut shell = Shell::open(settings, means)?;
    let heartbeat = means.heartbeats.watch("reconcile", STANDSTILL, clock::monotonic());
    let mut passes = interval(PASS);
    passes.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let reading = CancellationToken::new();
    let result = loop {
        tokio::select! {
            () = stop.cancelled() => break Ok(()),
            _ = passes.tick() => {}
        }
        heartbeat.beat(clock::monotonic());
        if let Err(error) = shell.turn(&reading).await {
            break Err(error);
        }
        means.readiness.open(READY);
        show(&shell.rows);
        shell.notifications.drain(..).for_each(&mut post);
        if settings.until_idle && shell.is_idle() {
            break Ok(());
        }
    };
    reading.cancel();
    let ended = shell.end().await;
    show(&shell.rows);
    shell.notifications.drain(..).for_each(&mut post);
    result.and(ended).map(|()| shell.summary)
}

impl<'a> Shell<'a> {
    fn open(settings: &'a Settings, means: &'a Means) -> Result<Self, ShellError> {
        let statuses = StatusFolder::open(&settings.statuses)?;
        let mut folder = ManifestFolder::new(&settings.manifests);
        folder.look(&statuses);
        let found = folder.inventory();
        if found.destinations.is_empty() && found.activations.is_empty() && folder.refused() > 0 {
            return Err(ShellError::Nothing(settings.manifests.clone()));
        }
        let mut memory = Memory::default();
        let store = means.hub.store();
        for (name, _) in state::all(store)? {
            if let (Some((namespace, object)), Some(mapping)) =
                (name.split_once('/'), state::load_mapping(store, &name)?)
            {
                memory.recall(ObjectKey::new(namespace, object), Arc::new(mapping));
            }
        }
        mark_deleted(&folder, means)?;
        Ok(Self {
            settings,
            means,
            folder,
            statuses,
            memory,
            fleet: Fleet::new(means, settings.resync_lost_position),
            probes: JoinSet::new(),
            updates: None,
            summary: Summary::default(),
            rows: Vec::new(),
            notifications: Vec::new(),
            trouble: None,
            forgotten: clock::monotonic(),
        })
    }

    /// One look, one pass, and what follows from it.
    async fn turn(&mut self, reading: &CancellationToken) -> Result<(), ShellError> {
        if !self.means.writer.is_running() {
            return Err(ShellError::Store(StoreError::Value("hub writer, which has ended")));
        }
        let changed = self.folder.look(&self.statuses);
        for (key, why) in self.fleet.take_up_ends().await {
            tracing::error!("dataflow {key}: ended though nobody told it to: {why}");
            self.memory.ended(&key, &why, clock::now());
        }
        while let Some(probed) = self.probes.try_join_next() {
            let (destination, report) = probed?;
            self.memory.probed(&destination, report, clock::now());
        }
        let progress = self.fleet.progress();
        let policy = self.policy();
        let outcome = reconcile::pass(self.folder.inventory(), &mut self.memory, &progress, &policy, clock::now());
        self.notifications.extend(outcome.notifications.iter().cloned());
        self.apply(&outcome).await;
        if changed {
            // Only now that what was removed has stopped: its last checkpoint would take the mark away.
            mark_deleted(&self.folder, self.means)?;
        }
        self.publish(&outcome, &progress);
        self.begin_updates(reading).await?;
        let now = clock::monotonic();
        if now.saturating_sub(self.forgotten) >= FORGET {
            self.forgotten = now;
            self.forget().await?;
        }
        Ok(())
    }

    fn policy(&self) -> ProcessPolicy {
        let mut policy = self.settings.policy.clone();
        if self.settings.allow_ambient {
            let namespaces = self.folder.inventory().destinations.keys().map(|key| key.namespace.clone());
            policy.ambient_namespaces.extend(namespaces);
        }
        policy
    }

    async fn apply(&mut self, outcome: &Outcome) {
        for (key, destination) in &outcome.probes_due {
            tracing::debug!(destination = %key, "asking AWS what may be done");
            let (pool, destination) = (self.means.pool.clone(), destination.clone());
            self.probes.spawn(async move {
                let client = StreamClient::connect(&destination.target, &pool).await;
                let report = probe::probe(&client, destination.method).await;
                (destination, report)
            });
        }
        for event in &outcome.events {
            let (key, reason, message) = (&event.key, event.reason, &event.message);
            let kind = match event.about {
                About::Destination => DESTINATION,
                About::Activation => ACTIVATION,
            };
            if event.warning {
                tracing::warn!(%reason, "{kind} {key}: {message}");
            } else {
                tracing::info!(%reason, "{kind} {key}: {message}");
            }
        }
        self.fleet.begin_stops(&outcome.steps);
        for (key, step) in &outcome.steps {
            tracing::info!("dataflow {key}: {step}");
            if let Err(error) = self.fleet.carry_out(key, step).await {
                tracing::error!("dataflow {key}: {step}: {error}");
                self.memory.ended(key, &error.to_string(), clock::now());
            }
        }
    }

    fn publish(&mut self, outcome: &Outcome, progress: &BTreeMap<ObjectKey, Progress>) {
        self.rows.clear();
        for (key, status) in &outcome.activation_statuses {
            let rate = progress.get(key).map_or(0.0, |progress| progress.rate);
            self.rows.push(Row::of(key.to_string(), status, rate));
        }
        self.summary.refused = self.folder.refused();
        for (key, progress) in progress {
            // What has stopped in this pass is no longer measured.
            let status = outcome.activation_statuses.get(key).filter(|_| self.fleet.runs(key));
            match status {
                Some(status) => {
                    let sample = measure::sample(progress, status, clock::now());
                    self.means.metrics.set_dataflow(&key.namespace, &key.name, sample);
                }
                None => self.means.metrics.forget_dataflow(&key.namespace, &key.name),
            }
        }
        self.summary.observe(progress, &outcome.activation_statuses);
        // Data goes on where a status cannot be written: that is told, and tried again with the next pass.
        let trouble = self.write_statuses(outcome).err().map(|error| error.to_string());
        if let Some(message) = trouble.as_ref().filter(|_| self.trouble != trouble) {
            tracing::error!("{message}");
        }
        self.trouble = trouble;
    }

    fn write_statuses(&mut self, outcome: &Outcome) -> Result<(), PublishError> {
        for (key, status) in &outcome.destination_statuses {
            self.statuses.write(&self.folder.identity(DESTINATION, key), status)?;
        }
        for (key, status) in &outcome.activation_statuses {
            self.statuses.write(&self.folder.identity(ACTIVATION, key), status)?;
        }
        if self.folder.refused() > 0 {
            return Ok(());
        }
        let there = outcome.destination_statuses.keys().map(|key| (DESTINATION, key));
        self.statuses.retain(there.chain(outcome.activation_statuses.keys().map(|key| (ACTIVATION, key))))
    }

    /// Updates are taken up once the dataflows have their start positions, so that the first of them counts as live.
    async fn begin_updates(&mut self, reading: &CancellationToken) -> Result<(), ShellError> {
        let Some(wanted) = self.settings.updates.clone() else {
            self.summary.updates_done = true;
            return Ok(());
        };
        match self.updates.take() {
            None if !self.summary.updates_done => {
                let (hub, reading) = (self.means.hub.clone(), reading.clone());
                self.updates = Some(tokio::spawn(async move { updates::take_up(&wanted, &hub, &reading).await }));
            }
            Some(task) if task.is_finished() => {
                self.summary.updates_done = true;
                self.summary.updates = Some(task.await??);
            }
            unfinished => self.updates = unfinished,
        }
        Ok(())
    }

    async fn forget(&self) -> Result<(), ShellError> {
        mark_deleted(&self.folder, self.means)?;
        let (store, bounds) = (self.means.hub.store().clone(), self.settings.retention);
        let (first, disk) = tokio::task::spawn_blocking(move || {
            let now = clock::now();
            let trimmed = retention::trim(&store, state::slowest(&store)?, bounds, now)?;
            retention::forget_answers(&store, now)?;
            tracing::debug!(trimmed, "trimmed the change log");
            Ok::<_, ShellError>((store.first_position()?, store.disk_bytes()))
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

    /// Whether everything that came is taken up and exported.
    fn is_idle(&self) -> bool {
        let head = *self.means.hub.head().borrow();
        self.summary.updates_done && self.probes.is_empty() && self.fleet.is_idle(head)
    }

    /// Stops every dataflow at once, each drained and checkpointed, and writes the last statuses.
    async fn end(&mut self) -> Result<(), ShellError> {
        // Whatever else fails, every dataflow is stopped in order.
        let mut first_error = Ok(());
        if let Some(task) = self.updates.take() {
            match task.await? {
                Ok(taken) => self.summary.updates = Some(taken),
                Err(error) => first_error = Err(error.into()),
            }
        }
        let (last, stopped) = self.fleet.stop_all().await;
        first_error = first_error.and(stopped.map_err(ShellError::Dataflow));
        self.probes.abort_all();
        let policy = self.policy();
        let outcome = reconcile::pass(self.folder.inventory(), &mut self.memory, &last, &policy, clock::now());
        self.notifications.extend(outcome.notifications.iter().cloned());
        self.publish(&outcome, &last);
        first_error
    }
}

/// Marks the state of dataflows whose activations are gone, and forgets what has been gone for a day. Where a manifest is refused,
/// what is not there may be in it, and nothing is taken for gone.
fn mark_deleted(folder: &ManifestFolder, means: &Means) -> Result<(), ShellError> {
    if folder.refused() > 0 {
        return Ok(());
    }
    let there = |name: &str| {
        name.split_once('/').is_some_and(|(namespace, name)| {
            folder.inventory().activations.contains_key(&ObjectKey::new(namespace, name))
        })
    };
    Ok(state::mark_deleted(means.hub.store(), there, clock::now())?)
}
