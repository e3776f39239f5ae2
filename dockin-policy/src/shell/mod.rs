//! Command lines: from bytes to the programs that they would run.

mod arithmetic;
mod ast;
mod braces;
mod builtin;
mod code;
mod command;
mod expand;
mod inherited;
mod known;
mod lexer;
mod option;
#[cfg(test)]
mod oracle;
mod parameter;
mod parse;
mod pattern;
mod place;
mod print;
mod redirect;
mod run;
mod session;
mod utility;
mod value;
mod wrapper;

pub(crate) use expand::unescape;
pub(crate) use option::is_long;
use parse::{goes_on, parse, parse_with};
pub(crate) use pattern::matches;
pub(crate) use run::{Analysis, Certainty, Resolved, Shape};
use run::{Input, Runner};
pub use session::SessionState;
pub use utility::StdinProgram;
pub(crate) use utility::stdin_program;
pub(crate) use value::{ABOVE, PLAIN, Value};

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

impl Dialect {
    /// Whether it is one of the shells without arrays, braces and calculations as commands.
    pub(crate) const fn is_small(self) -> bool {
        matches!(self, Self::Sh | Self::Busybox)
    }
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

/// Why a text is no command line.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum ParseError {
    /// A shell would wait for more.
    Incomplete,
    /// A shell would complain.
    Malformed { offset: usize },
    /// It nests deeper than is looked at.
    TooDeep { offset: usize },
}

/// What `text` would do in a session, as far as it can be read; the session's state is what it is
/// behind it.
pub(crate) fn analyze_line(
    text: &[u8],
    state: &mut SessionState,
) -> (Analysis, Option<ParseError>) {
    let script = parse_with(text, state.dialect(), state.has_comments());
    let before = inherited::may_ask(text, state).then(|| state.clone());
    let mut runner = Runner::new(state);
    let _out = runner.script(&script, text);
    runner.look_at_watched();
    let asked = runner.asked_environment;
    let mut analysis = runner.analysis;
    if let Some(before) = before.filter(|before| asked || before.inherits_something()) {
        inherited::look_again(&script, text, before, state, &mut analysis);
    }
    (analysis, script.error)
}

/// What a program started without a shell would do.
pub(crate) fn analyze_argv(argv: &[String]) -> Analysis {
    let mut state = SessionState::default();
    let mut runner = Runner::new(&mut state);
    runner.stdin = Input::Inherited;
    if let Some(program) = argv.first() {
        let values = argv.iter().cloned().map(Value::Known).collect();
        let _out = runner.program(program, values, &mut redirect::Streams::default());
    }
    runner.analysis
}

/// Whether `text`, with or without its last new line, is a whole command.
#[must_use]
pub fn is_complete(text: &[u8], dialect: Dialect) -> Completeness {
    completeness(text, dialect, true)
}

/// The same in a session, which may have switched comments off.
pub(crate) fn is_complete_in(text: &[u8], state: &SessionState) -> Completeness {
    completeness(text, state.dialect(), state.has_comments())
}

fn completeness(text: &[u8], dialect: Dialect, comments: bool) -> Completeness {
    // The new line that submits a line is part of it for a trailing backslash.
    let text = match text {
        [rest @ .., b'\n'] if ends_escaped(rest) => rest,
        text => text,
    };
    match parse_with(text, dialect, comments).error {
        None if goes_on(text, dialect, comments) => Completeness::NeedsMore,
        None => Completeness::Complete,
        Some(ParseError::Incomplete) => Completeness::NeedsMore,
        Some(ParseError::Malformed { offset } | ParseError::TooDeep { offset }) => {
            Completeness::Malformed { offset }
        }
    }
}

/// Reads `text` as a script, and says how many commands it has at its top.
///
/// # Errors
///
/// The byte offset of what cannot be read, the length where more would have to come.
pub fn read_script(text: &[u8], dialect: Dialect) -> Result<usize, usize> {
    let script = parse(text, dialect);
    match script.error {
        None => Ok(script.list.items.len()),
        Some(ParseError::Incomplete) => Err(text.len()),
        Some(ParseError::Malformed { offset } | ParseError::TooDeep { offset }) => Err(offset),
    }
}

/// Writes `text` as a script with one command a line: comments and other spacing are gone, words
/// stay as they are written. It means the same.
///
/// ```
/// use dockin_policy::{Dialect, format_script};
///
/// let script = b"if a;then b|c  # so\nfi";
/// let lines = format_script(script, Dialect::Bash).map_err(|at| at.to_string())?;
/// assert_eq!(lines, b"if\na\nthen\nb | c\nfi\n");
/// # Ok::<(), String>(())
/// ```
///
/// # Errors
///
/// The byte offset of what cannot be read, the length where more would have to come.
pub fn format_script(text: &[u8], dialect: Dialect) -> Result<Vec<u8>, usize> {
    let script = parse(text, dialect);
    match script.error {
        None => Ok(print::print(&script)),
        Some(ParseError::Incomplete) => Err(text.len()),
        Some(ParseError::Malformed { offset } | ParseError::TooDeep { offset }) => Err(offset),
    }
}

/// Whether an odd number of backslashes ends `text`, so that one more is escaped.
fn ends_escaped(text: &[u8]) -> bool {
    text.iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1
}
