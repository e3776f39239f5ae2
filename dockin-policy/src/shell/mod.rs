//! Command lines: from bytes to the programs that they would run.

mod ast;
mod braces;
mod expand;
mod heredoc;
mod parse;
mod parser;
mod resolve;
mod session;
mod simple;
mod utility;
mod word;
mod wrapper;

pub(crate) use expand::Value;
pub(crate) use parse::parse;
pub(crate) use parser::ParseError;
pub(crate) use resolve::{Analysis, Resolved, analyze_argv, analyze_line};
pub use session::SessionState;
pub use utility::StdinProgram;
pub(crate) use utility::{base_name, stdin_program};

/// Whose grammar a line is read by. What differs is little; the parser takes what any of them
/// takes.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum Dialect {
    /// POSIX sh, dash.
    Sh,
    /// GNU bash.
    #[default]
    Bash,
    /// busybox ash.
    Busybox,
    /// zsh.
    Zsh,
}

/// Whether a shell would run a text now or wait for more of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
// Exhaustive: a caller must handle each.
pub enum Completeness {
    /// It would run.
    Complete,
    /// It would wait: an open quote, an `if` without `fi`, a here-document without its end.
    NeedsMore,
    /// It would complain.
    Malformed {
        /// Byte offset.
        offset: usize,
    },
}

/// Whether `text`, with or without its last new line, is a whole command.
#[must_use]
pub fn is_complete(text: &[u8], _dialect: Dialect) -> Completeness {
    // The new line that submits a line is part of it for a trailing backslash.
    let text = match text {
        [rest @ .., b'\\', b'\n'] if !ends_escaped(rest) => return Completeness::NeedsMore,
        text => text,
    };
    match parse(text) {
        Ok(_) => Completeness::Complete,
        Err(ParseError::Incomplete) => Completeness::NeedsMore,
        Err(ParseError::Malformed { offset } | ParseError::TooDeep { offset }) => {
            Completeness::Malformed { offset }
        }
    }
}

/// Whether an odd number of backslashes ends `text`, so that one more is escaped.
fn ends_escaped(text: &[u8]) -> bool {
    text.iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1
}
