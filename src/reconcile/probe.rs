//! Probe: pure. When AWS is to be asked about a destination, and what is believed of its answers. The call itself is the
//! shell's.
//!
//! A changed spec, another Secret and a request are asked about at once; else every interval, with jitter, and sooner after a
//! refusal or where a dataflow has seen otherwise. What is believed changes only when an answer is sure: a refusal must come
//! [`STRIKES`] times in a row, and an AWS that cannot be reached changes nothing.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};
use std::time::Duration;

use jiff::Timestamp;

use super::inventory::ObjectKey;
use super::status::signed;
use super::validate::ValidDestination;
use super::validate::destination::Subject;
use crate::kinesis::probe::ProbeReport;

pub mod findings;

pub use findings::Finding;

/// Refusals in a row before a destination is no longer ready.
pub const STRIKES: u32 = 3;
/// How soon the first refusal is asked about again; each further one waits twice as long.
const FIRST_RETRY: Duration = Duration::from_secs(2);
/// The longest wait after a refusal, since IAM is mended outside Kubernetes.
const LONGEST_RETRY: Duration = Duration::from_mins(10);
/// How soon a doubt is looked into again.
const DOUBT: Duration = Duration::from_secs(30);
/// A probe that has not answered by then is asked again.
const LOST: Duration = Duration::from_mins(5);

/// One answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// What it holds for.
    pub subject: Subject,
    /// What AWS said.
    pub report: ProbeReport,
    /// What that means.
    pub finding: Finding,
    /// When it came.
    pub at: Timestamp,
}

/// What is remembered of a destination's probes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProbeMemory {
    /// What was asked, and when; until the answer comes.
    asked: Option<(Subject, Option<String>, Timestamp)>,
    /// The value of the request that was last asked for.
    request: Option<String>,
    /// The last answer.
    latest: Option<Answer>,
    /// The last answer that is believed.
    settled: Option<Answer>,
    /// Refusals in a row.
    refusals: u32,
    /// Answers in a row from which nothing was learned.
    troubles: u32,
    /// When to ask again.
    next: Option<Timestamp>,
}

/// What is believed of a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing<'a> {
    /// This answer.
    Settled(&'a Answer),
    /// Nothing yet for this spec; the latest answer is no more than a hint.
    Unsettled {
        /// The latest answer for this spec, if there is one.
        latest: Option<&'a Answer>,
        /// Refusals in a row.
        refusals: u32,
    },
}

impl ProbeMemory {
    /// Whether to ask now, and if so, remembers that it was asked.
    pub fn ask(
        &mut self,
        destination: &ValidDestination,
        request: Option<&str>,
        doubted: bool,
        now: Timestamp,
    ) -> bool {
        let due = self.is_due(destination, request, doubted, now);
        if due {
            self.asked = Some((destination.subject.clone(), request.map(str::to_owned), now));
        }
        due
    }

    fn is_due(&self, destination: &ValidDestination, request: Option<&str>, doubted: bool, now: Timestamp) -> bool {
        if let Some((subject, asked_for, at)) = &self.asked {
            let lost = now.duration_since(*at) >= signed(LOST);
            return lost || *subject != destination.subject || asked_for.as_deref() != request;
        }
        let Some(latest) = &self.latest else { return true };
        let changed = latest.subject != destination.subject || self.request.as_deref() != request;
        let doubt = doubted && now.duration_since(latest.at) >= signed(DOUBT);
        // A shorter interval counts from the last answer, not from when the old one would have ended.
        let overdue = now.duration_since(latest.at) >= signed(destination.interval.mul_f64(1.1));
        changed || doubt || overdue || self.next.is_none_or(|next| now >= next)
    }

