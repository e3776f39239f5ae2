use std::{collections::VecDeque, fmt, time::Instant};

use bytes::Bytes;

use crate::{Event, ExitStatus, OutputStream, TerminalSize};

/// What stands between a client and a container: it sees what is typed before the container
/// does, and what the container prints as the client gets it.
///
/// A gate never blocks: what it does not pass on at once it keeps, and gives out later from
/// [`poll_action`](Self::poll_action) after more input, more output or a timeout.
pub trait Gate {
    /// What the gate wants written down, in order with what it lets through.
    type Note;

    /// The client sent bytes for standard input.
    fn handle_stdin(&mut self, now: Instant, bytes: Bytes);
    /// The client ended standard input.
    fn handle_half_close(&mut self, now: Instant);
    /// The client's terminal changed its size.
    fn handle_resize(&mut self, size: TerminalSize);
    /// The container printed `bytes`; the client gets what [`shown`](Self::shown) makes of them.
    fn handle_output(&mut self, now: Instant, stream: OutputStream, bytes: &Bytes);
    /// What the client gets of `bytes`, asked right after
    /// [`handle_output`](Self::handle_output): all of them, unless the gate talks to the
    /// container itself and hides the answers.
    fn shown(&mut self, now: Instant, stream: OutputStream, bytes: Bytes) -> Bytes {
        let _all = (now, stream);
        bytes
    }
    /// Time has come to [`poll_timeout`](Self::poll_timeout).
    fn handle_timeout(&mut self, now: Instant);
    /// When [`handle_timeout`](Self::handle_timeout) wants to be called.
    fn poll_timeout(&self) -> Option<Instant>;
    /// The next thing to do.
    fn poll_action(&mut self) -> Option<GateAction<Self::Note>>;
}

/// What a [`Gate`] asks the relay to do.
#[non_exhaustive]
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum GateAction<N> {
    /// Pass these bytes to standard input.
    Forward(Bytes),
    /// End standard input.
    HalfClose,
    /// Show these bytes to the client alone; the container never sees them.
    Draw(OutputStream, Bytes),
    /// Write this down before anything that follows it.
    Note(N),
    /// End the session with this status.
    End(ExitStatus),
}

/// A gate that lets everything through.
#[derive(Default)]
pub struct OpenGate(VecDeque<GateAction<()>>);

impl Gate for OpenGate {
    type Note = ();

    fn handle_stdin(&mut self, _now: Instant, bytes: Bytes) {
        self.0.push_back(GateAction::Forward(bytes));
    }
    fn handle_half_close(&mut self, _now: Instant) {
        self.0.push_back(GateAction::HalfClose);
    }
    fn handle_resize(&mut self, _size: TerminalSize) {}
    fn handle_output(&mut self, _now: Instant, _stream: OutputStream, _bytes: &Bytes) {}
    fn handle_timeout(&mut self, _now: Instant) {}
    fn poll_timeout(&self) -> Option<Instant> {
        None
    }
    fn poll_action(&mut self) -> Option<GateAction<()>> {
        self.0.pop_front()
    }
}

/// How a session ended.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Outcome {
    /// The container gave the status, and it went to the client.
    Ended(ExitStatus),
    /// The gate ended the session with this status.
    Stopped(ExitStatus),
    /// The client went away first.
    ClientGone,
    /// The container's side broke off without a status.
    ContainerLost,
}

/// What the relay wants done next.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Output<N> {
    /// Send to the container's side.
    ToContainer(Event),
    /// Send to the client's side.
    ToClient(Event),
    /// Write this down, durably, before the next output.
    Note(N),
    /// The session is over; nothing follows.
    Closed(Outcome),
    /// Nothing to do until input or this time.
    Wait(Option<Instant>),
}

/// THE conversion: what a client says, through a [`Gate`], to a container, and back.
///
/// ```text
/// client codec ──Event──▶ handle_client ─▶ gate ─▶ Output::ToContainer ──▶ container codec
/// client codec ◀─Output::ToClient ◀────────┴────── handle_container ◀─Event── container codec
/// ```
///
/// Laws it keeps: order within each direction; exactly one [`Event::Exit`] to the client, after
/// the last output; a lost container is a failure, never success; standard input that ends
/// never cuts output.
///
/// # Order of calls
///
/// Exactly one `handle_*`, then [`poll_output`](Self::poll_output) until it says
/// [`Output::Wait`] or [`Output::Closed`].
pub struct Relay<G: Gate> {
    gate: G,
    outputs: VecDeque<Output<G::Note>>,
    stdin: Stdin,
    outcome: Option<Outcome>,
    transferred: Transferred,
}

