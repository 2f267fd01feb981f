//! Pure decisions: which faults strike a request, and how. Each fault draws from its own seeded generator, so a run of
//! requests in the same order meets the same faults. Performs none of them; how they are written is in `kinds`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fastrand::Rng;
use parking_lot::Mutex;

use crate::error::ApiError;
use crate::keys::denied;

mod kinds;

pub use kinds::{Break, EntryError, Fault, FaultSet, Kind, KmsError, When};

/// What a fault may ask of a request.
#[derive(Clone, Copy)]
pub(crate) struct Facts<'a> {
    pub(crate) action: &'a str,
    pub(crate) stream: Option<&'a str>,
    pub(crate) access_key: &'a str,
    /// Who a refusal names.
    pub(crate) user: &'a str,
    /// What a refusal names.
    pub(crate) resource: &'a str,
    pub(crate) account: &'a str,
}

/// What strikes a request before it is carried out.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Before {
    pub(crate) delay: Duration,
    pub(crate) end: Option<End>,
}

/// How a request ends other than by its answer.
#[derive(Debug, PartialEq)]
pub(crate) enum End {
    Refused(ApiError),
    Broken(Break),
    Silent,
    Late(Duration),
}

/// The faults in force.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    any: AtomicBool,
    armed: Mutex<Vec<Armed>>,
    struck: Mutex<BTreeMap<&'static str, u64>>,
}

#[derive(Debug)]
struct Armed {
    fault: Fault,
    rng: Rng,
    left: Option<u64>,
}

impl Faults {
    pub(crate) fn replace(&self, set: FaultSet) {
        let mut armed = self.armed.lock();
        *armed = set
            .faults
            .into_iter()
            .zip(0_u64..)
            .map(|(fault, index)| Armed {
                left: fault.count,
                rng: Rng::with_seed(set.seed.wrapping_add(index.wrapping_mul(0x9e37_79b9_7f4a_7c15))),
                fault,
            })
            .collect();
        self.any.store(!armed.is_empty(), Ordering::Release);
    }

