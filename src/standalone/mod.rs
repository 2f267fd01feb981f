//! The shell without a cluster: the same manifests from a folder, everything in one process.
//!
//! Reading order: [`manifests`] (what is declared), [`shell`] (the loop), [`updates`] (what comes in beside HTTP), [`publish`] and
//! [`board`] (what is shown). [`preview`] shows what updates would export, and runs nothing.

pub mod board;
mod folder;
pub mod lines;
pub mod manifests;
pub mod preview;
pub mod publish;
pub mod shell;
mod summary;
pub mod updates;

pub use summary::Summary;
