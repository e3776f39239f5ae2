//! The last byte, then the one status, then the goodbye.

use std::time::Duration;

use dockin_stream::{
    Event, ExitStatus, Outcome, StreamSet, Subprotocol, limits::STREAM_CREATION_TIMEOUT,
};

use crate::{
    link::Weather,
    player::{Act, HangUp, exit, stderr, stdin, stdout},
    protocol::Protocol,
    random::Random,
    world::{Ended, Session, for_seeds},
};

/// What a command said, and with which status it ended.
struct Said {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    status: ExitStatus,
}

impl Said {
    fn arrived_whole(&self, ended: &Ended) -> bool {
        ended.client.stdout == self.stdout
            && ended.client.stderr == self.stderr
            && ended.client.exits == [self.status.clone()]
    }
}

/// A command that prints and exits while somebody still sends it input.
fn exit_while_input_flows(random: &mut Random, session: Session) -> (Ended, Said) {
    let mut said = Said {
        stdout: Vec::new(),
        stderr: Vec::new(),
        status: ExitStatus::Exited(random.pick(&[0, 1, 3, 137, 255])),
    };
    let mut acts = Vec::new();
    if random.once_in(2) {
        acts.push(Act::AwaitStdin(random.between(1, 1000)));
    }
    for _ in 0..random.between(1, 4) {
        let longest = random.pick(&[10, 300, 2000]);
        let length = random.between(1, longest);
        let bytes = random.bytes(length);
        if random.once_in(4) {
            said.stderr.extend_from_slice(&bytes);
            acts.push(stderr(bytes));
        } else {
            said.stdout.extend_from_slice(&bytes);
            acts.push(stdout(bytes));
        }
    }
    acts.push(Act::Say(Event::Exit(said.status.clone())));
    let typed = Event::Stdin(random.bytes(300).into());
    let ended = session
        .client_does([Act::Repeat(typed, 1_000_000)])
        .container_does(acts)
        .run(random);
    (ended, said)
}

fn nothing_is_lost(protocol: Protocol) {
    for_seeds(5_000, |random| {
        let session = Session::random(random, protocol);
        let (ended, said) = exit_while_input_flows(random, session);
        assert!(said.arrived_whole(&ended), "{:?}", ended.client.exits);
        if let Some(outcome) = ended.outcome {
            assert_eq!(outcome, Outcome::Ended(said.status));
        }
    });
}

/// T1: five thousand times, through a relay and without.
#[test]
fn command_that_exits_while_input_flows_loses_nothing_over_spdy() {
    nothing_is_lost(Protocol::SPDY);
}

/// T1: five thousand times, through a relay and without.
#[test]
fn command_that_exits_while_input_flows_loses_nothing_over_websocket() {
    nothing_is_lost(Protocol::WEBSOCKET);
}

/// T1: the test of the test. The kernel's reset costs a server that just closes its tail, but
/// even then nobody is told of a success that was none.
#[test]
fn server_that_closes_without_lingering_loses_tails_but_fakes_no_success() {
    let mut lost = 0;
    for_seeds(400, |random| {
        let mut session = {
            let client = random.pick(&Protocol::BOTH);
            Session::random(random, client)
        };
        session.container = None;
        session.server_is_hasty = true;
        let (ended, said) = exit_while_input_flows(random, session);
        if !said.arrived_whole(&ended) {
            lost += 1;
            assert!(!ended.client.succeeded());
        }
    });
    assert!(lost > 100, "only {lost} of 400 tails were lost");
}

/// T2: the container's side is cut at any moment, in any way. Whoever waits is told of a failure
/// or of nothing, never of a success.
#[test]
fn lost_container_is_never_success() {
    for_seeds(600, |random| {
        let client = random.pick(&Protocol::ALL);
        // v1 over SPDY has no status: its servers close that stream before the command begins.
        let told = client != Protocol::Spdy(Subprotocol::V1);
        let mut session = Session::random(random, client);
        if !told {
            session.container = None;
        }
        let relayed = session.container.is_some();
        let mut acts = Vec::new();
        for _ in 0..random.below(4) {
            let length = random.between(1, 5000);
            acts.push(stdout(random.bytes(length)));
        }
        acts.push(Act::Sleep(random.up_to(Duration::from_millis(300))));
        acts.push(match random.below(4) {
            0 => Act::HangUp(HangUp::Fin),
            1 => Act::HangUp(HangUp::Close),
            2 => Act::HangUp(HangUp::Reset),
            _ if told => Act::Say(Event::Close),
            _ => Act::HangUp(HangUp::Fin),
        });
        let ended = session
            .client_does([Act::Repeat(Event::Stdin(vec![b'x'; 100].into()), 200)])
            .container_does(acts)
            .run(random);
        assert!(!ended.client.succeeded(), "{:?}", ended.client.exits);
        if relayed {
            assert_eq!(ended.client.exits.len(), 1, "nobody was told");
        }
    });
}

