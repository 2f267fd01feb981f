//! Effects: bearer tokens from a file, one a line, taken up anew when the file changes.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::Response;
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq as _};

use super::{body, problem};
use crate::telemetry::clock;

/// How often the file is looked at, at most: a token that was taken out is refused after that.
const RELOAD_EVERY: Duration = Duration::from_secs(1);

/// The largest token file, in bytes.
const MAX_FILE_BYTES: usize = 1 << 20;

/// Why there are no tokens.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// The file cannot be read.
    #[error("token file {path} cannot be read: {source}: check --token-file, and that this user may read it")]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Nothing in it.
    #[error("token file {0} holds no token: write one token a line")]
    Empty(PathBuf),
    /// Not a token file.
    #[error("token file {0} is over 1 MiB: it holds one token a line and nothing else")]
    TooLarge(PathBuf),
}

/// The tokens that are let in. Cheap to clone. Holds their digests alone.
#[derive(Clone)]
pub struct Tokens {
    path: Arc<Path>,
    state: Arc<Mutex<Loaded>>,
}

struct Loaded {
    digests: Vec<[u8; 32]>,
    looked_at: Duration,
}

impl Tokens {
    /// Reads the file.
    pub fn load(path: &Path) -> Result<Self, AuthError> {
        let state = Loaded { digests: read(path)?, looked_at: clock::monotonic() };
        Ok(Self { path: path.into(), state: Arc::new(Mutex::new(state)) })
    }

    /// Whether the token is one of them. Takes as long for a wrong one as for a right one.
    pub fn allow(&self, token: &str) -> bool {
        let digest: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = clock::monotonic();
        if now.saturating_sub(state.looked_at) >= RELOAD_EVERY {
            state.looked_at = now;
            match read(&self.path) {
                Ok(digests) => state.digests = digests,
                // The tokens that were good stay so: a file that is being replaced must not lock everybody out.
                Err(error) => tracing::warn!(%error, "the tokens read before stay in force"),
            }
        }
        let found = state.digests.iter().fold(Choice::from(0), |found, known| found | known.ct_eq(&digest));
        found.into()
    }
}

fn read(path: &Path) -> Result<Vec<[u8; 32]>, AuthError> {
    let text = std::fs::read(path).map_err(|source| AuthError::Unreadable { path: path.to_owned(), source })?;
    if text.len() > MAX_FILE_BYTES {
        return Err(AuthError::TooLarge(path.to_owned()));
    }
    let digests: Vec<[u8; 32]> = text
        .split(|byte| *byte == b'\n')
        .map(<[u8]>::trim_ascii)
        .filter(|line| !line.is_empty())
        .map(|line| Sha256::digest(line).into())
        .collect();
    if digests.is_empty() { Err(AuthError::Empty(path.to_owned())) } else { Ok(digests) }
}

/// Asks for a token before any of the routes is reached.
pub(super) fn guard(router: Router, tokens: Tokens) -> Router {
    router.layer(middleware::from_fn_with_state(tokens, require_token))
}

async fn require_token(State(tokens): State<Tokens>, request: Request, next: Next) -> Response {
    let given = request.headers().get(header::AUTHORIZATION).map(|value| value.to_str().unwrap_or_default());
    let token = given.and_then(bearer);
    if token.is_some_and(|token| tokens.allow(token)) {
        return next.run(request).await;
    }
    let refused = refuse(given.is_some());
    // Else a client that is still sending never gets to read the answer.
    let (head, body) = request.into_parts();
    body::pass_over(&head.headers, body).await;
    refused
}

/// The token of an `Authorization` header, if it is of that scheme.
fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

fn refuse(given: bool) -> Response {
    let (challenge, error) = if given {
        (
            "Bearer error=\"invalid_token\"",
            "the token is not known: send one of the token file's as Authorization: Bearer TOKEN",
        )
    } else {
        ("Bearer", "no token: send it as Authorization: Bearer TOKEN")
    };
    let mut response = problem(StatusCode::UNAUTHORIZED, error);
    response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    response
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_line_is_a_token_and_nothing_else_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens");
        std::fs::write(&path, "first-token\r\n\n  second-token  \n").unwrap();
        let tokens = Tokens::load(&path).unwrap();
        assert!(tokens.allow("first-token") && tokens.allow("second-token"));
        for wrong in ["", "first", "first-token ", "first-token\nsecond-token", "third-token"] {
            assert!(!tokens.allow(wrong), "{wrong:?}");
        }
    }

    #[test]
    fn a_file_without_a_token_is_refused_with_the_mend() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens");
        assert!(matches!(Tokens::load(&path), Err(AuthError::Unreadable { .. })));
        std::fs::write(&path, "\n \n").unwrap();
        let message = Tokens::load(&path).err().unwrap().to_string();
        assert!(message.ends_with("holds no token: write one token a line"), "{message}");
    }

    #[test]
    fn a_changed_file_is_taken_up_and_an_emptied_one_locks_nobody_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens");
        std::fs::write(&path, "old").unwrap();
        let tokens = Tokens::load(&path).unwrap();
        std::fs::write(&path, "new").unwrap();
        std::thread::sleep(RELOAD_EVERY);
        assert!(!tokens.allow("old") && tokens.allow("new"));
        std::fs::write(&path, "").unwrap();
        std::thread::sleep(RELOAD_EVERY);
        assert!(tokens.allow("new"));
    }
}
