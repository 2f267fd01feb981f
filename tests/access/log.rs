//! The log of these tests, everything that anybody says in this process, in memory: no token may be in it.

use std::io::{self, Write};
use std::sync::{Mutex, OnceLock};

use activation_operator::telemetry::logging::{self, Filter, Format};

static SAID: Mutex<Vec<u8>> = Mutex::new(Vec::new());
static TOKENS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Starts the log, once for all tests.
pub(crate) fn filter() -> Filter {
    static FILTER: OnceLock<Filter> = OnceLock::new();
    let start = || {
        let (log, filter) = logging::lines(Format::Json, "trace", false, || Said).unwrap();
        tracing::dispatcher::set_global_default(log.into()).unwrap();
        filter
    };
    FILTER.get_or_init(start).clone()
}

/// A token that must not be told from now on, by its last part: the others hold no secret.
pub(crate) fn keep_secret(token: &str) {
    let secret = token.rsplit('.').next().unwrap();
    assert!(secret.len() > 16, "too short to be told from other text");
    TOKENS.lock().unwrap().push(secret.to_owned());
}

pub(crate) fn assert_no_token(text: &str) {
    for token in &*TOKENS.lock().unwrap() {
        assert!(!text.contains(token.as_str()), "a token was told");
    }
}

/// That nothing of what was said up to now holds a token, and that something was said at all.
pub(crate) fn assert_nothing_was_told() {
    let said = String::from_utf8_lossy(&SAID.lock().unwrap()).into_owned();
    assert!(said.contains("\"TRACE\"") && said.contains("tokenreviews"), "the log is not heard");
    assert_no_token(&said);
}

/// How many lines of what was said are such.
pub(crate) fn count(is: impl Fn(&str) -> bool) -> usize {
    String::from_utf8_lossy(&SAID.lock().unwrap()).lines().filter(|line| is(line)).count()
}

struct Said;

impl Write for Said {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        SAID.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
