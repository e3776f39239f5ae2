//! The CNI plugin `dockin-cni`: environment and standard input to `dockin_net`, its answer to
//! standard output.

use std::{
    io::{Read, Write},
    os::unix::fs::MetadataExt,
    process::ExitCode,
};

use dockin_net::{
    Attachment,
    cni::{self, CniError, CniResult, Environment, ErrorCode, Plugin, Request},
};

/// A network configuration is a few kilobytes; more than this is no configuration.
const MAX_CONFIG: u64 = 1024 * 1024;

/// Keeps the contract; says of the work that this build does not do it.
struct Contract;

fn not_implemented<T>() -> Result<T, CniError> {
    Err(CniError::new(
        ErrorCode::NOT_IMPLEMENTED,
        "not implemented yet: this build answers VERSION alone",
    ))
}

impl Plugin for Contract {
    fn add(&mut self, _: &Request<'_>, _: &Attachment) -> Result<CniResult, CniError> {
        not_implemented()
    }

    fn del(&mut self, _: &Request<'_>, _: &Attachment) -> Result<(), CniError> {
        not_implemented()
    }

    fn check(&mut self, _: &Request<'_>, _: &Attachment) -> Result<(), CniError> {
        not_implemented()
    }

    fn collect(&mut self, _: &Request<'_>) -> Result<(), CniError> {
        not_implemented()
    }

    fn status(&mut self, _: &Request<'_>) -> Result<(), CniError> {
        not_implemented()
    }

    fn is_own_namespace(&mut self, path: &str) -> bool {
        let identity = |path| std::fs::metadata(path).map(|it| (it.dev(), it.ino()));
        matches!((identity(path), identity("/proc/self/ns/net")), (Ok(a), Ok(b)) if a == b)
    }
}

fn main() -> ExitCode {
    answer().unwrap_or_else(|error| {
        eprintln!("dockin-cni: {error}");
        ExitCode::FAILURE
    })
}

fn answer() -> std::io::Result<ExitCode> {
    let environment = Environment::read(|name| {
        std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
    });
    let mut stdin = Vec::new();
    if !matches!(environment.command.as_str(), "" | "VERSION") {
        std::io::stdin()
            .lock()
            .take(MAX_CONFIG)
            .read_to_end(&mut stdin)?;
    }
    let about = concat!("dockin-cni ", env!("CARGO_PKG_VERSION"));
    let outcome = cni::run(&environment, &stdin, about, &mut Contract);
    std::io::stderr().write_all(outcome.stderr.as_bytes())?;
    let mut stdout = std::io::stdout();
    if !outcome.stdout.is_empty() {
        writeln!(stdout, "{}", outcome.stdout)?;
    }
    stdout.flush()?;
    Ok(ExitCode::from(outcome.exit_code))
}
