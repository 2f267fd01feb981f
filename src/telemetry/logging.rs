//! Effects: the log of the process, on standard error, so that standard output stays what a command prints.

use std::io::IsTerminal as _;
use std::str::FromStr;

use tracing::{Dispatch, Subscriber};
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::reload::Handle;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Registry, fmt, reload};

/// What is logged unless something else is asked for: what the store does inside concerns nobody, and what the client of an API
/// server tells of each try is told once by whoever asked.
pub const QUIET: &str = "info,fjall=warn,lsm_tree=warn,kube_client=off,kube_runtime=off,tower=off";

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
    /// There is no log any more.
    #[error("what is logged cannot be changed any more: {0}")]
    Gone(#[from] reload::Error),
}

/// What is logged, to be changed while the process runs. Cheap to clone.
#[derive(Clone)]
pub struct Filter(Handle<EnvFilter, Registry>);

impl Filter {
    /// Logs by another filter from now on.
    pub fn set(&self, filter: &str) -> Result<(), LoggingError> {
        self.0.reload(parse(filter)?)?;
        tracing::info!(filter, "what is logged was changed");
        Ok(())
    }

    /// The filter in force.
    pub fn shown(&self) -> Result<String, LoggingError> {
        Ok(self.0.with_current(ToString::to_string)?)
    }
}

fn parse(filter: &str) -> Result<EnvFilter, LoggingError> {
    EnvFilter::try_new(filter).map_err(|source| LoggingError::Filter { filter: filter.to_owned(), source })
}

/// Starts the log. `filter` is in the words of `RUST_LOG`: a level, or levels by module.
pub fn init(format: Format, filter: &str) -> Result<Filter, LoggingError> {
    let colours = format == Format::Text && std::io::stderr().is_terminal();
    let (log, filter) = lines(format, filter, colours, std::io::stderr)?;
    log.try_init()?;
    Ok(filter)
}

/// What [`init`] starts, writing elsewhere: for whoever starts it otherwise.
pub fn lines<W>(
    format: Format,
    filter: &str,
    colours: bool,
    writer: W,
) -> Result<(impl Subscriber + Into<Dispatch>, Filter), LoggingError>
where
    W: for<'a> fmt::MakeWriter<'a> + Send + Sync + 'static,
{
    let (filter, handle) = reload::Layer::new(parse(filter)?);
    let lines = fmt::layer().with_writer(writer).with_ansi(colours);
    let lines = match format {
        // Which module said it concerns whoever collects logs, and nobody who reads them.
        Format::Text => lines.with_target(false).boxed(),
        Format::Json => lines.json().flatten_event(true).boxed(),
    };
    Ok((tracing_subscriber::registry().with(filter).with(lines), Filter(handle)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_cannot_be_read_is_an_error_with_the_mend() {
        let error = init(Format::Text, "hub=loudly").err().unwrap().to_string();
        assert!(error.contains("\"hub=loudly\"") && error.contains("write it as info"), "{error}");
        assert!("xml".parse::<Format>().unwrap_err().to_string().contains("text or json"));
    }

    #[test]
    fn a_second_log_is_refused_and_breaks_nothing() {
        let filter = init(Format::Json, "off").unwrap();
        assert_eq!(filter.shown().unwrap(), "off");
        filter.set("off,activation_operator::hub=error").unwrap();
        assert_eq!(filter.shown().unwrap(), "activation_operator::hub=error,off");
        assert!(matches!(filter.set("hub=loudly"), Err(LoggingError::Filter { .. })));
        assert!(matches!(init(Format::Text, "info"), Err(LoggingError::Twice(_))));
    }
}
