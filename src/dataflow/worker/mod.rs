//! Effects: the worker of a dataflow, one task. It takes changes from the reader, offers what they export to the sender, carries
//! out what the sender asks for, moves the position over what is done with, and checkpoints.
//!
//! `offer` is the way in, `settle` the way out, `history` the backfill and the dead letters beside it, `checkpoint` what is kept.
//! Nothing waits in here but [`Worker::wait`], so that every state is left only by an event.

mod checkpoint;
mod history;
mod offer;
mod settle;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::meter::Meter;
use super::progress::Progress;
use super::reader::{Read, Reader};
use super::state::Checkpoint;
use super::tracker::Tracker;
use super::{Command, DRAIN, DataflowError, Opened, Plan, Source};
use crate::export::{Mapping, MappingSpec};
use crate::feed::{Feed, Item};
use crate::kinesis::client::SharedClient;
use crate::kinesis::outcome::RequestOutcome;
use crate::kinesis::sender::{Health, RequestId, Sender};
use crate::store::Store;
use crate::telemetry::clock;
use checkpoint::Keeper;
use history::History;

/// How often progress is told and the checkpoint looked at.
const TICK: Duration = Duration::from_millis(200);

/// What reaches the worker from its owner.
pub(super) struct Inbox {
    pub(super) plans: watch::Receiver<Arc<Plan>>,
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) stop: CancellationToken,
}

pub(super) struct Worker {
    plan: Arc<Plan>,
    store: Store,
    client: SharedClient,
    reader: Reader,
    head: Option<watch::Receiver<u64>>,
    inbox: Inbox,
    progress: watch::Sender<Arc<Progress>>,

    mapping: Arc<Mapping>,
    /// What the mapping was compiled from.
    spec: Arc<MappingSpec>,
    /// Below it the mapping in force stays.
    replay_until: u64,
    sender: Sender,
    requests: JoinSet<(RequestId, RequestOutcome)>,
    tracker: Tracker,
    /// In memory: everything that was popped. Durable is what the keeper has committed of it.
    checkpoint: Checkpoint,
    keeper: Keeper,
    history: History,
    meter: Meter,

    /// Changes that were read and not taken yet.
    batch: VecDeque<Item>,
    /// The merge policy of the last record, which is mostly that of the next.
    merge_policy_id: Arc<str>,
    /// Behind the last change that was taken.
    taken: u64,
    /// How far that may be beyond the position.
    ahead: u64,
    feed: FeedState,
    /// Set while the worker is to stop: when it gives up waiting.
    give_up: Option<Duration>,
}

/// How the reader goes.
#[derive(Debug, Clone, PartialEq, Eq)]
enum FeedState {
    Reading,
    Unreachable(String),
    /// The position is gone; told in a sentence.
    Lost(String),
    Ended,
}

/// What woke the worker.
enum Event {
    Answer(RequestId, RequestOutcome),
    Read(Option<Read>),
    Plan,
    Command(Command),
    Credentials,
    History,
    Committed,
    More,
    Time,
    Stop,
}

