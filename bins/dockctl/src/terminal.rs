//! The local terminal: raw mode, its size, and putting it back on every way out.

use std::{
    io::{self, Write},
    sync::{Mutex, Once, PoisonError},
};

use dockin_stream::TerminalSize;
use rustix::termios::{self, OptionalActions, Termios};

/// What the terminal was like before raw mode, for the panic hook and the guard alike. Whoever
/// takes it out puts it back, so it happens once.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// Whether standard input is a terminal.
pub(crate) fn is_input_terminal() -> bool {
    termios::isatty(rustix::stdio::stdin())
}

/// Whether standard output is a terminal.
pub(crate) fn is_output_terminal() -> bool {
    termios::isatty(rustix::stdio::stdout())
}

/// The size of the terminal on standard output, else on standard input. `None` when there is
/// none or when it does not know, which is written as 0 x 0.
pub(crate) fn size() -> Option<TerminalSize> {
    let known = |size: termios::Winsize| {
        (size.ws_col > 0 && size.ws_row > 0).then_some(TerminalSize {
            width: size.ws_col,
            height: size.ws_row,
        })
    };
    termios::tcgetwinsize(rustix::stdio::stdout())
        .ok()
        .and_then(known)
        .or_else(|| {
            termios::tcgetwinsize(rustix::stdio::stdin())
                .ok()
                .and_then(known)
        })
}

/// Raw mode for as long as it lives: each key goes out as it is typed, Ctrl-C too.
///
/// The terminal is put back when this is dropped and when a thread panics; signals that would
/// end the process are to be awaited by whoever holds this.
#[derive(Debug)]
pub(crate) struct RawMode(());

impl RawMode {
    /// Puts the terminal on standard input into raw mode.
    pub(crate) fn enter() -> io::Result<Self> {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let previous = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |info| {
                // First, or the message is a staircase.
                restore();
                previous(info);
            }));
        });
        let before = termios::tcgetattr(rustix::stdio::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some(before);
        if let Err(error) = termios::tcsetattr(rustix::stdio::stdin(), OptionalActions::Drain, &raw)
        {
            restore();
            return Err(error.into());
        }
        Ok(Self(()))
    }
}

/// Keeps what is typed from being shown, until it goes: for passwords.
#[derive(Debug)]
pub(crate) struct HiddenInput(());

impl HiddenInput {
    /// Switches the echo of the terminal on standard input off.
    pub(crate) fn begin() -> io::Result<Self> {
        let before = termios::tcgetattr(rustix::stdio::stdin())?;
        let mut hidden = before.clone();
        hidden.local_modes.remove(termios::LocalModes::ECHO);
        *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some(before);
        if let Err(error) =
            termios::tcsetattr(rustix::stdio::stdin(), OptionalActions::Flush, &hidden)
        {
            restore();
            return Err(error.into());
        }
        Ok(Self(()))
    }
}

impl Drop for HiddenInput {
    fn drop(&mut self) {
        restore();
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        restore();
    }
}

/// Puts the terminal back to what it was, if it is in raw mode.
fn restore() {
    let before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(before) = before {
        // A terminal that is gone needs nothing put back.
        let _gone = termios::tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &before);
    }
}

/// Follows which screen modes the program on the other side has switched on, so that they can be
/// switched off when it cannot do so itself: the connection broke inside an editor.
///
/// Only `ESC [ ? n ; … h` and `l` are looked for, across chunks.
#[derive(Debug, Default)]
pub(crate) struct ScreenModes {
    on: [bool; MODES.len()],
    state: Scan,
    number: u16,
    numbers: Vec<u16>,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Scan {
    #[default]
    Text,
    Escape,
    Bracket,
    Private,
}

/// Mode number, and whether `h` switches on something to be undone. The cursor (25) is hidden by
/// `l`; the rest is the alternate screen, mouse reports, focus reports and bracketed paste.
const MODES: [(u16, bool); 10] = [
    (25, false),
    (47, true),
    (1000, true),
    (1002, true),
    (1003, true),
    (1004, true),
    (1006, true),
    (1047, true),
    (1049, true),
    (2004, true),
];

impl ScreenModes {
    /// Looks at output on its way to the terminal.
    pub(crate) fn watch(&mut self, bytes: &[u8]) {
        if self.state == Scan::Text && !bytes.contains(&0x1b) {
            return;
        }
        for &byte in bytes {
            self.state = match (self.state, byte) {
                (_, 0x1b) => Scan::Escape,
                (Scan::Escape, b'[') => Scan::Bracket,
                (Scan::Bracket, b'?') => {
                    self.number = 0;
                    self.numbers.clear();
                    Scan::Private
                }
                (Scan::Private, b'0'..=b'9') => {
                    self.number = self
                        .number
                        .saturating_mul(10)
                        .saturating_add(u16::from(byte - b'0'));
                    Scan::Private
                }
                (Scan::Private, b';') if self.numbers.len() < MODES.len() => {
                    self.numbers.push(self.number);
                    self.number = 0;
                    Scan::Private
                }
                (Scan::Private, b'h' | b'l') => {
                    self.numbers.push(self.number);
                    for (on, (mode, set)) in self.on.iter_mut().zip(MODES) {
                        if self.numbers.contains(&mode) {
                            *on = (byte == b'h') == set;
                        }
                    }
                    Scan::Text
                }
                _ => Scan::Text,
            };
        }
    }

    /// The bytes that undo what is still on; empty when nothing is.
    pub(crate) fn undo(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (on, (mode, set)) in self.on.iter().zip(MODES) {
            if *on {
                // Writing to a vector cannot fail.
                let _infallible = write!(bytes, "\x1b[?{mode}{}", if set { 'l' } else { 'h' });
            }
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::ScreenModes;

    fn undo(chunks: &[&str]) -> String {
        let mut modes = ScreenModes::default();
        for chunk in chunks {
            modes.watch(chunk.as_bytes());
        }
        String::from_utf8_lossy(&modes.undo()).into_owned()
    }

    #[test]
    fn only_what_is_still_on_is_undone() {
        for (chunks, expected) in [
            (&["plain ?1049h"][..], ""),
            (&["\x1b[?1049h\x1b[?25l"], "\x1b[?25h\x1b[?1049l"),
            (&["\x1b[?1049hvi\x1b[?1049l"], ""),
            (&["\x1b", "[?10", "00;1006", "h"], "\x1b[?1000l\x1b[?1006l"),
            (&["\x1b[?25l\x1b[?25h"], ""),
            (&["\x1b[31m\x1b[?99999999999h"], ""),
        ] {
            assert_eq!(undo(chunks), expected, "{chunks:?}");
        }
    }
}
