//! Much data, and ends that come at the wrong moment: nothing may be lost, over both protocols.
//! The numbers T1, T3, T4 and T14 are those of the streaming tests that Dockin promises to pass.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a failed unwrap is a failed test"
)]

use std::{process::Command, time::Duration};

use dockin_harness::{Container, House, HouseOptions, Input, Transport, eventually, finish};

const LIMIT: Duration = Duration::from_secs(300);
const BOTH: [Transport; 2] = [Transport::WebSocket, Transport::Spdy];
const HUNDRED_MB: usize = 100_000_000;

fn house() -> (House, Container) {
    let house = House::start(&HouseOptions::default());
    let container = house.docker().container(&[], &["sleep", "2147483647"]);
    (house, container)
}

/// `1\n2\n3\n…`, cut at `length`: what is lost, doubled or out of order shows.
fn counting(length: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length + 16);
    let mut number = 0_u64;
    while bytes.len() < length {
        number += 1;
        bytes.extend_from_slice(number.to_string().as_bytes());
        bytes.push(b'\n');
    }
    bytes.truncate(length);
    bytes
}

fn first_difference(left: &[u8], right: &[u8]) -> Option<usize> {
    let differs = left
        .iter()
        .zip(right)
        .position(|(left, right)| left != right);
    differs.or_else(|| (left.len() != right.len()).then(|| left.len().min(right.len())))
}

#[test]
fn a_hundred_megabytes_in_arrive_complete() {
    let (house, container) = house();
    let bytes = counting(HUNDRED_MB);
    let sum = finish(&mut Command::new("sha256sum"), Input::Bytes(&bytes), LIMIT).text();
    for transport in BOTH {
        let arguments = [
            "exec",
            "-i",
            container.name(),
            "--",
            "sh",
            "-c",
            "sha256sum",
        ];
        let mut command = house.preferred(transport, &arguments);
        let got = finish(&mut command, Input::Bytes(&bytes), LIMIT);
        assert_eq!(
            (got.code, got.text()),
            (Some(0), sum.clone()),
            "{transport:?} {}",
            got.stderr
        );
    }
}

#[test]
fn a_hundred_megabytes_out_arrive_complete() {
    let (house, container) = house();
    let script = format!("seq 1 100000000 | head -c {HUNDRED_MB}");
    let expected = counting(HUNDRED_MB);
    for transport in BOTH {
        let arguments = ["exec", container.name(), "--", "sh", "-c", &script];
        let got = finish(
            &mut house.preferred(transport, &arguments),
            Input::Nothing,
            LIMIT,
        );
        assert_eq!(got.code, Some(0), "{transport:?} {}", got.stderr);
        assert_eq!(
            first_difference(&got.stdout, &expected),
            None,
            "{transport:?}"
        );
    }
}

#[test]
fn what_goes_through_cat_comes_back_the_same() {
    let (house, container) = house();
    let bytes = counting(30_000_000);
    for transport in BOTH {
        let arguments = ["exec", "-i", container.name(), "--", "cat"];
        let mut command = house.preferred(transport, &arguments);
        let got = finish(&mut command, Input::Bytes(&bytes), LIMIT);
        assert_eq!(got.code, Some(0), "{transport:?} {}", got.stderr);
        assert_eq!(first_difference(&got.stdout, &bytes), None, "{transport:?}");
    }
}

