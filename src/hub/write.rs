//! Effects: the first half of the writer. Requests are applied in order, against what is committed, what is on its way to the
//! disk, and what this group has made so far; groups then go to [`super::commit`].
//!
//! The two halves are two threads, so that one group is merged while the one before it is made durable.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::mpsc::SyncSender;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use super::commit::{Committed, Ready};
use super::ingest::{Answer, IngestError, MAX_LISTED, MAX_WRITE_BYTES, Rejected, Request};
use super::lines::{self, Line};
use crate::export::partition_key::sha256_hex;
use crate::profile::apply::{self, Applied};
use crate::store::{AudienceKey, Batch, Head, ProfileKey, Store, StoreError};
use crate::telemetry::clock;

/// How many requests one group takes at most.
const GROUP_REQUESTS: usize = 512;

/// How many bytes of bodies one group takes before it commits (4 MiB).
const GROUP_BYTES: usize = 4 << 20;

/// A request that waits to be written.
pub(super) struct Waiting {
    pub(super) request: Request,
    pub(super) answer: oneshot::Sender<Result<Answer, IngestError>>,
    /// Its share of the queue, given back when it is answered.
    pub(super) room: OwnedSemaphorePermit,
}

/// Profiles by key; `None` where it is gone.
type Profiles = HashMap<ProfileKey, Option<Vec<u8>>, foldhash::fast::RandomState>;

/// Takes requests, makes groups, hands them on.
pub(super) struct Applier {
    store: Store,
    head: Head,
    waiting: mpsc::Receiver<Waiting>,
    ready: SyncSender<Ready>,
    committed: Committed,
    /// What the groups have made that may not be in the store yet, the oldest first.
    on_the_way: VecDeque<Made>,
    /// The number of the group at hand, from 1.
    number: u64,
}

/// What one group makes of profiles and answers.
#[derive(Default)]
struct Made {
    number: u64,
    profiles: Profiles,
    answers: HashMap<String, StoredAnswer>,
}

/// The group at hand.
struct Group {
    batch: Batch,
    head: Head,
    made: Made,
}

/// What is kept under an idempotency key.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct StoredAnswer {
    body: String,
    answer: Answer,
}

/// What one request makes, until it is known that it is taken up whole.
struct Attempt {
    batch: Batch,
    head: Head,
    profiles: Profiles,
    answer: Answer,
}

impl Applier {
    pub(super) fn new(
        store: Store,
        head: Head,
        waiting: mpsc::Receiver<Waiting>,
        ready: SyncSender<Ready>,
        committed: Committed,
    ) -> Self {
        Self { store, head, waiting, ready, committed, on_the_way: VecDeque::new(), number: 0 }
    }

    /// Runs until every sender of requests is gone, the other half has ended, or the store fails.
    pub(super) fn run(mut self) -> Result<(), StoreError> {
        while let Some(first) = self.waiting.blocking_recv() {
            if let Err(full) = self.store.check_space() {
                // Whoever asked may have gone.
                let _ = first.answer.send(Err(IngestError::Full(full)));
                continue;
            }
            let group = self.make_group(first)?;
            if self.ready.send(group).is_err() {
                break;
            }
        }
        Ok(())
    }

    /// Applies `first` and what else waits, up to the bounds of a group; while the other half has nothing to do, no more than
    /// `first`, so that both halves work at once however many wait for their answers.
    fn make_group(&mut self, first: Waiting) -> Result<Ready, StoreError> {
        let committed = self.committed.load(Ordering::Acquire);
        while self.on_the_way.front().is_some_and(|made| made.number <= committed) {
            self.on_the_way.pop_front();
        }
        self.number += 1;
        let made = Made { number: self.number, ..Made::default() };
        let mut group = Group { batch: self.store.batch(), head: self.head, made };
        let mut answers = Vec::new();
        let mut bytes = 0;
        let mut next = Some(first);
        while let Some(Waiting { request, answer, room }) = next.take() {
            bytes += request.body.len();
            match self.apply(request, &mut group)? {
                Ok(accepted) => answers.push((answer, accepted, room)),
                // Whoever asked may have gone; what was refused changed nothing.
                Err(error) => drop(answer.send(Err(error))),
            }
            let other_half_waits = self.committed.load(Ordering::Acquire) + 1 >= self.number;
            let full =
                answers.len() >= GROUP_REQUESTS || bytes >= GROUP_BYTES || group.batch.bytes() >= MAX_WRITE_BYTES / 4;
            if !full && !other_half_waits {
                next = self.waiting.try_recv().ok();
            }
        }
        let Group { mut batch, head, made } = group;
        if head != self.head {
            batch.set_head(&head);
        }
        self.head = head;
        self.on_the_way.push_back(made);
        Ok(Ready { number: self.number, batch, head: head.next, answers })
    }

