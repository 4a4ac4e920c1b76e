//! Parses the arguments, runs one command, and turns its end into an exit code.

use std::process::ExitCode;

use clap::Parser;
use labrun::cli::{Arguments, Exit, is_closed_pipe, remark, sentence};

fn main() -> ExitCode {
    match Arguments::parse().run() {
        Ok(exit) => exit.into(),
        Err(error) if is_closed_pipe(&error) => Exit::Done.into(),
        Err(error) => {
            remark(format_args!("labrun: {}", sentence(&error)));
            Exit::of(&error).into()
        }
    }
}
