//! Quotes and their escapes.

use super::lossy;

pub(super) fn unescape_backquoted(inside: &[u8], quoted: bool) -> Vec<u8> {
    let mut text = Vec::with_capacity(inside.len());
    let mut bytes = inside.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        if byte == b'\\' {
            match bytes.peek() {
                Some(b'`' | b'\\' | b'$') => {
                    text.extend(bytes.next());
                    continue;
                }
                Some(b'"') if quoted => {
                    text.extend(bytes.next());
                    continue;
                }
                _ => {}
            }
        }
        text.push(byte);
    }
    text
}

/// A pattern without its escapes.
pub(crate) fn unescape(pattern: &str) -> String {
    let mut text = String::with_capacity(pattern.len());
    let mut characters = pattern.chars();
    while let Some(c) = characters.next() {
        if c == '\\' {
            text.extend(characters.next());
        } else {
            text.push(c);
        }
    }
    text
}

/// The text between `$'` and `'`.
pub(in crate::shell) fn ansi_quoted(inside: &[u8]) -> String {
    let mut text = Vec::with_capacity(inside.len());
    let mut rest = inside;
    while let Some((byte, behind)) = rest.split_first() {
        rest = behind;
        if *byte != b'\\' {
            text.push(*byte);
            continue;
        }
        let Some((kind, behind)) = rest.split_first() else {
            text.push(b'\\');
            break;
        };
        rest = behind;
        let mut digits = |base: u32, most: usize| {
            let mut value = 0_u32;
            let mut count = 0;
            while count < most
                && let Some(digit) = rest
                    .first()
                    .and_then(|byte| char::from(*byte).to_digit(base))
            {
                value = value.wrapping_mul(base).wrapping_add(digit);
                rest = rest.get(1..).unwrap_or_default();
                count += 1;
            }
            (count > 0).then_some(value)
        };
        match kind {
            b'n' => text.push(b'\n'),
            b't' => text.push(b'\t'),
            b'r' => text.push(b'\r'),
            b'a' => text.push(7),
            b'b' => text.push(8),
            b'e' | b'E' => text.push(27),
            b'f' => text.push(12),
            b'v' => text.push(11),
            b'c' => {
                if let Some((control, behind)) = rest.split_first() {
                    text.push(control & 0x1F);
                    rest = behind;
                }
            }
            b'x' => match digits(16, 2) {
                Some(code) => text.push(low(code)),
                None => text.extend_from_slice(b"\\x"),
            },
            b'u' | b'U' => {
                if let Some(c) =
                    digits(16, if *kind == b'u' { 4 } else { 8 }).and_then(char::from_u32)
                {
                    text.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                }
            }
            b'0'..=b'7' => {
                let first = u32::from(kind - b'0');
                let more = digits(8, 1);
                let most = more.and_then(|_| digits(8, 1));
                let code = match (more, most) {
                    (Some(second), Some(third)) => first * 64 + second * 8 + third,
                    (Some(second), None) => first * 8 + second,
                    _ => first,
                };
                text.push(low(code));
            }
            byte => {
                if !b"\\'\"?".contains(byte) {
                    text.push(b'\\');
                }
                text.push(*byte);
            }
        }
        // A NUL ends the text.
        if text.last() == Some(&0) {
            text.pop();
            break;
        }
    }
    lossy(&text)
}

fn low(code: u32) -> u8 {
    u8::try_from(code & 0xFF).unwrap_or_default()
}
