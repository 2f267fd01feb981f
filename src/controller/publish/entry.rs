//! Pure: the status of one object: the newest, what was last written, and when it is due.

use std::time::Duration;

use super::status::Status;
use crate::reconcile::status::Change;

/// How soon a write that failed is tried again; each further time it takes twice as long.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// The longest wait after a failure.
const LONGEST_RETRY: Duration = Duration::from_mins(5);
/// The same of what a role must be mended for.
const FIRST_FORBIDDEN: Duration = Duration::from_mins(1);
const LONGEST_FORBIDDEN: Duration = Duration::from_mins(10);
/// An object whose counters stood still for so long is quiet.
const QUIET_AFTER: Duration = Duration::from_mins(5);

/// Why a write failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The object has been changed since; it has this resource version now.
    Changed {
        /// It.
        version: String,
    },
    /// The API server cannot be reached.
    Unreachable,
    /// The object is not there, or another one of its name is.
    Gone,
    /// The role forbids it.
    Forbidden,
    /// The API server did not take it, or took too long.
    Refused,
}

/// One object.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) uid: String,
    /// The newest resource version that is known.
    pub(super) version: String,
    /// The one that `shown` is of.
    shown_at: String,
    /// What it was last told; or what it held when it was first seen, or when somebody else had written.
    told: Option<Status>,
    /// What the API server made of that: another definition than ours drops what it does not know.
    shown: Option<Status>,
    /// When it was last told something, or first seen.
    pub(super) written: Duration,
    wanted: Option<Status>,
    /// How much of what is wanted is news.
    pub(super) change: Change,
    /// Since when that waits.
    pub(super) since: Duration,
    failures: u32,
    retry_at: Duration,
    pub(super) forbidden: bool,
    sending: bool,
    gone: bool,
}

impl Entry {
    pub(super) fn new(uid: String, version: String, held: Option<Status>, now: Duration) -> Self {
        Self {
            uid,
            shown_at: version.clone(),
            version,
            told: held.clone(),
            shown: held,
            written: now,
            wanted: None,
            change: Change::None,
            since: now,
            failures: 0,
            retry_at: Duration::ZERO,
            forbidden: false,
            sending: false,
            gone: false,
        }
    }

    /// Takes up what a watch shows. Returns whether there is something new to write.
    pub(super) fn see(&mut self, version: &str, held: impl FnOnce() -> Option<Status>, now: Duration) -> bool {
        // A watch lags behind what we wrote; and what was written while a write is on its way, that write will run into.
        if self.sending || !is_newer(version, &self.shown_at) {
            return false;
        }
        version.clone_into(&mut self.shown_at);
        if is_newer(version, &self.version) {
            version.clone_into(&mut self.version);
        }
        let held = held();
        if held == self.shown {
            return false;
        }
        self.told.clone_from(&held);
        self.shown = held;
        self.judge(now)
    }

    /// Takes up the newest status. Returns whether there is something new to write.
    pub(super) fn offer(&mut self, status: Status, now: Duration) -> bool {
        self.wanted = Some(status);
        self.judge(now)
    }

    fn judge(&mut self, now: Duration) -> bool {
        let news = self.wanted.as_ref().map_or(Change::None, |wanted| wanted.news(self.told.as_ref()));
        let more = news > self.change;
        if more {
            self.since = now;
        }
        self.change = news;
        more
    }

    /// When it should be written, or the `last` status at once; `None` where it need not be.
    pub(super) fn due_at(&self, last: bool) -> Option<Duration> {
        if self.sending {
            return None;
        }
        let due = self.change.due_at(self.written)?;
        Some(if last { self.retry_at } else { due.max(self.retry_at) })
    }

    /// Whether only counters are new, after they stood still for long.
    pub(super) fn is_quiet(&self) -> bool {
        self.change == Change::Counters && self.since.saturating_sub(self.written) >= QUIET_AFTER
    }

    /// Whether the object holds another status than the newest.
    pub(super) fn is_pending(&self) -> bool {
        self.change != Change::None && !self.gone
    }

    /// Waits for no earlier failure.
    pub(super) fn hurry(&mut self) {
        self.retry_at = Duration::ZERO;
    }

    /// Begins to write the newest status, which is returned.
    pub(super) fn begin(&mut self) -> Option<Status> {
        let wanted = self.wanted.clone()?;
        self.sending = true;
        Some(wanted)
    }

    pub(super) fn written(&mut self, sent: &Status, version: &str, shown: Option<Status>, now: Duration) {
        self.sending = false;
        self.forbidden = false;
        self.gone = false;
        self.failures = 0;
        self.retry_at = Duration::ZERO;
        version.clone_into(&mut self.version);
        version.clone_into(&mut self.shown_at);
        // Mostly the same, then kept once.
        self.shown = shown.filter(|shown| shown != sent).or_else(|| Some(sent.clone()));
        self.told = Some(sent.clone());
        self.written = now;
        self.change = Change::None;
        self.judge(now);
    }

    pub(super) fn failed(&mut self, failure: Failure, now: Duration) {
        self.sending = false;
        self.forbidden = failure == Failure::Forbidden;
        self.gone = failure == Failure::Gone;
        let wait = match failure {
            Failure::Unreachable => return,
            // The first time it is tried again at once: the object is known now.
            Failure::Changed { version } => {
                self.version = version;
                let again = self.failures.checked_sub(1);
                again.map_or(Duration::ZERO, |failures| backoff(FIRST_RETRY, failures, LONGEST_RETRY))
            }
            Failure::Forbidden => backoff(FIRST_FORBIDDEN, self.failures, LONGEST_FORBIDDEN),
            // It is forgotten before that, or the server erred.
            Failure::Gone => LONGEST_RETRY,
            Failure::Refused => backoff(FIRST_RETRY, self.failures, LONGEST_RETRY),
        };
        self.failures = self.failures.saturating_add(1);
        self.retry_at = now.saturating_add(wait);
    }
}

fn backoff(first: Duration, failures: u32, longest: Duration) -> Duration {
    first.saturating_mul(1 << failures.min(16)).min(longest)
}

/// Whether resource version `a` came after `b`. They count up, all of one kind together.
fn is_newer(a: &str, b: &str) -> bool {
    match (a.parse::<u128>(), b.parse::<u128>()) {
        (Ok(a), Ok(b)) => a > b,
        _ => a != b,
    }
}
