//! Aliases, and what zsh takes for a command.

use crate::shell::{
    ast::{Heredoc, Redirect, Word},
    known,
    parse::parse,
    redirect::Streams,
    run::Runner,
    value::{OUTPUT, Out, Value},
};

impl Runner<'_> {
    /// Runs the text that an alias became, behind its assignments.
    pub(super) fn alias(
        &mut self,
        assigned: &[Word<'_>],
        words: &[Word<'_>],
        (text, names): (&str, Vec<String>),
        redirects: &[Redirect<'_>],
        texts: &[Heredoc<'_>],
    ) -> Out {
        let mut streams = self.redirects(redirects, texts);
        self.stand_alone(&mut streams);
        let outer = streams
            .stdin
            .take()
            .map(|stdin| std::mem::replace(&mut self.stdin, stdin));
        let mut whole = String::new();
        for word in assigned {
            whole.push_str(&crate::shell::expand::lossy(word.raw));
            whole.push(' ');
        }
        whole.push_str(text);
        if words
            .first()
            .is_some_and(|word| self.is_shadowing(word, text))
        {
            self.note_shadowed();
        }
        self.nesting += 1;
        let out = if !self.spend_bytes(whole.len()) || self.nesting > 12 {
            self.unknown("aliases inside aliases");
            Out::Unknown(OUTPUT)
        } else {
            let script = parse(whole.as_bytes(), self.dialect());
            if script.error.is_some() {
                self.unknown("an alias that cannot be read");
            }
            if self.state.doubts_aliases() {
                self.unknown("an alias that may not be set");
            }
            let outer = self.expanding.len();
            self.expanding.extend(names);
            let out = self.redirected_run(streams.may_fail, |runner| {
                runner.script(&script, whole.as_bytes())
            });
            self.expanding.truncate(outer);
            out
        };
        self.nesting -= 1;
        if let Some(outer) = outer {
            self.stdin = outer;
        }
        self.hoped |= streams.may_fail;
        self.deliver(out, &streams)
    }

    /// zsh: redirections alone are those of `cat`, or of `more` where they only read.
    pub(super) fn null_command(&mut self, mut streams: Streams) -> Out {
        let name = if streams.writes.is_empty() {
            "more"
        } else {
            "cat"
        };
        let outer = streams
            .stdin
            .take()
            .map(|stdin| std::mem::replace(&mut self.stdin, stdin));
        let out = self.argv(vec![Value::Known(name.to_owned())], &mut streams);
        if let Some(outer) = outer {
            self.stdin = outer;
        }
        self.hoped |= streams.may_fail;
        self.deliver(out, &streams)
    }

    /// The text that a command becomes when its name is an alias; aliases in it are replaced, too.
    pub(super) fn aliased(&self, words: &[Word<'_>]) -> Option<(String, Vec<String>)> {
        let mut text = String::new();
        let mut words = words.iter();
        let mut seen: Vec<String> = Vec::new();
        let mut more = true;
        let mut any = false;
        while more {
            let word = words.next()?;
            // A line may go on inside a name.
            let mut name = std::str::from_utf8(word.raw).ok()?.replace("\\\n", "");
            let mut rest = String::new();
            let mut found = false;
            while let Some((key, value)) = self.alias_entry(&name)
                && !seen.iter().any(|other| other == key)
            {
                seen.push(key.to_owned());
                found = true;
                let (first, behind) = match value.split_once([' ', '\t', '\n', ';', '|', '&']) {
                    Some((first, _)) => (first, value.get(first.len()..).unwrap_or_default()),
                    None => (value.as_str(), ""),
                };
                rest = format!("{behind}{rest}");
                name = first.to_owned();
            }
            any |= found;
            text.push_str(&name);
            text.push_str(&rest);
            more = found && (rest.ends_with([' ', '\t']));
            text.push(' ');
        }
        if !any {
            return None;
        }
        for word in words {
            text.push_str(std::str::from_utf8(word.raw).ok()?);
            text.push(' ');
        }
        Some((text, seen))
    }

    /// Whether an alias is more than a short name: for something that has that name already, or with
    /// text that changes how the line is read.
    fn is_shadowing(&self, word: &Word<'_>, text: &str) -> bool {
        let name = crate::shell::expand::lossy(word.raw);
        let is_same = text.split_ascii_whitespace().next() == Some(&*name);
        let is_taken = known::path_of(&name).is_some() || self.is_builtin(&name);
        let value = self.alias_entry(&name).map(|(_, value)| value.as_str());
        let is_plain = value.is_some_and(|value| {
            !value.contains(|c: char| "#<>|&;(){}`$\n\"'\\*?[~".contains(c))
                && !value.ends_with([' ', '\t'])
        });
        is_taken && !is_same || !is_plain
    }

    pub(in crate::shell) fn alias_entry(&self, name: &str) -> Option<(&str, &String)> {
        let is_text = name.is_empty() || name.contains(['\'', '"', '\\', '$']);
        if is_text || self.expanding.iter().any(|other| other == name) {
            return None;
        }
        self.alias_pair(name)
    }
}