    /// How often each kind struck.
    pub(crate) fn struck(&self) -> BTreeMap<&'static str, u64> {
        self.struck.lock().clone()
    }

    /// Whether a stream plays deleted to a list; uses up no count, since the list itself is not struck.
    pub(crate) fn hides(&self, stream: &str, list: &Facts<'_>) -> bool {
        let facts = Facts { stream: Some(stream), ..*list };
        self.any.load(Ordering::Acquire)
            && self.armed.lock().iter().any(|armed| armed.fault.fault == Kind::StreamDeleted && armed.qualifies(&facts))
    }

    /// What strikes before the request is carried out. Delays add up; the first fault that ends the request ends it.
    pub(crate) fn before(&self, facts: &Facts<'_>) -> Before {
        let mut before = Before::default();
        self.each(facts, |armed| {
            if before.end.is_some() {
                return None;
            }
            match &armed.fault.fault {
                Kind::Latency { fixed_ms, jitter_ms } => {
                    let (fixed, jitter) = (*fixed_ms, *jitter_ms);
                    armed.draw()?;
                    before.delay += Duration::from_millis(fixed + armed.rng.u64(0..=jitter));
                    Some("latency")
                }
                kind => {
                    let (name, end) = ending(kind, facts)?;
                    armed.draw()?;
                    before.end = Some(end);
                    Some(name)
                }
            }
        });
        before
    }

    /// What strikes once the request is carried out.
    pub(crate) fn after(&self, facts: &Facts<'_>) -> Option<End> {
        let mut end = None;
        self.each(facts, |armed| {
            if end.is_some() {
                return None;
            }
            let (name, struck) = match armed.fault.fault {
                Kind::ResetAfter { how } => ("resetAfter", End::Broken(how)),
                Kind::CommitThenTimeout { answer_after_ms: None } => ("commitThenTimeout", End::Silent),
                Kind::CommitThenTimeout { answer_after_ms: Some(after) } => {
                    ("commitThenTimeout", End::Late(Duration::from_millis(after)))
                }
                _ => return None,
            };
            armed.draw()?;
            end = Some(struck);
            Some(name)
        });
        end
    }

    /// Marks the entries of a put that fail; an entry is its shard's id and its partition key. Errors: the whole
    /// request is refused.
    pub(crate) fn entries<'a>(
        &self,
        facts: &Facts<'_>,
        entries: &(impl ExactSizeIterator<Item = (&'a str, &'a str)> + Clone),
        failing: &mut [Option<EntryError>],
    ) -> Result<(), ApiError> {
        let mut refused = None;
        self.each(facts, |armed| {
            let kind = armed.fault.fault.clone();
            let (name, error) = match &kind {
                Kind::ThrottleEntries { .. } => ("throttleEntries", EntryError::Throttled),
                Kind::Scattered { error, .. } => ("scattered", *error),
                Kind::Suffix { error } => ("suffix", *error),
                Kind::PoisonEntry { .. } => ("poisonEntry", EntryError::InternalFailure),
                Kind::PoisonRequest { partition_key } => {
                    if refused.is_some() || !entries.clone().any(|(_, key)| key == partition_key) {
                        return None;
                    }
                    armed.draw()?;
                    refused = Some(ApiError::invalid("A record of the request is invalid."));
                    return Some("poisonRequest");
                }
                _ => return None,
            };
            armed.roll()?;
            let from = armed.rng.usize(0..entries.len().max(1));
            let mut any = false;
            for (index, (shard, key)) in entries.clone().enumerate() {
                let fails = match &kind {
                    Kind::ThrottleEntries { shard: wanted, rate } => {
                        wanted.as_deref().is_none_or(|wanted| wanted == shard) && armed.rng.f64() < *rate
                    }
                    Kind::Scattered { rate, .. } => armed.rng.f64() < *rate,
                    Kind::Suffix { .. } => index >= from,
                    Kind::PoisonEntry { partition_key } => key == partition_key,
                    _ => false,
                };
                if fails {
                    any = true;
                    failing[index].get_or_insert(error);
                }
            }
            any.then(|| {
                armed.spend();
                name
            })
        });
        refused.map_or(Ok(()), Err)
    }

    /// Offers every fault that a request qualifies for, and counts those that struck.
    fn each(&self, facts: &Facts<'_>, mut strike: impl FnMut(&mut Armed) -> Option<&'static str>) {
        if !self.any.load(Ordering::Acquire) {
            return;
        }
        for armed in self.armed.lock().iter_mut().filter(|armed| armed.qualifies(facts)) {
            if let Some(name) = strike(armed) {
                *self.struck.lock().entry(name).or_default() += 1;
            }
        }
    }
}

impl Armed {
    fn qualifies(&self, facts: &Facts<'_>) -> bool {
        let When { action, stream, access_key } = &self.fault.when;
        self.left != Some(0)
            && action.as_deref().is_none_or(|action| action == facts.action)
            && stream.as_deref().is_none_or(|stream| Some(stream) == facts.stream)
            && access_key.as_deref().is_none_or(|key| key == facts.access_key)
    }

    /// Throws the dice.
    fn roll(&mut self) -> Option<()> {
        (self.fault.probability >= 1.0 || self.rng.f64() < self.fault.probability).then_some(())
    }

    fn spend(&mut self) {
        self.left = self.left.map(|left| left.saturating_sub(1));
    }

    /// Throws the dice and, where they fall so, uses up one of the count.
    fn draw(&mut self) -> Option<()> {
        self.roll()?;
        self.spend();
        Some(())
    }
}

/// How a fault ends a request before it is carried out; `None` where it is of another sort.
fn ending(kind: &Kind, facts: &Facts<'_>) -> Option<(&'static str, End)> {
    let (name, error) = match kind {
        Kind::Blackhole => return Some(("blackhole", End::Silent)),
        Kind::ResetBefore { how } => return Some(("resetBefore", End::Broken(*how))),
        Kind::Status { status: 503 } => ("status", ApiError::unavailable()),
        Kind::Status { status } => ("status", ApiError { status: *status, ..ApiError::internal() }),
        Kind::ThrottleRequest => ("throttleRequest", ApiError::throttled("the request")),
        Kind::Denied => {
            let service = if facts.action == "AssumeRole" { "sts" } else { "kinesis" };
            ("denied", denied(facts.user, &format!("{service}:{}", facts.action), facts.resource))
        }
        Kind::ExpiredToken => ("expiredToken", expired_token()),
        Kind::Kms { error } => ("kms", kms(*error)),
        Kind::StreamDeleted => ("streamDeleted", ApiError::no_stream(facts.stream?, facts.account)),
        Kind::Error { kind, message, status } => {
            ("error", ApiError { status: *status, ..ApiError::new(kind.clone(), message.clone()) })
        }
        _ => return None,
    };
    Some((name, End::Refused(error)))
}

