//! Pure: what `Delivering` says, with hysteresis, so that it changes when something has changed and not when a second differs
//! from the last.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::conditions::State;
use super::signed;
use crate::api::conditions::Reason;
use crate::dataflow::progress::{Delivery, OutageCause, Progress};
use crate::reconcile::plan::Pause;

/// A shard takes so many records a second.
pub const SHARD_RECORDS: f64 = 1_000.0;
/// A shard takes so many bytes a second.
pub const SHARD_BYTES: f64 = 1_000_000.0;

/// What is said of the delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Whether records get through.
    pub state: State,
    /// How it goes.
    pub reason: Reason,
    /// In a sentence, with the mend.
    pub message: String,
}

/// What is said, and what has lately been seen instead.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Delivering {
    told: Option<Told>,
    /// Something else than is told, seen without a pause since.
    seen: Option<(Reason, State, Timestamp)>,
}

impl Delivering {
    /// What an earlier process said last.
    pub fn recalled(condition: Option<&Condition>) -> Self {
        let told = condition.and_then(|condition| {
            let state = match condition.status.as_str() {
                "True" => State::True,
                "False" => State::False,
                _ => State::Unknown,
            };
            Some(Told { state, reason: condition.reason.parse().ok()?, message: condition.message.clone() })
        });
        Self { told, seen: None }
    }

    /// What to say, now that `seen` is how it is.
    pub fn settle(&mut self, seen: Told, now: Timestamp) -> &Told {
        let told = match self.told.take() {
            None => seen,
            Some(told) if told.reason == seen.reason && told.state == seen.state => {
                self.seen = None;
                // The service words the same trouble anew each time; a pause says what is to be done, and is exact.
                if keeps_its_words(seen.reason) { told } else { seen }
            }
            Some(told) => {
                let since = match self.seen {
                    Some((reason, state, since)) if reason == seen.reason && state == seen.state => since,
                    _ => now,
                };
                if now.duration_since(since) >= signed(dwell(told.reason, seen.reason)) {
                    self.seen = None;
                    seen
                } else {
                    self.seen = Some((seen.reason, seen.state, since));
                    told
                }
            }
        };
        self.told.insert(told)
    }
}

fn keeps_its_words(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::Throttled
            | Reason::Retrying
            | Reason::AccessDenied
            | Reason::CredentialsRefused
            | Reason::StreamNotFound
            | Reason::EncryptionKeyRefused
            | Reason::Unreachable
            | Reason::SourceUnreachable
    )
}

/// How long something else must be seen before it is said.
fn dwell(told: Reason, seen: Reason) -> Duration {
    match (told, seen) {
        // Traffic that comes every minute flows.
        (Reason::Flowing, Reason::Idle) => Duration::from_mins(2),
        (Reason::Flowing | Reason::Idle, Reason::Throttled) => Duration::from_secs(15),
        (Reason::Flowing | Reason::Idle, Reason::Retrying) => Duration::from_secs(30),
        (
            Reason::Throttled | Reason::Retrying,
            Reason::Flowing | Reason::Idle | Reason::Throttled | Reason::Retrying,
        ) if told != seen => Duration::from_mins(1),
        _ => Duration::ZERO,
    }
}

/// How the delivery is, at this moment: of a dataflow that is paused, that has not told anything yet, or that has.
pub fn seen(
    pause: Option<&Pause>,
    progress: Option<&Progress>,
    throttle_timeout: Option<Duration>,
    now: Timestamp,
) -> Told {
    let told = |state: bool, reason, message: &str| Told { state: state.into(), reason, message: message.to_owned() };
    if let Some(pause) = pause {
        return told(false, pause.reason, &pause.message);
    }
    let Some(progress) = progress else {
        let message = "the dataflow has not reported yet".to_owned();
        return Told { state: State::Unknown, reason: Reason::Pending, message };
    };
    match &progress.delivery {
        Delivery::Idle => told(true, Reason::Idle, "Everything is delivered; there is nothing new."),
        Delivery::Flowing => told(true, Reason::Flowing, "Records get through."),
        Delivery::Throttled { since } => {
            let long = throttle_timeout.is_some_and(|limit| now.duration_since(*since) >= signed(limit));
            told(!long, Reason::Throttled, &format!("the stream throttles: {}", throttled(progress)))
        }
        Delivery::Retrying { message } => {
            told(true, Reason::Retrying, &format!("some records are being tried again: {message}"))
        }
        Delivery::Outage { cause, message, .. } => {
            let (reason, mend) = outage(*cause);
            told(false, reason, &format!("paused, nothing is lost: {message}; {mend}"))
        }
        Delivery::SourceUnreachable { message } => {
            told(false, Reason::SourceUnreachable, &format!("the feed cannot be read: {message}; it is tried again"))
        }
        Delivery::PositionLost { message } => told(false, Reason::PositionLost, message),
    }
}

/// The reason of an outage, and what mends it.
pub fn outage(cause: OutageCause) -> (Reason, &'static str) {
    match cause {
        OutageCause::AccessDenied => {
            (Reason::AccessDenied, "grant the policy in the destination's status.requiredPolicy; it goes on by itself")
        }
        OutageCause::Credentials => {
            (Reason::CredentialsRefused, "correct the destination's credentials; it goes on by itself")
        }
        OutageCause::StreamNotFound => (
            Reason::StreamNotFound,
            "create the stream, or correct the destination's spec.stream; it goes on by itself",
        ),
        OutageCause::Encryption => (
            Reason::EncryptionKeyRefused,
            "enable the stream's key and grant kms:GenerateDataKey on it; it goes on by itself",
        ),
        OutageCause::Unreachable => (Reason::Unreachable, "it is tried again until AWS answers"),
    }
}

