//! Pure decisions: what the history should have made of the stream.

use std::collections::{BTreeMap, HashMap, HashSet};

use activation_operator::export::Mapping;
use activation_operator::export::mapping::MappedAudience;
use activation_operator::export::projection::{self, Projected, Stamp, State};
use activation_operator::profile::apply;
use activation_operator::profile::change::Change;
use activation_operator::profile::entity::{Entity, Status};
use activation_operator::profile::update::Update;
use jiff::Timestamp;

use super::exported::{Digest, digest};
use super::{Phase, Profile};

/// What should be there.
pub(super) struct Expected {
    /// The position behind the last change.
    pub(super) head: u64,
    /// By version.
    pub(super) triggers: BTreeMap<u64, Trigger>,
    /// Who was a member of an audience when it was added, and has not left it since: who leaves is told live.
    pub(super) members: HashSet<Profile>,
    /// How many backfills had anybody to tell.
    pub(super) backfills: usize,
    /// The states that were asked for.
    states: HashMap<u64, (Profile, String)>,
    compiled: Vec<Compiled>,
}

/// A live export that should be there.
pub(super) struct Trigger {
    pub(super) profile: Profile,
    pub(super) digest: Digest,
}

struct Compiled {
    from: u64,
    mapping: Mapping,
    /// The audiences that it adds to the one before it, and that have members by then.
    added: Vec<MappedAudience>,
}

/// Replays the history, and keeps of it the states of these versions besides.
pub(super) fn replay(history: &[String], phases: &[Phase], states: &HashSet<u64>) -> Expected {
    let mut expected = Expected {
        head: 1,
        triggers: BTreeMap::new(),
        members: HashSet::new(),
        backfills: 0,
        states: HashMap::new(),
        compiled: compile(phases),
    };
    let mut profiles: HashMap<Profile, String> = HashMap::new();
    // Per added audience, who has been in it ever since.
    let mut faithful: Vec<(MappedAudience, HashSet<Profile>)> = Vec::new();
    let mut begun = 0;
    for line in history {
        expected.begin(&mut begun, &profiles, &mut faithful);
        let update = Update::parse(line.as_bytes()).unwrap_or_else(|error| panic!("an accepted line: {error}: {line}"));
        let profile = (update.merge_policy_id.to_string(), update.profile_id.to_string());
        // What depends on the receipt (an exit forgotten after 30 days) is no matter for one run.
        let before = profiles.get(&profile).map(String::as_str);
        let version = expected.head;
        let Some(applied) = apply::apply(before, update, version, Timestamp::UNIX_EPOCH).unwrap() else { continue };
        expected.head += 1;
        let entity = String::from_utf8(applied.entity).unwrap();
        expected.trigger(&profile, version, &applied.change);
        let is_there = !applied.deleted;
        for (audience, members) in &mut faithful {
            if members.contains(&profile) && !(is_there && is_realized(&profile, &entity, audience)) {
                members.remove(&profile);
            }
        }
        if states.contains(&version) {
            expected.states.insert(version, (profile.clone(), entity.clone()));
        }
        if is_there {
            profiles.insert(profile, entity);
        } else {
            profiles.remove(&profile);
        }
    }
    expected.begin(&mut begun, &profiles, &mut faithful);
    expected.members = faithful.into_iter().flat_map(|(_, members)| members).collect();
    expected
}

fn compile(phases: &[Phase]) -> Vec<Compiled> {
    let audience =
        |audience: &MappedAudience| (audience.namespace.clone(), audience.id.clone(), audience.merge_policy_id.clone());
    let mut known = HashSet::new();
    phases
        .iter()
        .map(|phase| {
            let mapping = Mapping::compile(phase.mapping.clone()).unwrap();
            let audiences = &phase.mapping.audiences;
            let added = audiences.iter().filter(|added| !known.contains(&audience(added))).cloned().collect();
            known = audiences.iter().map(audience).collect();
            Compiled { from: phase.from, mapping, added }
        })
        .collect()
}

impl Expected {
    /// Counts the members of what is mapped at the position that was come to.
    fn begin(
        &mut self,
        begun: &mut usize,
        profiles: &HashMap<Profile, String>,
        faithful: &mut Vec<(MappedAudience, HashSet<Profile>)>,
    ) {
        while let Some(phase) = self.compiled.get_mut(*begun).filter(|phase| phase.from <= self.head) {
            *begun += 1;
            phase.added.retain(|audience| {
                let members = profiles.iter().filter(|(profile, entity)| is_realized(profile, entity, audience));
                let members: HashSet<Profile> = members.map(|(profile, _)| profile.clone()).collect();
                let somebody = !members.is_empty();
                faithful.push((audience.clone(), members));
                somebody
            });
            self.backfills += usize::from(!phase.added.is_empty());
        }
    }

    fn trigger(&mut self, profile: &Profile, version: u64, change: &[u8]) {
        let Some(phase) = self.compiled.iter().rev().find(|phase| phase.from <= version) else { return };
        let change = Change::parse(change).unwrap();
        if let Projected::Export(export) = projection::live(&phase.mapping, &change, Timestamp::UNIX_EPOCH).unwrap() {
            let digest = digest(&export.partition_key, &export.record, false);
            self.triggers.insert(version, Trigger { profile: profile.clone(), digest });
        }
    }

    /// Whether the profile was, at that version, in an audience of a backfill.
    pub(super) fn is_member(&self, profile: &Profile, version: u64) -> bool {
        self.states.get(&version).is_some_and(|(whose, entity)| {
            whose == profile
                && self.compiled.iter().flat_map(|phase| &phase.added).any(|added| is_realized(profile, entity, added))
        })
    }

    /// Whether a backfill may tell that version so: under a mapping that adds an audience in which the profile is realized.
    pub(super) fn may_backfill(&self, profile: &Profile, version: u64, told: Digest) -> bool {
        let Some((_, entity)) = self.states.get(&version) else { return false };
        let state =
            State { profile_id: &profile.1, merge_policy_id: &profile.0, version, time: Timestamp::UNIX_EPOCH, entity };
        let stamp = Stamp { run: "", exported_at: Timestamp::UNIX_EPOCH };
        self.compiled.iter().filter(|phase| phase.added.iter().any(|added| is_realized(profile, entity, added))).any(
            |phase| match projection::state(&phase.mapping, &state, &[], &stamp).unwrap() {
                Projected::Export(export) => digest(&export.partition_key, &export.record, true) == told,
                Projected::Nothing | Projected::Excluded => false,
            },
        )
    }
}

fn is_realized(profile: &Profile, entity: &str, audience: &MappedAudience) -> bool {
    if profile.0 != audience.merge_policy_id {
        return false;
    }
    let entity = Entity::parse(entity).unwrap();
    let membership = entity.memberships.get(audience.namespace.as_str());
    membership
        .and_then(|audiences| audiences.get(audience.id.as_str()))
        .is_some_and(|membership| membership.status == Status::Realized)
}