/// The refusal of an expired token.
pub(crate) fn expired_token() -> ApiError {
    ApiError::new("ExpiredTokenException", "The security token included in the request is expired")
}

fn kms(error: KmsError) -> ApiError {
    match error {
        KmsError::Disabled => ApiError::new("KMSDisabledException", "The key of the stream is disabled."),
        KmsError::AccessDenied => {
            ApiError::new("KMSAccessDeniedException", "The ciphertext refers to a key that you may not use.")
        }
        KmsError::Throttling => ApiError::new("KMSThrottlingException", "You have exceeded the rate of calls to KMS."),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    const FACTS: Facts<'static> = Facts {
        action: "PutRecords",
        stream: Some("s"),
        access_key: "k",
        user: "u",
        resource: "r",
        account: "000000000000",
    };

    fn armed(json: &str) -> Faults {
        let faults = Faults::default();
        faults.replace(serde_json::from_str(json).unwrap());
        faults
    }

    fn failing(faults: &Faults, entries: &[(&str, &str)]) -> Vec<Option<EntryError>> {
        let mut failing = vec![None; entries.len()];
        faults.entries(&FACTS, &entries.iter().copied(), &mut failing).unwrap();
        failing
    }

    #[test]
    fn a_count_is_used_up_by_requests_that_were_struck_and_no_others() {
        let faults =
            armed(r#"[{"fault":{"kind":"throttleRequest"},"when":{"action":"PutRecords","stream":"s"},"count":2}]"#);
        let other = Facts { action: "PutRecord", ..FACTS };
        assert_eq!(faults.before(&other), Before::default());
        for struck in [true, true, false] {
            assert_eq!(faults.before(&FACTS).end.is_some(), struck);
        }
        assert_eq!(faults.struck()["throttleRequest"], 2);
    }

    #[test]
    fn equal_seeds_meet_equal_faults_and_others_do_not() {
        let run = |seed: u64| {
            let faults = armed(&format!(
                r#"{{"seed":{seed},"faults":[{{"fault":{{"kind":"scattered","rate":0.3}}}},{{"fault":{{"kind":"suffix","error":"throttled"}},"probability":0.5}}]}}"#
            ));
            let entries = vec![("shardId-000000000000", "k"); 20];
            (0..20).map(|_| failing(&faults, &entries)).collect::<Vec<_>>()
        };
        assert_eq!(run(7), run(7));
        assert_ne!(run(7), run(8));
    }

    #[test]
    fn a_suffix_fails_from_one_entry_to_the_end() {
        let faults = armed(r#"[{"fault":{"kind":"suffix"}}]"#);
        for _ in 0..20 {
            let failing = failing(&faults, &[("a", "k"); 10]);
            let from = failing.iter().position(Option::is_some).unwrap();
            assert!(failing[from..].iter().all(|error| *error == Some(EntryError::InternalFailure)));
        }
    }

    #[test]
    fn one_shard_or_one_key_fails_alone() {
        let entries = [("a", "p"), ("b", "p"), ("a", "q")];
        let throttled = Some(EntryError::Throttled);
        let shard = armed(r#"[{"fault":{"kind":"throttleEntries","shard":"a"},"count":1}]"#);
        assert_eq!(failing(&shard, &entries[1..2]), [None], "and a request without the shard uses up no count");
        assert_eq!(failing(&shard, &entries), [throttled, None, throttled]);
        assert_eq!(failing(&shard, &entries), [None; 3]);
        let key = armed(r#"[{"fault":{"kind":"poisonEntry","partitionKey":"q"}}]"#);
        assert_eq!(failing(&key, &entries), [None, None, Some(EntryError::InternalFailure)]);
        let request = armed(r#"[{"fault":{"kind":"poisonRequest","partitionKey":"q"}}]"#);
        assert_eq!(failing(&request, &entries[..2]), [None, None]);
        let refused = request.entries(&FACTS, &entries.iter().copied(), &mut [None; 3]).unwrap_err();
        assert_eq!(refused.kind, "InvalidArgumentException");
    }
}
