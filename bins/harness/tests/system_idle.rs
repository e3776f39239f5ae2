//! A session in which nobody types and nothing is printed ends when the gateway is told so, with a
//! reason for the person and for the trail, although the client's pings flow all the time.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a failed unwrap is a failed test"
)]

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use dockin_harness::{
    Container, House, HouseOptions, Input, Program, Pty, Transport, eventually, finish,
};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(60);
const BOTH: [Transport; 2] = [Transport::WebSocket, Transport::Spdy];
/// Longer than the 5 s between two pings of kubectl.
const IDLE: &str = "7s";
const TOLD: &str = "session ended: it was idle for 7s";

fn house(main: &[&str]) -> (House, Container) {
    let house = House::start(&HouseOptions {
        edits: vec![(
            "# idle_timeout: 30m".to_owned(),
            format!("idle_timeout: {IDLE}"),
        )],
        ..HouseOptions::default()
    });
    let container = house.docker().container(&["-i"], main);
    (house, container)
}

fn ends(house: &House) -> Vec<Value> {
    let audit = house.audit().into_iter();
    audit
        .filter(|event| event["event"] == "session.end")
        .collect()
}

/// T17: every kind of session at once, beside one that says a word a second for longer than that.
#[test]
fn silence_ends_a_session_although_pings_flow_and_a_word_a_second_keeps_it() {
    let (house, container) = house(&["cat"]);
    let name = container.name();
    let mut silent = Vec::new();
    let mut busy = Vec::new();
    let mut terminals = Vec::new();
    for transport in BOTH {
        for arguments in [
            &["exec", "-i", name, "--", "cat"][..],
            &["exec", name, "--", "sleep", "1009"],
            &["attach", "-i", name],
        ] {
            let mut command = house.preferred(transport, arguments);
            silent.push((transport, Program::start(&mut command, Input::Held)));
        }
        let talk = "for i in 1 2 3 4 5 6 7 8 9 10; do echo $i; sleep 1; done; exit 5";
        let mut command = house.preferred(transport, &["exec", name, "--", "sh", "-c", talk]);
        busy.push(Program::start(&mut command, Input::Nothing));
        let terminal = Pty::spawn(&house.preferred(transport, &["exec", "-it", name, "--", "sh"]));
        terminals.push((transport, terminal));
    }
    for (transport, program) in silent {
        let got = program.finish(LIMIT);
        assert_eq!(got.code, Some(1), "{transport:?}: {}", got.stderr);
        assert!(got.stderr.contains(TOLD), "{transport:?}: {}", got.stderr);
    }
    for (transport, terminal) in &mut terminals {
        let told = eventually(LIMIT, || terminal.screen().contains(TOLD));
        assert!(told, "{transport:?}: {}", terminal.screen());
    }
    for program in busy {
        let got = program.finish(LIMIT);
        assert_eq!(
            (got.code, got.text().lines().count()),
            (Some(5), 10),
            "{}",
            got.stderr
        );
    }
    assert!(eventually(LIMIT, || ends(&house).len() == 10));
    let idle = ends(&house);
    let idle = idle.iter().filter(|event| event["reason"] == TOLD);
    assert_eq!(idle.count(), 8, "{:#?}", ends(&house));
    // What they ran is gone; the container's own process is not.
    let alone = || container.processes().len() == 1;
    assert!(eventually(LIMIT, alone), "{:#?}", container.processes());
}

/// A client that is stopped takes nothing, not even the end: its session ends all the same.
#[test]
fn a_client_that_is_stopped_does_not_keep_its_session() {
    let (house, container) = house(&["sleep", "2147483647"]);
    let mut stopped = Vec::new();
    for transport in BOTH {
        let arguments = ["exec", container.name(), "--", "yes"];
        let program = Program::start(&mut house.preferred(transport, &arguments), Input::Nothing);
        program.expect("y\ny\n");
        let pid = i32::try_from(program.pid()).unwrap();
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
        stopped.push(program);
    }
    let idle = || {
        let ended = ends(&house);
        let idle = |event: &&Value| {
            event["reason"]
                .as_str()
                .is_some_and(|reason| reason.contains(TOLD))
        };
        ended.iter().filter(idle).count() == 2
    };
    assert!(eventually(LIMIT, idle), "{:#?}", ends(&house));
    let alone = || container.processes().len() == 1;
    assert!(eventually(LIMIT, alone), "{:#?}", container.processes());
}

/// A forward that is used goes on, one that nobody uses ends: each byte counts, and no ping.
#[test]
fn a_forward_that_nobody_uses_ends_and_one_in_use_does_not() {
    let serve = ["nc", "-ll", "-p", "9000", "-e", "cat"];
    let (house, container) = house(&serve);
    let forward = |transport| {
        let arguments = ["port-forward", container.name(), ":9000"];
        let program = Program::start(&mut house.preferred(transport, &arguments), Input::Nothing);
        program.expect("Forwarding from 127.0.0.1:");
        let told = program.stdout();
        let (_, behind) = told.split_once("127.0.0.1:").unwrap();
        let port: u16 = behind.split(' ').next().unwrap().parse().unwrap();
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        (program, stream)
    };
    let mut letter = [0];
    let mut forwards = Vec::new();
    for transport in BOTH {
        let (silent, mut silent_stream) = forward(transport);
        silent_stream.write_all(b"a").unwrap();
        silent_stream.read_exact(&mut letter).unwrap();
        forwards.push((transport, silent, silent_stream, forward(transport)));
    }
    for _ in 0..10 {
        for (_, _, _, (_, used)) in &mut forwards {
            used.write_all(b"b").unwrap();
            used.read_exact(&mut letter).unwrap();
        }
        std::thread::sleep(Duration::from_secs(1));
    }
    for (transport, silent, mut silent_stream, (_program, mut used)) in forwards {
        // The connection that was open hears of it, and so does who looks at kubectl.
        assert!(matches!(silent_stream.read(&mut letter), Ok(0) | Err(_)));
        let told = || silent.stderr().contains(TOLD);
        assert!(
            eventually(LIMIT, told),
            "{transport:?}: {}",
            silent.stderr()
        );
        used.write_all(b"c").unwrap();
        used.read_exact(&mut letter).unwrap();
        assert_eq!(&letter, b"c", "{transport:?}");
    }
    let idle = || {
        let ended = ends(&house);
        ended.iter().filter(|event| event["reason"] == TOLD).count()
    };
    assert!(eventually(LIMIT, || idle() >= 2), "{:#?}", ends(&house));
}

#[test]
fn without_a_limit_silence_ends_nothing() {
    let house = House::start(&HouseOptions::default());
    let container = house.docker().container(&[], &["sleep", "2147483647"]);
    let quiet = [
        "exec",
        container.name(),
        "--",
        "sh",
        "-c",
        "sleep 9; exit 4",
    ];
    let mut command = house.preferred(Transport::WebSocket, &quiet);
    let got = finish(&mut command, Input::Nothing, LIMIT);
    assert_eq!(got.code, Some(4), "{}", got.stderr);
}
