//! Pure: which status is written next, and when. Holds the newest one of each object and what was last written of it, so it is
//! bounded by the number of objects. Times are [`crate::telemetry::clock::monotonic`].
//!
//! Material changes go first, the one that waits longest before the others; then counters, the object that was written longest ago
//! first, so that with many dataflows flowing their counters slow down evenly. All of it under one token bucket, and what moves
//! on objects that have been quiet (an hour that ended) under a slower one besides.

use std::collections::BTreeMap;
use std::time::Duration;

use super::entry::{Entry, Failure};
use super::status::{Status, Subject};
use crate::fleet::bucket::Bucket;
use crate::reconcile::status::Change;
use crate::reconcile::{About, ObjectKey};

/// Between two writes, of whatever object.
const EVERY: Duration = Duration::from_millis(500);
/// Writes at once, after a pause: so many objects settle without waiting.
const BURST: u32 = 20;
/// Between two writes of counters of objects that have been quiet: together fewer than 30 a minute.
const QUIET_EVERY: Duration = Duration::from_secs(3);
/// After so many material changes in a row it is the turn of counters, so that none starves.
const IN_A_ROW: u32 = 4;
/// How soon an API server that cannot be reached is tried again; each further time it takes twice as long.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest such pause: statuses catch up soon after an outage.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// What to do now.
#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    /// Write this, and tell what came of it.
    Write(Write),
    /// Nothing before that time; without one, until something is offered or a write ends.
    Wait(Option<Duration>),
}

/// One write.
#[derive(Debug, Clone, PartialEq)]
pub struct Write {
    /// Whose status.
    pub subject: Subject,
    /// The resource version that it must still have, so that it is still that object; empty where none is known.
    pub version: String,
    /// The status.
    pub status: Status,
}

/// The statuses of all objects.
#[derive(Debug)]
pub struct Queue {
    objects: BTreeMap<(About, ObjectKey), Entry>,
    bucket: Bucket,
    quiet: Bucket,
    /// Material changes that have gone before counters which were due as well.
    in_a_row: u32,
    /// The last statuses are to be written at once.
    flushing: bool,
    /// How often in a row the API server could not be reached, and until when it is left alone.
    outages: u32,
    paused_until: Duration,
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            objects: BTreeMap::new(),
            bucket: Bucket::new(EVERY, BURST),
            quiet: Bucket::new(QUIET_EVERY, 1),
            in_a_row: 0,
            flushing: false,
            outages: 0,
            paused_until: Duration::ZERO,
        }
    }
}

impl Queue {
    /// Takes up what a watch shows of an object: its resource version, and, asked for where that is news, its status. Where somebody
    /// else wrote over ours, it is written again. Returns whether there is something new to write.
    pub fn see(
        &mut self,
        subject: &Subject,
        version: &str,
        held: impl FnOnce() -> Option<Status>,
        now: Duration,
    ) -> bool {
        let place = (subject.about, subject.key.clone());
        if let Some(entry) = self.objects.get_mut(&place).filter(|entry| entry.uid == subject.uid) {
            return entry.see(version, held, now);
        }
        self.objects.insert(place, Entry::new(subject.uid.clone(), version.to_owned(), held(), now));
        false
    }

    /// Takes up the newest status of an object that was seen. Returns whether there is something new to write.
    pub fn offer(&mut self, subject: &Subject, status: Status, now: Duration) -> bool {
        self.entry(subject).is_some_and(|entry| entry.offer(status, now))
    }

    /// Forgets an object that is gone.
    pub fn forget(&mut self, about: About, key: &ObjectKey) {
        self.objects.remove(&(about, key.clone()));
    }

    /// The statuses as they are now are the last ones: they neither wait for their turn nor for an earlier failure.
    pub fn flush(&mut self) {
        self.flushing = true;
        self.paused_until = Duration::ZERO;
        self.objects.values_mut().for_each(Entry::hurry);
    }

    /// How many objects hold another status than the newest.
    pub fn pending(&self) -> usize {
        self.objects.values().filter(|entry| entry.is_pending()).count()
    }

