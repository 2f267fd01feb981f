//! Effects: what the disk says.

use std::io;
use std::path::Path;

use super::{RESERVED_DISK_BYTES, StoreError};

/// Fails where the disk that holds `path` is about to be full. A disk that does not say is taken to have room.
pub(super) fn check(path: &Path) -> Result<(), StoreError> {
    let Ok(disk) = rustix::fs::statvfs(path) else { return Ok(()) };
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    if free < RESERVED_DISK_BYTES { Err(StoreError::Full { free }) } else { Ok(()) }
}

/// Fails where nothing can be written into the folder, before the store tries and leaves half of itself behind.
pub(super) fn probe_writable(path: &Path) -> io::Result<()> {
    let probe = path.join(".writable");
    std::fs::write(&probe, b"")?;
    std::fs::remove_file(&probe)
}
