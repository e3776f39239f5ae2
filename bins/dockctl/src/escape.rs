use bytes::{Bytes, BytesMut};

/// Watches what is typed for the local escapes, as ssh has them.
///
/// At the start of a line, the escape character (`~`) is held back until the next key:
///
/// ```text
///              CR LF                  ~                    .  → disconnect
///   Middle ───────────► LineStart ─────────► Escaped ──►  ?  → help
///     ▲ ◄── any other ──────┘                   │          ~  → one `~` is sent
///     └────────────── both are sent ◄───────────┘ other
/// ```
///
/// They work when the network does not, because nothing is asked of the other side.
#[derive(Debug)]
pub(crate) struct Escape {
    character: Option<u8>,
    state: State,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    Middle,
    LineStart,
    Escaped,
}

/// What typed bytes come down to.
#[derive(Debug, Default, Eq, PartialEq)]
pub(crate) struct Typed {
    /// For the other side.
    pub(crate) forward: Bytes,
    /// The person asked for the list of escapes.
    pub(crate) help: bool,
    /// The person wants to leave; what came behind is dropped.
    pub(crate) disconnect: bool,
}

impl Escape {
    /// Watches for `character`; for nothing when `None`.
    pub(crate) const fn new(character: Option<u8>) -> Self {
        Self {
            character,
            state: State::LineStart,
        }
    }

    /// Takes what was typed. Without an escape in it the bytes go on as they are, not copied.
    pub(crate) fn take(&mut self, bytes: Bytes) -> Typed {
        let Some(character) = self.character else {
            return Typed {
                forward: bytes,
                ..Typed::default()
            };
        };
        if self.state != State::Escaped && !bytes.contains(&character) {
            if let Some(last) = bytes.last() {
                self.state = after(*last);
            }
            return Typed {
                forward: bytes,
                ..Typed::default()
            };
        }
        let mut forward = BytesMut::with_capacity(bytes.len() + 1);
        let mut typed = Typed::default();
        for &byte in &bytes {
            match self.state {
                State::LineStart if byte == character => self.state = State::Escaped,
                State::Middle | State::LineStart => {
                    forward.extend_from_slice(&[byte]);
                    self.state = after(byte);
                }
                State::Escaped if byte == b'.' => {
                    typed.disconnect = true;
                    break;
                }
                State::Escaped if byte == b'?' => {
                    typed.help = true;
                    self.state = State::LineStart;
                }
                State::Escaped if byte == character => {
                    forward.extend_from_slice(&[byte]);
                    self.state = State::Middle;
                }
                State::Escaped => {
                    forward.extend_from_slice(&[character, byte]);
                    self.state = after(byte);
                }
            }
        }
        typed.forward = forward.freeze();
        typed
    }
}

/// The state behind a byte that was sent.
const fn after(byte: u8) -> State {
    if matches!(byte, b'\r' | b'\n') {
        State::LineStart
    } else {
        State::Middle
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::Escape;

    /// What goes on, and marks for help and disconnect.
    fn typed(chunks: &[&str]) -> String {
        let mut escape = Escape::new(Some(b'~'));
        let mut text = String::new();
        for chunk in chunks {
            let typed = escape.take(Bytes::copy_from_slice(chunk.as_bytes()));
            text.push_str(&String::from_utf8_lossy(&typed.forward));
            if typed.help {
                text.push_str("<help>");
            }
            if typed.disconnect {
                text.push_str("<disconnect>");
                break;
            }
        }
        text
    }

    #[test]
    fn escape_counts_only_at_the_start_of_a_line() {
        for (chunks, expected) in [
            (&["~."][..], "<disconnect>"),
            (&["ls\r~."], "ls\r<disconnect>"),
            (&["ls\n", "~", "."], "ls\n<disconnect>"),
            (&["ls ~."], "ls ~."),
            (&["cd ~/x\r"], "cd ~/x\r"),
            (&["~~."], "~."),
            (&["~x~."], "~x~."),
            (&["\r~?~."], "\r<help><disconnect>"),
            (&["~", "\r", "~", "."], "~\r<disconnect>"),
            (&["~.lost"], "<disconnect>"),
            (&["", "~", "", "."], "<disconnect>"),
        ] {
            assert_eq!(typed(chunks), expected, "{chunks:?}");
        }
    }

    #[test]
    fn without_an_escape_character_everything_goes_on() {
        let mut escape = Escape::new(None);
        let typed = escape.take(Bytes::from_static(b"\r~."));
        assert_eq!(typed.forward, "\r~.");
        assert!(!typed.disconnect);
    }
}
