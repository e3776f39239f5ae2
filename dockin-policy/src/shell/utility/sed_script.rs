//! What sed writes and runs: in its arguments, and in its script.

use crate::shell::value::Value;

/// A call of sed, as its arguments tell it.
#[derive(Debug, Default)]
struct Call<'a> {
    in_place: bool,
    scripts: Vec<&'a str>,
    /// Another script stands in a file.
    has_file: bool,
    files: Vec<&'a Value>,
}

/// What a script does besides printing.
#[derive(Debug, Default, Eq, PartialEq)]
pub(in crate::shell) struct Effects {
    /// Files that its `w` commands and flags write.
    pub(in crate::shell) writes: Vec<String>,
    /// It runs a program.
    pub(in crate::shell) runs: bool,
    /// It goes on where it cannot be read.
    pub(in crate::shell) is_cut: bool,
}

/// The files that sed writes.
pub(super) fn written(arguments: &[Value]) -> Vec<Value> {
    let call = call(arguments);
    let mut found: Vec<Value> = if call.in_place {
        call.files.into_iter().cloned().collect()
    } else {
        Vec::new()
    };
    let scripts = call
        .scripts
        .iter()
        .flat_map(|script| effects(script).writes);
    found.extend(scripts.map(Value::Known));
    found
}

fn call(arguments: &[Value]) -> Call<'_> {
    let mut call = Call::default();
    let mut operands: Vec<&Value> = Vec::new();
    let mut scripted = false;
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let text = match argument.known() {
            Some("--") => {
                operands.extend(rest.by_ref());
                break;
            }
            Some(text) if text.len() > 1 && text.starts_with('-') => text,
            _ => {
                operands.push(argument);
                continue;
            }
        };
        if let Some(long) = text.strip_prefix("--") {
            let (name, value) = match long.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (long, None),
            };
            let is = |option: &str| option.starts_with(name);
            if is("in-place") {
                call.in_place = true;
            } else if is("expression") || is("file") {
                scripted = true;
                call.has_file |= !is("expression");
                let value = value.or_else(|| rest.next().and_then(Value::known));
                call.scripts.extend(value.filter(|_| is("expression")));
            } else if is("line-length") && value.is_none() {
                let _columns = rest.next();
            }
            continue;
        }
        for (at, letter) in text.char_indices().skip(1) {
            let glued = text.get(at + letter.len_utf8()..).unwrap_or_default();
            match letter {
                'i' | 'I' => {
                    call.in_place = true;
                    // What is glued on ends the name of the copy.
                    break;
                }
                'e' | 'f' => {
                    scripted = true;
                    call.has_file |= letter == 'f';
                    let value = if glued.is_empty() {
                        rest.next().and_then(Value::known)
                    } else {
                        Some(glued)
                    };
                    call.scripts.extend(value.filter(|_| letter == 'e'));
                    break;
                }
                'l' => {
                    if glued.is_empty() {
                        let _columns = rest.next();
                    }
                    break;
                }
                _ => {}
            }
        }
    }
    let mut operands = operands.into_iter();
    if !scripted {
        call.scripts.extend(operands.next().and_then(Value::known));
    }
    call.files.extend(operands);
    call
}

/// What a script does, as far as it can be read.
pub(in crate::shell) fn effects(script: &str) -> Effects {
    let mut found = Effects::default();
    let mut reader = Reader {
        rest: script,
        is_cut: false,
    };
    while reader.command(&mut found).is_some() {}
    found.is_cut = reader.is_cut;
    found
}

/// Whether the scripts in sed's arguments may run something, or one of them stands in a file.
pub(in crate::shell) fn may_run(arguments: &[Value]) -> bool {
    let call = call(arguments);
    let may = |script: &&str| {
        let effects = effects(script);
        effects.runs || effects.is_cut
    };
    // It stays what it is where no file is called so.
    let is_pattern = |it: &Value| matches!(it, Value::Pattern(text) if text.contains('/'));
    call.has_file || call.scripts.iter().any(may) || arguments.iter().any(is_pattern)
}