    /// Takes up the answer to a probe of `destination`.
    pub fn answer(&mut self, destination: &ValidDestination, report: ProbeReport, now: Timestamp) {
        let subject = destination.subject.clone();
        let finding = findings::finding(&report, &destination.target);
        if let Some((asked, request, _)) = self.asked.take() {
            if asked == subject {
                self.request = request;
            } else {
                // An answer to an older question, while a newer one is on its way.
                self.asked = Some((asked, request, now));
                return;
            }
        }
        if self.latest.as_ref().is_some_and(|latest| latest.subject != subject) {
            (self.refusals, self.troubles) = (0, 0);
        }
        if self.settled.as_ref().is_some_and(|settled| settled.subject.spec != subject.spec) {
            self.settled = None;
        }
        let answer = Answer { subject, report, finding, at: now };
        let wait = match &answer.finding {
            Finding::Accepted | Finding::Unverified { .. } => {
                (self.refusals, self.troubles) = (0, 0);
                jittered(destination.interval, &destination.key, now)
            }
            Finding::Waiting { .. } => {
                (self.refusals, self.troubles) = (0, 0);
                DOUBT
            }
            Finding::Refused { .. } => {
                self.refusals = self.refusals.saturating_add(1);
                self.troubles = 0;
                jittered(backoff(self.refusals).min(destination.interval), &destination.key, now)
            }
            Finding::Trouble { .. } => {
                self.troubles = self.troubles.saturating_add(1);
                jittered(backoff(self.troubles).min(destination.interval), &destination.key, now)
            }
        };
        self.next = now.checked_add(signed(wait)).ok();
        let believed = match &answer.finding {
            Finding::Accepted | Finding::Unverified { .. } | Finding::Waiting { .. } => true,
            Finding::Refused { .. } => self.refusals >= STRIKES,
            Finding::Trouble { .. } => false,
        };
        if believed {
            self.settled = Some(answer.clone());
        }
        self.latest = Some(answer);
    }

    /// What is believed of a destination that is `subject`. Another Secret alone leaves the belief until AWS has answered.
    pub fn standing(&self, subject: &Subject) -> Standing<'_> {
        match &self.settled {
            Some(answer) if answer.subject.spec == subject.spec => Standing::Settled(answer),
            _ => Standing::Unsettled {
                latest: self.latest.as_ref().filter(|answer| answer.subject.spec == subject.spec),
                refusals: self.refusals,
            },
        }
    }

    /// Whether an answer about another spec than `subject` was the last.
    pub fn is_about_another(&self, subject: &Subject) -> bool {
        self.latest.as_ref().is_some_and(|answer| answer.subject.spec != subject.spec)
    }

    /// When AWS last answered.
    pub fn last_answer(&self) -> Option<Timestamp> {
        self.latest.as_ref().map(|answer| answer.at)
    }

    /// The request that was last answered.
    pub fn answered_request(&self) -> Option<&str> {
        self.request.as_deref()
    }
}

fn backoff(failures: u32) -> Duration {
    FIRST_RETRY.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(LONGEST_RETRY)
}

