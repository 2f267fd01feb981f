//! The rules of `semantics.md` once more, naively: over `serde_json::Value`, in the words of the rules, without a thought for
//! speed. The library is judged against it. Values are integers and strings here; digits and characters are judged elsewhere.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

/// One membership of a profile.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Membership {
    pub(crate) realized: bool,
    pub(crate) last: Timestamp,
    pub(crate) exited_at: Option<Timestamp>,
}

/// A profile.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Profile {
    pub(crate) attributes: Map<String, Value>,
    /// By namespace in lower case, ids in the order in which they came.
    pub(crate) identities: Vec<(String, Vec<String>)>,
    pub(crate) memberships: BTreeMap<(String, String), Membership>,
}

/// What an update changed (`semantics 2`).
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Changed {
    pub(crate) written: BTreeSet<Vec<String>>,
    pub(crate) differing: BTreeSet<Vec<String>>,
    pub(crate) identities: bool,
    pub(crate) entered: BTreeSet<(String, String)>,
    pub(crate) left: BTreeSet<(String, String)>,
}

/// RFC 7396, section 2, as its pseudo-code says it.
pub(crate) fn merge_patch(target: Value, patch: &Value) -> Value {
    let Value::Object(patch) = patch else { return patch.clone() };
    let mut target = match target {
        Value::Object(target) => target,
        _ => Map::new(),
    };
    for (name, value) in patch {
        if value.is_null() {
            target.remove(name);
        } else {
            let old = target.remove(name).unwrap_or(Value::Null);
            target.insert(name.clone(), merge_patch(old, value));
        }
    }
    Value::Object(target)
}

/// Every leaf path with its value: scalars, arrays, empty objects.
pub(crate) fn leaves(object: &Map<String, Value>) -> BTreeMap<Vec<String>, Value> {
    let mut found = BTreeMap::new();
    for (name, value) in object {
        match value {
            Value::Object(inner) if !inner.is_empty() => {
                for (rest, leaf) in leaves(inner) {
                    found.insert([vec![name.clone()], rest].concat(), leaf);
                }
            }
            leaf => {
                found.insert(vec![name.clone()], leaf.clone());
            }
        }
    }
    found
}

fn at<'a>(object: &'a Map<String, Value>, path: &[String]) -> Option<&'a Value> {
    let (first, rest) = path.split_first()?;
    let value = object.get(first)?;
    if rest.is_empty() { Some(value) } else { at(value.as_object()?, rest) }
}

/// `semantics 2.1` for a merge: the leaves of the patch; what a null removed, if there was something; where an object replaced
/// something that was none; an empty object over an object writes nothing.
fn written_by(before: &Map<String, Value>, patch: &Map<String, Value>) -> BTreeSet<Vec<String>> {
    let mut written = BTreeSet::new();
    walk(&mut Vec::new(), before, patch, &mut written);
    written
}

fn walk(
    above: &mut Vec<String>,
    before: &Map<String, Value>,
    patch: &Map<String, Value>,
    written: &mut BTreeSet<Vec<String>>,
) {
    for (name, value) in patch {
        above.push(name.clone());
        let old = at(before, above);
        match value {
            Value::Null => {
                if old.is_some() {
                    written.insert(above.clone());
                }
            }
            Value::Object(inner) => {
                let stood_an_object = old.is_some_and(Value::is_object);
                if old.is_some() && !stood_an_object {
                    written.insert(above.clone());
                }
                // What is left of a patch of nothing but nulls, where nothing stood, is an empty object: a leaf.
                let left = merge_patch(Value::Null, value);
                if !stood_an_object && left.as_object().is_some_and(Map::is_empty) {
                    written.insert(above.clone());
                }
                walk(above, before, inner, written);
            }
            _ => {
                written.insert(above.clone());
            }
        }
        above.pop();
    }
}

