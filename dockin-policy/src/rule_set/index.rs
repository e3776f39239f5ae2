//! Which rules have to be asked.

use std::collections::HashMap;

use crate::{
    rule::{Rule, normalize},
    shell::{Resolved, Value},
};

/// Which rules may speak of a command, so that not all have to be asked.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// By the program's name.
    names: HashMap<String, Vec<usize>>,
    /// By a path or the folder above it.
    files: HashMap<String, Vec<usize>>,
    /// Rules about files, for those whose names are not known.
    any_file: Vec<usize>,
    /// Names with wildcards and paths of programs: the rule, and which of its patterns.
    named_by_pattern: Vec<(usize, usize)>,
    /// Rules whose files have wildcards elsewhere than at the end.
    filed_by_pattern: Vec<usize>,
    shaped: Vec<usize>,
    /// Rules about ports that are forwarded.
    ported: Vec<usize>,
}

impl Index {
    pub(super) fn new(rules: &[Rule]) -> Self {
        let mut index = Self::default();
        for (number, rule) in rules.iter().enumerate() {
            for (at, pattern) in rule.commands.iter().enumerate() {
                match pattern.literal().filter(|text| !text.contains('/')) {
                    Some(name) => index.names.entry(name.to_owned()).or_default().push(number),
                    None => index.named_by_pattern.push((number, at)),
                }
            }
            if rule.files().next().is_some() {
                index.any_file.push(number);
            }
            let paths: Option<Vec<&str>> = rule
                .files()
                .map(|pattern| pattern.folder().or_else(|| pattern.literal()))
                .collect();
            match paths {
                Some(paths) => {
                    for path in paths {
                        index.files.entry(path.to_owned()).or_default().push(number);
                    }
                }
                None => index.filed_by_pattern.push(number),
            }
            if !rule.shapes.is_empty() {
                index.shaped.push(number);
            }
            if !rule.ports.is_empty() {
                index.ported.push(number);
            }
        }
        index
    }

    /// The rules that may speak of `command`, in their order.
    pub(super) fn candidates<'r>(&self, rules: &'r [Rule], command: &Resolved) -> Vec<&'r Rule> {
        let mut numbers: Vec<usize> = Vec::new();
        let named = self.named_by_pattern.iter().filter(|(number, at)| {
            let patterns = rules.get(*number).map(|rule| &rule.commands);
            patterns
                .and_then(|patterns| patterns.get(*at))
                .is_some_and(|pattern| pattern.names(command))
        });
        numbers.extend(named.map(|(number, _)| number));
        numbers.extend(self.names.get(&command.name).into_iter().flatten());
        let mut any_file = false;
        let paths = command.writes.iter().chain(&command.alters);
        for path in paths.chain(&command.reads) {
            let Value::Known(path) = path else {
                any_file = true;
                continue;
            };
            let path = normalize(path);
            let mut rest = path.as_str();
            loop {
                numbers.extend(self.files.get(rest).into_iter().flatten());
                match rest.rsplit_once('/') {
                    Some((folder, _)) => rest = folder,
                    None => break,
                }
            }
            numbers.extend(&self.filed_by_pattern);
        }
        if any_file {
            numbers.extend(&self.any_file);
        }
        numbers.sort_unstable();
        numbers.dedup();
        numbers
            .into_iter()
            .filter_map(|number| rules.get(number))
            .collect()
    }

    /// The rules about what several commands do together.
    pub(super) fn shaped<'r>(&self, rules: &'r [Rule]) -> impl Iterator<Item = &'r Rule> {
        self.shaped.iter().filter_map(|number| rules.get(*number))
    }

    /// The rules about ports.
    pub(super) fn ported<'r>(&self, rules: &'r [Rule]) -> impl Iterator<Item = &'r Rule> {
        self.ported.iter().filter_map(|number| rules.get(*number))
    }
}
