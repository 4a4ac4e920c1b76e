//! Parses the arguments, runs one command, and turns its end into an exit code.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let arguments = labrun::cli::Arguments::parse();
    match arguments.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("labrun: {error:#}");
            ExitCode::FAILURE
        }
    }
}
