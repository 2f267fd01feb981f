//! Pure state: how many records may be given up before it is the stream, and not the record, that is doubted.
//!
//! A record that is refused by itself is at fault where the stream takes others. So a refused record is given up at once, but
//! only a [`HANDFUL`] of them without the stream taking anything in between. The next one is *held*: the dataflow pauses,
//! another record probes at once, and only one that is taken ends the pause. A stream that refuses everything, by whatever
//! words, thus costs a handful and not the backlog; a few bad records among good ones die as fast as ever; and of many, each good
//! one that is taken lets a handful die.
//!
//! Where bad records are all that is left, nothing tells them from an outage. So that they don't stop their dataflow for ever, a
//! held record is given up after [`REFUSALS`] tries of its own: for one record that is about twenty minutes, for two twice as
//! long. Whatever comes in meanwhile probes first, and ends the pause if it is good.

use super::limits::DeadReason;
use crate::kinesis::outcome::RequestError;

/// So many records are given up without the stream taking one in between.
pub(super) const HANDFUL: u32 = 3;

/// So often a held record is refused before it is given up.
pub(super) const REFUSALS: u32 = 100;

/// What the service said of one record.
#[derive(Debug)]
pub(super) enum Refusal {
    /// Invalid, in a request of its own.
    Invalid { message: String },
    /// An error code, or no answer at all.
    Failed { code: String, message: String },
}

impl Refusal {
    /// The refusal as what is wrong with the stream.
    pub(super) fn error(&self) -> RequestError {
        match self {
            Self::Invalid { message } => RequestError::Invalid { message: message.clone() },
            Self::Failed { code, message } => RequestError::Unavailable { message: format!("{code}: {message}") },
        }
    }
}

impl From<Refusal> for DeadReason {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Invalid { message } => Self::Invalid { message },
            Refusal::Failed { code, message } => Self::Exhausted { code, message },
        }
    }
}

/// The count since the stream last took a record.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    given_up: u32,
    /// Requests from this one on were sent after the first of these was given up. What became of those before says nothing.
    from: u64,
    /// Whether the answer at hand holds a record that was taken: then the others of it failed by themselves.
    taking: bool,
}

impl Breaker {
    /// Notes an answer, before its records are judged. `took`: at least one record.
    pub(super) fn answered(&mut self, request: u64, took: bool) {
        self.taking = took;
        if took && request >= self.from {
            self.given_up = 0;
        }
    }

    /// Whether a refused record may be given up, which counts. `next`: the id of the next request.
    pub(super) fn gives_up(&mut self, next: u64) -> bool {
        if self.taking {
            return true;
        }
        if self.given_up == 0 {
            self.from = next;
        }
        let allowed = self.given_up < HANDFUL;
        self.given_up += u32::from(allowed);
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handful_is_given_up_until_a_later_request_is_taken() {
        let mut breaker = Breaker::default();
        breaker.answered(0, false);
        assert!((0..HANDFUL).all(|_| breaker.gives_up(5)));
        assert!(!breaker.gives_up(6));
        breaker.answered(4, true);
        breaker.answered(6, false);
        assert!(!breaker.gives_up(7), "a request that was sent before tells nothing");
        breaker.answered(5, true);
        breaker.answered(7, false);
        assert!(breaker.gives_up(8));
    }

    #[test]
    fn what_fails_beside_a_record_that_is_taken_is_not_counted() {
        let mut breaker = Breaker::default();
        breaker.answered(0, true);
        assert!((0..500).all(|_| breaker.gives_up(1)));
        breaker.answered(1, false);
        assert!((0..HANDFUL).all(|_| breaker.gives_up(2)));
        assert!(!breaker.gives_up(2));
    }
}
