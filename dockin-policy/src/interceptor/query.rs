//! The shell's own edit buffer, asked for by a key of its own before Enter goes on.
//!
//! ```text
//!      ◀──ESC ] 633 ; E ; nonce ; > BEL── shell, at its prompt
//! Enter held ──KEY──▶ shell ──ESC ] 633 ; E ; nonce ; line ; expanded BEL──▶ judged ──Enter──▶
//! ```
//!
//! What comes back is exact, but it comes from the container: a user can take the key away or
//! answer in its place. So it is believed when keys or screen say the same, and is a guess
//! otherwise; without an answer keys and screen have to do.
//!
//! The key goes out only while the shell that knows it is at its prompt, which it says itself: any
//! other program, a nested shell included, would take it for something typed.

use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::Dialect;

/// Asks shells for their edit buffer; the text of [`startup`](Self::startup) must be run where the
/// shell starts, which [`wrap`](Self::wrap) sees to.
#[derive(Clone, Debug)]
pub struct BufferQuery {
    nonce: String,
}

impl BufferQuery {
    /// The key that the shell answers to; no keyboard has it.
    pub const KEY: &'static [u8] = b"\x1b[99;7~";

    /// A query whose answers carry `nonce`: letters and digits that nobody can guess, others are
    /// left out.
    #[must_use]
    pub fn new(nonce: &str) -> Self {
        Self {
            nonce: nonce.chars().filter(char::is_ascii_alphanumeric).collect(),
        }
    }

    /// What to run in place of `argv`, so that the shell it starts can be asked.
    ///
    /// `None` when `argv` is not plainly an interactive bash or zsh: its name or path, and no
    /// options but `-i`, `-l` and `--login`. The shell is the same process with the same
    /// arguments; it reads its own start files first, and nothing is typed into it. Where its
    /// start cannot be arranged (zsh needs to make a directory in `/tmp` for a moment) it starts
    /// as it would have.
    #[must_use]
    pub fn wrap(&self, argv: &[String]) -> Option<Vec<String>> {
        let (shell, options) = argv.split_first()?;
        let mut is_login = false;
        for option in options {
            match option.as_str() {
                "-i" => {}
                "-l" | "--login" | "-il" | "-li" => is_login = true,
                _ => return None,
            }
        }
        let (flag, script) = match shell.rsplit('/').next()? {
            "bash" if is_login => ("-c", self.bash_login()?),
            "bash" => ("-c", self.bash()?),
            "zsh" => ("-fc", self.zsh()?),
            _ => return None,
        };
        let mut wrapped = vec![shell.clone(), flag.to_owned(), script];
        wrapped.extend_from_slice(argv);
        Some(wrapped)
    }

