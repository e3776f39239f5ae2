use std::{
    fs::File,
    io::{self, Read, Write},
    os::fd::AsFd,
    process::ExitCode,
};

use crate::cni::{CniError, Environment, ErrorCode, Outcome, Version};

/// A network configuration is a few kilobytes; more than this is no configuration.
const MAX_CONFIG: usize = 1024 * 1024;

/// Answers the call that this process was started for: its variables and standard input to `run`,
/// the outcome to its standard streams.
///
/// # Errors
///
/// The outcome cannot be written; a configuration that cannot be read is told to the runtime.
pub fn answer(run: impl FnOnce(&Environment, &[u8]) -> Outcome) -> io::Result<ExitCode> {
    let environment = Environment::read(|name| {
        std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
    });
    let config = match environment.command.as_str() {
        "" | "VERSION" => Ok(Vec::new()),
        _ => read_config(),
    };
    let outcome = match config {
        Ok(config) => run(&environment, &config),
        Err(error) => Outcome {
            stdout: error.to_json(Version::NEWEST.as_str()),
            exit_code: 1,
            ..Outcome::default()
        },
    };
    io::stderr().write_all(outcome.stderr.as_bytes())?;
    let mut stdout = io::stdout();
    if !outcome.stdout.is_empty() {
        writeln!(stdout, "{}", outcome.stdout)?;
    }
    stdout.flush()?;
    Ok(ExitCode::from(outcome.exit_code))
}

fn read_config() -> Result<Vec<u8>, CniError> {
    let wrong =
        |code, what: &dyn std::fmt::Display| CniError::new(code, format!("standard input: {what}"));
    let mut config = Vec::new();
    let mut read = || {
        // Without the buffer of `Stdin`, whose pages nothing else would touch.
        let input = File::from(io::stdin().as_fd().try_clone_to_owned()?);
        input.take(MAX_CONFIG as u64 + 1).read_to_end(&mut config)
    };
    read().map_err(|error| wrong(ErrorCode::IO, &error))?;
    if config.len() > MAX_CONFIG {
        let limit = format_args!("more than {MAX_CONFIG} bytes are no network configuration");
        return Err(wrong(ErrorCode::UNDECODABLE, &limit));
    }
    Ok(config)
}
