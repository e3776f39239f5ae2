//! Programs whose output follows from their input.

use super::unescaped;

pub(super) fn each_line(text: &str, change: impl Fn(&str) -> String) -> String {
    let mut result = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        match line.strip_suffix('\n') {
            Some(line) => {
                result.push_str(&change(line));
                result.push('\n');
            }
            None => result.push_str(&change(line)),
        }
    }
    result
}

pub(super) fn decode(text: &str, base: u32) -> Option<String> {
    let bits = if base == 64 { 6 } else { 5 };
    let (mut buffer, mut held) = (0_u32, 0_u32);
    let mut bytes = Vec::new();
    for byte in text.bytes() {
        let value = match (base, byte) {
            (_, b'=' | b'\n' | b'\r' | b' ') => continue,
            (64, b'A'..=b'Z') => byte - b'A',
            (64, b'a'..=b'z') => byte - b'a' + 26,
            (64, b'0'..=b'9') => byte - b'0' + 52,
            (64, b'+') => 62,
            (64, b'/') => 63,
            (32, b'A'..=b'Z') => byte - b'A',
            (32, b'2'..=b'7') => byte - b'2' + 26,
            _ => return None,
        };
        buffer = (buffer << bits) | u32::from(value);
        held += bits;
        if held >= 8 {
            held -= 8;
            bytes.push(u8::try_from((buffer >> held) & 0xFF).unwrap_or_default());
            buffer &= (1 << held) - 1;
        }
    }
    String::from_utf8(bytes).ok()
}

pub(super) fn encode_base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let value = chunk
            .iter()
            .chain([0, 0].iter())
            .take(3)
            .fold(0_usize, |value, byte| (value << 8) | usize::from(*byte));
        for place in 0..4 {
            if place > chunk.len() {
                text.push('=');
            } else {
                let letter = LETTERS.get((value >> (18 - 6 * place)) & 63).copied();
                text.push(char::from(letter.unwrap_or(b'=')));
            }
        }
    }
    text
}

pub(super) fn unhex(text: &str) -> Option<String> {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(16)).collect();
    let bytes: Vec<u8> = digits
        .chunks(2)
        .filter_map(|pair| match pair {
            [high, low] => u8::try_from(high * 16 + low).ok(),
            _ => None,
        })
        .collect();
    String::from_utf8(bytes).ok()
}

/// The characters of one of the sets of `tr`.
fn character_set(text: &str) -> Option<Vec<char>> {
    let text = match text {
        "[:lower:]" => "a-z".to_owned(),
        "[:upper:]" => "A-Z".to_owned(),
        "[:digit:]" => "0-9".to_owned(),
        "[:alpha:]" => "A-Za-z".to_owned(),
        "[:alnum:]" => "0-9A-Za-z".to_owned(),
        "[:space:]" | "[:blank:]" => " \t\n".to_owned(),
        text if text.contains("[:") || text.contains("[=") => return None,
        text => unescaped(text),
    };
    let characters: Vec<char> = text.chars().collect();
    let mut set = Vec::new();
    let mut rest = characters.as_slice();
    loop {
        match rest {
            [] => return Some(set),
            [low, '-', high, behind @ ..] if low <= high => {
                if u32::from(*high) - u32::from(*low) > 4096 {
                    return None;
                }
                set.extend(*low..=*high);
                rest = behind;
            }
            [one, behind @ ..] => {
                set.push(*one);
                rest = behind;
            }
        }
    }
}

pub(super) fn translate(words: &[&str], text: &str) -> Option<String> {
    match words {
        ["-d", set] => {
            let set = character_set(set)?;
            Some(text.chars().filter(|c| !set.contains(c)).collect())
        }
        ["-s", set] => {
            let set = character_set(set)?;
            let mut last = None;
            Some(
                text.chars()
                    .filter(|c| {
                        let repeats = last == Some(*c) && set.contains(c);
                        last = Some(*c);
                        !repeats
                    })
                    .collect(),
            )
        }
        [from, to] if !from.starts_with('-') || from.len() == 1 => {
            let (from, to) = (character_set(from)?, character_set(to)?);
            let last = to.last().copied()?;
            Some(
                text.chars()
                    .map(|c| match from.iter().rposition(|it| *it == c) {
                        Some(at) => to.get(at).copied().unwrap_or(last),
                        None => c,
                    })
                    .collect(),
            )
        }
        _ => None,
    }
}

