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
use super::folder::{ACTIVATION, DESTINATION, ManifestFolder};
use super::measure;
use super::publish::{PublishError, StatusFolder};
use super::summary::Summary;
use super::updates::{self, Taken, Updates, UpdatesError};
use crate::dataflow::progress::Progress;
use crate::dataflow::{Dataflow, DataflowError, Desks, Plan, Source, state};
use crate::feed::Embedded;
use crate::hub::retention::{self, Retention};
use crate::hub::{Hub, Writer};
use crate::kinesis::client::{HttpPool, SharedClient, StreamClient};
use crate::kinesis::probe::{self, ProbeReport};
use crate::reconcile::{
    self, Desired, Memory, Notification, ObjectKey, Outcome, ProcessPolicy, Step, ValidDestination,
};
use crate::store::StoreError;
use crate::telemetry::clock;
use crate::telemetry::health::Heartbeats;
use crate::telemetry::metrics::{HubSample, Metrics};

/// Between two passes.
const PASS: Duration = Duration::from_millis(500);
/// Between two looks at what can be forgotten.
const FORGET: Duration = Duration::from_secs(30);
/// A loop that has not turned for so long is told by `/livez`.
const STANDSTILL: Duration = Duration::from_mins(1);

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
    /// A status could not be written.
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

struct Running {
    dataflow: Dataflow,
    client: SharedClient,
    told: Desired,
}

struct Shell<'a> {
    settings: &'a Settings,
    means: &'a Means,
    folder: ManifestFolder,
    statuses: StatusFolder,
    memory: Memory,
    running: BTreeMap<ObjectKey, Running>,
    probes: JoinSet<(ValidDestination, ProbeReport)>,
    updates: Option<JoinHandle<Result<Taken, UpdatesError>>>,
    summary: Summary,
    rows: Vec<Row>,
    notifications: Vec<Notification>,
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
        show(&shell.rows);
        shell.notifications.drain(..).for_each(&mut post);
        if settings.until_idle && shell.is_idle() {
            break Ok(());
        }
    };
    reading.cancel();
    shell.end().await?;
    show(&shell.rows);
    shell.notifications.drain(..).for_each(&mut post);
    result.map(|()| shell.summary)
}

