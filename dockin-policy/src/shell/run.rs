//! From syntax to the programs that would run, or what about them cannot be known.
//!
//! Commands are followed as a shell would run them, with what is known of their output and status.
//! Where a condition is not known both ways are gone, and what they change is not known behind
//! them; a loop whose end is not known goes round twice. What surely does not run is looked at as
//! well: it is judged, and not among the programs. What is not followed is an [`Unknown`], never
//! nothing.

use std::{collections::BTreeMap, ops::Range};

use super::{
    Dialect, ParseError,
    ast::{Case, Command, For, ForHead, Heredoc, If, Item, Join, Kind, List, Script, While},
    expand::Mode,
    lexer::mark_line,
    parse::parse,
    pattern,
    session::{Positional, SessionState, Variable},
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
    placeholders: BTreeMap<String, (&'static str, &'static str)>,
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
    /// Files that it reads.
    pub(crate) reads: Vec<Value>,
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

/// Texts inside texts that are looked into: `sh -c "eval …"`.
const MAX_NESTING: usize = 12;
/// Expansions inside expansions.
const MAX_DEPTH: usize = 96;
/// Commands that are followed for one line.
const BUDGET: usize = 4000;
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
    /// What the variables had that the function made its own.
    pub(super) locals: Vec<(String, Option<Variable>)>,
    /// Loops that `break` may leave.
    pub(super) loops: usize,
    /// Files that are read as commands, which `return` may leave.
    pub(super) sources: usize,
    /// Aliases that a line sets count from the next one on: not in a function or a substitution,
    /// which are read as a whole.
    pub(super) reads_lines: bool,
    /// Functions that are being run.
    pub(super) calls: Vec<String>,
    /// Texts behind `/dev/fd/63` and its like.
    pub(super) pipes: BTreeMap<String, Out>,
    /// Aliases as they were where the line began.
    pub(super) aliases: BTreeMap<String, String>,
    pub(super) span: Range<usize>,
    pub(super) nesting: usize,
    /// A variable was expanded that nobody set here; the environment may have it.
    pub(super) absent: bool,
    /// The next program is loaded by another and not started.
    pub(super) is_loaded: bool,
    depth: usize,
    budget: usize,
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
            locals: Vec::new(),
            loops: 0,
            sources: 0,
            reads_lines: true,
            calls: Vec::new(),
            pipes: BTreeMap::new(),
            aliases: BTreeMap::new(),
            span: 0..0,
            nesting: 0,
            absent: false,
            is_loaded: false,
            depth: 0,
            budget: BUDGET,
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
                self.unknown("more commands than are looked at");
                false
            }
        }
    }

    /// Something that runs, or may, cannot be known.
    pub(super) fn unknown(&mut self, what: &'static str) {
        self.note_unknown(what, false);
    }

    /// Something cannot be known, but the programs can.
    pub(super) fn soft_unknown(&mut self, what: &'static str) {
        self.note_unknown(what, true);
    }

    fn note_unknown(&mut self, what: &'static str, is_soft: bool) {
        // The body of a function is known when it is called.
        if self.certainty < Certainty::Latent && self.analysis.unknowns.len() < MAX_FOUND {
            self.analysis.unknowns.push(Unknown {
                what,
                span: self.span.clone(),
                is_soft,
            });
        }
    }

    pub(super) fn found(&mut self, resolved: Resolved) {
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
            self.unknown("more commands than are looked at");
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
        if self.nesting == MAX_NESTING || !self.spend() {
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
        let text = String::from_utf8_lossy(text).into_owned();
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
        let text = String::from_utf8_lossy(text).into_owned();
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
        let result = inside(self);
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
        self.flow = flow;
        self.status = None;
        perhaps(out)
    }

    /// Runs something that may not run, though nobody expects that.
    fn hopefully(&mut self, inside: impl FnOnce(&mut Self) -> Out) -> Out {
        let flow = self.flow;
        let out = inside(self);
        self.flow = flow;
        self.hoped = true;
        perhaps(out)
    }

    /// A status that is known, or not; nobody hopes for it.
    pub(super) const fn ends_with(&mut self, status: Option<i32>) {
        self.status = status;
        self.hoped = false;
    }

    pub(super) fn list(&mut self, list: &List<'_>, texts: &[Heredoc<'_>]) -> Out {
        let mut out = Out::nothing();
        let mut line = None;
        // Since when what was changed may not have been: up to the end of `a && b && c`.
        let mut chain: Option<usize> = None;
        let mut items = list.items.as_slice();
        while let Some((item, behind)) = items.split_first() {
            // `a && b &`: both are in the background, but in zsh the last alone.
            let joined = behind.iter().take_while(|it| it.join != Join::Then).count();
            if let Some(chained) = items.get(..=joined)
                && joined > 0
                && self.dialect() != Dialect::Zsh
                && item.join == Join::Then
                && chained.last().is_some_and(|last| last.background)
            {
                items = items.get(joined + 1..).unwrap_or_default();
                let mut chained = chained.to_vec();
                if let Some(last) = chained.last_mut() {
                    last.background = false;
                }
                if let Some(mark) = chain.take() {
                    self.state.doubt(mark);
                }
                let stdin = self.stdin.clone();
                let said = self.below(|runner| runner.list(&List { items: chained }, texts));
                self.stdin = stdin;
                self.ends_with(Some(0));
                out.then(said);
                continue;
            }
            items = behind;
            if item.join != Join::And
                && let Some(mark) = chain.take()
            {
                self.state.doubt(mark);
            }
            if self.reads_lines && line != Some(item.line) {
                line = Some(item.line);
                if self.aliases != *self.state.all_aliases() {
                    self.aliases = self.state.all_aliases().clone();
                }
            }
            if self.flow != Flow::Next {
                let flow = std::mem::take(&mut self.flow);
                self.dead(|runner| runner.item(item, texts));
                self.flow = flow;
                continue;
            }
            let runs = match (item.join, self.status) {
                (Join::Then, _) | (Join::And, Some(0)) => Some(true),
                (Join::And, Some(_)) | (Join::Or, Some(0)) => Some(false),
                (Join::Or, Some(_)) => Some(true),
                (_, None) => None,
            };
            let hoped = self.hoped && item.join != Join::Then;
            match runs {
                Some(true) if hoped => {
                    chain = chain.or_else(|| Some(self.state.mark()));
                    let said = self.hopefully(|runner| runner.item(item, texts));
                    out.then(said);
                }
                Some(true) => {
                    let said = self.item(item, texts);
                    out.then(said);
                }
                Some(false) if hoped => {
                    let said = self.maybe(|runner| runner.item(item, texts));
                    out.then(said);
                }
                Some(false) => {
                    let _said = self.dead(|runner| runner.item(item, texts));
                }
                None if item.join == Join::And => {
                    chain = chain.or_else(|| Some(self.state.mark()));
                    let said = self.maybe_in_chain(|runner| runner.item(item, texts));
                    out.then(said);
                }
                None => {
                    let said = self.maybe(|runner| runner.item(item, texts));
                    out.then(said);
                }
            }
        }
        if let Some(mark) = chain {
            self.state.doubt(mark);
        }
        out
    }

    fn item(&mut self, item: &Item<'_>, texts: &[Heredoc<'_>]) -> Out {
        let out = if item.rest.is_empty() {
            if item.background || item.coprocess {
                let stdin = self.stdin.clone();
                let out = self.below(|runner| runner.command(&item.first, texts));
                self.stdin = stdin;
                self.ends_with(Some(0));
                out
            } else {
                self.command(&item.first, texts)
            }
        } else {
            self.pipeline(item, texts)
        };
        if item.negated {
            self.status = self.status.map(|status| i32::from(status == 0));
        }
        out
    }

    fn pipeline(&mut self, item: &Item<'_>, texts: &[Heredoc<'_>]) -> Out {
        let outer = self.stdin.clone();
        let mut out = self.below(|runner| runner.command(&item.first, texts));
        let stays = self.last_stays || self.dialect() == Dialect::Zsh;
        for (index, command) in item.rest.iter().enumerate() {
            self.stdin = match out {
                Out::Known(text) => Input::Text(text),
                Out::Unknown(reason) => Input::Unknown(reason),
            };
            out = if stays && index + 1 == item.rest.len() && !item.background {
                self.command(command, texts)
            } else {
                self.below(|runner| runner.command(command, texts))
            };
        }
        self.stdin = outer;
        let last = item.rest.last().unwrap_or(&item.first);
        if stays
            && matches!(&last.kind, Kind::Simple { assignments, words } if *assignments == words.len())
        {
            // Another command of the pipeline says how it ended.
            self.ends_with(None);
        }
        out
    }

    fn command(&mut self, command: &Command<'_>, texts: &[Heredoc<'_>]) -> Out {
        if self.nesting == 0 {
            self.span = command.start..command.end;
        }
        if !self.spend() {
            return Out::Unknown(OUTPUT);
        }
        if let Kind::Simple { assignments, words } = &command.kind {
            return self.simple(*assignments, words, &command.redirects, texts);
        }
        let mut streams = self.redirects(&command.redirects, texts);
        if let Kind::Function {
            name,
            body,
            outside,
            inner,
        } = &command.kind
        {
            let mut body = body.to_vec();
            for text in outside.iter().filter_map(|number| texts.get(*number)) {
                body.extend_from_slice(b"\n");
                body.extend_from_slice(text.body);
                body.extend_from_slice(&mark_line(text.mark));
            }
            self.define(name, &body, inner, texts);
            self.stand_alone(&mut streams);
            self.ends_with(Some(0));
            return Out::nothing();
        }
        self.stand_alone(&mut streams);
        let outer = streams
            .stdin
            .take()
            .map(|stdin| std::mem::replace(&mut self.stdin, stdin));
        let out = match &command.kind {
            Kind::Group(list) => self.list(list, texts),
            Kind::Subshell(list) => self.below(|runner| runner.list(list, texts)),
            Kind::If(clauses) => self.conditional(clauses, texts),
            Kind::While(repeated) => {
                self.loops += 1;
                let out = self.repeat(repeated, texts);
                self.loops -= 1;
                out
            }
            Kind::For(repeated) => {
                self.loops += 1;
                let out = self.each(repeated, texts);
                self.loops -= 1;
                out
            }
            Kind::Case(case) => self.case(case, texts),
            Kind::Arithmetic(text) => {
                let value = self.arithmetic(text);
                self.ends_with(value.map(|value| i32::from(value == 0)));
                Out::nothing()
            }
            Kind::Test(words) => {
                let status = self.test_words(words);
                self.ends_with(status);
                Out::nothing()
            }
            Kind::Simple { .. } | Kind::Function { .. } => Out::nothing(),
        };
        if let Some(outer) = outer {
            self.stdin = outer;
        }
        self.hoped |= streams.may_fail;
        self.deliver(out, &streams)
    }

    fn define(&mut self, name: &[u8], body: &[u8], inner: &Command<'_>, texts: &[Heredoc<'_>]) {
        let name = String::from_utf8_lossy(name).into_owned();
        // Its aliases are those of now.
        let text = String::from_utf8_lossy(body);
        if self
            .aliases
            .keys()
            .any(|alias| text.contains(alias.as_str()))
        {
            self.state.set_function(&name, Some(text.into_owned()));
            self.state.cannot_know_function(&name);
            return self.latent(|runner| {
                let _out = runner.command(inner, texts);
            });
        }
        // What it does is judged where it is called, and once here, before anybody knows how.
        self.calls.push(name.clone());
        self.latent(|runner| {
            let _out = runner.command(inner, texts);
        });
        self.calls.pop();
        if calls_itself_twice(inner, &name) {
            self.shape(Shape::ForkBomb);
        }
        let body = String::from_utf8_lossy(body).into_owned();
        let kept = self.state.set_function(&name, Some(body));
        if !kept {
            self.unknown("more functions than are kept");
        }
    }

    fn conditional(&mut self, conditional: &If<'_>, texts: &[Heredoc<'_>]) -> Out {
        let mut out = Out::nothing();
        // Whether an earlier clause was taken: no, perhaps, or yes.
        let mut taken = Some(false);
        for (condition, body) in &conditional.clauses {
            match taken {
                Some(true) => {
                    self.dead(|runner| {
                        runner.list(condition, texts);
                        runner.list(body, texts)
                    });
                    continue;
                }
                Some(false) => {
                    let said = self.list(condition, texts);
                    out.then(said);
                }
                None => {
                    let said = self.maybe(|runner| runner.list(condition, texts));
                    out.then(said);
                }
            }
            match (taken, self.status) {
                (Some(false), Some(0)) => {
                    if self.hoped {
                        let mark = self.state.mark();
                        let said = self.hopefully(|runner| runner.list(body, texts));
                        out.then(said);
                        self.state.doubt(mark);
                        taken = None;
                    } else {
                        let said = self.list(body, texts);
                        out.then(said);
                        taken = Some(true);
                    }
                }
                (Some(false), Some(_)) if !self.hoped => {
                    self.dead(|runner| runner.list(body, texts));
                    self.ends_with(Some(0));
                }
                _ => {
                    let said = self.maybe(|runner| runner.list(body, texts));
                    out.then(said);
                    taken = None;
                }
            }
        }
        if let Some(body) = &conditional.otherwise {
            match taken {
                Some(true) => {
                    self.dead(|runner| runner.list(body, texts));
                }
                Some(false) => {
                    let said = self.list(body, texts);
                    out.then(said);
                }
                None => {
                    let said = self.maybe(|runner| runner.list(body, texts));
                    out.then(said);
                }
            }
        }
        out
    }

    fn repeat(&mut self, repeated: &While<'_>, texts: &[Heredoc<'_>]) -> Out {
        let mut out = Out::nothing();
        // It ends as its last round did.
        let mut last = (Some(0), false);
        for round in 0..MAX_ROUNDS {
            let said = self.list(&repeated.condition, texts);
            out.then(said);
            let goes = self.status.map(|status| (status == 0) != repeated.until);
            let goes = goes.filter(|_| !self.hoped);
            match goes {
                Some(true) => {
                    let said = self.list(&repeated.body, texts);
                    out.then(said);
                    if !self.next_round() {
                        return out;
                    }
                    last = (self.status, self.hoped);
                }
                Some(false) => {
                    if round == 0 {
                        self.dead(|runner| runner.list(&repeated.body, texts));
                    }
                    (self.status, self.hoped) = last;
                    return out;
                }
                None => {
                    let said = self.perhaps_again(|runner| {
                        let mut out = runner.list(&repeated.body, texts);
                        out.then(runner.list(&repeated.condition, texts));
                        out
                    });
                    out.then(said);
                    return out;
                }
            }
            if !self.spend() {
                break;
            }
        }
        // It does not end by anything known.
        let said = self.perhaps_again(|runner| runner.list(&repeated.body, texts));
        out.then(said);
        out
    }

    /// A round that may be gone through any number of times.
    fn perhaps_again(&mut self, mut round: impl FnMut(&mut Self) -> Out) -> Out {
        let mark = self.state.mark();
        let mut out = self.maybe(&mut round);
        if self.state.changed_since(mark) {
            let said = self.maybe(&mut round);
            out.then(said);
        }
        self.state.keep(mark);
        self.flow = Flow::Next;
        out
    }

    /// What `break` and `continue` ask for: whether another round is due.
    const fn next_round(&mut self) -> bool {
        match self.flow {
            Flow::Next => true,
            Flow::Continue(levels) if levels <= 1 => {
                self.flow = Flow::Next;
                true
            }
            Flow::Continue(levels) => {
                self.flow = Flow::Continue(levels - 1);
                false
            }
            Flow::Break(levels) => {
                self.flow = if levels <= 1 {
                    Flow::Next
                } else {
                    Flow::Break(levels - 1)
                };
                false
            }
            Flow::Return | Flow::Exit => false,
        }
    }

    fn each(&mut self, repeated: &For<'_>, texts: &[Heredoc<'_>]) -> Out {
        let mut out = Out::nothing();
        match &repeated.head {
            ForHead::Words {
                name,
                words,
                select,
            } => {
                let name = String::from_utf8_lossy(name).into_owned();
                let values = match words {
                    Some(words) => self.words(words),
                    None => match self.state.positional() {
                        Positional::Known(words) => {
                            words.iter().cloned().map(Value::Known).collect()
                        }
                        Positional::Unknown => vec![Value::unknown(OUTPUT)],
                    },
                };
                if *select {
                    self.state.set(&name, Variable::Unknown);
                    let said = self.list(&repeated.body, texts);
                    self.flow = Flow::Next;
                    out.then(said);
                    return out;
                }
                let known: Option<Vec<String>> = values
                    .iter()
                    .map(|value| value.known().map(str::to_owned))
                    .collect();
                match known {
                    Some(known) if known.len() <= MAX_ROUNDS => {
                        if known.is_empty() {
                            self.ends_with(Some(0));
                            self.dead(|runner| runner.list(&repeated.body, texts));
                        }
                        for value in known {
                            self.state.text(&name, value);
                            let said = self.list(&repeated.body, texts);
                            out.then(said);
                            if !self.next_round() {
                                break;
                            }
                        }
                    }
                    _ => {
                        // A known value is tried as itself; the others are one that is not known.
                        for value in values.iter().filter_map(Value::known).take(MAX_ROUNDS) {
                            self.state.text(&name, value);
                            let said = self.maybe(|runner| runner.list(&repeated.body, texts));
                            out.then(said);
                        }
                        self.state.set(&name, Variable::Unknown);
                        let said = self.list(&repeated.body, texts);
                        out.then(said);
                        let more = self.perhaps_again(|runner| {
                            runner.state.set(&name, Variable::Unknown);
                            runner.list(&repeated.body, texts)
                        });
                        out.then(more);
                    }
                }
            }
            ForHead::Arithmetic(head) => {
                let mut parts = split_head(head).into_iter().map(<[u8]>::to_vec);
                let (start, condition, step) = (parts.next(), parts.next(), parts.next());
                let value = |runner: &mut Self, text: &Option<Vec<u8>>| {
                    let text = text.as_deref().unwrap_or_default();
                    if text.trim_ascii().is_empty() {
                        Some(1)
                    } else {
                        runner.arithmetic(text)
                    }
                };
                let _first = value(self, &start);
                for round in 0..=MAX_ROUNDS {
                    match value(self, &condition) {
                        Some(0) => {
                            if round == 0 {
                                self.ends_with(Some(0));
                                self.dead(|runner| runner.list(&repeated.body, texts));
                            }
                            return out;
                        }
                        Some(_) if round < MAX_ROUNDS => {
                            let said = self.list(&repeated.body, texts);
                            out.then(said);
                            if !self.next_round() {
                                return out;
                            }
                        }
                        _ => {
                            let said =
                                self.perhaps_again(|runner| runner.list(&repeated.body, texts));
                            out.then(said);
                            return out;
                        }
                    }
                    let _step = value(self, &step);
                }
            }
            ForHead::Repeat(count) => {
                let count = self.arithmetic(count.raw);
                let rounds = count.map_or(1, |count| count.clamp(0, 4));
                for _ in 0..rounds {
                    let said = self.list(&repeated.body, texts);
                    out.then(said);
                    if !self.next_round() {
                        break;
                    }
                }
            }
        }
        out
    }

    fn case(&mut self, case: &Case<'_>, texts: &[Heredoc<'_>]) -> Out {
        let word = self.text_of(case.word.raw, Mode::Word);
        let mut out = Out::nothing();
        let mut taken = Some(false);
        let mut falls = false;
        for arm in &case.arms {
            let mut fits = Some(false);
            for pattern in &arm.patterns {
                let like = match (&word, self.pattern(pattern.raw, Mode::Word)) {
                    (Some(word), Some(pattern)) => pattern::matches(&pattern, word),
                    _ => None,
                };
                fits = match (fits, like) {
                    (Some(true), _) | (_, Some(true)) => Some(true),
                    (None, _) | (_, None) => None,
                    _ => Some(false),
                };
            }
            let runs = match (taken, fits) {
                _ if falls => Some(true),
                (Some(true), _) | (Some(false), Some(false)) => Some(false),
                (Some(false), Some(true)) => Some(true),
                (None, Some(false)) => Some(false),
                _ => None,
            };
            match runs {
                Some(true) => {
                    let said = self.list(&arm.body, texts);
                    out.then(said);
                    taken = Some(true);
                    falls = arm.falls;
                }
                Some(false) => {
                    self.dead(|runner| runner.list(&arm.body, texts));
                }
                None => {
                    let said = self.maybe(|runner| runner.list(&arm.body, texts));
                    out.then(said);
                    taken = None;
                }
            }
        }
        if taken == Some(false) {
            self.ends_with(Some(0));
        }
        out
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

/// The three parts of a head, whose substitutions may have semicolons of their own.
fn split_head(head: &[u8]) -> Vec<&[u8]> {
    let (mut depth, mut start) = (0_usize, 0);
    let mut parts = Vec::new();
    for (at, byte) in head.iter().enumerate() {
        match byte {
            b'(' => depth += 1,
            b')' => depth = depth.saturating_sub(1),
            b';' if depth == 0 => {
                parts.push(head.get(start..at).unwrap_or_default());
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(head.get(start..).unwrap_or_default());
    parts
}

/// Whether a body starts the function `name` in a pipeline or in the background, twice or more.
fn calls_itself_twice(command: &Command<'_>, name: &str) -> bool {
    let list = match &command.kind {
        Kind::Group(list) | Kind::Subshell(list) => list,
        _ => return false,
    };
    let calls = |command: &Command<'_>| {
        matches!(&command.kind, Kind::Simple { words, .. }
            if words.first().is_some_and(|word| word.raw == name.as_bytes()))
    };
    list.items.iter().any(|item| {
        let count = std::iter::once(&item.first)
            .chain(&item.rest)
            .filter(|command| calls(command))
            .count();
        count > 1 || count == 1 && item.background
    })
}
