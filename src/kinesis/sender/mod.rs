//! Pure state machine: delivers the records of one dataflow, each profile's in the order in which they were offered, none lost.
//! No I/O and no clock: requests come out, answers go in, `now` is told. Times are [`Duration`]s since an origin that only
//! the caller knows, and never fall.
//!
//! ```text
//! offer -> window & fence -> ready -> batch -> Send ... answer -> Acknowledged | DeadLetter
//!          (whose turn?)       ^        (pace)            |
//!                              +------ retry, outage -----+
//! ```
//!
//! Reading order: [`limits`] (what Kinesis takes), `window` (the records in order, one of each profile at a time), `batch` (what
//! goes, and when), `answer` (what became of it), `retry` (waits), `pace` (throttling), `outage` (when nothing gets through),
//! `breaker` (when everything is refused), `ramp` (coming back from that), `size` (when large requests fail).
//!
//! The driver's loop: offer while [`Sender::has_room`]; [`Sender::poll`] until `None`, and keep the dead letters, then
//! tell [`Sender::buried`]; then wait for records, answers or [`Sender::next_wake`].

mod answer;
mod batch;
mod breaker;
pub mod limits;
mod outage;
mod pace;
mod ramp;
mod retry;
mod size;
mod window;

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use foldhash::fast::RandomState;

use self::batch::{Ready, earlier};
use self::breaker::Breaker;
pub use self::limits::DeadReason;
use self::outage::Outage;
use self::pace::{CALM, Pace};
use self::ramp::Ramp;
use self::retry::{Jitter, Waiting};
use self::size::Size;
use self::window::Window;
use super::outcome::{Entry, RequestError};

/// Which part of the window is kept for probes.
const RESERVE: usize = 16;

/// How to deliver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Attempts after the first.
    pub max_retries: u32,
    /// How long throttling may last before it is told as long.
    pub throttle_timeout: Duration,
    /// How long a record waits for company.
    pub linger: Duration,
    /// A hard limit, if there is one. At least 1.
    pub max_records_per_second: Option<u32>,
    /// The largest record: partition key and data, before base64.
    pub max_record_bytes: usize,
    /// The largest request, counted in the same way. A single record may be larger.
    pub max_batch_bytes: usize,
    /// Records from the lowest unfinished one on.
    pub window_records: usize,
    /// Bytes of those. The last record may go over.
    pub window_bytes: usize,
    /// Requests on their way at once. At least 1.
    pub max_in_flight: usize,
    /// Where the jitter of waits begins.
    pub seed: u64,
}

/// A record to deliver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// A hash of merge policy and profile id. A collision only makes two profiles wait for each other.
    pub profile: u64,
    /// What is sent.
    pub entry: Entry,
}

/// Names a record, in the order in which they were offered, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// Names a request, in the order in which they were sent, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// What the caller is to do, or to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Send this, and give the answer to [`Sender::answer`], once. A time-out is an answer: [`RequestError::Unavailable`].
    Send {
        /// To be named in the answer.
        request: RequestId,
        /// The records: 1 to 500, all of different profiles.
        entries: Vec<Entry>,
    },
    /// The stream has the record.
    Acknowledged {
        /// Which.
        ticket: Ticket,
        /// How often it was sent after the first time, for whatever cause.
        retries: u32,
    },
    /// The record is given up. It must be kept before the position moves over it, and its profile waits until it is: then
    /// [`Sender::buried`] is called.
    DeadLetter {
        /// Which.
        ticket: Ticket,
        /// Why.
        reason: DeadReason,
        /// Attempts that were used.
        attempts: u32,
        /// What was to be sent.
        entry: Entry,
    },
}

/// How the delivery goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// Nothing to deliver.
    Idle,
    /// Records get through.
    Flowing,
    /// The stream takes less than there is.
    Throttled {
        /// Since when without a break.
        since: Duration,
        /// Whether that is over `throttle_timeout`.
        long: bool,
    },
    /// Some records are tried again.
    Retrying {
        /// What the service said last, or what broke.
        message: String,
    },
    /// Nothing gets through. Nothing is lost: a record at a time is tried until one is answered or, where the service answers
    /// and refuses, until one is taken.
    Paused {
        /// Why.
        error: RequestError,
        /// Since when.
        since: Duration,
    },
}

/// A request on its way.
#[derive(Debug)]
struct Flight {
    tickets: Vec<u64>,
    /// So many of the first of them had been throttled before.
    throttled: usize,
}

/// A finished record that the caller has not been told of.
#[derive(Debug)]
enum Done {
    Acknowledged {
        ticket: u64,
        retries: u32,
    },
    /// Boxed, since acknowledgements come by the hundred thousand.
    DeadLetter {
        ticket: u64,
        letter: Box<(DeadReason, u32, Entry)>,
    },
}

impl From<Done> for Output {
    fn from(done: Done) -> Self {
        match done {
            Done::Acknowledged { ticket, retries } => Self::Acknowledged { ticket: Ticket(ticket), retries },
            Done::DeadLetter { ticket, letter } => {
                let (reason, attempts, entry) = *letter;
                Self::DeadLetter { ticket: Ticket(ticket), reason, attempts, entry }
            }
        }
    }
}

#[derive(Debug)]
struct Throttling {
    since: Duration,
    last: Duration,
}

/// The sender of one dataflow. Memory is bounded by what the caller offers: see [`Sender::has_room`].
#[derive(Debug)]
pub struct Sender {
    settings: Settings,
    /// The latest moment that was told.
    now: Duration,
    window: Window,
    ready: Ready,
    waiting: Waiting,
    flights: HashMap<u64, Flight, RandomState>,
    next_request: u64,
    pace: Pace,
    outage: Outage,
    breaker: Breaker,
    ramp: Ramp,
    size: Size,
    jitter: Jitter,
    done: VecDeque<Done>,
    flushing: bool,
    /// Nothing is sent before.
    held_until: Duration,
    throttling: Option<Throttling>,
    /// What failed last.
    message: String,
    /// When to poll again, valid unless `stale`.
    wake: Option<Duration>,
    /// Whether something happened since the last poll.
    stale: bool,
}

