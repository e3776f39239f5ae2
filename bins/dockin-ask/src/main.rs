//! `dockin-ask`: one question of `dockin-cni` to a resource manager behind HTTPS. The question is
//! on standard input, the answer goes to standard output.
//!
//! A program of its own, because a plugin that carries TLS starts twice as slowly and takes half a
//! megabyte more, also where nothing is asked.

use std::{
    io::{Read, Write},
    process::ExitCode,
};

use dockin_net::io::{ASK_LATER, answer_question};

/// A question names an address and a few files.
const MAX_QUESTION: u64 = 64 * 1024;

fn main() -> ExitCode {
    let mut question = Vec::new();
    let read = std::io::stdin()
        .lock()
        .take(MAX_QUESTION)
        .read_to_end(&mut question);
    if let Err(error) = read {
        eprint!("{error}");
        return ExitCode::FAILURE;
    }
    match answer_question(&question) {
        Ok(answer) => match std::io::stdout().write_all(&answer) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        },
        Err(error) => {
            eprint!("{}", error.message);
            match error.later {
                true => ExitCode::from(ASK_LATER),
                false => ExitCode::FAILURE,
            }
        }
    }
}
