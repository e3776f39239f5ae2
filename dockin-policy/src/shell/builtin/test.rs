//! `test`, `[` and `[[`.

use crate::shell::{
    ast::Word, expand::Mode, pattern::Pattern, run::Runner, session::Variable, value::Value,
};

impl Runner<'_> {
    /// `test` and `[`.
    pub(super) fn test(&mut self, operands: &[Value]) {
        for pair in operands.windows(2) {
            if let [first, variable] = pair
                && first.known() == Some("-v")
                && let Some(name) = variable.known()
            {
                let name = name.to_owned();
                self.indexes(&name);
            }
        }
        let words: Option<Vec<&str>> = operands.iter().map(Value::known).collect();
        let holds = words.and_then(|words| simple_test(&words));
        self.ends_with(holds.map(|holds| i32::from(!holds)));
    }

    /// `[[ … ]]`
    pub(in crate::shell) fn test_words(&mut self, words: &[Word<'_>]) -> Option<i32> {
        let calculates = words.iter().any(|word| {
            matches!(
                word.raw,
                b"-eq" | b"-ne" | b"-lt" | b"-le" | b"-gt" | b"-ge" | b"-v"
            )
        });
        let mut texts = Vec::new();
        let mut pattern = None;
        for (index, word) in words.iter().enumerate() {
            let before = index
                .checked_sub(1)
                .and_then(|at| words.get(at))
                .map(|word| word.raw);
            if matches!(before, Some(b"==" | b"=" | b"!=")) && words.len() == 3 {
                pattern = Some(self.pattern(word.raw, Mode::Word));
                texts.push(None);
                continue;
            }
            if before == Some(b"=~") {
                // What it matches is kept there.
                self.state.set("BASH_REMATCH", Variable::Unknown);
            }
            let text = self.text_of(word.raw, Mode::Word);
            if calculates && let Some(text) = &text {
                let text = text.clone();
                if text.contains('[') {
                    self.indexes(&text);
                } else if crate::shell::lexer::is_name(text.as_bytes()) {
                    let _number = self.calculate(&text);
                }
            }
            texts.push(text);
        }
        if let (Some(pattern), [Some(left), Some(operator), _]) = (pattern, texts.as_slice()) {
            let like = Pattern::new(&pattern?).matches(left, &self.pattern_steps)?;
            return Some(i32::from(like == (operator == "!=")));
        }
        let texts: Option<Vec<&str>> = texts.iter().map(Option::as_deref).collect();
        simple_test(&texts?).map(|holds| i32::from(!holds))
    }
}

/// A test of texts and numbers alone; what asks for files is not known.
fn simple_test(words: &[&str]) -> Option<bool> {
    Some(match words {
        [] => false,
        ["!", rest @ ..] => !simple_test(rest)?,
        [one] => !one.is_empty(),
        ["-n", text] => !text.is_empty(),
        ["-z", text] => text.is_empty(),
        [left, "=" | "==", right] => left == right,
        [left, "!=", right] => left != right,
        [left, operator, right] => {
            let (left, right) = (left.parse::<i64>().ok()?, right.parse::<i64>().ok()?);
            match *operator {
                "-eq" => left == right,
                "-ne" => left != right,
                "-lt" => left < right,
                "-le" => left <= right,
                "-gt" => left > right,
                "-ge" => left >= right,
                _ => return None,
            }
        }
        _ => return None,
    })
}
