//! Effects: the lines of a request, read and looked up ahead of the writer by a thread of their own where that is worth it.
//!
//! The look-up may run ahead: what a group that is on its way has made of a profile is with the writer, and counts before what
//! the store holds; and a group that left the writer before this request began is in the store.

use std::sync::mpsc::sync_channel;
use std::thread;

use super::ingest;
use crate::profile::update::Update;
use crate::store::{ProfileKey, Store, StoreError, StoredProfile};

/// The smallest body that a thread is started for, in bytes (32 KiB).
const WORTH_A_THREAD: usize = 32 << 10;
/// Lines that are handed over at once, and how many such hands wait.
const HANDFUL: usize = 32;
const AHEAD: usize = 8;

/// A line that can be read, and the profile that it is about as the store holds it.
pub(super) struct Line<'a> {
    pub(super) update: Update<'a>,
    pub(super) key: ProfileKey,
    pub(super) stored: Option<StoredProfile>,
}

/// A line by its number: read, or why it is refused.
type Numbered<'a> = (u64, Result<Line<'a>, String>);

/// Hands every line to `take`, in order, until it says no more. Whether all were taken.
pub(super) fn each<'a>(
    store: &Store,
    body: &'a [u8],
    mut take: impl FnMut(u64, Result<Line<'a>, String>) -> Result<bool, StoreError>,
) -> Result<bool, StoreError> {
    let mut lines = ingest::lines(body).map(|(number, line)| read(store, number, line));
    if body.len() < WORTH_A_THREAD {
        for line in lines {
            let (number, line) = line?;
            if !take(number, line)? {
                return Ok(false);
            }
        }
        return Ok(true);
    }
    thread::scope(|scope| {
        let (hands, ahead) = sync_channel::<Result<Vec<Numbered<'a>>, StoreError>>(AHEAD);
        scope.spawn(move || {
            loop {
                let hand: Result<Vec<_>, _> = lines.by_ref().take(HANDFUL).collect();
                let last = hand.as_ref().map_or(true, Vec::is_empty);
                // The writer needs no more where it is gone.
                if hands.send(hand).is_err() || last {
                    return;
                }
            }
        });
        for hand in ahead {
            for (number, line) in hand? {
                if !take(number, line)? {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    })
}

fn read<'a>(store: &Store, number: u64, line: &'a [u8]) -> Result<Numbered<'a>, StoreError> {
    let update = match Update::parse(line) {
        Ok(update) => update,
        Err(error) => return Ok((number, Err(error.to_string()))),
    };
    let key = ProfileKey::new(&update.merge_policy_id, &update.profile_id);
    let stored = store.profile(&key)?;
    Ok((number, Ok(Line { update, key, stored })))
}
