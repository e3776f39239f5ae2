//! Lines that a shell makes from earlier ones: `!!`, `!rm`, `^a^b`, `fc -s`.

use std::collections::VecDeque;

use crate::words::{Words, finder};

/// Lines that are kept.
const MAX_LINES: usize = 64;
/// Bytes of them.
const MAX_BYTES: usize = 16 * 1024;

/// What may change which lines a shell keeps.
static KEEPING: Words = Words::new(|| finder(&["HIST", "hist", "fc -", "shopt", "setopt"]));

/// What the session's lines were, as the shell's own history has them.
#[derive(Debug, Default)]
pub(super) struct History {
    lines: VecDeque<String>,
    bytes: usize,
    /// The shell's own history may have other lines.
    is_doubted: bool,
    /// A line was given twice in a row, which many shells keep once.
    has_repeats: bool,
}

/// What becomes of a line.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Expanded {
    /// It refers to no other.
    Plain,
    /// To lines of this session: this is what runs.
    Known(String),
    /// This is shown and does not run.
    Printed(String),
    /// To something older, or in a way that is not followed.
    Unknown,
}

impl History {
    pub(super) fn push(&mut self, line: &str) {
        let line = line.trim_end_matches(['\r', '\n']);
        if line.trim().is_empty() {
            return;
        }
        // Lines behind a blank may be left out, and these change what is kept.
        self.is_doubted |= line.starts_with([' ', '\t']) || KEEPING.any_in(line);
        self.has_repeats |= self.lines.back().is_some_and(|last| last == line);
        self.bytes += line.len();
        self.lines.push_back(line.to_owned());
        while self.lines.len() > MAX_LINES || self.bytes > MAX_BYTES {
            match self.lines.pop_front() {
                Some(line) => self.bytes -= line.len(),
                None => break,
            }
        }
    }

    /// What the shell makes of `line`.
    pub(super) fn expand(&self, line: &str) -> Expanded {
        match self.expand_by_lines(line) {
            Expanded::Known(_) | Expanded::Printed(_) if self.is_doubted => Expanded::Unknown,
            expanded => expanded,
        }
    }

    fn expand_by_lines(&self, line: &str) -> Expanded {
        if let Some(expanded) = self.again(line) {
            return expanded;
        }
        if let Some(rest) = line.strip_prefix('^') {
            let mut parts = rest.splitn(3, '^');
            let (Some(from), Some(to)) = (parts.next(), parts.next()) else {
                return Expanded::Plain;
            };
            return match self.lines.back() {
                Some(last)
                    if last.contains(from)
                        && !from.is_empty()
                        && !to.contains(['&', '\\'])
                        && !from.contains('\\') =>
                {
                    Expanded::Known(last.replacen(from, to, 1) + parts.next().unwrap_or_default())
                }
                _ => Expanded::Unknown,
            };
        }
        if !line.contains('!') {
            return Expanded::Plain;
        }
        let mut result = String::new();
        let mut changed = false;
        let mut prints = false;
        let mut single = false;
        let mut double = false;
        let mut rest = line;
        while let Some(c) = rest.chars().next() {
            let behind = rest.get(c.len_utf8()..).unwrap_or_default();
            match c {
                '\\' if !single => {
                    result.push(c);
                    result.extend(behind.chars().next());
                    rest = behind
                        .get(behind.chars().next().map_or(0, char::len_utf8)..)
                        .unwrap_or_default();
                    continue;
                }
                '\'' if !double => single = !single,
                '"' if !single => double = !double,
                '$' | '{' | '[' if !single && behind.starts_with('!') => {
                    result.push(c);
                    result.push('!');
                    rest = behind.get(1..).unwrap_or_default();
                    continue;
                }
                '!' if !single
                    && behind.chars().next().is_some_and(|next| {
                        !(next.is_whitespace() || "=(".contains(next) || double && next == '"')
                    }) =>
                {
                    let Some((text, left, only_prints)) = self.reference(behind, &result) else {
                        return Expanded::Unknown;
                    };
                    result.push_str(&text);
                    prints |= only_prints;
                    changed = true;
                    rest = left;
                    continue;
                }
                _ => {}
            }
            result.push(c);
            rest = behind;
        }
        match (changed, prints) {
            (false, _) => Expanded::Plain,
            (true, true) => Expanded::Printed(result),
            (true, false) => Expanded::Known(result),
        }
    }

