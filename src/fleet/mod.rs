//! What both shells do with what `reconcile` decides: run the dataflows, ask AWS, forget what nobody needs any more.
//!
//! Reading order: [`Driver`] (one look at the world and what follows from it), then what it drives: the dataflows, and the
//! probes with their [`bucket`]. A shell finds the inventory and shows what comes of it.

pub mod bucket;
mod dataflows;
mod driver;
mod measure;
mod probes;

pub use driver::{Driver, DriverError, Look, Means, Settings};
