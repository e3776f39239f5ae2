//! Conditions, loops and choices.

use super::{Flow, MAX_ROUNDS, Runner};
use crate::shell::{
    Dialect,
    ast::{Case, For, ForHead, Heredoc, If, While},
    expand::Mode,
    pattern::Pattern,
    session::{Positional, Variable},
    value::{OUTPUT, Out, Value},
};

impl Runner<'_> {
    pub(super) fn conditional(&mut self, conditional: &If<'_>, texts: &[Heredoc<'_>]) -> Out {
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

    pub(super) fn repeat(&mut self, repeated: &While<'_>, texts: &[Heredoc<'_>]) -> Out {
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
    pub(super) fn perhaps_again(&mut self, mut round: impl FnMut(&mut Self) -> Out) -> Out {
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
    pub(super) const fn next_round(&mut self) -> bool {
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

    pub(super) fn each(&mut self, repeated: &For<'_>, texts: &[Heredoc<'_>]) -> Out {
        let mut out = Out::nothing();
        match &repeated.head {
            ForHead::Words {
                name,
                words,
                select,
            } => {
                let name = String::from_utf8_lossy(name).into_owned();
                self.ran_substitution = false;
                let values = match words {
                    Some(words) => self.words(words),
                    None => match self.state.positional() {
                        Positional::Known(words) => {
                            words.iter().cloned().map(Value::Known).collect()
                        }
                        Positional::Unknown => vec![Value::unknown(OUTPUT)],
                    },
                };
                self.doubt_status_of_head();
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

    /// `$?` behind a head with substitutions: theirs in bash, that before in others.
    fn doubt_status_of_head(&mut self) {
        if self.ran_substitution && self.dialect() != Dialect::Bash {
            self.ends_with(None);
        }
    }

    pub(super) fn case(&mut self, case: &Case<'_>, texts: &[Heredoc<'_>]) -> Out {
        self.ran_substitution = false;
        let word = self.text_of(case.word.raw, Mode::Word);
        self.doubt_status_of_head();
        let mut out = Out::nothing();
        let mut taken = Some(false);
        let mut falls = false;
        for arm in &case.arms {
            let mut fits = Some(false);
            for pattern in &arm.patterns {
                let like = match (&word, self.pattern(pattern.raw, Mode::Word)) {
                    (Some(word), Some(pattern)) => {
                        Pattern::new(&pattern).matches(word, &self.pattern_steps)
                    }
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