/// T1: a tail that waits in front of a relay, because its client reads nothing for half a minute,
/// is not thrown away when that client types.
#[test]
fn tail_waits_for_a_slow_client_behind_a_relay() {
    for_seeds(60, |random| {
        let client = random.pick(&Protocol::BOTH);
        let container = random.pick(&Protocol::BOTH);
        let printed = random.bytes(20_000);
        let mut session = Session::relayed(random, client, container);
        for weather in &mut session.weather {
            weather.buffer = 12_000;
        }
        let ended = session
            .client_does([
                Act::StopReading,
                Act::Sleep(Duration::from_secs(20)),
                stdin(&b"k"[..]),
                Act::Sleep(Duration::from_secs(10)),
                Act::StartReading,
            ])
            .container_does([
                Act::Sleep(Duration::from_secs(2)),
                stdout(printed.clone()),
                exit(3),
            ])
            .run(random);
        assert!(ended.client.stdout == printed);
        assert_eq!(ended.client.exit(), &ExitStatus::Exited(3));
    });
}

/// T6: a large copy to a slow and distant client.
#[test]
fn large_output_arrives_whole_over_a_slow_connection() {
    for_seeds(8, |random| {
        let client = random.pick(&Protocol::BOTH);
        let printed = random.bytes(512 * 1024);
        let mut session = Session::random(random, client);
        session.weather[0] = Weather {
            latency: Duration::from_millis(300),
            buffer: 4096,
            piece: 1500,
            ..Weather::CALM
        };
        let chunks = printed.chunks(10_000).map(<[u8]>::to_vec).map(stdout);
        let ended = session.container_does(chunks.chain([exit(0)])).run(random);
        assert!(ended.client.stdout == printed);
        assert!(ended.client.exit().is_success());
        assert!(ended.lasted > Duration::from_secs(30));
    });
}

/// T33: every exit code arrives as it is, or as the failure that the version's text can tell.
#[test]
fn every_exit_code_crosses_every_pair_of_protocols() {
    for_seeds(256, |random| {
        for client in Protocol::ALL {
            let container = random.pick(&Protocol::ALL);
            let status = ExitStatus::Exited(random.next() as u8);
            let mut session = Session::relayed(random, client, container);
            session.weather = [Weather::CALM, Weather::CALM];
            let ended = session
                .container_does([Act::Say(Event::Exit(status.clone()))])
                .run(random);
            let expected = client.carried(&container.carried(&status));
            assert_eq!(ended.client.exit(), &expected, "{client:?}, {container:?}");
        }
    });
}

/// T49: standard output and standard error reach the client in the order in which they were
/// written.
#[test]
fn order_between_both_outputs_is_kept() {
    for_seeds(300, |random| {
        let client = random.pick(&Protocol::ALL);
        let mut written = Vec::new();
        let mut acts = Vec::new();
        for _ in 0..60 {
            let length = random.pick(&[1, 10, 2000]);
            let bytes = random.bytes(length);
            written.extend_from_slice(&bytes);
            acts.push(if random.once_in(2) {
                stdout(bytes)
            } else {
                stderr(bytes)
            });
        }
        acts.push(exit(0));
        let ended = Session::random(random, client)
            .container_does(acts)
            .run(random);
        assert!(ended.client.output == written, "{client:?}");
        assert!(ended.client.exit().is_success());
    });
}

/// T47: a client that does not open all the streams it asked for is told so, and goes.
#[test]
fn missing_streams_end_the_session_with_a_reason() {
    for_seeds(100, |random| {
        let mut session = Session::random(random, Protocol::SPDY);
        session.opened = Some(StreamSet {
            stdout: true,
            ..StreamSet::default()
        });
        let ended = session.container_does([exit(0)]).run(random);
        let ExitStatus::Failed(failure) = ended.client.exit() else {
            panic!("a session that never began succeeded");
        };
        assert_eq!(failure.message, "streams missing after 30 s: stdin, stderr");
        assert!(ended.lasted >= STREAM_CREATION_TIMEOUT);
    });
}
