//! Brace expansion: `{a,b}` and `{1..3}`, on words as they are written.

/// Words that one may become.
const MAX_WORDS: usize = 256;
/// Bytes of them.
const MAX_BYTES: usize = 64 * 1024;
/// Bytes that are looked at in all: each brace may be sought an end for up to the end of the word.
const STEPS: usize = 1024 * 1024;

/// What `word` becomes; `None` when that is too much, or a sequence that is not followed here.
/// Braces that are no list stay as they are, as do those that are quoted or belong to `${ }`.
pub(super) fn expand_raw(word: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut done = Vec::new();
    let mut waiting = vec![word.to_vec()];
    let mut bytes = 0;
    let mut steps = STEPS;
    while let Some(word) = waiting.pop() {
        bytes += word.len();
        if bytes > MAX_BYTES {
            return None;
        }
        match first_list(&word, &mut steps)? {
            None => done.push(word),
            Some(list) => {
                // The last is pushed first, so that the order stays.
                for choice in list.choices?.iter().rev() {
                    waiting.push([list.before, choice.as_slice(), list.behind].concat());
                }
            }
        }
        if done.len() + waiting.len() > MAX_WORDS {
            return None;
        }
    }
    Some(done)
}

struct List<'a> {
    before: &'a [u8],
    choices: Option<Vec<Vec<u8>>>,
    behind: &'a [u8],
}

/// Past what begins at `at`: a quoted text, an escape, an expansion, or one byte.
fn skip(word: &[u8], at: usize) -> usize {
    let rest = word.get(at + 1..).unwrap_or_default();
    let length = match word.get(at) {
        Some(b'\\') => 1,
        Some(b'\'') => rest
            .iter()
            .position(|byte| *byte == b'\'')
            .map_or(rest.len(), |end| end + 1),
        Some(quote @ (b'"' | b'`')) => {
            let mut end = 0;
            while let Some(byte) = rest.get(end) {
                match byte {
                    b'\\' => end += 2,
                    byte if byte == quote => break,
                    _ => end += 1,
                }
            }
            end + 1
        }
        Some(b'$') => match rest.first() {
            Some(open @ (b'{' | b'(')) => {
                let close = if *open == b'{' { b'}' } else { b')' };
                let mut depth = 0_usize;
                let mut end = 0;
                for byte in rest {
                    end += 1;
                    if byte == open {
                        depth += 1;
                    } else if *byte == close {
                        depth -= 1;
                        if depth == 0 {
                            break;
                        }
                    }
                }
                end
            }
            _ => 0,
        },
        _ => 0,
    };
    (at + 1 + length).min(word.len().max(at + 1))
}

/// The first list in `word`; the outer `None` when `steps` do not suffice to find it.
fn first_list<'a>(word: &'a [u8], steps: &mut usize) -> Option<Option<List<'a>>> {
    let mut open = 0;
    while let Some(byte) = word.get(open) {
        if *byte != b'{' {
            let next = skip(word, open);
            *steps = steps.checked_sub(next - open)?;
            open = next;
            continue;
        }
        let mut depth = 0_usize;
        let mut commas = Vec::new();
        let mut at = open + 1;
        while let Some(byte) = word.get(at) {
            match byte {
                b'{' => depth += 1,
                b',' if depth == 0 => commas.push(at),
                b'}' if depth == 0 => {
                    let before = word.get(..open).unwrap_or_default();
                    let behind = word.get(at + 1..).unwrap_or_default();
                    if !commas.is_empty() {
                        let mut choices = Vec::new();
                        let mut start = open + 1;
                        for comma in commas.iter().chain([&at]) {
                            choices.push(word.get(start..*comma).unwrap_or_default().to_vec());
                            start = comma + 1;
                        }
                        return Some(Some(List {
                            before,
                            choices: Some(choices),
                            behind,
                        }));
                    }
                    let body = word.get(open + 1..at).unwrap_or_default();
                    if let Some(choices) = std::str::from_utf8(body).ok().and_then(sequence) {
                        return Some(Some(List {
                            before,
                            choices,
                            behind,
                        }));
                    }
                    break;
                }
                b'}' => depth -= 1,
                _ => {}
            }
            let next = skip(word, at);
            *steps = steps.checked_sub(next - at)?;
            at = next;
        }
        open += 1;
    }
    Some(None)
}

/// `1..3`, `a..c` or `1..9..2`; the inner `None` when it is too long.
fn sequence(body: &str) -> Option<Option<Vec<Vec<u8>>>> {
    let (from, to) = body.split_once("..")?;
    let (to, step) = match to.split_once("..") {
        Some((to, step)) => (to, step.parse::<i64>().ok()?.unsigned_abs().max(1)),
        None => (to, 1),
    };
    let numbers = |from: i64, to: i64, make: &dyn Fn(i64) -> Vec<u8>| {
        let count = from.abs_diff(to) / step + 1;
        if count > MAX_WORDS as u64 {
            return None;
        }
        let step = i64::try_from(step).unwrap_or(i64::MAX);
        let sign = if from <= to { 1 } else { -1 };
        let count = i64::try_from(count).unwrap_or_default();
        Some(
            (0..count)
                .map(|index| make(from.saturating_add(sign * index * step)))
                .collect(),
        )
    };
    if let (Ok(first), Ok(last)) = (from.parse::<i64>(), to.parse::<i64>()) {
        let padded = |text: &str| text.trim_start_matches('-').starts_with('0') && text.len() > 1;
        let width = if padded(from) || padded(to) {
            from.len().max(to.len())
        } else {
            0
        };
        return Some(numbers(first, last, &|number| {
            format!("{number:0width$}").into_bytes()
        }));
    }
    let one = |text: &str| match text.as_bytes() {
        [byte] if byte.is_ascii_alphabetic() => Some(i64::from(*byte)),
        _ => None,
    };
    let (from, to) = (one(from)?, one(to)?);
    Some(numbers(from, to, &|number| {
        vec![u8::try_from(number).unwrap_or(b'?')]
    }))
}

#[cfg(test)]
mod tests {
    use super::expand_raw;

    fn words(text: &str) -> Vec<String> {
        expand_raw(text.as_bytes())
            .unwrap_or_default()
            .into_iter()
            .map(|word| String::from_utf8_lossy(&word).into_owned())
            .collect()
    }

    #[test]
    fn lists_and_sequences_are_expanded_in_order() {
        assert_eq!(words("{r,x}m"), ["rm", "xm"]);
        assert_eq!(words("a{b,c{d,e}}f"), ["abf", "acdf", "acef"]);
        assert_eq!(words("{1..3}"), ["1", "2", "3"]);
        assert_eq!(words("{01..3}"), ["01", "02", "03"]);
        assert_eq!(words("{1..9..4}"), ["1", "5", "9"]);
        assert_eq!(words("{c..a}"), ["c", "b", "a"]);
        assert_eq!(words("{'a,b',c}"), ["'a,b'", "c"]);
    }

    #[test]
    fn what_is_no_list_stays() {
        for text in [
            "{}", "{a}", "a{b", "find{}", "}", "${a,b}", "'{a,b}'", "\\{a,b}", "{a..}",
        ] {
            assert_eq!(words(text), [text]);
        }
    }

    #[test]
    fn too_much_is_not_known() {
        assert_eq!(expand_raw("{a,b}".repeat(20).as_bytes()), None);
        assert_eq!(expand_raw(b"{1..100000}"), None);
        assert_eq!(expand_raw("{".repeat(60_000).as_bytes()), None);
    }
}
