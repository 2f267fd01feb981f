//! Effects: bearer tokens from a file, one a line, taken up anew when the file changes.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq as _};

use crate::telemetry::clock;

/// How often the file is looked at, at most: a token that was taken out is refused after that.
const RELOAD_EVERY: Duration = Duration::from_secs(1);

/// The largest token file, in bytes.
const MAX_FILE_BYTES: usize = 1 << 20;

/// Why there are no tokens.
#[derive(Debug, thiserror::Error)]
pub enum TokenFileError {
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
    pub fn load(path: &Path) -> Result<Self, TokenFileError> {
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

fn read(path: &Path) -> Result<Vec<[u8; 32]>, TokenFileError> {
    let text = std::fs::read(path).map_err(|source| TokenFileError::Unreadable { path: path.to_owned(), source })?;
    if text.len() > MAX_FILE_BYTES {
        return Err(TokenFileError::TooLarge(path.to_owned()));
    }
    let digests: Vec<[u8; 32]> = text
        .split(|byte| *byte == b'\n')
        .map(<[u8]>::trim_ascii)
        .filter(|line| !line.is_empty())
        .map(|line| Sha256::digest(line).into())
        .collect();
    if digests.is_empty() { Err(TokenFileError::Empty(path.to_owned())) } else { Ok(digests) }
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
        assert!(matches!(Tokens::load(&path), Err(TokenFileError::Unreadable { .. })));
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
