//! The options of tar, which may stand in its first argument without a dash.

use crate::shell::{option::is_long, value::Value};

/// Letters of GNU tar and bsdtar that have a value.
const VALUES: &str = "bCfFgHIKLNTVX";

/// The values of the option that is called so by its letter and its name.
pub(in crate::shell) fn tar_values(arguments: &[Value], letter: char, long: &str) -> Vec<Value> {
    let mut found = Vec::new();
    let mut rest = arguments;
    if let Some((Value::Known(bundle), behind)) = arguments.split_first()
        && !bundle.starts_with('-')
    {
        // The values stand behind it in the order of the letters.
        let mut values = behind.iter();
        for option in bundle.chars().filter(|option| VALUES.contains(*option)) {
            let value = values.next();
            if option == letter {
                found.extend(value.cloned());
            }
        }
        rest = values.as_slice();
    }
    while let Some((first, behind)) = rest.split_first() {
        rest = behind;
        let Some(text) = first.known() else {
            if let Value::Unknown {
                prefix,
                suffix,
                reason,
            } = first
                && let Some((name, value)) = prefix.split_once('=')
                && is_long(name, long)
            {
                found.push(Value::Unknown {
                    reason,
                    prefix: value.to_owned(),
                    suffix: suffix.clone(),
                });
            }
            continue;
        };
        if text == "--" {
            break;
        }
        if text.starts_with("--") {
            if is_long(text, long) {
                match text.split_once('=') {
                    Some((_, value)) => found.push(Value::Known(value.to_owned())),
                    None => found.extend(behind.first().cloned()),
                }
            }
            continue;
        }
        let Some(letters) = text.strip_prefix('-') else {
            continue;
        };
        let Some((at, option)) = letters.char_indices().find(|(_, it)| VALUES.contains(*it)) else {
            continue;
        };
        let glued = letters.get(at + option.len_utf8()..).unwrap_or_default();
        if glued.is_empty() {
            rest = behind.get(1..).unwrap_or_default();
        }
        if option == letter {
            if glued.is_empty() {
                found.extend(behind.first().cloned());
            } else {
                found.push(Value::Known(glued.to_owned()));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::tar_values;
    use crate::shell::value::Value;

    fn of(line: &str, letter: char, long: &str) -> Vec<String> {
        let words = line.split(' ').map(|word| Value::Known(word.to_owned()));
        let arguments: Vec<Value> = words.collect();
        let found = tar_values(&arguments, letter, long);
        found.iter().map(Value::shown).collect()
    }

    #[test]
    fn a_bundle_has_its_values_behind_it() {
        assert_eq!(of("cfI x prog y", 'I', "--use-compress-program"), ["prog"]);
        assert_eq!(of("cfI x prog y", 'f', "--file"), ["x"]);
        assert_eq!(of("xfC a /etc", 'C', "--directory"), ["/etc"]);
    }

    #[test]
    fn options_with_dashes_have_theirs_glued_or_behind() {
        assert_eq!(of("-cIprog -f x", 'I', "--use-compress-program"), ["prog"]);
        assert_eq!(
            of("-cvf x --dir=/etc -C /a", 'C', "--directory"),
            ["/etc", "/a"]
        );
        assert_eq!(of("-cfI -I prog", 'I', "--use-compress-program"), ["prog"]);
        assert!(of("-cf x -- -I prog", 'I', "--use-compress-program").is_empty());
    }
}
