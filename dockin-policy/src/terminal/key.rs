//! Bytes from the user's terminal become keys.

/// One key, or one thing a terminal sends that is not a key.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Key {
    /// A character that is not a control character.
    Char(char),
    /// A byte that is not part of well-formed UTF-8.
    Invalid(u8),
    /// A control character, `0x00..=0x1f` without escape, or `0x7f`.
    Control(u8),
    /// Escape followed by this byte: a key with Alt, or two keys of vi mode.
    Alt(u8),
    /// Cursor up.
    Up,
    /// Cursor down.
    Down,
    /// Cursor right.
    Right,
    /// Cursor left.
    Left,
    /// Start of line.
    Home,
    /// End of line.
    End,
    /// Delete the character under the cursor.
    Delete,
    /// Function keys `F1` to `F4`, which no shell binds by itself.
    Function,
    /// Start of a bracketed paste, `ESC [ 200 ~`.
    PasteStart,
    /// End of a bracketed paste, `ESC [ 201 ~`.
    PasteEnd,
    /// The terminal's own answer: cursor position, attributes, focus, mouse, colours.
    Reply,
    /// A sequence that this decoder does not know.
    Unknown,
}

impl Key {
    /// Carriage return.
    pub const ENTER: Self = Self::Control(b'\r');
}

