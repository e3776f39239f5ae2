//! Assignments.

use std::collections::BTreeMap;

use crate::shell::{
    Dialect,
    ast::Word,
    expand::Mode,
    lexer::{Parser, assignment_end},
    parameter::Held,
    run::Runner,
    session::Variable,
    value::Value,
};

impl Runner<'_> {
    /// Takes back the assignments in front of a command, with what they had before.
    pub(super) fn take_back(
        &mut self,
        words: &[Word<'_>],
        before: Vec<(String, Option<Variable>, bool)>,
    ) {
        let program = words.first().map(|word| word.raw).unwrap_or_default();
        let special = matches!(
            program,
            b":" | b"."
                | b"source"
                | b"break"
                | b"continue"
                | b"declare"
                | b"eval"
                | b"exec"
                | b"exit"
                | b"export"
                | b"readonly"
                | b"return"
                | b"set"
                | b"shift"
                | b"times"
                | b"trap"
                | b"typeset"
                | b"unset"
        );
        let kept = special && self.dialect().is_small();
        let is_sure = program.iter().all(|byte| !b"$`\\'\"*?[".contains(byte))
            && self
                .state
                .function(&crate::shell::expand::lossy(program))
                .is_none();
        for (name, old, exported) in before.into_iter().rev() {
            if kept && is_sure {
                // The shell's own commands keep them there.
            } else if special || !is_sure {
                if self.state.variable(&name) != old.as_ref() {
                    self.state.set_unseen(&name, Variable::Unknown);
                }
            } else {
                match old {
                    Some(old) => self.state.set_unseen(&name, old),
                    None => self.state.forget(&name),
                }
                if !exported {
                    self.state.export(&name, false);
                }
            }
        }
    }

    /// `name=value` as it is written.
    pub(in crate::shell) fn assign(&mut self, raw: &[u8]) {
        let raw = &*joined_name(raw);
        let Some(end) = assignment_end(raw) else {
            return;
        };
        let (left, value) = raw.split_at(end);
        let left = left.strip_suffix(b"=").unwrap_or(left);
        let (left, appends) = match left.strip_suffix(b"+") {
            Some(left) => (left, true),
            None => (left, false),
        };
        let open = left.iter().position(|byte| *byte == b'[');
        let name =
            String::from_utf8_lossy(left.get(..open.unwrap_or(left.len())).unwrap_or_default())
                .into_owned();
        let index = open.and_then(|open| left.get(open + 1..left.len().saturating_sub(1)));
        if let Some(list) = value.strip_prefix(b"(") {
            let list = list.strip_suffix(b")").unwrap_or(list).to_vec();
            let _is_table = self.set_in_table(&name, None, None);
            self.assign_list(&name, &list, appends);
            if index.is_some() {
                // zsh puts it in place of some elements.
                self.state.set(&name, Variable::Unknown);
            }
            return;
        }
        let value = self.whole(value, Mode::Word);
        if index.is_none() && name == "PATH" && self.assign_search_path(&value, appends) {
            return;
        }
        let text = text_of(value);
        if appends && self.dialect().is_small() {
            // The name of a program that nobody has.
            return self.state.set(&name, Variable::Unknown);
        }
        if let Some(index) = index
            && self.is_table(&name)
        {
            let key = self.text_of(index, Mode::Operand);
            if self.set_in_table(&name, key.as_deref(), text.as_deref()) {
                return;
            }
        }
        if self.state.is_constant(&name) {
            // Some shells end there, some only this line.
            self.unknown("a variable that cannot be set");
        }
        let name = match self.state.variable(&name) {
            Some(Variable::Reference(target)) => target.clone(),
            _ => name,
        };
        if name.contains('[') {
            // A reference to an element.
            return self.set_named(&name, text);
        }
        self.changes_what_runs(&name, text.as_deref());
        if self.is_calculated(&name) && index.is_none() {
            let number = text.and_then(|text| self.arithmetic(text.as_bytes()));
            return self.assign_number(&name, false, number);
        }
        if let Some(index) = index {
            let text = if appends {
                self.appended_element(&name, index, text)
            } else {
                text
            };
            return self.assign_element(&name, index, text);
        }
        let old = match self.state.variable(&name) {
            Some(Variable::Text(old)) => Some(old.clone()),
            Some(Variable::Unset) => Some(String::new()),
            None => {
                self.asked_environment |= appends;
                (!self.inherits).then(String::new)
            }
            _ => None,
        };
        let new = match (appends, old, text) {
            (false, _, Some(text)) => Variable::Text(text),
            (true, Some(old), Some(text)) => Variable::Text(old + &text),
            _ => Variable::Unknown,
        };
        self.state.set(&name, new);
    }

    /// What `name+=value` as the word of a builtin makes of the variable; none when that is not
    /// known, and it is marked so.
    pub(in crate::shell) fn appended(&mut self, name: &str, value: String) -> Option<String> {
        // In functions it may be another one, and numbers are added.
        let is_plain = self.dialect() == Dialect::Bash
            && self.calls.is_empty()
            && !self.is_calculated(name)
            && !name.contains('[');
        let old = match self.state.variable(name) {
            _ if !is_plain => None,
            Some(Variable::Text(old)) => Some(old.clone()),
            Some(Variable::Unset) => Some(String::new()),
            None => {
                self.asked_environment = true;
                (!self.inherits).then(String::new)
            }
            _ => None,
        };
        if old.is_none() {
            self.changes_what_runs(name, None);
            self.set_named(name, None);
        }
        old.map(|old| old + &value)
    }

    /// What `name[index]+=text` sets the element to.
    fn appended_element(
        &mut self,
        name: &str,
        index: &[u8],
        text: Option<String>,
    ) -> Option<String> {
        // Others may change something whenever they are calculated.
        let is_plain = index
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
        if !is_plain || self.is_calculated(name) {
            return None;
        }
        match self.lookup(name, Some(index)) {
            Held::Text(old) => Some(old + &text?),
            Held::Unset => text,
            _ => None,
        }
    }

    /// Sets `name`, which may be that of an element, as builtins do; to what is not known without
    /// a text.
    pub(in crate::shell) fn set_named(&mut self, name: &str, text: Option<String>) {
        match name.split_once('[') {
            Some((array, index)) => {
                let index = index.strip_suffix(']').unwrap_or(index).to_owned();
                if self.is_table(array) {
                    let key = self.text_of(index.as_bytes(), Mode::Operand);
                    let _kept = self.set_in_table(array, key.as_deref(), text.as_deref());
                } else {
                    self.assign_element(array, index.as_bytes(), text);
                }
            }
            None if self.is_calculated(name) => {
                let number = text.and_then(|text| self.arithmetic(text.as_bytes()));
                self.assign_number(name, false, number);
            }
            None => self
                .state
                .set(name, text.map_or(Variable::Unknown, Variable::Text)),
        }
    }

    /// Whether what the variable is set to is calculated.
    pub(in crate::shell) fn is_calculated(&self, name: &str) -> bool {
        self.state.is_integer(name)
            || self.dialect() == Dialect::Bash
                && matches!(name, "OPTIND" | "RANDOM" | "SRANDOM" | "LINENO" | "HISTCMD")
    }

    pub(super) fn assigned_value(&mut self, value: &[u8]) -> Option<String> {
        text_of(self.whole(value, Mode::Word))
    }

    pub(super) fn assign_element(&mut self, name: &str, index: &[u8], text: Option<String>) {
        let mut variable = match self.state.variable(name) {
            Some(variable) => variable.clone(),
            None => Variable::Array(BTreeMap::new()),
        };
        match &mut variable {
            Variable::Map(map) => match (self.text_of(index, Mode::Operand), text) {
                (Some(key), Some(text)) => {
                    map.insert(key, text);
                }
                _ => variable = Variable::Unknown,
            },
            Variable::Array(array) => {
                let at = self.arithmetic(index);
                // The first one of zsh has the number 1, and a comma stands between two ends.
                let at = match self.dialect() {
                    Dialect::Zsh if index.contains(&b',') => None,
                    Dialect::Zsh => at.and_then(|at| at.checked_sub(1)),
                    _ => at,
                };
                match (at.and_then(|at| usize::try_from(at).ok()), text) {
                    (Some(at), Some(text)) => {
                        // zsh fills up with empty ones.
                        if self.dialect() == Dialect::Zsh && at > array.len() {
                            variable = Variable::Unknown;
                        } else {
                            array.insert(at, text);
                        }
                    }
                    _ => variable = Variable::Unknown,
                }
            }
            _ => {
                let _at = self.arithmetic(index);
                variable = Variable::Unknown;
            }
        }
        self.state.set(name, variable);
    }

    pub(super) fn assign_list(&mut self, name: &str, list: &[u8], appends: bool) {
        let mut parser = Parser::new(list, self.dialect());
        let mut words = Vec::new();
        loop {
            if parser.skip_newlines().is_err() {
                break;
            }
            match parser.word() {
                Ok(word) => words.push(word),
                Err(_) => break,
            }
        }
        let old = self.state.variable(name).cloned();
        let is_map = matches!(old, Some(Variable::Map(_)));
        let (mut array, mut map) = (BTreeMap::new(), BTreeMap::new());
        let mut known = true;
        if appends {
            match old {
                Some(Variable::Array(old)) => array = old,
                Some(Variable::Map(old)) => map = old,
                // A text is the first element.
                Some(Variable::Text(old)) => {
                    array.insert(0, old);
                }
                Some(Variable::Unset) => {}
                Some(Variable::Unknown | Variable::Reference(_) | Variable::Around(..)) => {
                    known = false;
                }
                None => {
                    self.asked_environment = true;
                    known = !self.inherits;
                }
            }
        }
        let mut next = array.keys().next_back().map_or(0, |last| last + 1);
        for word in words {
            if word.raw.first() == Some(&b'[') && word.raw.windows(3).any(|it| it == b"]+=") {
                // What is appended to what.
                known = false;
            }
            if word.raw.first() == Some(&b'[')
                && let Some(end) = word.raw.windows(2).position(|pair| pair == b"]=")
            {
                let index = word.raw.get(1..end).unwrap_or_default();
                let text = self.assigned_value(word.raw.get(end + 2..).unwrap_or_default());
                if is_map {
                    match (self.text_of(index, Mode::Operand), text) {
                        (Some(key), Some(text)) => {
                            map.insert(key, text);
                        }
                        _ => known = false,
                    }
                } else {
                    match (
                        self.arithmetic(index)
                            .and_then(|at| usize::try_from(at).ok()),
                        text,
                    ) {
                        (Some(at), Some(text)) => {
                            array.insert(at, text);
                            next = at + 1;
                        }
                        _ => known = false,
                    }
                }
                continue;
            }
            for value in self.words(&[word]) {
                match value {
                    Value::Known(text) if known => {
                        array.insert(next, text);
                        next += 1;
                    }
                    _ => known = false,
                }
            }
        }
        self.state.set(
            name,
            match (known, is_map) {
                (false, _) => Variable::Unknown,
                (true, true) => Variable::Map(map),
                (true, false) => Variable::Array(array),
            },
        );
    }

    pub(in crate::shell) fn assign_number(
        &mut self,
        name: &str,
        indexed: bool,
        value: Option<i64>,
    ) {
        let value = match value {
            Some(value) if !indexed => Variable::Text(value.to_string()),
            _ => Variable::Unknown,
        };
        self.state.set(name, value);
    }
}

fn text_of(value: Value) -> Option<String> {
    match value {
        Value::Known(text) => Some(text),
        Value::Pattern(text) => Some(crate::shell::expand::unescape(&text)),
        Value::Unknown { .. } => None,
    }
}

/// `raw` without the ends of lines that are escaped in front of its `=`.
pub(super) fn joined_name(raw: &[u8]) -> std::borrow::Cow<'_, [u8]> {
    let end = raw.iter().position(|byte| *byte == b'=');
    let (name, behind) = raw.split_at(end.unwrap_or(0));
    if !name.windows(2).any(|pair| pair == b"\\\n") {
        return raw.into();
    }
    let mut joined = Vec::with_capacity(raw.len());
    let mut rest = name;
    while let Some((byte, more)) = rest.split_first() {
        rest = match rest.strip_prefix(b"\\\n") {
            Some(more) => more,
            None => {
                joined.push(*byte);
                more
            }
        };
    }
    joined.extend_from_slice(behind);
    joined.into()
}
