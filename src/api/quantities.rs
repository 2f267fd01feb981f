//! Types and pure parsing: durations (`10s`, `1h30m`, `50ms`), byte sizes (`1Mi`) and moments, as users write them.
//!
//! Each keeps the text it was given, so that what is written back is what came in. The bounds of a field are CEL rules
//! in the schema ([`duration_between`], [`size_between`]); the types accept exactly what the rules' patterns accept.

use std::{borrow::Cow, fmt, str::FromStr, time::Duration};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::{Value, json};

/// What a duration looks like, for CEL's `matches` and for [`DurationText`]: short enough that no sum overflows.
pub const DURATION_PATTERN: &str = "^([0-9]{1,5}([.][0-9]{1,3})?(ms|s|m|h))+$";
/// What a byte size looks like, for CEL's `matches` and for [`ByteSize`].
pub const SIZE_PATTERN: &str = "^[0-9]{1,9}(k|Ki|M|Mi)?$";
/// What a moment looks like: what every reader of RFC 3339 agrees on. An API server's own `date-time` is wider, and its rules
/// and ours then cannot read what it took.
pub const MOMENT_PATTERN: &str =
    "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]{1,9})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$";
/// The longest text of a duration or a size.
const MAX_TEXT: usize = 32;

/// Why a text is no duration, size or moment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// Not a sum of numbers with units.
    #[error("{0:?} is not a duration; write a number and a unit (ms, s, m, h), such as 10s, 50ms or 1h30m")]
    Duration(String),
    /// Not a whole number with a suffix.
    #[error("{0:?} is not a size in bytes; write a whole number and a suffix (k, Ki, M, Mi), such as 1Mi")]
    Size(String),
    /// Not RFC 3339.
    #[error("{0:?} is not a time; write it as in 2026-01-02T03:04:05Z")]
    Moment(String),
}

/// A duration as Go and Kubernetes write it: numbers with the units `ms`, `s`, `m`, `h`, summed up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DurationText {
    text: String,
    value: Duration,
}

impl DurationText {
    /// The duration itself.
    pub fn duration(&self) -> Duration {
        self.value
    }

    /// The text, as written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// For defaults: whole seconds.
    pub(crate) fn seconds(seconds: u64) -> Self {
        let (number, unit) = match seconds {
            s if s > 0 && s % 3600 == 0 => (s / 3600, "h"),
            s if s > 0 && s % 60 == 0 => (s / 60, "m"),
            s => (s, "s"),
        };
        Self { text: format!("{number}{unit}"), value: Duration::from_secs(seconds) }
    }

    /// For defaults: milliseconds.
    pub(crate) fn millis(millis: u64) -> Self {
        Self { text: format!("{millis}ms"), value: Duration::from_millis(millis) }
    }
}

impl FromStr for DurationText {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let refuse = || QuantityError::Duration(text.chars().take(MAX_TEXT).collect());
        if text.is_empty() || text.len() > MAX_TEXT {
            return Err(refuse());
        }
        let (mut rest, mut micros) = (text, 0u64);
        while !rest.is_empty() {
            let (whole, after) = digits(rest, 5).ok_or_else(refuse)?;
            let (fraction, after) = match after.strip_prefix('.') {
                Some(after) => digits(after, 3).ok_or_else(refuse)?,
                None => ("0", after),
            };
            // `ms` before `m`: the longer unit first.
            let (unit, after) = [("ms", 1_000), ("s", 1_000_000), ("m", 60_000_000), ("h", 3_600_000_000u64)]
                .into_iter()
                .find_map(|(name, micros)| after.strip_prefix(name).map(|after| (micros, after)))
                .ok_or_else(refuse)?;
            let whole: u64 = whole.parse().map_err(|_| refuse())?;
            let thousandths: u64 = format!("{fraction:0<3}").parse().map_err(|_| refuse())?;
            micros += whole * unit + thousandths * unit / 1_000;
            rest = after;
        }
        Ok(Self { text: text.to_owned(), value: Duration::from_micros(micros) })
    }
}

/// The leading run of digits, one to `most` of them, and what follows it.
fn digits(text: &str, most: usize) -> Option<(&str, &str)> {
    let end = text.bytes().take_while(u8::is_ascii_digit).count();
    (1..=most).contains(&end).then(|| text.split_at(end))
}

/// A number of bytes, with a decimal (`k`, `M`) or a binary (`Ki`, `Mi`) suffix or none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ByteSize {
    text: String,
    bytes: u64,
}

impl ByteSize {
    /// The number of bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The text, as written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// For defaults: mebibytes.
    pub(crate) fn mebibytes(mebibytes: u64) -> Self {
        Self { text: format!("{mebibytes}Mi"), bytes: mebibytes << 20 }
    }
}

impl FromStr for ByteSize {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let refuse = || QuantityError::Size(text.chars().take(MAX_TEXT).collect());
        let (number, suffix) = digits(text, 9).ok_or_else(refuse)?;
        let factor: u64 = match suffix {
            "" => 1,
            "k" => 1_000,
            "Ki" => 1 << 10,
            "M" => 1_000_000,
            "Mi" => 1 << 20,
            _ => return Err(refuse()),
        };
        let number: u64 = number.parse().map_err(|_| refuse())?;
        Ok(Self { text: text.to_owned(), bytes: number * factor })
    }
}

