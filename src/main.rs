//! The `activation-operator` program.

use std::process::ExitCode;

use activation_operator::cli;
use clap::Parser as _;

fn main() -> ExitCode {
    cli::run(cli::Arguments::parse())
}
