//! Alerts, from what happens to the webhook: each type fires once and resolves once, and noise changes nothing about that.
//!
//! `scripted` goes through hours in a moment: what a dataflow tells is scripted, the rest is the program's. `running` is the binary
//! itself, for what can be provoked within minutes. Signatures are verified by somebody else's code.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod receiver;
mod running;
mod scripted;
#[path = "../support/mod.rs"]
mod support;
#[allow(dead_code)]
#[path = "../standalone/world.rs"]
mod world;
