//! Plan: pure. What a dataflow was told, what it should do, and the steps from the one to the other. No step is the best
//! step: a dataflow that needs none is left alone.
//!
//! A dataflow runs as soon as its destination is valid, whatever AWS says of the credentials: its start position is stored, its
//! sender pauses by itself while it is refused, loses nothing, and heals within seconds of the mend. It is stopped, and keeps
//! its position, where it must not export: suspended, not allowed, or without a destination that could be called.

use std::collections::hash_map::DefaultHasher;
use std::fmt;
use std::hash::{Hash as _, Hasher as _};
use std::sync::Arc;

use super::inventory::ObjectKey;
use super::validate::activation::{BackfillSettings, ValidActivation};
use super::validate::{Problem, ValidDestination};
use crate::api::conditions::Reason;
use crate::export::MappingSpec;
use crate::kinesis::sender::Settings;
use crate::kinesis::target::Target;

/// What a dataflow should do.
#[derive(Debug, Clone, PartialEq)]
pub struct Desired {
    /// Its activation.
    pub key: ObjectKey,
    /// Its destination.
    pub destination: ObjectKey,
    /// What is exported.
    pub mapping: Arc<MappingSpec>,
    /// Where to.
    pub target: Target,
    /// How it is batched, paced and retried.
    pub sender: Settings,
    /// How history is exported.
    pub backfill: BackfillSettings,
    /// The resync that was last asked for. A dataflow that has taken it up before does not do so again.
    pub resync: Option<String>,
}

/// Why a dataflow does not run. It keeps its position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pause {
    /// In the words of `Delivering`.
    pub reason: Reason,
    /// The cause and the mend.
    pub message: String,
}

/// One change to what runs.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Starts the dataflow where it stopped, or at the head of its feed.
    Start(Box<Desired>),
    /// Changes what is exported, at a drained and checkpointed position.
    Remap(Arc<MappingSpec>),
    /// Changes credentials or address. Records that are on their way are not lost.
    Retarget(Box<Target>),
    /// Changes how records are batched, paced and retried, and how history is exported.
    Resettle {
        /// Of the sender.
        sender: Box<Settings>,
        /// Of the backfill.
        backfill: BackfillSettings,
    },
    /// Exports every member again, unless this request was taken up before.
    Resync {
        /// The value of the annotation.
        request: String,
    },
    /// Stops the dataflow and starts it anew where it stopped.
    Restart {
        /// What it should do.
        desired: Box<Desired>,
        /// Why no smaller step does.
        why: String,
    },
    /// Stops the dataflow, drained and checkpointed.
    Stop {
        /// Why.
        why: Pause,
    },
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start(_) => f.write_str("start"),
            Self::Remap(_) => f.write_str("take up the changed mapping"),
            Self::Retarget(_) => f.write_str("take up the changed credentials or address"),
            Self::Resettle { .. } => f.write_str("take up the changed settings"),
            Self::Resync { request } => write!(f, "resync ({request})"),
            Self::Restart { why, .. } => write!(f, "restart: {why}"),
            Self::Stop { why } => write!(f, "stop: {}", why.message),
        }
    }
}