/// Splits terminal input into [`Key`]s, one byte at a time.
///
/// The decoder never needs to look ahead, so a caller may forward a byte as
/// soon as it was fed. Memory is bounded: of a sequence only the last few
/// parameters are kept.
///
/// Spec: ECMA-48 §5.4 for control sequences, xterm's `ctlseqs` for the rest.
#[derive(Clone, Debug, Default)]
pub struct KeyDecoder {
    state: State,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum State {
    #[default]
    Ground,
    /// Inside a character of several bytes: the bits so far, bytes to come, smallest legal value.
    Utf8 {
        value: u32,
        missing: u8,
        least: u32,
    },
    Escape,
    /// `ESC O`.
    SingleShift,
    Csi(Csi),
    /// OSC, DCS, APC, PM or SOS up to BEL or `ESC \`.
    Text {
        escape: bool,
        length: u16,
    },
    /// The three bytes behind `ESC [ M`.
    Mouse {
        missing: u8,
    },
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Csi {
    private: bool,
    first: u16,
    parameters: u8,
    length: u8,
}

impl KeyDecoder {
    /// Makes a decoder that has seen nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// True when the next byte starts a new key.
    #[must_use]
    pub fn is_between_keys(&self) -> bool {
        self.state == State::Ground
    }

    /// Takes the next byte and tells the key that it completes.
    ///
    /// A carriage return or line feed inside an unfinished sequence ends that
    /// sequence and is reported as itself, because a shell that does not know
    /// the sequence would see it as Enter.
    pub fn feed(&mut self, byte: u8) -> Option<Key> {
        match self.state {
            State::Ground => self.ground(byte),
            State::Utf8 {
                value,
                missing,
                least,
            } => self.utf8(byte, value, missing, least),
            State::Escape => self.escape(byte),
            State::SingleShift => self.single_shift(byte),
            State::Csi(csi) => self.csi(byte, csi),
            State::Text { escape, length } => self.text(byte, escape, length),
            State::Mouse { missing } => {
                if matches!(byte, b'\r' | b'\n') {
                    return self.done(Key::Control(byte));
                }
                match missing {
                    0 | 1 => self.done(Key::Reply),
                    _ => self.more(State::Mouse {
                        missing: missing - 1,
                    }),
                }
            }
        }
    }

    fn done(&mut self, key: Key) -> Option<Key> {
        self.state = State::Ground;
        Some(key)
    }

    fn more(&mut self, state: State) -> Option<Key> {
        self.state = state;
        None
    }

    fn ground(&mut self, byte: u8) -> Option<Key> {
        match byte {
            0x1b => self.more(State::Escape),
            0x00..=0x1f | 0x7f => self.done(Key::Control(byte)),
            0x20..=0x7e => self.done(Key::Char(char::from(byte))),
            0xc2..=0xdf => self.start(byte & 0x1f, 1, 0x80),
            0xe0..=0xef => self.start(byte & 0x0f, 2, 0x800),
            0xf0..=0xf4 => self.start(byte & 0x07, 3, 0x1_0000),
            _ => self.done(Key::Invalid(byte)),
        }
    }

    fn start(&mut self, bits: u8, missing: u8, least: u32) -> Option<Key> {
        self.more(State::Utf8 {
            value: u32::from(bits),
            missing,
            least,
        })
    }

    fn utf8(&mut self, byte: u8, value: u32, missing: u8, least: u32) -> Option<Key> {
        if byte & 0xc0 != 0x80 {
            // The broken character is lost; the byte that broke it may be Enter.
            return match byte {
                b'\r' | b'\n' => self.done(Key::Control(byte)),
                0x1b => {
                    self.state = State::Escape;
                    Some(Key::Invalid(0xff))
                }
                _ => self.done(Key::Invalid(byte)),
            };
        }
        let value = (value << 6) | u32::from(byte & 0x3f);
        if missing > 1 {
            return self.more(State::Utf8 {
                value,
                missing: missing - 1,
                least,
            });
        }
        match char::from_u32(value) {
            Some(character) if value >= least => self.done(Key::Char(character)),
            _ => self.done(Key::Invalid(byte)),
        }
    }

    fn escape(&mut self, byte: u8) -> Option<Key> {
        match byte {
            b'[' => self.more(State::Csi(Csi::default())),
            b'O' => self.more(State::SingleShift),
            b']' | b'P' | b'_' | b'^' | b'X' => self.more(State::Text {
                escape: false,
                length: 0,
            }),
            0x1b => {
                self.state = State::Escape;
                Some(Key::Unknown)
            }
            _ => self.done(Key::Alt(byte)),
        }
    }

    fn single_shift(&mut self, byte: u8) -> Option<Key> {
        self.done(match byte {
            b'A' => Key::Up,
            b'B' => Key::Down,
            b'C' => Key::Right,
            b'D' => Key::Left,
            b'H' => Key::Home,
            b'F' => Key::End,
            b'P'..=b'S' => Key::Function,
            b'\r' | b'\n' => Key::Control(byte),
            _ => Key::Unknown,
        })
    }

    fn csi(&mut self, byte: u8, mut csi: Csi) -> Option<Key> {
        csi.length = csi.length.saturating_add(1);
        if csi.length > MAX_CSI {
            return self.done(Key::Unknown);
        }
        match byte {
            b'\r' | b'\n' => self.done(Key::Control(byte)),
            b'0'..=b'9' => {
                if csi.parameters == 0 {
                    csi.first = csi
                        .first
                        .saturating_mul(10)
                        .saturating_add(u16::from(byte - b'0'));
                }
                self.more(State::Csi(csi))
            }
            b';' => {
                csi.parameters = csi.parameters.saturating_add(1);
                self.more(State::Csi(csi))
            }
            b'<' | b'=' | b'>' | b'?' if csi.length == 1 => {
                csi.private = true;
                self.more(State::Csi(csi))
            }
            b'M' if csi.length == 1 => self.more(State::Mouse { missing: 3 }),
            0x20..=0x3f => self.more(State::Csi(csi)),
            0x40..=0x7e => self.done(csi.key(byte)),
            0x1b => {
                self.state = State::Escape;
                Some(Key::Unknown)
            }
            _ => self.done(Key::Unknown),
        }
    }

    fn text(&mut self, byte: u8, escape: bool, length: u16) -> Option<Key> {
        match byte {
            b'\r' | b'\n' => self.done(Key::Control(byte)),
            0x07 => self.done(Key::Reply),
            b'\\' if escape => self.done(Key::Reply),
            _ if length >= MAX_REPLY => self.done(Key::Unknown),
            _ => self.more(State::Text {
                escape: byte == 0x1b,
                length: length + 1,
            }),
        }
    }
}

impl Csi {
    fn key(self, last: u8) -> Key {
        let plain = !self.private && self.parameters == 0;
        match last {
            b'A' if plain => Key::Up,
            b'B' if plain => Key::Down,
            b'C' if plain => Key::Right,
            b'D' if plain => Key::Left,
            b'H' if plain => Key::Home,
            b'F' if plain => Key::End,
            b'I' | b'O' if self.length == 1 => Key::Reply,
            b'R' if self.parameters == 1 => Key::Reply,
            b'c' | b'n' | b'y' | b't' => Key::Reply,
            b'M' | b'm' if self.private => Key::Reply,
            b'~' if plain => match self.first {
                1 | 7 => Key::Home,
                4 | 8 => Key::End,
                3 => Key::Delete,
                200 => Key::PasteStart,
                201 => Key::PasteEnd,
                _ => Key::Unknown,
            },
            _ => Key::Unknown,
        }
    }
}

/// Longest control sequence a terminal sends by itself, bytes behind `ESC [`.
const MAX_CSI: u8 = 32;
/// Longest text answer, bytes; colour and clipboard answers are shorter.
const MAX_REPLY: u16 = 4096;

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        reason = "a failed unwrap is a failed test"
    )]

    use proptest::prelude::*;

    use super::*;

    fn keys(bytes: &[u8]) -> Vec<Key> {
        let mut decoder = KeyDecoder::new();
        bytes
            .iter()
            .filter_map(|byte| decoder.feed(*byte))
            .collect()
    }

    #[test]
    fn letters_controls_and_wide_characters_are_keys() {
        assert_eq!(
            keys("aé漢😀\r\x7f".as_bytes()),
            [
                Key::Char('a'),
                Key::Char('é'),
                Key::Char('漢'),
                Key::Char('😀'),
                Key::ENTER,
                Key::Control(0x7f)
            ]
        );
    }

    #[test]
    fn both_spellings_of_the_arrows_are_the_same_key() {
        assert_eq!(keys(b"\x1b[A\x1bOA"), [Key::Up, Key::Up]);
        assert_eq!(keys(b"\x1b[1~\x1b[H\x1bOH"), [Key::Home; 3]);
        assert_eq!(keys(b"\x1b[3~\x1b[4~"), [Key::Delete, Key::End]);
    }

    #[test]
    fn answers_of_the_terminal_are_not_typing() {
        for reply in [
            &b"\x1b[24;80R"[..],
            b"\x1b[I",
            b"\x1b[O",
            b"\x1b[?1;2c",
            b"\x1b[<0;3;4M",
            b"\x1b]11;rgb:0000/0000/0000\x1b\\",
            b"\x1bP1+r\x07",
            b"\x1b[M abc"[..6].as_ref(),
        ] {
            assert_eq!(keys(reply), [Key::Reply], "{reply:?}");
        }
    }

    #[test]
    fn paste_marks_are_told_apart_from_unknown_sequences() {
        assert_eq!(
            keys(b"\x1b[200~x\x1b[201~"),
            [Key::PasteStart, Key::Char('x'), Key::PasteEnd]
        );
        assert_eq!(keys(b"\x1b[99~"), [Key::Unknown]);
    }

    #[test]
    fn enter_inside_an_unfinished_sequence_is_still_enter() {
        for start in [
            &b"\x1b["[..],
            b"\x1b[12;",
            b"\x1bO",
            b"\x1b]0;t",
            b"\xe6\xbc",
            b"\x1b[M",
        ] {
            let mut bytes = start.to_vec();
            bytes.push(b'\r');
            assert_eq!(keys(&bytes).last(), Some(&Key::ENTER), "{start:?}");
        }
        assert_eq!(keys(b"\x1b\r"), [Key::Alt(b'\r')]);
    }

    #[test]
    fn bytes_that_are_not_utf8_are_named_as_such() {
        assert_eq!(keys(b"\xff"), [Key::Invalid(0xff)]);
        assert_eq!(keys(b"\xc0\xaf"), [Key::Invalid(0xc0), Key::Invalid(0xaf)]);
        assert_eq!(keys(b"\xe0\x80\x80"), [Key::Invalid(0x80)]);
    }

    proptest! {
        /// No bytes panic, and carriage returns are never lost inside a sequence.
        #[test]
        fn every_carriage_return_comes_out(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let returns = bytes.iter().filter(|byte| **byte == b'\r').count();
            let seen = keys(&bytes)
                .iter()
                .filter(|key| matches!(key, Key::Control(b'\r') | Key::Alt(b'\r')))
                .count();
            prop_assert_eq!(returns, seen);
        }
    }
}
