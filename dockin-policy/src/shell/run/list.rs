//! Lists, pipelines, single commands and definitions.

use super::{Flow, Input, Runner, Shape, Variable};
use crate::shell::{
    Dialect,
    ast::{Command, Heredoc, Item, Join, Kind, List},
    expand::lossy,
    lexer::mark_line,
    value::{OUTPUT, Out},
};

impl Runner<'_> {
    pub(in crate::shell) fn list(&mut self, list: &List<'_>, texts: &[Heredoc<'_>]) -> Out {
        let mut out = Out::nothing();
        let mut line = None;
        // Since when what was changed may not have been: up to the end of `a && b && c`.
        let mut chain: Option<usize> = None;
        // Where the shell may be behind `cd a && b` if it could not go to `a`.
        let mut stayed: Vec<String> = Vec::new();
        let mut items = list.items.as_slice();
        while let Some((item, behind)) = items.split_first() {
            if self.is_spent() {
                break;
            }
            // `a && b &`: both are in the background, but in zsh the last alone. Counted where a
            // chain begins, so that a long one is counted once.
            let joined = if item.join == Join::Then && self.dialect() != Dialect::Zsh {
                behind.iter().take_while(|it| it.join != Join::Then).count()
            } else {
                0
            };
            if let Some(chained) = items.get(..=joined)
                && joined > 0
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
                let said =
                    self.in_background(|runner| runner.list(&List { items: chained }, texts));
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
                self.aliases = self.state.all_aliases().clone();
            }
            if self.flow != Flow::Next {
                let flow = std::mem::take(&mut self.flow);
                self.dead(|runner| runner.item(item, texts));
                self.flow = flow;
                continue;
            }
            stayed = self.arrive(item, stayed);
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
        self.state.add_formers(stayed);
        out
    }

    /// Runs something beside what follows: what it writes may be there by then.
    fn in_background(&mut self, inside: impl FnOnce(&mut Self) -> Out) -> Out {
        self.in_doubt(|runner| runner.below(inside))
    }

    /// Behind `cd a &&` the shell is in `a`, and behind `cd a || exit`. Gives the folders that it
    /// may have stayed in for what comes behind the chain.
    fn arrive(&mut self, item: &Item<'_>, mut stayed: Vec<String>) -> Vec<String> {
        match item.join {
            Join::And => stayed.extend(self.state.arrive()),
            Join::Or if self.leaves(item) => {
                let _left = self.state.arrive();
                stayed.clear();
            }
            Join::Or | Join::Then => self.state.add_formers(std::mem::take(&mut stayed)),
        }
        stayed
    }

    /// Whether the shell is surely gone behind the item: a script's `exit`, alone or last in braces.
    fn leaves(&self, item: &Item<'_>) -> bool {
        let command = &item.first;
        let is_plain = item.rest.is_empty()
            && !item.background
            && !item.coprocess
            && command.redirects.is_empty()
            // A shell with stopped jobs stays.
            && !self.state.is_interactive();
        is_plain
            && match &command.kind {
                Kind::Simple {
                    assignments: 0,
                    words,
                } => {
                    let is_exit = words.first().is_some_and(|word| word.raw == b"exit");
                    is_exit && !self.state.has_aliases() && self.state.function("exit").is_none()
                }
                Kind::Group(list) => match list.items.as_slice() {
                    [said, last] => {
                        last.join == Join::Then && self.leaves(last) && is_said(&said.first)
                    }
                    _ => false,
                },
                _ => false,
            }
    }

    pub(super) fn item(&mut self, item: &Item<'_>, texts: &[Heredoc<'_>]) -> Out {
        // A program of the small shells, and below zsh.
        if item.timed && self.dialect() != Dialect::Bash {
            if let Kind::Simple { words, .. } = &item.first.kind
                && words.first().is_some_and(|word| word.raw.starts_with(b"-"))
            {
                self.unknown("options of a program that measures another");
            }
            return self.in_doubt(|runner| runner.measured(item, texts));
        }
        self.measured(item, texts)
    }

    fn measured(&mut self, item: &Item<'_>, texts: &[Heredoc<'_>]) -> Out {
        let out = if item.rest.is_empty() {
            if item.background || item.coprocess {
                let stdin = self.stdin.clone();
                if item.coprocess {
                    self.stdin = Input::Unknown(OUTPUT);
                }
                let out = self.in_background(|runner| runner.command(&item.first, texts));
                self.stdin = stdin;
                if item.coprocess {
                    let name = match item.coprocess_name {
                        [] => "COPROC".to_owned(),
                        name => lossy(name),
                    };
                    // Its descriptors and its process stand there.
                    self.state.set(&name, Variable::Unknown);
                    self.state.set(&format!("{name}_PID"), Variable::Unknown);
                }
                self.ends_with(Some(0));
                out
            } else {
                self.command(&item.first, texts)
            }
        } else {
            self.pipeline(item, texts)
        };
        if item.negated {
            self.state.stay();
            self.status = self.status.map(|status| i32::from(status == 0));
        }
        out
    }

    pub(super) fn pipeline(&mut self, item: &Item<'_>, texts: &[Heredoc<'_>]) -> Out {
        let outer = self.stdin.clone();
        let mut out = self.below(|runner| runner.command(&item.first, texts));
        let stays = self.last_stays || self.dialect() == Dialect::Zsh;
        for (index, command) in item.rest.iter().enumerate() {
            self.stdin = match out {
                Out::Known(text) => Input::Text(text),
                Out::Unknown(reason) => Input::Unknown(reason),
            };
            out = if stays && index + 1 == item.rest.len() && !item.background {
                if self.dialect() == Dialect::Zsh {
                    self.command(command, texts)
                } else {
                    // Not where somebody types.
                    self.in_doubt(|runner| runner.command(command, texts))
                }
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

    pub(super) fn command(&mut self, command: &Command<'_>, texts: &[Heredoc<'_>]) -> Out {
        self.state.stay();
        if self.nesting == 0 {
            self.span = command.start..command.end;
        }
        if !self.spend() {
            return Out::Unknown(OUTPUT);
        }
        if let Kind::Simple { assignments, words } = &command.kind {
            return self.simple(*assignments, words, &command.redirects, texts);
        }
        let descriptors = (!command.redirects.is_empty()).then(|| self.descriptors.clone());
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
        let out = self.redirected_run(streams.may_fail, |runner| runner.compound(command, texts));
        if let Some(outer) = outer {
            self.stdin = outer;
        }
        if let Some(descriptors) = descriptors {
            self.descriptors = descriptors;
        }
        self.hoped |= streams.may_fail;
        self.deliver(out, &streams)
    }

    fn compound(&mut self, command: &Command<'_>, texts: &[Heredoc<'_>]) -> Out {
        match &command.kind {
            Kind::Group(list) => self.list(list, texts),
            Kind::Subshell(list) => self.below(|runner| runner.list(list, texts)),
            Kind::If(clauses) => self.conditional(clauses, texts),
            Kind::While(repeated) => self.in_loop(|runner| runner.repeat(repeated, texts)),
            Kind::For(repeated) => self.in_loop(|runner| runner.each(repeated, texts)),
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
        }
    }

    /// Runs a command with its redirections. Where one of them may fail nothing of it is run: what
    /// it changes in the shell is not known then.
    pub(in crate::shell) fn redirected_run<T>(
        &mut self,
        may_fail: bool,
        run: impl FnOnce(&mut Self) -> T,
    ) -> T {
        if !may_fail {
            return run(self);
        }
        let flow = self.flow;
        // What is behind `exit >file` may run.
        let result = self.doubting(run);
        if self.dialect().is_small() && flow == Flow::Next {
            // Small shells end where `exec >file` fails.
            self.flow = Flow::Exit;
            self.perhaps_leaves(flow);
        }
        result
    }

    pub(super) fn define(
        &mut self,
        name: &[u8],
        body: &[u8],
        inner: &Command<'_>,
        texts: &[Heredoc<'_>],
    ) {
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
        if is_called_by_the_shell(&name)
            || self.alias_entry(&name).is_some()
            || name.contains(['\'', '"', '\\'])
        {
            self.note_shadowed();
        }
        let kept = self.state.set_function(&name, Some(body));
        if !kept {
            self.unknown("more functions than are kept");
        }
    }
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

/// Whether the command only prints.
fn is_said(command: &Command<'_>) -> bool {
    matches!(&command.kind, Kind::Simple { assignments: 0, words }
        if words.first().is_some_and(|word| matches!(word.raw, b"echo" | b"printf")))
}

/// Whether shells call the function by themselves: when it is not written.
fn is_called_by_the_shell(name: &str) -> bool {
    name.starts_with("TRAP")
        || matches!(
            name,
            "chpwd"
                | "precmd"
                | "preexec"
                | "periodic"
                | "zshexit"
                | "zshaddhistory"
                | "command_not_found_handle"
                | "command_not_found_handler"
        )
}