/// What `activation` should do, or why it should not. `destination` is what its destination came to.
pub fn desire(
    activation: Result<&ValidActivation, &[Problem]>,
    destination: Result<&ValidDestination, &[Problem]>,
    mapping: Option<&Arc<MappingSpec>>,
) -> Result<Desired, Pause> {
    let activation = activation.map_err(|problems| pause_for(problems, Reason::InvalidSpec))?;
    if activation.suspended {
        let message = "spec.suspend is set: nothing is exported; unset it to go on where it stopped".to_owned();
        return Err(Pause { reason: Reason::Suspended, message });
    }
    let destination = destination.map_err(|problems| {
        let key = &activation.destination;
        // Its own words stay in its namespace: they name Secrets.
        let own = key.namespace == activation.key.namespace;
        let why = if own { pause_for(problems, Reason::Pending).message } else { "see its status".to_owned() };
        let message = format!("KinesisDestination {key} cannot be used: {why}; the dataflow keeps its position");
        Pause { reason: Reason::DestinationNotReady, message }
    })?;
    if destination.suspended {
        let message = format!(
            "KinesisDestination {} is suspended: nothing is exported to it; unset its spec.suspend to go on",
            destination.key
        );
        return Err(Pause { reason: Reason::Suspended, message });
    }
    let Some(mapping) = mapping else {
        return Err(Pause { reason: Reason::Pending, message: "the mapping is not known yet".to_owned() });
    };
    Ok(Desired {
        key: activation.key.clone(),
        destination: destination.key.clone(),
        mapping: Arc::clone(mapping),
        target: destination.target.clone(),
        sender: Settings { seed: seed(&activation.key), ..destination.sender.clone() },
        backfill: activation.backfill.clone(),
        resync: activation.resync.clone(),
    })
}

/// The steps from what a dataflow was told to what it should do. `told` is absent where none runs.
pub fn plan(told: Option<&Desired>, desired: Result<&Desired, &Pause>) -> Vec<Step> {
    let (told, desired) = match (told, desired) {
        (None, Err(_)) => return Vec::new(),
        (None, Ok(desired)) => return vec![Step::Start(Box::new(desired.clone()))],
        (Some(_), Err(pause)) => return vec![Step::Stop { why: pause.clone() }],
        (Some(told), Ok(desired)) => (told, desired),
    };
    if let Some(why) = restart_reason(told, desired) {
        return vec![Step::Restart { desired: Box::new(desired.clone()), why }];
    }
    let mut steps = Vec::new();
    if told.target != desired.target {
        steps.push(Step::Retarget(Box::new(desired.target.clone())));
    }
    if told.sender != desired.sender || told.backfill != desired.backfill {
        steps.push(Step::Resettle { sender: Box::new(desired.sender.clone()), backfill: desired.backfill.clone() });
    }
    if !Arc::ptr_eq(&told.mapping, &desired.mapping) && told.mapping != desired.mapping {
        steps.push(Step::Remap(Arc::clone(&desired.mapping)));
    }
    if let Some(request) = desired.resync.as_ref().filter(|_| told.resync != desired.resync) {
        steps.push(Step::Resync { request: request.clone() });
    }
    steps
}

/// What records were told to another stream must not be mixed with what comes.
fn restart_reason(told: &Desired, desired: &Desired) -> Option<String> {
    if told.destination != desired.destination {
        return Some(format!("the destination changed from {} to {}", told.destination, desired.destination));
    }
    let place = |target: &Target| format!("{} in {}", target.stream.name(), target.region);
    let (before, after) = (&told.target, &desired.target);
    (before.stream != after.stream || before.region != after.region)
        .then(|| format!("the stream changed from {} to {}", place(before), place(after)))
}

fn pause_for(problems: &[Problem], otherwise: Reason) -> Pause {
    let blocking = problems.iter().find(|problem| problem.blocks());
    blocking.map_or_else(
        || Pause { reason: otherwise, message: "not looked at yet".to_owned() },
        |problem| Pause { reason: problem.reason, message: problem.message.clone() },
    )
}

