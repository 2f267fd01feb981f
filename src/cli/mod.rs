//! The command line: parsed here, carried out by the modules of its commands.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub mod preview;

/// Activates audiences to Amazon Kinesis Data Streams, declared as Kubernetes resources
#[derive(Debug, Parser)]
#[command(name = "activation-operator", version, propagate_version = true)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Preview(preview::PreviewArguments),
}

/// Carries out what was asked for.
pub fn run(arguments: Arguments) -> ExitCode {
    match arguments.command {
        Command::Preview(arguments) => preview::run(&arguments),
    }
}
