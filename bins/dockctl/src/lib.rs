//! The command line of Dockin, under the names `dockctl` and `dockin-opsctl`.
//!
//! What is written (`low_args`) is checked and completed from the kubeconfig (`high_args`),
//! then one module of `command` does it. Results go to standard output, all else to standard
//! error; the exit code says whose fault a failure is (`failure`).

mod archive;
mod client;
mod command;
mod escape;
mod failure;
mod forward;
mod high_args;
mod kubeconfig;
mod login;
mod low_args;
mod printable;
mod saved_session;
mod session;
mod stdio;
mod table;
mod target;
mod terminal;

use std::{env, ffi::OsString, path::Path, process::ExitCode};

use clap::{CommandFactory as _, FromArgMatches as _};

use crate::{high_args::HighArgs, low_args::LowArgs};

/// Runs the command line of this process and gives its exit code.
#[must_use]
pub fn run() -> ExitCode {
    client::install_provider();
    let arguments: Vec<OsString> = env::args_os().collect();
    // The demo starts this program as its helpers; some of them enter namespaces, which takes a
    // process with one thread.
    if let Some(code) = command::demo::helper(&arguments) {
        return ExitCode::from(code);
    }
    let name = program_name(arguments.first());
    let low = match LowArgs::command()
        .name(name)
        .try_get_matches_from(arguments)
        .and_then(|matches| LowArgs::from_arg_matches(&matches))
    {
        Ok(low) => low,
        Err(error) => {
            // Help goes to standard output with 0, the rest to standard error with 2.
            let _closed = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(failure::USAGE));
        }
    };
    match HighArgs::check(low).and_then(command::run) {
        Ok(code) => code,
        Err(failure) => {
            if let Some(message) = failure.message() {
                eprintln!("{message}");
            }
            ExitCode::from(failure.code())
        }
    }
}

/// The name that help and errors use: the one we were called by, if it is one of ours.
fn program_name(first: Option<&OsString>) -> &'static str {
    match first.and_then(|first| Path::new(first).file_stem()) {
        Some(stem) if stem == "dockin-opsctl" => "dockin-opsctl",
        _ => "dockctl",
    }
}