/// Payload bytes that a session carried.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Transferred {
    /// Into the container.
    pub stdin: u64,
    /// Out of the container, both streams.
    pub output: u64,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Stdin {
    Open,
    Ending,
    Ended,
}

impl<G: Gate> Relay<G> {
    /// A relay whose input goes through `gate`.
    pub const fn new(gate: G) -> Self {
        Self {
            gate,
            outputs: VecDeque::new(),
            stdin: Stdin::Open,
            outcome: None,
            transferred: Transferred {
                stdin: 0,
                output: 0,
            },
        }
    }

    /// The gate, to read what it knows.
    pub const fn gate(&self) -> &G {
        &self.gate
    }

    /// What was carried so far.
    pub const fn transferred(&self) -> Transferred {
        self.transferred
    }

    /// The client said `event`.
    pub fn handle_client(&mut self, now: Instant, event: Event) {
        if self.outcome.is_some() {
            return;
        }
        match event {
            Event::Stdin(bytes) if self.stdin == Stdin::Open => {
                self.gate.handle_stdin(now, bytes);
            }
            Event::HalfClose if self.stdin == Stdin::Open => {
                self.stdin = Stdin::Ending;
                self.gate.handle_half_close(now);
            }
            Event::Resize(size) => {
                self.gate.handle_resize(size);
                self.outputs
                    .push_back(Output::ToContainer(Event::Resize(size)));
            }
            Event::Close => self.handle_client_lost(),
            // Input after its end, and what only a container says.
            Event::Stdin(_)
            | Event::HalfClose
            | Event::Stdout(_)
            | Event::Stderr(_)
            | Event::Exit(_) => {}
        }
        self.run_gate();
    }

    /// The client's connection is gone.
    pub fn handle_client_lost(&mut self) {
        if self.outcome.is_none() {
            self.outputs.push_back(Output::ToContainer(Event::Close));
            self.close(Outcome::ClientGone);
        }
    }

    /// The container's side said `event`.
    pub fn handle_container(&mut self, now: Instant, event: Event) {
        if self.outcome.is_some() {
            return;
        }
        match event {
            Event::Stdout(bytes) => self.output(now, OutputStream::Stdout, bytes),
            Event::Stderr(bytes) => self.output(now, OutputStream::Stderr, bytes),
            Event::Exit(status) => {
                self.outputs
                    .push_back(Output::ToClient(Event::Exit(status.clone())));
                self.close(Outcome::Ended(status));
            }
            Event::Close => self.handle_container_lost(),
            Event::Stdin(_) | Event::HalfClose | Event::Resize(_) => {}
        }
    }

    /// The container's side broke off. Without a status that is a failure.
    pub fn handle_container_lost(&mut self) {
        if self.outcome.is_none() {
            self.outputs
                .push_back(Output::ToClient(Event::Exit(ExitStatus::connection_lost(
                    "container",
                ))));
            self.close(Outcome::ContainerLost);
        }
    }