    /// `fc -s rm`, and `r rm` in zsh.
    fn again(&self, line: &str) -> Option<Expanded> {
        let mut words = line.split_whitespace();
        match (words.next()?, words.next()) {
            ("fc", Some("-s" | "-e-")) => {}
            ("fc", Some("-e")) if words.next() == Some("-") => {}
            ("r", None) if self.is_known_again() => return Some(self.last_like("")),
            ("r", Some(prefix)) if self.is_known_again() && words.next().is_none() => {
                return Some(self.last_like(prefix));
            }
            _ => return None,
        }
        let mut words: Vec<&str> = words.collect();
        let pair = words.first().and_then(|word| word.split_once('='));
        if pair.is_some() {
            words.remove(0);
        }
        let found = match words.as_slice() {
            [] => self.last_like(""),
            [prefix] => self.last_like(prefix),
            _ => Expanded::Unknown,
        };
        Some(match (found, pair) {
            (Expanded::Known(line), Some((from, to))) => {
                Expanded::Known(line.replacen(from, to, 1))
            }
            (found, _) => found,
        })
    }

    /// Whether there is a line to run again at all: `r` is a program elsewhere.
    fn is_known_again(&self) -> bool {
        !self.lines.is_empty()
    }

    fn last_like(&self, prefix: &str) -> Expanded {
        self.lines
            .iter()
            .rev()
            .find(|line| line.starts_with(prefix))
            .map_or(Expanded::Unknown, |line| Expanded::Known(line.clone()))
    }

    /// Behind `!`: the text that it stands for, what is left, and whether it is only printed.
    fn reference<'a>(&self, rest: &'a str, so_far: &str) -> Option<(String, &'a str, bool)> {
        let first = rest.chars().next()?;
        let nth_last = |count: usize| {
            let at = self.lines.len().checked_sub(count)?;
            self.lines.get(at).cloned()
        };
        let (event, left) = match first {
            '!' => (nth_last(1)?, rest.get(1..)?),
            '#' => (so_far.to_owned(), rest.get(1..)?),
            // The words of the last line.
            '$' | '^' | '*' | ':' => (nth_last(1)?, rest),
            '?' => {
                let inside = rest.get(1..)?;
                let (text, left) = match inside.find('?') {
                    Some(end) => (inside.get(..end)?, inside.get(end + 1..)?),
                    None => (inside, ""),
                };
                let line = self.lines.iter().rev().find(|line| line.contains(text))?;
                (line.clone(), left)
            }
            '-' => {
                let digits = rest.get(1..)?;
                let length = digits.bytes().take_while(u8::is_ascii_digit).count();
                let count: usize = digits.get(..length)?.parse().ok()?;
                if count > 1 && self.has_repeats {
                    return None;
                }
                (nth_last(count)?, digits.get(length..)?)
            }
            // The number of a line counts from before the session.
            '0'..='9' => return None,
            _ => {
                let end = rest
                    .find(|c: char| c.is_whitespace() || ":^$*;&|()<>\"'".contains(c))
                    .unwrap_or(rest.len());
                let prefix = rest.get(..end)?;
                let line = self
                    .lines
                    .iter()
                    .rev()
                    .find(|line| line.starts_with(prefix))?;
                (line.clone(), rest.get(end..)?)
            }
        };
        designators(event, left)
    }
}

/// Words and changes: `:0`, `$`, `:s/a/b/`, `:p`.
fn designators(event: String, left: &str) -> Option<(String, &str, bool)> {
    let mut text = event;
    let mut left = left;
    let mut prints = false;
    let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
    let bare = left.starts_with(['$', '^', '*']);
    if bare
        || left.starts_with(':')
            && left
                .get(1..)?
                .starts_with(|c: char| c.is_ascii_digit() || "$^*-".contains(c))
    {
        // Words that shells cut in another way than at blanks.
        if text.contains(['\'', '"', '\\', ';', '|', '&', '<', '>', '(', ')', '`', '$']) {
            return None;
        }
        let inside = if bare { left } else { left.get(1..)? };
        let length = inside
            .find(|c: char| !(c.is_ascii_digit() || "$^*-".contains(c)))
            .unwrap_or(inside.len());
        let range = inside.get(..length)?;
        let last = words.len().checked_sub(1)?;
        let number = |text: &str| match text {
            "$" => Some(last),
            "^" => Some(1),
            text => text.parse::<usize>().ok(),
        };
        let (from, to) = match range {
            "*" => (1, last),
            range => match range.split_once('-') {
                Some((from, "")) => (number(from)?, last.checked_sub(1)?),
                Some(("", to)) => (0, number(to)?),
                Some((from, to)) => (number(from)?, number(to)?),
                None => match range.strip_suffix('*') {
                    Some(from) => (number(from)?, last),
                    None => (number(range)?, number(range)?),
                },
            },
        };
        text = words.get(from..=to)?.join(" ");
        left = inside.get(length..)?;
    }
    while let Some(rest) = left.strip_prefix(':') {
        let kind = rest.chars().next()?;
        left = rest.get(1..)?;
        let everywhere = kind == 'g';
        let kind = if everywhere {
            let kind = left.chars().next()?;
            left = left.get(1..)?;
            kind
        } else {
            kind
        };
        match kind {
            'p' => prints = true,
            's' => {
                let delimiter = left.chars().next()?;
                let mut parts = left.get(delimiter.len_utf8()..)?.splitn(3, delimiter);
                let (from, to) = (parts.next()?, parts.next()?);
                // `&` is what was replaced, and nothing is what was sought before.
                if from.is_empty() || from.contains('\\') || to.contains(['&', '\\']) {
                    return None;
                }
                text = if everywhere {
                    text.replace(from, to)
                } else {
                    text.replacen(from, to, 1)
                };
                left = parts.next().unwrap_or_default();
            }
            'h' => {
                text = text
                    .rsplit_once('/')
                    .map_or(text.clone(), |(head, _)| head.to_owned())
            }
            't' => {
                text = text
                    .rsplit_once('/')
                    .map_or(text.clone(), |(_, tail)| tail.to_owned())
            }
            'r' => {
                text = text
                    .rsplit_once('.')
                    .map_or(text.clone(), |(root, _)| root.to_owned())
            }
            _ => return None,
        }
    }
    Some((text, left, prints))
}

