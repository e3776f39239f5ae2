//! The laws of the relay, whatever comes in whatever order and whatever its gate does.
#![allow(
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "time has to start somewhere, and a failed index is a failed test"
)]

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use bytes::Bytes;
use dockin_stream::{
    Event, ExitStatus, Gate, GateAction, OpenGate, Outcome, Output, OutputStream, Relay,
    TerminalSize,
};
use proptest::{collection::vec, prelude::*};

/// A gate that keeps what is typed until something is printed or its time comes.
#[derive(Default)]
struct PatientGate {
    kept: Vec<GateAction<usize>>,
    free: VecDeque<GateAction<usize>>,
    deadline: Option<Instant>,
    notes: usize,
}

impl PatientGate {
    fn keep(&mut self, now: Instant, action: GateAction<usize>) {
        self.kept.push(action);
        self.deadline.get_or_insert(now + Duration::from_secs(1));
    }

    fn release(&mut self) {
        self.notes += 1;
        self.free.push_back(GateAction::Note(self.notes));
        self.free.extend(self.kept.drain(..));
        self.deadline = None;
    }
}

impl Gate for PatientGate {
    type Note = usize;

    fn handle_stdin(&mut self, now: Instant, bytes: Bytes) {
        self.keep(now, GateAction::Forward(bytes));
    }
    fn handle_half_close(&mut self, now: Instant) {
        self.keep(now, GateAction::HalfClose);
    }
    fn handle_resize(&mut self, _size: TerminalSize) {}
    fn handle_output(&mut self, _now: Instant, _stream: OutputStream, _bytes: &Bytes) {
        self.release();
    }
    fn handle_timeout(&mut self, now: Instant) {
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            self.release();
        }
    }
    fn poll_timeout(&self) -> Option<Instant> {
        self.deadline
    }
    fn poll_action(&mut self) -> Option<GateAction<usize>> {
        self.free.pop_front()
    }
}

#[derive(Clone, Debug)]
enum Happening {
    Client(Event),
    Container(Event),
    ClientLost,
    ContainerLost,
    Second,
}

/// What came out of a relay.
#[derive(Default)]
struct Observed {
    to_container: Vec<Event>,
    to_client: Vec<Event>,
    notes: Vec<usize>,
    outcome: Option<Outcome>,
}

impl Observed {
    fn drain<G: Gate<Note = usize>>(&mut self, relay: &mut Relay<G>) {
        loop {
            match relay.poll_output() {
                Output::ToContainer(event) => self.to_container.push(event),
                Output::ToClient(event) => self.to_client.push(event),
                Output::Note(note) => self.notes.push(note),
                Output::Closed(outcome) => {
                    // Once closed it stays so.
                    assert!(self.outcome.as_ref().is_none_or(|known| *known == outcome));
                    self.outcome = Some(outcome);
                    return;
                }
                _ => return,
            }
        }
    }
}

fn stdin(events: &[Event]) -> Vec<u8> {
    of(events, |event| match event {
        Event::Stdin(bytes) => Some(bytes),
        _ => None,
    })
}

/// Both outputs, each byte with its stream.
fn output(events: &[Event]) -> Vec<(bool, u8)> {
    let mut all = Vec::new();
    for event in events {
        match event {
            Event::Stdout(bytes) => all.extend(bytes.iter().map(|byte| (false, *byte))),
            Event::Stderr(bytes) => all.extend(bytes.iter().map(|byte| (true, *byte))),
            _ => {}
        }
    }
    all
}

fn of(events: &[Event], bytes: impl Fn(&Event) -> Option<&Bytes>) -> Vec<u8> {
    events.iter().filter_map(bytes).flatten().copied().collect()
}

fn bytes() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 1..20).prop_map(Bytes::from)
}

fn said_by_client() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => bytes().prop_map(Event::Stdin),
        1 => (any::<u16>(), any::<u16>())
            .prop_map(|(width, height)| Event::Resize(TerminalSize { width, height })),
        1 => Just(Event::HalfClose),
    ]
}

fn said_by_container() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => bytes().prop_map(Event::Stdout),
        2 => bytes().prop_map(Event::Stderr),
    ]
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        10 => said_by_client().prop_map(Happening::Client),
        10 => said_by_container().prop_map(Happening::Container),
        // Each may also say what only the other says, which counts for nothing.
        1 => said_by_container().prop_map(Happening::Client),
        1 => said_by_client().prop_map(Happening::Container),
        1 => any::<u8>().prop_map(|code| Happening::Container(Event::Exit(ExitStatus::Exited(code)))),
        1 => Just(Happening::Client(Event::Close)),
        1 => Just(Happening::Container(Event::Close)),
        1 => Just(Happening::ClientLost),
        1 => Just(Happening::ContainerLost),
        3 => Just(Happening::Second),
    ]
}

/// Lets `happenings` happen; what the client and the container said while the session lasted.
fn run<G: Gate<Note = usize>>(
    gate: G,
    happenings: &[Happening],
) -> (Observed, Vec<Event>, Vec<Event>) {
    let mut now = Instant::now();
    let mut relay = Relay::new(gate);
    let mut observed = Observed::default();
    let (mut client, mut container) = (Vec::new(), Vec::new());
    for happening in happenings {
        let open = observed.outcome.is_none();
        match happening.clone() {
            Happening::Client(event) => {
                if open {
                    client.push(event.clone());
                }
                relay.handle_client(now, event);
            }
            Happening::Container(event) => {
                if open {
                    container.push(event.clone());
                }
                relay.handle_container(now, event);
            }
            Happening::ClientLost => relay.handle_client_lost(),
            Happening::ContainerLost => relay.handle_container_lost(),
            Happening::Second => {
                now += Duration::from_secs(1);
                relay.handle_timeout(now);
            }
        }
        observed.drain(&mut relay);
    }
    (observed, client, container)
}

