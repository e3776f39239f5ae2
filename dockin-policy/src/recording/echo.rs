//! What was typed and seen.

use std::{collections::VecDeque, mem, time::Duration};

/// Lets typed input through when the terminal has shown it, and hides the rest.
///
/// Input is held until its line is submitted (CR, LF, Ctrl-C, Ctrl-D). Then every run of
/// characters in it must stand in the output since the line began, in order and unbroken;
/// otherwise the whole line becomes [`HIDDEN`](Self::HIDDEN) and its submitting byte: a password
/// typed without echo is never let through, and neither are the keys of a full-screen program,
/// which are seen in its output.
///
/// Call [`handle_input`](Self::handle_input) and [`handle_output`](Self::handle_output) as things
/// happen, and after either [`poll_input`](Self::poll_input) until `None`.
#[derive(Debug, Default)]
pub struct EchoedInput {
    /// The line that is being typed, each piece with its time.
    held: Vec<(Duration, Vec<u8>)>,
    held_bytes: usize,
    /// Too long: hidden whatever was seen.
    overflown: bool,
    /// A submitted line that waits for its last echo.
    submitted: Option<Submitted>,
    /// Output since the line began, without what moves the cursor or paints.
    seen: Vec<u8>,
    escape: Escape,
    /// A line feed was shown since the line was submitted.
    line_ended: bool,
    ready: VecDeque<(Duration, Vec<u8>)>,
}

#[derive(Debug)]
struct Submitted {
    time: Duration,
    byte: u8,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Escape {
    #[default]
    None,
    Begun,
    Sequence,
    Text,
}

/// Bytes of a line, and of what was seen of it, that are kept.
const MAX_LINE: usize = 4096;
const MAX_SEEN: usize = 64 << 10;

impl EchoedInput {
    /// What stands for a line that was not shown.
    pub const HIDDEN: &str = "[hidden input]";

    /// Nothing typed yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The user typed `bytes`.
    pub fn handle_input(&mut self, time: Duration, bytes: &[u8]) {
        for byte in bytes {
            // What follows a submitted line belongs to the next one.
            self.settle();
            if matches!(byte, b'\r' | b'\n' | 0x03 | 0x04) {
                self.submitted = Some(Submitted { time, byte: *byte });
                continue;
            }
            if self.held_bytes >= MAX_LINE {
                self.overflown = true;
                continue;
            }
            self.held_bytes += 1;
            match self.held.last_mut() {
                Some((at, held)) if *at == time => held.push(*byte),
                _ => self.held.push((time, vec![*byte])),
            }
        }
    }

    /// The terminal showed `bytes`.
    pub fn handle_output(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.escape = match (self.escape, byte) {
                (_, 0x1b) => Escape::Begun,
                (Escape::Begun, b'[') => Escape::Sequence,
                (Escape::Begun, b']' | b'P' | b'_' | b'^') => Escape::Text,
                (Escape::Sequence, 0x20..=0x3f) => Escape::Sequence,
                (Escape::Text, 0x07) => Escape::None,
                (Escape::Text, _) => Escape::Text,
                (Escape::Begun | Escape::Sequence, _) => Escape::None,
                (Escape::None, byte) => {
                    if *byte >= 0x20 && *byte != 0x7f && self.seen.len() < MAX_SEEN {
                        self.seen.push(*byte);
                    }
                    Escape::None
                }
            };
            self.line_ended |= *byte == b'\n' && self.submitted.is_some();
        }
        // The echo of a pasted line may come in pieces; a line feed is behind all of it.
        if self.submitted.is_some() && (self.line_ended || self.was_seen(&self.held)) {
            self.settle();
        }
    }

    /// What may be recorded as typed, and when.
    pub fn poll_input(&mut self) -> Option<(Duration, Vec<u8>)> {
        self.ready.pop_front()
    }

    /// The session is over: what is still held was not submitted.
    pub fn finish(&mut self) {
        self.settle();
        if !self.held.is_empty() {
            let time = self.held.first().map_or(Duration::ZERO, |(time, _)| *time);
            self.submitted = Some(Submitted { time, byte: 0 });
            self.settle();
        }
    }

    /// Decides the line that was submitted.
    fn settle(&mut self) {
        let Some(submitted) = self.submitted.take() else {
            return;
        };
        let held = mem::take(&mut self.held);
        let shown = !mem::take(&mut self.overflown) && self.was_seen(&held);
        if shown {
            self.ready.extend(held);
        } else {
            let time = held.first().map_or(submitted.time, |(time, _)| *time);
            self.ready
                .push_back((time, Self::HIDDEN.as_bytes().to_vec()));
        }
        if submitted.byte != 0 {
            self.ready.push_back((submitted.time, vec![submitted.byte]));
        }
        self.held_bytes = 0;
        self.line_ended = false;
        self.seen.clear();
    }

    fn was_seen(&self, held: &[(Duration, Vec<u8>)]) -> bool {
        let typed: Vec<u8> = held
            .iter()
            .flat_map(|(_, bytes)| bytes.iter().copied())
            .collect();
        let mut rest = self.seen.as_slice();
        for run in runs(&typed) {
            match memchr::memmem::find(rest, run) {
                Some(at) => rest = rest.get(at + run.len()..).unwrap_or_default(),
                None => return false,
            }
        }
        true
    }
}