struct Reader<'a> {
    rest: &'a str,
    is_cut: bool,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Option<char> {
        let first = self.rest.chars().next()?;
        self.rest = self.rest.get(first.len_utf8()..)?;
        Some(first)
    }

    /// Reads one command; `None` at the end, and where it cannot be read.
    fn command(&mut self, found: &mut Effects) -> Option<()> {
        let mut behind_pattern = false;
        let command = loop {
            let first = self.next()?;
            match first {
                '/' => self.pattern('/')?,
                '\\' => {
                    let delimiter = self.next()?;
                    self.pattern(delimiter)?;
                }
                'I' | 'M' if behind_pattern => {}
                '0'..='9' | '$' | ',' | '~' | '+' | '!' | ';' | '{' | '}' => {}
                blank if blank.is_whitespace() => {}
                other => break other,
            }
            behind_pattern = matches!(first, '/' | '\\' | 'I' | 'M');
        };
        match command {
            's' => {
                let delimiter = self.next()?;
                self.pattern(delimiter)?;
                self.delimited(delimiter)?;
                self.flags(found);
            }
            'y' => {
                let delimiter = self.next()?;
                self.delimited(delimiter)?;
                self.delimited(delimiter)?;
            }
            'w' | 'W' => self.file(found),
            'e' => {
                found.runs = true;
                self.line();
            }
            'a' | 'i' | 'c' => {
                // Text, which goes on behind a backslash.
                while self.line().ends_with('\\') && !self.rest.is_empty() {}
            }
            'r' | 'R' | '#' => {
                self.line();
            }
            'b' | 't' | 'T' | ':' | 'v' => {
                let end = self.rest.find([';', '\n', '}']).unwrap_or(self.rest.len());
                self.rest = self.rest.get(end..)?;
            }
            'd' | 'D' | 'g' | 'G' | 'h' | 'H' | 'l' | 'n' | 'N' | 'p' | 'P' | 'q' | 'Q' | 'x'
            | 'z' | 'F' | '=' | 'L' => {}
            _ => {
                self.is_cut = true;
                return None;
            }
        }
        Some(())
    }

    fn flags(&mut self, found: &mut Effects) {
        while let Some(flag) = self.rest.chars().next() {
            match flag {
                'w' => {
                    let _flag = self.next();
                    return self.file(found);
                }
                'e' => found.runs = true,
                'g' | 'p' | 'i' | 'I' | 'm' | 'M' | '0'..='9' => {}
                _ => return,
            }
            let _flag = self.next();
        }
    }

    fn file(&mut self, found: &mut Effects) {
        let path = self.line().trim_start();
        if !path.is_empty() && !matches!(path, "/dev/stdout" | "/dev/stderr") {
            found.writes.push(path.to_owned());
        }
    }

    /// What is left of the line.
    fn line(&mut self) -> &'a str {
        let (line, rest) = self.rest.split_once('\n').unwrap_or((self.rest, ""));
        self.rest = rest;
        line
    }

    /// The same for a pattern: between brackets a delimiter is a letter.
    fn pattern(&mut self, delimiter: char) -> Option<()> {
        let mut is_set = false;
        loop {
            match self.next()? {
                '\\' if !is_set => {
                    let _escaped = self.next()?;
                }
                other if other == delimiter && !is_set => return Some(()),
                '[' if !is_set => {
                    is_set = true;
                    // What stands first in it is no end of it.
                    self.rest = self.rest.strip_prefix('^').unwrap_or(self.rest);
                    self.rest = self.rest.strip_prefix(']').unwrap_or(self.rest);
                }
                ']' => is_set = false,
                _ => {}
            }
        }
    }

    /// Goes behind the next `delimiter` that no backslash stands before.
    fn delimited(&mut self, delimiter: char) -> Option<()> {
        loop {
            match self.next()? {
                '\\' => {
                    let _escaped = self.next()?;
                }
                other if other == delimiter => return Some(()),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{effects, written};
    use crate::shell::value::Value;

    fn paths(words: &[&str]) -> Vec<String> {
        let words: Vec<Value> = words
            .iter()
            .map(|word| Value::Known((*word).to_owned()))
            .collect();
        written(&words).iter().map(Value::shown).collect()
    }

    #[test]
    fn a_file_that_is_changed_in_place_is_written() {
        for words in [
            &["-i", "s/a/b/", "x"][..],
            &["-i.bak", "s/a/b/", "x"],
            &["-ni.bak", "s/a/b/", "x"],
            &["-E", "-i", "-es/a/b/", "x"],
            &["--in-p=.bak", "--expr", "s/a/b/", "x"],
            &["s/a/b/", "-i", "x"],
        ] {
            assert_eq!(paths(words), ["x"], "{words:?}");
        }
        assert!(paths(&["-n", "s/i/b/", "x"]).is_empty());
        assert!(paths(&["-ne", "p", "-i"]).is_empty());
    }

    #[test]
    fn a_file_that_the_script_names_is_written() {
        assert_eq!(paths(&["s/a/b/w /etc/x", "y"]), ["/etc/x"]);
        assert_eq!(paths(&["-n", "/a/w /etc/x", "y"]), ["/etc/x"]);
        assert_eq!(paths(&["-e", "1{p;w x\n}", "y"]), ["x"]);
        assert_eq!(paths(&["\\,a,!s;b;c;gw x", "y"]), ["x"]);
        assert!(paths(&["s/w /etc/x/", "y"]).is_empty());
        assert!(paths(&["a\\\nw x", "y"]).is_empty());
    }

    #[test]
    fn a_program_that_the_script_runs_is_seen() {
        assert!(effects("s/a/id/e").runs && effects("1e id").runs);
        assert!(!effects("s/e/b/;y/e/f/;a e").runs);
    }
}
