//! A Casbin policy file: comma-separated values, `#` comments, quotes doubled inside quotes.

use std::borrow::Cow;

use super::{Faults, Link, Rule, Source, fault::Report};

pub(super) fn read(text: &str) -> Result<Source<'_>, Faults> {
    let mut report = Report::default();
    let mut source = Source::default();
    for (line, number) in text.lines().zip(1_u32..) {
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with('#') {
            continue;
        }
        let values = match fields(trimmed) {
            Ok(values) => values,
            Err(what) => {
                report.add(number, what);
                continue;
            }
        };
        let Fields { values, count } = values;
        let [kind, a, b, c, d, e] = values;
        match (&*kind, count) {
            ("p", 6) => source.rules.push(Rule {
                subject: a,
                domain: b,
                object: c,
                action: d,
                effect: e,
                line: number,
            }),
            ("g", 4) => source.links.push(Link {
                member: a,
                role: b,
                domain: c,
                line: number,
            }),
            ("p", count) => report.add(
                number,
                format!(
                    "`p` has {} values; it needs sub, dom, obj, act, eft",
                    count - 1
                ),
            ),
            ("g", count) => report.add(
                number,
                format!(
                    "`g` has {} values; it needs member, role, domain",
                    count - 1
                ),
            ),
            (other, _) => report.add(number, format!("`{other}` is neither `p` nor `g`")),
        }
    }
    report.finish()?;
    Ok(source)
}

/// The values of a line, the first six of them.
struct Fields<'a> {
    values: [Cow<'a, str>; 6],
    count: usize,
}

fn fields(line: &str) -> Result<Fields<'_>, String> {
    let mut values = [const { Cow::Borrowed("") }; 6];
    let mut count = 0;
    let mut rest = Some(line);
    while let Some(text) = rest {
        let text = text.trim_start();
        let (value, behind) = match text.strip_prefix('"') {
            None => match text.split_once(',') {
                Some((value, behind)) => (Cow::Borrowed(value.trim_end()), Some(behind)),
                None => (Cow::Borrowed(text.trim_end()), None),
            },
            Some(quoted) => quoted_field(quoted)?,
        };
        if value.contains('"') && !text.starts_with('"') {
            return Err(format!(
                "`{value}` has a quote inside; put the whole value in quotes"
            ));
        }
        if let Some(slot) = values.get_mut(count) {
            *slot = value;
        }
        count += 1;
        rest = behind;
    }
    Ok(Fields { values, count })
}

/// The value after an opening quote, and what is behind its comma.
fn quoted_field(text: &str) -> Result<(Cow<'_, str>, Option<&str>), String> {
    let mut value = String::new();
    let mut rest = text;
    loop {
        let Some((part, behind)) = rest.split_once('"') else {
            return Err("a quote is not closed on its line".to_owned());
        };
        value.push_str(part);
        if let Some(more) = behind.strip_prefix('"') {
            value.push('"');
            rest = more;
            continue;
        }
        let behind = behind.trim_start();
        return match behind.strip_prefix(',') {
            Some(next) => Ok((Cow::Owned(value), Some(next))),
            None if behind.is_empty() => Ok((Cow::Owned(value), None)),
            None => Err(format!(
                "`{behind}` follows a closed quote; put a comma before it"
            )),
        };
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        reason = "a failed unwrap is a failed test"
    )]

    use super::read;

    #[test]
    fn values_are_trimmed_and_quotes_taken_off() {
        let source = read(
            "# rules\n\np, pol-a , *,cluster:c/*, \"get,\"\"x\"\"\" , allow\r\n  g,\ta, b , *\n",
        )
        .unwrap();
        let rule = &source.rules[0];
        assert_eq!(rule.subject, "pol-a");
        assert_eq!(rule.action, "get,\"x\"");
        assert_eq!((&*rule.effect, rule.line), ("allow", 3));
        assert_eq!((&*source.links[0].role, source.links[0].line), ("b", 4));
    }

    #[test]
    fn every_bad_line_is_named() {
        let faults = read("p, a, *, b, c\ng, a, b\nq, a\np, \"a\ng, a\"b, c, *\ng, \"a\"b, c, *")
            .unwrap_err();
        let lines: Vec<u32> = faults.faults.iter().map(|fault| fault.line).collect();
        assert_eq!(lines, [1, 2, 3, 4, 5, 6], "{faults}");
        assert!(
            faults
                .to_string()
                .contains("line 1: `p` has 4 values; it needs sub, dom")
        );
    }
}
