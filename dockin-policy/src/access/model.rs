//! A Casbin model file, checked to be the one that is decided here.

use super::{Faults, fault::Report};

/// One definition that a model must have.
struct Definition {
    section: &'static str,
    key: &'static str,
    value: &'static str,
}

const DEFINITIONS: [Definition; 5] = [
    Definition {
        section: "request_definition",
        key: "r",
        value: "sub, dom, obj, act",
    },
    Definition {
        section: "policy_definition",
        key: "p",
        value: "sub, dom, obj, act, eft",
    },
    Definition {
        section: "role_definition",
        key: "g",
        value: "_, _, _",
    },
    Definition {
        section: "policy_effect",
        key: "e",
        value: "some(where (p.eft == allow)) && !some(where (p.eft == deny))",
    },
    Definition {
        section: "matchers",
        key: "m",
        value: "g(r.sub, p.sub, r.dom) && keyMatchCustom(r.obj, p.obj) && keyMatchCustom(r.act, p.act)",
    },
];

pub(super) fn check(text: &str) -> Result<(), Faults> {
    let mut report = Report::default();
    let mut section = String::new();
    let mut seen = [false; DEFINITIONS.len()];
    let mut lines = text.lines().zip(1_u32..);
    while let Some((line, number)) = lines.next() {
        let line = without_comment(line);
        if line.is_empty() {
            continue;
        }
        if let Some(name) = line
            .strip_prefix('[')
            .and_then(|line| line.strip_suffix(']'))
        {
            section = name.trim().to_owned();
            if !DEFINITIONS.iter().any(|one| one.section == section) {
                let names = DEFINITIONS.map(|one| one.section).join(", ");
                report.add(number, format!("section `{section}` is none of {names}"));
            }
            continue;
        }
        // A backslash at the end goes on with the next line.
        let mut whole = line.to_owned();
        while let Some(start) = whole.strip_suffix('\\') {
            let next = lines.next().map_or("", |(next, _)| without_comment(next));
            whole = format!("{start} {next}");
        }
        let Some((key, value)) = whole.split_once('=') else {
            report.add(number, format!("`{whole}` is no `key = value`"));
            continue;
        };
        let (key, value) = (key.trim(), value.trim());
        let known = DEFINITIONS.iter().zip(&mut seen);
        let mut known = known.filter(|(one, _)| one.section == section);
        match known.find(|(one, _)| one.key == key) {
            None if section.is_empty() => {
                report.add(number, format!("`{key}` stands before any section"));
            }
            None => report.add(
                number,
                format!(
                    "`{key}` under `{section}` is not known; one definition of each is decided"
                ),
            ),
            Some((_, seen)) if *seen => report.add(number, format!("`{key}` is given twice")),
            Some((one, seen)) => {
                *seen = true;
                if clauses(value) != clauses(one.value) {
                    let expected = one.value;
                    report.add(
                        number,
                        format!("`{key} = {value}` must be `{key} = {expected}`"),
                    );
                }
            }
        }
    }
    for (one, _) in DEFINITIONS.iter().zip(seen).filter(|(_, seen)| !seen) {
        let Definition {
            section,
            key,
            value,
        } = one;
        report.add(
            0,
            format!("the model lacks `[{section}]` with `{key} = {value}`"),
        );
    }
    report.finish()
}

fn without_comment(line: &str) -> &str {
    line.split('#').next().unwrap_or_default().trim()
}

/// The parts that `&&` joins, without white space, in one order: the same for the same meaning.
fn clauses(value: &str) -> Vec<String> {
    let dense: String = value.chars().filter(|c| !c.is_whitespace()).collect();
    // In the effect, too, the order says nothing.
    let mut clauses: Vec<String> = dense.split("&&").map(str::to_owned).collect();
    clauses.sort_unstable();
    clauses
}

#[cfg(test)]
pub(super) const MODEL: &str = "\
[request_definition]
r = sub, dom, obj, act

[policy_definition]
p = sub, dom, obj, act, eft

[role_definition]
g = _, _, _

[policy_effect]
e = some(where (p.eft == allow)) && !some(where (p.eft == deny))

[matchers]
m = g(r.sub, p.sub, r.dom) && keyMatchCustom(r.obj, p.obj) && keyMatchCustom(r.act, p.act)
";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::{MODEL, check};

    #[test]
    fn layout_and_order_of_clauses_do_not_matter() {
        check(MODEL).unwrap();
        let other = MODEL
            .replace("r = sub, dom", "# the request\nr=sub,dom")
            .replace("g(r.sub, p.sub, r.dom) && ", "")
            .replace("p.act)\n", "p.act) \\\n  && g(r.sub,p.sub,r.dom) # last\n");
        check(&other).unwrap();
    }

    #[test]
    fn another_model_is_refused_with_line_and_expectation() {
        for (from, to, line, words) in [
            ("p.eft == deny", "p.eft == never", 11, "must be `e ="),
            ("keyMatchCustom(r.act", "keyMatch2(r.act", 14, "keyMatch2"),
            ("r = sub, dom", "r = sub", 2, "`r = sub, obj, act`"),
            ("[matchers]", "[matcher]", 13, "`matcher` is none of"),
            ("g = _, _, _", "g = _, _, _\ng2 = _, _", 9, "`g2`"),
            ("g = _, _, _", "g = _, _, _\ng = _, _, _", 9, "twice"),
            ("g = _, _, _\n", "", 0, "lacks `[role_definition]`"),
        ] {
            let faults = check(&MODEL.replacen(from, to, 1)).unwrap_err();
            let found = faults
                .faults
                .iter()
                .any(|fault| fault.line == line && fault.message.contains(words));
            assert!(found, "{from} → {to}: {faults}");
        }
    }
}
