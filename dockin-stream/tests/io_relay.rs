//! `io::run_relay` with a gate that holds, draws, notes and ends, and with sides that break off
//! while something waits for them.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a failed unwrap is a failed test, and time has to start somewhere"
)]

use std::{
    collections::VecDeque,
    future::ready,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use bytes::Bytes;
use dockin_stream::{
    Event, ExitStatus, Gate, GateAction, OpenGate, Outcome, OutputStream, Relay, StreamSet,
    Subprotocol, TerminalSize, channel,
    io::{Endpoint, run_relay},
    limits,
};
use futures::{SinkExt, StreamExt};
use tokio::{
    io::{DuplexStream, duplex},
    sync::oneshot,
    time::timeout,
};

const PIPES: StreamSet = StreamSet {
    stdin: true,
    stdout: true,
    stderr: true,
    tty: false,
};

/// A gate that is told by what is typed: `hold` waits [`HELD`] from the newest of them on, `note`
/// is written down first, `end` ends the session; all else passes.
#[derive(Default)]
struct WordGate {
    actions: VecDeque<GateAction<&'static str>>,
    held: Vec<Bytes>,
    deadline: Option<Instant>,
}

const HELD: Duration = Duration::from_secs(5);

impl Gate for WordGate {
    type Note = &'static str;

    fn handle_stdin(&mut self, now: Instant, bytes: Bytes) {
        match &bytes[..] {
            b"hold" => {
                self.held.push(bytes);
                self.deadline = Some(now + HELD);
            }
            b"let go" => {
                self.deadline = None;
                let held = self.held.drain(..).chain([bytes]);
                self.actions.extend(held.map(GateAction::Forward));
            }
            b"note" => {
                self.actions.push_back(GateAction::Note("noted"));
                self.actions.push_back(GateAction::Forward(bytes));
            }
            b"end" => {
                let status = ExitStatus::internal_error("not allowed");
                self.actions.push_back(GateAction::Note("refused"));
                self.actions.push_back(GateAction::Draw(
                    OutputStream::Stderr,
                    Bytes::from_static(b"no\n"),
                ));
                self.actions.push_back(GateAction::End(status));
                self.actions.push_back(GateAction::Note("ended"));
                self.actions.push_back(GateAction::Forward(bytes));
            }
            _ => self.actions.push_back(GateAction::Forward(bytes)),
        }
    }
    fn handle_half_close(&mut self, _now: Instant) {
        self.actions.push_back(GateAction::HalfClose);
        // Against the rules: nothing may follow.
        let late = Bytes::from_static(b"late");
        self.actions.push_back(GateAction::Forward(late));
        self.actions.push_back(GateAction::HalfClose);
    }
    fn handle_resize(&mut self, _size: TerminalSize) {}
    fn handle_output(&mut self, _now: Instant, _stream: OutputStream, _bytes: &Bytes) {}
    fn handle_timeout(&mut self, now: Instant) {
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            self.deadline = None;
            let held = self.held.drain(..);
            self.actions.extend(held.map(GateAction::Forward));
        }
    }
    fn poll_timeout(&self) -> Option<Instant> {
        self.deadline
    }
    fn poll_action(&mut self) -> Option<GateAction<&'static str>> {
        self.actions.pop_front()
    }
}

type Client = Endpoint<DuplexStream, channel::Client>;
type Server = Endpoint<DuplexStream, channel::Server>;

/// One connection: whoever opened it, and whoever accepted it.
fn connect(pipe: usize) -> (Client, Server) {
    let (near, far) = duplex(pipe);
    let client = channel::Client::new(Subprotocol::V5, PIPES, 1);
    let server = channel::Server::new(Subprotocol::V5, PIPES);
    (
        Endpoint::new(near, client, Bytes::new()),
        Endpoint::new(far, server, Bytes::new()),
    )
}

fn typed(text: &'static str) -> Event {
    Event::Stdin(Bytes::from_static(text.as_bytes()))
}

/// Input of that length, in however many pieces it comes.
async fn next_stdin(container: &mut Server, length: usize) -> Vec<u8> {
    let mut input = Vec::new();
    while input.len() < length {
        match container.next().await.unwrap().unwrap() {
            Event::Stdin(bytes) => input.extend_from_slice(&bytes),
            event => panic!("{event:?}"),
        }
    }
    input
}

