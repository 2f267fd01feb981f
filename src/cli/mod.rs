//! The command line: parsed here, carried out by the modules of its commands.

pub mod crd;
pub mod dead_letters;
pub mod policy;
pub mod preview;
pub mod repair;
pub mod run;
pub mod standalone;

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Activates audiences to Amazon Kinesis Data Streams, declared as Kubernetes resources
#[derive(Debug, Parser)]
#[command(name = "activation-operator", version, propagate_version = true)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::RunArguments),
    Standalone(standalone::StandaloneArguments),
    Preview(preview::PreviewArguments),
    Policy(policy::PolicyArguments),
    DeadLetters(dead_letters::DeadLettersArguments),
    Repair(repair::RepairArguments),
    Crd(crd::CrdArguments),
}

/// Carries out what was asked for.
pub fn run(arguments: Arguments) -> ExitCode {
    match arguments.command {
        Command::Run(arguments) => run::run(arguments),
        Command::Standalone(arguments) => standalone::run(arguments),
        Command::DeadLetters(arguments) => dead_letters::run(&arguments),
        Command::Repair(arguments) => repair::run(&arguments),
        Command::Preview(arguments) => preview::run(&arguments),
        Command::Policy(arguments) => policy::run(&arguments),
        Command::Crd(arguments) => crd::run(&arguments),
    }
}

/// Writes to standard output. That the reader has gone away, as `head` does, is no error.
fn print(text: &str) -> io::Result<()> {
    let mut output = io::stdout().lock();
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}