/// T1, one hundred times: the command ends while standard input is still being sent.
fn tail_after_exit(transport: Transport) {
    let (house, container) = house();
    let script = "head -c 1; dd if=/dev/zero bs=64k count=32 2>/dev/null; exit 3";
    let arguments = ["exec", "-i", container.name(), "--", "sh", "-c", script];
    let mut wrong = Vec::new();
    for round in 0..100 {
        let mut command = house.preferred(transport, &arguments);
        let got = finish(&mut command, Input::Endless, LIMIT);
        if (got.code, got.stdout.len()) != (Some(3), 1 + 32 * 64 * 1024) {
            wrong.push((round, got.code, got.stdout.len(), got.stderr));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of 100 lost something: {wrong:?}",
        wrong.len()
    );
}

#[test]
fn a_command_that_exits_while_input_flows_loses_nothing_over_websocket() {
    tail_after_exit(Transport::WebSocket);
}

#[test]
fn a_command_that_exits_while_input_flows_loses_nothing_over_spdy() {
    tail_after_exit(Transport::Spdy);
}

#[test]
fn a_command_that_never_reads_its_input_still_tells_its_exit_code() {
    let (house, container) = house();
    for transport in BOTH {
        for code in [0, 5] {
            let script = format!("seq 1 200000; exit {code}");
            let arguments = ["exec", "-i", container.name(), "--", "sh", "-c", &script];
            let got = finish(
                &mut house.preferred(transport, &arguments),
                Input::Endless,
                LIMIT,
            );
            assert_eq!(got.code, Some(code), "{transport:?} {}", got.stderr);
            assert!(
                got.stdout.ends_with(b"\n200000\n"),
                "{transport:?} {}",
                got.stdout.len()
            );
        }
    }
}

#[test]
fn the_end_of_input_reaches_the_command() {
    // T3.
    let (house, container) = house();
    for transport in BOTH {
        for _ in 0..10 {
            let arguments = ["exec", "-i", container.name(), "--", "cat"];
            let mut command = house.preferred(transport, &arguments);
            let got = finish(&mut command, Input::Bytes(b"x\n"), LIMIT);
            assert_eq!(
                (got.code, got.text().as_str()),
                (Some(0), "x\n"),
                "{}",
                got.stderr
            );
        }
    }
}

#[test]
fn the_end_of_input_does_not_cut_the_output() {
    // T4.
    let (house, container) = house();
    let script = "cat > /dev/null; sleep 2; seq 1 500000; echo to-stderr >&2; exit 6";
    let expected: String = (1..=500_000).map(|number| format!("{number}\n")).collect();
    for transport in BOTH {
        let arguments = ["exec", "-i", container.name(), "--", "sh", "-c", script];
        let mut command = house.preferred(transport, &arguments);
        let got = finish(&mut command, Input::Bytes(b"some input"), LIMIT);
        assert_eq!(got.code, Some(6), "{transport:?} {}", got.stderr);
        assert_eq!(
            first_difference(&got.stdout, expected.as_bytes()),
            None,
            "{transport:?}"
        );
        assert!(
            got.stderr.starts_with("to-stderr\n"),
            "{transport:?} {}",
            got.stderr
        );
    }
}

#[test]
fn a_closed_output_does_not_end_the_command() {
    let (house, container) = house();
    let script = "exec 1>&- 2>&-; sleep 2; exit 8";
    for transport in BOTH {
        let arguments = ["exec", container.name(), "--", "sh", "-c", script];
        let got = finish(
            &mut house.preferred(transport, &arguments),
            Input::Nothing,
            LIMIT,
        );
        assert_eq!(got.code, Some(8), "{transport:?} {}", got.stderr);
    }
}

#[test]
fn a_grandchild_that_keeps_the_output_open_holds_nobody_up() {
    // T36.
    let (house, container) = house();
    for transport in BOTH {
        let script = "sleep 1000 & echo started; exit 2";
        let arguments = ["exec", container.name(), "--", "sh", "-c", script];
        let limit = Duration::from_secs(30);
        let got = finish(
            &mut house.preferred(transport, &arguments),
            Input::Nothing,
            limit,
        );
        assert_eq!(
            (got.code, got.text().as_str()),
            (Some(2), "started\n"),
            "{}",
            got.stderr
        );
        let alone = || container.processes().len() == 1;
        assert!(eventually(LIMIT, alone), "{:?}", container.processes());
    }
}

/// T14: kubectl gives up after 61 s without a sign of life; standard input that nobody reads must
/// not keep that sign from it.
fn long_life_with_unread_input(transport: Transport) {
    let (house, container) = house();
    let script = "i=0; while [ $i -lt 75 ]; do i=$((i + 1)); echo $i; sleep 1; done; exit 9";
    let arguments = ["exec", "-i", container.name(), "--", "sh", "-c", script];
    let got = finish(
        &mut house.preferred(transport, &arguments),
        Input::Endless,
        LIMIT,
    );
    assert_eq!(got.code, Some(9), "{transport:?} {}", got.stderr);
    assert_eq!(got.text().lines().count(), 75, "{transport:?}");
}

#[test]
fn unread_input_does_not_end_a_long_session_over_websocket() {
    long_life_with_unread_input(Transport::WebSocket);
}

#[test]
fn unread_input_does_not_end_a_long_session_over_spdy() {
    long_life_with_unread_input(Transport::Spdy);
}

#[test]
fn a_slow_reader_gets_everything() {
    let (house, container) = house();
    let script = "seq 1 2000000";
    for transport in BOTH {
        let arguments = ["exec", container.name(), "--", "sh", "-c", script];
        let kubectl = house.preferred(transport, &arguments);
        // Takes nothing for 5 s, so that every buffer on the way is full.
        let mut slow = Command::new("sh");
        slow.args(["-c", "\"$@\" | { sleep 5; sha256sum; }", "sh"]);
        slow.arg(kubectl.get_program()).args(kubectl.get_args());
        for (name, value) in kubectl.get_envs() {
            slow.env(name, value.unwrap());
        }
        let got = finish(&mut slow, Input::Nothing, LIMIT);
        let expected: String = (1..=2_000_000)
            .map(|number| format!("{number}\n"))
            .collect();
        let mut sum = Command::new("sha256sum");
        let sum = finish(&mut sum, Input::Bytes(expected.as_bytes()), LIMIT);
        assert_eq!(got.text(), sum.text(), "{transport:?} {}", got.stderr);
    }
}
