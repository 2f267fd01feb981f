//! Pure: the finalizer that holds an activation until its dataflow has drained: when it is added, when it goes, and the patches.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Value, json};

use crate::api::conditions::moment_of;

/// Its name.
pub const FINALIZER: &str = "activation.dev/drain";
/// After so long it goes, drained or not.
pub const DEADLINE: SignedDuration = SignedDuration::from_secs(60);
/// How often a drain is looked at, should nobody tell of its end.
const LOOK: Duration = Duration::from_secs(5);

/// What is to be done about the finalizer of an object.
#[derive(Debug, Clone, PartialEq)]
pub enum Hold {
    /// Nothing.
    Nothing,
    /// It is added, by this patch, before anything runs.
    Add(Value),
    /// It stays; to be looked at again after that time.
    Wait(Duration),
    /// It is taken off, by this patch.
    Remove(Value),
}

/// What is to be done, where `drained` says whether nothing runs of the object any more.
pub fn hold(metadata: &ObjectMeta, drained: bool, now: Timestamp) -> Hold {
    let finalizers = metadata.finalizers.as_deref().unwrap_or_default();
    let place = finalizers.iter().position(|name| name == FINALIZER);
    match (place, &metadata.deletion_timestamp) {
        (Some(_), None) | (None, Some(_)) => Hold::Nothing,
        (None, None) => Hold::Add(add(metadata, finalizers)),
        (Some(place), Some(deleted)) => {
            let left = DEADLINE - now.duration_since(moment_of(deleted).into());
            match Duration::try_from(left) {
                Ok(left) if !drained && !left.is_zero() => Hold::Wait(left.min(LOOK)),
                _ => Hold::Remove(remove(place)),
            }
        }
    }
}

/// The patch that takes it off an object that is not ours any more; `None` where it does not carry it.
pub fn let_go(metadata: &ObjectMeta) -> Option<Value> {
    metadata.finalizers.iter().flatten().position(|name| name == FINALIZER).map(remove)
}

/// Fails where the object is another one by now, or somebody else has changed its finalizers.
fn add(metadata: &ObjectMeta, finalizers: &[String]) -> Value {
    let same = json!({"op": "test", "path": "/metadata/uid", "value": metadata.uid});
    if finalizers.is_empty() {
        return json!([
            same,
            {"op": "test", "path": "/metadata/finalizers", "value": null},
            {"op": "add", "path": "/metadata/finalizers", "value": [FINALIZER]},
        ]);
    }
    json!([
        same,
        {"op": "test", "path": "/metadata/finalizers", "value": finalizers},
        {"op": "add", "path": "/metadata/finalizers/-", "value": FINALIZER},
    ])
}

fn remove(place: usize) -> Value {
    let path = format!("/metadata/finalizers/{place}");
    json!([{"op": "test", "path": path, "value": FINALIZER}, {"op": "remove", "path": path}])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::conditions::condition_time;
    use crate::api::quantities::Moment;

    fn metadata(finalizers: &[&str], deleted: bool) -> ObjectMeta {
        let deleted = deleted.then(|| condition_time(Moment::from_millis(1_000_000)));
        let finalizers = (!finalizers.is_empty()).then(|| finalizers.iter().map(|name| (*name).to_owned()).collect());
        ObjectMeta { uid: Some("u".to_owned()), finalizers, deletion_timestamp: deleted, ..ObjectMeta::default() }
    }

    fn after(seconds: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_secs(1_000 + seconds)
    }

    #[test]
    fn it_is_added_to_what_lives_and_keeps_those_of_others() {
        let Hold::Add(first) = hold(&metadata(&[], false), false, after(0)) else { unreachable!() };
        assert_eq!(first[2], json!({"op": "add", "path": "/metadata/finalizers", "value": [FINALIZER]}));
        let Hold::Add(second) = hold(&metadata(&["other"], false), false, after(0)) else { unreachable!() };
        assert_eq!(second[1]["value"], json!(["other"]));
        assert_eq!(second[2], json!({"op": "add", "path": "/metadata/finalizers/-", "value": FINALIZER}));
        assert_eq!(hold(&metadata(&["other", FINALIZER], false), false, after(0)), Hold::Nothing);
        assert_eq!(hold(&metadata(&["other"], true), false, after(0)), Hold::Nothing, "it is too late to add one");
    }

    #[test]
    fn it_goes_once_drained_and_at_its_deadline_at_the_latest() {
        let deleted = metadata(&["other", FINALIZER], true);
        let removal = json!([
            {"op": "test", "path": "/metadata/finalizers/1", "value": FINALIZER},
            {"op": "remove", "path": "/metadata/finalizers/1"},
        ]);
        assert_eq!(hold(&deleted, false, after(0)), Hold::Wait(LOOK));
        assert_eq!(hold(&deleted, false, after(58)), Hold::Wait(Duration::from_secs(2)));
        assert_eq!(hold(&deleted, false, after(60)), Hold::Remove(removal.clone()));
        assert_eq!(hold(&deleted, true, after(0)), Hold::Remove(removal.clone()));
        assert_eq!(hold(&deleted, false, after(100_000)), Hold::Remove(removal));
    }
}
