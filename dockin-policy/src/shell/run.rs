//! From syntax to the programs that would run, or what about them cannot be known.
//!
//! Commands are followed as a shell would run them, with what is known of their output and status.
//! Where a condition is not known both ways are gone, and what they change is not known behind
//! them; a loop whose end is not known goes round twice. What surely does not run is looked at as
//! well: it is judged, and not among the programs. What is not followed is an [`Unknown`], never
//! nothing.

mod control;
mod list;

use std::{collections::BTreeMap, ops::Range};

use super::{
    Dialect, ParseError,
    ast::{Item, Join, List, Script},
    expand::{Mode, lossy},
    parse::parse,
    pattern::Steps,
    place::Descriptors,
    session::{Positional, SessionState, Shared, Variable},
    value::{OUTPUT, Out, Value},
};

/// What a line would do.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Analysis {
    /// The programs, wrappers before what they run.
    pub(crate) commands: Vec<Resolved>,
    /// What cannot be known.
    pub(crate) unknowns: Vec<Unknown>,
    /// Shapes that several commands make together.
    pub(crate) shapes: Vec<(Shape, Range<usize>)>,
    /// Names of files that shells choose by chance, and what of them is sure.
    pub(super) placeholders: BTreeMap<String, (&'static str, &'static str)>,
}

impl Analysis {
    /// What surely begins and ends a name that stands for one which the shell chooses.
    pub(crate) fn placeholder(&self, text: &str) -> Option<(&'static str, &'static str)> {
        self.placeholders.get(text).copied()
    }
}

/// One program that would run.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Resolved {
    /// Program and arguments; empty when a redirection stands alone.
    pub(crate) argv: Vec<Value>,
    /// The name that the program is known by, whatever it is called here.
    pub(crate) name: String,
    /// Files that it writes, deletes or renames, or that its output goes to.
    pub(crate) writes: Vec<Value>,
    /// Files that it makes, or whose owner, mode, times or attributes it changes.
    pub(crate) alters: Vec<Value>,
    /// Files that it reads.
    pub(crate) reads: Vec<Value>,
    /// The working directory that it runs in, where the session has changed it; `?` when it is not
    /// known.
    pub(crate) directory: Option<String>,
    /// Where it stands in the line.
    pub(crate) span: Range<usize>,
    pub(crate) certainty: Certainty,
    /// Whether it is a program of its own, and no builtin of a shell.
    pub(crate) is_program: bool,
}

/// Whether something runs, surest first.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Certainty {
    #[default]
    Live,
    /// It depends on something that is not known.
    Maybe,
    /// It runs so if the environment has a variable that the session never set.
    Inherited,
    /// In the body of a function that nobody called yet.
    Latent,
    /// It does not run: behind `false &&`, in a text that no shell would take.
    Dead,
}

/// Something that cannot be known before it runs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Unknown {
    pub(crate) what: &'static str,
    pub(crate) span: Range<usize>,
    /// The programs are known all the same.
    pub(crate) is_soft: bool,
}

/// What several commands do together.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Shape {
    /// What is fetched from elsewhere is run.
    DownloadIntoShell,
    /// A function that starts itself twice over.
    ForkBomb,
}

/// What a command finds on its standard input.
#[derive(Clone, Debug)]
pub(super) enum Input {
    /// What the session has: judged as it comes.
    Inherited,
    /// This text.
    Text(String),
    /// The output of something, or a file; and why it is not known.
    Unknown(&'static str),
}

/// Where control goes behind a command.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Flow {
    #[default]
    Next,
    Break(usize),
    Continue(usize),
    Return,
    Exit,
}

/// Places from which on what is left early may not have run.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Left {
    round: Option<usize>,
    function: Option<usize>,
    /// A shell below, whose changes of files stay.
    shell: Option<usize>,
    is_below: bool,
}

