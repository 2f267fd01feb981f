//! Effects: a file of profile updates, or standard input, taken up by the hub like any others. How far a file is read is kept
//! with what it wrote, so a restart goes on where it was.

use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::fs::File;
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncSeekExt as _, BufReader};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::export::partition_key::sha256_hex;
use crate::hub::Hub;
use crate::hub::ingest::{IngestError, Request, Source};
use crate::profile::MAX_PROFILE_BYTES;
use crate::store::StoreError;

/// One request to the hub (512 KiB of lines).
const REQUEST_BYTES: usize = 512 << 10;
/// What tells one file from another that later has its name: the hash of its first bytes.
const FINGERPRINT_BYTES: usize = 4096;
/// Lines that are read ahead.
const LINES_AHEAD: usize = 1024;
/// How many refused lines are told one by one.
const MAX_TOLD: u64 = 100;

/// Where updates come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Updates {
    /// A file of NDJSON, read once to its end.
    File(PathBuf),
    /// Standard input, until it is closed.
    Stdin,
}

/// What became of the updates.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Taken {
    /// Lines that were taken up.
    pub accepted: u64,
    /// Lines that were refused, each told on standard error up to the first hundred.
    pub rejected: u64,
}

/// Why updates could not be read or taken up.
#[derive(Debug, thiserror::Error)]
pub enum UpdatesError {
    /// The file cannot be read.
    #[error("updates {place}: {source}: check that the file exists and that this user may read it")]
    Read {
        /// Which file.
        place: String,
        /// Why.
        source: io::Error,
    },
    /// The hub refuses.
    #[error("updates {place}: {source}")]
    Ingest {
        /// Which file.
        place: String,
        /// Why.
        source: IngestError,
    },
    /// How far the file was read is not known.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// How far a file is read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Position {
    /// The hash of the file's first bytes.
    fingerprint: String,
    /// How many bytes that is the hash of.
    covers: usize,
    /// Behind the last line that was taken up.
    offset: u64,
    /// How many lines that is.
    line: u64,
}

/// A source of lines, read ahead by a task of its own.
struct Lines {
    place: String,
    /// Under which name its position is kept; standard input has none.
    name: Option<String>,
    position: Position,
    ahead: mpsc::Receiver<io::Result<Line>>,
    _reader: AbortOnDropHandle<()>,
}

struct Line {
    /// With its newline, save the last.
    text: Vec<u8>,
    /// What it takes in the file: more than its text where that was cut.
    length: u64,
}

/// Takes up everything from `updates`, and returns at its end or when told to stop. `progress` hears of every request.
pub async fn take_up(
    updates: &Updates,
    hub: &Hub,
    stop: &CancellationToken,
    mut progress: impl FnMut(Taken),
) -> Result<Taken, UpdatesError> {
    let mut lines = match updates {
        Updates::File(path) => open(path, hub).await?,
        Updates::Stdin => Lines::start(tokio::io::stdin(), "standard input".to_owned(), None, Position::default()),
    };
    let mut taken = Taken::default();
    loop {
        let first_line = lines.position.line + 1;
        let body = tokio::select! {
            () = stop.cancelled() => return Ok(taken),
            body = lines.read() => body.map_err(|source| UpdatesError::Read { place: lines.place.clone(), source })?,
        };
        if body.is_empty() {
            return Ok(taken);
        }
        let request = Request { body, idempotency_key: None, source: lines.keep() };
        let answer = hub
            .ingest_waiting(request)
            .await
            .map_err(|source| UpdatesError::Ingest { place: lines.place.clone(), source })?;
        for (told, rejected) in (taken.rejected..).zip(&answer.rejected) {
            if told < MAX_TOLD {
                eprintln!("{}: line {}: {}", lines.place, first_line + rejected.line - 1, rejected.error);
            } else if told == MAX_TOLD {
                eprintln!("{}: further refused lines are only counted", lines.place);
            }
        }
        taken.accepted += answer.accepted;
        taken.rejected += answer.rejected_count;
        progress(taken);
    }
}

async fn open(path: &Path, hub: &Hub) -> Result<Lines, UpdatesError> {
    let place = path.display().to_string();
    let unreadable = |source| UpdatesError::Read { place: place.clone(), source };
    let name = tokio::fs::canonicalize(path).await.map_err(unreadable)?.display().to_string();
    let mut file = File::open(path).await.map_err(unreadable)?;
    let mut first = Vec::with_capacity(FINGERPRINT_BYTES);
    (&mut file).take(FINGERPRINT_BYTES as u64).read_to_end(&mut first).await.map_err(unreadable)?;
    let length = file.metadata().await.map_err(unreadable)?.len();
    let known = hub.store().source(&name)?.and_then(|kept| serde_json::from_slice::<Position>(&kept).ok());
    let position = known
        .filter(|known| {
            known.offset <= length
                && first.get(..known.covers).is_some_and(|first| fingerprint(first) == known.fingerprint)
        })
        .unwrap_or_else(|| Position { fingerprint: fingerprint(&first), covers: first.len(), offset: 0, line: 0 });
    if position.offset > 0 {
        tracing::info!(file = place, line = position.line, "updates were read up to here before");
    }
    file.seek(io::SeekFrom::Start(position.offset)).await.map_err(unreadable)?;
    Ok(Lines::start(file, place.clone(), Some(name), position))
}

