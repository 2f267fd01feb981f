//! Effect: the `kinesis-stub` program. Starts, says where it listens, runs until told to stop.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use kinesis_stub::{Stub, cli::Arguments};
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kinesis-stub: {error}{}", error.source().map(|cause| format!(": {cause}")).unwrap_or_default());
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<(), Box<dyn std::error::Error>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let stub = Stub::start(arguments.into()).await?;
    println!("{}", serde_json::json!({"listening": stub.url()}));
    // Whoever started us waits for the line, also through a pipe.
    std::io::stdout().flush()?;
    tokio::select! {
        _ = terminate.recv() => {}
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    stub.shutdown().await?;
    Ok(())
}
