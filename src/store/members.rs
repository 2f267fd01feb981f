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

/// How many entries of one audience are read ahead.
const READ_AHEAD: usize = 256;

/// Walks the members of several audiences by profile id, each profile once.
pub struct MemberCursor<'a> {
    snapshot: &'a Snapshot,
    audiences: Vec<Audience>,
    /// The next profile id of each audience that has one left.
    next: BTreeMap<Vec<u8>, Vec<usize>>,
}

struct Audience {
    filter: MemberFilter,
    ahead: VecDeque<Vec<u8>>,
}

impl Snapshot {
    /// Walks the profiles that are members by one of the filters, behind the profile id `after`.
    pub fn members(&self, filters: Vec<MemberFilter>, after: Option<&str>) -> Result<MemberCursor<'_>, StoreError> {
        let audiences =
            filters.into_iter().map(|filter| Audience { filter, ahead: VecDeque::new() }).collect::<Vec<_>>();
        let mut cursor = MemberCursor { snapshot: self, audiences, next: BTreeMap::new() };
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

    fn advance(&mut self, index: usize, after: Option<&[u8]>) -> Result<(), StoreError> {
        let Some(audience) = self.audiences.get_mut(index) else { return Ok(()) };
        if audience.ahead.is_empty() {
            let first = after.map_or_else(
                || Bound::Included(audience.filter.audience.as_bytes().to_vec()),
                |after| Bound::Excluded(audience.filter.audience.member(after)),
            );
            let prefix = audience.filter.audience.as_bytes();
            for guard in self.snapshot.view.range(&self.snapshot.inner.members, (first, Bound::Unbounded)) {
                let (key, value) = guard.into_inner()?;
                let Some(profile) = key.strip_prefix(prefix) else { break };
                if audience.filter.takes(&value)? {
                    audience.ahead.push_back(profile.to_vec());
                    if audience.ahead.len() == READ_AHEAD {
                        break;
                    }
                }
            }
        }
        if let Some(profile) = audience.ahead.pop_front() {
            self.next.entry(profile).or_default().push(index);
        }
        Ok(())
    }
}
