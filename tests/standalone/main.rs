//! `activation-operator standalone` as people meet it: the binary, a folder of manifests, a Kinesis, HTTP, signals.
//!
//! What is exported is judged elsewhere (`semantics`, `delivery`); here it is whether a person who edits files, reads statuses and
//! sends updates gets what the README says. No secret may show anywhere: `support::operator` reads everything again.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "../support/mod.rs"]
mod support;
mod world;

mod dead_letters;
mod editing;
mod healing;
mod refusals;
mod running;
mod updates;
