use super::{
    ast::{CommandKind, Redirect, RedirectKind, Word},
    parser::{ParseError, Parser},
    word::Delimiter,
};

/// Simple commands: assignments, words and redirections.
impl Parser<'_> {
    pub(super) fn simple(&mut self) -> Result<(CommandKind, Vec<Redirect>), ParseError> {
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

    pub(super) fn redirect(&mut self) -> Result<Option<Redirect>, ParseError> {
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
}
