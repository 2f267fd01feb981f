//! Effects: the one writer. Requests are applied in order against what is committed and what this group has made so far.

use std::collections::HashMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};

use super::ingest::{self, Answer, IngestError, MAX_LISTED, MAX_WRITE_BYTES, Rejected, Request};
use crate::profile::apply::{self, Applied};
use crate::profile::update::Update;
use crate::store::{AudienceKey, Batch, Head, ProfileKey, Store, StoreError};
use crate::telemetry::clock;

/// How many requests one group takes at most.
const GROUP_REQUESTS: usize = 128;

/// How many bytes of bodies one group takes before it commits (4 MiB).
const GROUP_BYTES: usize = 4 << 20;

/// A request that waits to be written.
pub(super) struct Waiting {
    pub(super) request: Request,
    pub(super) answer: oneshot::Sender<Result<Answer, IngestError>>,
    /// Its share of the queue, given back when it is answered.
    pub(super) _room: OwnedSemaphorePermit,
}

pub(super) struct Writer {
    store: Store,
    head: Head,
    waiting: mpsc::Receiver<Waiting>,
    announce: watch::Sender<u64>,
}

/// What the requests of one group have made so far, not yet committed.
struct Group {
    batch: Batch,
    head: Head,
    profiles: HashMap<ProfileKey, Option<Vec<u8>>>,
    answers: HashMap<String, StoredAnswer>,
}

/// What is kept under an idempotency key.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct StoredAnswer {
    body: String,
    answer: Answer,
}

impl Writer {
    pub(super) fn new(
        store: Store,
        head: Head,
        waiting: mpsc::Receiver<Waiting>,
        announce: watch::Sender<u64>,
    ) -> Self {
        Self { store, head, waiting, announce }
    }

    /// Runs until every sender is gone, or the store fails.
    pub(super) fn run(mut self) -> Result<(), StoreError> {
        while let Some(first) = self.waiting.blocking_recv() {
            if let Err(full) = self.store.check_space() {
                let _ = first.answer.send(Err(IngestError::Full(full)));
                continue;
            }
            self.write_group(first)?;
        }
        Ok(())
    }

    fn write_group(&mut self, first: Waiting) -> Result<(), StoreError> {
        let mut group =
            Group { batch: self.store.batch(), head: self.head, profiles: HashMap::new(), answers: HashMap::new() };
        let mut answered = Vec::new();
        let mut bytes = 0;
        let mut next = Some(first);
        while let Some(waiting) = next.take() {
            bytes += waiting.request.body.len();
            match self.apply(waiting.request, group)? {
                (kept, Ok(answer)) => {
                    group = kept;
                    answered.push((waiting.answer, answer, waiting._room));
                }
                (kept, Err(error)) => {
                    group = kept;
                    // Whoever asked may have gone; what was refused changed nothing.
                    let _ = waiting.answer.send(Err(error));
                }
            }
            if answered.len() < GROUP_REQUESTS && bytes < GROUP_BYTES && group.batch.bytes() < MAX_WRITE_BYTES / 4 {
                next = self.waiting.try_recv().ok();
            }
        }
        let moved = group.head != self.head;
        if moved {
            group.batch.set_head(&group.head);
        }
        if !group.batch.is_empty() {
            group.batch.commit()?;
        }
        self.head = group.head;
        if moved {
            self.announce.send_replace(self.head.next);
        }
        for (sender, answer, _room) in answered {
            let _ = sender.send(Ok(answer));
        }
        Ok(())
    }