fn set_of(identities: &[(String, Vec<String>)]) -> BTreeSet<(String, String)> {
    identities.iter().flat_map(|(ns, ids)| ids.iter().map(move |id| (ns.clone(), id.clone()))).collect()
}

fn seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap()
}

/// Applies an update envelope, as JSON, to a profile.
pub(crate) fn apply(before: Option<&Profile>, update: &Value, now: Timestamp) -> (Option<Profile>, Changed) {
    let mut profile = before.cloned().unwrap_or_default();
    // 4.4: what was exited 30 days ago is forgotten.
    let thirty_days = SignedDuration::from_hours(30 * 24);
    profile.memberships.retain(|_, m| m.exited_at.is_none_or(|exited| now.duration_since(exited) < thirty_days));
    let mut changed = Changed::default();
    let old = profile.clone();
    let mut entity = update["body"]["xdmEntity"].as_object().cloned().unwrap_or_default();
    let identities = entity.remove("identityMap").unwrap_or(json!({}));
    let memberships = entity.remove("segmentMembership").unwrap_or(json!({}));
    let received = update["header"]["time"].as_str().map_or(now, |time| time.parse().unwrap());

    let operation = update["header"]["operation"].as_str().unwrap_or("merge");
    if operation == "delete" {
        changed.left = old.memberships.iter().filter(|(_, m)| m.realized).map(|(key, _)| key.clone()).collect();
        return (None, changed);
    }
    if operation == "replace" {
        profile = Profile::default();
    }
    profile.attributes = match merge_patch(Value::Object(profile.attributes), &Value::Object(entity.clone())) {
        Value::Object(attributes) => attributes,
        other => panic!("{other}"),
    };
    let (was, is) = (leaves(&old.attributes), leaves(&profile.attributes));
    changed.written = match operation {
        "replace" => was.keys().chain(is.keys()).cloned().collect(),
        _ => written_by(&old.attributes, &entity),
    };
    changed.differing = was.keys().chain(is.keys()).filter(|path| was.get(*path) != is.get(*path)).cloned().collect();

    for (namespace, list) in identities.as_object().unwrap() {
        let namespace = namespace.to_lowercase();
        match list.as_array() {
            None => profile.identities.retain(|(known, _)| *known != namespace),
            Some(list) => {
                for identity in list {
                    let id = identity["id"].as_str().unwrap().to_owned();
                    let position = profile.identities.iter().position(|(known, _)| *known == namespace);
                    match position {
                        None => profile.identities.push((namespace.clone(), vec![id])),
                        Some(position) if profile.identities[position].1.contains(&id) => {}
                        Some(position) => profile.identities[position].1.push(id),
                    }
                }
            }
        }
    }
    changed.identities = set_of(&old.identities) != set_of(&profile.identities);

    for (namespace, audiences) in memberships.as_object().unwrap() {
        for (id, told) in audiences.as_object().unwrap() {
            let key = (namespace.clone(), id.clone());
            let known = old.memberships.get(&key);
            let realized = told["status"] != "exited";
            let last = told["lastQualificationTime"].as_str().map_or(received, |time| time.parse().unwrap());
            let exited_at = match known {
                _ if realized => None,
                Some(known) if !known.realized => known.exited_at,
                _ => Some(now),
            };
            profile.memberships.insert(key, Membership { realized, last: seconds(last), exited_at });
        }
    }
    if operation == "replace" {
        for (key, known) in old.memberships.iter().filter(|(_, m)| m.realized) {
            let exited = Membership { realized: false, exited_at: Some(now), ..*known };
            profile.memberships.entry(key.clone()).or_insert(exited);
        }
    }
    for (key, now) in &profile.memberships {
        let was_realized = old.memberships.get(key).is_some_and(|m| m.realized);
        match (was_realized, now.realized) {
            (false, true) => changed.entered.insert(key.clone()),
            (true, false) => changed.left.insert(key.clone()),
            _ => false,
        };
    }
    (Some(profile), changed)
}

