//! Effects: the shell. A look at everything that was dereferenced, twice a second and when something was brought: the driver does
//! what follows, statuses are offered, Events handed in, finalizers let go. It decides nothing: `reconcile` does.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use kube::Client;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::attempt::{Attempts, words};
use super::dereference;
use super::events::{self, EventQueue};
use super::finalizer::FINALIZER;
use super::publish::{self, Publisher};
use super::scope::Scope;
use super::shelf::{Queues, Shelf};
use super::stock::{Presence, Seen};
use super::surroundings;
use super::tell::Teller;
use super::watches::{self, Stores, Watching};
use crate::api::{AudienceActivation, KinesisDestination};
use crate::fleet::{Driver, DriverError, Look};
use crate::reconcile::{About, Notification, ObjectKey, Outcome, ProcessPolicy};
use crate::telemetry::clock;
use crate::telemetry::health::{Heartbeats, Readiness};
use crate::telemetry::metrics::Metrics;

/// Between two passes, at most.
const PASS: Duration = Duration::from_millis(500);
/// Between two passes, at least, however much is brought.
const PAUSE: Duration = Duration::from_millis(200);
/// A loop that has not turned for so long is told by `/livez`.
const STANDSTILL: Duration = Duration::from_mins(1);
/// How long the last statuses may take.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// As the metrics name the passes beside the reconciles.
const PASSES: &str = "pass";

/// The gate that opens once everything was read, and a pass was made.
pub const READY: &str = "resources";

/// What to run.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Which part of the cluster is this process's.
    pub scope: Scope,
    /// What the process decides.
    pub policy: ProcessPolicy,
    /// The name of the pod, as Events show it.
    pub instance: Option<String>,
}

/// What it runs with.
pub struct Means {
    /// Of the API server.
    pub client: Client,
    /// What runs the dataflows.
    pub driver: Driver,
    /// What is measured.
    pub metrics: Metrics,
    /// Who turns.
    pub heartbeats: Heartbeats,
    /// What must be there before the process serves.
    pub readiness: Readiness,
}

