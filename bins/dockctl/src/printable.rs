use std::{borrow::Cow, fmt::Write as _};

/// `text` without anything that a terminal obeys instead of showing.
///
/// Control characters (C0, DEL, C1) and the invisible characters that reorder or hide text become
/// their Rust escapes, so that a command in the audit log can neither clear the screen of the
/// person who reads it nor pretend to be another.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        // Writing to a string cannot fail.
        let _infallible = match character {
            '\n' => safe.write_str("\\n"),
            '\r' => safe.write_str("\\r"),
            '\t' => safe.write_str("\\t"),
            _ if !is_unsafe(character) => safe.write_char(character),
            _ if u32::from(character) < 0x100 => write!(safe, "\\x{:02x}", u32::from(character)),
            _ => write!(safe, "\\u{{{:x}}}", u32::from(character)),
        };
    }
    Cow::Owned(safe)
}

/// `json` with what a terminal obeys as `\u` escapes: the same document.
///
/// For whole JSON texts in one line: there such characters are only inside of strings.
pub(crate) fn printable_json(json: &str) -> Cow<'_, str> {
    if !json.chars().any(is_unsafe) {
        return Cow::Borrowed(json);
    }
    let mut safe = String::with_capacity(json.len() + 16);
    for character in json.chars() {
        let _infallible = if is_unsafe(character) {
            // None of them is beyond 16 bits.
            write!(safe, "\\u{:04x}", u32::from(character))
        } else {
            safe.write_char(character)
        };
    }
    Cow::Owned(safe)
}

fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            // Zero width, marks, line separators, embeddings and overrides, isolates, BOM.
            '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
        )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::{printable, printable_json};

    #[test]
    fn what_a_terminal_obeys_is_escaped() {
        for (text, expected) in [
            ("ls -l 'ä 漢'", "ls -l 'ä 漢'"),
            ("\x1b[2Jgone", "\\x1b[2Jgone"),
            ("a\nb\tc\rd", "a\\nb\\tc\\rd"),
            ("\u{9b}31m", "\\x9b31m"),
            ("a\u{202e}b", "a\\u{202e}b"),
            ("\x7f\0", "\\x7f\\x00"),
        ] {
            assert_eq!(printable(text), expected);
        }
    }

    #[test]
    fn escaped_json_is_the_same_document() {
        let json = "{\"line\":\"\u{9b}2J\u{202e}\u{7f} ok\"}";
        let safe = printable_json(json);
        assert_eq!(safe, "{\"line\":\"\\u009b2J\\u202e\\u007f ok\"}");
        let before: serde_json::Value = serde_json::from_str(json).unwrap();
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&safe).unwrap(),
            before
        );
    }
}
