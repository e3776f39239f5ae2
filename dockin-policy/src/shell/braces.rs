//! Brace expansion: `{a,b}` and `{1..3}`.

/// Words that one may become.
const MAX_WORDS: usize = 256;

/// What `word` becomes; `None` when that is too much, or a sequence that is not followed here.
/// Braces that are no list stay as they are.
pub(super) fn expand(word: &str) -> Option<Vec<String>> {
    let mut done = Vec::new();
    let mut waiting = vec![word.to_owned()];
    while let Some(word) = waiting.pop() {
        match first_list(&word) {
            None => done.push(word),
            Some((before, choices, behind)) => {
                // The last is pushed first, so that the order stays.
                for choice in choices?.iter().rev() {
                    waiting.push(format!("{before}{choice}{behind}"));
                }
            }
        }
        if done.len() + waiting.len() > MAX_WORDS {
            return None;
        }
    }
    Some(done)
}

type List = (String, Option<Vec<String>>, String);

/// The first list in `word`: what stands before it, its choices, what stands behind it.
fn first_list(word: &str) -> Option<List> {
    for (open, _) in word.match_indices('{') {
        let inside = word.get(open + 1..)?;
        let mut depth = 0_usize;
        let mut commas = Vec::new();
        for (at, character) in inside.char_indices() {
            match character {
                '{' => depth += 1,
                ',' if depth == 0 => commas.push(at),
                '}' if depth == 0 => {
                    let before = word.get(..open)?.to_owned();
                    let behind = inside.get(at + 1..)?.to_owned();
                    let body = inside.get(..at)?;
                    if !commas.is_empty() {
                        let mut choices = Vec::new();
                        let mut start = 0;
                        for comma in commas.iter().chain([&at]) {
                            choices.push(body.get(start..*comma)?.to_owned());
                            start = comma + 1;
                        }
                        return Some((before, Some(choices), behind));
                    }
                    if body.contains("..") {
                        return Some((before, sequence(body), behind));
                    }
                    break;
                }
                '}' => depth -= 1,
                _ => {}
            }
        }
    }
    None
}

/// `1..3` or `a..c`.
fn sequence(body: &str) -> Option<Vec<String>> {
    let (from, to) = body.split_once("..")?;
    if let (Ok(from), Ok(to)) = (from.parse::<i64>(), to.parse::<i64>()) {
        let count = from.abs_diff(to);
        if count >= MAX_WORDS as u64 {
            return None;
        }
        let up = (from.min(to)..=from.max(to)).map(|number| number.to_string());
        return Some(if from <= to {
            up.collect()
        } else {
            up.rev().collect()
        });
    }
    let one = |text: &str| {
        let mut characters = text.chars();
        characters
            .next()
            .filter(|c| c.is_ascii() && characters.next().is_none())
    };
    let (from, to) = (one(from)?, one(to)?);
    let up = (from.min(to)..=from.max(to)).map(String::from);
    Some(if from <= to {
        up.collect()
    } else {
        up.rev().collect()
    })
}

#[cfg(test)]
mod tests {
    use super::expand;

    fn words(text: &str) -> Vec<String> {
        expand(text).unwrap_or_default()
    }

    #[test]
    fn lists_and_sequences_are_expanded_in_order() {
        assert_eq!(words("{r,x}m"), ["rm", "xm"]);
        assert_eq!(words("a{b,c{d,e}}f"), ["abf", "acdf", "acef"]);
        assert_eq!(words("{1..3}"), ["1", "2", "3"]);
        assert_eq!(words("{c..a}"), ["c", "b", "a"]);
    }

    #[test]
    fn what_is_no_list_stays() {
        for text in ["{}", "{a}", "a{b", "find{}", "}"] {
            assert_eq!(words(text), [text]);
        }
    }

    #[test]
    fn too_much_is_not_known() {
        assert_eq!(expand(&"{a,b}".repeat(20)), None);
        assert_eq!(expand("{1..100000}"), None);
    }
}
