//! Effects: the dataflows that run, started and stopped as the plan's steps say. No step waits for a drain: what stops does so
//! beside everything else, and what is to start in its place starts once it has.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::task::JoinHandle;

use super::driver::Means;
use crate::dataflow::progress::Progress;
use crate::dataflow::{Dataflow, DataflowError, Plan, Source};
use crate::feed::Embedded;
use crate::kinesis::client::{SharedClient, StreamClient};
use crate::reconcile::{Desired, ObjectKey, Step};
use crate::telemetry::clock;

/// The dataflows that run, and those that are stopping.
#[derive(Default)]
pub(super) struct Dataflows {
    known: BTreeMap<ObjectKey, Known>,
}

struct Known {
    told: Desired,
    state: State,
}

enum State {
    Running { dataflow: Dataflow, client: SharedClient },
    Stopping { task: JoinHandle<Result<(), DataflowError>>, then: Then },
}

/// What follows a stop.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    Nothing,
    Start,
}

/// A dataflow that does not run as it was told to, and why.
pub(super) type Failure = (ObjectKey, String);

impl Dataflows {
    /// Whether nothing runs of that activation, and nothing is still stopping.
    pub(super) fn is_stopped(&self, key: &ObjectKey) -> bool {
        !self.known.contains_key(key)
    }

    /// Those of which something runs or is still stopping.
    pub(super) fn keys(&self) -> impl Iterator<Item = &ObjectKey> {
        self.known.keys()
    }

    /// Whether the dataflow of that activation runs, and nobody has told it to stop.
    pub(super) fn runs(&self, key: &ObjectKey) -> bool {
        self.known.get(key).is_some_and(|known| matches!(known.state, State::Running { .. }))
    }

    /// What each that runs tells of itself.
    pub(super) fn progress(&self) -> BTreeMap<ObjectKey, Progress> {
        let running = self.known.iter().filter_map(|(key, known)| match &known.state {
            State::Running { dataflow, .. } => Some((key, dataflow.progress())),
            State::Stopping { .. } => None,
        });
        running.map(|(key, progress)| (key.clone(), Progress::clone(&progress.borrow()))).collect()
    }

    /// Whether each has exported everything below `head`, as it was told last.
    pub(super) fn is_idle(&self, head: u64) -> bool {
        self.known.values().all(|known| {
            let State::Running { dataflow, .. } = &known.state else { return false };
            let progress = dataflow.progress();
            let progress = progress.borrow();
            !progress.busy && progress.position == head && *progress.mapping == *known.told.mapping
        })
    }

    /// Takes up what ended: what was to stop has, what was to start in its place does, and what ended though nobody told it to is
    /// given back.
    pub(super) async fn take_up_ends(&mut self, means: &Means) -> Vec<Failure> {
        let is_over = |known: &Known| match &known.state {
            State::Running { dataflow, .. } => dataflow.is_finished(),
            State::Stopping { task, .. } => task.is_finished(),
        };
        let over: Vec<ObjectKey> =
            self.known.iter().filter(|(_, known)| is_over(known)).map(|(key, _)| key.clone()).collect();
        let mut failures = Vec::new();
        for key in over {
            let Some(Known { told, state }) = self.known.remove(&key) else { continue };
            let (result, then) = match state {
                State::Running { dataflow, .. } => {
                    close(means, &key);
                    let ended_by_itself = || "it ended by itself".to_owned();
                    let why = dataflow.stop().await.err().map_or_else(ended_by_itself, |error| error.to_string());
                    failures.push((key, format!("ended though nobody told it to: {why}")));
                    continue;
                }
                State::Stopping { task, then } => (flattened(task.await), then),
            };
            let result = match (result, then) {
                (Ok(()), Then::Start) => self.start(means, &key, &told).await,
                (result, _) => result,
            };
            if let Err(error) = result {
                failures.push((key, error.to_string()));
            }
        }
        failures
    }

