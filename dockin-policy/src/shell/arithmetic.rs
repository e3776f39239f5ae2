//! `$(( ))`: numbers, names whose values are calculated in turn, and indexes that run commands.

use super::{expand::Mode, parameter::Held, run::Runner};

/// Nesting of calculations inside calculations.
const MAX_DEPTH: usize = 16;
/// Steps of one calculation.
const STEPS: usize = 4096;

impl Runner<'_> {
    /// The value of an expression as it is written, when it is known. What its expansions and
    /// indexes run is run.
    pub(super) fn arithmetic(&mut self, raw: &[u8]) -> Option<i64> {
        let text = self.text_of(raw, Mode::Text);
        let Some(text) = text else {
            // What is inside may run commands all the same.
            return None;
        };
        self.calculate(&text)
    }

    /// The value of an expression whose expansions are done.
    pub(super) fn calculate(&mut self, text: &str) -> Option<i64> {
        if !self.deeper() {
            return None;
        }
        let mut calculation = Calculation {
            text: text.as_bytes(),
            at: 0,
            steps: STEPS,
            depth: 0,
        };
        let value = calculation.comma(self);
        calculation.blanks();
        let whole = calculation.at >= text.len();
        self.shallower();
        if !whole {
            // What is not understood may still have an index that runs something.
            self.indexes(text);
            return None;
        }
        value
    }

    /// Runs the commands in the indexes of a text that a builtin calculates with.
    pub(super) fn indexes(&mut self, text: &str) {
        let mut rest = text;
        let mut rounds = 0;
        while let Some(open) = rest.find('[') {
            rounds += 1;
            let inside = rest.get(open + 1..).unwrap_or_default();
            let end = inside.rfind(']').unwrap_or(inside.len());
            let inner = inside.get(..end).unwrap_or_default();
            if inner.contains(['$', '`']) {
                let _text = self.text_of(inner.as_bytes(), Mode::Text);
                return;
            }
            if rounds > 16 {
                return;
            }
            rest = inside;
        }
    }
}

struct Calculation<'a> {
    text: &'a [u8],
    at: usize,
    steps: usize,
    depth: usize,
}

/// Operators by precedence, loosest first; the longer ones of each level first.
const LEVELS: &[&[&str]] = &[
    &["||"],
    &["&&"],
    &["|"],
    &["^"],
    &["&"],
    &["==", "!="],
    &["<=", ">=", "<", ">"],
    &["<<", ">>"],
    &["+", "-"],
    &["*", "/", "%"],
];

