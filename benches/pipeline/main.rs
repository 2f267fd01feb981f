//! What the data path does on this machine, beside what it stands on: `cargo bench --bench pipeline -- [export|ingest|latency]`.
//!
//! Prints Markdown; asserts counts and never a speed. Reading order: [`corpus`] (what goes through), [`flow`] (the dataflow as
//! production runs it), [`stub`] (the stream); then [`export`], [`ingest`], [`latency`]; [`report`] judges.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod corpus;
mod export;
mod flow;
mod ingest;
mod latency;
mod machine;
mod report;
mod stub;

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

/// As the program has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures the data path.
#[derive(Debug, Parser)]
pub(crate) struct Arguments {
    /// What to measure; everything where nothing is named
    parts: Vec<Part>,
    /// Times that export and the plain SDK take turns
    #[arg(long, env = "ROUNDS", default_value_t = 5)]
    rounds: usize,
    /// Changes of one round of the export
    #[arg(long, env = "CHANGES", default_value_t = 200_000)]
    changes: u64,
    /// Profiles that those changes, and the updates of the latency, are of
    #[arg(long, env = "PROFILES", default_value_t = 100_000)]
    profiles: u64,
    /// Times that the hub and the bare store take turns
    #[arg(long, env = "INGEST_ROUNDS", default_value_t = 3)]
    ingest_rounds: usize,
    /// Updates of one round of the ingest; at least as many as profiles that they are of
    #[arg(long, env = "UPDATES", default_value_t = 200_000)]
    updates: u64,
    /// Updates per second of the latency
    #[arg(long, env = "RATE", default_value_t = 10_000)]
    rate: u64,
    /// How long they go on
    #[arg(long, env = "SECONDS", default_value_t = 60)]
    seconds: u64,
    /// Puts the figures between the two markers of this file too
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
    /// What `cargo bench` says
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    Export,
    Ingest,
    Latency,
}

fn main() {
    let arguments = Arguments::parse();
    let mut report = report::Report::new(machine::describe());
    let asked = |part| arguments.parts.is_empty() || arguments.parts.contains(&part);
    if asked(Part::Export) {
        export::measure(&arguments, &mut report);
    }
    if asked(Part::Ingest) {
        ingest::measure(&arguments, &mut report);
    }
    if asked(Part::Latency) {
        latency::measure(&arguments, &mut report);
    }
    let text = report.markdown();
    println!("{text}");
    if let Some(path) = &arguments.write {
        report::put_between_markers(path, &text);
    }
}

/// The runtime as the program builds it.
pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap()
}

/// A folder on the disk of the build, not in memory.
pub(crate) fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}
