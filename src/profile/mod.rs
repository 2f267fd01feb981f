//! The domain: profiles, the updates that producers send, and the changes that updates make. Pure.
//!
//! Reading order: [`update`] (what comes in), [`entity`] (what is kept), [`merge`] (state and change),
//! [`change`] (the public contract between the profile stage and the export stage). [`json`], [`path`], [`strings`] and [`time`] are
//! the values they are made of.

pub mod apply;
pub mod change;
pub mod entity;
pub mod json;
pub mod merge;
pub mod path;
pub mod strings;
pub mod time;
pub mod update;

/// The largest update line, and the largest merged profile, in bytes (1 MiB).
pub const MAX_PROFILE_BYTES: usize = 1 << 20;

/// The deepest nesting of objects and arrays that is read.
pub const MAX_DEPTH: usize = 128;

/// The reserved member of an entity that holds the identities.
pub const IDENTITY_MAP: &str = "identityMap";

/// The reserved member of an entity that holds the audience memberships.
pub const SEGMENT_MEMBERSHIP: &str = "segmentMembership";
