//! What a command line says, before anything in it is known.

use std::ops::Range;

/// Commands in order, whatever joins them: `;`, `&`, `&&`, `||` or a new line.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Script {
    pub(crate) pipelines: Vec<Pipeline>,
}

/// Commands whose output feeds the next.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Pipeline {
    pub(crate) commands: Vec<Command>,
    /// Behind `&&` or `||`: it may not run.
    pub(crate) conditional: bool,
}

/// One command and where it stands in the line.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Command {
    pub(crate) kind: CommandKind,
    pub(crate) redirects: Vec<Redirect>,
    pub(crate) span: Range<usize>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum CommandKind {
    /// Assignments, then words.
    Simple {
        assignments: Vec<(String, Word)>,
        words: Vec<Word>,
    },
    /// `if`, `while`, `for`, `case`, `( )`, `{ }`: whose parts may all run. The words are what
    /// it loops over or chooses by.
    Compound {
        parts: Vec<Script>,
        words: Vec<Word>,
        variable: Option<String>,
    },
    /// `name() body`.
    Function { name: String, body: Script },
    /// `(( … ))` and `[[ … ]]`: words that are no commands.
    Test { words: Vec<Word> },
}

/// One redirection.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Redirect {
    pub(crate) kind: RedirectKind,
    pub(crate) target: Word,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum RedirectKind {
    Read,
    Write,
    /// A descriptor: `2>&1`.
    Duplicate,
    /// `<<END` or `<<<word`: the target is the text.
    Text,
}

/// A word in pieces.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Word {
    pub(crate) parts: Vec<Part>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Part {
    /// Text as it stands; quoted text is no pattern, brace or tilde.
    Text { text: String, quoted: bool },
    /// `$name` or `${name…}`.
    Parameter {
        name: String,
        quoted: bool,
        operator: Option<(ParameterOperator, Word)>,
    },
    /// `$( )` or backquotes.
    Substitution { script: Script, quoted: bool },
    /// `<( )` or `>( )`.
    Process { script: Script },
    /// What is not evaluated here, such as arithmetic; scripts inside it still run.
    Opaque { scripts: Vec<Script> },
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum ParameterOperator {
    /// `:-` and `-`, `:=` and `=`.
    Default,
    /// `:+` and `+`.
    Alternative,
    /// All others.
    Other,
}