    /// Time has come to the last [`Output::Wait`].
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.outcome.is_none() {
            self.gate.handle_timeout(now);
            self.run_gate();
        }
    }

    /// What to do next.
    pub fn poll_output(&mut self) -> Output<G::Note> {
        if let Some(output) = self.outputs.pop_front() {
            return output;
        }
        match &self.outcome {
            Some(outcome) => Output::Closed(outcome.clone()),
            None => Output::Wait(self.gate.poll_timeout()),
        }
    }

    fn output(&mut self, now: Instant, stream: OutputStream, bytes: Bytes) {
        self.transferred.output += bytes.len() as u64;
        self.gate.handle_output(now, stream, &bytes);
        let was_empty = bytes.is_empty();
        let shown = self.gate.shown(now, stream, bytes);
        if was_empty || !shown.is_empty() {
            self.outputs
                .push_back(Output::ToClient(stream.event(shown)));
        }
        self.run_gate();
    }

    fn run_gate(&mut self) {
        while let Some(action) = self.gate.poll_action() {
            if self.outcome.is_some() {
                // What is noted is written down even when the session is over.
                if let GateAction::Note(note) = action {
                    self.outputs.push_back(Output::Note(note));
                }
                continue;
            }
            match action {
                GateAction::Forward(bytes) if self.stdin != Stdin::Ended => {
                    self.transferred.stdin += bytes.len() as u64;
                    self.outputs
                        .push_back(Output::ToContainer(Event::Stdin(bytes)));
                }
                GateAction::HalfClose if self.stdin != Stdin::Ended => {
                    self.stdin = Stdin::Ended;
                    self.outputs
                        .push_back(Output::ToContainer(Event::HalfClose));
                }
                GateAction::Forward(_) | GateAction::HalfClose => {}
                GateAction::Draw(stream, bytes) => {
                    self.outputs
                        .push_back(Output::ToClient(stream.event(bytes)));
                }
                GateAction::Note(note) => self.outputs.push_back(Output::Note(note)),
                GateAction::End(status) => {
                    self.outputs.push_back(Output::ToContainer(Event::Close));
                    self.outputs
                        .push_back(Output::ToClient(Event::Exit(status.clone())));
                    self.close(Outcome::Stopped(status));
                }
            }
        }
    }

    fn close(&mut self, outcome: Outcome) {
        self.outcome = Some(outcome);
    }
}

impl<G: Gate> fmt::Debug for Relay<G> {
    // Outputs hold what somebody types or sees, and so does a gate: they are not shown.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Relay")
            .field("outputs", &self.outputs.len())
            .field("stdin", &self.stdin)
            .field("outcome", &self.outcome)
            .field("transferred", &self.transferred)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for OpenGate {
    // What passes is what somebody types: it is not shown.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("OpenGate")
            .field("actions", &self.0.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "time has to start somewhere")]
mod tests {
    use std::time::Instant;

    use bytes::Bytes;

    use super::{OpenGate, Outcome, Output, Relay};
    use crate::{Event, ExitStatus};

    fn drain(relay: &mut Relay<OpenGate>) -> Vec<Output<()>> {
        let mut all = Vec::new();
        loop {
            let output = relay.poll_output();
            let last = matches!(output, Output::Wait(_) | Output::Closed(_));
            all.push(output);
            if last {
                return all;
            }
        }
    }

    #[test]
    fn closing_stdin_does_not_cut_output() {
        let now = Instant::now();
        let mut relay = Relay::new(OpenGate::default());
        relay.handle_client(now, Event::HalfClose);
        assert_eq!(
            drain(&mut relay),
            [Output::ToContainer(Event::HalfClose), Output::Wait(None)]
        );
        relay.handle_container(now, Event::Stdout(Bytes::from_static(b"late")));
        relay.handle_container(now, Event::Exit(ExitStatus::Exited(3)));
        assert_eq!(
            drain(&mut relay),
            [
                Output::ToClient(Event::Stdout(Bytes::from_static(b"late"))),
                Output::ToClient(Event::Exit(ExitStatus::Exited(3))),
                Output::Closed(Outcome::Ended(ExitStatus::Exited(3))),
            ]
        );
    }

    #[test]
    fn lost_container_is_never_success() {
        let mut relay = Relay::new(OpenGate::default());
        relay.handle_container_lost();
        let outputs = drain(&mut relay);
        assert!(matches!(
            outputs.first(),
            Some(Output::ToClient(Event::Exit(status))) if !status.is_success()
        ));
        assert_eq!(
            outputs.last(),
            Some(&Output::Closed(Outcome::ContainerLost))
        );
    }

    #[test]
    fn exactly_one_status_reaches_the_client() {
        let now = Instant::now();
        let mut relay = Relay::new(OpenGate::default());
        relay.handle_container(now, Event::Exit(ExitStatus::Exited(0)));
        relay.handle_container(now, Event::Exit(ExitStatus::Exited(1)));
        relay.handle_container_lost();
        relay.handle_client_lost();
        let exits = drain(&mut relay)
            .into_iter()
            .filter(|output| matches!(output, Output::ToClient(Event::Exit(_))))
            .count();
        assert_eq!(exits, 1);
    }
}
