//! What a mode of `chmod` gives to others.

use super::Match;

/// The rights of one class that a mode is known to give.
#[derive(Clone, Copy, Debug, Default)]
struct Rights {
    /// Read, write and execute, a bit each.
    given: u8,
    /// What is there already counts: it was copied from a class of which nothing is known.
    is_copied: bool,
}

const ALL: u8 = 0b111;

/// Whether a mode gives others read, write and execute: `chmod(1)` of POSIX and of GNU, clause
/// after clause. What the file's mode was is not known.
pub(super) fn grants_all(mode: &str) -> Match {
    if !mode.is_empty() && mode.bytes().all(|byte| byte.is_ascii_digit()) {
        return Match::from_bool(mode.ends_with('7'));
    }
    let mut classes = [Rights::default(); 3];
    for clause in mode.split(',') {
        let Some(at) = clause.find(['+', '-', '=']) else {
            return Match::No;
        };
        let (who, mut actions) = clause.split_at(at);
        while let Some(action) = actions.chars().next() {
            let rest = actions.get(1..).unwrap_or_default();
            let end = rest.find(['+', '-', '=']).unwrap_or(rest.len());
            let (what, behind) = rest.split_at(end);
            act(&mut classes, who, action, what);
            actions = behind;
        }
    }
    let [_, _, others] = classes;
    match others {
        Rights { given: ALL, .. } => Match::Yes,
        Rights {
            is_copied: true, ..
        } => Match::Maybe,
        Rights { .. } => Match::No,
    }
}

/// Carries out `=rwx`, `+x`, `-w`, `=u` or `+7` for the classes in `who`.
fn act(classes: &mut [Rights; 3], who: &str, action: char, what: &str) {
    let before = *classes;
    let is_number = !what.is_empty() && what.bytes().all(|byte| byte.is_ascii_digit());
    for (index, class) in ['u', 'g', 'o'].into_iter().enumerate() {
        if !(who.is_empty() || who.contains([class, 'a'])) {
            continue;
        }
        let mut rights = Rights::default();
        if is_number {
            let digit = what.bytes().rev().nth(2 - index).unwrap_or(b'0');
            rights.given = digit.wrapping_sub(b'0') & ALL;
        }
        for letter in what.chars() {
            match letter {
                'r' => rights.given |= 0b100,
                'w' => rights.given |= 0b010,
                'x' | 'X' => rights.given |= 0b001,
                'u' | 'g' | 'o' => {
                    let from = before.iter().zip(['u', 'g', 'o']).find(|it| it.1 == letter);
                    let from = from.map(|it| *it.0).unwrap_or_default();
                    rights.given |= from.given;
                    rights.is_copied |= from.is_copied || from.given == 0 && letter != class;
                }
                _ => {}
            }
        }
        let Some(now) = classes.get_mut(index) else {
            continue;
        };
        match action {
            '=' => *now = rights,
            '+' => {
                now.given |= rights.given;
                now.is_copied |= rights.is_copied;
            }
            _ => {
                now.given &= !rights.given;
                now.is_copied &= rights.given == 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Match, grants_all};

    #[test]
    fn modes_that_give_others_everything_are_seen() {
        for mode in [
            "777",
            "0777",
            "1777",
            "a+rwx",
            "+rwx",
            "=rwx",
            "u=r,o=rwx",
            "o=r,o+wx",
            "a+r+w+x",
            "a=rwX,+x",
            "u=rwx,o=u",
            "u=rwx,go=u",
            "=777",
            "a+0777",
            "o-rwx,o+rwx",
        ] {
            assert_eq!(grants_all(mode), Match::Yes, "{mode}");
        }
        for mode in [
            "755",
            "u+rwx",
            "go-rwx",
            "a+r",
            "",
            "o=rwx,o-w",
            "u=rw,o=u",
            "u=rwx,g=u",
            "a=rwx,o=",
            "770",
            "+x",
            "o=o",
            "x",
            "u=r,o=u",
        ] {
            assert_eq!(grants_all(mode), Match::No, "{mode}");
        }
    }

    #[test]
    fn what_others_get_from_a_class_that_is_not_known_may_be_everything() {
        for mode in ["o=u", "go=u", "o+g", "u=rwx,o=g"] {
            assert_eq!(grants_all(mode), Match::Maybe, "{mode}");
        }
        assert_eq!(grants_all("o=u,o-w"), Match::No);
    }
}