/// At least so many shards take such a load.
pub fn shards(records_per_second: f64, bytes_per_second: f64) -> u64 {
    let shards = (records_per_second / SHARD_RECORDS).max(bytes_per_second / SHARD_BYTES).ceil();
    if shards.is_finite() && shards >= 1.0 { shards as u64 } else { 1 }
}

/// What to do about a stream that takes less than there is: it now takes what so many shards do, so one more is the least.
pub fn throttled(progress: &Progress) -> String {
    let wanted = shards(progress.rate, progress.byte_rate) + 1;
    format!(
        "it takes less than there is to deliver, now about {:.0} records a second; nothing is lost. Give it at least {wanted} shards, \
         or switch it to on-demand mode",
        progress.rate
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use std::sync::Arc;

    use super::*;
    use crate::export::mapping::tests::spec;
    use crate::reconcile::samples::{self, at};

    fn progress(delivery: Delivery) -> Progress {
        Progress { delivery, ..samples::progress(Arc::new(spec(&["a1"], &[])), at(0)) }
    }

    fn as_seen(delivery: Delivery, second: i64) -> Told {
        seen(None, Some(&progress(delivery)), Some(Duration::from_mins(10)), at(second))
    }

    #[test]
    fn each_delivery_has_its_reason() {
        let message = || "why".to_owned();
        let outage = |cause| Delivery::Outage { cause, message: message(), since: at(0) };
        let table = [
            (Delivery::Idle, State::True, Reason::Idle),
            (Delivery::Flowing, State::True, Reason::Flowing),
            (Delivery::Throttled { since: at(0) }, State::True, Reason::Throttled),
            (Delivery::Throttled { since: at(-600) }, State::False, Reason::Throttled),
            (Delivery::Retrying { message: message() }, State::True, Reason::Retrying),
            (outage(OutageCause::AccessDenied), State::False, Reason::AccessDenied),
            (outage(OutageCause::Credentials), State::False, Reason::CredentialsRefused),
            (outage(OutageCause::StreamNotFound), State::False, Reason::StreamNotFound),
            (outage(OutageCause::Encryption), State::False, Reason::EncryptionKeyRefused),
            (outage(OutageCause::Unreachable), State::False, Reason::Unreachable),
            (Delivery::SourceUnreachable { message: message() }, State::False, Reason::SourceUnreachable),
            (Delivery::PositionLost { message: message() }, State::False, Reason::PositionLost),
        ];
        for (delivery, state, reason) in table {
            let told = as_seen(delivery.clone(), 0);
            assert_eq!((told.state, told.reason), (state, reason), "{delivery:?}");
        }
        let pause = Pause { reason: Reason::Suspended, message: message() };
        assert_eq!(seen(Some(&pause), Some(&progress(Delivery::Flowing)), None, at(0)).reason, Reason::Suspended);
        assert_eq!(seen(None, None, None, at(0)).state, State::Unknown);
    }

    #[test]
    fn noise_is_not_told() {
        let mut delivering = Delivering::default();
        delivering.settle(as_seen(Delivery::Flowing, 0), at(0));
        for second in 1..600 {
            let delivery = match second % 10 {
                0..4 => Delivery::Flowing,
                4..7 => Delivery::Idle,
                7 => Delivery::Throttled { since: at(second) },
                _ => Delivery::Retrying { message: format!("attempt {second}") },
            };
            let told = delivering.settle(as_seen(delivery, second), at(second));
            assert_eq!(told.reason, Reason::Flowing, "at {second}");
        }
    }

    #[test]
    fn what_lasts_is_told_and_an_outage_at_once() {
        let mut delivering = Delivering::default();
        delivering.settle(as_seen(Delivery::Flowing, 0), at(0));
        let throttled = || Delivery::Throttled { since: at(1) };
        assert_eq!(delivering.settle(as_seen(throttled(), 1), at(1)).reason, Reason::Flowing);
        assert_eq!(delivering.settle(as_seen(throttled(), 16), at(16)).reason, Reason::Throttled);
        let denied = Delivery::Outage { cause: OutageCause::AccessDenied, message: "no".to_owned(), since: at(17) };
        assert_eq!(delivering.settle(as_seen(denied, 17), at(17)).reason, Reason::AccessDenied);
        assert_eq!(delivering.settle(as_seen(Delivery::Flowing, 18), at(18)).reason, Reason::Flowing);
        assert_eq!(delivering.settle(as_seen(Delivery::Idle, 19), at(19)).reason, Reason::Flowing);
        assert_eq!(delivering.settle(as_seen(Delivery::Idle, 139), at(139)).reason, Reason::Idle);
    }

    #[test]
    fn the_words_of_a_trouble_stay_while_it_lasts() {
        let mut delivering = Delivering::default();
        let denied = |message: &str| {
            let (cause, message) = (OutageCause::AccessDenied, message.to_owned());
            as_seen(Delivery::Outage { cause, message, since: at(0) }, 0)
        };
        let first = delivering.settle(denied("request 1"), at(0)).clone();
        assert_eq!(*delivering.settle(denied("request 2"), at(1)), first);
    }

    #[test]
    fn shards_are_counted_by_records_and_by_bytes() {
        assert_eq!(shards(0.0, 0.0), 1);
        assert_eq!(shards(1_001.0, 10.0), 2);
        assert_eq!(shards(10.0, 4_500_000.0), 5);
        assert_eq!(shards(f64::NAN, f64::INFINITY), 1);
    }
}