/// Texts inside texts that are looked into: `sh -c "eval …"`.
const MAX_NESTING: usize = 12;
/// Expansions inside expansions.
const MAX_DEPTH: usize = 96;
/// Commands that are followed for one line.
const BUDGET: usize = 4000;
/// Bytes of texts inside texts that are read for one line, and words of the programs in it: each
/// may come back with every alias, function and wrapper.
const MAX_BYTES: usize = 256 * 1024;
const MAX_WORDS: usize = 64 * 1024;
/// Bytes that the expansions of one line come to.
const MAX_EXPANDED: usize = 512 * 1024;
/// What is not known of a line with more of them.
pub(super) const TOO_MANY: &str = "more commands than are looked at";
/// Programs and unknowns of one line.
const MAX_FOUND: usize = 2000;
/// Rounds of a loop that are followed one by one.
const MAX_ROUNDS: usize = 32;

pub(crate) struct Runner<'s> {
    pub(super) state: &'s mut SessionState,
    pub(super) analysis: Analysis,
    pub(super) certainty: Certainty,
    pub(super) stdin: Input,
    /// `$?`, when it is known.
    pub(super) status: Option<i32>,
    /// The status is what is expected, and may be another.
    pub(super) hoped: bool,
    /// A substitution ran since somebody asked.
    pub(super) ran_substitution: bool,
    /// A substitution ran while the words of this command were expanded: dash and its like have
    /// another `$?` then.
    pub(super) substituted: bool,
    /// The last command of a pipeline runs in the shell itself.
    pub(super) last_stays: bool,
    /// `$0`.
    pub(super) arg0: Option<String>,
    pub(super) flow: Flow,
    /// Since when a round of a loop, and a function, may have been left.
    pub(super) left: Left,
    /// What the variables had that the function made its own.
    pub(super) locals: Vec<(String, Option<Variable>)>,
    /// Loops that `break` may leave.
    pub(super) loops: usize,
    /// Files that are read as commands, which `return` may leave.
    pub(super) sources: usize,
    /// Aliases that a line sets count from the next one on: not in a function or a substitution,
    /// which are read as a whole.
    pub(super) reads_lines: bool,
    /// What the words of the command became that are not what they say.
    pub(super) computed: Vec<String>,
    /// Here-documents that are what they say.
    pub(super) written: Vec<String>,
    /// Aliases whose text is being run: in it they are no aliases.
    pub(super) expanding: Vec<String>,
    /// Functions that are being run.
    pub(super) calls: Vec<String>,
    /// Texts behind `/dev/fd/63` and its like.
    pub(super) pipes: BTreeMap<String, Out>,
    pub(super) descriptors: Descriptors,
    /// `exec` makes the files that this command opened the shell's.
    pub(super) keeps_descriptors: bool,
    /// Aliases as they were where the line began.
    pub(super) aliases: Shared<BTreeMap<String, String>>,
    pub(super) span: Range<usize>,
    pub(super) nesting: usize,
    /// Builtins that run what stands behind them: `command exec …`.
    pub(super) starts: usize,
    /// A variable was expanded that nobody set here; the environment may have it.
    pub(super) absent: bool,
    /// The same anywhere in the line.
    pub(super) asked_environment: bool,
    /// Such a variable holds what nobody knows; else nothing.
    pub(super) inherits: bool,
    /// Values of variables that are run, as far as they were looked at.
    pub(super) seen_values: Vec<(String, String)>,
    /// The command has a standard input of its own, and whether `exec` makes it the shell's.
    pub(super) has_input: bool,
    pub(super) keeps_input: bool,
    /// The next program is loaded by another and not started.
    pub(super) is_loaded: bool,
    /// What is looked at runs in another place: what cannot be known of it counts.
    pub(super) heeds_unknowns: bool,
    /// What comparisons with patterns may take.
    pub(super) pattern_steps: Steps,
    depth: usize,
    budget: usize,
    bytes: usize,
    expanded: usize,
    words: usize,
}

