//! The CNI plugin `dockin-cni`: environment and standard input to `dockin_net`, its answer to
//! standard output.

use std::{
    io::{Read, Write},
    process::ExitCode,
};

/// A network configuration is a few kilobytes; more than this is no configuration.
const MAX_CONFIG: u64 = 1024 * 1024;

fn main() -> ExitCode {
    let command = std::env::var("CNI_COMMAND").ok();
    let mut stdin = Vec::new();
    if let Err(error) = std::io::stdin()
        .lock()
        .take(MAX_CONFIG)
        .read_to_end(&mut stdin)
    {
        eprintln!("dockin-cni: standard input: {error}");
        return ExitCode::FAILURE;
    }
    let outcome = dockin_net::cni::run(command.as_deref(), &stdin);
    if let Err(error) = writeln!(std::io::stdout(), "{}", outcome.stdout) {
        eprintln!("dockin-cni: standard output: {error}");
        return ExitCode::FAILURE;
    }
    ExitCode::from(outcome.exit_code)
}