impl Sender {
    /// A sender with nothing to deliver.
    pub fn new(settings: Settings, now: Duration) -> Self {
        Self {
            pace: Pace::new(settings.max_records_per_second, now),
            jitter: Jitter::new(settings.seed),
            settings,
            now,
            window: Window::default(),
            ready: Ready::default(),
            waiting: Waiting::default(),
            flights: HashMap::default(),
            next_request: 0,
            outage: Outage::default(),
            breaker: Breaker::default(),
            ramp: Ramp::new(),
            size: Size::new(),
            done: VecDeque::new(),
            flushing: false,
            held_until: Duration::ZERO,
            throttling: None,
            message: String::new(),
            wake: None,
            stale: false,
        }
    }

    /// Goes on with other settings, from the next request and the next failure on. The seed is for new senders only.
    pub fn reconfigure(&mut self, settings: Settings, now: Duration) {
        let now = self.advance(now);
        if settings.max_records_per_second != self.settings.max_records_per_second {
            self.pace.limit(settings.max_records_per_second, now);
        }
        self.settings = settings;
    }

    /// Whether the window takes another record. More may be offered all the same, and is held: a caller that reads in chunks
    /// may finish its chunk.
    pub fn has_room(&self) -> bool {
        self.window.has_room(self.allowance())
    }

    /// How much of the window may be used now, in records and bytes: all but a reserve. That is for when the records that are left
    /// were refused, so that nothing tells whether they or the stream are at fault: then others are let in, one at a time, to
    /// probe with.
    pub fn allowance(&self) -> (usize, usize) {
        let Settings { window_records: records, window_bytes: bytes, .. } = self.settings;
        if self.outage.is_tripped() && !self.ready.has_fresh() {
            return (records, bytes);
        }
        (records - records / RESERVE, bytes - bytes / RESERVE)
    }

    /// Takes a record in, behind those of its profile.
    pub fn offer(&mut self, record: Record, now: Duration) -> Ticket {
        let now = self.advance(now);
        let (ticket, its_turn) = self.window.offer(record, now);
        if its_turn {
            self.take_turn(ticket, now);
        }
        Ticket(ticket)
    }

    /// What to do next; to be called until there is nothing.
    pub fn poll(&mut self, now: Duration) -> Option<Output> {
        let now = self.advance(now);
        if let Some(done) = self.done.pop_front() {
            return Some(done.into());
        }
        self.collect_due(now);
        self.flushing &= !self.window.is_empty();
        self.throttling.take_if(|throttling| throttling.last + CALM <= now);
        self.outage.pause_if_overdue(&self.message, now, &mut self.jitter);
        let next = if now < self.held_until {
            Err(Some(self.held_until))
        } else if self.outage.pause().is_some() {
            self.probe(now)
        } else {
            self.batch(now)
        };
        match next {
            Ok(send) => Some(send),
            Err(wake) => {
                self.wake = self.next_moment(wake);
                self.stale = false;
                None
            }
        }
    }

    /// When to poll, should nothing else happen before; `None` if never. Since the caller's origin.
    pub fn next_wake(&self) -> Option<Duration> {
        if self.stale { Some(self.now) } else { self.wake }
    }

    /// From here on no record waits for company, until none is left.
    pub fn flush(&mut self) {
        self.stale |= !self.flushing;
        self.flushing = true;
    }

    /// Sends nothing before `until`: what another sender of these profiles has sent and not heard of may be written till then.
    pub fn hold(&mut self, until: Duration) {
        self.held_until = until;
        self.stale = true;
    }

    /// The cause of a pause may be mended (credentials were replaced): probe now.
    pub fn heal(&mut self, now: Duration) {
        let now = self.advance(now);
        self.outage.heal(now);
    }

    /// Whether every record is finished and told.
    pub fn is_idle(&self) -> bool {
        self.window.is_empty() && self.done.is_empty()
    }

    /// How the delivery goes, as of the last call that told the time.
    pub fn health(&self) -> Health {
        if let Some(pause) = self.outage.pause().filter(|pause| pause.is_certain()) {
            return Health::Paused { error: pause.error.clone(), since: pause.since };
        }
        if self.is_idle() {
            return Health::Idle;
        }
        if let Some(Throttling { since, .. }) = self.throttling {
            let long = self.now.saturating_sub(since) >= self.settings.throttle_timeout;
            return Health::Throttled { since, long };
        }
        let dissected = self.ready.has_parts() || self.waiting.has_parts();
        if dissected || self.window.is_retrying() || self.outage.has_suspects() || self.outage.pause().is_some() {
            return Health::Retrying { message: self.message.clone() };
        }
        Health::Flowing
    }

    /// Notes the time, and that something may have changed.
    fn advance(&mut self, now: Duration) -> Duration {
        self.now = self.now.max(now);
        self.stale = true;
        self.now
    }

    fn next_moment(&self, sending: Option<Duration>) -> Option<Duration> {
        let told = self.throttling.as_ref().and_then(|throttling| {
            let long = Some(throttling.since + self.settings.throttle_timeout).filter(|&long| long > self.now);
            earlier(long, Some(throttling.last + CALM))
        });
        let outage = self.outage.wake(self.has_slot()).filter(|_| sending.is_none() || self.outage.pause().is_none());
        earlier(earlier(sending, self.waiting.next_due()), earlier(outage, told))
    }
}