/// A moment, in whole milliseconds since the epoch; written in RFC 3339, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(jiff::Timestamp);

impl Moment {
    /// From milliseconds since the epoch; beyond the year 9999 (or before -9999) it stays at that end.
    pub fn from_millis(millis: i64) -> Self {
        let end = if millis < 0 { jiff::Timestamp::MIN } else { jiff::Timestamp::MAX };
        Self(jiff::Timestamp::from_millisecond(millis).unwrap_or(end))
    }

    /// Milliseconds since the epoch.
    pub fn millis(self) -> i64 {
        self.0.as_millisecond()
    }
}

impl From<jiff::Timestamp> for Moment {
    fn from(timestamp: jiff::Timestamp) -> Self {
        Self::from_millis(timestamp.as_millisecond())
    }
}

impl From<Moment> for jiff::Timestamp {
    fn from(moment: Moment) -> Self {
        moment.0
    }
}

impl FromStr for Moment {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let timestamp: jiff::Timestamp =
            text.parse().map_err(|_| QuantityError::Moment(text.chars().take(MAX_TEXT).collect()))?;
        Ok(Self::from(timestamp))
    }
}

impl fmt::Display for DurationText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Serialised as its text, deserialised by its parser, a bounded string in the schema.
macro_rules! textual {
    ($type:ident, $schema:tt) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(de::Error::custom)
            }
        }

        impl JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    };
}

textual!(DurationText, { "type": "string", "maxLength": MAX_TEXT });
textual!(ByteSize, { "type": "string", "maxLength": MAX_TEXT });
textual!(Moment, { "type": "string", "format": "date-time", "pattern": MOMENT_PATTERN });

/// The CEL rule that keeps the duration `field` between `least` and `most`, both included.
pub(crate) fn duration_between(field: &str, least: &str, most: &str, example: &str) -> Value {
    json!([{
        "rule": format!(
            "self.matches('{DURATION_PATTERN}') && duration(self) >= duration('{least}') && duration(self) <= duration('{most}')"
        ),
        "message": format!("{field} must be a duration from {least} to {most}, such as {example}"),
    }])
}

/// The CEL rule that keeps the byte size `field` between `least` and `most`, both included.
pub(crate) fn size_between(field: &str, least: &str, most: &str, example: &str) -> Value {
    json!([{
        "rule": format!(
            "self.matches('{SIZE_PATTERN}') && quantity(self).compareTo(quantity('{least}')) >= 0 && \
             quantity(self).compareTo(quantity('{most}')) <= 0"
        ),
        "message": format!("{field} must be a size from {least} to {most} bytes, such as {example}"),
    }])
}

/// The CEL rule that keeps the moment `field` where every reader has a calendar. An API server takes a list for a `date-time`
/// until a rule looks at it.
pub(crate) fn is_moment(field: &str) -> Value {
    json!([{
        "rule": "self >= timestamp('0001-01-01T00:00:00Z') && self < timestamp('9999-01-01T00:00:00Z')",
        "message": format!("{field} must be a time from the year 1 to the year 9998, such as 2026-01-02T03:04:05Z"),
    }])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn durations_read_as_go_reads_them() {
        let cases =
            [("0s", 0), ("50ms", 50), ("1.5s", 1500), ("10m", 600_000), ("1h30m", 5_400_000), ("1m1s1ms", 61_001)];
        for (text, millis) in cases {
            assert_eq!(text.parse::<DurationText>().unwrap().duration(), Duration::from_millis(millis), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused_with_an_example() {
        for text in ["", "10", "s", "-1s", "1 s", "1.s", ".5s", "1d", "1us", "100000h", "1.0001s", "1s "] {
            let error = text.parse::<DurationText>().unwrap_err();
            assert!(error.to_string().contains("such as 10s"), "{text}: {error}");
        }
    }

    #[test]
    fn the_longest_sum_of_durations_does_not_overflow() {
        let text = "99999h99999h99999h99999h99999h";
        assert_eq!(text.parse::<DurationText>().unwrap().duration(), Duration::from_hours(499_995));
    }

    #[test]
    fn sizes_read_as_kubernetes_reads_them() {
        for (text, bytes) in
            [("0", 0), ("1000", 1000), ("1k", 1000), ("1Ki", 1024), ("5M", 5_000_000), ("10Mi", 10_485_760)]
        {
            assert_eq!(text.parse::<ByteSize>().unwrap().bytes(), bytes, "{text}");
        }
        for text in ["", "Mi", "1.5Mi", "1Gi", "1mi", "-1", "1 Mi", "1000000000"] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_moment_keeps_its_milliseconds_and_nothing_finer() {
        let moment: Moment = "2026-01-02T03:04:05.123456+01:00".parse().unwrap();
        assert_eq!(moment.to_string(), "2026-01-02T02:04:05.123Z");
        assert_eq!(Moment::from_millis(moment.millis()), moment);
        assert!("yesterday".parse::<Moment>().is_err());
    }

    #[test]
    fn defaults_are_written_as_a_user_would() {
        for (made, text) in [
            (DurationText::seconds(10), "10s"),
            (DurationText::seconds(600), "10m"),
            (DurationText::seconds(3600), "1h"),
            (DurationText::millis(50), "50ms"),
        ] {
            assert_eq!(made, text.parse().unwrap());
        }
        assert_eq!(ByteSize::mebibytes(5), "5Mi".parse().unwrap());
    }
}
