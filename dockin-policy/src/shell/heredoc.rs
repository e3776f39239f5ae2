use super::{
    ast::{Redirect, RedirectKind, Word},
    parser::{ParseError, Parser},
    word::Delimiter,
};

/// A here-document that is announced and not read yet: its end mark, whether its tabs go, and
/// whether it is taken as it stands.
pub(super) struct Heredoc {
    end: Vec<u8>,
    strip_tabs: bool,
    quoted: bool,
}
/// Here-documents that one line may announce.
const MAX_HEREDOCS: usize = 16;

impl Parser<'_> {
    pub(super) fn heredoc(&mut self) -> Result<Redirect, ParseError> {
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
    pub(super) fn skip_heredocs(&mut self) -> Result<(), ParseError> {
        for heredoc in std::mem::take(&mut self.heredocs) {
            self.heredoc_body(&heredoc.end, heredoc.strip_tabs, heredoc.quoted)?;
        }
        Ok(())
    }
}
