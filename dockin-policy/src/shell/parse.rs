//! From bytes to syntax: POSIX sh with what bash, busybox and zsh add to it, read leniently
//! where that means more commands, never fewer.
//!
//! Recursion is counted: nothing nests deeper than [`MAX_DEPTH`].

use std::{cell::Cell, rc::Rc};

use super::{
    ast::{Command, CommandKind, Pipeline, Redirect, RedirectKind, Script, Word},
    word::Delimiter,
};

/// How deep anything may nest; people's lines stay below 8.
pub(crate) const MAX_DEPTH: usize = 64;

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

/// Reads a whole text.
pub(crate) fn parse(text: &[u8]) -> Result<Script, ParseError> {
    let mut parser = Parser::new(text);
    let script = parser.script(&[])?;
    if parser.position < text.len() {
        return Err(parser.malformed());
    }
    if !parser.heredocs.is_empty() {
        return Err(ParseError::Incomplete);
    }
    Ok(script)
}

/// A here-document that is announced and not read yet: its end mark, whether its tabs go, and
/// whether it is taken as it stands.
struct Heredoc {
    end: Vec<u8>,
    strip_tabs: bool,
    quoted: bool,
}

pub(super) struct Parser<'a> {
    pub(super) text: &'a [u8],
    pub(super) position: usize,
    depth: usize,
    /// Steps left, for this text and all inside it: what reads a text twice, as `((` does that
    /// turns out to be no arithmetic, must not do so at every depth.
    budget: Rc<Cell<usize>>,
    heredocs: Vec<Heredoc>,
}

const BLANKS: &[u8] = b" \t";
/// Steps that any text may take.
const STEPS: usize = 10_000;
/// Steps for each byte on top: one pass takes below 4.
const STEPS_PER_BYTE: usize = 32;
/// Here-documents that one line may announce.
const MAX_HEREDOCS: usize = 16;

impl<'a> Parser<'a> {
    pub(super) fn new(text: &'a [u8]) -> Self {
        let budget = Rc::new(Cell::new(STEPS + STEPS_PER_BYTE * text.len()));
        Self {
            text,
            position: 0,
            depth: 0,
            budget,
            heredocs: Vec::new(),
        }
    }

