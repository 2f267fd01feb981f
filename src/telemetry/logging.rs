//! Effects: the log of the process, on standard error, so that standard output stays what a command prints.

use std::io::IsTerminal as _;
use std::str::FromStr;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt as _;

/// How a line of the log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// For people: a line of text, in colour where the output is a terminal.
    #[default]
    Text,
    /// For collectors: one JSON object a line.
    Json,
}

impl FromStr for Format {
    type Err = LoggingError;

    fn from_str(text: &str) -> Result<Self, LoggingError> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            other => Err(LoggingError::Format(other.to_owned())),
        }
    }
}

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// Not a format.
    #[error("\"{0}\" is not a log format: give text or json")]
    Format(String),
    /// The filter cannot be read.
    #[error(
        "the log filter \"{filter}\" cannot be read: {source}: write it as info or info,activation_operator::hub=debug"
    )]
    Filter {
        /// What was given.
        filter: String,
        /// What is wrong with it.
        source: tracing_subscriber::filter::ParseError,
    },
    /// Something else in this process already writes one.
    #[error("the log is already set up: {0}")]
    Twice(#[from] tracing_subscriber::util::TryInitError),
}

/// Starts the log. `filter` is in the words of `RUST_LOG`: a level, or levels by module.
pub fn init(format: Format, filter: &str) -> Result<(), LoggingError> {
    let filter =
        EnvFilter::try_new(filter).map_err(|source| LoggingError::Filter { filter: filter.to_owned(), source })?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(format == Format::Text && std::io::stderr().is_terminal());
    match format {
        // Which module said it concerns whoever collects logs, and nobody who reads them.
        Format::Text => builder.with_target(false).finish().try_init()?,
        Format::Json => builder.json().flatten_event(true).finish().try_init()?,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_cannot_be_read_is_an_error_with_the_mend() {
        let error = init(Format::Text, "hub=loudly").unwrap_err().to_string();
        assert!(error.contains("\"hub=loudly\"") && error.contains("write it as info"), "{error}");
        assert!("xml".parse::<Format>().unwrap_err().to_string().contains("text or json"));
    }

    #[test]
    fn a_second_log_is_refused_and_breaks_nothing() {
        init(Format::Json, "off").unwrap();
        assert!(matches!(init(Format::Text, "info"), Err(LoggingError::Twice(_))));
    }
}
