use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use bytes::Bytes;
use dockin_stream::{
    Event, ExitStatus, Gate, GateAction, Outcome, Output, OutputStream, Relay, TerminalSize,
};

use crate::script::Script;

/// A session as a list of operations: what either side says, what the gate does with it, time.
///
/// Order is kept in each direction, the client gets exactly one status and nothing behind it, the
/// container gets nothing that the gate did not let through, and every note is written down.
///
/// # Panics
///
/// A law is broken.
pub fn relay(data: &[u8]) {
    let mut script = Script::new(data);
    let mut session = Session {
        relay: Relay::new(Decider::default()),
        now: Instant::now(),
        printed: Vec::new(),
        to_container: Vec::new(),
        to_client: Vec::new(),
        notes: Vec::new(),
        outcome: None,
    };
    while !script.is_empty() {
        session.step(&mut script);
    }
    // Sides that never end: the session is over all the same when one is lost.
    session.relay.handle_container_lost();
    session.drain();
    session.check();
}

struct Session {
    relay: Relay<Decider>,
    now: Instant,
    /// What the container printed while the session went on.
    printed: Vec<Event>,
    to_container: Vec<Event>,
    to_client: Vec<Event>,
    notes: Vec<u32>,
    outcome: Option<Outcome>,
}

impl Session {
    fn step(&mut self, script: &mut Script<'_>) {
        let operation = script.byte();
        let (relay, now) = (&mut self.relay, self.now);
        match operation % 16 {
            0..=3 => relay.handle_client(now, Event::Stdin(script.payload())),
            4 => relay.handle_client(now, Event::HalfClose),
            5 => {
                let (width, height) = (u16::from(script.byte()), u16::from(script.byte()));
                relay.handle_client(now, Event::Resize(TerminalSize { width, height }));
            }
            6 => relay.handle_client(now, Event::Close),
            7 => relay.handle_client_lost(),
            8..=10 => {
                let event = if operation.is_multiple_of(2) {
                    Event::Stdout(script.payload())
                } else {
                    Event::Stderr(script.payload())
                };
                if self.outcome.is_none() {
                    self.printed.push(event.clone());
                }
                relay.handle_container(now, event);
            }
            11 => relay.handle_container(now, Event::Exit(ExitStatus::Exited(script.byte()))),
            12 => relay.handle_container(now, Event::Close),
            13 => relay.handle_container_lost(),
            14 => {
                self.now += Duration::from_millis(u64::from(script.byte()));
                relay.handle_timeout(self.now);
            }
            // What only the other side may say changes nothing.
            _ => {
                relay.handle_container(now, Event::Stdin(script.payload()));
                relay.handle_container(now, Event::HalfClose);
                relay.handle_client(now, Event::Stdout(script.payload()));
                relay.handle_client(now, Event::Exit(ExitStatus::Exited(0)));
            }
        }
        self.drain();
    }

    fn drain(&mut self) {
        loop {
            match self.relay.poll_output() {
                Output::ToContainer(event) => self.to_container.push(event),
                Output::ToClient(event) => self.to_client.push(event),
                Output::Note(note) => self.notes.push(note),
                Output::Wait(deadline) => {
                    assert_eq!(deadline, self.relay.gate().poll_timeout());
                    assert_eq!(self.outcome, None, "a closed session waits");
                    return;
                }
                Output::Closed(outcome) => {
                    let known = self.outcome.get_or_insert_with(|| outcome.clone());
                    assert_eq!(*known, outcome, "the outcome changed");
                    return;
                }
                other => unreachable!("new kind of output: {other:?}"),
            }
        }
    }

    fn check(&self) {
        let gate = self.relay.gate();
        let outcome = self
            .outcome
            .as_ref()
            .expect("a lost container ends the session");
        self.check_client(outcome);
        self.check_container(gate, outcome);
        assert!(
            self.notes.iter().copied().eq(0..gate.noted),
            "notes are lost or out of order"
        );
        let sum = |events: &[Event]| events.iter().map(|event| event.len() as u64).sum::<u64>();
        assert_eq!(self.relay.transferred().stdin, sum(&self.to_container));
        assert_eq!(self.relay.transferred().output, sum(&self.printed));
    }