    /// What a shell has to run once, as it starts; `None` for shells without an editor of their
    /// own that can be asked.
    #[must_use]
    pub fn startup(&self, dialect: Dialect) -> Option<String> {
        let nonce = &self.nonce;
        match dialect {
            // bash 5.1 and later run each element of `PROMPT_COMMAND`; a plain assignment to it
            // changes only the first.
            Dialect::Bash => Some(format!(
                r#"__dockin_hex() {{ local LC_ALL=C text=$1 at code; hex=; for ((at = 0; at < ${{#text}}; at++)); do printf -v code %d "'${{text:at:1}}"; printf -v code %02x $((code & 255)); hex+=$code; done; }}
__dockin_query() {{ local hex line; __dockin_hex "$READLINE_LINE"; line=$hex; __dockin_hex "$(history -p -- "$READLINE_LINE" 2>/dev/null)"; printf '\033]633;E;%s;%s;%s\007' {nonce} "$line" "$hex"; }}
__dockin_mark() {{ local code=$?; printf '\033]633;E;%s;>\007' {nonce}; return $code; }}
bind -m emacs -x '"\e[99;7~": __dockin_query'; bind -m vi-insert -x '"\e[99;7~": __dockin_query'; bind -m vi-command -x '"\e[99;7~": __dockin_query'
if ((BASH_VERSINFO[0] * 100 + BASH_VERSINFO[1] >= 501)); then PROMPT_COMMAND[7]=__dockin_mark; else PROMPT_COMMAND="__dockin_mark;$PROMPT_COMMAND"; fi
"#
            )),
            // The keys are bound at the first prompt, behind what the user's own files bind.
            Dialect::Zsh => Some(format!(
                r#"__dockin_query() {{ emulate -L zsh; setopt localoptions nomultibyte; local hex= at code; for ((at = 1; at <= $#BUFFER; at++)); do printf -v code %02x "'$BUFFER[at]"; hex+=$code; done; printf '\033]633;E;%s;%s;\007' {nonce} $hex > /dev/tty; }}
__dockin_mark() {{ printf '\033]633;E;%s;>\007' {nonce}; }}
__dockin_bind() {{ local map; zle -N __dockin_query; for map in emacs viins vicmd; do bindkey -M $map '^[[99;7~' __dockin_query; done; precmd_functions=(${{precmd_functions:#__dockin_bind}}); }}
precmd_functions+=(__dockin_bind __dockin_mark)
"#
            )),
            Dialect::Sh | Dialect::Busybox => None,
        }
    }

    /// Reads the start-up text from a pipe, behind the user's own `~/.bashrc`.
    fn bash(&self) -> Option<String> {
        let startup = self.startup(Dialect::Bash)?;
        let text = quoted(&format!(
            "if [ -f ~/.bashrc ]; then . ~/.bashrc; fi\n{startup}\
             case ${{BASH_SOURCE[0]}} in /dev/fd/*) eval \"exec ${{BASH_SOURCE[0]##*/}}<&-\";; esac\n"
        ));
        Some(format!("exec \"$0\" --rcfile <(printf %s {text}) \"$@\""))
    }

    /// A login shell has no start file of a name that can be given, but it runs `PROMPT_COMMAND`,
    /// unless its own start files put another one in place.
    fn bash_login(&self) -> Option<String> {
        let startup = self.startup(Dialect::Bash)?;
        let text = quoted(&format!(
            "exec 9<&-; PROMPT_COMMAND=${{PROMPT_COMMAND/. \\/dev\\/fd\\/9/:}}; \
             [ \"$PROMPT_COMMAND\" != : ] || unset PROMPT_COMMAND\n\
             {startup}declare +x PROMPT_COMMAND\n__dockin_mark\n"
        ));
        Some(format!(
            "exec 9< <(printf %s {text}); PROMPT_COMMAND='. /dev/fd/9' exec \"$0\" \"$@\""
        ))
    }

    /// zsh reads its first start file from a directory that can be named.
    fn zsh(&self) -> Option<String> {
        let startup = self.startup(Dialect::Zsh)?;
        let text = quoted(&format!(
            "command rm -rf -- $ZDOTDIR\n\
             if (( ${{+DOCKIN_ZDOTDIR}} )); then ZDOTDIR=$DOCKIN_ZDOTDIR; else unset ZDOTDIR; fi\n\
             unset DOCKIN_ZDOTDIR\n\
             if [[ -f ${{ZDOTDIR:-$HOME}}/.zshenv ]]; then . ${{ZDOTDIR:-$HOME}}/.zshenv; fi\n\
             {startup}"
        ));
        Some(format!(
            "d=/tmp/.dockin-$$-$RANDOM$RANDOM\n\
             if mkdir -m 700 $d 2>/dev/null && {{ print -r -- {text} > $d/.zshenv }} 2>/dev/null; then\n\
             (( ${{+ZDOTDIR}} )) && export DOCKIN_ZDOTDIR=$ZDOTDIR\n\
             export ZDOTDIR=$d\nfi\nexec \"$0\" \"$@\""
        ))
    }
}

/// `text` as one word of any shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// Tells the messages of an asked shell from the rest of its output.
#[derive(Debug)]
struct Scanner {
    prefix: Vec<u8>,
    /// Bytes from an escape on that may become a message.
    held: Vec<u8>,
}

/// Bytes of an answer: four for each of the longest line.
const MAX_ANSWER: usize = 256 * 1024;

impl Scanner {
    fn new(query: &BufferQuery) -> Self {
        Self {
            prefix: format!("\x1b]633;E;{};", query.nonce).into_bytes(),
            held: Vec::new(),
        }
    }

    /// Gives what is in front of, between and behind the messages, and the messages' bodies, in
    /// order.
    fn scan(&mut self, output: &[u8], mut piece: impl FnMut(Piece<'_>)) {
        let mut rest = output;
        while !rest.is_empty() {
            if self.held.is_empty() {
                let text = memchr::memchr(0x1b, rest).unwrap_or(rest.len());
                let (before, behind) = rest.split_at(text);
                if !before.is_empty() {
                    piece(Piece::Text(before));
                }
                let Some((escape, behind)) = behind.split_first() else {
                    return;
                };
                self.held.push(*escape);
                rest = behind;
                continue;
            }
            let Some((byte, behind)) = rest.split_first() else {
                return;
            };
            if *byte == 0x1b {
                piece(Piece::Text(&self.held));
                self.held.clear();
                continue;
            }
            rest = behind;
            self.held.push(*byte);
            match self.held.strip_prefix(self.prefix.as_slice()) {
                Some([body @ .., 0x07]) => {
                    piece(Piece::Message(body));
                    self.held = Vec::new();
                }
                Some(body) if body.len() <= MAX_ANSWER => {}
                None if self.prefix.starts_with(&self.held) => {}
                _ => {
                    piece(Piece::Text(&self.held));
                    self.held = Vec::new();
                }
            }
        }
    }
}

enum Piece<'a> {
    Text(&'a [u8]),
    Message(&'a [u8]),
}

/// Takes the messages of an asked shell out of what the user sees.
#[derive(Debug)]
pub(super) struct Curtain {
    scanner: Scanner,
    /// Since when something is kept back that may become a message.
    since: Option<Instant>,
}

impl Curtain {
    pub(super) fn new(query: &BufferQuery) -> Self {
        Self {
            scanner: Scanner::new(query),
            since: None,
        }
    }

    /// What of `output` is to be seen now.
    pub(super) fn feed(&mut self, now: Instant, output: Bytes) -> Bytes {
        if self.scanner.held.is_empty() && memchr::memchr(0x1b, &output).is_none() {
            return output;
        }
        let mut seen = Vec::with_capacity(output.len());
        self.scanner.scan(&output, |piece| {
            if let Piece::Text(text) = piece {
                seen.extend_from_slice(text);
            }
        });
        self.since = (!self.scanner.held.is_empty()).then_some(now);
        if seen.len() == output.len() {
            return output;
        }
        seen.into()
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.since.map(|since| since + LONGEST_CUT)
    }

    /// What was kept back for too long to be part of a message.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> Bytes {
        if self.poll_timeout().is_none_or(|due| now < due) {
            return Bytes::new();
        }
        self.since = None;
        std::mem::take(&mut self.scanner.held).into()
    }
}

/// A message that is cut comes whole within this time.
const LONGEST_CUT: Duration = Duration::from_millis(100);

/// Finds answers in the container's output.
#[derive(Debug)]
pub(super) struct Answers(Scanner);

/// What an asked shell says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Message {
    /// It is about to draw its prompt.
    Prompt,
    /// What its edit buffer holds.
    Answer(Answer),
}

/// What a shell said it holds.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Answer {
    pub(super) line: String,
    /// With references to the history followed; empty where the shell does not tell.
    pub(super) expanded: String,
}

impl Answers {
    pub(super) fn new(query: &BufferQuery) -> Self {
        Self(Scanner::new(query))
    }

    /// Takes output; gives the messages in it.
    pub(super) fn feed(&mut self, output: &[u8]) -> Vec<Message> {
        let mut found = Vec::new();
        self.0.scan(output, |piece| match piece {
            Piece::Message(b">") => found.push(Message::Prompt),
            Piece::Message(body) => found.extend(answer(body).map(Message::Answer)),
            Piece::Text(_) => {}
        });
        found
    }
}

fn answer(body: &[u8]) -> Option<Answer> {
    let mut parts = body.split(|byte| *byte == b';');
    let line = unhex(parts.next()?)?;
    let expanded = parts.next().map_or(Some(String::new()), unhex)?;
    Some(Answer { line, expanded })
}

fn unhex(digits: &[u8]) -> Option<String> {
    let bytes: Option<Vec<u8>> = digits
        .chunks(2)
        .map(|pair| {
            let text = std::str::from_utf8(pair)
                .ok()
                .filter(|text| text.len() == 2)?;
            u8::from_str_radix(text, 16).ok()
        })
        .collect();
    Some(String::from_utf8_lossy(&bytes?).into_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use std::time::{Duration, Instant};

    use bytes::Bytes;

    use super::{Answers, BufferQuery, Curtain, LONGEST_CUT, Message};

    fn strings(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn messages_are_found_and_hidden_however_the_output_is_cut() {
        let output = b"a\x1b]633;E;abc;>\x07x\x1b[K\x1b]633;E;abc;6c73;6c73\x07$ \x1b]0;t\x07";
        #[expect(clippy::disallowed_methods, reason = "time has to start somewhere")]
        let now = Instant::now();
        for cut in 0..output.len() {
            let query = BufferQuery::new("abc");
            let (mut answers, mut curtain) = (Answers::new(&query), Curtain::new(&query));
            let (first, second) = output.split_at(cut);
            let (mut found, mut seen) = (Vec::new(), Vec::new());
            for piece in [first, second] {
                found.extend(answers.feed(piece));
                seen.extend_from_slice(&curtain.feed(now, Bytes::copy_from_slice(piece)));
            }
            assert_eq!(found.len(), 2);
            assert_eq!(found.first(), Some(&Message::Prompt));
            assert!(
                matches!(found.last(), Some(Message::Answer(answer)) if answer.line == "ls" && answer.expanded == "ls")
            );
            assert_eq!(seen, b"ax\x1b[K$ \x1b]0;t\x07");
        }
    }

    #[test]
    fn what_only_begins_like_a_message_is_shown_in_the_end() {
        #[expect(clippy::disallowed_methods, reason = "time has to start somewhere")]
        let now = Instant::now();
        let mut curtain = Curtain::new(&BufferQuery::new("abc"));
        assert_eq!(curtain.feed(now, Bytes::from_static(b"x\x1b]63")), "x");
        assert_eq!(curtain.handle_timeout(now), "");
        let due = curtain.poll_timeout().unwrap();
        assert_eq!(due, now + LONGEST_CUT);
        assert_eq!(curtain.handle_timeout(due), "\x1b]63");
        assert_eq!(curtain.poll_timeout(), None);
        let more = Bytes::from_static(b"3;E;abd;1\x07\x1b]633;E;ab\x1b[m");
        assert_eq!(
            curtain.feed(now + Duration::from_secs(1), more.clone()),
            more
        );
    }

    #[test]
    fn messages_with_another_nonce_are_none() {
        let mut answers = Answers::new(&BufferQuery::new("abc"));
        assert_eq!(answers.feed(b"\x1b]633;E;abd;6c73\x07"), []);
        assert_eq!(answers.feed(b"\x1b]633;E;abc;6c7\x07"), []);
        assert_eq!(answers.feed(b"]633;E;abc;6c73\x07"), []);
    }

    #[test]
    fn only_plain_interactive_shells_are_wrapped() {
        let query = BufferQuery::new("abc");
        for argv in [
            &["bash"][..],
            &["/bin/bash", "-i"],
            &["bash", "--login"],
            &["zsh", "-l"],
        ] {
            let wrapped = query.wrap(&strings(argv)).unwrap();
            assert_eq!(wrapped.first().map(String::as_str), argv.first().copied());
            assert!(wrapped.ends_with(&strings(argv)), "{wrapped:?}");
        }
        for argv in [
            &["sh"][..],
            &["bash", "-c", "ls"],
            &["bash", "script"],
            &["bash", "--norc"],
            &["rbash"],
            &[],
        ] {
            assert_eq!(query.wrap(&strings(argv)), None, "{argv:?}");
        }
    }
}
