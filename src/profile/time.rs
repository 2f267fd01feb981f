//! Types: instants as the domain reads and writes them. Pure; reads no clock.

use std::borrow::Cow;
use std::io::Write as _;

use jiff::civil::Date;
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

/// The same of a text that [`parse`] reads, as [`write`] would write it. Nearly every text is so already, and stays.
pub fn in_whole_seconds(text: Cow<'_, str>) -> Option<Cow<'_, str>> {
    if is_written_in_whole_seconds(text.as_bytes()) {
        return Some(text);
    }
    parse(&text).map(|time| Cow::Owned(whole_seconds(time).to_string()))
}

/// Whether a text is just what [`write`] writes of an instant on a whole second. False of years that hardly anyone lives in.
fn is_written_in_whole_seconds(text: &[u8]) -> bool {
    let [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2, b'T', h1, h2, b':', n1, n2, b':', s1, s2, b'Z'] = *text else {
        return false;
    };
    let digits = [y1, y2, y3, y4, m1, m2, d1, d2, h1, h2, n1, n2, s1, s2];
    let two = |tens: u8, ones: u8| 10 * i16::from(tens - b'0') + i16::from(ones - b'0');
    digits.iter().all(u8::is_ascii_digit)
        && matches!((y1, y2), (b'1', b'9') | (b'2', b'0'))
        && two(h1, h2) < 24
        && two(n1, n2) < 60
        && two(s1, s2) < 60
        && Date::new(100 * two(y1, y2) + two(y3, y4), two(m1, m2) as i8, two(d1, d2) as i8).is_ok()
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
    fn a_time_that_is_written_so_already_stays_and_every_other_becomes_it() {
        let same =
            |text: &'static str| matches!(in_whole_seconds(text.into()), Some(Cow::Borrowed(kept)) if kept == text);
        assert!(same("2026-01-02T03:04:05Z") && same("2024-02-29T23:59:59Z") && same("1999-12-31T00:00:00Z"));
        let becomes = |text: &'static str| in_whole_seconds(text.into()).map(Cow::into_owned);
        for (text, written) in [
            ("2026-01-02T03:04:05.987Z", Some("2026-01-02T03:04:05Z")),
            ("2026-01-02T03:04:05+0000", Some("2026-01-02T03:04:05Z")),
            ("2026-01-02t03:04:05z", Some("2026-01-02T03:04:05Z")),
            ("2026-01-02 03:04:05Z", Some("2026-01-02T03:04:05Z")),
            ("2016-12-31T23:59:60Z", Some("2016-12-31T23:59:59Z")),
            ("0001-01-01T00:00:00Z", Some("0001-01-01T00:00:00Z")),
            ("2026-02-29T03:04:05Z", None),
            ("2026-13-01T03:04:05Z", None),
            ("2026-01-00T03:04:05Z", None),
            ("2026-01-02T24:04:05Z", None),
            ("2026-01-02T03:60:05Z", None),
            ("2026-01-02T03:04:/5Z", None),
            ("2026-01-02T03:04:05", None),
        ] {
            assert_eq!(becomes(text).as_deref(), written, "{text}");
        }
    }

    #[test]
    fn an_exit_is_forgotten_when_thirty_days_have_passed() {
        let exit = parse("2026-01-01T00:00:00Z").unwrap();
        assert!(!forgotten(exit, parse("2026-01-30T23:59:59.999Z").unwrap()));
        assert!(forgotten(exit, parse("2026-01-31T00:00:00Z").unwrap()));
    }
}
