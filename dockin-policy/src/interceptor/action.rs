//! What the interceptor asks its caller to do.

use std::{collections::VecDeque, fmt};

use bytes::Bytes;

use super::approval::{HeldLine, HoldId, Settlement};
use crate::{Decision, Verdict};

/// How a session is watched; the set is closed, as is that of sessions.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mode {
    /// A shell reads a script on stdin, no terminal.
    Script,
    /// A person types at a terminal.
    Terminal,
    /// Stdin is data; nothing is judged.
    PassThrough,
    /// Another interpreter reads code on stdin, which cannot be judged.
    Opaque,
}

/// One thing to do, in the order they come.
///
/// The set is closed: a caller that overlooks one of them breaks the session.
#[derive(Clone, Debug)]
pub enum Action {
    /// Send these bytes to the container's stdin.
    Forward(Bytes),
    /// Close the container's stdin.
    HalfClose,
    /// Show these bytes to the user, as if the container had sent them.
    Draw {
        /// Whether they belong to stderr.
        stderr: bool,
        /// The bytes.
        bytes: Bytes,
    },
    /// Write down that this line was judged.
    Judged(JudgedLine),
    /// Ask the container for the sizes of these files, and say them by
    /// [`file_sizes`](super::Interceptor::file_sizes); the line waits for them.
    SizesWanted(Vec<String>),
    /// Write down that this line waits, and ask a second person.
    Held(HeldLine),
    /// Write down what became of a line that waited; [`Judged`](Self::Judged) follows.
    Settled {
        /// Its number.
        id: HoldId,
        /// The line.
        line: JudgedLine,
        /// What became of it.
        settlement: Settlement,
    },
    /// End the session; the message is for the user.
    End {
        /// Why.
        message: String,
    },
}

/// A line, how it was judged, and how well it was known.
#[derive(Clone, Debug)]
pub struct JudgedLine {
    /// The line, with secrets masked; [`JudgedLine::HIDDEN`] when it was typed without echo.
    pub line: String,
    /// The verdict, its programs masked as well.
    pub verdict: Verdict,
    /// How certain it is that this is the line the shell gets.
    pub confidence: Confidence,
    /// Where the line was read from.
    pub source: LineSource,
    /// Who let a line go on that asks for a second person.
    pub approver: Option<String>,
}

impl JudgedLine {
    /// Whether the line went on.
    #[must_use]
    pub fn is_admitted(&self) -> bool {
        match self.verdict.decision {
            Decision::Allow | Decision::Alert => true,
            Decision::Ask => self.approver.is_some(),
            Decision::Deny => false,
        }
    }
}

impl JudgedLine {
    /// Stands for a line that was typed while the terminal showed nothing.
    pub const HIDDEN: &'static str = "[hidden input]";
    /// Stands for a line of which nothing is known.
    pub const UNKNOWN: &'static str = "[unknown line]";
}

/// How certain a line is, least certain first; the set is closed, because its order matters.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Confidence {
    /// Neither the keys nor the screen tell it, or a program other than a shell reads it.
    Opaque,
    /// One of keys and screen tells it.
    Likely,
    /// Keys and screen agree, or it is a script.
    Sure,
}

impl Confidence {
    /// The word used in audit events.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Opaque => "opaque",
            Self::Likely => "likely",
            Self::Sure => "sure",
        }
    }
}

impl fmt::Display for Confidence {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// Where a line was read from.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LineSource {
    /// A script on stdin.
    Script,
    /// The keys that were typed.
    Keys,
    /// The text on the screen.
    Screen,
    /// The shell's own edit buffer.
    Buffer,
}

impl LineSource {
    /// The word used in audit events.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Script => "script",
            Self::Keys => "keys",
            Self::Screen => "screen",
            Self::Buffer => "buffer",
        }
    }
}

impl fmt::Display for LineSource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// Actions that wait to be taken, in order.
#[derive(Debug, Default)]
pub(super) struct Actions {
    queue: VecDeque<Action>,
    ended: bool,
}

impl Actions {
    pub(super) fn next(&mut self) -> Option<Action> {
        self.queue.pop_front()
    }

    pub(super) fn forward(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.push(Action::Forward(bytes));
        }
    }

    pub(super) fn half_close(&mut self) {
        self.push(Action::HalfClose);
    }

    pub(super) fn draw(&mut self, stderr: bool, bytes: impl Into<Bytes>) {
        self.push(Action::Draw {
            stderr,
            bytes: bytes.into(),
        });
    }

    pub(super) fn judged(&mut self, line: JudgedLine) {
        self.push(Action::Judged(line));
    }

    pub(super) fn end(&mut self, message: impl Into<String>) {
        self.push(Action::End {
            message: message.into(),
        });
        self.ended = true;
    }

    /// Nothing follows the end of a session.
    pub(super) fn push(&mut self, action: Action) {
        if !self.ended {
            self.queue.push_back(action);
        }
    }
}
