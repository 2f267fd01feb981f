//! Effects: an NDJSON file (or standard input) of changes, the public contract, as a feed. A position is a byte offset.
//!
//! A file is read to its end and no further; standard input until it is closed. A line that is broken off at the end of the
//! file is not a change yet, and is told.

use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use tokio::fs::File;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncSeekExt, BufReader};

use super::{Feed, FeedError, Item};

/// The longest line, in bytes (4 MiB): a profile of 1 MiB, what it wrote, and room.
const MAX_LINE: u64 = 4 << 20;

type Source = Box<dyn AsyncBufRead + Send + Unpin>;

/// A file of changes.
pub struct ChangeFile {
    path: Option<PathBuf>,
    source: Source,
    /// The offset of the next byte that `source` gives.
    offset: u64,
    /// The offset of the end as far as it is known.
    end: u64,
    ended: bool,
}

impl ChangeFile {
    /// Opens a file.
    pub async fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path).await?;
        let end = file.metadata().await?.len();
        let source: Source = Box::new(BufReader::with_capacity(1 << 20, file));
        Ok(Self { path: Some(path.to_owned()), source, offset: 0, end, ended: false })
    }

    /// Reads standard input, which can't be read twice: a worker that restarts goes on with what comes.
    pub fn stdin() -> Self {
        let source: Source = Box::new(BufReader::with_capacity(1 << 20, tokio::io::stdin()));
        Self { path: None, source, offset: 0, end: 0, ended: false }
    }

    async fn seek(&mut self, position: u64) -> io::Result<()> {
        let Some(path) = &self.path else {
            // Offsets of a stream count on from where the checkpoint was.
            self.offset = position;
            return Ok(());
        };
        let mut file = File::open(path).await?;
        self.end = file.metadata().await?.len();
        file.seek(io::SeekFrom::Start(position)).await?;
        self.source = Box::new(BufReader::with_capacity(1 << 20, file));
        self.offset = position;
        self.ended = false;
        Ok(())
    }

    async fn read_lines(&mut self, limit: usize, max_bytes: usize) -> io::Result<Vec<Item>> {
        let (mut items, mut bytes) = (Vec::new(), 0);
        while items.len() < limit && bytes < max_bytes {
            let mut line = Vec::new();
            let read = (&mut self.source).take(MAX_LINE).read_until(b'\n', &mut line).await? as u64;
            if line.last() != Some(&b'\n') {
                if read == MAX_LINE {
                    return Err(io::Error::other(format!("the line at byte {} is over {MAX_LINE} bytes", self.offset)));
                }
                if read > 0 && serde_json::from_slice::<serde::de::IgnoredAny>(&line).is_err() {
                    return Err(io::Error::other(format!("the last line, at byte {}, breaks off", self.offset)));
                }
                self.ended = true;
            }
            self.offset += read;
            let text = line.trim_ascii();
            if !text.is_empty() {
                bytes += text.len();
                items.push(Item { next: self.offset, change: Bytes::copy_from_slice(text) });
            }
            if self.ended {
                break;
            }
        }
        self.end = self.end.max(self.offset);
        Ok(items)
    }
}

impl Feed for ChangeFile {
    /// Bytes.
    const AHEAD: u64 = 1 << 30;

    async fn read(&mut self, position: u64, limit: usize, max_bytes: usize) -> Result<Vec<Item>, FeedError> {
        let unreachable = |error: io::Error| FeedError::Unreachable(error.to_string());
        if position != self.offset {
            self.seek(position).await.map_err(unreachable)?;
        }
        if self.ended {
            return Ok(Vec::new());
        }
        self.read_lines(limit, max_bytes).await.map_err(unreachable)
    }

    async fn wait(&mut self, _position: u64) -> Result<(), FeedError> {
        if self.ended {
            std::future::pending::<()>().await;
        }
        Ok(())
    }

    fn head(&self) -> u64 {
        self.end
    }

    fn ended(&self) -> bool {
        self.ended
    }
}
