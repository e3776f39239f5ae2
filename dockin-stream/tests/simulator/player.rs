use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use bytes::Bytes;
use dockin_stream::{Event, ExitStatus, TerminalSize};

/// One thing that somebody at the end of a session does, in its turn.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    Say(Event),
    /// The same so many times, or until the session is over.
    Repeat(Event, usize),
    Keepalive,
    /// Until so many bytes of standard input have been heard.
    AwaitStdin(usize),
    AwaitHalfClose,
    Sleep(Duration),
    StopReading,
    StartReading,
    HangUp(HangUp),
}

/// How a connection is given up.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum HangUp {
    /// The writing side is shut down.
    Fin,
    /// The socket is closed with whatever is in it.
    Close,
    /// The machine died.
    Reset,
}

/// What a [`Player`] wants to do now.
#[derive(Debug)]
pub(crate) enum Next {
    Say(Event),
    Keepalive,
    Reading(bool),
    HangUp(HangUp),
    /// Nothing before [`deadline`](Player::deadline), or before something is heard.
    Wait,
    Done,
}

/// Somebody at one end of a session: what he does, and what he heard.
#[derive(Debug)]
pub(crate) struct Player {
    acts: VecDeque<Act>,
    sleeping_until: Option<Instant>,
    pub(crate) heard: Heard,
}

impl Player {
    pub(crate) fn new(acts: impl IntoIterator<Item = Act>) -> Self {
        Self {
            acts: acts.into_iter().collect(),
            sleeping_until: None,
            heard: Heard::default(),
        }
    }

    pub(crate) fn hear(&mut self, now: Instant, event: Event) {
        match event {
            Event::Stdin(_) => self.heard.last_stdin = Some(now),
            Event::Stdout(_) | Event::Stderr(_) => self.heard.last_output = Some(now),
            _ => {}
        }
        self.heard.add(event);
    }

    /// The connection is gone: nothing more is heard, and nobody is spoken to.
    pub(crate) const fn lose(&mut self) {
        self.heard.over = true;
    }

    /// When he wants to be asked again at the latest.
    pub(crate) const fn deadline(&self) -> Option<Instant> {
        self.sleeping_until
    }

    pub(crate) fn next(&mut self, now: Instant) -> Next {
        if self.heard.over {
            self.acts.clear();
            self.sleeping_until = None;
        }
        let Some(act) = self.acts.front_mut() else {
            return Next::Done;
        };
        let next = match act {
            Act::Say(event) => Next::Say(event.clone()),
            Act::Repeat(event, times) if *times > 1 => {
                *times -= 1;
                return Next::Say(event.clone());
            }
            Act::Repeat(event, _) => Next::Say(event.clone()),
            Act::Keepalive => Next::Keepalive,
            Act::StopReading => Next::Reading(false),
            Act::StartReading => Next::Reading(true),
            Act::HangUp(how) => Next::HangUp(*how),
            Act::AwaitStdin(count) if self.heard.stdin.len() < *count => return Next::Wait,
            Act::AwaitHalfClose if self.heard.half_closes == 0 => return Next::Wait,
            Act::Sleep(time) => {
                let until = *self.sleeping_until.get_or_insert(now + *time);
                if now < until {
                    return Next::Wait;
                }
                self.sleeping_until = None;
                self.acts.pop_front();
                return self.next(now);
            }
            Act::AwaitStdin(_) | Act::AwaitHalfClose => {
                self.acts.pop_front();
                return self.next(now);
            }
        };
        self.acts.pop_front();
        next
    }
}

/// All that one end of a session heard.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    pub(crate) stdin: Vec<u8>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    /// Both outputs as they came.
    pub(crate) output: Vec<u8>,
    pub(crate) resizes: Vec<TerminalSize>,
    pub(crate) half_closes: usize,
    /// Bytes of standard input that came after its end.
    pub(crate) stdin_after_half_close: usize,
    pub(crate) exits: Vec<ExitStatus>,
    /// Bytes of output that came after the status.
    pub(crate) output_after_exit: usize,
    pub(crate) closes: usize,
    /// When bytes came last.
    pub(crate) last_stdin: Option<Instant>,
    pub(crate) last_output: Option<Instant>,
    /// The status came, or a goodbye, or the connection ended.
    pub(crate) over: bool,
}

impl Heard {
    fn add(&mut self, event: Event) {
        match event {
            Event::Stdin(bytes) => {
                self.stdin.extend_from_slice(&bytes);
                if self.half_closes > 0 {
                    self.stdin_after_half_close += bytes.len();
                }
            }
            Event::Stdout(bytes) => {
                self.stdout.extend_from_slice(&bytes);
                self.add_output(&bytes);
            }
            Event::Stderr(bytes) => {
                self.stderr.extend_from_slice(&bytes);
                self.add_output(&bytes);
            }
            Event::Resize(size) => self.resizes.push(size),
            Event::HalfClose => self.half_closes += 1,
            Event::Exit(status) => {
                self.exits.push(status);
                self.over = true;
            }
            Event::Close => {
                self.closes += 1;
                self.over = true;
            }
            event => panic!("{event:?} is no word that this player knows"),
        }
    }

    fn add_output(&mut self, bytes: &[u8]) {
        self.output.extend_from_slice(bytes);
        if !self.exits.is_empty() {
            self.output_after_exit += bytes.len();
        }
    }

    /// The one status.
    #[track_caller]
    pub(crate) fn exit(&self) -> &ExitStatus {
        assert_eq!(self.exits.len(), 1, "statuses: {:?}", self.exits);
        &self.exits[0]
    }

    pub(crate) fn succeeded(&self) -> bool {
        self.exits.iter().any(ExitStatus::is_success)
    }

    /// What holds in every session, whatever happened.
    #[track_caller]
    pub(crate) fn assert_lawful(&self) {
        assert!(self.exits.len() <= 1, "statuses: {:?}", self.exits);
        assert_eq!(self.output_after_exit, 0, "output behind the status");
        assert!(self.half_closes <= 1, "input ended twice");
        assert_eq!(self.stdin_after_half_close, 0, "input behind its end");
        assert!(self.closes <= 1, "two goodbyes");
    }
}

pub(crate) fn stdin(bytes: impl Into<Bytes>) -> Act {
    Act::Say(Event::Stdin(bytes.into()))
}

pub(crate) fn stdout(bytes: impl Into<Bytes>) -> Act {
    Act::Say(Event::Stdout(bytes.into()))
}

pub(crate) fn stderr(bytes: impl Into<Bytes>) -> Act {
    Act::Say(Event::Stderr(bytes.into()))
}

pub(crate) fn exit(code: u8) -> Act {
    Act::Say(Event::Exit(ExitStatus::Exited(code)))
}

pub(crate) const HALF_CLOSE: Act = Act::Say(Event::HalfClose);
