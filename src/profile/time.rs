//! Types: instants as the domain reads and writes them. Pure; reads no clock.

use std::io::Write as _;

use jiff::{RoundMode, SignedDuration, Timestamp, TimestampRound, Unit};

/// How long an exited membership is remembered (`semantics 4.4`).
pub const EXIT_REMEMBERED: SignedDuration = SignedDuration::from_hours(30 * 24);

/// Reads RFC 3339 with `Z`, `+00:00` or `+0000`, with or without fractions of a second (`semantics 1.7`).
pub fn parse(text: &str) -> Option<Timestamp> {
    text.parse().ok()
}

/// The instant at or before `time` on a whole second.
pub fn whole_seconds(time: Timestamp) -> Timestamp {
    let down = TimestampRound::new().smallest(Unit::Second).mode(RoundMode::Floor);
    time.round(down).unwrap_or(time)
}

/// The instant at or before `time` on a whole microsecond: the precision of a change's receipt.
pub fn whole_micros(time: Timestamp) -> Timestamp {
    let down = TimestampRound::new().smallest(Unit::Microsecond).mode(RoundMode::Floor);
    time.round(down).unwrap_or(time)
}

/// Appends the instant as a JSON string in UTC with `Z`.
pub fn write(out: &mut Vec<u8>, time: Timestamp) {
    out.push(b'"');
    // A `Vec` takes every write.
    let _ = write!(out, "{time}");
    out.push(b'"');
}

/// Whether an exit at `exited_at` is forgotten by a change at `time`.
pub fn forgotten(exited_at: Timestamp, time: Timestamp) -> bool {
    time.duration_since(exited_at) >= EXIT_REMEMBERED
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_three_spellings_of_utc_and_any_offset_are_read() {
        for text in [
            "2026-01-02T03:04:05Z",
            "2026-01-02T03:04:05.987+00:00",
            "2026-01-02T03:04:05.1+0000",
            "2026-01-02T05:04:05+02:00",
        ] {
            assert_eq!(whole_seconds(parse(text).unwrap()).to_string(), "2026-01-02T03:04:05Z", "{text}");
        }
        assert_eq!(parse("yesterday"), None);
        assert_eq!(parse("2026-01-02"), None);
    }

    #[test]
    fn seconds_round_down_before_the_epoch_too() {
        assert_eq!(whole_seconds(parse("1969-12-31T23:59:58.5Z").unwrap()).to_string(), "1969-12-31T23:59:58Z");
    }

    #[test]
    fn an_exit_is_forgotten_when_thirty_days_have_passed() {
        let exit = parse("2026-01-01T00:00:00Z").unwrap();
        assert!(!forgotten(exit, parse("2026-01-30T23:59:59.999Z").unwrap()));
        assert!(forgotten(exit, parse("2026-01-31T00:00:00Z").unwrap()));
    }
}
