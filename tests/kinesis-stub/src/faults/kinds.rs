//! Types: faults as a test, a command line or the control path writes them. Refuses what could never strike as written.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

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
    /// The service fails: 503 `ServiceUnavailable`, or another status as `InternalFailure`.
    Status {
        /// From 400 to 599.
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

    /// Whether it could strike as it is written. Errors: what is wrong, for a person.
    fn check(&self) -> Result<(), String> {
        let share = |name: &str, value: f64| {
            if (0.0..=1.0).contains(&value) { Ok(()) } else { Err(format!("{name} is {value}, not from 0 to 1")) }
        };
        share("probability", self.probability)?;
        match self.fault {
            Kind::ThrottleEntries { rate, .. } | Kind::Scattered { rate, .. } => share("rate", rate),
            Kind::Status { status } | Kind::Error { status, .. } if !(400..600).contains(&status) => {
                Err(format!("status is {status}, not from 400 to 599"))
            }
            _ => Ok(()),
        }
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
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FaultSet {
    /// Equal seeds and equal requests meet equal faults.
    pub seed: u64,
    /// The faults; of those that end a request, the first that strikes counts.
    pub faults: Vec<Fault>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Seeded {
    #[serde(default)]
    seed: u64,
    faults: Vec<Fault>,
}

impl<'de> Deserialize<'de> for FaultSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // By hand: an untagged enum would only say that nothing fits, not what is wrong where.
        let written = Value::deserialize(deserializer)?;
        let seeded = if written.is_array() {
            Vec::deserialize(written).map(|faults| Seeded { seed: 0, faults })
        } else {
            Seeded::deserialize(written)
        };
        let Seeded { seed, faults } = seeded.map_err(D::Error::custom)?;
        for (index, fault) in faults.iter().enumerate() {
            fault.check().map_err(|wrong| D::Error::custom(format!("fault {index}: {wrong}")))?;
        }
        Ok(Self { seed, faults })
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn a_fault_that_is_misspelt_or_out_of_range_is_refused_with_what_is_wrong() {
        for (json, wrong) in [
            (r#"[{"fault":{"kind":"latency","fixed":5}}]"#, "unknown field `fixed`"),
            (r#"[{"fault":{"kind":"nope"}}]"#, "unknown variant `nope`"),
            (r#"[{"fault":{"kind":"blackhole"},"times":1}]"#, "unknown field `times`"),
            (r#"[{"fault":{"kind":"blackhole"},"when":{"actions":"PutRecord"}}]"#, "unknown field `actions`"),
            (r#"{"fault":{"kind":"blackhole"}}"#, "unknown field `fault`"),
            (r#"[{"fault":{"kind":"blackhole"},"probability":50}]"#, "fault 0: probability is 50"),
            (r#"[{"fault":{"kind":"scattered","rate":-1}}]"#, "fault 0: rate is -1"),
            (r#"[{"fault":{"kind":"status","status":200}}]"#, "fault 0: status is 200"),
            (r#"[{"fault":{"kind":"error","type":"X","status":99}}]"#, "fault 0: status is 99"),
        ] {
            let error = serde_json::from_str::<FaultSet>(json).unwrap_err().to_string();
            assert!(error.contains(wrong), "{json}: {error}");
        }
    }

    #[test]
    fn a_bare_list_has_seed_zero() {
        let list: FaultSet = serde_json::from_str(r#"[{"fault":{"kind":"blackhole"}}]"#).unwrap();
        assert_eq!(list, FaultSet::from(vec![Fault::new(Kind::Blackhole)]));
        let seeded: FaultSet = serde_json::from_str(r#"{"seed":7,"faults":[]}"#).unwrap();
        assert_eq!((seeded.seed, seeded.faults.len()), (7, 0));
    }
}