/// Each dataflow's own jitter, the same after a restart.
fn seed(key: &ObjectKey) -> u64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use std::time::Duration;

    use super::*;
    use crate::kinesis::target::CredentialSource;
    use crate::kinesis::target::StreamRef;
    use crate::reconcile::inventory::Inventory;
    use crate::reconcile::mapping::mapping_spec;
    use crate::reconcile::validate::{ProcessPolicy, activation, destination};
    use crate::reconcile::{dereference, samples};

    fn desired_of(inventory: &Inventory) -> Result<Desired, Pause> {
        let found = dereference::activation(inventory, &samples::activation_key()).unwrap();
        let activation = activation::validate(&found, &ProcessPolicy::default());
        let whereto = dereference::destination(inventory, &samples::destination_key()).unwrap();
        let destination = destination::validate(&whereto, &ProcessPolicy::default());
        let mapping = Arc::new(mapping_spec(found.activation, whereto.destination, None, Some(samples::at(0))));
        desire(
            activation.valid.as_ref().ok_or(&activation.problems[..]),
            destination.valid.as_ref().ok_or(&destination.problems[..]),
            Some(&mapping),
        )
    }

    fn names(steps: &[Step]) -> Vec<&'static str> {
        let name = |step: &Step| match step {
            Step::Start(_) => "start",
            Step::Remap(_) => "remap",
            Step::Retarget(_) => "retarget",
            Step::Resettle { .. } => "resettle",
            Step::Resync { .. } => "resync",
            Step::Restart { .. } => "restart",
            Step::Stop { .. } => "stop",
        };
        steps.iter().map(name).collect()
    }

    #[test]
    fn each_change_takes_the_smallest_step() {
        type Edit = fn(&mut Desired);
        let table: [(Edit, &[&str]); 10] = [
            (|_| {}, &[]),
            (|desired| Arc::make_mut(&mut desired.mapping).metadata = true, &["remap"]),
            (|desired| desired.target.credentials = CredentialSource::Ambient, &["retarget"]),
            (|desired| desired.target.endpoint.use_fips = true, &["retarget"]),
            (|desired| desired.sender.linger = Duration::ZERO, &["resettle"]),
            (|desired| desired.backfill.max_records_per_second = Some(1), &["resettle"]),
            (|desired| desired.resync = Some("again".to_owned()), &["resync"]),
            (|desired| desired.target.stream = StreamRef::Name("other".to_owned()), &["restart"]),
            (|desired| desired.target.region = "us-east-1".to_owned(), &["restart"]),
            (|desired| desired.destination = ObjectKey::new("shop", "other"), &["restart"]),
        ];
        let told = desired_of(&samples::inventory()).unwrap();
        for (edit, expected) in table {
            let mut desired = told.clone();
            edit(&mut desired);
            assert_eq!(names(&plan(Some(&told), Ok(&desired))), expected);
        }
        assert_eq!(names(&plan(None, Ok(&told))), ["start"]);
    }

    #[test]
    fn several_changes_take_several_steps() {
        let told = desired_of(&samples::inventory()).unwrap();
        let mut desired = told.clone();
        Arc::make_mut(&mut desired.mapping).metadata = true;
        desired.target.credentials = CredentialSource::Ambient;
        assert_eq!(names(&plan(Some(&told), Ok(&desired))), ["retarget", "remap"]);
    }

    #[test]
    fn a_resync_that_is_no_longer_asked_for_is_no_step() {
        let mut told = desired_of(&samples::inventory()).unwrap();
        let desired = told.clone();
        told.resync = Some("once".to_owned());
        assert_eq!(plan(Some(&told), Ok(&desired)), []);
    }

    #[test]
    fn what_must_not_export_is_stopped_with_the_reason() {
        type Edit = fn(&mut Inventory);
        let table: [(Edit, Reason); 4] = [
            (|inventory| samples::activation_of(inventory).spec.suspend = true, Reason::Suspended),
            (|inventory| samples::destination_of(inventory).spec.suspend = true, Reason::Suspended),
            (|inventory| inventory.secrets.clear(), Reason::DestinationNotReady),
            (|inventory| samples::activation_of(inventory).spec.audiences.clear(), Reason::InvalidSpec),
        ];
        let told = desired_of(&samples::inventory()).unwrap();
        for (edit, expected) in table {
            let mut inventory = samples::inventory();
            edit(&mut inventory);
            let pause = desired_of(&inventory).unwrap_err();
            assert_eq!(pause.reason, expected, "{}", pause.message);
            assert_eq!(names(&plan(Some(&told), Err(&pause))), ["stop"]);
            assert_eq!(plan(None, Err(&pause)), []);
        }
    }
}
