//! Effects: the store's journal, as a power failure left it. A write that was not answered may be there in part: some of its
//! sectors reached the disk, others did not. Such a write is cut off here, before the store is opened; the store itself takes
//! one with a hole in it for damage, and one with a hole and whole writes behind for the end.
//!
//! A file of batches: `1 count:u32 seqno:u64`, so many items, `3 checksum:u64 "FJL" 3`; then zeros that were allocated ahead. An
//! item is `2 type compression keyspace:u64 key:u16 value:u32 stored:u32`, key and stored value, or `4 keyspace:u64`. Numbers are
//! little-endian; the checksum is the XXH3 of the items as they stand.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_64;

const TRAILER: &[u8] = b"FJL\x03";

/// The journal that is written to, as it is on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Journal {
    /// Its file.
    pub path: PathBuf,
    /// Writes that are whole, from the first on.
    pub whole_writes: u64,
    /// Their bytes.
    pub whole_bytes: u64,
    /// What follows them, where that is not nothing.
    pub tear: Option<Tear>,
}

/// What follows the whole writes and is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tear {
    /// Bytes to the last that is not zero.
    pub bytes: u64,
    /// Writes behind it that are whole. A power failure that tears what was not answered leaves none, but for writes that nobody
    /// waited for; with some, what is torn may have been answered.
    pub whole_writes_behind: u64,
}

/// Looks at the journal of the store in `folder`; `None` where there is none.
pub fn survey(folder: &Path) -> io::Result<Option<Journal>> {
    let Some(path) = newest(folder)? else { return Ok(None) };
    let content = fs::read(&path)?;
    let (mut whole_writes, mut end) = (0, 0);
    while let Some(next) = batch(&content, end) {
        (whole_writes, end) = (whole_writes + 1, next);
    }
    let used = used(&content);
    let tear =
        (used > end).then(|| Tear { bytes: (used - end) as u64, whole_writes_behind: behind(&content, end, used) });
    Ok(Some(Journal { path, whole_writes, whole_bytes: end as u64, tear }))
}

/// How long it is without the zeros at its end, of which there are many: they are compared by the block.
fn used(content: &[u8]) -> usize {
    const ZEROS: [u8; 4096] = [0; 4096];
    let blocks = content.rchunks(ZEROS.len()).take_while(|block| ZEROS.starts_with(block));
    let rest = content.len() - blocks.map(<[u8]>::len).sum::<usize>();
    let rest = content.get(..rest).unwrap_or_default();
    rest.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
}

/// Cuts off what follows the whole writes.
pub fn cut(journal: &Journal) -> io::Result<()> {
    let file = File::options().write(true).open(&journal.path)?;
    file.set_len(journal.whole_bytes)?;
    file.sync_all()
}

/// The journal that is written to: that of the highest number. The others were made durable before it was begun.
fn newest(folder: &Path) -> io::Result<Option<PathBuf>> {
    let mut newest: Option<(u64, PathBuf)> = None;
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        entries => entries?,
    };
    for entry in entries {
        let path = entry?.path();
        let number = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".jnl")?.parse().ok());
        if let Some(number) = number.filter(|number| newest.as_ref().is_none_or(|(known, _)| known < number)) {
            newest = Some((number, path));
        }
    }
    Ok(newest.map(|(_, path)| path))
}

/// Whole batches behind what is torn at `from`: each begins behind the trailer of another.
fn behind(content: &[u8], from: usize, used: usize) -> u64 {
    let (mut found, mut at) = (0, from);
    while at < used {
        if let Some(next) = content.get(at..used).filter(|_| at > from).and_then(|_| batch(content, at)) {
            (found, at) = (found + 1, next);
            continue;
        }
        let rest = content.get(at..used).unwrap_or_default();
        match rest.windows(TRAILER.len()).position(|window| window == TRAILER) {
            Some(place) => at += place + TRAILER.len(),
            None => break,
        }
    }
    found
}

/// Where the batch at `at` ends, if it is there and whole.
fn batch(content: &[u8], at: usize) -> Option<usize> {
    let mut reader = Reader { content, at };
    if reader.byte()? != 1 {
        return None;
    }
    let count = u32::from_le_bytes(reader.take()?);
    reader.skip(8)?;
    let items = reader.at;
    for _ in 0..count {
        match reader.byte()? {
            2 => {
                reader.skip(2 + 8)?;
                let key = u16::from_le_bytes(reader.take()?);
                reader.skip(4)?;
                let stored = u32::from_le_bytes(reader.take()?);
                reader.skip(usize::from(key) + stored as usize)?;
            }
            4 => reader.skip(8)?,
            _ => return None,
        }
    }
    let sum = xxh3_64(content.get(items..reader.at)?);
    if reader.byte()? != 3 || u64::from_le_bytes(reader.take()?) != sum {
        return None;
    }
    (reader.take::<4>()? == *TRAILER).then_some(reader.at)
}

struct Reader<'a> {
    content: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn take<const COUNT: usize>(&mut self) -> Option<[u8; COUNT]> {
        let bytes = self.content.get(self.at..self.at.checked_add(COUNT)?)?.try_into().ok()?;
        self.at += COUNT;
        Some(bytes)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take().map(|[byte]| byte)
    }

    fn skip(&mut self, count: usize) -> Option<()> {
        self.at = self.at.checked_add(count).filter(|at| *at <= self.content.len())?;
        Some(())
    }
}