impl<'s> Runner<'s> {
    pub(super) fn new(state: &'s mut SessionState) -> Self {
        let arg0 = match state.dialect() {
            Dialect::Bash => "bash",
            Dialect::Zsh => "zsh",
            Dialect::Sh | Dialect::Busybox => "sh",
        };
        Self {
            state,
            analysis: Analysis::default(),
            certainty: Certainty::Live,
            stdin: Input::Inherited,
            status: Some(0),
            hoped: false,
            ran_substitution: false,
            substituted: false,
            last_stays: false,
            arg0: Some(arg0.to_owned()),
            flow: Flow::Next,
            left: Left::default(),
            locals: Vec::new(),
            loops: 0,
            sources: 0,
            reads_lines: true,
            computed: Vec::new(),
            written: Vec::new(),
            expanding: Vec::new(),
            calls: Vec::new(),
            pipes: BTreeMap::new(),
            descriptors: Descriptors::new(),
            keeps_descriptors: false,
            aliases: Shared::default(),
            span: 0..0,
            nesting: 0,
            starts: 0,
            absent: false,
            asked_environment: false,
            inherits: false,
            seen_values: Vec::new(),
            has_input: false,
            keeps_input: false,
            is_loaded: false,
            heeds_unknowns: false,
            pattern_steps: Steps::default(),
            depth: 0,
            budget: BUDGET,
            bytes: MAX_BYTES,
            expanded: MAX_EXPANDED,
            words: MAX_WORDS,
        }
    }

    pub(super) const fn dialect(&self) -> Dialect {
        self.state.dialect()
    }

    pub(super) const fn deeper(&mut self) -> bool {
        if self.depth >= MAX_DEPTH {
            return false;
        }
        self.depth += 1;
        true
    }

    pub(super) const fn shallower(&mut self) {
        self.depth -= 1;
    }

    pub(super) fn spend(&mut self) -> bool {
        match self.budget.checked_sub(1) {
            Some(left) => {
                self.budget = left;
                true
            }
            None => {
                self.unknown(TOO_MANY);
                false
            }
        }
    }

    /// The same for a text of so many bytes.
    pub(super) fn spend_bytes(&mut self, bytes: usize) -> bool {
        self.draw(|runner| &mut runner.bytes, bytes);
        self.spend()
    }

    /// The same for so many bytes that something was expanded to.
    pub(super) fn spend_expanded(&mut self, bytes: usize) -> bool {
        self.draw(|runner| &mut runner.expanded, bytes);
        self.expanded > 0 || !self.is_spent()
    }

    /// The same for a program of so many words.
    pub(super) fn spend_words(&mut self, words: usize) -> bool {
        self.draw(|runner| &mut runner.words, words);
        !self.is_spent()
    }

    /// Takes so much out of what is left of something; nothing more is followed when it is used up.
    fn draw(&mut self, of: impl Fn(&mut Self) -> &mut usize, much: usize) {
        let left = of(self);
        *left = left.saturating_sub(much);
        if *left == 0 {
            self.budget = 0;
        }
    }

    /// Whether nothing more is followed, which is then noted as unknown.
    pub(super) fn is_spent(&mut self) -> bool {
        let spent = self.budget == 0;
        if spent {
            self.unknown(TOO_MANY);
        }
        spent
    }

    /// Something that runs, or may, cannot be known.
    pub(super) fn unknown(&mut self, what: &'static str) {
        self.note_unknown(what, false);
    }

    /// Something cannot be known, but the programs can.
    pub(super) fn soft_unknown(&mut self, what: &'static str) {
        self.note_unknown(what, true);
    }

    /// The same, even where nothing seems to run: that is found out by what may be mistaken, too.
    pub(super) fn note_doubtful(&mut self, what: &'static str) {
        if self.certainty == Certainty::Latent {
            return;
        }
        let is_noted = |unknown: &Unknown| unknown.what == what && unknown.span == self.span;
        if self.analysis.unknowns.len() < MAX_FOUND
            && !self.analysis.unknowns.last().is_some_and(is_noted)
        {
            self.analysis.unknowns.push(Unknown {
                what,
                span: self.span.clone(),
                is_soft: true,
            });
        }
    }

