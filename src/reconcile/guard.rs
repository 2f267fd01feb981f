//! Pure: a panic about one resource, held off from all others.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::{ObjectKey, Outcome};

/// Judges one resource so that a panic there stops the judgement of no other.
pub(super) fn guarded(key: &ObjectKey, outcome: &mut Outcome, judge: impl FnOnce(&mut Outcome)) {
    // What a panic leaves half-written is the memory of this one resource, and that is only there to be quiet.
    let judged = catch_unwind(AssertUnwindSafe(|| judge(outcome)));
    if let Err(panic) = judged {
        let words = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        outcome.panics.push((key.clone(), words.unwrap_or("without a word").to_owned()));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::panic)]
    use super::*;
    use crate::reconcile::{Step, samples};

    #[test]
    fn a_panic_about_one_resource_is_told_and_stops_no_other() {
        let (broken, sound) = (samples::activation_key(), samples::destination_key());
        let mut outcome = Outcome::default();
        guarded(&broken, &mut outcome, |_| panic!("no rule for {}", 7));
        guarded(&sound, &mut outcome, |outcome| {
            outcome.steps.push((sound.clone(), Step::Resync { request: String::new() }));
        });
        assert_eq!(outcome.panics, [(broken, "no rule for 7".to_owned())]);
        assert_eq!(outcome.steps.len(), 1);
    }
}