impl Calculation<'_> {
    fn blanks(&mut self) {
        while self.text.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
    }

    fn rest(&self) -> &[u8] {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn comma(&mut self, runner: &mut Runner<'_>) -> Option<i64> {
        let mut value = self.ternary(runner);
        loop {
            self.blanks();
            if self.rest().first() != Some(&b',') {
                return value;
            }
            self.at += 1;
            value = self.ternary(runner);
        }
    }

    fn ternary(&mut self, runner: &mut Runner<'_>) -> Option<i64> {
        let condition = self.level(runner, 0);
        self.blanks();
        if self.rest().first() != Some(&b'?') {
            return condition;
        }
        self.at += 1;
        let yes = self.ternary(runner);
        self.blanks();
        if self.rest().first() == Some(&b':') {
            self.at += 1;
        }
        let no = self.ternary(runner);
        match condition? {
            0 => no,
            _ => yes,
        }
    }

    fn level(&mut self, runner: &mut Runner<'_>, level: usize) -> Option<i64> {
        let Some(operators) = LEVELS.get(level) else {
            return self.power(runner);
        };
        let mut left = self.level(runner, level + 1);
        loop {
            self.blanks();
            let rest = self.rest();
            let found = operators.iter().find(|operator| {
                let longer = match **operator {
                    "|" => rest.starts_with(b"||") || rest.starts_with(b"|="),
                    "&" => rest.starts_with(b"&&") || rest.starts_with(b"&="),
                    "<" => rest.starts_with(b"<<"),
                    ">" => rest.starts_with(b">>"),
                    "*" => rest.starts_with(b"**"),
                    _ => false,
                };
                rest.starts_with(operator.as_bytes()) && !longer
            });
            let Some(operator) = found else { return left };
            self.at += operator.len();
            let right = self.level(runner, level + 1);
            left = left.zip(right).and_then(|(a, b)| apply(operator, a, b));
            self.steps = self.steps.checked_sub(1)?;
        }
    }

    fn power(&mut self, runner: &mut Runner<'_>) -> Option<i64> {
        let base = self.unary(runner);
        self.blanks();
        if !self.rest().starts_with(b"**") {
            return base;
        }
        self.at += 2;
        self.depth += 1;
        let exponent = if self.depth > MAX_DEPTH {
            None
        } else {
            self.power(runner)
        };
        self.depth -= 1;
        base?.checked_pow(u32::try_from(exponent?).ok()?)
    }

    fn unary(&mut self, runner: &mut Runner<'_>) -> Option<i64> {
        self.steps = self.steps.checked_sub(1)?;
        self.blanks();
        if self.depth > MAX_DEPTH {
            return None;
        }
        let first = *self.rest().first()?;
        let second = self.rest().get(1).copied();
        match first {
            b'+' | b'-' if second == Some(first) => {
                self.at += 2;
                let _value = self.inner_unary(runner);
                None
            }
            b'+' => {
                self.at += 1;
                self.inner_unary(runner)
            }
            b'-' => {
                self.at += 1;
                self.inner_unary(runner).and_then(i64::checked_neg)
            }
            b'!' => {
                self.at += 1;
                self.inner_unary(runner).map(|value| i64::from(value == 0))
            }
            b'~' => {
                self.at += 1;
                self.inner_unary(runner).map(|value| !value)
            }
            b'(' => {
                self.at += 1;
                self.depth += 1;
                let value = self.comma(runner);
                self.depth -= 1;
                self.blanks();
                if self.rest().first() == Some(&b')') {
                    self.at += 1;
                    return value;
                }
                None
            }
            b'0'..=b'9' => self.number(),
            byte if byte.is_ascii_alphabetic() || byte == b'_' => self.name(runner),
            _ => None,
        }
    }

    fn inner_unary(&mut self, runner: &mut Runner<'_>) -> Option<i64> {
        self.depth += 1;
        let value = self.unary(runner);
        self.depth -= 1;
        value
    }

    fn number(&mut self) -> Option<i64> {
        let length = self
            .rest()
            .iter()
            .take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'#' | b'_' | b'@'))
            .count();
        let digits = self.text.get(self.at..self.at + length)?;
        self.at += length;
        let digits = std::str::from_utf8(digits).ok()?;
        if let Some((base, digits)) = digits.split_once('#') {
            let base = base
                .parse::<u32>()
                .ok()
                .filter(|base| (2..=36).contains(base))?;
            return i64::from_str_radix(digits, base).ok();
        }
        if let Some(hex) = digits
            .strip_prefix("0x")
            .or_else(|| digits.strip_prefix("0X"))
        {
            return i64::from_str_radix(hex, 16).ok();
        }
        if digits.len() > 1 && digits.starts_with('0') {
            return i64::from_str_radix(digits, 8).ok();
        }
        digits.parse().ok()
    }

    fn name(&mut self, runner: &mut Runner<'_>) -> Option<i64> {
        let length = self
            .rest()
            .iter()
            .take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_')
            .count();
        let name = super::expand::lossy(self.text.get(self.at..self.at + length)?);
        self.at += length;
        let mut index = None;
        if self.rest().first() == Some(&b'[') {
            let mut depth = 0_usize;
            let end = self.rest().iter().position(|byte| {
                match byte {
                    b'[' => depth += 1,
                    b']' => depth -= 1,
                    _ => {}
                }
                depth == 0
            })?;
            index = self
                .text
                .get(self.at + 1..self.at + end)
                .map(<[u8]>::to_vec);
            self.at += end + 1;
        }
        let held = runner.lookup(&name, index.as_deref());
        let value = match held {
            Held::Unset => Some(0),
            Held::Text(text) if text.trim().is_empty() => Some(0),
            // A value is an expression in turn.
            Held::Text(text) => match text.parse::<i64>() {
                Ok(number) if !text.starts_with('0') || text == "0" => Some(number),
                _ => {
                    let expanded = runner.text_of(text.as_bytes(), Mode::Text);
                    expanded.and_then(|text| runner.calculate(&text))
                }
            },
            Held::List(..) | Held::Word(_) | Held::Unknown => None,
        };
        self.blanks();
        // Assignments.
        let operators = [
            "<<=", ">>=", "+=", "-=", "*=", "/=", "%=", "&=", "|=", "^=", "=",
        ];
        let rest = self.rest();
        let found = operators
            .iter()
            .find(|operator| rest.starts_with(operator.as_bytes()) && !rest.starts_with(b"=="));
        if let Some(operator) = found {
            self.at += operator.len();
            self.depth += 1;
            let right = if self.depth > MAX_DEPTH {
                None
            } else {
                self.ternary(runner)
            };
            self.depth -= 1;
            let result = match *operator {
                "=" => right,
                operator => value
                    .zip(right)
                    .and_then(|(a, b)| apply(operator.trim_end_matches('='), a, b)),
            };
            runner.assign_number(&name, index.is_some(), result);
            return result;
        }
        for (mark, change) in [(&b"++"[..], 1), (b"--", -1)] {
            if self.rest().starts_with(mark) {
                self.at += 2;
                let new = value.and_then(|value| value.checked_add(change));
                runner.assign_number(&name, index.is_some(), new);
            }
        }
        value
    }
}

fn apply(operator: &str, a: i64, b: i64) -> Option<i64> {
    Some(match operator {
        "||" => i64::from(a != 0 || b != 0),
        "&&" => i64::from(a != 0 && b != 0),
        "|" => a | b,
        "^" => a ^ b,
        "&" => a & b,
        "==" => i64::from(a == b),
        "!=" => i64::from(a != b),
        "<=" => i64::from(a <= b),
        ">=" => i64::from(a >= b),
        "<" => i64::from(a < b),
        ">" => i64::from(a > b),
        "<<" => a.checked_shl(u32::try_from(b).ok()?)?,
        ">>" => a.checked_shr(u32::try_from(b).ok()?)?,
        "+" => a.checked_add(b)?,
        "-" => a.checked_sub(b)?,
        "*" => a.checked_mul(b)?,
        "/" => a.checked_div(b)?,
        "%" => a.checked_rem(b)?,
        _ => return None,
    })
}