/// Runs of bytes that a terminal would show, without keys that are sequences.
fn runs(typed: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = typed;
    std::iter::from_fn(move || {
        loop {
            let start = rest.iter().position(|byte| *byte >= 0x20 && *byte != 0x7f);
            // An arrow or function key: ESC [ … letter, ESC O letter.
            if let Some(escape) = rest.iter().position(|byte| *byte == 0x1b)
                && start.is_some_and(|start| escape < start)
            {
                let key = rest.get(escape + 1..).unwrap_or_default();
                let length = match key.first() {
                    Some(b'[') => key
                        .iter()
                        .skip(1)
                        .position(|byte| (0x40..=0x7e).contains(byte))
                        .map_or(key.len(), |end| end + 2),
                    Some(b'O') => 2.min(key.len()),
                    _ => 1.min(key.len()),
                };
                rest = key.get(length..).unwrap_or_default();
                continue;
            }
            let start = start?;
            let tail = rest.get(start..).unwrap_or_default();
            let end = tail.iter().position(|byte| *byte < 0x20 || *byte == 0x7f);
            let (run, behind) = tail.split_at(end.unwrap_or(tail.len()));
            rest = behind;
            return Some(run);
        }
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use proptest::prelude::*;

    use super::*;

    /// Plays `>typed` and `<shown` in order; what was let through, as one text.
    fn recorded(script: &[&str]) -> String {
        let mut echo = EchoedInput::new();
        let mut all = String::new();
        for (index, step) in script.iter().enumerate() {
            let (way, text) = step.split_at(1);
            match way {
                ">" => echo.handle_input(Duration::from_secs(index as u64), text.as_bytes()),
                _ => echo.handle_output(text.as_bytes()),
            }
        }
        echo.finish();
        while let Some((_, bytes)) = echo.poll_input() {
            all.push_str(std::str::from_utf8(&bytes).unwrap());
        }
        all
    }

    #[test]
    fn what_was_shown_is_let_through() {
        assert_eq!(
            recorded(&[">l", "<l", ">s", "<s", ">\r", "<\r\nfile\r\n"]),
            "ls\r"
        );
        assert_eq!(recorded(&[">ls\r", "<ls\r\nfile"]), "ls\r");
        assert_eq!(recorded(&[">ls\r", "<l", "<s", "<\r\nfile"]), "ls\r");
        assert_eq!(recorded(&[">ec\t", "<echo ", ">x\r", "<x\r\n"]), "ec\tx\r");
        assert_eq!(
            recorded(&[">ab", "<ab", ">\x1b[D\x1b[D", "<\x08\x08", ">\r", "<\r\n"]),
            "ab\x1b[D\x1b[D\r"
        );
        assert_eq!(
            recorded(&[">l", "<\x1b[1ml", ">s", "<\x08\x1b[32mls", ">\r", "<\r\n"]),
            "ls\r"
        );
    }

    #[test]
    fn what_was_not_shown_is_hidden() {
        let hidden = format!("{}\r", EchoedInput::HIDDEN);
        assert_eq!(recorded(&["<Password: ", ">hunter2\r", "<\r\n"]), hidden);
        assert_eq!(
            recorded(&["<Password: ", ">h", ">u", ">n\r", "<\r\nh u n"]),
            hidden
        );
        assert_eq!(
            recorded(&["<Password: ", ">hunter2", "<*******", ">\r", "<\r\n"]),
            hidden
        );
        assert_eq!(recorded(&["<Password: ", ">hunter2"]), EchoedInput::HIDDEN);
        let long = "x".repeat(5000);
        assert_eq!(
            recorded(&[&format!(">{long}"), &format!("<{long}"), ">\r"]),
            hidden
        );
        let two = recorded(&[
            ">sudo ls\r",
            "<sudo ls\r\nPassword: ",
            ">hunter2\r",
            "<\r\nfile",
        ]);
        assert_eq!(two, format!("sudo ls\r{hidden}"));
    }

    #[test]
    fn type_ahead_is_judged_line_by_line() {
        let typed = recorded(&[">a\rhunter2\r", "<a\r\nPassword: ", "<\r\n"]);
        assert_eq!(typed, format!("{0}\r{0}\r", EchoedInput::HIDDEN));
    }

    proptest! {
        /// A secret of which nothing is shown is never let through, however it is typed.
        #[test]
        fn no_unseen_secret_is_let_through(
            secret in "[!-~]{6,16}", before in "[a-z ]{0,8}", noise in "[A-Z\\x1b\\[0-9;m ]{0,40}",
            cut in 1..6_usize,
        ) {
            let mut echo = EchoedInput::new();
            echo.handle_output(before.as_bytes());
            for (index, bytes) in secret.as_bytes().chunks(cut).enumerate() {
                echo.handle_input(Duration::from_millis(index as u64), bytes);
                if !noise.contains(&secret) && !before.contains(&secret) {
                    echo.handle_output(noise.as_bytes());
                }
            }
            echo.handle_input(Duration::from_secs(9), b"\r");
            echo.finish();
            let mut all = Vec::new();
            while let Some((_, bytes)) = echo.poll_input() {
                all.extend(bytes);
            }
            let seen = [before, noise.repeat(20)].concat();
            if !seen.contains(&secret) {
                prop_assert!(!String::from_utf8(all).unwrap().contains(&secret));
            }
        }
    }
}