    fn note_unknown(&mut self, what: &'static str, is_soft: bool) {
        // The body of a function is known when it is called.
        let is_heard = self.certainty < Certainty::Latent || self.heeds_unknowns;
        let is_soft = is_soft || self.heeds_unknowns;
        if is_heard && self.analysis.unknowns.len() < MAX_FOUND {
            self.analysis.unknowns.push(Unknown {
                what,
                span: self.span.clone(),
                is_soft,
            });
        }
    }

    pub(super) fn found(&mut self, resolved: Resolved) {
        let sets_keys = |path: &Value| {
            let text = match path {
                Value::Known(text) | Value::Pattern(text) => text,
                Value::Unknown { suffix, .. } => suffix,
            };
            text.ends_with("inputrc")
        };
        if resolved.writes.iter().any(sets_keys) {
            self.unknown("a file that line editors take their keys from");
        }
        let is_gits = |path: &Value| {
            let text = path.shown();
            text.ends_with(".gitconfig")
                || text.contains(".git/config")
                || text.contains(".git/hooks/")
        };
        if resolved.writes.iter().any(is_gits) {
            self.soft_unknown("a file that git runs programs from");
        }
        // What may run again is the same program.
        if resolved.certainty == Certainty::Maybe
            && self.analysis.commands.iter().rev().take(64).any(|other| {
                other.argv == resolved.argv
                    && other.writes == resolved.writes
                    && other.certainty <= Certainty::Maybe
                    && other.is_program == resolved.is_program
            })
        {
            return;
        }
        if self.analysis.commands.len() < MAX_FOUND {
            self.analysis.commands.push(resolved);
        } else {
            self.budget = 0;
            self.unknown(TOO_MANY);
        }
    }

    pub(super) fn shape(&mut self, shape: Shape) {
        if self.analysis.shapes.len() < MAX_FOUND {
            self.analysis.shapes.push((shape, self.span.clone()));
        }
    }

    /// Follows a text that was read. Lines before one that cannot be read run; what stands in that
    /// line does not.
    pub(super) fn script(&mut self, script: &Script<'_>, text: &[u8]) -> Out {
        let broken = script.error.map(|error| match error {
            ParseError::Malformed { offset } | ParseError::TooDeep { offset } => offset,
            ParseError::Incomplete => text.len(),
        });
        let Some(offset) = broken else {
            return self.list(&script.list, &script.heredocs);
        };
        let before = text.get(..offset).unwrap_or_default();
        let line = memchr::memchr_iter(b'\n', before).count();
        let mut out = Out::nothing();
        for item in script.list.items.iter().chain(&script.salvage) {
            if self.is_spent() {
                break;
            }
            let runs = usize::try_from(item.line).unwrap_or(usize::MAX) < line
                && item.first.end < before.len()
                && script.salvage.is_empty();
            let certainty = if runs {
                self.certainty
            } else {
                Certainty::Dead
            };
            let one = List {
                items: vec![Item {
                    join: Join::Then,
                    ..item.clone()
                }],
            };
            let said = self.within(certainty, |runner| runner.list(&one, &script.heredocs));
            if runs {
                out.then(said);
            }
        }
        out
    }

    /// Runs a text as its own shell would, or `eval`.
    pub(super) fn text(&mut self, text: &str) -> Out {
        if self.nesting == MAX_NESTING || !self.spend_bytes(text.len()) {
            self.unknown("commands inside commands, deeper than is looked at");
            return Out::Unknown(OUTPUT);
        }
        self.nesting += 1;
        let script = parse(text.as_bytes(), self.dialect());
        if script.error.is_some() {
            self.unknown("a command text that cannot be read");
        }
        let out = self.script(&script, text.as_bytes());
        self.nesting -= 1;
        out
    }

    /// What a text prints in a shell below this one.
    pub(super) fn substitute(&mut self, text: &[u8]) -> Out {
        let text = lossy(text);
        // `$(<file)`
        if let Some(path) = text.trim().strip_prefix('<')
            && !path.starts_with(['<', '(', '&'])
            && self.dialect() != Dialect::Sh
        {
            let path = path.trim();
            if !path.contains([' ', '\t', '\n', ';', '|']) {
                let value = self.whole(path.as_bytes(), Mode::Word);
                return self.file_text(&value);
            }
        }
        let reads_lines = std::mem::replace(&mut self.reads_lines, false);
        let out = self.below(|runner| runner.text(&text));
        self.reads_lines = reads_lines;
        self.substituted = self.dialect() != Dialect::Bash;
        self.ran_substitution = true;
        out
    }

