//! What code prints that only prints.

use super::literals;

/// What an awk program that only prints constants prints.
pub(in crate::shell) fn awk_prints(words: &[&str]) -> Option<String> {
    let [code] = words else { return None };
    let inside = code
        .trim()
        .strip_prefix("BEGIN")?
        .trim()
        .strip_prefix('{')?
        .strip_suffix('}')?;
    let inside = inside.trim().trim_end_matches(';');
    if let Some(rest) = inside.strip_prefix("printf") {
        let rest = rest.trim().trim_start_matches('(').trim_end_matches(')');
        let found = literals(rest);
        let format = found.first()?;
        let mut numbers = rest.get(format.end..)?.split(',').skip(1);
        let mut text = String::new();
        let mut pieces = format.text.split("%c");
        text.push_str(pieces.next()?);
        for piece in pieces {
            let number: u32 = numbers.next()?.trim().parse().ok()?;
            text.push(char::from_u32(number)?);
            text.push_str(piece);
        }
        return (!text.contains('%')).then_some(text);
    }
    let rest = inside.strip_prefix("print")?;
    let found = literals(rest);
    let between: String = rest.chars().filter(|c| !c.is_whitespace()).collect();
    let length: usize = found
        .iter()
        .map(|literal| literal.end - literal.start)
        .sum();
    (between.len() <= length).then(|| {
        found
            .into_iter()
            .map(|literal| literal.text)
            .collect::<String>()
            + "\n"
    })
}

/// What a line of Python or Perl that only prints constants prints.
pub(in crate::shell) fn prints(name: &str, words: &[&str]) -> Option<String> {
    let (newline, code) = match (name, words) {
        ("python" | "python3", ["-c", code]) => {
            let code = code.trim().strip_prefix("print(")?.strip_suffix(')')?;
            (true, code)
        }
        ("perl", ["-e" | "-E", code]) => {
            let code = code
                .trim()
                .trim_end_matches(';')
                .strip_prefix("print")?
                .trim();
            (false, code)
        }
        ("perl", ["-le", code]) => {
            let code = code
                .trim()
                .trim_end_matches(';')
                .strip_prefix("print")?
                .trim();
            (true, code)
        }
        _ => return None,
    };
    let mut text = constant(code)?;
    if newline {
        text.push('\n');
    }
    Some(text)
}

/// A text made of quoted texts, `chr(…)`, `pack("H…", …)` and `reverse`.
fn constant(code: &str) -> Option<String> {
    let code = code.trim();
    if let Some(rest) = code
        .strip_prefix("pack(")
        .and_then(|rest| rest.strip_suffix(')'))
    {
        let found = literals(rest);
        let [kind, digits] = found.as_slice() else {
            return None;
        };
        return kind
            .text
            .starts_with('H')
            .then(|| unhex(&digits.text))
            .flatten();
    }
    if let Some(rest) = code
        .strip_prefix("bytes.fromhex(")
        .and_then(|rest| rest.strip_suffix(").decode()"))
    {
        return unhex(&literals(rest).first()?.text);
    }
    if let Some(rest) = code.strip_suffix("[::-1]") {
        return Some(constant(rest)?.chars().rev().collect());
    }
    if let Some(rest) = code
        .strip_prefix("scalar reverse")
        .or_else(|| code.strip_prefix("scalar(reverse"))
    {
        return Some(
            constant(rest.trim_end_matches(')').trim_start_matches('('))?
                .chars()
                .rev()
                .collect(),
        );
    }
    let mut text = String::new();
    let mut rest = code;
    loop {
        rest = rest.trim_start_matches(['+', '.', ',', ' ']);
        if rest.is_empty() {
            return Some(text);
        }
        if let Some(behind) = rest
            .strip_prefix("chr(")
            .or_else(|| rest.strip_prefix("chr "))
        {
            let digits: String = behind.chars().take_while(char::is_ascii_digit).collect();
            text.push(char::from_u32(digits.parse().ok()?)?);
            rest = behind.get(digits.len()..)?.trim_start_matches(')');
            continue;
        }
        let found = literals(rest);
        let literal = found.first().filter(|literal| literal.start == 0)?;
        text.push_str(&literal.text);
        rest = rest.get(literal.end..)?;
    }
}

fn unhex(digits: &str) -> Option<String> {
    let digits: Vec<u32> = digits
        .chars()
        .map(|c| c.to_digit(16))
        .collect::<Option<_>>()?;
    let bytes: Option<Vec<u8>> = digits
        .chunks(2)
        .map(|pair| match pair {
            [high, low] => u8::try_from(high * 16 + low).ok(),
            _ => None,
        })
        .collect();
    String::from_utf8(bytes?).ok()
}