/// What an activation maps, in the words of its resource.
#[derive(Debug, Clone)]
pub(crate) struct Mapped {
    /// Namespace, id and merge policy.
    pub(crate) audiences: Vec<(String, String, String)>,
    pub(crate) attributes: Vec<Vec<String>>,
    /// Audiences, attributes, identities.
    pub(crate) on: [bool; 3],
    pub(crate) suppress_unchanged: bool,
    pub(crate) without_unmapped: bool,
    pub(crate) exit_on_delete: bool,
}

impl Mapped {
    pub(crate) fn maps(&self, policy: &str, key: &(String, String)) -> bool {
        self.audiences.iter().any(|(ns, id, p)| *ns == key.0 && *id == key.1 && p == policy)
    }
}

/// `semantics 3`: the names of the triggers; none means no export.
pub(crate) fn triggers(mapped: &Mapped, policy: &str, after: Option<&Profile>, changed: &Changed) -> Vec<&'static str> {
    let meets = |a: &[String], b: &[String]| a.iter().zip(b).all(|(a, b)| a == b);
    let audience = changed.entered.iter().chain(&changed.left).any(|key| mapped.maps(policy, key));
    let Some(after) = after else {
        return if mapped.exit_on_delete && mapped.on[0] && audience { vec!["audience"] } else { vec![] };
    };
    let member = after.memberships.iter().any(|(key, m)| m.realized && mapped.maps(policy, key));
    let written = mapped.attributes.iter().any(|path| {
        let written = changed.written.iter().any(|w| meets(w, path));
        let differs = changed.differing.iter().any(|d| meets(d, path));
        written && (differs || !mapped.suppress_unchanged)
    });
    let mut found = Vec::new();
    if mapped.on[0] && audience {
        found.push("audience");
    }
    if mapped.on[1] && written && member {
        found.push("attribute");
    }
    if mapped.on[2] && changed.identities && member {
        found.push("identity");
    }
    found
}

/// `semantics 4`: the record. For a delete, `profile` is the one before it, and its mapped memberships are exited.
pub(crate) fn record(mapped: &Mapped, policy: &str, profile: &Profile, deleted: bool, now: Timestamp) -> Value {
    let mut record = Map::new();
    for path in &mapped.attributes {
        if let Some(value) = at(&profile.attributes, path) {
            put(&mut record, path, value.clone());
        }
    }
    record.insert("segmentMembership".to_owned(), memberships(mapped, policy, profile, deleted, now));
    let identities: Map<String, Value> = profile
        .identities
        .iter()
        .map(|(ns, ids)| (ns.clone(), ids.iter().map(|id| json!({ "id": id })).collect()))
        .collect();
    record.insert("identityMap".to_owned(), Value::Object(identities));
    Value::Object(record)
}

fn memberships(mapped: &Mapped, policy: &str, profile: &Profile, deleted: bool, now: Timestamp) -> Value {
    let mut namespaces = json!({});
    for (key, membership) in &profile.memberships {
        let is_mapped = mapped.maps(policy, key);
        let forgotten = membership
            .exited_at
            .is_some_and(|exited| now.duration_since(exited) >= SignedDuration::from_hours(30 * 24));
        let goes_along = match (is_mapped, membership.realized) {
            (true, true) => true,
            (true, false) => !forgotten,
            (false, true) => !mapped.without_unmapped && !deleted,
            (false, false) => false,
        };
        if goes_along {
            let status = if membership.realized && !deleted { "realized" } else { "exited" };
            namespaces[&key.0][&key.1] =
                json!({"lastQualificationTime": membership.last.to_string(), "status": status});
        }
    }
    namespaces
}

fn put(object: &mut Map<String, Value>, path: &[String], value: Value) {
    let (first, rest) = path.split_first().unwrap();
    if rest.is_empty() {
        object.insert(first.clone(), value);
    } else {
        let inner = object.entry(first.clone()).or_insert_with(|| json!({}));
        put(inner.as_object_mut().unwrap(), rest, value);
    }
}
