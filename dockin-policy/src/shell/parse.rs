//! From bytes to syntax: POSIX sh with what bash, busybox and zsh add to it, read leniently
//! where that means more commands, never fewer.

use super::{
    ast::{Command, CommandKind, Pipeline, Redirect, Script},
    parser::{ParseError, Parser},
    word::Delimiter,
};

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

/// Scripts, pipelines and compound commands.
impl Parser<'_> {
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

    pub(super) fn function(
        &mut self,
        name: String,
    ) -> Result<(CommandKind, Vec<Redirect>), ParseError> {
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