/// Within a tenth of `wait`, so that the destinations of an account do not ask all at once. The same for the same arguments.
fn jittered(wait: Duration, key: &ObjectKey, now: Timestamp) -> Duration {
    let mut hasher = DefaultHasher::new();
    (key, now.as_millisecond()).hash(&mut hasher);
    let share = (hasher.finish() % 1_000) as f64 / 1_000.0;
    wait.mul_f64(0.9 + share / 5.0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::kinesis::outcome::RequestError;
    use crate::reconcile::samples::{self, at};
    use crate::reconcile::validate::ProcessPolicy;
    use crate::reconcile::validate::destination::validate;
    use crate::reconcile::{dereference, inventory::Inventory};

    fn valid(inventory: &Inventory) -> ValidDestination {
        let found = dereference::destination(inventory, &samples::destination_key()).unwrap();
        validate(&found, &ProcessPolicy::default()).valid.unwrap()
    }

    fn sample() -> ValidDestination {
        valid(&samples::inventory())
    }

    fn unreachable() -> ProbeReport {
        let trouble = Some(RequestError::Unavailable { message: "connection refused".to_owned() });
        ProbeReport { trouble, ..samples::report() }
    }

    fn is_accepted(memory: &ProbeMemory, destination: &ValidDestination) -> bool {
        matches!(memory.standing(&destination.subject), Standing::Settled(answer) if answer.finding == Finding::Accepted)
    }

    #[test]
    fn it_is_asked_once_and_then_every_interval() {
        let (destination, mut memory) = (sample(), ProbeMemory::default());
        assert!(memory.ask(&destination, None, false, at(0)));
        assert!(!memory.ask(&destination, None, false, at(1)), "it is on its way");
        memory.answer(&destination, samples::report(), at(2));
        assert!(!memory.ask(&destination, None, false, at(530)));
        assert!(memory.ask(&destination, None, false, at(670)));
        assert!(is_accepted(&memory, &destination));
    }

    #[test]
    fn a_change_and_a_request_are_asked_about_at_once() {
        let mut inventory = samples::inventory();
        let (destination, mut memory) = (valid(&inventory), ProbeMemory::default());
        assert!(memory.ask(&destination, None, false, at(0)));
        memory.answer(&destination, samples::report(), at(0));
        assert!(memory.ask(&destination, Some("now"), false, at(1)));
        memory.answer(&destination, samples::report(), at(1));
        assert_eq!(memory.answered_request(), Some("now"));
        assert!(!memory.ask(&destination, Some("now"), false, at(2)));
        inventory.secrets.insert(samples::secret_key(), samples::secret("2"));
        let rotated = valid(&inventory);
        assert!(memory.ask(&rotated, Some("now"), false, at(3)));
        assert!(is_accepted(&memory, &rotated), "another Secret leaves the belief until AWS has answered");
        samples::destination_of(&mut inventory).spec.region = "us-east-1".to_owned();
        let moved = valid(&inventory);
        assert!(memory.ask(&moved, Some("now"), false, at(4)), "even while another one is on its way");
        assert!(!is_accepted(&memory, &moved));
        memory.answer(&rotated, samples::report(), at(5));
        assert!(
            !memory.ask(&moved, Some("now"), false, at(6)),
            "the late answer to the older question counts for nothing"
        );
    }

    #[test]
    fn a_refusal_must_come_three_times_in_a_row_and_is_asked_about_soon() {
        let (destination, mut memory) = (sample(), ProbeMemory::default());
        memory.answer(&destination, samples::report(), at(0));
        for second in [10, 20] {
            memory.answer(&destination, samples::denied_report(), at(second));
            assert!(is_accepted(&memory, &destination));
            assert!(memory.clone().ask(&destination, None, false, at(second + 5)));
        }
        memory.answer(&destination, samples::report(), at(30));
        for second in [40, 50] {
            memory.answer(&destination, samples::denied_report(), at(second));
        }
        assert!(is_accepted(&memory, &destination), "the row was broken");
        memory.answer(&destination, samples::denied_report(), at(60));
        assert!(!is_accepted(&memory, &destination));
        memory.answer(&destination, samples::report(), at(70));
        assert!(is_accepted(&memory, &destination));
    }

    #[test]
    fn an_aws_that_cannot_be_reached_changes_nothing() {
        let (destination, mut memory) = (sample(), ProbeMemory::default());
        memory.answer(&destination, samples::report(), at(0));
        for second in 1..20 {
            memory.answer(&destination, unreachable(), at(second));
            assert!(is_accepted(&memory, &destination));
        }
        let mut memory = ProbeMemory::default();
        for second in 0..20 {
            memory.answer(&destination, samples::refused_report("no"), at(second));
        }
        memory.answer(&destination, unreachable(), at(30));
        assert!(matches!(memory.standing(&destination.subject), Standing::Settled(answer) if answer.at == at(19)));
    }

    #[test]
    fn retries_grow_to_ten_minutes_and_never_beyond_the_interval() {
        assert_eq!(backoff(1), Duration::from_secs(2));
        assert_eq!(backoff(3), Duration::from_secs(8));
        assert_eq!(backoff(40), LONGEST_RETRY);
        for second in 0..100 {
            let wait = jittered(Duration::from_secs(100), &samples::destination_key(), at(second));
            assert!((Duration::from_secs(90)..=Duration::from_secs(110)).contains(&wait));
        }
    }

    #[test]
    fn a_doubt_is_looked_into_but_not_all_the_time() {
        let (destination, mut memory) = (sample(), ProbeMemory::default());
        memory.answer(&destination, samples::report(), at(0));
        assert!(!memory.ask(&destination, None, true, at(5)));
        assert!(memory.ask(&destination, None, true, at(30)));
    }

    #[test]
    fn a_probe_that_never_answers_is_asked_again() {
        let (destination, mut memory) = (sample(), ProbeMemory::default());
        assert!(memory.ask(&destination, None, false, at(0)));
        assert!(!memory.ask(&destination, None, false, at(299)));
        assert!(memory.ask(&destination, None, false, at(300)));
    }
}
