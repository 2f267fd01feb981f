//! Pure state: how many records may go now. A hard limit, if the destination has one, and a rate that adapts to throttling.
//!
//! Records that were throttled before have a pace of their own: where one shard is hot, their tries must not use up what
//! the records of the other shards may send. Neither pace is cut below a share of what the stream evidently takes, so the
//! throttling of a part never stops the whole.

use std::time::Duration;

use super::limits::MAX_BATCH_RECORDS;

/// Tokens are collected for this long before a request goes, so that a slow pace does not make tiny requests.
const QUANTUM_SECONDS: f64 = 0.05;
/// What an idle bucket keeps.
const BURST_SECONDS: f64 = 0.1;
/// Multiplicative decrease: how much of the rate goes where every record of a request was throttled. With the interval and
/// the rise below, a fifth throttled is where a rate settles.
const CUT: f64 = 0.5;
/// Additive increase per second, as a share of the rate before the last cut …
const RISE: f64 = 0.2;
/// … and at least this much, in records per second per second.
const MIN_RISE: f64 = 100.0;
/// The lowest rate, in records per second.
const MIN_RATE: f64 = 10.0;
/// Answers that come close together tell the same thing: one cut.
const CUT_INTERVAL: Duration = Duration::from_millis(500);
/// Without throttling for this long, there is no pace any more. Longer than the longest wait of a throttled record, so that
/// calm means that none is left.
pub(super) const CALM: Duration = Duration::from_secs(10);

/// A token bucket. A token is a record.
#[derive(Debug)]
pub(super) struct Bucket {
    rate: f64,
    tokens: f64,
    filled_at: Duration,
}

impl Bucket {
    /// Begins with what one quantum lets through.
    pub(super) fn new(rate: f64, now: Duration) -> Self {
        let mut bucket = Self { rate, tokens: 0.0, filled_at: now };
        bucket.tokens = bucket.quantum();
        bucket
    }

    fn quantum(&self) -> f64 {
        (self.rate * QUANTUM_SECONDS).clamp(1.0, MAX_BATCH_RECORDS as f64)
    }

    fn burst(&self) -> f64 {
        (self.rate * BURST_SECONDS).max(1.0)
    }

    fn fill(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.filled_at).as_secs_f64();
        self.tokens = (self.tokens + passed * self.rate).min(self.burst());
        self.filled_at = now;
    }

    /// How many of `wanted` records may go now: none until they are worth a request.
    fn allowed(&mut self, wanted: usize, now: Duration) -> usize {
        self.fill(now);
        if wanted == 0 || self.missing(wanted) > 0.0 { 0 } else { wanted.min((self.tokens + 1e-6) as usize) }
    }

    fn missing(&self, wanted: usize) -> f64 {
        let missing = self.quantum().min(wanted as f64) - self.tokens;
        // Rounding must not make a wait of nothing.
        if missing < 1e-6 { 0.0 } else { missing }
    }

    /// When [`Self::allowed`] will be above zero.
    fn ready_at(&self, wanted: usize) -> Duration {
        // A day at most: a Duration can't take every float.
        let seconds = (self.missing(wanted) / self.rate).min(86_400.0);
        self.filled_at + Duration::from_secs_f64(seconds) + Duration::from_micros(1)
    }

    fn take(&mut self, records: usize) {
        self.tokens -= records as f64;
    }
}

/// How many events there were per second, over the last one to two seconds.
#[derive(Debug, Default)]
struct Meter {
    began: Duration,
    current: u64,
    previous: u64,
}

impl Meter {
    fn turn(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.began);
        if passed >= Duration::from_secs(2) {
            *self = Self { began: now, current: 0, previous: 0 };
        } else if passed >= Duration::from_secs(1) {
            *self = Self { began: self.began + Duration::from_secs(1), current: 0, previous: self.current };
        }
    }

    fn add(&mut self, count: usize, now: Duration) {
        self.turn(now);
        self.current += count as u64;
    }

    fn per_second(&mut self, now: Duration) -> f64 {
        self.turn(now);
        let passed = now.saturating_sub(self.began).as_secs_f64();
        if self.previous == 0 {
            // It has only begun: one request must not be read as the whole second's work.
            self.current as f64 / passed.max(BURST_SECONDS)
        } else {
            (self.current + self.previous) as f64 / (passed + 1.0)
        }
    }

    /// Whether it has counted for a second, so that the rate is known.
    fn is_seasoned(&self) -> bool {
        self.previous > 0
    }
}

/// One adapting rate: unlimited until the first throttling, and again when there was none for [`CALM`].
#[derive(Debug)]
struct Adaptive {
    bucket: Option<Bucket>,
    /// What the rate is never cut below, as a share of what the stream accepts.
    floor: f64,
    rise: f64,
    sent: Meter,
    cut_at: Duration,
    throttled_at: Duration,
    /// Requests below this one were sent before the last cut, and say nothing about it.
    judged_from: u64,
}