impl<'a> Shell<'a> {
    fn open(settings: &'a Settings, means: &'a Means) -> Result<Self, ShellError> {
        let statuses = StatusFolder::open(&settings.statuses)?;
        let mut folder = ManifestFolder::new(&settings.manifests);
        folder.look(&statuses);
        let found = folder.inventory();
        if found.destinations.is_empty() && found.activations.is_empty() && folder.has_refusal() {
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
            running: BTreeMap::new(),
            probes: JoinSet::new(),
            updates: None,
            summary: Summary::default(),
            rows: Vec::new(),
            notifications: Vec::new(),
            forgotten: clock::monotonic(),
        })
    }

    /// One look, one pass, and what follows from it.
    async fn turn(&mut self, reading: &CancellationToken) -> Result<(), ShellError> {
        if !self.means.writer.is_running() {
            return Err(ShellError::Store(StoreError::Value("hub writer, which has ended")));
        }
        if self.folder.look(&self.statuses) {
            mark_deleted(&self.folder, self.means)?;
        }
        self.take_up_ends().await;
        while let Some(probed) = self.probes.try_join_next() {
            let (destination, report) = probed?;
            self.memory.probed(&destination, report, clock::now());
        }
        let progress = self.progress();
        let policy = self.policy();
        let outcome = reconcile::pass(self.folder.inventory(), &mut self.memory, &progress, &policy, clock::now());
        self.notifications.extend(outcome.notifications.iter().cloned());
        self.apply(&outcome).await;
        self.publish(&outcome, &progress)?;
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

    /// Dataflows that ended though nobody told them to.
    async fn take_up_ends(&mut self) {
        let ended: Vec<ObjectKey> = self
            .running
            .iter()
            .filter(|(_, running)| running.dataflow.is_finished())
            .map(|(key, _)| key.clone())
            .collect();
        for key in ended {
            let Some(running) = self.running.remove(&key) else { continue };
            self.means.desks.close(&key.to_string());
            let why = match running.dataflow.stop().await {
                Ok(()) => "it ended by itself".to_owned(),
                Err(error) => error.to_string(),
            };
            tracing::error!(activation = %key, "the dataflow ended: {why}");
            self.memory.ended(&key, &why, clock::now());
        }
    }

    fn progress(&self) -> BTreeMap<ObjectKey, Progress> {
        self.running
            .iter()
            .map(|(key, running)| (key.clone(), Progress::clone(&running.dataflow.progress().borrow())))
            .collect()
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
            if event.warning {
                tracing::warn!(resource = %key, %reason, "{message}");
            } else {
                tracing::info!(resource = %key, %reason, "{message}");
            }
        }
        for (key, step) in &outcome.steps {
            tracing::info!(activation = %key, "{step}");
            if let Err(error) = self.carry_out(key, step).await {
                tracing::error!(activation = %key, "{step}: {error}");
                self.memory.ended(key, &error.to_string(), clock::now());
            }
        }
    }

    async fn carry_out(&mut self, key: &ObjectKey, step: &Step) -> Result<(), DataflowError> {
        match step {
            Step::Start(desired) => self.start(key, desired).await,
            Step::Restart { desired, .. } => {
                self.stop(key).await?;
                self.start(key, desired).await
            }
            Step::Stop { .. } => self.stop(key).await,
            Step::Retarget(target) => {
                let Some(running) = self.running.get_mut(key) else { return Err(DataflowError::Stopped) };
                running.client.replace(StreamClient::connect(target, &self.means.pool).await);
                running.told.target = (**target).clone();
                Ok(())
            }
            Step::Remap(_) | Step::Resettle { .. } | Step::Resync { .. } => {
                let Some(running) = self.running.get_mut(key) else { return Err(DataflowError::Stopped) };
                match step {
                    Step::Remap(mapping) => running.told.mapping = Arc::clone(mapping),
                    Step::Resettle { sender, backfill } => {
                        running.told.sender = (**sender).clone();
                        running.told.backfill = backfill.clone();
                    }
                    Step::Resync { request } => running.told.resync = Some(request.clone()),
                    _ => {}
                }
                running.dataflow.follow(plan(&running.told));
                Ok(())
            }
        }
    }

    async fn start(&mut self, key: &ObjectKey, desired: &Desired) -> Result<(), DataflowError> {
        let hub = &self.means.hub;
        let client = SharedClient::new(StreamClient::connect(&desired.target, &self.means.pool).await);
        let head = hub.head();
        let start = *head.borrow();
        let source = Source { feed: Embedded::new(hub), start, head: Some(head) };
        let store = hub.store().clone();
        let dataflow = Dataflow::start(source, store, client.clone(), plan(desired), clock::now()).await?;
        self.means.desks.open(key.to_string(), dataflow.desk());
        self.running.insert(key.clone(), Running { dataflow, client, told: desired.clone() });
        Ok(())
    }

    async fn stop(&mut self, key: &ObjectKey) -> Result<(), DataflowError> {
        self.means.desks.close(&key.to_string());
        self.means.metrics.forget_dataflow(&key.namespace, &key.name);
        let Some(running) = self.running.remove(key) else { return Ok(()) };
        running.dataflow.stop().await
    }

    fn publish(&mut self, outcome: &Outcome, progress: &BTreeMap<ObjectKey, Progress>) -> Result<(), ShellError> {
        for (key, status) in &outcome.destination_statuses {
            self.statuses.write(DESTINATION, key, status)?;
        }
        self.rows.clear();
        for (key, status) in &outcome.activation_statuses {
            self.statuses.write(ACTIVATION, key, status)?;
            let rate = progress.get(key).map_or(0.0, |progress| progress.rate);
            self.rows.push(Row::of(key.to_string(), status, rate));
        }
        let there = outcome.destination_statuses.keys().map(|key| (DESTINATION, key));
        self.statuses.retain(there.chain(outcome.activation_statuses.keys().map(|key| (ACTIVATION, key))))?;
        for (key, progress) in progress {
            if let Some(status) = outcome.activation_statuses.get(key) {
                let sample = measure::sample(progress, status, clock::now());
                self.means.metrics.set_dataflow(&key.namespace, &key.name, sample);
            }
        }
        self.summary.observe(progress, &outcome.activation_statuses);
        Ok(())
    }

    /// Updates are taken up once the dataflows have their start positions, so that the first of them counts as live.
    async fn begin_updates(&mut self, reading: &CancellationToken) -> Result<(), ShellError> {
        let Some(wanted) = self.settings.updates.clone() else {
            self.summary.updates_done = true;
            return Ok(());
        };
        match &mut self.updates {
            None if !self.summary.updates_done => {
                let (hub, reading) = (self.means.hub.clone(), reading.clone());
                self.updates =
                    Some(tokio::spawn(async move { updates::take_up(&wanted, &hub, &reading, |_| ()).await }));
            }
            Some(task) if task.is_finished() => {
                let taken = task.await??;
                self.updates = None;
                self.summary.updates = Some(taken);
                self.summary.updates_done = true;
            }
            _ => {}
        }
        Ok(())
    }

    async fn forget(&self) -> Result<(), ShellError> {
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
        let idle = |running: &Running| {
            let progress = running.dataflow.progress();
            let progress = progress.borrow();
            !progress.busy && progress.position == head && *progress.mapping == *running.told.mapping
        };
        self.summary.updates_done && self.probes.is_empty() && self.running.values().all(idle)
    }

    /// Stops every dataflow at once, each drained and checkpointed, and writes the last statuses.
    async fn end(&mut self) -> Result<(), ShellError> {
        if let Some(task) = self.updates.take() {
            self.summary.updates = Some(task.await??);
        }
        for running in self.running.values() {
            running.dataflow.begin_stop();
        }
        let mut last = BTreeMap::new();
        let mut first_error = Ok(());
        for (key, running) in std::mem::take(&mut self.running) {
            self.means.desks.close(&key.to_string());
            let progress = running.dataflow.progress();
            if let Err(error) = running.dataflow.stop().await {
                tracing::error!(activation = %key, "the dataflow did not stop cleanly: {error}");
                first_error = Err(ShellError::Dataflow(error));
            }
            last.insert(key, Progress::clone(&progress.borrow()));
        }
        self.probes.abort_all();
        let policy = self.policy();
        let outcome = reconcile::pass(self.folder.inventory(), &mut self.memory, &last, &policy, clock::now());
        self.notifications.extend(outcome.notifications.iter().cloned());
        self.publish(&outcome, &last)?;
        first_error
    }
}

fn plan(desired: &Desired) -> Plan {
    Plan {
        name: desired.key.to_string(),
        mapping: (*desired.mapping).clone(),
        backfill: desired.backfill.enabled,
        backfill_records_per_second: desired.backfill.max_records_per_second,
        sender: desired.sender.clone(),
        resync: desired.resync.clone(),
        resync_lost_position: true,
    }
}

fn mark_deleted(folder: &ManifestFolder, means: &Means) -> Result<(), ShellError> {
    let there = |name: &str| {
        name.split_once('/').is_some_and(|(namespace, name)| {
            folder.inventory().activations.contains_key(&ObjectKey::new(namespace, name))
        })
    };
    Ok(state::mark_deleted(means.hub.store(), there, clock::now())?)
}
