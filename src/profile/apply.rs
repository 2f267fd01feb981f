//! Pure: one update applied to a stored profile, from text to text: the new state, the change line, the index edits.

use jiff::Timestamp;

use super::change::Change;
use super::entity::Entity;
use super::json::JsonError;
use super::merge::{self, IndexEdit, Merged};
use super::update::Update;
use super::{MAX_PROFILE_BYTES, time};

/// What an update leaves to be written, all of it or nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// The entity afterwards as JSON text; for a delete, the one before it.
    pub entity: Vec<u8>,
    /// The change as one line of JSON, without a newline.
    pub change: Vec<u8>,
    /// What becomes of the membership index.
    pub index: Vec<IndexEdit>,
    /// Whether the profile is gone.
    pub deleted: bool,
}

/// Why an update could not be applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// The merged profile is over the limit (`semantics 1.8`).
    #[error(
        "the merged profile would be {0} bytes long; at most {MAX_PROFILE_BYTES} (1 MiB) are kept: remove attributes with null"
    )]
    TooLarge(usize),
    /// The stored profile cannot be read.
    #[error("the stored profile is damaged: {0}")]
    Stored(JsonError),
}

/// Applies `update` to the stored entity `before` it. `version` and `now` are the change's position and receipt. `None` where
/// there is nothing to do.
pub fn apply(
    before: Option<&str>,
    update: Update<'_>,
    version: u64,
    now: Timestamp,
) -> Result<Option<Applied>, ApplyError> {
    let now = time::whole_micros(now);
    let before = before.map(Entity::parse).transpose().map_err(ApplyError::Stored)?;
    let (profile_id, merge_policy_id) = (update.profile_id.clone(), update.merge_policy_id.clone());
    let Some(Merged { entity, changed, index, deleted }) = merge::merge(before, update, now) else {
        return Ok(None);
    };
    let mut text = Vec::with_capacity(1024);
    entity.write(&mut text);
    if text.len() > MAX_PROFILE_BYTES {
        return Err(ApplyError::TooLarge(text.len()));
    }
    // Written from text alone, so it is text.
    let profile = std::str::from_utf8(&text).unwrap_or("{}");
    let change = Change { profile_id, merge_policy_id, version, time: now, changed, profile, deleted };
    let mut line = Vec::with_capacity(text.len() + 512);
    change.write(&mut line);
    Ok(Some(Applied { entity: text, change: line, index, deleted }))
}
