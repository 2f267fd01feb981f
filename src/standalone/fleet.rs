//! Effects: the dataflows that run, started and stopped as the plan's steps say.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::shell::Means;
use crate::dataflow::progress::Progress;
use crate::dataflow::{Dataflow, DataflowError, Plan, Source};
use crate::feed::Embedded;
use crate::kinesis::client::{SharedClient, StreamClient};
use crate::reconcile::{Desired, ObjectKey, Step};
use crate::telemetry::clock;

/// The dataflows that run.
pub(super) struct Fleet<'a> {
    means: &'a Means,
    resync_lost_position: bool,
    running: BTreeMap<ObjectKey, Running>,
}

struct Running {
    dataflow: Dataflow,
    client: SharedClient,
    told: Desired,
}

impl<'a> Fleet<'a> {
    pub(super) fn new(means: &'a Means, resync_lost_position: bool) -> Self {
        Self { means, resync_lost_position, running: BTreeMap::new() }
    }

    /// Whether the dataflow of that activation runs.
    pub(super) fn runs(&self, key: &ObjectKey) -> bool {
        self.running.contains_key(key)
    }

    /// What each tells of itself.
    pub(super) fn progress(&self) -> BTreeMap<ObjectKey, Progress> {
        self.running
            .iter()
            .map(|(key, running)| (key.clone(), Progress::clone(&running.dataflow.progress().borrow())))
            .collect()
    }

    /// Whether each has exported everything below `head`, as it was told last.
    pub(super) fn is_idle(&self, head: u64) -> bool {
        self.running.values().all(|running| {
            let progress = running.dataflow.progress();
            let progress = progress.borrow();
            !progress.busy && progress.position == head && *progress.mapping == *running.told.mapping
        })
    }

    /// The dataflows that ended though nobody told them to, and why.
    pub(super) async fn take_up_ends(&mut self) -> Vec<(ObjectKey, String)> {
        let ended: Vec<ObjectKey> = self
            .running
            .iter()
            .filter(|(_, running)| running.dataflow.is_finished())
            .map(|(key, _)| key.clone())
            .collect();
        let mut told = Vec::new();
        for key in ended {
            let why = match self.stop(&key).await {
                Ok(()) => "it ended by itself".to_owned(),
                Err(error) => error.to_string(),
            };
            told.push((key, why));
        }
        told
    }

    /// Begins every stop among `steps`, so that all that stop do so at once, and whoever waits for them waits for the slowest alone.
    pub(super) fn begin_stops(&self, steps: &[(ObjectKey, Step)]) {
        for (key, step) in steps {
            if let (Step::Stop { .. } | Step::Restart { .. }, Some(running)) = (step, self.running.get(key)) {
                running.dataflow.begin_stop();
            }
        }
    }

    /// Carries out one step.
    pub(super) async fn carry_out(&mut self, key: &ObjectKey, step: &Step) -> Result<(), DataflowError> {
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
                running.dataflow.follow(plan(&running.told, self.resync_lost_position));
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
        let plan = plan(desired, self.resync_lost_position);
        let dataflow = Dataflow::start(source, store, client.clone(), plan, clock::now()).await?;
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

    /// Stops every dataflow at once, each drained and checkpointed: what each told last, and the first error.
    pub(super) async fn stop_all(&mut self) -> (BTreeMap<ObjectKey, Progress>, Result<(), DataflowError>) {
        for running in self.running.values() {
            running.dataflow.begin_stop();
        }
        let (mut last, mut result) = (BTreeMap::new(), Ok(()));
        for (key, running) in std::mem::take(&mut self.running) {
            self.means.desks.close(&key.to_string());
            let progress = running.dataflow.progress();
            if let Err(error) = running.dataflow.stop().await {
                tracing::error!("dataflow {key}: did not stop cleanly: {error}");
                result = result.and(Err(error));
            }
            last.insert(key, Progress::clone(&progress.borrow()));
        }
        (last, result)
    }
}

fn plan(desired: &Desired, resync_lost_position: bool) -> Plan {
    Plan {
        name: desired.key.to_string(),
        mapping: (*desired.mapping).clone(),
        backfill: desired.backfill.enabled,
        backfill_records_per_second: desired.backfill.max_records_per_second,
        sender: desired.sender.clone(),
        resync: desired.resync.clone(),
        resync_lost_position,
    }
}
