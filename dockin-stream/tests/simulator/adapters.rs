//! The same over the tokio adapters: `io::Endpoint` at both ends and `io::run_relay` between
//! them, in virtual time.

use std::time::Duration;

use dockin_stream::{Event, ExitStatus, Outcome, StreamSet};

use crate::{
    adapted::{self, Adapted},
    link::{Side, Weather},
    player::{Act, HALF_CLOSE, HangUp, exit, stdin, stdout},
    protocol::Protocol,
    random::Random,
    world::{Session, for_seeds},
};

fn exit_while_input_flows(random: &mut Random, session: Session) -> (Adapted, Vec<u8>, u8) {
    let code = random.pick(&[0, 3, 255]);
    let printed = random.bytes(20_000);
    let mut acts = Vec::new();
    if random.once_in(2) {
        acts.push(Act::AwaitStdin(random.between(1, 3000)));
    }
    acts.extend(printed.chunks(3000).map(<[u8]>::to_vec).map(stdout));
    acts.push(exit(code));
    let typed = Event::Stdin(random.bytes(4000).into());
    let session = session
        .client_does([Act::Repeat(typed, 1_000_000)])
        .container_does(acts);
    (adapted::run(session, random), printed, code)
}

/// T1, over the adapters.
#[test]
fn command_that_exits_while_input_flows_loses_nothing() {
    for_seeds(100, |random| {
        let client = random.pick(&Protocol::BOTH);
        let session = Session::random(random, client);
        let (ended, printed, code) = exit_while_input_flows(random, session);
        assert!(ended.client.stdout == printed);
        assert_eq!(ended.client.exit(), &ExitStatus::Exited(code));
        if let Some(outcome) = ended.outcome {
            assert_eq!(outcome, Outcome::Ended(ExitStatus::Exited(code)));
        }
    });
}

/// T2, over the adapters.
#[test]
fn lost_container_is_never_success() {
    for_seeds(120, |random| {
        let client = random.pick(&Protocol::BOTH);
        let session = Session::random(random, client);
        let relayed = session.container.is_some();
        let how = random.pick(&[HangUp::Fin, HangUp::Close, HangUp::Reset]);
        let session = session
            .client_does([Act::Repeat(Event::Stdin(vec![b'x'; 100].into()), 200)])
            .container_does([
                stdout(random.bytes(5000)),
                Act::Sleep(random.up_to(Duration::from_millis(300))),
                Act::HangUp(how),
            ]);
        let ended = adapted::run(session, random);
        assert!(!ended.client.succeeded());
        assert_eq!(ended.client.exits.len(), usize::from(relayed));
    });
}

/// T3 and T4, over the adapters.
#[test]
fn end_of_input_arrives_and_keeps_the_output() {
    for_seeds(80, |random| {
        let client = random.pick(&Protocol::BOTH);
        let typed = random.bytes(20_000);
        let printed = random.bytes(9000);
        let session = Session::random(random, client)
            .client_does([stdin(typed.clone()), HALF_CLOSE])
            .container_does([
                Act::AwaitHalfClose,
                Act::Sleep(Duration::from_secs(700)),
                stdout(printed.clone()),
                exit(0),
            ]);
        let ended = adapted::run(session, random);
        assert!(ended.container.stdin == typed && ended.client.stdout == printed);
        assert!(ended.client.exit().is_success());
    });
}

/// Adapters keep tokio's time: pings of many virtual seconds are no flood.
#[test]
fn adapters_measure_pings_in_tokios_time() {
    for_seeds(20, |random| {
        let mut session = Session::random(random, Protocol::SPDY);
        session.weather = [Weather::CALM, Weather::CALM];
        let pings = (0..300).flat_map(|_| [Act::Keepalive, Act::Sleep(Duration::from_secs(1))]);
        let session = session
            .client_does(pings.clone())
            .container_does(pings.chain([exit(0)]));
        assert!(adapted::run(session, random).client.exit().is_success());
    });
}