pub(super) fn cut(words: &[&str], text: &str) -> Option<String> {
    let mut delimiter = '\t';
    let mut list = None;
    let mut by_character = false;
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        if let Some(glued) = word
            .strip_prefix("-d")
            .or_else(|| word.strip_prefix("--delimiter="))
        {
            let text = if glued.is_empty() {
                rest.next()?
            } else {
                glued
            };
            delimiter = text.chars().next()?;
        } else if let Some(glued) = word
            .strip_prefix("-f")
            .or_else(|| word.strip_prefix("--fields="))
        {
            list = Some(if glued.is_empty() {
                *rest.next()?
            } else {
                glued
            });
        } else if let Some(glued) = word.strip_prefix("-c").or_else(|| word.strip_prefix("-b")) {
            list = Some(if glued.is_empty() {
                *rest.next()?
            } else {
                glued
            });
            by_character = true;
        } else {
            return None;
        }
    }
    let ranges: Vec<(usize, usize)> = list?
        .split(',')
        .map(|range| {
            let (from, to) = match range.split_once('-') {
                Some((from, to)) => (from, to),
                None => (range, range),
            };
            let from = if from.is_empty() {
                1
            } else {
                from.parse().ok()?
            };
            let to = if to.is_empty() {
                usize::MAX
            } else {
                to.parse().ok()?
            };
            Some((from, to))
        })
        .collect::<Option<_>>()?;
    let wanted = |at: usize| {
        ranges
            .iter()
            .any(|(from, to)| (*from..=*to).contains(&(at + 1)))
    };
    Some(each_line(text, |line| {
        if by_character {
            return line
                .chars()
                .enumerate()
                .filter(|(at, _)| wanted(*at))
                .map(|(_, c)| c)
                .collect();
        }
        if !line.contains(delimiter) {
            return line.to_owned();
        }
        let fields: Vec<&str> = line
            .split(delimiter)
            .enumerate()
            .filter(|(at, _)| wanted(*at))
            .map(|(_, field)| field)
            .collect();
        fields.join(delimiter.encode_utf8(&mut [0; 4]))
    }))
}

fn count_of(words: &[&str]) -> Option<(usize, bool)> {
    match words {
        [] => Some((10, false)),
        ["-n", count] | ["--lines", count] => Some((count.parse().ok()?, false)),
        ["-c", count] => Some((count.parse().ok()?, true)),
        [glued] => {
            let lines = glued
                .strip_prefix("-n")
                .or_else(|| glued.strip_prefix("--lines="))
                .or_else(|| {
                    glued
                        .strip_prefix('-')
                        .filter(|rest| rest.bytes().all(|byte| byte.is_ascii_digit()))
                });
            match lines {
                Some(count) => Some((count.parse().ok()?, false)),
                None => Some((glued.strip_prefix("-c")?.parse().ok()?, true)),
            }
        }
        _ => None,
    }
}

pub(super) fn first_lines(words: &[&str], text: &str) -> Option<String> {
    let (count, characters) = count_of(words)?;
    Some(if characters {
        text.chars().take(count).collect()
    } else {
        text.split_inclusive('\n').take(count).collect()
    })
}

pub(super) fn last_lines(words: &[&str], text: &str) -> Option<String> {
    if let ["-n", from] = words
        && let Some(from) = from.strip_prefix('+')
    {
        let from: usize = from.parse().ok()?;
        return Some(
            text.split_inclusive('\n')
                .skip(from.saturating_sub(1))
                .collect(),
        );
    }
    let (count, characters) = count_of(words)?;
    Some(if characters {
        let all: Vec<char> = text.chars().collect();
        all.get(all.len().saturating_sub(count)..)?.iter().collect()
    } else {
        let lines: Vec<&str> = text.split_inclusive('\n').collect();
        lines.get(lines.len().saturating_sub(count)..)?.concat()
    })
}

/// `s/text/text/` without wildcards, which is what people hide names with.
pub(super) fn sed(words: &[&str], text: &str) -> Option<String> {
    let script = match words {
        [script] | ["-e", script] => *script,
        _ => return None,
    };
    let mut result = text.to_owned();
    for command in script.split(';') {
        let command = command.trim();
        let delimiter = command.strip_prefix('s')?.chars().next()?;
        let parts: Vec<&str> = command
            .get(1 + delimiter.len_utf8()..)?
            .split(delimiter)
            .collect();
        let [from, to, flags] = parts.as_slice() else {
            return None;
        };
        if from.contains(['.', '*', '[', '^', '$', '\\', '+', '?'])
            || to.contains(['&', '\\'])
            || from.is_empty()
        {
            return sed_anchored(from, to, flags, &result);
        }
        result = match *flags {
            "" => each_line(&result, |line| line.replacen(from, to, 1)),
            "g" => each_line(&result, |line| line.replace(from, to)),
            _ => return None,
        };
    }
    Some(result)
}

