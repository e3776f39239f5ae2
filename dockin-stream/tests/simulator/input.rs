//! Standard input, its end, and the output that goes on behind it.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use bytes::Bytes;
use dockin_stream::{
    Event, ExitStatus, Gate, GateAction, OutputStream, StreamSet, Subprotocol, TerminalSize,
};

use crate::{
    link::Weather,
    player::{Act, HALF_CLOSE, exit, stdin, stdout},
    protocol::Protocol,
    world::{PIPES, Session, TERMINAL, beginning, for_seeds},
};

/// T3: `echo x | kubectl exec -i … cat` ends.
#[test]
fn end_of_input_reaches_the_container_behind_the_last_byte() {
    for_seeds(400, |random| {
        let (client, container) = (
            random.pick(&Protocol::WITH_HALF_CLOSE),
            random.pick(&Protocol::WITH_HALF_CLOSE),
        );
        let length = random.between(1, 20_000);
        let typed = random.bytes(length);
        let mut session = Session::relayed(random, client, container);
        if random.once_in(3) {
            session.container = None;
        }
        let ended = session
            .client_does([stdin(typed.clone()), HALF_CLOSE])
            .container_does([Act::AwaitHalfClose, stdout(typed.clone()), exit(0)])
            .run(random);
        assert!(ended.container.stdin == typed && ended.client.stdout == typed);
        assert_eq!(ended.container.half_closes, 1);
        assert!(ended.client.exit().is_success());
    });
}

/// T4: closing standard input never cuts the output, however long it goes on. In the versions that
/// cannot say it, it does nothing at all.
#[test]
fn closing_input_keeps_the_output() {
    for_seeds(400, |random| {
        let client = random.pick(&Protocol::ALL);
        let output = random.bytes(5000);
        let ended = Session::random(random, client)
            .client_does([HALF_CLOSE])
            .container_does([
                Act::Sleep(Duration::from_secs(3)),
                stdout(output.clone()),
                Act::Sleep(Duration::from_secs(600)),
                stdout(output.clone()),
                exit(0),
            ])
            .run(random);
        assert!(ended.client.stdout == output.repeat(2));
        assert!(ended.client.exit().is_success());
    });
}

/// Keeps the end of standard input to itself.
#[derive(Default)]
struct EndHeld(VecDeque<GateAction<()>>);

impl Gate for EndHeld {
    type Note = ();

