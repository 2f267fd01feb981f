//! The service of the model, and its faults.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::HashSet;

use super::*;

/// The code of an entry that fails because every entry does.
pub(super) const SPELL: &str = "ServiceUnavailable";

pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        (self.next() >> 11) % bound.max(1)
    }

    pub(super) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    pub(super) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub(super) fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }
}

pub(super) fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// What a record is like, by its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Good,
    /// The service refuses any request with it.
    Invalid,
    /// The service answers an internal failure for it, always.
    Cursed,
    /// Any request with it breaks.
    Breaking,
    /// Too large, or without a key.
    Poison,
}

#[derive(Debug)]
pub(super) struct Known {
    pub(super) profile: u64,
    pub(super) kind: Kind,
    /// Answers of `Failed` outside of spells, and requests of its own that broke outside of outages.
    pub(super) own_failures: u32,
    /// Answers of `Failed` while every entry failed.
    pub(super) spell_failures: u32,
    /// Outages in which a request of its own broke.
    pub(super) outages: HashSet<usize>,
    pub(super) sends: u32,
    pub(super) committed: bool,
    pub(super) acknowledged: bool,
    pub(super) dead: bool,
}

/// The faults of one history, in percent or as spans of time.
#[derive(Debug)]
pub(super) struct Faults {
    pub(super) entry_failed: u64,
    pub(super) entry_throttled: u64,
    pub(super) suffix_throttled: u64,
    pub(super) request_throttled: u64,
    pub(super) lost: u64,
    pub(super) hot_one_in: u64,
    /// Nothing gets through, in the first minute.
    pub(super) outages: Vec<(Duration, Duration)>,
    /// Every request is refused.
    pub(super) refusals: Vec<(Duration, Duration)>,
    /// Every request is answered as invalid.
    pub(super) all_invalid: Vec<(Duration, Duration)>,
    /// Every entry of every request fails.
    pub(super) all_failed: Vec<(Duration, Duration)>,
    /// The link carries no more bytes in a request of several records.
    pub(super) largest: usize,
    /// Nearly every record is bad.
    pub(super) spoiled: bool,
    pub(super) latency: u64,
    pub(super) end: Duration,
}

impl Faults {
    /// A history's faults, all at random; in some histories only outages and refusals.
    pub(super) fn draw(random: &mut Random) -> Self {
        let spans = |random: &mut Random, count: u64| {
            (0..count)
                .map(|_| {
                    let start = random.below(40_000);
                    (ms(start), ms(start + random.between(300, 20_000)))
                })
                .collect::<Vec<_>>()
        };
        let calm = random.chance(30);
        let often = |random: &mut Random, choices: &[u64]| if calm { 0 } else { random.pick(choices) };
        Faults {
            entry_failed: often(random, &[0, 0, 1, 5, 30]),
            entry_throttled: often(random, &[0, 0, 5, 50]),
            suffix_throttled: often(random, &[0, 0, 10, 50]),
            request_throttled: often(random, &[0, 0, 5, 30]),
            lost: often(random, &[0, 0, 1, 10, 40]),
            hot_one_in: random.pick(&[0, 0, 3, 10]),
            outages: {
                let count = random.pick(&[0, 1, 2]);
                spans(random, count)
            },
            refusals: {
                let count = random.pick(&[0, 0, 1, 2]);
                spans(random, count)
            },
            all_invalid: {
                let count = random.pick(&[0, 0, 0, 1, 2]);
                spans(random, count)
            },
            all_failed: {
                let count = random.pick(&[0, 0, 0, 1, 2]);
                spans(random, count)
            },
            largest: random.pick(&[usize::MAX, usize::MAX, 10_000, 1000, 200]),
            spoiled: random.chance(5),
            latency: random.pick(&[1, 10, 50, 400]),
            end: ms(60_000),
        }
    }
}

impl World {
    /// What the service does with a request.
    pub(super) fn arrive(&mut self, request: RequestId, records: Vec<usize>, bytes: usize) {
        let faulty = self.faulty();
        let refused = self.within(&self.faults.refusals);
        let oversized = records.len() > 1 && bytes > self.faults.largest;
        let lost = self.outage().is_some() || (faulty && self.random.chance(self.faults.lost));
        let breaks = records.iter().any(|&index| self.records[index].kind == Kind::Breaking);
        if lost || breaks || oversized {
            match self.random.below(3) {
                _ if breaks || oversized => {}
                0 => self.commit(&records),
                1 => {
                    let late = self.now + ms(self.random.below(3000));
                    self.schedule(late, Event::Commit { records: records.clone() });
                }
                _ => {}
            }
            let wait = if oversized || self.random.chance(30) { ms(2000) } else { self.latency() };
            let outcome = Err(RequestError::Unavailable { message: "lost".into() });
            return self.schedule(self.now + wait, Event::Answer { request, records, outcome, lost: true });
        }
        let outcome = if refused {
            Err(match self.random.below(4) {
                0 => RequestError::Denied { message: "denied".into() },
                1 => RequestError::Credentials { message: "expired".into() },
                2 => RequestError::StreamNotFound { message: "gone".into() },
                _ => RequestError::Encryption { message: "disabled".into() },
            })
        } else if self.within(&self.faults.all_invalid)
            || records.iter().any(|&index| self.records[index].kind == Kind::Invalid)
            || (records.len() > 1 && bytes > 20_000)
        {
            Err(RequestError::Invalid { message: "invalid".into() })
        } else if faulty && self.random.chance(self.faults.request_throttled) {
            Err(RequestError::Throttled { message: "slow down".into() })
        } else {
            Ok(self.entries(&records, faulty, self.within(&self.faults.all_failed)))
        };
        let at = self.now + self.latency();
        self.schedule(at, Event::Answer { request, records, outcome, lost: false });
    }

    fn entries(&mut self, records: &[usize], faulty: bool, spell: bool) -> Vec<EntryOutcome> {
        let cut = if faulty && self.random.chance(self.faults.suffix_throttled) {
            self.random.below(records.len() as u64 + 1) as usize
        } else {
            records.len()
        };
        let mut outcomes = vec![];
        for (place, &index) in records.iter().enumerate() {
            let record = &self.records[index];
            let hot = self.faults.hot_one_in > 0 && record.profile.is_multiple_of(self.faults.hot_one_in);
            let failed = record.kind == Kind::Cursed || (faulty && self.random.chance(self.faults.entry_failed));
            let throttled = place >= cut
                || (faulty && (self.random.chance(self.faults.entry_throttled) || (hot && self.random.chance(80))));
            if spell {
                outcomes.push(EntryOutcome::Failed { code: SPELL.into(), message: "later".into() });
            } else if throttled {
                outcomes.push(EntryOutcome::Throttled);
            } else if failed {
                outcomes.push(EntryOutcome::Failed { code: "InternalFailure".into(), message: "again".into() });
            } else {
                self.commit(&[index]);
                outcomes.push(EntryOutcome::Accepted);
            }
        }
        outcomes
    }
}
