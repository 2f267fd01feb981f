//! The export stage: from a change to at most one record. Pure.
//!
//! Reading order: [`mapping`] (what an activation maps), [`trigger`] (does a change count), [`projection`] (the record),
//! [`partition_key`]. `semantics 3` and `4`.

pub mod mapping;
pub mod partition_key;
pub mod projection;
pub mod trigger;

pub use mapping::{Mapping, MappingSpec};
pub use projection::{Export, Projected};
pub use trigger::Triggers;
