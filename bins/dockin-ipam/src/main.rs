//! The CNI plugin `dockin-ipam`: environment and standard input to `dockin_net`, its answer to
//! standard output. With the word `pool` it is the tool of operators.

mod pool;
mod shared;

use std::{io::Write, process::ExitCode};

use dockin_net::{
    io::{self, Host},
    ipam,
};

/// musl's own gives each size of objects pages of its own, and the kernel takes longer to find
/// those than a call takes to fill them.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

fn main() -> ExitCode {
    let words: Vec<_> = std::env::args().skip(1).collect();
    let done = match words.split_first() {
        Some((word, words)) if word == "pool" => operate(words),
        _ => io::answer(|environment, stdin| ipam::run(environment, stdin, &mut Host)),
    };
    done.unwrap_or_else(|error| {
        eprintln!("dockin-ipam: {error}");
        ExitCode::FAILURE
    })
}

fn operate(words: &[String]) -> std::io::Result<ExitCode> {
    let known: Vec<_> = words.iter().map(String::as_str).collect();
    let done = match known.as_slice() {
        ["--conf", file, words @ ..] => shared::run(file, words),
        _ => pool::run(words).map_err(|error| error.to_string()),
    };
    let text = match done {
        Ok(text) => text,
        Err(error) => {
            eprintln!("dockin-ipam: {error}");
            return Ok(ExitCode::FAILURE);
        }
    };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}
