//! Effects: profiles as they are at one position of the log, ready to be offered: a chunk of a backfill, or dead letters that
//! are sent again.
//!
//! A chunk is read from one snapshot at the log's head H, and stands in the log at H: behind everything older and before
//! everything newer (`delivery.md`, Backfill beside live).

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use jiff::Timestamp;

use super::DataflowError;
use super::dead_letters::DeadLetter;
use super::state::{AudienceId, BackfillRun};
use super::tracker::Advance;
use crate::export::Mapping;
use crate::export::projection::{self, Projected, Stamp, State};
use crate::store::{AudienceKey, MemberFilter, Place, ProfileKey, Snapshot, Store};

/// How many bytes of records one chunk holds, about (4 MiB).
const MAX_BYTES: usize = 4 << 20;

/// Profiles as they are at one position.
#[derive(Debug)]
pub(super) struct Chunk {
    /// The position at which it stands.
    pub(super) head: u64,
    /// What is to be offered, in order.
    pub(super) entries: VecDeque<Entry>,
    /// The last profile id that was read; `None` where the chunk is of dead letters, or there was no member.
    pub(super) cursor: Option<String>,
    /// How far each audience of the backfill was read for it.
    pub(super) places: Vec<Place>,
    /// Whether the backfill has no member behind it.
    pub(super) end: bool,
}

/// One profile.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) profile_id: String,
    pub(super) merge_policy_id: String,
    pub(super) version: u64,
    pub(super) projected: Projected,
    pub(super) advance: Advance,
}

/// Reads the next `limit` members of a backfill behind the profile and the places `after`.
pub(super) fn members(
    snapshot: &Snapshot,
    mapping: &Arc<Mapping>,
    run: &BackfillRun,
    after: (Option<&str>, &[Place]),
    limit: usize,
    now: Timestamp,
) -> Result<Chunk, DataflowError> {
    let head = snapshot.head()?.next;
    let mut cursor = snapshot.members(filters(run), after.0, after.1)?;
    let mut chunk =
        Chunk { head, entries: VecDeque::with_capacity(limit), cursor: None, places: Vec::new(), end: false };
    let (mut read, mut bytes) = (0, 0);
    while read < limit && bytes < MAX_BYTES {
        let Some((profile_id, audiences)) = cursor.next()? else {
            chunk.end = true;
            break;
        };
        read += 1;
        // One profile id can be a member under several merge policies, which are profiles of their own.
        let mut policies: BTreeMap<&str, Vec<u16>> = BTreeMap::new();
        for index in audiences {
            if let Some((audience, _)) = run.audiences.get(index) {
                policies.entry(&audience.merge_policy_id).or_default().push(index as u16);
            }
        }
        let mut left = policies.len();
        for (policy, audiences) in policies {
            left -= 1;
            let Some(profile) = snapshot.profile(&ProfileKey::new(policy, &profile_id))? else { continue };
            let state = State {
                profile_id: &profile_id,
                merge_policy_id: policy,
                version: profile.version,
                time: profile.time,
                entity: profile.entity()?,
            };
            let stamp = Stamp { run: &run.id, exported_at: now };
            let projected = projection::state(mapping, &state, &[], &stamp).map_err(DataflowError::Profile)?;
            if let Projected::Export(export) = &projected {
                bytes += export.record.len();
            }
            chunk.entries.push_back(Entry {
                profile_id: profile_id.clone(),
                merge_policy_id: policy.to_owned(),
                version: profile.version,
                projected,
                advance: Advance::Member { cursor: (left == 0).then(|| profile_id.clone()), audiences },
            });
        }
        chunk.cursor = Some(profile_id);
    }
    chunk.places = cursor.places();
    Ok(chunk)
}

/// How many members each audience of a backfill has now.
pub(super) fn totals(store: &Store, run: &BackfillRun) -> Result<Vec<u64>, DataflowError> {
    let snapshot = store.snapshot();
    filters(run).iter().map(|filter| Ok(snapshot.count_members(filter)?)).collect()
}

/// The profiles of dead letters as they are now, with the exits that the letters told and that still hold.
pub(super) fn letters(
    snapshot: &Snapshot,
    mapping: &Arc<Mapping>,
    letters: Vec<DeadLetter>,
    now: Timestamp,
) -> Result<Chunk, DataflowError> {
    let head = snapshot.head()?.next;
    let mut chunk = Chunk { head, entries: VecDeque::new(), cursor: None, places: Vec::new(), end: false };
    for letter in letters {
        let projected = letter_again(snapshot, mapping, &letter, now)?;
        chunk.entries.push_back(Entry {
            profile_id: letter.profile_id,
            merge_policy_id: letter.merge_policy_id,
            version: letter.version,
            projected,
            advance: Advance::Redelivered { sequence: letter.sequence },
        });
    }
    Ok(chunk)
}

fn letter_again(
    snapshot: &Snapshot,
    mapping: &Arc<Mapping>,
    letter: &DeadLetter,
    now: Timestamp,
) -> Result<Projected, DataflowError> {
    let profile = snapshot.profile(&ProfileKey::new(&letter.merge_policy_id, &letter.profile_id))?;
    if profile.is_none() && letter.exits.is_empty() {
        return Ok(Projected::Nothing);
    }
    // Of a profile that is gone, all that can still be true of the letter is the exits that it told.
    let (version, time, entity) = match &profile {
        Some(profile) => (profile.version, profile.time, profile.entity()?),
        None => (letter.version, letter.time, "{}"),
    };
    let (profile_id, merge_policy_id) = (letter.profile_id.as_str(), letter.merge_policy_id.as_str());
    let state = State { profile_id, merge_policy_id, version, time, entity };
    let run = format!("dead-letter-{}", letter.sequence);
    let stamp = Stamp { run: &run, exported_at: now };
    let mut projected = projection::state(mapping, &state, &letter.exits, &stamp).map_err(DataflowError::Profile)?;
    if let (None, Projected::Export(export)) = (&profile, &mut projected) {
        export.partition_key.clone_from(&letter.partition_key);
    }
    Ok(projected)
}

fn filters(run: &BackfillRun) -> Vec<MemberFilter> {
    let filter = |(audience, before): &(AudienceId, u64)| MemberFilter {
        audience: AudienceKey::new(&audience.merge_policy_id, &audience.namespace, &audience.id),
        exited: run.resync,
        before: *before,
    };
    run.audiences.iter().map(filter).collect()
}
