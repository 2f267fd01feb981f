//! Pure state: whether a failed request is a failure of its own or an outage, and the pause of an outage.
//!
//! A request without an answer (5xx, time-out, broken connection) says nothing by itself. Its records are *suspects* until
//! the next thing that happens: is a later request answered, the failure was the request's own, and uses an attempt. Is
//! nothing else on its way, or does nothing get through for [`SAME_MOMENT`], it is an outage: the dataflow pauses, no attempt
//! is used, and single records probe until one is answered.
//!
//! That leaves a request that fails for ever where little else is sent, so that nothing was on its way beside it. It would
//! pause and heal for ever. So, where one request alone failed and the probe of another record heals the pause, its records
//! are struck; the second time that costs an attempt. And where several such requests hide each other: a record that was
//! caught in [`BEYOND_DOUBT`] outages, one after the other, without once getting through in between, is no victim either.

use std::collections::VecDeque;
use std::time::Duration;

use super::retry::Jitter;
use crate::kinesis::outcome::RequestError;

/// How long after a failure an answer to another request still tells that the service was there.
pub(super) const SAME_MOMENT: Duration = Duration::from_secs(1);

/// The longest wait for the first probe; each further one is twice as long.
pub(super) const FIRST_PROBE: Duration = Duration::from_millis(500);

/// The longest wait between probes.
pub(super) const LONGEST_PROBE: Duration = Duration::from_secs(15);

/// With so much suspicion, a further failure is the record's own.
pub(super) const BEYOND_DOUBT: u32 = 4;

/// A record whose request had no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Suspect {
    ticket: u64,
    request: u64,
    failed_at: Duration,
}

/// What a suspect is found to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// An attempt is used.
    Attempt,
    /// It failed alone, and others got through right after: beyond doubt from the next time on.
    Strike,
    /// It was caught in an outage, as it seems.
    Caught,
    /// The service refused everything.
    Free,
}

/// A pause of the whole dataflow.
#[derive(Debug)]
pub(super) struct Pause {
    pub(super) error: RequestError,
    pub(super) since: Duration,
    /// Probes that failed.
    pub(super) failures: u32,
    interval: Duration,
    probe_at: Duration,
    probe: Option<Probe>,
    /// Probe again at once, should the probe that is on its way fail: it was sent before the cause was mended.
    again: bool,
    /// The one request that failed, where it is only one.
    lone: Option<u64>,
}

#[derive(Debug, Clone, Copy)]
struct Probe {
    request: u64,
    /// The request whose failure made the probe's record a suspect, if it was one.
    suspect_of: Option<u64>,
}

/// The suspects and the pause.
#[derive(Debug, Default)]
pub(super) struct Outage {
    suspects: VecDeque<Suspect>,
    pause: Option<Pause>,
}

impl Outage {
    pub(super) fn pause(&self) -> Option<&Pause> {
        self.pause.as_ref()
    }

    pub(super) fn has_suspects(&self) -> bool {
        !self.suspects.is_empty()
    }

    /// Notes a request that failed as a whole. An `error` that only a user can mend pauses at once; so does any where no other
    /// request is on its way (`alone`).
    pub(super) fn failed(
        &mut self,
        request: u64,
        tickets: Vec<u64>,
        error: RequestError,
        alone: bool,
        now: Duration,
        jitter: &mut Jitter,
    ) {
        let refused = is_refusal(&error);
        let mut origin = request;
        if let Some(pause) = &mut self.pause {
            if let Some(probe) = pause.probe.filter(|probe| probe.request == request) {
                pause.probe_failed(error, now, jitter);
                match probe.suspect_of {
                    Some(suspect_of) => origin = suspect_of,
                    None => pause.lone = None,
                }
            } else {
                pause.lone = None;
                if refused && !is_refusal(&pause.error) {
                    pause.error = error;
                }
            }
            self.suspect(origin, tickets, now);
        } else {
            self.suspect(origin, tickets, now);
            if refused || alone {
                self.begin(error, now, jitter);
            }
        }
    }

    fn suspect(&mut self, request: u64, tickets: Vec<u64>, failed_at: Duration) {
        self.suspects.extend(tickets.into_iter().map(|ticket| Suspect { ticket, request, failed_at }));
    }

    fn begin(&mut self, error: RequestError, now: Duration, jitter: &mut Jitter) {
        let first = self.suspects.front();
        let lone = first
            .map(|first| first.request)
            .filter(|&request| !is_refusal(&error) && self.suspects.iter().all(|suspect| suspect.request == request));
        self.pause = Some(Pause {
            error,
            since: first.map_or(now, |first| first.failed_at),
            failures: 0,
            interval: FIRST_PROBE,
            probe_at: now + jitter.spread(FIRST_PROBE),
            probe: None,
            again: false,
            lone,
        });
    }

