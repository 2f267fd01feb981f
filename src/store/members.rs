//! Effects: the membership index, read in the order of profile ids over several audiences at once.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;

use fjall::Readable;

use super::keys::AudienceKey;
use super::{Snapshot, StoreError};
use crate::profile::entity::Status;

/// The value of an index entry: the status, and the version of the change that made it so.
pub(super) fn value(status: Status, version: u64) -> [u8; 9] {
    let mut value = [0; 9];
    value[0] = match status {
        Status::Realized => b'r',
        Status::Exited => b'e',
    };
    value[1..].copy_from_slice(&version.to_be_bytes());
    value
}

fn decode(value: &[u8]) -> Result<(Status, u64), StoreError> {
    let damaged = || StoreError::Value("membership");
    let (status, version) = value.split_first().ok_or_else(damaged)?;
    let status = match status {
        b'r' => Status::Realized,
        b'e' => Status::Exited,
        _ => return Err(damaged()),
    };
    Ok((status, u64::from_be_bytes(version.try_into().map_err(|_| damaged())?)))
}

/// Whose memberships are walked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberFilter {
    /// The audience.
    pub audience: AudienceKey,
    /// Whether exited members are walked too.
    pub exited: bool,
    /// Only memberships that are as they are since a change below this version.
    pub before: u64,
}

impl MemberFilter {
    fn takes(&self, value: &[u8]) -> Result<bool, StoreError> {
        let (status, since) = decode(value)?;
        Ok((self.exited || status == Status::Realized) && since < self.before)
    }
}

/// How many entries of one audience are read ahead, at most, once there is one that the filter takes.
const READ_AHEAD: usize = 256;

/// How far an audience was walked. What a filter does not take it never takes later, as long as nobody becomes a member by a
/// change below its `before`: so a later walk need not look there again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Place {
    /// Not yet.
    #[default]
    Start,
    /// Nothing is taken before this profile id.
    Before(Vec<u8>),
    /// Nothing is left.
    End,
}

/// Walks the members of several audiences by profile id, each profile once.
pub struct MemberCursor<'a> {
    snapshot: &'a Snapshot,
    audiences: Vec<Audience>,
    /// The next profile id of each audience that has one left.
    next: BTreeMap<Vec<u8>, Vec<usize>>,
    scanned: u64,
}

struct Audience {
    filter: MemberFilter,
    ahead: VecDeque<Vec<u8>>,
    /// Behind what was read ahead.
    place: Place,
}

impl Snapshot {
    /// Walks the profiles that are members by one of the filters, behind the profile id `after`. `places`: how far an earlier walk
    /// of the same filters came, one per filter; empty where there was none.
    pub fn members(
        &self,
        filters: Vec<MemberFilter>,
        after: Option<&str>,
        places: &[Place],
    ) -> Result<MemberCursor<'_>, StoreError> {
        let known = places.iter().cloned().chain(std::iter::repeat(Place::Start));
        let audience = |(filter, place)| Audience { filter, ahead: VecDeque::new(), place };
        let audiences: Vec<Audience> = filters.into_iter().zip(known).map(audience).collect();
        let mut cursor = MemberCursor { snapshot: self, audiences, next: BTreeMap::new(), scanned: 0 };
        for index in 0..cursor.audiences.len() {
            cursor.advance(index, after.map(str::as_bytes))?;
        }
        Ok(cursor)
    }

    /// How many profiles are members by one filter.
    pub fn count_members(&self, filter: &MemberFilter) -> Result<u64, StoreError> {
        let mut count = 0;
        for guard in self.view.prefix(&self.inner.members, filter.audience.as_bytes()) {
            let (_, value) = guard.into_inner()?;
            count += u64::from(filter.takes(&value)?);
        }
        Ok(count)
    }
}

impl MemberCursor<'_> {
    /// The next profile, with the filters (by their place in the list) that it is a member of.
    #[allow(clippy::should_implement_trait, reason = "reading may fail, which an iterator cannot say as plainly")]
    pub fn next(&mut self) -> Result<Option<(String, Vec<usize>)>, StoreError> {
        let Some((profile, mut audiences)) = self.next.pop_first() else { return Ok(None) };
        audiences.sort_unstable();
        for &index in &audiences {
            self.advance(index, Some(&profile))?;
        }
        let profile = String::from_utf8(profile).map_err(|_| StoreError::Value("member's profile id"))?;
        Ok(Some((profile, audiences)))
    }

    /// How far each audience was walked, for the next walk of the same filters.
    pub fn places(&self) -> Vec<Place> {
        let mut places: Vec<Place> = self
            .audiences
            .iter()
            .map(|audience| {
                audience.ahead.front().map_or_else(|| audience.place.clone(), |id| Place::Before(id.clone()))
            })
            .collect();
        for (profile, audiences) in &self.next {
            for &index in audiences {
                if let Some(place) = places.get_mut(index) {
                    *place = Place::Before(profile.clone());
                }
            }
        }
        places
    }

    /// How many entries of the index were read.
    pub fn scanned(&self) -> u64 {
        self.scanned
    }

    fn advance(&mut self, index: usize, after: Option<&[u8]>) -> Result<(), StoreError> {
        let Some(audience) = self.audiences.get_mut(index) else { return Ok(()) };
        if audience.ahead.is_empty() && audience.place != Place::End {
            self.scanned += audience.read_ahead(self.snapshot, after)?;
        }
        if let Some(profile) = audience.ahead.pop_front() {
            self.next.entry(profile).or_default().push(index);
        }
        Ok(())
    }
}

impl Audience {
    /// Reads the next entries that the filter takes, behind `after` and from its place on; tells how many entries were read.
    fn read_ahead(&mut self, snapshot: &Snapshot, after: Option<&[u8]>) -> Result<u64, StoreError> {
        let first = match (&self.place, after) {
            (Place::Before(id), after) if after.is_none_or(|after| after < id.as_slice()) => {
                Bound::Included(self.filter.audience.member(id))
            }
            (_, Some(after)) => Bound::Excluded(self.filter.audience.member(after)),
            (_, None) => Bound::Included(self.filter.audience.as_bytes().to_vec()),
        };
        let prefix = self.filter.audience.as_bytes();
        let mut scanned = 0;
        for guard in snapshot.view.range(&snapshot.inner.members, (first, Bound::Unbounded)) {
            let (key, value) = guard.into_inner()?;
            let Some(profile) = key.strip_prefix(prefix) else { break };
            scanned += 1;
            let taken = self.filter.takes(&value)?;
            if taken {
                self.ahead.push_back(profile.to_vec());
            }
            // Where few are taken, the many between them are not read again and again for the sake of a full queue.
            if scanned >= READ_AHEAD as u64 && !self.ahead.is_empty() {
                self.place = Place::Before([profile, &[0]].concat());
                return Ok(scanned);
            }
        }
        self.place = Place::End;
        Ok(scanned)
    }
}