/// T14: while a command does not read what its client sends, the client hears from us at least
/// once a second, or client-go gives up after 61 s.
#[test]
fn client_whose_input_waits_hears_every_second_that_we_live() {
    for_seeds(20, |random| {
        let client = random.pick(&Protocol::BOTH);
        let container = random.pick(&Protocol::BOTH);
        let mut session = Session::relayed(random, client, container);
        session.weather = [Weather::CALM, Weather::CALM];
        session.listen_in = true;
        let typed = Event::Stdin(vec![b'x'; 32 * 1024].into());
        let session = session
            .client_does([Act::Repeat(typed, 200)])
            .container_does([
                Act::StopReading,
                Act::Sleep(Duration::from_secs(90)),
                exit(0),
            ]);
        let start = Duration::from_secs(1);
        let ended = adapted::run(session, random);
        assert!(ended.client.exit().is_success());
        let link = ended.link.borrow();
        let times: Vec<_> = link
            .heard_by(Side::Near)
            .iter()
            .map(|(at, _)| *at)
            .collect();
        let gaps = times.windows(2).map(|pair| pair[1] - pair[0]);
        assert!(times.len() > 90, "{} signs of life", times.len());
        assert!(gaps.max() <= Some(start), "too long without a sign of life");
    });
}

/// T8, T10 and T11: whoever goes away while writers in both directions are blocked, the session is
/// over at once, and both sockets are given back.
#[test]
fn client_that_breaks_off_while_everything_is_blocked_ends_the_session() {
    for_seeds(16, |random| {
        let client = random.pick(&Protocol::BOTH);
        let container = random.pick(&Protocol::BOTH);
        let how = random.pick(&[HangUp::Close, HangUp::Reset]);
        let hour = Duration::from_secs(3600);
        let blocked = |direction: Event| Act::Repeat(direction, 50);
        let mut session = Session::relayed(random, client, container);
        // Which of both reads nothing, or neither.
        let (mut near, mut far) = (Vec::new(), Vec::new());
        match random.below(3) {
            0 => near.push(Act::StopReading),
            1 => far.push(Act::StopReading),
            _ => {}
        }
        near.push(blocked(Event::Stdin(vec![b'x'; 4000].into())));
        near.extend([Act::Sleep(Duration::from_secs(60)), Act::HangUp(how)]);
        far.push(blocked(Event::Stdout(vec![b'x'; 4000].into())));
        far.extend([
            Act::Sleep(Duration::from_secs(300)),
            Act::StartReading,
            Act::Sleep(hour),
        ]);
        session = session.client_does(near).container_does(far);
        let ended = adapted::run(session, random);
        assert_eq!(ended.outcome, Some(Outcome::ClientGone));
        assert!(
            ended.lasted < Duration::from_secs(400),
            "{:?}",
            ended.lasted
        );
    });
}

/// T43: a session in which nothing happens costs nothing, also when its input has ended.
#[test]
fn silent_session_is_not_polled() {
    for_seeds(40, |random| {
        let client = random.pick(&Protocol::BOTH);
        let mut session = Session::relayed(random, client, Protocol::SPDY);
        session.weather = [Weather::CALM, Weather::CALM];
        let session = session
            .client_does([HALF_CLOSE])
            .container_does([Act::Sleep(Duration::from_secs(24 * 3600)), exit(0)]);
        let ended = adapted::run(session, random);
        assert!(ended.client.exit().is_success());
        assert!(ended.polls < 100, "{} polls", ended.polls);
    });
}

/// T47, over the adapters: the reason is told though input is still coming.
#[test]
fn missing_streams_end_the_session_with_a_reason() {
    for_seeds(40, |random| {
        let mut session = Session::relayed(random, Protocol::SPDY, Protocol::SPDY);
        session.opened = Some(StreamSet {
            stdout: true,
            stdin: true,
            ..StreamSet::default()
        });
        let typed = Event::Stdin(vec![b'x'; 1000].into());
        let session = session.client_does([
            Act::Repeat(typed.clone(), 10),
            Act::Sleep(Duration::from_millis(29_990)),
            Act::Repeat(typed, 200),
        ]);
        let ended = adapted::run(session, random);
        let ExitStatus::Failed(failure) = ended.client.exit() else {
            panic!("a session that never began succeeded");
        };
        assert_eq!(failure.message, "streams missing after 30 s: stderr");
    });
}
