//! Effects: the membership index, read in the order of profile ids over several audiences at once.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;

use fjall::Readable;

use super::keys::AudienceKey;
use super::{Snapshot, StoreError};

/// The value of an index entry.
pub(super) const REALIZED: &[u8] = b"r";
pub(super) const EXITED: &[u8] = b"e";

/// How many entries of one audience are read ahead.
const READ_AHEAD: usize = 256;

/// Walks the members of several audiences by profile id, each profile once.
pub struct MemberCursor<'a> {
    snapshot: &'a Snapshot,
    audiences: Vec<Audience>,
    /// Whether exited members are walked too.
    exited: bool,
    /// The next profile id of each audience that has one left.
    next: BTreeMap<Vec<u8>, Vec<usize>>,
}

struct Audience {
    key: AudienceKey,
    ahead: VecDeque<Vec<u8>>,
}

impl Snapshot {
    /// Walks the profiles that are realized (with `exited`: or were) in one of the audiences, behind the profile id `after`.
    pub fn members(
        &self,
        audiences: Vec<AudienceKey>,
        exited: bool,
        after: Option<&str>,
    ) -> Result<MemberCursor<'_>, StoreError> {
        let audiences = audiences.into_iter().map(|key| Audience { key, ahead: VecDeque::new() }).collect::<Vec<_>>();
        let mut cursor = MemberCursor { snapshot: self, audiences, exited, next: BTreeMap::new() };
        for index in 0..cursor.audiences.len() {
            cursor.advance(index, after.map(str::as_bytes))?;
        }
        Ok(cursor)
    }

    /// How many profiles are realized (with `exited`: or were) in one audience.
    pub fn count_members(&self, audience: &AudienceKey, exited: bool) -> Result<u64, StoreError> {
        let mut count = 0;
        for guard in self.view.prefix(&self.inner.members, audience.as_bytes()) {
            let (_, value) = guard.into_inner()?;
            count += u64::from(exited || value.as_ref() == REALIZED);
        }
        Ok(count)
    }
}

impl MemberCursor<'_> {
    /// The next profile, with the audiences (by their place in the list) that it is a member of.
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
                || Bound::Included(audience.key.as_bytes().to_vec()),
                |after| Bound::Excluded(audience.key.member(after)),
            );
            let prefix = audience.key.as_bytes();
            for guard in self.snapshot.view.range(&self.snapshot.inner.members, (first, Bound::Unbounded)) {
                let (key, value) = guard.into_inner()?;
                let Some(profile) = key.strip_prefix(prefix) else { break };
                if self.exited || value.as_ref() == REALIZED {
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
