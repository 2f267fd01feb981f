//! Types and pure decisions: what goes wrong, when. Each fault draws from its own seeded generator, so a run of requests
//! in the same order meets the same faults. Performs none of them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fastrand::Rng;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::error::ApiError;
use crate::keys::denied;

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum Kind {
    /// The answer waits: `fixedMs`, and up to `jitterMs` more.
    Latency {
        /// Milliseconds that every request waits.
        #[serde(default)]
        fixed_ms: u64,
        /// The most that is added at random.
        #[serde(default)]
        jitter_ms: u64,
    },
    /// The request is read and never answered, and nothing is written.
    Blackhole,
    /// The connection breaks before anything is written.
    ResetBefore {
        /// How it breaks.
        #[serde(default)]
        how: Break,
    },
    /// The connection breaks after the write, before the answer.
    ResetAfter {
        /// How it breaks.
        #[serde(default)]
        how: Break,
    },
    /// What was asked is done, and the answer never comes, or comes late.
    CommitThenTimeout {
        /// Milliseconds until the answer; never, where left out.
        #[serde(default)]
        answer_after_ms: Option<u64>,
    },
    /// The service fails: 500 `InternalFailure` or 503 `ServiceUnavailable`.
    Status {
        /// 500 or 503.
        status: u16,
    },
    /// The whole request is throttled: 400 `ProvisionedThroughputExceededException`.
    ThrottleRequest,
    /// 400 `AccessDeniedException`, worded as IAM words it.
    Denied,
    /// 400 `ExpiredTokenException`.
    ExpiredToken,
    /// 400, one of the errors of the key that encrypts the stream.
    Kms {
        /// Which of them.
        error: KmsError,
    },
    /// The stream answers, and is listed, as if it were gone.
    StreamDeleted,
    /// Any other refusal of the whole request.
    Error {
        /// The exception's name.
        #[serde(rename = "type")]
        kind: String,
        /// Its message.
        #[serde(default)]
        message: String,
        /// Its HTTP status.
        #[serde(default = "bad_request")]
        status: u16,
    },
    /// Entries of one shard, or of all, are throttled.
    ThrottleEntries {
        /// The shard's id; all, where left out.
        #[serde(default)]
        shard: Option<String>,
        /// The share of the entries, 0 to 1.
        #[serde(default = "one")]
        rate: f64,
    },
    /// Entries fail here and there.
    Scattered {
        /// The share of the entries, 0 to 1.
        rate: f64,
        /// How they fail.
        #[serde(default)]
        error: EntryError,
    },
    /// From a random entry on, all fail.
    Suffix {
        /// How they fail.
        #[serde(default)]
        error: EntryError,
    },
    /// Entries with this partition key fail with `InternalFailure`.
    PoisonEntry {
        /// The key.
        partition_key: String,
    },
    /// A request that holds this partition key is refused as a whole as `InvalidArgumentException`.
    PoisonRequest {
        /// The key.
        partition_key: String,
    },
}

/// How a connection breaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Break {
    /// A TCP reset.
    #[default]
    Rst,
    /// A plain close.
    Close,
}

/// How one entry of a put fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum EntryError {
    /// `InternalFailure`.
    #[default]
    InternalFailure,
    /// `ProvisionedThroughputExceededException`.
    Throttled,
}

/// An error of the key that encrypts a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum KmsError {
    /// `KMSDisabledException`.
    Disabled,
    /// `KMSAccessDeniedException`.
    AccessDenied,
    /// `KMSThrottlingException`.
    Throttling,
}

/// A fault and when it strikes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Fault {
    /// What goes wrong.
    pub fault: Kind,
    /// For which requests.
    #[serde(default)]
    pub when: When,
    /// The chance that a request that qualifies meets it, 0 to 1.
    #[serde(default = "one")]
    pub probability: f64,
    /// How many requests it strikes; until cleared, where left out.
    #[serde(default)]
    pub count: Option<u64>,
}

impl Fault {
    /// A fault that strikes every request until cleared.
    pub fn new(fault: Kind) -> Self {
        Self { fault, when: When::default(), probability: 1.0, count: None }
    }

    /// The same, for so many requests.
    #[must_use]
    pub fn times(mut self, count: u64) -> Self {
        self.count = Some(count);
        self
    }

    /// The same, by chance.
    #[must_use]
    pub fn with_probability(mut self, probability: f64) -> Self {
        self.probability = probability;
        self
    }

    /// The same, for one action only.
    #[must_use]
    pub fn on_action(mut self, action: impl Into<String>) -> Self {
        self.when.action = Some(action.into());
        self
    }

    /// The same, for one stream only.
    #[must_use]
    pub fn on_stream(mut self, stream: impl Into<String>) -> Self {
        self.when.stream = Some(stream.into());
        self
    }
}

/// Which requests qualify: all that match every field given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct When {
    /// The action's name, such as `PutRecords`.
    #[serde(default)]
    pub action: Option<String>,
    /// The stream's name.
    #[serde(default)]
    pub stream: Option<String>,
    /// The id of the access key.
    #[serde(default)]
    pub access_key: Option<String>,
}

/// All faults, and the seed that they draw from. In JSON also a bare list, with seed 0.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(from = "Written")]
pub struct FaultSet {
    /// Equal seeds and equal requests meet equal faults.
    pub seed: u64,
    /// The faults; of those that end a request, the first that strikes counts.
    pub faults: Vec<Fault>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    List(Vec<Fault>),
    Seeded {
        #[serde(default)]
        seed: u64,
        faults: Vec<Fault>,
    },
}

impl From<Written> for FaultSet {
    fn from(written: Written) -> Self {
        match written {
            Written::List(faults) => Self { seed: 0, faults },
            Written::Seeded { seed, faults } => Self { seed, faults },
        }
    }
}

impl From<Vec<Fault>> for FaultSet {
    fn from(faults: Vec<Fault>) -> Self {
        Self { seed: 0, faults }
    }
}

fn one() -> f64 {
    1.0
}

fn bad_request() -> u16 {
    400
}

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

    /// Whether a stream plays deleted for everybody; asked by lists, so it uses up no count.
    pub(crate) fn hides(&self, stream: &str) -> bool {
        self.any.load(Ordering::Acquire)
            && self.armed.lock().iter().any(|armed| {
                armed.fault.fault == Kind::StreamDeleted
                    && armed.left != Some(0)
                    && armed.fault.when.stream.as_deref().is_none_or(|name| name == stream)
            })
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

    #[test]
    fn a_misspelt_fault_is_refused() {
        for json in [
            r#"[{"fault":{"kind":"latency","fixed":5}}]"#,
            r#"[{"fault":{"kind":"nope"}}]"#,
            r#"[{"fault":{"kind":"blackhole"},"times":1}]"#,
            r#"[{"fault":{"kind":"blackhole"},"when":{"actions":"PutRecord"}}]"#,
        ] {
            assert!(serde_json::from_str::<FaultSet>(json).is_err(), "{json}");
        }
    }
}