    fn check_client(&self, outcome: &Outcome) {
        let status = match outcome {
            Outcome::Ended(status) | Outcome::Stopped(status) => Some(status.clone()),
            Outcome::ContainerLost => Some(ExitStatus::connection_lost("container")),
            _ => None,
        };
        let (exits, output): (Vec<Event>, Vec<Event>) = self
            .to_client
            .iter()
            .cloned()
            .partition(|event| matches!(event, Event::Exit(_)));
        assert_eq!(
            exits,
            Vec::from_iter(status.map(Event::Exit)),
            "not exactly one status"
        );
        if let Some(exit) = exits.first() {
            assert_eq!(
                self.to_client.last(),
                Some(exit),
                "output behind the status"
            );
        }
        let printed: Vec<Event> = output
            .into_iter()
            .filter(|event| event.len() != DRAWN.len())
            .collect();
        assert_eq!(printed, self.printed, "output is lost or out of order");
    }

    fn check_container(&self, gate: &Decider, outcome: &Outcome) {
        let lost = matches!(outcome, Outcome::ClientGone | Outcome::Stopped(_));
        let goodbye = self
            .to_container
            .iter()
            .position(|event| *event == Event::Close);
        assert_eq!(
            goodbye.is_some(),
            lost,
            "the container is told of a client that left"
        );
        assert!(goodbye.is_none_or(|index| index + 1 == self.to_container.len()));
        let input: Vec<&Event> = self
            .to_container
            .iter()
            .filter(|event| matches!(event, Event::Stdin(_) | Event::HalfClose))
            .collect();
        assert!(input.len() <= gate.passed.len());
        assert!(
            gate.passed
                .iter()
                .zip(&input)
                .all(|(passed, got)| passed == *got)
        );
        let end = input.iter().position(|event| **event == Event::HalfClose);
        assert!(
            end.is_none_or(|index| index + 1 == input.len()),
            "input behind its end"
        );
    }
}

/// A gate that decides by the first byte of what is typed.
#[derive(Default)]
struct Decider {
    actions: VecDeque<GateAction<u32>>,
    held: Vec<Bytes>,
    deadline: Option<Instant>,
    noted: u32,
    /// What it let through, in order.
    passed: Vec<Event>,
}

impl Decider {
    fn note(&mut self) {
        self.actions.push_back(GateAction::Note(self.noted));
        self.noted += 1;
    }

    fn release(&mut self) {
        self.deadline = None;
        self.actions
            .extend(self.held.drain(..).map(GateAction::Forward));
    }
}

impl Gate for Decider {
    type Note = u32;

    fn handle_stdin(&mut self, now: Instant, bytes: Bytes) {
        match bytes.first().copied().unwrap_or_default() % 16 {
            0..=7 => {
                self.release();
                self.actions.push_back(GateAction::Forward(bytes));
            }
            8..=10 => {
                self.held.push(bytes);
                self.deadline = Some(now + Duration::from_millis(100));
            }
            11 => {
                self.note();
                self.release();
                self.actions.push_back(GateAction::Forward(bytes));
                self.note();
            }
            12 => self
                .actions
                .push_back(GateAction::Draw(OutputStream::Stderr, DRAWN)),
            13 => {
                // Against the rules of a gate: input behind the end.
                self.actions.push_back(GateAction::HalfClose);
                self.actions.push_back(GateAction::Forward(bytes));
            }
            14 => {
                self.note();
                self.actions
                    .push_back(GateAction::End(ExitStatus::internal_error("stopped")));
                self.note();
                self.actions.push_back(GateAction::Forward(bytes));
            }
            _ => {}
        }
    }

    fn handle_half_close(&mut self, _now: Instant) {
        self.release();
        self.actions.push_back(GateAction::HalfClose);
    }

    fn handle_resize(&mut self, _size: TerminalSize) {
        self.note();
    }

    fn handle_output(&mut self, _now: Instant, _stream: OutputStream, bytes: &Bytes) {
        match bytes.first().copied().unwrap_or_default() % 8 {
            0 => self.release(),
            1 => self
                .actions
                .push_back(GateAction::Draw(OutputStream::Stdout, DRAWN)),
            2 => self.note(),
            _ => {}
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            self.release();
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.deadline
    }

    fn poll_action(&mut self) -> Option<GateAction<u32>> {
        let action = self.actions.pop_front();
        let ended = self.passed.last() == Some(&Event::HalfClose);
        match &action {
            Some(GateAction::Forward(bytes)) if !ended => {
                self.passed.push(Event::Stdin(bytes.clone()));
            }
            Some(GateAction::HalfClose) if !ended => self.passed.push(Event::HalfClose),
            _ => {}
        }
        action
    }
}

/// Longer than anything that a script types or prints, so that it is told apart.
const DRAWN: Bytes = Bytes::from_static(b"drawn for the client alone");
