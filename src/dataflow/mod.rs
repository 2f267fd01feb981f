//! A dataflow: feed, export, sender, position. One worker per activation.
//!
//! [`progress`] is what a dataflow tells of itself.

pub mod progress;