/// Everything that [`Relay`] promises.
fn assert_lawful(observed: &Observed, client: &[Event], container: &[Event]) {
    let exits: Vec<_> = observed
        .to_client
        .iter()
        .filter_map(|event| match event {
            Event::Exit(status) => Some(status),
            _ => None,
        })
        .collect();
    assert!(exits.len() <= 1, "{exits:?}");
    if exits.len() == 1 {
        let last = observed.to_client.last();
        assert!(
            matches!(last, Some(Event::Exit(_))),
            "behind the status: {last:?}"
        );
    }
    match &observed.outcome {
        Some(Outcome::Ended(status)) => assert_eq!(exits, [status]),
        Some(Outcome::ContainerLost) => {
            assert!(exits.iter().all(|status| !status.is_success()));
            assert_eq!(exits.len(), 1, "nobody was told");
        }
        Some(Outcome::ClientGone) => {
            assert!(exits.is_empty());
            assert_eq!(observed.to_container.last(), Some(&Event::Close));
        }
        Some(outcome) => panic!("no gate said {outcome:?}"),
        None => assert!(exits.is_empty()),
    }
    assert_eq!(output(&observed.to_client), output(container));
    // Input: what was said before its end, and nothing behind it.
    let spoken = client
        .iter()
        .position(|event| matches!(event, Event::HalfClose | Event::Close));
    let spoken = &client[..spoken.unwrap_or(client.len())];
    assert!(stdin(spoken).starts_with(&stdin(&observed.to_container)));
    let ended = observed
        .to_container
        .iter()
        .position(|event| *event == Event::HalfClose);
    if let Some(ended) = ended {
        assert_eq!(stdin(&observed.to_container[..ended]), stdin(spoken));
        let behind = &observed.to_container[ended + 1..];
        assert!(stdin(behind).is_empty() && !behind.contains(&Event::HalfClose));
    }
    // Notes in order, none lost.
    assert!(observed.notes.iter().copied().eq(1..=observed.notes.len()));
}

/// [`OpenGate`] with the notes of the other.
#[derive(Default)]
struct Open(OpenGate);

impl Gate for Open {
    type Note = usize;

    fn handle_stdin(&mut self, now: Instant, bytes: Bytes) {
        self.0.handle_stdin(now, bytes);
    }
    fn handle_half_close(&mut self, now: Instant) {
        self.0.handle_half_close(now);
    }
    fn handle_resize(&mut self, size: TerminalSize) {
        self.0.handle_resize(size);
    }
    fn handle_output(&mut self, now: Instant, stream: OutputStream, bytes: &Bytes) {
        self.0.handle_output(now, stream, bytes);
    }
    fn handle_timeout(&mut self, now: Instant) {
        self.0.handle_timeout(now);
    }
    fn poll_timeout(&self) -> Option<Instant> {
        self.0.poll_timeout()
    }
    fn poll_action(&mut self) -> Option<GateAction<usize>> {
        Some(match self.0.poll_action()? {
            GateAction::Forward(bytes) => GateAction::Forward(bytes),
            GateAction::HalfClose => GateAction::HalfClose,
            other => panic!("an open gate wants {other:?}"),
        })
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Whatever happens in whatever order: the relay's laws hold.
    #[test]
    fn laws_hold_whatever_happens(happenings in vec(happening(), 0..60)) {
        let (observed, client, container) = run(PatientGate::default(), &happenings);
        assert_lawful(&observed, &client, &container);
        let (observed, client, container) = run(Open::default(), &happenings);
        assert_lawful(&observed, &client, &container);
    }

    /// However the two sides' words interleave, each stream carries the same bytes.
    #[test]
    fn interleaving_changes_no_stream(
        mut client in vec(said_by_client(), 0..20),
        container in vec(said_by_container(), 0..20),
        choices in vec(any::<bool>(), 60),
        code: u8,
    ) {
        client.retain(|event| *event != Event::HalfClose);
        let happenings = |choices: &[bool]| {
            let mut left = client.iter();
            let mut right = container.iter();
            let mut all = Vec::new();
            for choice in choices {
                if *choice {
                    all.extend(left.next().cloned().map(Happening::Client));
                } else {
                    all.extend(right.next().cloned().map(Happening::Container));
                }
            }
            all.extend(left.cloned().map(Happening::Client));
            all.extend(right.cloned().map(Happening::Container));
            all.push(Happening::Client(Event::HalfClose));
            all.push(Happening::Second);
            all.push(Happening::Container(Event::Exit(ExitStatus::Exited(code))));
            all
        };
        let (observed, ..) = run(PatientGate::default(), &happenings(&choices));
        let (in_turn, ..) = run(Open::default(), &happenings(&[]));
        for observed in [&observed, &in_turn] {
            prop_assert_eq!(stdin(&observed.to_container), stdin(&client));
            prop_assert_eq!(output(&observed.to_client), output(&container));
            prop_assert_eq!(
                &observed.outcome,
                &Some(Outcome::Ended(ExitStatus::Exited(code)))
            );
        }
    }
}