impl Adaptive {
    fn new(floor: f64) -> Self {
        Self {
            bucket: None,
            floor,
            rise: MIN_RISE,
            sent: Meter::default(),
            cut_at: Duration::ZERO,
            throttled_at: Duration::ZERO,
            judged_from: 0,
        }
    }

    fn adapt(&mut self, now: Duration) {
        if now.saturating_sub(self.throttled_at) >= CALM {
            self.bucket = None;
        }
        if let Some(bucket) = &mut self.bucket {
            let passed = now.saturating_sub(bucket.filled_at).as_secs_f64();
            bucket.fill(now);
            bucket.rate += self.rise * passed;
        }
    }

    fn allowed(&mut self, wanted: usize, now: Duration) -> usize {
        self.adapt(now);
        self.bucket.as_mut().map_or(wanted, |bucket| bucket.allowed(wanted, now))
    }

    fn ready_at(&self, wanted: usize) -> Option<Duration> {
        self.bucket.as_ref().map(|bucket| bucket.ready_at(wanted))
    }

    fn sent(&mut self, records: usize, now: Duration) {
        if records > 0 {
            self.sent.add(records, now);
            if let Some(bucket) = &mut self.bucket {
                bucket.take(records);
            }
        }
    }

    /// Cuts the rate in proportion to the `share` that was throttled. `accepted`: records per second that the stream takes.
    fn throttled(&mut self, request: u64, next: u64, share: f64, accepted: f64, now: Duration) {
        self.adapt(now);
        self.throttled_at = now;
        let paced = self.bucket.is_some();
        if paced && (request < self.judged_from || now.saturating_sub(self.cut_at) < CUT_INTERVAL) {
            return;
        }
        if !paced && !self.sent.is_seasoned() {
            // A rate that is not known can't be cut. Each throttled record waits by itself meanwhile.
            return;
        }
        let before = match &self.bucket {
            Some(bucket) => bucket.rate,
            None => self.sent.per_second(now).max(accepted),
        };
        let rate = (before * (1.0 - CUT * share)).max(self.floor * accepted).max(MIN_RATE);
        self.rise = (before * RISE).max(MIN_RISE);
        self.cut_at = now;
        self.judged_from = next;
        match &mut self.bucket {
            Some(bucket) => bucket.rate = rate,
            None => self.bucket = Some(Bucket::new(rate, now)),
        }
    }
}

/// Which pace a record follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    /// Every record that is not in the other.
    Open,
    /// Records that were throttled when they were last sent.
    Throttled,
}

/// What became of a request's records of one lane.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tally {
    pub(super) sent: usize,
    pub(super) throttled: usize,
}

/// The paces of a dataflow.
#[derive(Debug)]
pub(super) struct Pace {
    hard: Option<Bucket>,
    open: Adaptive,
    throttled: Adaptive,
    accepted: Meter,
}

impl Pace {
    /// `limit`: records per second at the most.
    pub(super) fn new(limit: Option<u32>, now: Duration) -> Self {
        let mut pace = Self {
            hard: None,
            // Over what is accepted, or it could never find out that more would be; and by as much as may be throttled where a
            // rate settles, or one hot shard would turn it down step by step.
            open: Adaptive::new(1.25),
            throttled: Adaptive::new(0.5),
            accepted: Meter::default(),
        };
        pace.limit(limit, now);
        pace
    }

    /// Sets another hard limit. The rates go on from what was learnt.
    pub(super) fn limit(&mut self, limit: Option<u32>, now: Duration) {
        self.hard = limit.map(|limit| Bucket::new(f64::from(limit.max(1)), now));
    }

    fn lane(&mut self, lane: Lane) -> &mut Adaptive {
        match lane {
            Lane::Open => &mut self.open,
            Lane::Throttled => &mut self.throttled,
        }
    }

    /// How many of `wanted` records of a lane may go by its own pace.
    pub(super) fn allowed(&mut self, lane: Lane, wanted: usize, now: Duration) -> usize {
        self.lane(lane).allowed(wanted, now)
    }

    /// How many of `wanted` records may go by the hard limit.
    pub(super) fn allowed_in_all(&mut self, wanted: usize, now: Duration) -> usize {
        self.hard.as_mut().map_or(wanted, |hard| hard.allowed(wanted, now))
    }

    /// When some of `wanted` records of a lane may go by its own pace, if they may not now.
    pub(super) fn ready_at(&mut self, lane: Lane, wanted: usize) -> Option<Duration> {
        self.lane(lane).ready_at(wanted)
    }

    /// When some of `wanted` records may go by the hard limit, if they may not now.
    pub(super) fn ready_in_all_at(&self, wanted: usize) -> Option<Duration> {
        self.hard.as_ref().map(|hard| hard.ready_at(wanted))
    }