/// Why the shell cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ShellError {
    /// What runs the dataflows cannot go on.
    #[error(transparent)]
    Driver(#[from] DriverError),
    /// A watch, or another task that never ends, has ended.
    #[error("the task \"{0}\" ended, which it never does by itself: the process starts again")]
    Ended(&'static str),
    /// Such a task panicked.
    #[error("a task failed: {0}")]
    Task(#[from] tokio::task::JoinError),
}

/// Runs until `stop`. `post` takes what is to be told to a webhook.
pub async fn run(
    settings: &Settings,
    means: Means,
    stop: CancellationToken,
    mut post: impl FnMut(Notification),
) -> Result<(), ShellError> {
    let Means { client, driver, metrics, heartbeats, readiness } = means;
    let (publisher, writer) = publish::publisher(client.clone(), metrics.clone(), heartbeats.clone());
    let (events, recorder) = events::recorder(client.clone(), settings.instance.clone(), metrics.clone());
    let writing = CancellationToken::new();
    let mut telling = JoinSet::new();
    telling.spawn(writer.run(writing.clone()));
    telling.spawn(recorder.run(writing.clone()));

    let heartbeat = heartbeats.watch("reconcile", STANDSTILL, clock::monotonic());
    let mut shell = Shell::open(settings, client, driver, metrics, publisher, events);
    let result = loop {
        let woken = async {
            sleep(PAUSE).await;
            // Whether it was woken or not, it looks.
            let _ = timeout(PASS.saturating_sub(PAUSE), shell.shelf.woken()).await;
        };
        tokio::select! {
            () = stop.cancelled() => break Ok(()),
            Some(ended) = shell.tasks.join_next() => {
                break ended.map_err(ShellError::Task).and_then(|name| Err(ShellError::Ended(name)));
            }
            Some(ended) = telling.join_next() => {
                break ended.map_err(ShellError::Task).and_then(|()| Err(ShellError::Ended("status writer")));
            }
            () = woken => {}
        }
        heartbeat.beat(clock::monotonic());
        if let Err(error) = shell.turn(&readiness, &mut post).await {
            break Err(error);
        }
    };
    shell.tasks.shutdown().await;
    let ended = shell.end(&mut post).await;
    let untold = shell.teller.publisher.flush(LAST_WORDS).await;
    if untold > 0 {
        tracing::warn!(
            statuses = untold,
            "the last statuses could not be written; the next process tells what is so then"
        );
    }
    writing.cancel();
    while telling.join_next().await.is_some() {}
    result.and(ended)
}

struct Shell<'a> {
    settings: &'a Settings,
    driver: Driver,
    metrics: Metrics,
    shelf: Shelf,
    watching: Watching,
    queues: Arc<Queues>,
    attempts: Arc<Attempts>,
    destinations: Stores<KinesisDestination>,
    activations: Stores<AudienceActivation>,
    tasks: JoinSet<&'static str>,
    /// Of the activations that are not ours any more.
    releases: JoinSet<()>,
    teller: Teller,
    present: Presence,
    seen: Seen,
    /// Whether everything was read once. From then on the process goes on with what it knows.
    is_whole: bool,
}

impl<'a> Shell<'a> {
    fn open(
        settings: &'a Settings,
        client: Client,
        driver: Driver,
        metrics: Metrics,
        publisher: Publisher,
        events: EventQueue,
    ) -> Self {
        let (shelf, watching) = (Shelf::default(), Watching::default());
        let context = dereference::Context { client: client.clone(), shelf: shelf.clone(), watching: watching.clone() };
        let attempts = Arc::new(Attempts::new(context, metrics.clone()));
        let (mut queues, mut destinations, mut activations) = (Queues::default(), Stores::default(), Stores::default());
        let mut tasks = JoinSet::new();
        let scope = &settings.scope;
        for place in scope.places() {
            let means = watches::Means {
                client: client.clone(),
                shelf: shelf.clone(),
                watching: watching.clone(),
                attempts: Arc::clone(&attempts),
            };
            let watch = watches::watch(scope, &place, means.clone(), &mut queues, &mut destinations);
            tasks.spawn(watch.map(|()| "destinations"));
            let watch = watches::watch(scope, &place, means, &mut queues, &mut activations);
            tasks.spawn(watch.map(|()| "activations"));
        }
        let queues = Arc::new(queues);
        let means = surroundings::Means {
            client,
            shelf: shelf.clone(),
            watching: watching.clone(),
            queues: Arc::clone(&queues),
        };
        if scope.watch_secrets {
            for place in scope.places() {
                tasks.spawn(surroundings::watch_secrets(place, means.clone()).map(|()| "Secrets"));
            }
        }
        tasks.spawn(surroundings::follow_namespaces(scope.clone(), means).map(|()| "namespaces"));
        Self {
            settings,
            driver,
            metrics,
            shelf,
            watching,
            queues,
            attempts,
            destinations,
            activations,
            tasks,
            releases: JoinSet::new(),
            teller: Teller::new(publisher, events),
            present: Presence::new(),
            seen: Seen::default(),
            is_whole: false,
        }
    }

    /// One look, and what follows from it.
    async fn turn(&mut self, readiness: &Readiness, post: &mut impl FnMut(Notification)) -> Result<(), ShellError> {
        if !self.look() {
            readiness.shut(READY, self.missing());
            return Ok(());
        }
        let present = &self.present;
        let may_be_there = |key: &ObjectKey| present.contains_key(&(About::Activation, key.clone()));
        let policy = &self.settings.policy;
        let look = Look { inventory: &self.seen.inventory, may_be_there: &may_be_there, policy };
        let outcome = match AssertUnwindSafe(self.driver.turn(look)).catch_unwind().await {
            Ok(outcome) => outcome?,
            Err(panic) => {
                self.metrics.count_panic(PASSES);
                tracing::error!("a pass panicked, which is a defect; it is tried again: {}", words(&*panic));
                return Ok(());
            }
        };
        outcome.panics.iter().for_each(|_| self.metrics.count_panic(PASSES));
        self.tell(&outcome, post);
        self.let_go();
        readiness.open(READY);
        Ok(())
    }

    /// Takes stock. False as long as not everything was read: what is not there may only not be read yet.
    fn look(&mut self) -> bool {
        let read = self.destinations.are_synced() && self.activations.are_synced();
        if !(self.is_whole || read && self.watching.are_namespaces_known()) {
            return false;
        }
        // What is there is read under the lock: what is brought meanwhile was there before.
        let mut stock = self.shelf.stock();
        let mut present = Presence::new();
        self.destinations.add_to(&mut present);
        self.activations.add_to(&mut present);
        let seen = stock.take_stock(&present, &self.seen.inventory);
        drop(stock);
        if let Some(seen) = seen {
            self.teller.forget(self.present.keys().filter(|named| !present.contains_key(named)));
            self.attempts.retain(|named| present.contains_key(named));
            self.is_whole |= seen.is_whole;
            (self.seen, self.present) = (seen, present);
        }
        self.is_whole
    }

    /// What is waited for.
    fn missing(&self) -> String {
        let troubles = self.watching.troubles();
        if troubles.is_empty() { "not everything was read yet".to_owned() } else { troubles.join("; ") }
    }

    fn tell(&mut self, outcome: &Outcome, post: &mut impl FnMut(Notification)) {
        outcome.notifications.iter().cloned().for_each(post);
        self.teller.tell(outcome, &self.seen, &self.destinations, &self.activations);
    }

    /// Lets go of the activations that are being deleted, or are not ours any more, and of which nothing runs.
    fn let_go(&mut self) {
        for object in self.activations.objects() {
            let metadata = kube::Resource::meta(&*object);
            let held = metadata.finalizers.iter().flatten().any(|name| name == FINALIZER);
            if metadata.deletion_timestamp.is_none() || !held {
                continue;
            }
            let key = ObjectKey::of(&*object);
            let seen = self.seen.inventory.activations.get(&key);
            // The pass must have seen that it goes, or it might be started yet.
            let told = seen.is_none_or(|seen| seen.metadata.deletion_timestamp.is_some());
            let uid = metadata.uid.as_deref().unwrap_or_default();
            if told && self.driver.is_stopped(&key) && self.shelf.stock().drained(uid) {
                // Where the queue is full, it looks by itself a little later.
                self.queues.try_ask((About::Activation, key), "it has drained");
            }
        }
        let left = self.shelf.stock().take_left(|key| self.driver.is_stopped(key));
        for (key, uid) in left {
            let attempts = Arc::clone(&self.attempts);
            self.releases.spawn(async move { attempts.let_go(key, uid).await });
        }
        while let Some(ended) = self.releases.try_join_next() {
            if let Err(error) = ended {
                tracing::error!("a finalizer stays behind: {error}");
            }
        }
    }

    /// Stops every dataflow at once, each drained and checkpointed, and offers the last statuses.
    async fn end(&mut self, post: &mut impl FnMut(Notification)) -> Result<(), ShellError> {
        let policy = &self.settings.policy;
        let look = Look { inventory: &self.seen.inventory, may_be_there: &|_| true, policy };
        let (outcome, ended) = self.driver.end(look).await;
        self.tell(&outcome, post);
        ended.map_err(ShellError::Driver)
    }
}