    /// Applies one request to the group: all of it, or, where it is refused as a whole, nothing.
    fn apply(&self, request: Request, group: &mut Group) -> Result<Result<Answer, IngestError>, StoreError> {
        let digest = request.idempotency_key.is_some().then(|| digest(&request.body));
        if let (Some(key), Some(digest)) = (&request.idempotency_key, &digest) {
            match self.known_answer(key, group)? {
                Some(known) if known.body == *digest => return Ok(Ok(known.answer)),
                Some(_) => return Ok(Err(IngestError::KeyReused)),
                None => {}
            }
        }
        // The receipt never falls, whatever the clock does.
        let now = clock::now().max(group.head.time);
        let mut attempt = Attempt {
            batch: self.store.batch(),
            head: group.head,
            profiles: Profiles::default(),
            answer: Answer::default(),
        };
        let whole = lines::each(&self.store, &request.body, |number, line| {
            let applied = match line {
                Ok(line) => self.apply_line(line, now, group, &mut attempt)?,
                Err(error) => Err(error),
            };
            match applied {
                Ok(()) => attempt.answer.accepted += 1,
                Err(error) => {
                    attempt.answer.rejected_count += 1;
                    if attempt.answer.rejected.len() < MAX_LISTED {
                        attempt.answer.rejected.push(Rejected { line: number, error });
                    }
                }
            }
            Ok(attempt.batch.bytes() <= MAX_WRITE_BYTES)
        })?;
        if !whole {
            return Ok(Err(IngestError::TooMuch));
        }
        attempt.answer.position = attempt.head.next.saturating_sub(1);
        group.batch.absorb(attempt.batch);
        group.head = attempt.head;
        group.made.profiles.extend(attempt.profiles);
        if let Some(source) = request.source {
            group.batch.put_source(&source.name, &source.progress);
        }
        if let (Some(key), Some(body)) = (request.idempotency_key, digest)
            && attempt.answer.accepted > 0
        {
            let stored = StoredAnswer { body, answer: attempt.answer.clone() };
            let text = serde_json::to_vec(&stored).map_err(|_| StoreError::Value("answer"))?;
            group.batch.put_answer(&key, now, &text);
            group.made.answers.insert(key, stored);
        }
        Ok(Ok(attempt.answer))
    }

    /// What was answered under an idempotency key, the latest first: by this group, by those on the way, by those in the store.
    fn known_answer(&self, key: &str, group: &Group) -> Result<Option<StoredAnswer>, StoreError> {
        let mut unsaved = std::iter::once(&group.made).chain(self.on_the_way.iter().rev());
        if let Some(known) = unsaved.find_map(|made| made.answers.get(key)) {
            return Ok(Some(known.clone()));
        }
        let Some(kept) = self.store.answer(key)? else { return Ok(None) };
        // An answer that cannot be read must not be taken for none: the request would be applied twice.
        serde_json::from_slice(&kept).map(Some).map_err(|_| StoreError::Value("answer of an Idempotency-Key"))
    }

    /// Applies one line, or says why it is refused.
    fn apply_line(
        &self,
        line: Line<'_>,
        now: Timestamp,
        group: &Group,
        attempt: &mut Attempt,
    ) -> Result<Result<(), String>, StoreError> {
        let Line { update, key, stored } = line;
        let (profile_id, merge_policy_id) = (update.profile_id.clone(), update.merge_policy_id.clone());
        let unsaved = [&attempt.profiles, &group.made.profiles].into_iter();
        let pending = unsaved
            .chain(self.on_the_way.iter().rev().map(|made| &made.profiles))
            .find_map(|profiles| profiles.get(&key));
        // What is not saved yet is newer than what is.
        let before = match (pending, &stored) {
            (Some(None), _) | (None, None) => None,
            (Some(Some(bytes)), _) => Some(std::str::from_utf8(bytes).map_err(|_| StoreError::Value("profile"))?),
            (None, Some(stored)) => Some(stored.entity()?),
        };
        let applied = match apply::apply(before, update, attempt.head.next, now) {
            Ok(Some(applied)) => applied,
            Ok(None) => return Ok(Ok(())),
            Err(error) => return Ok(Err(error.to_string())),
        };
        attempt.write(key, &merge_policy_id, &profile_id, now, applied);
        Ok(Ok(()))
    }
}

impl Attempt {
    fn write(&mut self, key: ProfileKey, merge_policy_id: &str, profile_id: &str, now: Timestamp, applied: Applied) {
        let version = self.head.next;
        self.batch.append(&mut self.head, now, &applied.change);
        for edit in &applied.index {
            let audience = AudienceKey::new(merge_policy_id, &edit.namespace, &edit.id);
            self.batch.index_member(&audience, profile_id, edit.status, version);
        }
        let after = if applied.deleted {
            self.batch.remove_profile(&key);
            None
        } else {
            self.batch.put_profile(&key, version, now, &applied.entity);
            Some(applied.entity)
        };
        self.profiles.insert(key, after);
    }
}

fn digest(body: &[u8]) -> String {
    sha256_hex(body, 32)
}
