//! Names and paths with wildcards.

use globset::{GlobBuilder, GlobMatcher};

use super::normalize;
use crate::shell::{Resolved, Value};

/// A text with `*`, `**`, `?`, `[…]` and `{a,b}`.
#[derive(Debug)]
pub(crate) struct Pattern {
    text: String,
    matcher: GlobMatcher,
    /// Nothing in it is a wildcard.
    is_literal: bool,
    /// Bytes of the folder, when it is all below one.
    folder: Option<usize>,
    /// Bytes that it begins with, when anything may follow.
    prefix: Option<usize>,
}

/// What makes a text more than itself.
const WILD: [char; 5] = ['*', '?', '[', '{', '\\'];

impl Pattern {
    pub(crate) fn new(text: &str) -> Result<Self, String> {
        let glob = GlobBuilder::new(text)
            .literal_separator(text.contains('/'))
            .build()
            .map_err(|error| format!("`{text}` is no pattern: {}", error.kind()))?;
        Ok(Self {
            text: text.to_owned(),
            matcher: glob.compile_matcher(),
            is_literal: !text.contains(WILD),
            folder: text
                .strip_suffix("/**")
                .filter(|folder| !folder.contains(WILD))
                .map(str::len),
            prefix: text
                .strip_suffix('*')
                .filter(|prefix| !prefix.contains(WILD) && !prefix.contains('/'))
                .map(str::len),
        })
    }

    pub(crate) fn matches(&self, text: &str) -> bool {
        if self.is_literal {
            return text == self.text;
        }
        if let Some(folder) = self.folder() {
            return text
                .strip_prefix(folder)
                .is_some_and(|below| below.starts_with('/'));
        }
        match self.prefix.and_then(|length| self.text.get(..length)) {
            Some(prefix) => text.starts_with(prefix),
            None => self.matcher.is_match(text),
        }
    }

    /// Whether a program that is named so is meant: by its name, or by its path.
    pub(crate) fn names(&self, command: &Resolved) -> bool {
        if self.text.contains('/') {
            let program = command.argv.first().and_then(Value::known);
            self.matches(&normalize(program.unwrap_or_default()))
        } else {
            self.matches(&command.name)
        }
    }

    /// Whether a path, or a folder that takes its files along, is meant.
    pub(crate) fn covers(&self, path: &str) -> bool {
        self.matches(path)
            || self
                .text
                .strip_suffix("/**")
                .is_some_and(|folder| folder == path)
    }

    /// The text, when it stands for itself.
    pub(crate) fn literal(&self) -> Option<&str> {
        self.is_literal.then_some(self.text.as_str())
    }

    /// The folder, when it is all below one.
    pub(crate) fn folder(&self) -> Option<&str> {
        self.text.get(..self.folder?)
    }

    /// Whether every text that begins with `prefix` matches.
    pub(super) fn takes_all(&self, prefix: &str) -> bool {
        self.text.strip_suffix("**").is_some_and(|folder| {
            !folder.contains(['*', '?', '[', '{']) && prefix.starts_with(folder)
        })
    }

    /// Whether some text that begins with `prefix` may match.
    pub(super) fn may_begin_with(&self, prefix: &str) -> bool {
        let fixed = self
            .text
            .split(['*', '?', '[', '{'])
            .next()
            .unwrap_or_default();
        fixed.starts_with(prefix) || prefix.starts_with(fixed)
    }
}