    /// Begins one step.
    pub(super) async fn begin(&mut self, means: &Means, key: &ObjectKey, step: &Step) -> Result<(), DataflowError> {
        match step {
            Step::Start(desired) => match self.known.get_mut(key) {
                // It starts when what ran before has stopped.
                Some(_) => self.stop(means, key, Some(desired)),
                None => self.start(means, key, desired).await?,
            },
            Step::Restart { desired, .. } => self.stop(means, key, Some(desired)),
            Step::Stop { .. } => self.stop(means, key, None),
            Step::Retarget(target) => {
                let known = self.known.get_mut(key).ok_or(DataflowError::Stopped)?;
                known.told.target = (**target).clone();
                if let State::Running { client, .. } = &known.state {
                    client.replace(StreamClient::connect(target, &means.pool).await);
                }
            }
            Step::Remap(mapping) => self.follow(means, key, |told| told.mapping = Arc::clone(mapping))?,
            Step::Resettle { sender, backfill } => self.follow(means, key, |told| {
                told.sender = (**sender).clone();
                told.backfill = backfill.clone();
            })?,
            Step::Resync { request } => self.follow(means, key, |told| told.resync = Some(request.clone()))?,
        }
        Ok(())
    }

    /// Takes up a change without a restart; one that is about to start starts with it.
    fn follow(
        &mut self,
        means: &Means,
        key: &ObjectKey,
        change: impl FnOnce(&mut Desired),
    ) -> Result<(), DataflowError> {
        let known = self.known.get_mut(key).ok_or(DataflowError::Stopped)?;
        change(&mut known.told);
        if let State::Running { dataflow, .. } = &known.state {
            dataflow.follow(plan(&known.told, means));
        }
        Ok(())
    }

    async fn start(&mut self, means: &Means, key: &ObjectKey, desired: &Desired) -> Result<(), DataflowError> {
        let hub = &means.hub;
        let client = SharedClient::new(StreamClient::connect(&desired.target, &means.pool).await);
        let head = hub.head();
        let start = *head.borrow();
        let source = Source { feed: Embedded::new(hub), start, head: Some(head) };
        let (store, plan) = (hub.store().clone(), plan(desired, means));
        let dataflow = Dataflow::start(source, store, client.clone(), plan, clock::now()).await?;
        means.desks.open(key.to_string(), dataflow.desk());
        self.known.insert(key.clone(), Known { told: desired.clone(), state: State::Running { dataflow, client } });
        Ok(())
    }

    /// Begins to stop what runs of `key`, and says what is to follow.
    fn stop(&mut self, means: &Means, key: &ObjectKey, next: Option<&Desired>) {
        let Some(Known { told, state }) = self.known.remove(key) else { return };
        let task = match state {
            State::Stopping { task, .. } => task,
            State::Running { dataflow, .. } => {
                close(means, key);
                tokio::spawn(dataflow.stop())
            }
        };
        let then = if next.is_some() { Then::Start } else { Then::Nothing };
        let told = next.cloned().unwrap_or(told);
        self.known.insert(key.clone(), Known { told, state: State::Stopping { task, then } });
    }

    /// Stops every dataflow at once, each drained and checkpointed: what each told last, and the first error.
    pub(super) async fn stop_all(
        &mut self,
        means: &Means,
    ) -> (BTreeMap<ObjectKey, Progress>, Result<(), DataflowError>) {
        let (mut told, mut tasks) = (Vec::new(), Vec::new());
        for (key, known) in std::mem::take(&mut self.known) {
            let task = match known.state {
                State::Stopping { task, .. } => task,
                State::Running { dataflow, .. } => {
                    close(means, &key);
                    told.push((key.clone(), dataflow.progress()));
                    tokio::spawn(dataflow.stop())
                }
            };
            tasks.push((key, task));
        }
        let mut result = Ok(());
        for (key, task) in tasks {
            if let Err(error) = flattened(task.await) {
                tracing::error!("dataflow {key}: did not stop cleanly: {error}");
                result = result.and(Err(error));
            }
        }
        let last = told.into_iter().map(|(key, progress)| (key, Progress::clone(&progress.borrow())));
        (last.collect(), result)
    }
}

fn flattened(ended: Result<Result<(), DataflowError>, tokio::task::JoinError>) -> Result<(), DataflowError> {
    ended.map_err(DataflowError::Task).flatten()
}

/// Nobody can ask it any more, and it is no longer measured.
fn close(means: &Means, key: &ObjectKey) {
    means.desks.close(&key.to_string());
    means.metrics.forget_dataflow(&key.namespace, &key.name);
}

fn plan(desired: &Desired, means: &Means) -> Plan {
    Plan {
        name: desired.key.to_string(),
        mapping: (*desired.mapping).clone(),
        backfill: desired.backfill.enabled,
        backfill_records_per_second: desired.backfill.max_records_per_second,
        sender: desired.sender.clone(),
        resync: desired.resync.clone(),
        resync_lost_position: means.settings.resync_lost_position,
    }
}
