//! Pure: what the API server said lately of tokens and rights, by their digest. Holds no token, and never more than so many
//! answers: strangers who make tokens up push out each other's refusals, and nobody's permission.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::verdict::Verdict;

/// How long a permission holds.
pub(super) const ALLOWED_FOR: Duration = Duration::from_mins(1);
/// How long a refusal holds.
pub(super) const REFUSED_FOR: Duration = Duration::from_secs(10);

/// How many answers of either kind are kept.
const ANSWERS: usize = 4096;

/// A token and a right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key([u8; 32]);

impl Key {
    /// `right` is what the API server is asked, in words.
    pub(super) fn new(token: &str, right: &str) -> Self {
        let digest = Sha256::new_with_prefix(Sha256::digest(token)).chain_update(right).finalize();
        Self(digest.into())
    }
}

/// The answers.
#[derive(Debug)]
pub(super) struct Cache {
    allowed: Table,
    refused: Table,
}

impl Default for Cache {
    fn default() -> Self {
        Self { allowed: Table::new(ANSWERS), refused: Table::new(ANSWERS) }
    }
}

impl Cache {
    /// The answer that holds at `now`, if there is one.
    pub(super) fn get(&self, key: Key, now: Duration) -> Option<Verdict> {
        self.allowed.get(key, now).or_else(|| self.refused.get(key, now))
    }

    /// Takes up an answer, in place of what was said before. `token_left` is how long the token itself is still good, where that
    /// is known: no permission outlives it.
    pub(super) fn put(&mut self, key: Key, verdict: Verdict, now: Duration, token_left: Option<Duration>) {
        let (into, other, lasts) = match verdict {
            Verdict::Allowed => {
                (&mut self.allowed, &mut self.refused, ALLOWED_FOR.min(token_left.unwrap_or(ALLOWED_FOR)))
            }
            Verdict::Forbidden { .. } | Verdict::Unauthenticated(_) => {
                (&mut self.refused, &mut self.allowed, REFUSED_FOR)
            }
        };
        other.answers.remove(&key);
        into.put(key, verdict, now, now.saturating_add(lasts));
    }
}

#[derive(Debug)]
struct Table {
    most: usize,
    answers: HashMap<Key, (Verdict, Duration)>,
    /// Every answer that was taken up, oldest first, also those that were replaced since.
    order: VecDeque<(Key, Duration)>,
}

impl Table {
    fn new(most: usize) -> Self {
        Self { most, answers: HashMap::new(), order: VecDeque::new() }
    }

    fn get(&self, key: Key, now: Duration) -> Option<Verdict> {
        let (verdict, until) = self.answers.get(&key)?;
        (now < *until).then(|| verdict.clone())
    }

    fn put(&mut self, key: Key, verdict: Verdict, now: Duration, until: Duration) {
        while let Some((oldest, its_end)) = self.order.front().copied()
            && (its_end <= now || self.order.len() >= self.most)
        {
            self.order.pop_front();
            if self.answers.get(&oldest).is_some_and(|(_, end)| *end == its_end) {
                self.answers.remove(&oldest);
            }
        }
        self.order.push_back((key, until));
        self.answers.insert(key, (verdict, until));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::http::verdict::Doubt;

    const START: Duration = Duration::from_secs(1000);
    const SECOND: Duration = Duration::from_secs(1);
    const UNKNOWN: Verdict = Verdict::Unauthenticated(Doubt::Other);

    fn forbidden() -> Verdict {
        Verdict::Forbidden { user: "producer".into() }
    }

    #[test]
    fn a_permission_holds_for_a_minute_and_a_refusal_for_ten_seconds() {
        let (mut cache, one, two) = (Cache::default(), Key::new("one", "read"), Key::new("two", "read"));
        cache.put(one, Verdict::Allowed, START, None);
        cache.put(two, forbidden(), START, None);
        assert_eq!(cache.get(one, START + 59 * SECOND), Some(Verdict::Allowed));
        assert_eq!(cache.get(one, START + ALLOWED_FOR), None);
        assert_eq!(cache.get(two, START + 9 * SECOND), Some(forbidden()));
        assert_eq!(cache.get(two, START + REFUSED_FOR), None);
    }

    #[test]
    fn a_permission_ends_with_its_token() {
        let (mut cache, key) = (Cache::default(), Key::new("one", "read"));
        cache.put(key, Verdict::Allowed, START, Some(5 * SECOND));
        assert_eq!(cache.get(key, START + 4 * SECOND), Some(Verdict::Allowed));
        assert_eq!(cache.get(key, START + 5 * SECOND), None);
        cache.put(key, Verdict::Allowed, START, Some(Duration::ZERO));
        assert_eq!(cache.get(key, START), None);
        cache.put(key, Verdict::Allowed, START, Some(Duration::MAX));
        assert_eq!(cache.get(key, START + ALLOWED_FOR), None);
    }

    #[test]
    fn another_right_or_another_token_is_another_answer() {
        let mut cache = Cache::default();
        cache.put(Key::new("one", "read"), Verdict::Allowed, START, None);
        for other in [Key::new("one", "write"), Key::new("two", "read"), Key::new("oner", "ead")] {
            assert_eq!(cache.get(other, START), None);
        }
    }

    #[test]
    fn what_was_said_last_holds() {
        let (mut cache, key) = (Cache::default(), Key::new("one", "read"));
        cache.put(key, Verdict::Allowed, START, None);
        cache.put(key, forbidden(), START, None);
        assert_eq!(cache.get(key, START), Some(forbidden()));
        cache.put(key, Verdict::Allowed, START + SECOND, None);
        assert_eq!(cache.get(key, START + SECOND), Some(Verdict::Allowed));
    }

    #[test]
    fn strangers_in_any_number_take_no_more_room_and_nobodys_permission() {
        let (mut cache, friend) = (Cache::default(), Key::new("friend", "read"));
        cache.put(friend, Verdict::Allowed, START, None);
        for number in 0..3 * ANSWERS {
            cache.put(Key::new(&format!("stranger {number}"), "read"), UNKNOWN, START, None);
            // The same one, again and again, takes no more either.
            cache.put(Key::new("stranger", "read"), UNKNOWN, START, None);
        }
        assert_eq!(cache.get(friend, START), Some(Verdict::Allowed));
        assert!(cache.refused.answers.len() <= ANSWERS && cache.refused.order.len() <= ANSWERS);
        assert_eq!(cache.get(Key::new("stranger", "read"), START), Some(UNKNOWN));
    }

    #[test]
    fn what_no_longer_holds_gives_its_room_back() {
        let mut cache = Cache::default();
        for number in 0..100 {
            cache.put(Key::new(&number.to_string(), "read"), UNKNOWN, START, None);
        }
        cache.put(Key::new("late", "read"), UNKNOWN, START + REFUSED_FOR, None);
        assert_eq!((cache.refused.answers.len(), cache.refused.order.len()), (1, 1));
    }

    #[test]
    fn a_renewed_answer_outlives_the_room_of_the_old_one() {
        let mut table = Table::new(2);
        let (kept, other) = (Key::new("kept", ""), Key::new("other", ""));
        table.put(kept, Verdict::Allowed, START, START + SECOND);
        table.put(kept, Verdict::Allowed, START, START + 9 * SECOND);
        table.put(other, Verdict::Allowed, START + 2 * SECOND, START + 9 * SECOND);
        assert_eq!(table.get(kept, START + 2 * SECOND), Some(Verdict::Allowed));
    }
}
