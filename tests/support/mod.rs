//! What integration tests share. A test says `mod support;` and takes what it needs.

// Every test is a crate of its own and uses its part of this.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, dead_code)]

pub(crate) mod controlplane;
pub(crate) mod independent;
pub(crate) mod operator;
pub(crate) mod servers;