    /// Pauses where nothing got through since the first suspect failed; whether it did. `message`: what failed last.
    pub(super) fn pause_if_overdue(&mut self, message: &str, now: Duration, jitter: &mut Jitter) -> bool {
        let overdue = self.pause.is_none() && self.judged_at().is_some_and(|judged_at| judged_at <= now);
        if overdue {
            self.begin(RequestError::Unavailable { message: message.to_owned() }, now, jitter);
        }
        overdue
    }

    fn judged_at(&self) -> Option<Duration> {
        self.suspects.front().map(|first| first.failed_at + SAME_MOMENT)
    }

    /// Notes that the service answered a request. What that says of suspects, which are none any more; and whether a pause
    /// is over.
    pub(super) fn answered(&mut self, request: u64) -> (Vec<(u64, Verdict)>, bool) {
        if self.suspects.is_empty() && self.pause.is_none() {
            return (Vec::new(), false);
        }
        let Some(pause) = self.pause.take() else {
            let mut judged = Vec::new();
            self.suspects.retain(|suspect| {
                let later = suspect.request < request;
                if later {
                    judged.push((suspect.ticket, Verdict::Attempt));
                }
                !later
            });
            return (judged, false);
        };
        let probe = pause.probe.filter(|probe| probe.request == request);
        if probe.is_none() && is_refusal(&pause.error) {
            // It was let in before the refusal: no sign that the cause is mended.
            self.pause = Some(pause);
            return (Vec::new(), false);
        }
        let other_record = probe.is_some_and(|probe| probe.suspect_of.is_none());
        let judge = |suspect: Suspect| {
            let verdict = if is_refusal(&pause.error) {
                Verdict::Free
            } else if other_record && pause.lone == Some(suspect.request) {
                Verdict::Strike
            } else if probe.is_none() && pause.failures == 0 && suspect.request < request {
                Verdict::Attempt
            } else {
                Verdict::Caught
            };
            (suspect.ticket, verdict)
        };
        (self.suspects.drain(..).map(judge).collect(), true)
    }

    /// Whether a probe may go, as far as the pause is concerned.
    pub(super) fn probe_is_due(&self, now: Duration) -> bool {
        self.pause.as_ref().is_some_and(|pause| pause.probe.is_none() && pause.probe_at <= now)
    }

    /// The suspect that has waited longest, as a probe; and the request that it failed with.
    pub(super) fn take_suspect(&mut self) -> Option<(u64, u64)> {
        self.suspects.pop_front().map(|suspect| (suspect.ticket, suspect.request))
    }

    /// Notes that a probe went.
    pub(super) fn probing(&mut self, request: u64, suspect_of: Option<u64>) {
        if let Some(pause) = &mut self.pause {
            pause.probe = Some(Probe { request, suspect_of });
        }
    }

    /// The cause may be mended: probe now.
    pub(super) fn heal(&mut self, now: Duration) {
        if let Some(pause) = &mut self.pause {
            pause.probe_at = now;
            pause.interval = FIRST_PROBE;
            pause.again = pause.probe.is_some();
        }
    }

    /// Ends a pause that has nothing to probe with.
    pub(super) fn end(&mut self) {
        self.pause = None;
    }

    /// When the next decision is due. `room`: whether a probe could go.
    pub(super) fn wake(&self, room: bool) -> Option<Duration> {
        match &self.pause {
            None => self.judged_at(),
            Some(pause) if room && pause.probe.is_none() => Some(pause.probe_at),
            Some(_) => None,
        }
    }
}

impl Pause {
    /// Whether the service refuses, or at least one probe found it gone. Until then it may be a hiccup.
    pub(super) fn is_certain(&self) -> bool {
        self.failures > 0 || is_refusal(&self.error)
    }

    fn probe_failed(&mut self, error: RequestError, now: Duration, jitter: &mut Jitter) {
        self.error = error;
        self.failures += 1;
        self.probe = None;
        if self.again {
            self.again = false;
            self.probe_at = now;
        } else {
            self.interval = (self.interval * 2).min(LONGEST_PROBE);
            self.probe_at = now + jitter.spread(self.interval);
        }
    }
}

/// Whether the service, or the lack of credentials, refuses every request alike.
fn is_refusal(error: &RequestError) -> bool {
    match error {
        RequestError::Denied { .. }
        | RequestError::Credentials { .. }
        | RequestError::StreamNotFound { .. }
        | RequestError::Encryption { .. } => true,
        RequestError::Throttled { .. } | RequestError::Invalid { .. } | RequestError::Unavailable { .. } => false,
    }
}
