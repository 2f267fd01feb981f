//! Effects: an NDJSON file (or standard input) of changes, the public contract, as a feed. A position is a byte offset.
//!
//! A file is read to its end and no further; standard input until it is closed. A line that is broken off at the end of the
//! file is not a change yet, and is told.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Seek as _};
use std::path::{Path, PathBuf};

use bytes::{Buf as _, Bytes, BytesMut};

use super::{Feed, FeedError, Item};

/// The longest line, in bytes (4 MiB): a profile of 1 MiB, what it wrote, and room.
const MAX_LINE: usize = 4 << 20;

/// So much is read at once (1 MiB): each read wakes three tasks.
const BLOCK: usize = 1 << 20;

/// Blocks that are looked at before a new one is made: those that a reader is ahead of its worker, and some more.
const KEPT: usize = 5;

type Source = Box<dyn Read + Send>;

/// A file of changes.
pub struct ChangeFile {
    path: Option<PathBuf>,
    /// Not there while it is read from.
    source: Option<Source>,
    /// What was read and not handed out yet. Changes are handed out as slices of it.
    rest: Bytes,
    /// So much of it holds no end of a line.
    searched: usize,
    /// The blocks that were read last, the oldest first. One that nobody holds a slice of any more is read into again.
    blocks: VecDeque<Bytes>,
    /// The offset at which `rest` begins.
    offset: u64,
    /// The offset of the end as far as it is known.
    end: u64,
    ended: bool,
}

impl ChangeFile {
    /// Opens a file.
    pub async fn open(path: &Path) -> io::Result<Self> {
        let mut feed = Self::of(None);
        feed.path = Some(path.to_owned());
        feed.seek(0).await?;
        Ok(feed)
    }

    /// Reads standard input, which can't be read twice: a worker that restarts goes on with what comes.
    pub fn stdin() -> Self {
        Self::of(Some(Box::new(io::stdin())))
    }

    fn of(source: Option<Source>) -> Self {
        Self {
            path: None,
            source,
            rest: Bytes::new(),
            searched: 0,
            blocks: VecDeque::new(),
            offset: 0,
            end: 0,
            ended: false,
        }
    }

    async fn seek(&mut self, position: u64) -> io::Result<()> {
        let Some(path) = self.path.clone() else {
            // Offsets of a stream count on from where the checkpoint was.
            self.offset = position;
            return Ok(());
        };
        let opened = tokio::task::spawn_blocking(move || {
            let mut file = File::open(&path)?;
            file.seek(io::SeekFrom::Start(position))?;
            let end = file.metadata()?.len();
            Ok::<_, io::Error>((file, end))
        });
        let (file, end) = opened.await??;
        self.source = Some(Box::new(file));
        (self.offset, self.end) = (position, end);
        (self.rest, self.searched, self.ended) = (Bytes::new(), 0, false);
        Ok(())
    }

    /// What there is, at least one line of it; nothing at the end.
    async fn read_lines(&mut self, limit: usize, max_bytes: usize) -> io::Result<Vec<Item>> {
        let (mut items, mut bytes) = (Vec::new(), 0);
        while items.len() < limit && bytes < max_bytes {
            let Some(mut line) = self.next_line() else {
                if !items.is_empty() || self.ended {
                    break;
                }
                self.fill().await?;
                continue;
            };
            self.offset += line.len() as u64;
            line.truncate(line.trim_ascii_end().len());
            line.advance(line.len() - line.trim_ascii_start().len());
            if !line.is_empty() {
                bytes += line.len();
                items.push(Item { next: self.offset, change: line });
            }
        }
        self.end = self.end.max(self.offset);
        Ok(items)
    }

    /// The line that comes next, its end included, if all of it is there.
    fn next_line(&mut self) -> Option<Bytes> {
        let unsearched = self.rest.get(self.searched..).unwrap_or_default();
        let length = match memchr::memchr(b'\n', unsearched) {
            Some(place) => self.searched + place + 1,
            None if self.ended && !self.rest.is_empty() => self.rest.len(),
            None => {
                self.searched = self.rest.len();
                return None;
            }
        };
        self.searched = 0;
        Some(self.rest.split_to(length))
    }

    /// Reads on: more of the rest, or the end.
    async fn fill(&mut self) -> io::Result<()> {
        let (at, held) = (self.offset, self.rest.len());
        if held >= MAX_LINE {
            return Err(io::Error::other(format!("the line at byte {at} is over {MAX_LINE} bytes")));
        }
        let mut source = self.source.take().ok_or_else(|| io::Error::other("an earlier read was broken off"))?;
        let mut block = self.block(BLOCK.max(2 * held));
        if let Some(beginning) = block.get_mut(..held) {
            beginning.copy_from_slice(&self.rest);
        }
        let reading = tokio::task::spawn_blocking(move || {
            let read = match block.get_mut(held..) {
                Some(room) => source.read(room),
                None => Ok(0),
            };
            (source, block, read)
        });
        let (source, block, read) = reading.await?;
        self.source = Some(source);
        let read = read?;
        let block = block.freeze();
        self.rest = block.slice(..held + read);
        self.blocks.push_back(block);
        if read == 0 {
            if held > 0 && serde_json::from_slice::<serde::de::IgnoredAny>(&self.rest).is_err() {
                return Err(io::Error::other(format!("the last line, at byte {at}, breaks off")));
            }
            self.ended = true;
        }
        Ok(())
    }

    /// A block of at least `size` bytes: an old one, if it is free and nothing was made larger for a long line.
    fn block(&mut self, size: usize) -> BytesMut {
        let oldest = if self.blocks.len() < KEPT { None } else { self.blocks.pop_front() };
        match oldest.map(Bytes::try_into_mut) {
            Some(Ok(block)) if block.len() == size => block,
            _ => BytesMut::zeroed(size),
        }
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
        self.read_lines(limit, max_bytes).await.map_err(unreachable)
    }

    async fn wait(&mut self, _position: u64) -> Result<(), FeedError> {
        if self.ended() {
            std::future::pending::<()>().await;
        }
        Ok(())
    }

    fn head(&self) -> u64 {
        self.end
    }

    fn ended(&self) -> bool {
        self.ended && self.rest.is_empty()
    }
}