fn fingerprint(first: &[u8]) -> String {
    sha256_hex(first, 16)
}

impl Lines {
    fn start(
        source: impl AsyncRead + Send + Unpin + 'static,
        place: String,
        name: Option<String>,
        position: Position,
    ) -> Self {
        let (out, ahead) = mpsc::channel(LINES_AHEAD);
        let source = BufReader::with_capacity(1 << 20, source);
        let reader = AbortOnDropHandle::new(tokio::spawn(read_lines(source, out)));
        Self { place, name, position, ahead, _reader: reader }
    }

    /// The lines that are there, about [`REQUEST_BYTES`] of them and at least one; empty at the end.
    async fn read(&mut self) -> io::Result<Bytes> {
        let mut body = Vec::new();
        let mut next = self.ahead.recv().await;
        while let Some(line) = next {
            let line = line?;
            self.position.offset += line.length;
            self.position.line += 1;
            body.extend_from_slice(&line.text);
            if body.len() >= REQUEST_BYTES {
                break;
            }
            next = self.ahead.try_recv().ok();
        }
        Ok(Bytes::from(body))
    }

    fn keep(&self) -> Option<Source> {
        let name = self.name.clone()?;
        let progress = serde_json::to_vec(&self.position).ok()?;
        Some(Source { name, progress })
    }
}

async fn read_lines(mut source: impl AsyncBufRead + Unpin, out: mpsc::Sender<io::Result<Line>>) {
    loop {
        let line = match read_line(&mut source).await {
            Ok(line) if line.text.is_empty() => return,
            line => line,
        };
        let failed = line.is_err();
        if out.send(line).await.is_err() || failed {
            return;
        }
    }
}

/// One line with its newline; empty at the end. Of one that is too long so much as the hub needs to refuse it.
async fn read_line(source: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Line> {
    let limit = MAX_PROFILE_BYTES + 2;
    let mut text = Vec::new();
    let mut length = 0;
    loop {
        let (end, more) = {
            let buffer = source.fill_buf().await?;
            let (end, more) = match memchr(buffer) {
                Some(at) => (true, at + 1),
                None => (buffer.is_empty(), buffer.len()),
            };
            let room = limit.saturating_sub(text.len());
            text.extend_from_slice(buffer.get(..more.min(room)).unwrap_or_default());
            (end, more)
        };
        source.consume(more);
        length += more as u64;
        if end {
            if length > text.len() as u64 {
                text.pop();
                text.push(b'\n');
            }
            return Ok(Line { text, length });
        }
    }
}

fn memchr(buffer: &[u8]) -> Option<usize> {
    buffer.iter().position(|byte| *byte == b'\n')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    async fn lines(text: &[u8]) -> Vec<(usize, u64)> {
        let mut source = BufReader::with_capacity(7, text);
        let mut found = Vec::new();
        loop {
            let line = read_line(&mut source).await.unwrap();
            if line.text.is_empty() {
                return found;
            }
            found.push((line.text.len(), line.length));
        }
    }

    #[tokio::test]
    async fn lines_come_whole_and_the_last_needs_no_newline() {
        assert_eq!(lines(b"first line\n\nthird").await, [(11, 11), (1, 1), (5, 5)]);
    }

    #[tokio::test]
    async fn of_a_line_that_is_too_long_only_so_much_is_kept_as_tells_it() {
        let mut text = vec![b'x'; 3 * MAX_PROFILE_BYTES];
        text.extend_from_slice(b"\nshort\n");
        let found = lines(&text).await;
        assert_eq!(found, [(MAX_PROFILE_BYTES + 2, 3 * MAX_PROFILE_BYTES as u64 + 1), (6, 6)]);
    }

    #[tokio::test]
    async fn a_file_is_gone_on_with_where_it_was_and_another_of_its_name_begins_anew() {
        let folder = tempfile::tempdir().unwrap();
        let (hub, writer) =
            Hub::start(crate::store::Store::open(&folder.path().join("data"), 1 << 20).unwrap()).unwrap();
        let path = folder.path().join("updates.ndjson");
        let update =
            |id: u32| format!("{{\"header\":{{\"profileId\":\"p{id}\"}},\"body\":{{\"xdmEntity\":{{\"n\":{id}}}}}}}\n");
        let stop = CancellationToken::new();
        let updates = Updates::File(path.clone());
        std::fs::write(&path, update(1) + "nonsense\n" + &update(2)).unwrap();
        let taken = take_up(&updates, &hub, &stop, |_| ()).await.unwrap();
        assert_eq!(taken, Taken { accepted: 2, rejected: 1 });
        assert_eq!(take_up(&updates, &hub, &stop, |_| ()).await.unwrap(), Taken::default());
        std::fs::write(&path, update(1) + "nonsense\n" + &update(2) + &update(3)).unwrap();
        assert_eq!(take_up(&updates, &hub, &stop, |_| ()).await.unwrap().accepted, 1);
        std::fs::write(&path, update(9) + &update(8) + &update(7) + &update(6) + &update(5)).unwrap();
        assert_eq!(take_up(&updates, &hub, &stop, |_| ()).await.unwrap().accepted, 5);
        drop(hub);
        writer.join().unwrap();
    }
}
