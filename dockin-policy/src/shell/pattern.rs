//! Shell patterns: `*`, `?`, `[…]` and `@(a|b)`.

use std::cell::Cell;

/// Steps that one comparison may take.
const STEPS: usize = 100_000;

/// Whether `text` as a whole is like `pattern`, in which `\` quotes; `None` when that takes too
/// long to find out.
pub(crate) fn matches(pattern: &str, text: &str) -> Option<bool> {
    Pattern::new(pattern).matches(text, &Steps::default())
}

/// Steps that the comparisons of one line may take in all.
#[derive(Debug)]
pub(super) struct Steps(Cell<usize>);

impl Default for Steps {
    fn default() -> Self {
        Self(Cell::new(10 * STEPS))
    }
}

/// A pattern that several texts are compared with.
pub(super) struct Pattern(Vec<char>);

impl Pattern {
    pub(super) fn new(pattern: &str) -> Self {
        Self(pattern.chars().collect())
    }

    /// As [`matches`](fn@matches) says, with what `left` has left of steps.
    pub(super) fn matches(&self, text: &str, left: &Steps) -> Option<bool> {
        let text: Vec<char> = text.chars().collect();
        self.matches_chars(&text, left)
    }

    pub(super) fn matches_chars(&self, text: &[char], left: &Steps) -> Option<bool> {
        let given = left.0.get().min(STEPS);
        let mut steps = given;
        let found = here(&self.0, text, &mut steps, 0);
        left.0.set(left.0.get() - (given - steps));
        found
    }
}

/// Nesting of extended patterns.
const MAX_DEPTH: usize = 8;

fn here(pattern: &[char], text: &[char], steps: &mut usize, depth: usize) -> Option<bool> {
    let (mut pattern, mut text) = (pattern, text);
    // Where to go on when a `*` has to take one more.
    let mut star: Option<(&[char], &[char])> = None;
    loop {
        *steps = steps.checked_sub(1)?;
        let step = match pattern.split_first() {
            None if text.is_empty() => return Some(true),
            None => None,
            Some((kind @ ('?' | '*' | '+' | '@' | '!'), rest))
                if let Some((choices, behind)) = counted_group(rest, steps)? =>
            {
                if depth == MAX_DEPTH {
                    return None;
                }
                if extended(*kind, &choices, behind, text, steps, depth)? {
                    return Some(true);
                }
                None
            }
            Some(('*', rest)) => {
                star = Some((rest, text));
                pattern = rest;
                continue;
            }
            Some((first, rest)) => {
                if *first == '[' {
                    // As far as it is looked at for its end.
                    let end = rest.iter().skip(1).position(|c| *c == ']');
                    *steps = steps.checked_sub(end.unwrap_or(rest.len()))?;
                }
                one(pattern, text)
            }
        };
        match step {
            Some((next_pattern, next_text)) => (pattern, text) = (next_pattern, next_text),
            None => {
                // The last star takes one more, if there is one and something to take.
                let Some((behind, from)) = star else {
                    return Some(false);
                };
                let Some((_, from)) = from.split_first() else {
                    return Some(false);
                };
                star = Some((behind, from));
                (pattern, text) = (behind, from);
            }
        }
    }
}

/// What is left of both when the first of `pattern`, no star, takes the first of `text`.
fn one<'a>(pattern: &'a [char], text: &'a [char]) -> Option<(&'a [char], &'a [char])> {
    let (first, behind) = text.split_first()?;
    match pattern.split_first()? {
        ('?', rest) => Some((rest, behind)),
        ('[', rest) => match set(rest, *first) {
            Some((true, rest)) => Some((rest, behind)),
            Some((false, _)) => None,
            None if *first == '[' => Some((rest, behind)),
            None => None,
        },
        ('\\', rest) if !rest.is_empty() => {
            let (wanted, rest) = rest.split_first()?;
            (wanted == first).then_some((rest, behind))
        }
        (wanted, rest) => (wanted == first).then_some((rest, behind)),
    }
}

/// Behind `[`: whether it has `wanted`, and what stands behind it.
fn set(pattern: &[char], wanted: char) -> Option<(bool, &[char])> {
    let mut rest = pattern;
    let negated = matches!(rest.first(), Some('!' | '^'));
    if negated {
        rest = rest.get(1..)?;
    }
    let mut found = false;
    let mut first = true;
    loop {
        let (low, behind) = rest.split_first()?;
        rest = behind;
        let mut low = *low;
        match low {
            ']' if !first => return Some((found != negated, rest)),
            '[' if rest.first() == Some(&':') => {
                let end = rest.iter().position(|c| *c == ']')?;
                let name: String = rest.get(1..end.checked_sub(1)?)?.iter().collect();
                found |= in_class(&name, wanted);
                rest = rest.get(end + 1..)?;
                first = false;
                continue;
            }
            '\\' => {
                let (quoted, behind) = rest.split_first()?;
                low = *quoted;
                rest = behind;
            }
            _ => {}
        }
        first = false;
        if let ['-', high, behind @ ..] = rest
            && *high != ']'
        {
            found |= (low..=*high).contains(&wanted);
            rest = behind;
        } else {
            found |= low == wanted;
        }
    }
}