    /// The same for a text whose input is what something writes.
    pub(super) fn substitute_reading(&mut self, text: &[u8]) {
        let text = lossy(text);
        let stdin = std::mem::replace(&mut self.stdin, Input::Unknown(OUTPUT));
        let reads_lines = std::mem::replace(&mut self.reads_lines, false);
        let _out = self.below(|runner| runner.text(&text));
        self.reads_lines = reads_lines;
        self.stdin = stdin;
    }

    /// Runs a text that is read line by line, here and now.
    pub(super) fn read_text(&mut self, text: &str) -> Out {
        let reads_lines = std::mem::replace(&mut self.reads_lines, true);
        let out = self.text(text);
        self.reads_lines = reads_lines;
        out
    }

    /// The name of a pipe that `out` can be read from.
    pub(super) fn process_file(&mut self, out: Out, temporary: bool) -> String {
        let number = 63_usize.saturating_sub(self.pipes.len() % 32);
        let zsh = self.dialect() == Dialect::Zsh;
        let path = match (temporary, zsh) {
            (true, _) => format!("/tmp/zsh{number}"),
            (false, true) => format!("/proc/self/fd/{number}"),
            (false, false) => format!("/dev/fd/{number}"),
        };
        // bash counts down from 63 what is open; zsh takes what is free.
        let sure = match (temporary, zsh) {
            (true, _) => Some("/tmp/zsh"),
            (false, true) => Some("/proc/self/fd/"),
            (false, false) => (number != 63).then_some("/dev/fd/"),
        };
        if let Some(sure) = sure {
            self.analysis.placeholders.insert(path.clone(), (sure, ""));
        }
        self.pipes.insert(path.clone(), out);
        path
    }

    /// Runs something whose changes do not come back.
    pub(super) fn below<T>(&mut self, inside: impl FnOnce(&mut Self) -> T) -> T {
        let mark = self.state.mark();
        let dialect = self.dialect();
        let (arg0, flow, calls) = (self.arg0.clone(), self.flow, self.calls.len());
        let below = Left {
            is_below: true,
            ..Left::default()
        };
        let left = std::mem::replace(&mut self.left, below);
        let result = inside(self);
        let inner = std::mem::replace(&mut self.left, left);
        for mark in [inner.round, inner.function].into_iter().flatten() {
            self.state.keep(mark);
        }
        self.doubt_since(inner.shell);
        self.state.restore(mark);
        self.state.set_dialect(dialect);
        self.arg0 = arg0;
        self.flow = flow;
        self.calls.truncate(calls);
        result
    }

    /// Runs something with another certainty.
    fn within<T>(&mut self, certainty: Certainty, inside: impl FnOnce(&mut Self) -> T) -> T {
        let certainty = certainty.max(self.certainty);
        let before = std::mem::replace(&mut self.certainty, certainty);
        let result = inside(self);
        self.certainty = before;
        result
    }

    /// Looks at something that does not run.
    pub(super) fn dead<T>(&mut self, inside: impl FnOnce(&mut Self) -> T) -> T {
        let (status, hoped, stdin) = (self.status, self.hoped, self.stdin.clone());
        let result = self.below(|runner| runner.within(Certainty::Dead, inside));
        (self.status, self.hoped) = (status, hoped);
        self.stdin = stdin;
        result
    }

    /// Looks at the body of a function.
    pub(super) fn latent(&mut self, inside: impl FnOnce(&mut Self)) {
        let (status, hoped, stdin) = (self.status, self.hoped, self.stdin.clone());
        self.below(|runner| {
            runner.state.set_positional(Positional::Unknown);
            runner.within(Certainty::Latent, inside);
        });
        (self.status, self.hoped) = (status, hoped);
        self.stdin = stdin;
    }

