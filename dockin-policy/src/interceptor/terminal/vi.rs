//! Where a line editor in vi mode is: some letters run the line there.

use crate::terminal::Key;

/// What the next letter is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum ViMode {
    /// Text.
    Insert,
    /// A command: `v` opens an editor whose text is run, `#` makes a comment or takes one away.
    Command,
    /// Behind `c`: how far to change.
    Change,
}

impl ViMode {
    /// What `line` switches a shell to, if it does: vi mode, or another.
    pub(super) fn set_by(line: &str) -> Option<Option<Self>> {
        let words: Vec<&str> = line
            .split(|c: char| c.is_whitespace() || c == ';')
            .map(|word| word.trim_matches(['\'', '"']))
            .filter(|word| !word.is_empty())
            .collect();
        let mut found = None;
        for pair in words.windows(2) {
            match pair {
                ["-o" | "setopt" | "editing-mode", "vi"] | ["bindkey", "-v"] => {
                    found = Some(Some(Self::Insert));
                }
                ["-o" | "editing-mode", "emacs"] | ["+o", "vi"] | ["bindkey", "-e"] => {
                    found = Some(None);
                }
                _ => {}
            }
        }
        found
    }

    /// What the letter behind `key` is.
    pub(super) const fn behind(self, key: Key) -> Self {
        match key {
            // Escape, and the letter behind it.
            Key::Alt(byte) => Self::Command.behind_letter(byte as char),
            Key::Char(letter) => self.behind_letter(letter),
            _ => self,
        }
    }

    const fn behind_letter(self, letter: char) -> Self {
        match (self, letter) {
            (Self::Insert, _) => Self::Insert,
            (Self::Command, 'i' | 'I' | 'a' | 'A' | 'C' | 's' | 'S' | 'R')
            | (
                Self::Change,
                'w' | 'W' | 'b' | 'B' | 'e' | 'E' | '0' | '$' | '^' | 'h' | 'l' | 'c' | ' ',
            ) => Self::Insert,
            (Self::Command, 'c') => Self::Change,
            (Self::Change, '1'..='9') => Self::Change,
            (Self::Command | Self::Change, _) => Self::Command,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Key, ViMode};

    fn behind(keys: &[Key]) -> ViMode {
        keys.iter()
            .fold(ViMode::Insert, |mode, key| mode.behind(*key))
    }

    #[test]
    fn letters_are_commands_between_escape_and_an_insertion() {
        assert_eq!(behind(&[Key::Char('v')]), ViMode::Insert);
        assert_eq!(behind(&[Key::Alt(b'k')]), ViMode::Command);
        assert_eq!(behind(&[Key::Alt(b'A')]), ViMode::Insert);
        assert_eq!(
            behind(&[Key::Alt(b'c'), Key::Char('w'), Key::Char('v')]),
            ViMode::Insert
        );
        // No such motion: the line stays as it was.
        assert_eq!(behind(&[Key::Alt(b'c'), Key::Char('x')]), ViMode::Command);
    }

    #[test]
    fn lines_switch_it_on_and_off() {
        assert_eq!(ViMode::set_by("set -o vi"), Some(Some(ViMode::Insert)));
        assert_eq!(ViMode::set_by("ls; bindkey -v"), Some(Some(ViMode::Insert)));
        assert_eq!(ViMode::set_by("set -o emacs"), Some(None));
        assert_eq!(ViMode::set_by("vi x"), None);
    }
}