    /// Applies one request to the group: all of it, or, where it is refused as a whole, nothing.
    fn apply(&self, request: Request, mut group: Group) -> Result<(Group, Result<Answer, IngestError>), StoreError> {
        let digest = request.idempotency_key.is_some().then(|| digest(&request.body));
        if let (Some(key), Some(digest)) = (&request.idempotency_key, &digest) {
            let known = match group.answers.get(key) {
                Some(known) => Some(known.clone()),
                None => self.store.answer(key)?.and_then(|kept| serde_json::from_slice(&kept).ok()),
            };
            match known {
                Some(known) if known.body == *digest => return Ok((group, Ok(known.answer))),
                Some(_) => return Ok((group, Err(IngestError::KeyReused))),
                None => {}
            }
        }
        // The receipt never falls, whatever the clock does.
        let now = clock::now().max(group.head.time);
        let mut attempt = Attempt {
            batch: self.store.batch(),
            head: group.head,
            profiles: HashMap::new(),
            answer: Answer::default(),
        };
        for (number, line) in ingest::lines(&request.body) {
            match self.apply_line(line, now, &group, &mut attempt)? {
                Ok(()) => attempt.answer.accepted += 1,
                Err(error) => {
                    attempt.answer.rejected_count += 1;
                    if attempt.answer.rejected.len() < MAX_LISTED {
                        attempt.answer.rejected.push(Rejected { line: number, error });
                    }
                }
            }
            if attempt.batch.bytes() > MAX_WRITE_BYTES {
                return Ok((group, Err(IngestError::TooMuch)));
            }
        }
        attempt.answer.position = attempt.head.next.saturating_sub(1);
        group.batch.absorb(attempt.batch);
        group.head = attempt.head;
        group.profiles.extend(attempt.profiles);
        if let Some(source) = request.source {
            group.batch.put_source(&source.name, &source.progress);
        }
        if let (Some(key), Some(body)) = (request.idempotency_key, digest)
            && attempt.answer.accepted > 0
        {
            let stored = StoredAnswer { body, answer: attempt.answer.clone() };
            if let Ok(text) = serde_json::to_vec(&stored) {
                group.batch.put_answer(&key, now, &text);
            }
            group.answers.insert(key, stored);
        }
        Ok((group, Ok(attempt.answer)))
    }

    /// Applies one line, or says why it is refused.
    fn apply_line(
        &self,
        line: &[u8],
        now: Timestamp,
        group: &Group,
        attempt: &mut Attempt,
    ) -> Result<Result<(), String>, StoreError> {
        let update = match Update::parse(line) {
            Ok(update) => update,
            Err(error) => return Ok(Err(error.to_string())),
        };
        let key = ProfileKey::new(&update.merge_policy_id, &update.profile_id);
        let (profile_id, merge_policy_id) = (update.profile_id.clone(), update.merge_policy_id.clone());
        let pending = attempt.profiles.get(&key).or_else(|| group.profiles.get(&key));
        let stored = match pending {
            Some(_) => None,
            None => self.store.profile(&key)?,
        };
        let before = match (pending, &stored) {
            (Some(pending), _) => pending.as_deref().and_then(|bytes| std::str::from_utf8(bytes).ok()),
            (None, Some(stored)) => Some(stored.entity()?),
            (None, None) => None,
        };
        let applied = match apply::apply(before, update, attempt.head.next, now) {
            Ok(Some(applied)) => applied,
            Ok(None) => return Ok(Ok(())),
            Err(error) => return Ok(Err(error.to_string())),
        };
        attempt.write(&key, &merge_policy_id, &profile_id, now, applied);
        Ok(Ok(()))
    }
}

/// What one request makes, until it is known that it is taken up whole.
struct Attempt {
    batch: Batch,
    head: Head,
    profiles: HashMap<ProfileKey, Option<Vec<u8>>>,
    answer: Answer,
}

impl Attempt {
    fn write(&mut self, key: &ProfileKey, merge_policy_id: &str, profile_id: &str, now: Timestamp, applied: Applied) {
        let version = self.head.next;
        self.batch.append(&mut self.head, now, &applied.change);
        for edit in &applied.index {
            let audience = AudienceKey::new(merge_policy_id, &edit.namespace, &edit.id);
            self.batch.index_member(&audience, profile_id, edit.status, version);
        }
        if applied.deleted {
            self.batch.remove_profile(key);
            self.profiles.insert(key.clone(), None);
        } else {
            self.batch.put_profile(key, version, now, &applied.entity);
            self.profiles.insert(key.clone(), Some(applied.entity));
        }
    }
}

fn digest(body: &[u8]) -> String {
    Sha256::digest(body).iter().map(|byte| format!("{byte:02x}")).collect()
}
