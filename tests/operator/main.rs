//! `activation-operator run` as it is shipped: the real binary, a real API server, and a Kinesis that checks what arrives.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, unreachable_pub)]

mod applying;
mod deleting;
mod editing;
mod healing;
mod outage;
mod restarting;
mod rights;
mod scale;
#[path = "../support/mod.rs"]
mod support;
mod verdicts;
mod world;
