//! Syntax back to text: one pipeline a line, words as they were written.

use super::{
    ast::{
        Case, Command, For, ForHead, Heredoc, If, Item, Join, Kind, List, Redirect, RedirectKind,
        Script, While, Word,
    },
    lexer::mark_line,
    parse::RESERVED,
};

/// The text of a script that was read to its end.
pub(super) fn print(script: &Script<'_>) -> Vec<u8> {
    let mut printer = Printer {
        heredocs: &script.heredocs,
        text: Vec::new(),
        pending: Vec::new(),
    };
    printer.list(&script.list);
    printer.text
}

struct Printer<'a> {
    heredocs: &'a [Heredoc<'a>],
    text: Vec<u8>,
    /// Here-documents whose texts come behind this line.
    pending: Vec<usize>,
}

impl Printer<'_> {
    fn say(&mut self, text: &[u8]) {
        self.text.extend_from_slice(text);
    }

    fn blank(&mut self) {
        if !matches!(self.text.last(), None | Some(b' ' | b'\n')) {
            self.text.push(b' ');
        }
    }

    /// Ends a line, and says the here-documents that it announced.
    fn newline(&mut self) {
        self.text.push(b'\n');
        for number in std::mem::take(&mut self.pending) {
            let Some(heredoc) = self.heredocs.get(number) else {
                continue;
            };
            self.text.extend_from_slice(heredoc.body);
            if !heredoc.body.is_empty() && !heredoc.body.ends_with(b"\n") {
                self.text.push(b'\n');
            }
            self.text.extend(mark_line(heredoc.mark));
            self.text.push(b'\n');
        }
    }

    /// Pipelines, each on a line of its own, but for those that hang on the one before.
    fn list(&mut self, list: &List<'_>) {
        let mut items = list.items.iter().peekable();
        while let Some(item) = items.next() {
            self.item(item);
            match items.peek().map(|next| next.join) {
                _ if item.background => {
                    self.say(b" &");
                    self.newline();
                }
                Some(Join::And) => self.say(b" && "),
                Some(Join::Or) => self.say(b" || "),
                Some(Join::Then) | None => self.newline(),
            }
        }
    }

    fn item(&mut self, item: &Item<'_>) {
        if item.timed {
            self.say(b"time ");
        }
        // A word of the shell's that is none behind `! !`, or nothing at all.
        let is_bare = item.first.redirects.is_empty()
            && matches!(&item.first.kind, Kind::Simple { words, .. }
                if words.first().is_none_or(|word| RESERVED.contains(&word.raw)));
        if item.negated {
            self.say(b"! ");
        } else if is_bare && !item.timed {
            self.say(b"! ! ");
        }
        if item.coprocess {
            self.say(b"coproc ");
            self.say(item.coprocess_name);
            self.blank();
        }
        self.command(&item.first);
        for command in &item.rest {
            self.say(if command.reads_errors {
                b" |& "
            } else {
                b" | "
            });
            self.command(command);
        }
    }

    fn command(&mut self, command: &Command<'_>) {
        // A word that is none of the shell's where it stands behind a redirection would be one in
        // front of it.
        if let Kind::Simple { words, .. } = &command.kind
            && words
                .iter()
                // Behind `coproc` the first may be a name.
                .take(2)
                .any(|word| RESERVED.contains(&word.raw))
            && !command.redirects.is_empty()
        {
            for redirect in &command.redirects {
                self.blank();
                self.redirect(redirect);
            }
            return self.words(words);
        }
        match &command.kind {
            Kind::Simple { words, .. } => self.words(words),
            Kind::Group(list) => self.between(b"{", list, b"}"),
            Kind::Subshell(list) => self.between(b"(", list, b")"),
            Kind::If(conditional) => self.conditional(conditional),
            Kind::While(repeated) => self.repeated(repeated),
            Kind::For(each) => self.each(each),
            Kind::Case(case) => self.case(case),
            Kind::Function { name, inner, .. } => {
                self.say(name);
                self.say(b"() ");
                self.command(inner);
            }
            Kind::Arithmetic(text) => {
                self.say(b"((");
                self.say(text);
                self.say(b"))");
            }
            Kind::Test(words) => {
                self.say(b"[[ ");
                self.words(words);
                self.say(b" ]]");
            }
        }
        for redirect in &command.redirects {
            self.blank();
            self.redirect(redirect);
        }
    }

    fn words(&mut self, words: &[Word<'_>]) {
        for word in words {
            self.blank();
            self.say(word.raw);
        }
    }

    fn redirect(&mut self, redirect: &Redirect<'_>) {
        self.say(redirect.operator);
        if let RedirectKind::Heredoc(number) = redirect.kind {
            let strips = self.heredocs.get(number).is_some_and(|it| it.strips_tabs);
            self.say(if strips { b"-" } else { b" " });
            self.pending.push(number);
        } else {
            // `< <(list)` is no `<<`.
            self.say(b" ");
        }
        self.say(redirect.target.raw);
    }

    fn between(&mut self, open: &[u8], list: &List<'_>, close: &[u8]) {
        self.say(open);
        self.newline();
        self.list(list);
        self.say(close);
    }

    fn conditional(&mut self, conditional: &If<'_>) {
        for (index, (condition, body)) in conditional.clauses.iter().enumerate() {
            self.between(if index == 0 { b"if" } else { b"elif" }, condition, b"then");
            self.newline();
            self.list(body);
        }
        if let Some(body) = &conditional.otherwise {
            self.say(b"else");
            self.newline();
            self.list(body);
        }
        self.say(b"fi");
    }

    fn repeated(&mut self, repeated: &While<'_>) {
        let word: &[u8] = if repeated.until { b"until" } else { b"while" };
        self.between(word, &repeated.condition, b"");
        self.between(b"do", &repeated.body, b"done");
    }

    fn each(&mut self, each: &For<'_>) {
        match &each.head {
            ForHead::Words {
                name,
                words,
                select,
            } => {
                self.say(if *select { b"select " } else { b"for " });
                self.say(name);
                if let Some(words) = words {
                    self.say(b" in");
                    self.words(words);
                }
            }
            ForHead::Arithmetic(head) => {
                self.say(b"for ((");
                self.say(head);
                self.say(b"))");
            }
            ForHead::Repeat(count) => {
                self.say(b"repeat ");
                self.say(count.raw);
            }
        }
        self.newline();
        self.between(b"do", &each.body, b"done");
    }

    fn case(&mut self, case: &Case<'_>) {
        self.say(b"case ");
        self.say(case.word.raw);
        self.say(b" in");
        self.newline();
        for arm in &case.arms {
            self.say(b"(");
            for (index, pattern) in arm.patterns.iter().enumerate() {
                if index > 0 {
                    self.say(b" | ");
                }
                self.say(pattern.raw);
            }
            self.say(b")");
            self.newline();
            self.list(&arm.body);
            self.say(if arm.end.is_empty() { b";;" } else { arm.end });
            self.newline();
        }
        self.say(b"esac");
    }
}

#[cfg(test)]
mod tests;
