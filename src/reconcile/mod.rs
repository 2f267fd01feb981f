//! From resources to running dataflows: the middle that both shells share. Pure: asks no network and no clock.
//!
//! One file per step. [`inventory`] is what a shell has found: a folder's manifests, or an API server's objects. [`mapping`]
//! is what a dataflow exports, made of an activation and its destination.

pub mod alerts;
pub mod dereference;
pub mod inventory;
pub mod mapping;
pub mod observe;
pub mod plan;
pub mod probe;
pub mod status;
pub mod validate;

#[cfg(test)]
pub(crate) mod samples;