fn in_class(name: &str, c: char) -> bool {
    match name {
        "alpha" => c.is_alphabetic(),
        "digit" => c.is_ascii_digit(),
        "alnum" => c.is_alphanumeric(),
        "lower" => c.is_lowercase(),
        "upper" => c.is_uppercase(),
        "space" => c.is_whitespace(),
        "blank" => c == ' ' || c == '\t',
        "punct" => c.is_ascii_punctuation(),
        "xdigit" => c.is_ascii_hexdigit(),
        "cntrl" => c.is_control(),
        "print" | "graph" => !c.is_control(),
        _ => false,
    }
}

type Group<'a> = (Vec<&'a [char]>, &'a [char]);

/// The same, where there may be none, with what it takes to look.
#[expect(clippy::option_option, reason = "not found, and not sought to the end")]
fn counted_group<'a>(pattern: &'a [char], steps: &mut usize) -> Option<Option<Group<'a>>> {
    if pattern.first() != Some(&'(') {
        return Some(None);
    }
    let found = group(pattern);
    let behind = found.as_ref().map_or(0, |(_, behind)| behind.len());
    *steps = steps.checked_sub(pattern.len() - behind)?;
    Some(found)
}

/// At `(`: the choices, and what stands behind.
fn group(pattern: &[char]) -> Option<Group<'_>> {
    let inside = pattern.get(1..)?;
    let mut choices = Vec::new();
    let (mut depth, mut start) = (0_usize, 0);
    for (at, c) in inside.iter().enumerate() {
        match c {
            '(' => depth += 1,
            ')' if depth == 0 => {
                choices.push(inside.get(start..at)?);
                return Some((choices, inside.get(at + 1..)?));
            }
            ')' => depth -= 1,
            '|' if depth == 0 => {
                choices.push(inside.get(start..at)?);
                start = at + 1;
            }
            _ => {}
        }
    }
    None
}

fn extended(
    kind: char,
    choices: &[&[char]],
    behind: &[char],
    text: &[char],
    steps: &mut usize,
    depth: usize,
) -> Option<bool> {
    if matches!(kind, '?' | '*') && here(behind, text, steps, depth + 1)? {
        return Some(true);
    }
    for length in 0..=text.len() {
        let (head, tail) = text.split_at(length);
        let mut any = false;
        for choice in choices {
            any |= here(choice, head, steps, depth + 1)?;
        }
        if kind == '!' {
            if !any && here(behind, tail, steps, depth + 1)? {
                return Some(true);
            }
            continue;
        }
        if !any {
            continue;
        }
        if here(behind, tail, steps, depth + 1)? {
            return Some(true);
        }
        if matches!(kind, '*' | '+')
            && length > 0
            && extended('*', choices, behind, tail, steps, depth + 1)?
        {
            return Some(true);
        }
    }
    Some(false)
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns_match_as_the_shell_says() {
        for (pattern, text) in [
            ("*", ""),
            ("r?", "rm"),
            ("r[m]", "rm"),
            ("r[l-n]", "rm"),
            ("[!a]m", "rm"),
            ("*.tar.*", "a.tar.gz"),
            ("a*b*c", "aXbYbc"),
            ("\\*", "*"),
            ("@(rm|mv)", "rm"),
            ("+([0-9])", "123"),
            ("?(x)rm", "rm"),
            ("!(ls)", "rm"),
            ("[[:digit:]]x", "1x"),
        ] {
            assert_eq!(matches(pattern, text), Some(true), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("r?", "r"),
            ("[!r]m", "rm"),
            ("a*b", "ac"),
            ("@(rm|mv)", "cp"),
            ("", "x"),
        ] {
            assert_eq!(matches(pattern, text), Some(false), "{pattern} {text}");
        }
    }

    #[test]
    fn hostile_patterns_end() {
        let _any = matches(&"*a".repeat(50), &"a".repeat(5000));
        let _any = matches(&"*(a|".repeat(40), &"a".repeat(40));
        let _any = matches("+(+(+(+(a|aa))))b", &"a".repeat(60));
    }
}
