//! Effects: the shell. A look at the folder's manifests every half second: the driver does what follows from it, statuses are
//! written, the board is drawn. It decides nothing: `reconcile` does.

use std::path::PathBuf;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::board::Row;
use super::folder::ManifestFolder;
use super::manifests::{ACTIVATION, DESTINATION};
use super::publish::{PublishError, StatusFolder};
use super::summary::Summary;
use super::updates::{self, Taken, Updates, UpdatesError};
use crate::fleet::{Driver, DriverError, Look};
use crate::reconcile::{About, Notification, Outcome, ProcessPolicy};
use crate::telemetry::clock;
use crate::telemetry::health::{Heartbeats, Readiness};

/// Between two passes.
const PASS: Duration = Duration::from_millis(500);
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
}

/// What it runs with.
pub struct Means {
    /// What runs the dataflows.
    pub driver: Driver,
    /// Who turns.
    pub heartbeats: Heartbeats,
    /// What must be there before the process serves.
    pub readiness: Readiness,
}

/// Why the shell cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum ShellError {
    /// What runs the dataflows cannot go on.
    #[error(transparent)]
    Driver(#[from] DriverError),
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
    driver: Driver,
    folder: ManifestFolder,
    statuses: StatusFolder,
    updates: Option<JoinHandle<Result<Taken, UpdatesError>>>,
    summary: Summary,
    rows: Vec<Row>,
    notifications: Vec<Notification>,
    /// Why the statuses could not be written the last time.
    trouble: Option<String>,
}

/// Runs until `stop`, or, where it is asked to, until everything is exported. `show` draws the board after each pass; `post` takes
/// what is to be told to a webhook.
pub async fn run(
    settings: &Settings,
    means: Means,
    stop: CancellationToken,
    mut show: impl FnMut(&[Row]),
    mut post: impl FnMut(Notification),
) -> Result<Summary, ShellError> {
    let Means { driver, heartbeats, readiness } = means;
    let mut shell = Shell::open(settings, driver)?;
    let heartbeat = heartbeats.watch("reconcile", STANDSTILL, clock::monotonic());
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
        readiness.open(READY);
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
    fn open(settings: &'a Settings, driver: Driver) -> Result<Self, ShellError> {
        let statuses = StatusFolder::open(&settings.statuses)?;
        let mut folder = ManifestFolder::new(&settings.manifests);
        folder.look(&statuses);
        let found = folder.inventory();
        if found.destinations.is_empty() && found.activations.is_empty() && folder.refused() > 0 {
            return Err(ShellError::Nothing(settings.manifests.clone()));
        }
        Ok(Self {
            settings,
            driver,
            folder,
            statuses,
            updates: None,
            summary: Summary::default(),
            rows: Vec::new(),
            notifications: Vec::new(),
            trouble: None,
        })
    }

    /// One look, and what follows from it.
    async fn turn(&mut self, reading: &CancellationToken) -> Result<(), ShellError> {
        self.folder.look(&self.statuses);
        let policy = self.policy();
        let refused = self.folder.refused() > 0;
        let look = Look { inventory: self.folder.inventory(), may_be_there: &|_| refused, policy: &policy };
        let outcome = self.driver.turn(look).await?;
        self.show(&outcome);
        self.begin_updates(reading).await
    }

    fn policy(&self) -> ProcessPolicy {
        let mut policy = self.settings.policy.clone();
        if self.settings.allow_ambient {
            let namespaces = self.folder.inventory().destinations.keys().map(|key| key.namespace.clone());
            policy.ambient_namespaces.extend(namespaces);
        }
        policy
    }

    /// Tells what happened, and what there is to see.
    fn show(&mut self, outcome: &Outcome) {
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
        self.notifications.extend(outcome.notifications.iter().cloned());
        let progress = self.driver.progress();
        self.rows.clear();
        for (key, status) in &outcome.activation_statuses {
            let rate = progress.get(key).map_or(0.0, |progress| progress.rate);
            self.rows.push(Row::of(key.to_string(), status, rate));
        }
        self.summary.refused = self.folder.refused();
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
                let (hub, reading) = (self.driver.hub().clone(), reading.clone());
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

    /// Whether everything that came is taken up and exported.
    fn is_idle(&self) -> bool {
        self.summary.updates_done && self.driver.is_idle()
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
        let policy = self.policy();
        let refused = self.folder.refused() > 0;
        let look = Look { inventory: self.folder.inventory(), may_be_there: &|_| refused, policy: &policy };
        let (outcome, ended) = self.driver.end(look).await;
        self.show(&outcome);
        first_error.and(ended.map_err(ShellError::Driver))
    }
}
