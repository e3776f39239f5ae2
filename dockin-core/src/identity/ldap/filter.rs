//! Search filters, RFC 4515.

use crate::{Error, ErrorKind};

/// `attribute` has `value`, and `base` holds too when there is one.
pub(super) fn equals(base: &str, attribute: &str, value: &str) -> String {
    let equality = format!("({attribute}={})", escape(value));
    if base.is_empty() {
        equality
    } else {
        format!("(&{base}{equality})")
    }
}

/// `value` with everything escaped that could be more than itself in a filter. More than RFC 4515
/// asks for: what is not plain ASCII goes as its bytes, and so do blanks at the ends.
fn escape(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'@' | b',' | b'=') {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("\\{byte:02x}"));
        }
    }
    escaped
}

/// Whether a filter of the configuration is one whole filter, or nothing.
pub(super) fn check(field: &str, filter: &str) -> Result<(), Error> {
    if filter.is_empty() || (filter.starts_with('(') && ldap3::parse_filter(filter).is_ok()) {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Misuse,
        format!("`{field}` is no filter; one looks like `(objectClass=person)`"),
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::{check, equals, escape};

    #[test]
    fn nothing_typed_can_leave_its_place_in_a_filter() {
        for (typed, filter) in [
            ("alice", "(uid=alice)"),
            ("*", r"(uid=\2a)"),
            ("a*", r"(uid=a\2a)"),
            (
                "*)(uid=*))(|(uid=*",
                r"(uid=\2a\29\28uid=\2a\29\29\28\7c\28uid=\2a)",
            ),
            (
                "alice)(|(objectClass=*)",
                r"(uid=alice\29\28\7c\28objectClass=\2a\29)",
            ),
            ("admin)(!(&(1=0", r"(uid=admin\29\28\21\28\26\281=0)"),
            (r"\2a", r"(uid=\5c2a)"),
            ("a\0b", r"(uid=a\00b)"),
            (" a ", r"(uid=\20a\20)"),
            ("\u{e4}", r"(uid=\c3\a4)"),
            ("", "(uid=)"),
        ] {
            assert_eq!(equals("", "uid", typed), filter, "{typed:?}");
            assert!(ldap3::parse_filter(filter).is_ok(), "{filter}");
        }
        let both = equals("(objectClass=person)", "uid", "x)(y=z");
        assert_eq!(both, r"(&(objectClass=person)(uid=x\29\28y=z))");
    }

    #[test]
    fn no_byte_but_a_harmless_one_is_left_unescaped() {
        for byte in 0..=127_u8 {
            let text = char::from(byte).to_string();
            let escaped = escape(&text);
            if matches!(
                byte,
                b'*' | b'(' | b')' | b'\\' | 0 | b'&' | b'|' | b'!' | b'<' | b'>' | b'~'
            ) {
                assert_eq!(escaped, format!("\\{byte:02x}"));
            }
            assert!(escaped == text || escaped.starts_with('\\'));
        }
    }

    #[test]
    fn a_filter_of_the_configuration_is_whole() {
        for good in ["", "(a=b)", "(&(a=b)(c=d))", "(a=*)"] {
            check("filter", good).unwrap();
        }
        for bad in ["a=b", "(a=b", "(a=b))", "(a=b)(c=d)", "()", " "] {
            assert!(
                check("filter", bad)
                    .unwrap_err()
                    .message()
                    .contains("`filter`"),
                "{bad}"
            );
        }
    }
}
