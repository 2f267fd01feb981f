//! The export stage: from a change to at most one record. Pure.
//!
//! Reading order: [`mapping`] (what an activation maps), [`trigger`] (does a change count), `view` (what of a
//! profile is asked for), [`projection`] (the record), [`partition_key`]. `semantics 3` and `4`.

pub mod mapping;
pub mod partition_key;
pub mod projection;
pub mod trigger;
mod view;

pub use mapping::{Mapping, MappingSpec};
pub use projection::{Export, Projected};
pub use trigger::Triggers;
