use std::fmt;

use thiserror::Error;

/// One thing that is wrong with rules, and what to do about it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Fault {
    /// Line in the text, from 1; 0 when it is about the whole.
    pub line: u32,
    /// What is wrong and the fix.
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.message),
            line => write!(f, "line {line}: {}", self.message),
        }
    }
}

/// Why rules were refused as a whole. The rules that were in force stay.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub struct Faults {
    /// What is wrong, in the order of lines; at most [`Faults::SHOWN`] of them.
    pub faults: Vec<Fault>,
    /// How many more there are.
    pub more: usize,
}

impl Faults {
    /// How many faults are kept: who has more reads no list.
    pub const SHOWN: usize = 100;

    pub(super) fn one(line: usize, message: impl Into<String>) -> Self {
        let line = u32::try_from(line).unwrap_or(u32::MAX);
        let message = message.into();
        Self {
            faults: vec![Fault { line, message }],
            more: 0,
        }
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.faults.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{fault}")?;
        }
        match self.more {
            0 => Ok(()),
            more => write!(f, "\nand {more} more"),
        }
    }
}

/// Collects faults.
#[derive(Debug, Default)]
pub(super) struct Report {
    faults: Vec<Fault>,
    more: usize,
}

impl Report {
    pub(super) fn add(&mut self, line: u32, message: impl Into<String>) {
        if self.faults.len() >= Faults::SHOWN {
            self.more += 1;
            return;
        }
        let message = message.into();
        self.faults.push(Fault { line, message });
    }

    pub(super) fn finish(mut self) -> Result<(), Faults> {
        if self.faults.is_empty() {
            return Ok(());
        }
        self.faults.sort_by_key(|fault| fault.line);
        Err(Faults {
            faults: self.faults,
            more: self.more,
        })
    }
}