    /// What is written now, which takes a token; or until when there is nothing to do.
    pub fn next(&mut self, now: Duration) -> Next {
        let Some(due) = self.earliest(now) else { return Next::Wait(None) };
        let ready = due.max(self.paused_until).max(self.bucket.ready_at(now));
        if ready > now {
            return Next::Wait(Some(ready));
        }
        let Some((place, counters_wait)) = self.chosen(now) else { return Next::Wait(None) };
        let Some(entry) = self.objects.get_mut(&place) else { return Next::Wait(None) };
        let (about, key) = place;
        let Some(status) = entry.begin() else { return Next::Wait(None) };
        let material = entry.change == Change::Material;
        let is_quiet = entry.is_quiet();
        let subject = Subject { about, key, uid: entry.uid.clone() };
        let write = Write { subject, version: entry.version.clone(), status };
        self.bucket.take(now);
        if is_quiet {
            self.quiet.take(now);
        }
        self.in_a_row = if material && counters_wait { self.in_a_row.saturating_add(1) } else { 0 };
        Next::Write(write)
    }

    /// Takes up that a write got through: the resource version that it made, and what the API server made of the status.
    pub fn written(&mut self, write: &Write, version: &str, shown: Option<Status>, now: Duration) {
        self.answered();
        if let Some(entry) = self.entry(&write.subject) {
            entry.written(&write.status, version, shown, now);
        }
    }

    /// Takes up that a write failed. Returns whether that is the first such refusal: whether it should be told.
    pub fn failed(&mut self, write: &Write, failure: Failure, now: Duration) -> bool {
        let known = match &failure {
            Failure::Forbidden => self.forbids(&write.subject),
            Failure::Unreachable => self.outages > 0,
            Failure::Changed { .. } | Failure::Gone | Failure::Refused => false,
        };
        if failure == Failure::Unreachable {
            // Several on their way at once are one outage.
            if now >= self.paused_until {
                let pause = FIRST_PAUSE.saturating_mul(1 << self.outages.min(16)).min(LONGEST_PAUSE);
                self.outages = self.outages.saturating_add(1);
                self.paused_until = now.saturating_add(pause);
            }
        } else {
            self.answered();
        }
        if let Some(entry) = self.entry(&write.subject) {
            entry.failed(failure, now);
        }
        !known
    }

    /// Whether the API server could not be reached the last time.
    pub fn is_cut_off(&self) -> bool {
        self.outages > 0
    }

    fn answered(&mut self) {
        self.outages = 0;
        self.paused_until = Duration::ZERO;
    }

    /// Whether it is known already that statuses of this kind must not be written in this namespace.
    fn forbids(&self, subject: &Subject) -> bool {
        self.objects.iter().any(|((about, key), entry)| {
            *about == subject.about && key.namespace == subject.key.namespace && entry.forbidden
        })
    }

    fn entry(&mut self, subject: &Subject) -> Option<&mut Entry> {
        let place = (subject.about, subject.key.clone());
        self.objects.get_mut(&place).filter(|entry| entry.uid == subject.uid)
    }

    /// When the next object is due, the bucket aside.
    fn earliest(&self, now: Duration) -> Option<Duration> {
        self.objects.values().filter_map(|entry| self.due(entry, now)).min()
    }

    fn due(&self, entry: &Entry, now: Duration) -> Option<Duration> {
        let due = entry.due_at(self.flushing)?;
        let quiet = entry.is_quiet() && !self.flushing;
        Some(if quiet { due.max(self.quiet.ready_at(now)) } else { due })
    }

    /// What is written next of what is due, and whether counters are due.
    fn chosen(&self, now: Duration) -> Option<((About, ObjectKey), bool)> {
        let due = || self.objects.iter().filter(|(_, entry)| self.due(entry, now).is_some_and(|due| due <= now));
        let of = |change| due().filter(move |(_, entry)| entry.change == change);
        let material = of(Change::Material).min_by_key(|(_, entry)| entry.since);
        let counters = of(Change::Counters).min_by_key(|(_, entry)| entry.written);
        let counters_wait = counters.is_some();
        let first = if self.in_a_row < IN_A_ROW { material.or(counters) } else { counters.or(material) };
        first.map(|(place, _)| (place.clone(), counters_wait))
    }
}

#[cfg(test)]
mod tests;