    /// Notes what was sent.
    pub(super) fn sent(&mut self, open: usize, throttled: usize, now: Duration) {
        self.open.sent(open, now);
        self.throttled.sent(throttled, now);
        if let Some(hard) = &mut self.hard {
            hard.fill(now);
            hard.take(open + throttled);
        }
    }

    /// Notes what a request came to. `next` is the id of the next request.
    pub(super) fn answered(
        &mut self,
        (request, next): (u64, u64),
        accepted: usize,
        (open, throttled): (Tally, Tally),
        now: Duration,
    ) {
        self.accepted.add(accepted, now);
        for (lane, tally) in [(Lane::Open, open), (Lane::Throttled, throttled)] {
            if tally.throttled > 0 {
                let accepted = self.accepted.per_second(now);
                let share = tally.throttled as f64 / tally.sent.max(1) as f64;
                self.lane(lane).throttled(request, next, share, accepted, now);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    /// Sends as much as is allowed for `seconds`; how much that was.
    fn let_through(pace: &mut Pace, from: u64, seconds: u64) -> usize {
        let mut sent = 0;
        for step in 0..seconds * 100 {
            let now = at(from + step * 10);
            let mut wanted = pace.allowed(Lane::Open, 500, now);
            wanted = pace.allowed_in_all(wanted, now);
            pace.sent(wanted, 0, now);
            sent += wanted;
        }
        sent
    }

    fn all_throttled(pace: &mut Pace, request: u64, now: Duration) {
        pace.answered((request, request + 1), 0, (Tally { sent: 500, throttled: 500 }, Tally::default()), now);
    }

    #[test]
    fn a_hard_limit_lets_its_rate_through_and_a_tenth_of_a_second_more_at_most() {
        for limit in [1, 7, 100, 10_000] {
            let mut pace = Pace::new(Some(limit), at(0));
            let limit = limit as usize;
            let sent = let_through(&mut pace, 0, 10);
            assert!(sent >= limit * 9 && sent <= limit * 10 + limit / 10 + 1, "{limit}: {sent}");
        }
    }

    #[test]
    fn there_is_no_pace_until_something_is_throttled() {
        let mut pace = Pace::new(None, at(0));
        assert_eq!(pace.allowed(Lane::Open, 500, at(0)), 500);
        pace.answered((0, 1), 500, (Tally { sent: 500, throttled: 0 }, Tally::default()), at(5));
        assert_eq!(pace.allowed(Lane::Open, 500, at(5)), 500);
    }

    #[test]
    fn a_wholly_throttled_request_halves_the_rate_and_it_is_back_in_seconds() {
        let mut pace = Pace::new(None, at(0));
        pace.sent(10_000, 0, at(0));
        pace.sent(10_000, 0, at(1000));
        all_throttled(&mut pace, 0, at(1999));
        let first = let_through(&mut pace, 2000, 1);
        assert!((4000..7000).contains(&first), "{first}");
        let later = let_through(&mut pace, 4000, 1);
        assert!((9000..12_000).contains(&later), "{later}");
        assert_eq!(pace.allowed(Lane::Open, 500, at(12_000)), 500, "unlimited again after the calm");
    }

    #[test]
    fn answers_to_requests_sent_before_a_cut_do_not_cut_again() {
        let mut pace = Pace::new(None, at(0));
        pace.sent(10_000, 0, at(0));
        pace.sent(10_000, 0, at(1000));
        for request in 0..10 {
            pace.answered(
                (request, 10),
                0,
                (Tally { sent: 500, throttled: 500 }, Tally::default()),
                at(1500 + request * 50),
            );
        }
        assert!(let_through(&mut pace, 2000, 1) > 4000);
    }

    #[test]
    fn the_rate_never_falls_below_what_the_stream_takes() {
        let mut pace = Pace::new(None, at(0));
        let mut accepted = 0;
        for step in 0..1000 {
            let now = at(step * 10);
            let wanted = pace.allowed(Lane::Open, 400, now);
            pace.sent(wanted, 0, now);
            // A quarter of everything goes to a shard that takes nothing.
            let throttled = wanted.div_ceil(4);
            accepted += wanted - throttled;
            let tally = Tally { sent: wanted, throttled };
            pace.answered((step, step + 1), wanted - throttled, (tally, Tally::default()), now);
        }
        // 400 each 10 ms are offered; three quarters of them are 300,000 in ten seconds.
        assert!(accepted > 150_000, "{accepted}");
    }

    #[test]
    fn throttled_records_have_a_pace_of_their_own() {
        let mut pace = Pace::new(None, at(0));
        pace.sent(0, 500, at(0));
        pace.sent(0, 500, at(1000));
        pace.answered((0, 1), 0, (Tally::default(), Tally { sent: 500, throttled: 500 }), at(1010));
        assert_eq!(pace.allowed(Lane::Open, 500, at(1011)), 500);
        assert!(pace.allowed(Lane::Throttled, 500, at(1011)) < 500);
    }
}