    fn handle_stdin(&mut self, _now: Instant, bytes: Bytes) {
        self.0.push_back(GateAction::Forward(bytes));
    }
    fn handle_half_close(&mut self, _now: Instant) {}
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

/// T5: containerd ends the output when a terminal's input ends. A gate may keep that end, and all
/// else goes on.
#[test]
fn gate_may_keep_the_end_of_a_terminals_input() {
    for_seeds(200, |random| {
        let container = random.pick(&Protocol::WITH_HALF_CLOSE);
        let mut session = Session::relayed(random, Protocol::WEBSOCKET, container);
        session.streams = TERMINAL;
        let ended = session
            .client_does([stdin(&b"make\n"[..]), HALF_CLOSE])
            .container_does([
                Act::AwaitStdin(5),
                Act::Sleep(Duration::from_secs(60)),
                stdout(&b"made"[..]),
                exit(0),
            ])
            .run_with(random, EndHeld::default());
        assert_eq!(ended.container.half_closes, 0);
        assert_eq!(ended.container.stdin, b"make\n");
        assert_eq!(ended.client.stdout, b"made");
        assert!(ended.client.exit().is_success());
    });
}

/// T12 and T21: what is said before the streams are accepted, or even exist, is kept.
#[test]
fn what_is_said_before_the_streams_exist_is_kept() {
    for_seeds(400, |random| {
        let client = random.pick(&Protocol::BOTH);
        let (typed, printed) = (random.bytes(3000), random.bytes(3000));
        let mut session = Session::random(random, client);
        session.eager = true;
        let ended = session
            .client_does([stdin(typed.clone()), HALF_CLOSE])
            .container_does([stdout(printed.clone()), Act::AwaitHalfClose, exit(7)])
            .run(random);
        assert!(ended.container.stdin == typed);
        assert!(ended.client.stdout == printed);
        assert_eq!(ended.client.exit(), &ExitStatus::Exited(7));
    });
}

/// T34: a session without standard input is not over when the command is silent for a while.
#[test]
fn session_without_input_lasts_to_its_end() {
    for_seeds(200, |random| {
        let client = random.pick(&Protocol::ALL);
        let mut session = Session::random(random, client);
        session.streams = StreamSet {
            stdin: false,
            ..PIPES
        };
        let ended = session
            .container_does([
                stdout(&b"first"[..]),
                Act::Sleep(Duration::from_secs(3600)),
                stdout(&b" last"[..]),
                exit(0),
            ])
            .run(random);
        assert_eq!(ended.client.stdout, b"first last");
        assert!(ended.client.exit().is_success());
        assert_eq!(ended.container.half_closes, 0);
    });
}

/// T35: all of a large input arrives at a reader that takes long to exit behind it.
#[test]
fn large_input_arrives_whole() {
    for_seeds(12, |random| {
        let client = random.pick(&Protocol::WITH_HALF_CLOSE);
        let typed = random.bytes(512 * 1024);
        let chunks = typed.chunks(32 * 1024).map(<[u8]>::to_vec).map(stdin);
        let ended = Session::relayed(random, client, Protocol::SPDY)
            .client_does(chunks.chain([HALF_CLOSE]))
            .container_does([
                Act::StopReading,
                Act::Sleep(Duration::from_secs(20)),
                Act::StartReading,
                Act::AwaitHalfClose,
                Act::Sleep(Duration::from_secs(20)),
                exit(0),
            ])
            .run(random);
        assert!(ended.container.stdin == typed);
        assert!(ended.client.exit().is_success());
    });
}

/// T15: the Go translator stops for good on the second of them.
#[test]
fn resizes_without_a_terminal_stop_nothing() {
    for_seeds(100, |random| {
        let client = random.pick(&Protocol::ALL);
        let resize = Event::Resize(TerminalSize {
            width: 80,
            height: 24,
        });
        let ended = Session::random(random, client)
            .client_does([Act::Repeat(resize, 1000), stdin(&b"on"[..])])
            .container_does(if client == Protocol::Spdy(Subprotocol::V1) {
                vec![exit(0)]
            } else {
                vec![Act::AwaitStdin(2), exit(0)]
            })
            .run(random);
        assert!(ended.container.resizes.is_empty());
        assert!(ended.client.exit().is_success());
    });
}

/// Sizes arrive in order, the last one last, between what is typed and though much is printed.
#[test]
fn terminal_gets_every_size_in_order() {
    for_seeds(200, |random| {
        let client = random.pick(&Protocol::BOTH);
        let mut session = Session::random(random, client);
        session.streams = TERMINAL;
        let size = |width| TerminalSize { width, height: 24 };
        let acts = (1..=50).flat_map(|width| {
            [
                Act::Say(Event::Resize(size(width))),
                stdin(vec![b'k'; 1 + usize::from(width)]),
            ]
        });
        let typed: usize = (1..=50).map(|width| 1 + width).sum();
        let ended = session
            .client_does(acts)
            .container_does([
                stdout(random.bytes(10_000)),
                Act::AwaitStdin(typed),
                exit(0),
            ])
            .run(random);
        let sizes: Vec<_> = (1..=50).map(size).collect();
        assert_eq!(ended.container.resizes, sizes);
        assert!(ended.client.exit().is_success());
    });
}

/// T7: ten thousand messages that the container does not read stop neither its output nor its
/// status, and when it reads them all of them are there.
#[test]
fn unread_input_stops_no_output() {
    for_seeds(24, |random| {
        let (client, container) = (random.pick(&Protocol::BOTH), random.pick(&Protocol::BOTH));
        let reads_in_the_end = random.once_in(2);
        let printed = random.bytes(3000);
        let mut acts = vec![Act::StopReading, Act::Sleep(Duration::from_secs(60))];
        acts.extend(printed.chunks(100).map(<[u8]>::to_vec).map(stdout));
        if reads_in_the_end {
            acts.extend([Act::StartReading, Act::AwaitStdin(10_000)]);
        }
        acts.push(exit(9));
        let mut session = Session::relayed(random, client, container);
        session.weather = [Weather::CALM, Weather::CALM];
        let ended = session
            .client_does([Act::Repeat(Event::Stdin(Bytes::from_static(b"x")), 10_000)])
            .container_does(acts)
            .run(random);
        assert!(ended.client.stdout == printed);
        assert_eq!(ended.client.exit(), &ExitStatus::Exited(9));
        if reads_in_the_end {
            assert_eq!(ended.container.stdin.len(), 10_000);
        }
    });
}

/// T7, the other way round: what is typed arrives while the client does not read what is printed.
#[test]
fn unread_output_stops_no_input() {
    for_seeds(24, |random| {
        let (client, container) = (random.pick(&Protocol::BOTH), random.pick(&Protocol::BOTH));
        let mut session = Session::relayed(random, client, container);
        for weather in &mut session.weather {
            weather.buffer = 3000;
        }
        let typed = (0..20).flat_map(|_| [stdin(&b"k"[..]), Act::Sleep(Duration::from_secs(1))]);
        let ended = session
            .client_does(
                [Act::Sleep(Duration::from_secs(20)), Act::StopReading]
                    .into_iter()
                    .chain(typed)
                    .chain([Act::Sleep(Duration::from_secs(600)), Act::StartReading]),
            )
            .container_does([
                Act::Sleep(Duration::from_secs(20)),
                Act::Repeat(Event::Stdout(vec![b'x'; 100].into()), 1000),
                exit(0),
            ])
            .run(random);
        assert_eq!(ended.client.stdout.len(), 100_000);
        assert!(ended.client.exit().is_success());
        let last = ended.container.last_stdin.unwrap() - beginning();
        assert!(last < Duration::from_secs(100), "typed bytes took {last:?}");
        assert_eq!(ended.container.stdin.len(), 20);
    });
}