/// What was held goes on at the gate's own time: not before, later when the time moves, and at
/// once when the gate wants none any more.
#[tokio::test(start_paused = true)]
async fn held_input_goes_on_when_the_gates_time_has_come() {
    let (mut person, mut front) = connect(4096);
    let (mut back, mut container) = connect(4096);
    let relay = async {
        run_relay(
            &mut front,
            &mut back,
            Relay::new(WordGate::default()),
            |_| ready(Ok(())),
        )
        .await
        .0
    };
    let session = async {
        let begun = tokio::time::Instant::now();
        person.send(typed("hold")).await.unwrap();
        tokio::time::sleep(HELD / 2).await;
        // Its deadline moves.
        person.send(typed("hold")).await.unwrap();
        assert_eq!(next_stdin(&mut container, 8).await, b"holdhold");
        // By the clock of the test, which stands still while anybody works.
        assert!(begun.elapsed() >= HELD / 2 + HELD);

        person.send(typed("hold")).await.unwrap();
        let begun = tokio::time::Instant::now();
        person.send(typed("let go")).await.unwrap();
        assert_eq!(next_stdin(&mut container, 10).await, b"holdlet go");
        assert!(begun.elapsed() < HELD);

        person.send(Event::HalfClose).await.unwrap();
        let end = container.next().await.unwrap().unwrap();
        assert_eq!(end, Event::HalfClose);
        let exit = Event::Exit(ExitStatus::Exited(0));
        container.send(exit).await.unwrap();
        // Nothing was heard behind the end of input.
        assert_eq!(container.next().await.unwrap().unwrap(), Event::Close);
    };
    let (outcome, ()) = tokio::join!(relay, session);
    assert_eq!(outcome, Outcome::Ended(ExitStatus::Exited(0)));
}

/// A note is on paper before what follows it moves, in either direction.
#[tokio::test]
async fn nothing_overtakes_a_note_that_is_being_written_down() {
    let (mut person, mut front) = connect(4096);
    let (mut back, mut container) = connect(4096);
    let (written, wait) = oneshot::channel::<()>();
    let mut wait = Some(wait);
    let relay = run_relay(
        &mut front,
        &mut back,
        Relay::new(WordGate::default()),
        |note| {
            assert_eq!(note, "noted");
            let wait = wait.take().unwrap();
            async move {
                wait.await.unwrap();
                Ok(())
            }
        },
    );
    let session = async {
        person.send(typed("note")).await.unwrap();
        container
            .send(Event::Stdout(Bytes::from_static(b"printed")))
            .await
            .unwrap();
        tokio::select! {
            event = container.next() => panic!("{event:?} before the note"),
            event = person.next() => panic!("{event:?} before the note"),
            () = tokio::time::sleep(Duration::from_millis(50)) => {}
        }
        written.send(()).unwrap();
        assert_eq!(next_stdin(&mut container, 4).await, b"note");
        let printed = Event::Stdout(Bytes::from_static(b"printed"));
        assert_eq!(person.next().await.unwrap().unwrap(), printed);
        let exit = Event::Exit(ExitStatus::Exited(4));
        container.send(exit.clone()).await.unwrap();
        exit
    };
    let ((outcome, transferred), exit) = timeout(LONG, async { tokio::join!(relay, session) })
        .await
        .unwrap();
    assert_eq!(Event::Exit(ExitStatus::Exited(4)), exit);
    assert_eq!(outcome, Outcome::Ended(ExitStatus::Exited(4)));
    assert_eq!((transferred.stdin, transferred.output), (4, 7));
}

/// What cannot be written down does not happen: the person hears why, the container that it is
/// over.
#[tokio::test]
async fn a_note_that_cannot_be_written_down_ends_the_session() {
    let (mut person, mut front) = connect(4096);
    let (mut back, mut container) = connect(4096);
    let full = ExitStatus::internal_error("the disk is full");
    let status = full.clone();
    let relay = async {
        let relay = Relay::new(WordGate::default());
        let (outcome, _) =
            run_relay(&mut front, &mut back, relay, |_| ready(Err(status.clone()))).await;
        front.finish().await.unwrap();
        back.close().await.unwrap();
        outcome
    };
    let session = async {
        person.send(typed("note")).await.unwrap();
        let exit = person.next().await.unwrap().unwrap();
        assert_eq!(exit, Event::Exit(full.clone()));
        assert_eq!(person.next().await.unwrap().unwrap(), Event::Close);
        person.finish().await.unwrap();
        assert_eq!(container.next().await.unwrap().unwrap(), Event::Close);
    };
    let (outcome, ()) = timeout(LONG, async { tokio::join!(relay, session) })
        .await
        .unwrap();
    assert_eq!(outcome, Outcome::Stopped(full));
}