impl Worker {
    pub(super) fn new<F: Feed + 'static>(
        opened: Opened,
        source: Source<F>,
        store: Store,
        client: SharedClient,
        plan: Arc<Plan>,
        inbox: Inbox,
    ) -> (Self, watch::Receiver<Arc<Progress>>) {
        let Opened { checkpoint, mapping, replay_until, taken_over, dead_letters, oldest_dead_letter } = opened;
        let now = clock::monotonic();
        let taken = checkpoint.position;
        let spec = Arc::new(mapping.spec().clone());
        let keeper = Keeper::new(now, checkpoint.position, dead_letters, oldest_dead_letter);
        let mut worker = Self {
            sender: Sender::new(plan.sender.clone(), now),
            reader: Reader::start(source.feed, taken),
            head: source.head,
            progress: watch::Sender::new(Arc::new(Progress::of(Arc::clone(&spec), &checkpoint, clock::now()))),
            meter: Meter::new(now),
            requests: JoinSet::new(),
            tracker: Tracker::default(),
            history: History::default(),
            batch: VecDeque::new(),
            merge_policy_id: Arc::default(),
            feed: FeedState::Reading,
            give_up: None,
            plan,
            store,
            client,
            inbox,
            mapping,
            spec,
            ahead: F::AHEAD,
            replay_until,
            checkpoint,
            keeper,
            taken,
        };
        if taken_over {
            // By then nothing that the one before has sent is on its way any more.
            worker.sender.hold(now + worker.client.current().request_timeout());
        }
        worker.take_up_plan();
        worker.publish();
        let progress = worker.progress.subscribe();
        (worker, progress)
    }

    /// Runs until it is told to stop.
    pub(super) async fn run(mut self) -> Result<(), DataflowError> {
        let mut clients = self.client.subscribe();
        let mut tick = clock::monotonic() + TICK;
        let mut stopping = false;
        loop {
            let now = clock::monotonic();
            if now >= tick {
                tick = now + TICK;
                self.meter.tick(now);
                self.checkpoint.roll(clock::now());
                self.publish();
            }
            self.offer()?;
            self.settle()?;
            self.commit_if_due();
            self.look_after_history().await?;
            self.switch_when_drained().await?;
            if stopping && self.is_drained() {
                break;
            }
            match self.wait(&mut clients, tick, stopping).await? {
                Event::Answer(request, outcome) => self.sender.answer(request, outcome, clock::monotonic()),
                Event::Read(found) => self.take_up_batch(found)?,
                Event::Plan => {
                    self.plan = Arc::clone(&self.inbox.plans.borrow_and_update());
                    self.sender.reconfigure(self.plan.sender.clone(), clock::monotonic());
                    self.take_up_plan();
                }
                Event::Command(command) => self.take_up_command(command).await,
                Event::Credentials => self.sender.heal(clock::monotonic()),
                Event::History | Event::Committed | Event::More | Event::Time => {}
                Event::Stop => {
                    stopping = true;
                    self.give_up = Some(clock::monotonic() + DRAIN);
                    self.sender.flush();
                }
            }
        }
        self.finish().await
    }

    async fn wait(
        &mut self,
        clients: &mut watch::Receiver<crate::kinesis::client::StreamClient>,
        tick: Duration,
        stopping: bool,
    ) -> Result<Event, DataflowError> {
        let wakes = [self.sender.next_wake(), self.history.wake()];
        let wake = wakes.into_iter().flatten().fold(tick, Duration::min).saturating_sub(clock::monotonic());
        let wants_batch = self.batch.is_empty()
            && !stopping
            && matches!(self.feed, FeedState::Reading | FeedState::Unreachable(_))
            && !self.switching();
        let can_offer = self.can_offer();
        Ok(tokio::select! {
            // Answers first: they make room. Then what the owner wants, then more work.
            biased;
            Some(answered) = self.requests.join_next() => {
                let (request, outcome) = answered?;
                Event::Answer(request, outcome)
            }
            () = self.inbox.stop.cancelled(), if !stopping => Event::Stop,
            Ok(()) = self.inbox.plans.changed() => Event::Plan,
            Some(command) = self.inbox.commands.recv() => Event::Command(command),
            Ok(()) = clients.changed() => {
                clients.mark_unchanged();
                Event::Credentials
            }
            result = self.keeper.committed() => {
                self.take_up_commit(result?)?;
                Event::Committed
            }
            result = self.history.ready() => {
                self.take_up_history(result?)?;
                Event::History
            }
            found = self.reader.next(), if wants_batch => Event::Read(found),
            () = sleep(wake) => Event::Time,
            // Last, and only after everybody else had a turn.
            () = tokio::task::yield_now(), if can_offer => Event::More,
        })
    }

    fn take_up_batch(&mut self, found: Option<Read>) -> Result<(), DataflowError> {
        match found {
            Some(Read::Items(items)) => {
                self.feed = FeedState::Reading;
                self.batch.extend(items);
            }
            Some(Read::Unreachable(message)) => self.feed = FeedState::Unreachable(message),
            Some(Read::Lost(error)) => self.feed = FeedState::Lost(error.to_string()),
            Some(Read::Ended) => self.feed = FeedState::Ended,
            None if self.feed == FeedState::Ended => {}
            // The reader broke off, which its owner mends by starting the dataflow anew.
            None => return Err(DataflowError::Stopped),
        }
        Ok(())
    }

    /// Whether the mapping in force is on its way out: nothing more is taken under it.
    fn switching(&self) -> bool {
        (*self.spec != self.plan.mapping && self.taken >= self.replay_until) || self.lost_and_found()
    }

    /// Whether the position is gone and the dataflow is to go on by a resync.
    fn lost_and_found(&self) -> bool {
        matches!(self.feed, FeedState::Lost(_)) && (self.plan.resync_lost_position || self.checkpoint.resync_due)
    }

    /// Takes up what a changed plan asks for besides another mapping.
    fn take_up_plan(&mut self) {
        if self.plan.resync.is_some() && self.plan.resync != self.checkpoint.resync {
            self.checkpoint.resync.clone_from(&self.plan.resync);
            self.checkpoint.resync_due = true;
            self.keeper.touch();
        }
    }

    /// Whether nothing is under way, or not worth waiting for.
    fn is_drained(&self) -> bool {
        self.tracker.is_empty()
            || self.give_up.is_some_and(|at| clock::monotonic() >= at)
            || matches!(self.sender.health(), Health::Paused { .. })
    }

    /// The feed's end, as far as it is known.
    fn head(&self) -> u64 {
        self.head.as_ref().map_or(self.taken, |head| *head.borrow())
    }
}
