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
//!
//! What fails in a request of several records may fail by the request's size, or by another's fault: such a request is taken
//! apart, and only a record that was alone uses an attempt.
//!
//! A service that answers and refuses everything is an outage, too: see `breaker`. The records that it refused are held beside
//! the suspects, and only a probe that is taken ends the pause.

use std::collections::VecDeque;
use std::time::Duration;

use super::breaker::Refusal;
use super::retry::Jitter;
use crate::kinesis::outcome::{EntryOutcome, RequestError, RequestOutcome};

/// How long after a failure an answer to another request still tells that the service was there.
pub(super) const SAME_MOMENT: Duration = Duration::from_secs(1);

/// The longest wait for the first probe; each further one is twice as long.
pub(super) const FIRST_PROBE: Duration = Duration::from_millis(500);

/// The longest wait between probes.
pub(super) const LONGEST_PROBE: Duration = Duration::from_secs(15);

/// With so much suspicion, a further failure is the record's own.
pub(super) const BEYOND_DOUBT: u32 = 4;

/// A record whose request had no answer, or that is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Suspect {
    pub(super) ticket: u64,
    pub(super) request: u64,
    failed_at: Duration,
    pub(super) doubt: Doubt,
}

/// Why a record is a suspect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Doubt {
    /// No answer to a request of several records.
    InCompany,
    /// No answer to a request of its own.
    Alone,
    /// Refused as every request is, for what is no fault of its records.
    Denied,
    /// Held: refused as invalid, in a request of its own.
    Invalid,
    /// Held: an attempt failed.
    Failed,
}

/// What a service that answers says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reply {
    /// It took a record, or several.
    Took,
    /// It took none, and asks to wait.
    Throttled,
    /// It took none, and refused some.
    Refused,
}

impl Reply {
    /// `None` where there is no answer to the request, or one that says nothing of it.
    pub(super) fn of(outcome: &RequestOutcome) -> Option<Self> {
        match outcome {
            Ok(outcomes) if outcomes.contains(&EntryOutcome::Accepted) => Some(Self::Took),
            Ok(outcomes) if outcomes.iter().any(|outcome| matches!(outcome, EntryOutcome::Failed { .. })) => {
                Some(Self::Refused)
            }
            Ok(_) | Err(RequestError::Throttled { .. }) => Some(Self::Throttled),
            Err(RequestError::Invalid { .. }) => Some(Self::Refused),
            Err(_) => None,
        }
    }
}