fn sed_anchored(from: &str, to: &str, flags: &str, text: &str) -> Option<String> {
    let plain = |text: &str| !text.contains(['.', '*', '[', '^', '$', '\\', '+', '?']);
    if to.contains(['&', '\\']) || !matches!(flags, "" | "g") {
        return None;
    }
    if from == "." && to.is_empty() && flags.is_empty() {
        return Some(each_line(text, |line| line.chars().skip(1).collect()));
    }
    if let Some(rest) = from.strip_prefix('^').filter(|rest| plain(rest)) {
        return Some(each_line(text, |line| match line.strip_prefix(rest) {
            Some(behind) => format!("{to}{behind}"),
            None => line.to_owned(),
        }));
    }
    if let Some(rest) = from.strip_suffix('$').filter(|rest| plain(rest)) {
        return Some(each_line(text, |line| match line.strip_suffix(rest) {
            Some(before) => format!("{before}{to}"),
            None => line.to_owned(),
        }));
    }
    if let Some(set) = from
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        && !set.starts_with('^')
    {
        let set = character_set(set)?;
        return Some(each_line(text, |line| {
            let mut done = false;
            line.chars().fold(String::new(), |mut result, c| {
                if set.contains(&c) && (flags == "g" || !std::mem::replace(&mut done, true)) {
                    result.push_str(to);
                } else {
                    result.push(c);
                }
                result
            })
        }));
    }
    None
}

pub(super) fn sequence(words: &[&str]) -> Option<String> {
    let numbers: Vec<i64> = words
        .iter()
        .map(|word| word.parse().ok())
        .collect::<Option<_>>()?;
    let (from, step, to) = match numbers.as_slice() {
        [to] => (1, 1, *to),
        [from, to] => (*from, 1, *to),
        [from, step, to] => (*from, *step, *to),
        _ => return None,
    };
    let mut text = String::new();
    let mut at = from;
    for _ in 0..1000 {
        if step == 0 || step > 0 && at > to || step < 0 && at < to {
            return Some(text);
        }
        text.push_str(&format!("{at}\n"));
        at = at.checked_add(step)?;
    }
    None
}

pub(super) fn expression(words: &[&str]) -> Option<String> {
    match words {
        ["substr", text, from, length] => {
            let (from, length): (usize, usize) = (from.parse().ok()?, length.parse().ok()?);
            let piece: String = text
                .chars()
                .skip(from.checked_sub(1)?)
                .take(length)
                .collect();
            Some(piece + "\n")
        }
        ["length", text] => Some(format!("{}\n", text.chars().count())),
        [left, operator, right] => {
            if *operator == ":" {
                return expr_match(left, right);
            }
            let (left, right): (i64, i64) = (left.parse().ok()?, right.parse().ok()?);
            let value = match *operator {
                "+" => left.checked_add(right)?,
                "-" => left.checked_sub(right)?,
                "*" => left.checked_mul(right)?,
                "/" => left.checked_div(right)?,
                "%" => left.checked_rem(right)?,
                _ => return None,
            };
            Some(format!("{value}\n"))
        }
        _ => None,
    }
}

/// `expr text : 'x\(..\)y'`, for dots and letters.
fn expr_match(text: &str, pattern: &str) -> Option<String> {
    let (before, rest) = pattern.split_once("\\(")?;
    let (inside, _) = rest.split_once("\\)")?;
    let simple = |part: &str| !part.contains(['[', '\\', '+', '?', '^', '$']);
    if !simple(before) || !simple(inside) {
        return None;
    }
    let skip = match before {
        "" => 0,
        part if !part.contains('*') => part.chars().count(),
        _ => return None,
    };
    let rest: String = text.chars().skip(skip).collect();
    let piece: String = match inside {
        ".*" => rest,
        dots if dots.chars().all(|c| c == '.') => rest.chars().take(dots.len()).collect(),
        _ => return None,
    };
    Some(piece + "\n")
}
