//! What a command line says, before anything in it is known: commands by structure, words as the
//! bytes that they were written with. Everything borrows from the text.

/// A text that was read, as far as it can be.
#[derive(Clone, Debug, Default)]
pub(crate) struct Script<'a> {
    pub(crate) list: List<'a>,
    /// Texts of here-documents, by the number in their [`Redirect`].
    pub(crate) heredocs: Vec<Heredoc<'a>>,
    /// Why reading stopped before the end.
    pub(crate) error: Option<super::ParseError>,
    /// What was read of constructs that reading stopped inside of.
    pub(crate) salvage: Vec<Item<'a>>,
}

/// Pipelines in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct List<'a> {
    pub(crate) items: Vec<Item<'a>>,
}

/// One pipeline, and how it hangs on the one before.
#[derive(Clone, Debug)]
pub(crate) struct Item<'a> {
    pub(crate) join: Join,
    pub(crate) negated: bool,
    /// `time` stands in front of it.
    pub(crate) timed: bool,
    pub(crate) background: bool,
    pub(crate) coprocess: bool,
    /// The name of the coprocess, if it has one.
    pub(crate) coprocess_name: &'a [u8],
    /// Lines of the text before it: aliases count from the line behind theirs on.
    pub(crate) line: u32,
    pub(crate) first: Command<'a>,
    pub(crate) rest: Vec<Command<'a>>,
}

/// What stands between two pipelines.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Join {
    /// `;`, `&`, a new line, or nothing before the first.
    Then,
    /// `&&`
    And,
    /// `||`
    Or,
}

/// One command and where it stands in the line.
#[derive(Clone, Debug)]
pub(crate) struct Command<'a> {
    pub(crate) kind: Kind<'a>,
    pub(crate) redirects: Vec<Redirect<'a>>,
    /// `|&` in front of it: it reads the errors, too.
    pub(crate) reads_errors: bool,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

#[derive(Clone, Debug)]
pub(crate) enum Kind<'a> {
    /// So many assignments, then words.
    Simple {
        assignments: usize,
        words: Vec<Word<'a>>,
    },
    /// `{ … }`
    Group(List<'a>),
    /// `( … )`
    Subshell(List<'a>),
    If(Box<If<'a>>),
    While(Box<While<'a>>),
    For(Box<For<'a>>),
    Case(Box<Case<'a>>),
    Function {
        name: &'a [u8],
        /// The body as it is written.
        body: &'a [u8],
        /// The numbers of its here-documents whose texts stand behind it.
        outside: Vec<usize>,
        inner: Box<Command<'a>>,
    },
    /// `(( … ))`
    Arithmetic(&'a [u8]),
    /// `[[ … ]]`, operators as words.
    Test(Vec<Word<'a>>),
}

#[derive(Clone, Debug)]
pub(crate) struct If<'a> {
    /// Condition and what follows from it.
    pub(crate) clauses: Vec<(List<'a>, List<'a>)>,
    pub(crate) otherwise: Option<List<'a>>,
}

#[derive(Clone, Debug)]
pub(crate) struct While<'a> {
    pub(crate) until: bool,
    pub(crate) condition: List<'a>,
    pub(crate) body: List<'a>,
}

#[derive(Clone, Debug)]
pub(crate) struct For<'a> {
    pub(crate) head: ForHead<'a>,
    pub(crate) body: List<'a>,
}

#[derive(Clone, Debug)]
pub(crate) enum ForHead<'a> {
    /// `for name in words`; without `in` the positional parameters.
    Words {
        name: &'a [u8],
        words: Option<Vec<Word<'a>>>,
        select: bool,
    },
    /// `for ((a; b; c))`
    Arithmetic(&'a [u8]),
    /// zsh: `repeat count`
    Repeat(Word<'a>),
}

#[derive(Clone, Debug)]
pub(crate) struct Case<'a> {
    pub(crate) word: Word<'a>,
    pub(crate) arms: Vec<Arm<'a>>,
}

#[derive(Clone, Debug)]
pub(crate) struct Arm<'a> {
    pub(crate) patterns: Vec<Word<'a>>,
    pub(crate) body: List<'a>,
    /// `;&`, `;;&` or `;|`: the next arm may run as well.
    pub(crate) falls: bool,
    /// What ends it, as it is written.
    pub(crate) end: &'a [u8],
}

/// A word as it is written.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Word<'a> {
    pub(crate) raw: &'a [u8],
    /// Classes of the bytes in it that mean something; 0 when it stands for itself.
    pub(crate) classes: u16,
}

/// One redirection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Redirect<'a> {
    /// The descriptor in front of it.
    pub(crate) descriptor: Option<u32>,
    /// Descriptor and operator as they are written.
    pub(crate) operator: &'a [u8],
    pub(crate) kind: RedirectKind,
    pub(crate) target: Word<'a>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum RedirectKind {
    /// `<`
    Read,
    /// `>`, `>|`
    Write,
    /// `>>`
    Append,
    /// `<>`
    ReadWrite,
    /// `&>`, `&>>`
    WriteBoth,
    /// `<&`
    DuplicateIn,
    /// `>&`
    DuplicateOut,
    /// `<<<`
    HereString,
    /// `<<`: the number of its text.
    Heredoc(usize),
}

/// The text of a here-document.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Heredoc<'a> {
    /// Its end mark as it is written.
    pub(crate) mark: &'a [u8],
    pub(crate) body: &'a [u8],
    pub(crate) strips_tabs: bool,
    /// Its end mark was quoted: taken as it stands.
    pub(crate) quoted: bool,
}
