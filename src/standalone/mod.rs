//! The shell without a cluster: the same manifests from a folder, everything in one process.
//!
//! [`manifests`] reads the folder. [`preview`] exports updates in memory, without a stream.

pub mod lines;
pub mod manifests;
pub mod preview;