/// A gate that ends a session: its notes are all written, what it draws and the status go to the
/// person, and the container hears no more than that it is over.
#[tokio::test]
async fn a_gate_that_ends_the_session_leaves_its_notes_and_its_words() {
    let (mut person, mut front) = connect(4096);
    let (mut back, mut container) = connect(4096);
    let notes = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&notes);
    let relay = async {
        let relay = Relay::new(WordGate::default());
        let (outcome, transferred) = run_relay(&mut front, &mut back, relay, move |note| {
            kept.lock().unwrap().push(note);
            ready(Ok(()))
        })
        .await;
        front.finish().await.unwrap();
        back.close().await.unwrap();
        (outcome, transferred)
    };
    let session = async {
        person.send(typed("end")).await.unwrap();
        let drawn = Event::Stderr(Bytes::from_static(b"no\n"));
        assert_eq!(person.next().await.unwrap().unwrap(), drawn);
        let Event::Exit(status) = person.next().await.unwrap().unwrap() else {
            panic!("no status");
        };
        person.finish().await.unwrap();
        assert_eq!(container.next().await.unwrap().unwrap(), Event::Close);
        status
    };
    let ((outcome, transferred), status) = timeout(LONG, async { tokio::join!(relay, session) })
        .await
        .unwrap();
    assert!(!status.is_success());
    assert_eq!(outcome, Outcome::Stopped(status));
    assert_eq!(transferred.stdin, 0, "nothing was let through");
    assert_eq!(*notes.lock().unwrap(), ["refused", "ended"]);
}

/// A container that goes while input waits for it is a lost container, and the input goes nowhere.
#[tokio::test]
async fn a_container_that_goes_with_input_waiting_is_lost() {
    let (mut person, mut front) = connect(64 * 1024);
    let (mut back, container) = connect(64);
    let relay = async {
        let relay = Relay::new(OpenGate::default());
        let (outcome, _) = run_relay(&mut front, &mut back, relay, |()| ready(Ok(()))).await;
        front.finish().await.unwrap();
        outcome
    };
    let session = async {
        // More than both queues hold: it waits for the container.
        let mut said = 0;
        while said < 4 * limits::HIGH_WATER {
            let text = Event::Stdin(Bytes::from(vec![b'x'; 30_000]));
            tokio::select! {
                sent = person.send(text) => sent.unwrap(),
                () = tokio::time::sleep(Duration::from_millis(200)) => break,
            }
            said += 30_000;
        }
        assert!(said > limits::HIGH_WATER, "{said}");
        drop(container);
        loop {
            if let Event::Exit(status) = person.next().await.unwrap().unwrap() {
                return status;
            }
        }
    };
    let (outcome, status) = timeout(LONG, async { tokio::join!(relay, session) })
        .await
        .unwrap();
    assert_eq!(outcome, Outcome::ContainerLost);
    assert!(!status.is_success());
}

/// A person who goes while output waits ends the session, and the container hears it.
#[tokio::test]
async fn a_person_who_goes_with_output_waiting_ends_the_session() {
    let (person, mut front) = connect(64);
    let (mut back, mut container) = connect(64 * 1024);
    let relay = async {
        let relay = Relay::new(OpenGate::default());
        let (outcome, _) = run_relay(&mut front, &mut back, relay, |()| ready(Ok(()))).await;
        back.finish().await.unwrap();
        outcome
    };
    let session = async {
        let mut said = 0;
        while said < 4 * limits::HIGH_WATER {
            let text = Event::Stdout(Bytes::from(vec![b'x'; 30_000]));
            tokio::select! {
                sent = container.send(text) => sent.unwrap(),
                () = tokio::time::sleep(Duration::from_millis(200)) => break,
            }
            said += 30_000;
        }
        assert!(said > limits::HIGH_WATER, "{said}");
        drop(person);
        assert_eq!(container.next().await.unwrap().unwrap(), Event::Close);
        container.finish().await.unwrap();
    };
    let (outcome, ()) = timeout(LONG, async { tokio::join!(relay, session) })
        .await
        .unwrap();
    assert_eq!(outcome, Outcome::ClientGone);
}

/// Far more than any of these needs: what hangs is told.
const LONG: Duration = Duration::from_secs(30);