/// What an answer says of suspects and of a pause.
#[derive(Debug, Default)]
pub(super) struct Judgement {
    /// They are suspects no more.
    pub(super) judged: Vec<(Suspect, Verdict)>,
    /// The pause is over.
    pub(super) healed: bool,
    /// It was the service that refused everything, a probe's record too: what failed meanwhile is no record's fault.
    pub(super) forgives: bool,
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
    /// The service refused everything, or seemed to.
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
    /// The service answers and refuses everything: only a record that is taken ends this.
    tripped: bool,
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
                pause.error = error;
                pause.probe_failed(now, jitter);
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
            self.suspect(origin, tickets, refused, now);
        } else {
            self.suspect(origin, tickets, refused, now);
            if refused || alone {
                self.begin(error, now, now + jitter.spread(FIRST_PROBE));
            }
        }
    }

    fn suspect(&mut self, request: u64, tickets: Vec<u64>, refused: bool, failed_at: Duration) {
        let doubt = match tickets.len() {
            _ if refused => Doubt::Denied,
            1 => Doubt::Alone,
            _ => Doubt::InCompany,
        };
        self.suspects.extend(tickets.into_iter().map(|ticket| Suspect { ticket, request, failed_at, doubt }));
    }

    /// Whether the service seems to refuse everything, so that no refused record is given up.
    pub(super) fn is_tripped(&self) -> bool {
        self.pause.as_ref().is_some_and(|pause| pause.tripped)
    }

    /// Holds a record that was refused, and pauses. Another one probes at once: it tells whether this one is at fault.
    pub(super) fn hold(&mut self, request: u64, ticket: u64, refusal: &Refusal, now: Duration) {
        let doubt = match refusal {
            Refusal::Invalid { .. } => Doubt::Invalid,
            Refusal::Failed { .. } => Doubt::Failed,
        };
        self.suspects.push_back(Suspect { ticket, request, failed_at: now, doubt });
        if self.pause.is_none() {
            self.begin(refusal.error(), now, now);
        }
        if let Some(pause) = &mut self.pause {
            pause.tripped = true;
            if pause.is_probed_by(request) || !is_refusal(&pause.error) {
                pause.error = refusal.error();
            }
        }
    }

    fn begin(&mut self, error: RequestError, now: Duration, probe_at: Duration) {
        let first = self.suspects.front();
        let lone = first
            .map(|first| first.request)
            .filter(|&request| !is_refusal(&error) && self.suspects.iter().all(|suspect| suspect.request == request));
        self.pause = Some(Pause {
            error,
            since: first.map_or(now, |first| first.failed_at),
            failures: 0,
            interval: FIRST_PROBE,
            probe_at,
            probe: None,
            again: false,
            lone,
            tripped: false,
        });
    }

    /// Pauses where nothing got through since the first suspect failed. `message`: what failed last.
    pub(super) fn pause_if_overdue(&mut self, message: &str, now: Duration, jitter: &mut Jitter) {
        if self.pause.is_none() && self.judged_at().is_some_and(|judged_at| judged_at <= now) {
            let error = RequestError::Unavailable { message: message.to_owned() };
            self.begin(error, now, now + jitter.spread(FIRST_PROBE));
        }
    }

    fn judged_at(&self) -> Option<Duration> {
        self.suspects.front().map(|first| first.failed_at + SAME_MOMENT)
    }

    /// Notes that the service answered a request: what that says of suspects and of a pause.
    pub(super) fn answered(&mut self, request: u64, reply: Reply, now: Duration, jitter: &mut Jitter) -> Judgement {
        if self.suspects.is_empty() && self.pause.is_none() {
            return Judgement::default();
        }
        let Some(mut pause) = self.pause.take() else {
            let mut judged = Vec::new();
            self.suspects.retain(|suspect| {
                let later = suspect.request < request;
                if later {
                    judged.push((*suspect, Verdict::Attempt));
                }
                !later
            });
            return Judgement { judged, ..Judgement::default() };
        };
        let probe = pause.probe.filter(|probe| probe.request == request);
        let goes_on = if !pause.tripped {
            // One that was let in before the refusal is no sign that the cause is mended.
            probe.is_none() && is_refusal(&pause.error)
        } else if probe.is_some() {
            match reply {
                Reply::Took => {}
                Reply::Throttled => pause.probe_undecided(now, jitter),
                Reply::Refused => pause.probe_failed(now, jitter),
            }
            reply != Reply::Took
        } else {
            true
        };
        if goes_on {
            self.pause = Some(pause);
            return Judgement::default();
        }
        let other_record = probe.is_some_and(|probe| probe.suspect_of.is_none());
        let judge = |suspect: Suspect| {
            let verdict = if pause.tripped || is_refusal(&pause.error) || suspect.doubt == Doubt::Denied {
                Verdict::Free
            } else if other_record && pause.lone == Some(suspect.request) {
                Verdict::Strike
            } else if probe.is_none() && pause.failures == 0 && suspect.request < request {
                Verdict::Attempt
            } else {
                Verdict::Caught
            };
            (suspect, verdict)
        };
        Judgement {
            judged: self.suspects.drain(..).map(judge).collect(),
            healed: true,
            forgives: pause.tripped && pause.failures > 0,
        }
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

    /// Ends a pause where there is nothing to probe with.
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

    fn is_probed_by(&self, request: u64) -> bool {
        self.probe.is_some_and(|probe| probe.request == request)
    }

    fn probe_failed(&mut self, now: Duration, jitter: &mut Jitter) {
        self.failures += 1;
        if !self.again {
            self.interval = (self.interval * 2).min(LONGEST_PROBE);
        }
        self.probe_undecided(now, jitter);
    }

    fn probe_undecided(&mut self, now: Duration, jitter: &mut Jitter) {
        self.probe = None;
        self.probe_at = if self.again { now } else { now + jitter.spread(self.interval) };
        self.again = false;
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
