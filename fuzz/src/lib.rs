//! The targets, for libFuzzer.

pub mod shapes;
pub mod targets;