    /// A parser for a text inside this one's, as deep as this one is.
    pub(super) fn inner<'b>(&self, text: &'b [u8]) -> Parser<'b> {
        let budget = Rc::clone(&self.budget);
        Parser {
            text,
            position: 0,
            depth: self.depth,
            budget,
            heredocs: Vec::new(),
        }
    }

    /// Takes `steps` from the budget.
    pub(super) fn spend(&self, steps: usize) -> Result<(), ParseError> {
        match self.budget.get().checked_sub(steps) {
            Some(left) => {
                self.budget.set(left);
                Ok(())
            }
            None => Err(ParseError::TooDeep {
                offset: self.position,
            }),
        }
    }

    pub(super) const fn malformed(&self) -> ParseError {
        ParseError::Malformed {
            offset: self.position,
        }
    }

    pub(super) fn deeper<T>(
        &mut self,
        inside: impl FnOnce(&mut Self) -> Result<T, ParseError>,
    ) -> Result<T, ParseError> {
        self.spend(1)?;
        if self.depth == MAX_DEPTH {
            return Err(ParseError::TooDeep {
                offset: self.position,
            });
        }
        self.depth += 1;
        let result = inside(self);
        self.depth -= 1;
        result
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.text.get(self.position).copied()
    }

    pub(super) fn starts_with(&self, what: &[u8]) -> bool {
        self.text
            .get(self.position..)
            .is_some_and(|rest| rest.starts_with(what))
    }

    pub(super) fn take(&mut self, what: &[u8]) -> bool {
        let found = self.starts_with(what);
        if found {
            self.position += what.len();
        }
        found
    }

    /// Commands up to one of the words or marks in `ends`, which is left, or to the end.
    pub(super) fn script(&mut self, ends: &[&str]) -> Result<Script, ParseError> {
        self.deeper(|parser| {
            let mut script = Script::default();
            let mut conditional = false;
            loop {
                parser.skip_separators()?;
                if parser.peek().is_none() {
                    return if ends.is_empty() {
                        Ok(script)
                    } else {
                        Err(ParseError::Incomplete)
                    };
                }
                if parser.at_end(ends) {
                    return Ok(script);
                }
                let before = parser.position;
                let mut pipeline = parser.pipeline()?;
                pipeline.conditional = conditional;
                script.pipelines.push(pipeline);
                if parser.position == before {
                    return Err(parser.malformed());
                }
                parser.skip_blanks();
                // `&&` and `||` want another command behind them.
                conditional = parser.take(b"&&") || parser.take(b"||");
                if conditional {
                    parser.skip_newlines()?;
                    if parser.peek().is_none() {
                        return Err(ParseError::Incomplete);
                    }
                } else if !parser.starts_with(b";;") && !parser.starts_with(b";&") {
                    let _separated = parser.take(b";") || parser.take(b"&");
                }
            }
        })
    }

    fn at_end(&self, ends: &[&str]) -> bool {
        ends.iter().any(|end| match *end {
            ")" | "}" | ";;" => {
                self.starts_with(end.as_bytes())
                    || (*end == ";;" && (self.starts_with(b";&") || self.at_word("esac")))
            }
            word => self.at_word(word),
        })
    }

    /// Whether the reserved word stands here alone.
    fn at_word(&self, word: &str) -> bool {
        self.starts_with(word.as_bytes())
            && self
                .text
                .get(self.position + word.len())
                .is_none_or(|byte| b" \t\n;&|()<>".contains(byte))
    }

    fn take_word(&mut self, word: &str) -> bool {
        let found = self.at_word(word);
        if found {
            self.position += word.len();
        }
        found
    }

    fn expect_word(&mut self, word: &str) -> Result<(), ParseError> {
        self.skip_separators()?;
        if self.take_word(word) {
            return Ok(());
        }
        if self.peek().is_none() {
            Err(ParseError::Incomplete)
        } else {
            Err(self.malformed())
        }
    }

    fn pipeline(&mut self) -> Result<Pipeline, ParseError> {
        let mut commands = Vec::new();
        loop {
            self.skip_blanks();
            while self.take_word("!") || self.take_word("time") || self.take_word("coproc") {
                self.skip_blanks();
                while self.at_word("-p") && self.take_word("-p") {
                    self.skip_blanks();
                }
            }
            commands.push(self.command()?);
            self.skip_blanks();
            if self.starts_with(b"||") || !(self.take(b"|&") || self.take(b"|")) {
                return Ok(Pipeline {
                    commands,
                    conditional: false,
                });
            }
            self.skip_newlines()?;
            if self.peek().is_none() {
                return Err(ParseError::Incomplete);
            }
        }
    }

    fn command(&mut self) -> Result<Command, ParseError> {
        let start = self.position;
        let (kind, mut redirects) = self.deeper(Self::command_kind)?;
        if !matches!(kind, CommandKind::Simple { .. }) {
            loop {
                self.skip_blanks();
                match self.redirect()? {
                    Some(redirect) => redirects.push(redirect),
                    None => break,
                }
            }
        }
        Ok(Command {
            kind,
            redirects,
            span: start..self.position,
        })
    }

    fn command_kind(&mut self) -> Result<(CommandKind, Vec<Redirect>), ParseError> {
        let compound = |parts, words, variable| {
            Ok((
                CommandKind::Compound {
                    parts,
                    words,
                    variable,
                },
                Vec::new(),
            ))
        };
        if self.starts_with(b"((") {
            // A subshell in a subshell when it is no arithmetic.
            let start = self.position;
            if let Ok(scripts) = self.arithmetic() {
                return compound(scripts, Vec::new(), None);
            }
            self.position = start;
        }
        if self.take(b"(") {
            let body = self.script(&[")"])?;
            self.position += 1;
            return compound(vec![body], Vec::new(), None);
        }
        if self.at_word("{") {
            self.position += 1;
            let body = self.script(&["}"])?;
            self.position += 1;
            return compound(vec![body], Vec::new(), None);
        }
        if self.take_word("if") {
            return compound(self.conditional()?, Vec::new(), None);
        }
        if self.take_word("while") || self.take_word("until") {
            let condition = self.script(&["do"])?;
            let body = self.loop_body()?;
            return compound(vec![condition, body], Vec::new(), None);
        }
        if self.take_word("for") || self.take_word("select") {
            return self.for_loop();
        }
        if self.take_word("case") {
            return self.case();
        }
        if self.take_word("[[") {
            return self.test();
        }
        if self.take_word("function") {
            self.skip_blanks();
            let name = self.name();
            self.skip_blanks();
            if self.take(b"(") {
                self.skip_blanks();
                if !self.take(b")") {
                    return Err(self.malformed());
                }
            }
            return self.function(name);
        }
        self.simple()
    }

    fn conditional(&mut self) -> Result<Vec<Script>, ParseError> {
        let mut parts = vec![self.script(&["then"])?];
        self.expect_word("then")?;
        loop {
            parts.push(self.script(&["elif", "else", "fi"])?);
            if self.take_word("elif") {
                parts.push(self.script(&["then"])?);
                self.expect_word("then")?;
            } else if self.take_word("else") {
                parts.push(self.script(&["fi"])?);
                self.expect_word("fi")?;
                return Ok(parts);
            } else {
                self.expect_word("fi")?;
                return Ok(parts);
            }
        }
    }

    fn loop_body(&mut self) -> Result<Script, ParseError> {
        self.skip_separators()?;
        if self.at_word("{") {
            self.position += 1;
            let body = self.script(&["}"])?;
            self.position += 1;
            return Ok(body);
        }
        self.expect_word("do")?;
        let body = self.script(&["done"])?;
        self.expect_word("done")?;
        Ok(body)
    }

    fn for_loop(&mut self) -> Result<(CommandKind, Vec<Redirect>), ParseError> {
        self.skip_blanks();
        if self.starts_with(b"((") {
            let mut parts = self.arithmetic()?;
            parts.push(self.loop_body()?);
            let kind = CommandKind::Compound {
                parts,
                words: Vec::new(),
                variable: None,
            };
            return Ok((kind, Vec::new()));
        }
        let variable = self.name();
        if variable.is_empty() {
            return Err(self.missing());
        }
        self.skip_separators_once()?;
        let mut words = Vec::new();
        if self.take_word("in") {
            loop {
                self.skip_blanks();
                match self.peek() {
                    Some(b';' | b'\n') => break,
                    None => return Err(ParseError::Incomplete),
                    Some(b'&' | b'|' | b'(' | b')' | b'<' | b'>') => return Err(self.malformed()),
                    Some(_) => words.push(self.word(Delimiter::Command)?),
                }
            }
        }
        let parts = vec![self.loop_body()?];
        let variable = Some(variable);
        Ok((
            CommandKind::Compound {
                parts,
                words,
                variable,
            },
            Vec::new(),
        ))
    }

    fn case(&mut self) -> Result<(CommandKind, Vec<Redirect>), ParseError> {
        self.skip_blanks();
        let mut words = vec![self.word(Delimiter::Command)?];
        self.expect_word("in")?;
        let mut parts = Vec::new();
        loop {
            self.skip_separators()?;
            if self.take_word("esac") {
                let kind = CommandKind::Compound {
                    parts,
                    words,
                    variable: None,
                };
                return Ok((kind, Vec::new()));
            }
            let _open = self.take(b"(");
            loop {
                self.skip_blanks();
                if self.peek().is_none() {
                    return Err(ParseError::Incomplete);
                }
                words.push(self.word(Delimiter::Pattern)?);
                self.skip_blanks();
                if !self.take(b"|") {
                    break;
                }
            }
            if !self.take(b")") {
                return Err(self.missing());
            }
            parts.push(self.script(&[";;"])?);
            let ended = self.take(b";;&") || self.take(b";;") || self.take(b";&");
            if !(ended || self.at_word("esac")) {
                return Err(self.missing());
            }
        }
    }

    /// `[[ … ]]`: words, operators, parentheses, none of which is a command.
    fn test(&mut self) -> Result<(CommandKind, Vec<Redirect>), ParseError> {
        let mut words = Vec::new();
        loop {
            self.skip_newlines()?;
            if self.take_word("]]") {
                return Ok((CommandKind::Test { words }, Vec::new()));
            }
            match self.peek() {
                None => return Err(ParseError::Incomplete),
                Some(b'&' | b'|' | b'(' | b')' | b'<' | b'>' | b';') => self.position += 1,
                Some(_) => words.push(self.word(Delimiter::Test)?),
            }
        }
    }

    fn function(&mut self, name: String) -> Result<(CommandKind, Vec<Redirect>), ParseError> {
        self.skip_newlines()?;
        if self.peek().is_none() {
            return Err(ParseError::Incomplete);
        }
        let body = self.command()?;
        let pipeline = Pipeline {
            commands: vec![body],
            conditional: false,
        };
        let body = Script {
            pipelines: vec![pipeline],
        };
        Ok((CommandKind::Function { name, body }, Vec::new()))
    }

    fn simple(&mut self) -> Result<(CommandKind, Vec<Redirect>), ParseError> {
        let mut assignments = Vec::new();
        let mut words = Vec::new();
        let mut redirects = Vec::new();
        loop {
            self.skip_blanks();
            if let Some(redirect) = self.redirect()? {
                redirects.push(redirect);
                continue;
            }
            match self.peek() {
                None | Some(b'\n' | b';' | b'&' | b'|' | b')') => break,
                Some(b'(') => {
                    let name = words
                        .first()
                        .filter(|_| words.len() == 1)
                        .and_then(Word::literal);
                    let Some(name) = name else {
                        return Err(self.malformed());
                    };
                    self.position += 1;
                    self.skip_blanks();
                    if !self.take(b")") {
                        return Err(self.missing());
                    }
                    return self.function(name);
                }
                Some(_) => {}
            }
            if words.is_empty()
                && let Some(assignment) = self.assignment()?
            {
                assignments.push(assignment);
                continue;
            }
            words.push(self.word(Delimiter::Command)?);
        }
        if assignments.is_empty() && words.is_empty() && redirects.is_empty() {
            return Err(self.missing());
        }
        Ok((CommandKind::Simple { assignments, words }, redirects))
    }

    /// `name=word`, `name+=word` or `name=(…)`.
    fn assignment(&mut self) -> Result<Option<(String, Word)>, ParseError> {
        let start = self.position;
        let name = self.name();
        let index = self.peek() == Some(b'[');
        let mut inside = Vec::new();
        if index {
            let start = self.position + 1;
            while self
                .peek()
                .is_some_and(|byte| byte != b']' && byte != b'\n')
            {
                self.position += 1;
            }
            inside = self
                .text
                .get(start..self.position)
                .unwrap_or_default()
                .to_vec();
            let _closed = self.take(b"]");
        }
        // What is added to is not followed.
        let appends = self.take(b"+=");
        if name.is_empty() || !(appends || self.take(b"=")) {
            self.position = start;
            return Ok(None);
        }
        if self.take(b"(") {
            let mut list = Word::default();
            loop {
                self.skip_newlines()?;
                if self.take(b")") {
                    return Ok(Some((name, list.opaque())));
                }
                if self.peek().is_none() {
                    return Err(ParseError::Incomplete);
                }
                list.parts.extend(self.word(Delimiter::Command)?.parts);
            }
        }
        let mut value = self.word_or_nothing()?;
        if index {
            let word = self.deeper(|parser| parser.inner(&inside).double_quoted_text())?;
            value.parts.extend(word.parts);
        }
        Ok(Some((
            name,
            if index || appends {
                value.opaque()
            } else {
                value
            },
        )))
    }

    pub(super) fn name(&mut self) -> String {
        let rest = self.text.get(self.position..).unwrap_or_default();
        let first = rest
            .first()
            .is_some_and(|byte| byte.is_ascii_alphabetic() || *byte == b'_');
        let length = if first {
            rest.iter()
                .take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_')
                .count()
        } else {
            0
        };
        self.position += length;
        String::from_utf8_lossy(rest.get(..length).unwrap_or_default()).into_owned()
    }

    fn redirect(&mut self) -> Result<Option<Redirect>, ParseError> {
        let start = self.position;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.position += 1;
        }
        if self.position == start && self.peek() == Some(b'{') {
            // `{name}>file`
            self.position += 1;
            let name = self.name();
            if name.is_empty() || !self.take(b"}") {
                self.position = start;
            }
        }
        let kind = if self.take(b"<<<") {
            RedirectKind::Text
        } else if self.starts_with(b"<<") {
            return self.heredoc().map(Some);
        } else if self.starts_with(b"<(") || self.starts_with(b">(") {
            self.position = start;
            return Ok(None);
        } else if self.take(b"<&") || self.take(b">&") {
            RedirectKind::Duplicate
        } else if self.take(b"<>") || self.take(b">>") || self.take(b">|") || self.take(b">!") {
            RedirectKind::Write
        } else if self.starts_with(b"&>") {
            let _append = self.take(b"&>>") || self.take(b"&>");
            RedirectKind::Write
        } else if self.take(b">") {
            RedirectKind::Write
        } else if self.take(b"<") {
            RedirectKind::Read
        } else {
            self.position = start;
            return Ok(None);
        };
        self.skip_blanks();
        if self.peek().is_none_or(|byte| b"\n;&|)".contains(&byte)) {
            return Err(self.missing());
        }
        let target = self.word(Delimiter::Command)?;
        Ok(Some(Redirect { kind, target }))
    }

    fn heredoc(&mut self) -> Result<Redirect, ParseError> {
        self.position += 2;
        let strip_tabs = self.take(b"-");
        self.skip_blanks();
        let start = self.position;
        let mark = self.word(Delimiter::Command)?;
        let raw = self.text.get(start..self.position).unwrap_or_default();
        let quoted = raw.iter().any(|byte| b"'\"\\".contains(byte));
        let end = mark.literal().ok_or_else(|| self.malformed())?.into_bytes();
        if self.heredocs.len() == MAX_HEREDOCS {
            return Err(ParseError::TooDeep {
                offset: self.position,
            });
        }
        self.heredocs.push(Heredoc {
            end,
            strip_tabs,
            quoted,
        });
        // The body stands behind the line; it is read ahead, so that it is there for the command.
        let target = self.heredoc_ahead()?;
        Ok(Redirect {
            kind: RedirectKind::Text,
            target,
        })
    }

    /// Reads the body of the last announced here-document where it will be found.
    fn heredoc_ahead(&mut self) -> Result<Word, ParseError> {
        let here = self.position;
        let rest = self.text.get(here..).unwrap_or_default();
        let Some(line_end) = rest.iter().position(|byte| *byte == b'\n') else {
            return Err(ParseError::Incomplete);
        };
        self.position += line_end + 1;
        let mut body = Word::default();
        let pending = self.heredocs.len();
        for index in 0..pending {
            let Some(heredoc) = self.heredocs.get(index) else {
                break;
            };
            let (end, strip_tabs, quoted) =
                (heredoc.end.clone(), heredoc.strip_tabs, heredoc.quoted);
            body = self.heredoc_body(&end, strip_tabs, quoted)?;
        }
        self.position = here;
        Ok(body)
    }

    fn heredoc_body(
        &mut self,
        end: &[u8],
        strip_tabs: bool,
        quoted: bool,
    ) -> Result<Word, ParseError> {
        let mut body = Vec::new();
        loop {
            let rest = self.text.get(self.position..).unwrap_or_default();
            if rest.is_empty() {
                return Err(ParseError::Incomplete);
            }
            let length = rest.iter().position(|byte| *byte == b'\n');
            let mut line = rest.get(..length.unwrap_or(rest.len())).unwrap_or_default();
            self.position += length.map_or(rest.len(), |length| length + 1);
            if strip_tabs {
                while let [b'\t', behind @ ..] = line {
                    line = behind;
                }
            }
            if line == end {
                break;
            }
            if length.is_none() {
                return Err(ParseError::Incomplete);
            }
            body.extend_from_slice(line);
            body.push(b'\n');
        }
        if quoted {
            return Ok(Word::text(&body, true));
        }
        self.deeper(|parser| parser.inner(&body).double_quoted_text())
    }

    /// The bodies of here-documents lie behind the line that announces them.
    fn skip_heredocs(&mut self) -> Result<(), ParseError> {
        for heredoc in std::mem::take(&mut self.heredocs) {
            self.heredoc_body(&heredoc.end, heredoc.strip_tabs, heredoc.quoted)?;
        }
        Ok(())
    }

    pub(super) fn skip_blanks(&mut self) {
        loop {
            match self.peek() {
                Some(byte) if BLANKS.contains(&byte) => self.position += 1,
                Some(b'\\') if self.starts_with(b"\\\n") => self.position += 2,
                Some(b'#') if self.at_comment() => self.skip_comment(),
                _ => return,
            }
        }
    }

    fn at_comment(&self) -> bool {
        let before = self
            .position
            .checked_sub(1)
            .and_then(|at| self.text.get(at));
        before.is_none_or(|byte| b" \t\n;&|()".contains(byte))
    }

    fn skip_comment(&mut self) {
        while self.peek().is_some_and(|byte| byte != b'\n') {
            self.position += 1;
        }
    }

    fn skip_newlines(&mut self) -> Result<(), ParseError> {
        loop {
            self.skip_blanks();
            if !self.take(b"\n") {
                return Ok(());
            }
            self.skip_heredocs()?;
        }
    }

    fn skip_separators(&mut self) -> Result<(), ParseError> {
        loop {
            self.skip_newlines()?;
            if self.starts_with(b";;") || self.starts_with(b";&") || !self.take(b";") {
                return Ok(());
            }
        }
    }

    fn skip_separators_once(&mut self) -> Result<(), ParseError> {
        self.skip_newlines()?;
        if !self.starts_with(b";;") {
            let _one = self.take(b";");
        }
        self.skip_newlines()
    }

    /// What is wrong when something had to stand here.
    pub(super) fn missing(&self) -> ParseError {
        if self.position >= self.text.len() {
            ParseError::Incomplete
        } else {
            self.malformed()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{ParseError, parse};

    #[test]
    fn what_a_shell_would_wait_for_is_incomplete() {
        for text in [
            "echo 'a",
            "echo \"a",
            "if true",
            "while x; do y",
            "for i in a; do",
            "cat <<E\na\n",
            "a |",
            "a &&",
            "f() {",
            "(a",
            "echo $(a",
            "case x in",
            "[[ a",
            "echo ${a",
            "cat <<E",
        ] {
            assert_eq!(
                parse(text.as_bytes()),
                Err(ParseError::Incomplete),
                "{text}"
            );
        }
    }

    #[test]
    fn what_a_shell_would_complain_of_is_malformed() {
        for text in ["a )", "; ;; b", "| a", "fi )", "a (b", "> ;"] {
            assert!(
                matches!(parse(text.as_bytes()), Err(ParseError::Malformed { .. })),
                "{text}"
            );
        }
    }

    #[test]
    fn whole_commands_are_read() {
        for text in [
            "",
            "ls",
            "ls -l; pwd",
            "a && b || c &",
            "if a; then b; elif c; then d; else e; fi",
            "for i in 1 2; do echo $i; done",
            "for ((i=0;i<3;i++)); do a; done",
            "f() { a; }",
            "function f { a; }",
            "case $x in a|b) c;; *) d;; esac",
            "cat <<E\nhello\nE\n",
            "cat <<'E' | sort\n$(x)\nE\n",
            "a > b 2>&1 < c",
            "[[ $a == b && -f c ]] && d",
            "x=1 y=2 cmd",
            "a=(1 2 3)",
            "{ a; b; }",
            "(a; b)",
            "! a",
            "time ls",
            "echo `date`",
            "while read l; do echo $l; done < f",
            "echo a # comment",
            "a\\\nb",
            "diff <(a) <(b)",
            "echo $((1 + 2))",
            "until a; do b; done",
            "ls *.txt {a,b}",
            "echo ${x:-y} ${x%%z*}",
        ] {
            assert!(
                parse(text.as_bytes()).is_ok(),
                "{text}: {:?}",
                parse(text.as_bytes())
            );
        }
    }

    #[test]
    fn depth_is_bounded() {
        for open in [
            "(",
            "{ ",
            "$(",
            "echo \"$(",
            "${a:-",
            "if ",
            "a=(",
            "<(",
            "$((",
        ] {
            let text = open.repeat(100_000);
            assert!(parse(text.as_bytes()).is_err(), "{open}");
        }
    }
}
