//! Effects: `activation-operator preview`: manifests and updates in, the records that they would export out.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, IsTerminal as _, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use jiff::Timestamp;

use crate::profile::time;
use crate::standalone::lines::Lines;
use crate::standalone::manifests;
use crate::standalone::preview::{LineError, Preview};
use crate::telemetry::clock;

/// Shows which records updates would export, without a stream, a Secret, a right or a cluster
///
/// Prints one JSON line per live export, in the order of the updates, then of the activations as they are listed: line,
/// activation, stream, partitionKey, triggers, record. Nothing is sent and nothing is kept. Mapping times come from the status
/// that a manifest carries. A suspended activation is previewed like any other; nothing is backfilled.
///
/// A line that is no update is told on standard error as `line N: reason`; the rest goes on, and the exit code is 1. Where a
/// manifest is refused, nothing is previewed.
#[derive(Debug, clap::Args)]
pub struct PreviewArguments {
    /// Manifests of destinations and activations: a file, or a folder of *.yaml, *.yml and *.json
    #[arg(short = 'f', long = "filename", value_name = "FILE|DIR")]
    filename: PathBuf,
    /// Profile updates, one JSON object a line; - reads standard input
    #[arg(long, value_name = "FILE|-")]
    updates: PathBuf,
    /// The moment at which every update is received and exported, in RFC 3339 [default: the clock]
    #[arg(long, value_name = "TIME", value_parser = moment)]
    now: Option<Timestamp>,
}

fn moment(text: &str) -> Result<Timestamp, &'static str> {
    time::parse(text).ok_or("write it as 2026-01-02T03:04:05Z")
}

/// Why a preview ended before its updates did.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("{path}: the updates cannot be read: {cause}")]
    Updates { path: String, cause: io::Error },
    #[error("the records cannot be written: {0}")]
    Output(#[from] io::Error),
}

/// Carries it out.
pub fn run(arguments: &PreviewArguments) -> ExitCode {
    let set = manifests::read(&arguments.filename);
    for problem in &set.problems {
        let kind = if problem.ignored { "note: " } else { "" };
        eprintln!("{kind}{problem}");
    }
    if set.has_refusal() {
        return ExitCode::FAILURE;
    }
    let mut preview = match Preview::new(&set) {
        Ok(preview) => preview,
        Err(errors) => {
            for error in errors {
                eprintln!("{error}");
            }
            return ExitCode::FAILURE;
        }
    };
    let stdout = io::stdout();
    // People see each record when it is made; a pipe takes them by the block.
    let outcome = if stdout.is_terminal() {
        export(arguments, &mut preview, &mut stdout.lock())
    } else {
        let mut buffered = BufWriter::with_capacity(1 << 16, stdout.lock());
        let outcome = export(arguments, &mut preview, &mut buffered);
        outcome.and_then(|refused| Ok(buffered.flush().map(|()| refused)?))
    };
    match outcome {
        Ok(refused) => {
            if preview.excluded() > 0 {
                eprintln!("note: left out for lack of a required attribute: {}", preview.excluded());
            }
            if refused == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        // Whoever read the records has seen enough.
        Err(Ended::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Exports update by update; how many were refused.
fn export(arguments: &PreviewArguments, preview: &mut Preview, out: &mut dyn Write) -> Result<u64, Ended> {
    let unreadable = |cause| Ended::Updates { path: arguments.updates.display().to_string(), cause };
    let reader: Box<dyn BufRead> = if arguments.updates.as_os_str() == "-" {
        Box::new(io::stdin().lock())
    } else {
        Box::new(BufReader::with_capacity(1 << 20, File::open(&arguments.updates).map_err(unreadable)?))
    };
    let mut lines = Lines::new(reader);
    let (mut refused, mut records) = (0, Vec::new());
    while let Some(line) = lines.read().map_err(unreadable)? {
        let now = arguments.now.unwrap_or_else(clock::now);
        let previewed = match line.text {
            Ok(text) => preview.update(text, now),
            Err(error) => Err(LineError::from(error)),
        };
        match previewed {
            Ok(previewed) => {
                records.clear();
                for export in &previewed {
                    export.write(line.number, &mut records);
                }
                out.write_all(&records)?;
            }
            Err(error) => {
                refused += 1;
                eprintln!("line {}: {error}", line.number);
            }
        }
    }
    Ok(refused)
}
