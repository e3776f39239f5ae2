//! `echo` and `printf`.

use super::number;

/// What `echo` prints; `reads` when its escapes count without `-e`.
pub(in crate::shell) fn echo(words: &[&str], reads: bool) -> String {
    let mut rest = words;
    let (mut newline, mut escapes) = (true, reads);
    while let Some((first, behind)) = rest.split_first() {
        let letters = first.strip_prefix('-').unwrap_or_default();
        if letters.is_empty() || !letters.chars().all(|c| matches!(c, 'n' | 'e' | 'E')) {
            break;
        }
        for letter in letters.chars() {
            match letter {
                'n' => newline = false,
                'e' => escapes = true,
                _ => escapes = false,
            }
        }
        rest = behind;
    }
    let mut text = rest.join(" ");
    if escapes {
        let (unescaped, stops) = unescaped_until_stop(&text);
        text = unescaped;
        newline &= !stops;
    }
    if newline {
        text.push('\n');
    }
    text
}

/// `\n`, `\x41`, `\0101` and the like.
pub(super) fn unescaped(text: &str) -> String {
    unescaped_until_stop(text).0
}

/// The same, and whether `\c` says that nothing comes behind it.
fn unescaped_until_stop(text: &str) -> (String, bool) {
    let mut stops = false;
    let mut result = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, behind)) = rest.split_first() {
        rest = behind;
        if *byte != b'\\' {
            result.push(*byte);
            continue;
        }
        let Some((kind, behind)) = rest.split_first() else {
            result.push(b'\\');
            break;
        };
        rest = behind;
        let mut digits = |base: u32, most: usize, first: Option<u8>| {
            let mut value = first.map_or(0, |digit| u32::from(digit - b'0'));
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
            u8::try_from(value & 0xFF).unwrap_or_default()
        };
        match kind {
            b'n' => result.push(b'\n'),
            b't' => result.push(b'\t'),
            b'r' => result.push(b'\r'),
            b'a' => result.push(7),
            b'b' => result.push(8),
            b'e' => result.push(27),
            b'f' => result.push(12),
            b'v' => result.push(11),
            b'\\' => result.push(b'\\'),
            b'"' | b'\'' => result.push(*kind),
            b'c' => {
                stops = true;
                break;
            }
            b'u' | b'U' => {
                let most = if *kind == b'u' { 4 } else { 8 };
                let count = rest
                    .iter()
                    .take(most)
                    .take_while(|byte| byte.is_ascii_hexdigit())
                    .count();
                let (hex, behind) = rest.split_at(count);
                let character = std::str::from_utf8(hex)
                    .ok()
                    .and_then(|hex| u32::from_str_radix(hex, 16).ok())
                    .and_then(char::from_u32);
                match character {
                    Some(character) => {
                        rest = behind;
                        result.extend(character.to_string().bytes());
                    }
                    None => result.extend([b'\\', *kind]),
                }
            }
            b'x' => {
                let byte = digits(16, 2, None);
                result.push(byte);
            }
            b'0' => {
                let byte = digits(8, 3, None);
                result.push(byte);
            }
            b'1'..=b'7' => {
                let byte = digits(8, 2, Some(*kind));
                result.push(byte);
            }
            byte => {
                result.push(b'\\');
                result.push(*byte);
            }
        }
    }
    (String::from_utf8_lossy(&result).into_owned(), stops)
}

/// What `printf` prints.
pub(in crate::shell) fn printf(words: &[&str]) -> Option<String> {
    let words = match words {
        ["--", rest @ ..] => rest,
        all => all,
    };
    let (format, arguments) = words.split_first()?;
    if words.iter().any(|word| word.contains("\\c")) {
        // It may end the output in the middle.
        return None;
    }
    let mut arguments = arguments.iter();
    let mut result = String::new();
    loop {
        let before = arguments.len();
        let mut used = false;
        let mut rest = *format;
        while let Some(at) = rest.find('%') {
            result.push_str(&unescaped(rest.get(..at)?));
            rest = rest.get(at + 1..)?;
            let end = rest.find(|c: char| c.is_ascii_alphabetic() || c == '%')?;
            let flags = rest.get(..end)?;
            let kind = rest.get(end..end + 1)?;
            rest = rest.get(end + 1..)?;
            if kind == "%" {
                result.push('%');
                continue;
            }
            used = true;
            let argument = arguments.next().copied().unwrap_or_default();
            let piece = match kind {
                "s" => argument.to_owned(),
                "b" => unescaped(argument),
                "c" => argument
                    .chars()
                    .next()
                    .map(String::from)
                    .unwrap_or_default(),
                "q" => argument.to_owned(),
                "d" | "i" | "u" => number(argument)?.to_string(),
                "o" => format!("{:o}", number(argument)?),
                "x" => format!("{:x}", number(argument)?),
                "X" => format!("{:X}", number(argument)?),
                _ => return None,
            };
            result.push_str(&padded(&piece, flags, kind)?);
        }
        result.push_str(&unescaped(rest));
        if !used || arguments.len() == 0 || arguments.len() == before || result.len() > 65_536 {
            return Some(result);
        }
    }
}

fn padded(piece: &str, flags: &str, kind: &str) -> Option<String> {
    if flags.is_empty() {
        return Some(piece.to_owned());
    }
    let left = flags.starts_with('-');
    let flags = flags.trim_start_matches('-');
    let (width, precision) = match flags.split_once('.') {
        Some((width, precision)) => (width, Some(precision.parse::<usize>().ok()?)),
        None => (flags, None),
    };
    let zero = width.starts_with('0') && kind != "s";
    let width = if width.is_empty() {
        0
    } else {
        width.parse::<usize>().ok()?.min(1024)
    };
    let piece: String = match precision {
        Some(precision) if kind == "s" => piece.chars().take(precision).collect(),
        Some(_) => return None,
        None => piece.to_owned(),
    };
    let missing = width.saturating_sub(piece.chars().count());
    let fill = if zero { "0" } else { " " }.repeat(missing);
    Some(if left { piece + &fill } else { fill + &piece })
}