    /// Runs something that may not run.
    pub(super) fn maybe(&mut self, inside: impl FnOnce(&mut Self) -> Out) -> Out {
        let mark = self.state.mark();
        let out = self.maybe_in_chain(inside);
        self.state.doubt(mark);
        out
    }

    /// The same, where what it changes is sure for what runs only if this ran.
    fn maybe_in_chain(&mut self, inside: impl FnOnce(&mut Self) -> Out) -> Out {
        let flow = self.flow;
        let out = self.within(Certainty::Maybe, inside);
        self.perhaps_leaves(flow);
        self.status = None;
        perhaps(out)
    }

    /// Runs something that may not run, though nobody expects that.
    fn hopefully(&mut self, inside: impl FnOnce(&mut Self) -> Out) -> Out {
        let flow = self.flow;
        let out = inside(self);
        self.perhaps_leaves(flow);
        self.hoped = true;
        perhaps(out)
    }

    /// Goes on behind something that may not have run: if it leaves a loop or a function, what
    /// comes in there from now on may not run either.
    pub(super) fn perhaps_leaves(&mut self, flow: Flow) {
        let since = match std::mem::replace(&mut self.flow, flow) {
            Flow::Break(_) | Flow::Continue(_) => &mut self.left.round,
            Flow::Return => &mut self.left.function,
            Flow::Exit if self.left.is_below => &mut self.left.shell,
            Flow::Next | Flow::Exit => return,
        };
        if since.is_none() {
            *since = Some(self.state.mark());
        }
    }

    /// Goes through a loop, which may be left early.
    pub(super) fn in_loop(&mut self, inside: impl FnOnce(&mut Self) -> Out) -> Out {
        self.loops += 1;
        let out = self.until_left(|left| &mut left.round, inside);
        self.loops -= 1;
        out
    }

    /// The same for a function, or a file that is read.
    pub(super) fn in_function(&mut self, inside: impl FnOnce(&mut Self) -> Out) -> Out {
        self.until_left(|left| &mut left.function, inside)
    }

    fn until_left(
        &mut self,
        of: impl Fn(&mut Left) -> &mut Option<usize>,
        inside: impl FnOnce(&mut Self) -> Out,
    ) -> Out {
        let outer = of(&mut self.left).take();
        let out = inside(self);
        let left = std::mem::replace(of(&mut self.left), outer);
        self.doubt_since(left);
        out
    }

    /// Does something that some shells do not do, or not in the shell itself.
    pub(super) fn in_doubt<T>(&mut self, inside: impl FnOnce(&mut Self) -> T) -> T {
        let result = self.doubting(inside);
        self.ends_with(None);
        result
    }

    /// Does something that may not be done: what it changes is not known, nor whether it leaves.
    pub(super) fn doubting<T>(&mut self, inside: impl FnOnce(&mut Self) -> T) -> T {
        let (mark, flow) = (self.state.mark(), self.flow);
        let result = inside(self);
        self.doubt_since(Some(mark));
        self.perhaps_leaves(flow);
        result
    }

    /// Doubts what was changed since then, at a price: inside other ones, all of them do.
    fn doubt_since(&mut self, mark: Option<usize>) {
        if let Some(mark) = mark {
            let _left = self.spend_words(self.state.changes_since(mark));
            self.state.doubt(mark);
        }
    }

    /// A status that is known, or not; nobody hopes for it.
    pub(super) const fn ends_with(&mut self, status: Option<i32>) {
        self.status = status;
        self.hoped = false;
    }

    /// The text that `name` stands for in this line.
    pub(super) fn alias_pair(&self, name: &str) -> Option<(&str, &String)> {
        self.aliases
            .get_key_value(name)
            .map(|(name, text)| (name.as_str(), text))
    }
}

/// The output of what may not have run.
fn perhaps(out: Out) -> Out {
    match out {
        Out::Known(text) if text.is_empty() => Out::nothing(),
        Out::Known(_) => Out::Unknown(OUTPUT),
        out => out,
    }
}