#[cfg(test)]
mod tests {
    use super::{Expanded, History};

    fn history() -> History {
        let mut history = History::default();
        for line in ["rm -rf /x", "ls /a /b", "echo hi"] {
            history.push(line);
        }
        history
    }

    #[test]
    fn references_to_lines_of_the_session_are_followed() {
        for (line, expanded) in [
            ("!!", "echo hi"),
            ("sudo !!", "sudo echo hi"),
            ("!-2", "ls /a /b"),
            ("!rm", "rm -rf /x"),
            ("!?rf?", "rm -rf /x"),
            ("^hi^there^", "echo there"),
            ("cat !$", "cat hi"),
            ("cat !ls:1", "cat /a"),
            ("cat !ls*", "cat /a /b"),
            ("!!:s/echo/rm/", "rm hi"),
            ("fc -s ls", "ls /a /b"),
            ("fc -s ls=rm ls", "rm /a /b"),
            ("echo \"!rm\"", "echo \"rm -rf /x\""),
        ] {
            assert_eq!(
                history().expand(line),
                Expanded::Known(expanded.to_owned()),
                "{line}"
            );
        }
        assert_eq!(
            history().expand("!rm:p"),
            Expanded::Printed("rm -rf /x".to_owned())
        );
    }

    #[test]
    fn what_is_no_reference_stays_and_what_is_older_is_unknown() {
        for line in [
            "echo '!rm'",
            "[ a != b ]",
            "! ls",
            "echo \\!x",
            "echo hi!",
            "ls [!a]*",
            "echo $!",
            "a^b^c",
        ] {
            assert_eq!(history().expand(line), Expanded::Plain, "{line}");
        }
        for line in ["!12", "!nothing", "!-9", "^none^x"] {
            assert_eq!(history().expand(line), Expanded::Unknown, "{line}");
        }
    }

    #[test]
    fn a_history_that_may_have_other_lines_tells_nothing() {
        for line in [
            " ls -l",
            "history -s rm x",
            "HISTCONTROL=ignorespace",
            "fc -R f",
        ] {
            let mut history = history();
            history.push(line);
            assert_eq!(history.expand("!!:1*"), Expanded::Unknown, "{line}");
            assert_eq!(history.expand("!rm"), Expanded::Unknown, "{line}");
            assert_eq!(history.expand("ls"), Expanded::Plain, "{line}");
        }
        let mut history = history();
        history.push("echo hi");
        assert_eq!(history.expand("!-2"), Expanded::Unknown);
        assert_eq!(history.expand("!!"), Expanded::Known("echo hi".to_owned()));
    }

    #[test]
    fn words_that_are_quoted_and_replacements_with_signs_are_not_guessed() {
        let mut history = history();
        history.push("echo a\\ b ls rm x");
        assert_eq!(history.expand("!!:3*"), Expanded::Unknown);
        assert_eq!(history.expand("!!:s/echo/&x/"), Expanded::Unknown);
    }

    #[test]
    fn it_does_not_grow_without_bound() {
        let mut history = History::default();
        for _ in 0..1000 {
            history.push(&"x".repeat(1000));
        }
        assert!(history.bytes <= super::MAX_BYTES);
    }
}
