//! Real bash and zsh in a container, asked for the lines they hold: what is judged is what they
//! run, whichever keys made it, and nobody sees that they were asked.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a failed unwrap is a failed test"
)]

use std::{num::NonZeroU16, process::Command, thread, time::Duration};

use dockin_harness::{Container, House, HouseOptions, Input, Pty, Transport, eventually, finish};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_secs(40);
/// Between two keys: quick for a person.
const KEY: Duration = Duration::from_millis(15);

fn house(edits: &[(&str, &str)]) -> (House, Container) {
    let audit = "\naudit: audit/audit.jsonl\n";
    let recording = format!("{audit}recording: {{ directory: recordings, input: true }}\n");
    let mut edits: Vec<(String, String)> = edits
        .iter()
        .map(|(from, to)| ((*from).to_owned(), (*to).to_owned()))
        .collect();
    edits.push((audit.to_owned(), recording));
    let house = House::start(&HouseOptions {
        edits,
        ..HouseOptions::default()
    });
    let script = "mkdir -p /data; echo precious > /data/keep; exec sleep 2147483647";
    let container = house.docker().container(&[], &["sh", "-c", script]);
    assert!(eventually(SOON, || container.exec(&["cat", "/data/keep"])
        == "precious\n"));
    (house, container)
}

fn through_dockctl(house: &House, container: &Container, shell: &[&str]) -> Command {
    let mut command = house.dockctl();
    command.args(["exec", "-it", container.name(), "--"]);
    command.args(shell);
    command
}

fn through_kubectl(house: &House, container: &Container, shell: &[&str]) -> Command {
    let mut arguments = vec!["exec", "-it", container.name(), "--"];
    arguments.extend(shell);
    house.preferred(Transport::WebSocket, &arguments)
}

/// Types `keys` one by one and waits for `expected` behind what is there.
fn type_keys(pty: &mut Pty, keys: &str, expected: &str) {
    // What was printed before must have come.
    thread::sleep(Duration::from_millis(300));
    let before = pty.screen().len();
    for key in keys.chars() {
        pty.send(key.encode_utf8(&mut [0; 4]));
        thread::sleep(KEY);
    }
    pty.expect(before, expected);
}

/// Keys, what they print, and the line they make.
const BASH: &[(&str, &str, &str)] = &[
    ("echo fi''rst\r", "first", "echo fi''rst"),
    ("\x1b[A\r", "first", "echo fi''rst"),
    ("cat /data/ke\t\r", "precious", "cat /data/keep"),
    ("\x12fi''r\r", "first", "echo fi''rst"),
    ("echo rm -r''f /data\r", "rm -rf", "echo rm -r''f /data"),
    ("\x1b[A\x01\x1bd\r", "no-delete", "rm -r''f /data"),
    ("\x12rm -r''\x01\x1bd\r", "no-delete", "rm -r''f /data"),
    ("echo 'a\rb' tw''o\r", "b two", "echo 'a\nb' tw''o"),
    ("set -o vi\r", "# ", "set -o vi"),
    ("echo abc xyz\x1bbcwdo''ne\r", "abc done", "echo abc do''ne"),
    (
        "\x1bk0xxxxxirm -rf /data #\r",
        "no-delete",
        "rm -rf /data #abc do''ne",
    ),
];

const ZSH: &[(&str, &str, &str)] = &[
    ("echo fi''rst\r", "first", "echo fi''rst"),
    ("\x10\r", "first", "echo fi''rst"),
    ("cat /data/ke\t\r", "precious", "cat /data/keep"),
    ("\x12fi''r\r", "first", "echo fi''rst"),
    ("echo rm -r''f /data\r", "rm -rf", "echo rm -r''f /data"),
    ("\x10\x01\x1bd\r", "no-delete", "rm -r''f /data"),
    ("bindkey -v\r", "# ", "bindkey -v"),
    ("echo abc xyz\x1bbcwdo''ne\r", "abc done", "echo abc do''ne"),
];

fn judged(house: &House) -> Vec<Value> {
    let mut events = house.audit();
    events.retain(|event| event["line"].is_string());
    events
}

fn check(house: &House, container: &Container, command: &Command, steps: &[(&str, &str, &str)]) {
    let known = judged(house).len();
    let mut pty = Pty::spawn(command);
    pty.expect(0, "# ");
    for (keys, expected, _) in steps {
        type_keys(&mut pty, keys, expected);
    }
    type_keys(&mut pty, "exit 3\r", "exit");
    assert_eq!(pty.exit_code(), Some(3), "{}", pty.screen());
    assert_eq!(container.exec(&["cat", "/data/keep"]), "precious\n");
    let events = judged(house).split_off(known);
    let lines: Vec<&str> = events
        .iter()
        .map(|event| event["line"].as_str().unwrap().trim())
        .collect();
    let mut wanted: Vec<&str> = steps.iter().map(|(_, _, line)| *line).collect();
    wanted.push("exit 3");
    assert_eq!(lines, wanted, "{}", pty.screen());
    for (event, keys) in events.iter().zip(steps.iter().map(|(keys, _, _)| keys)) {
        // bash cannot be asked in the middle of a search, but the screen tells what it found.
        let is_in_search = steps == BASH && keys.starts_with('\x12') && !keys.contains('\x01');
        let source = if is_in_search { "screen" } else { "buffer" };
        assert_eq!(event["source"], source, "{event}");
        assert_ne!(event["confidence"], "opaque", "{event}");
    }
    hides_the_query(&pty.screen());
    hides_the_query(&serde_json::to_string(&house.audit()).unwrap());
}

#[track_caller]
fn hides_the_query(text: &str) {
    for word in ["]633", "dockin_", "99;7~", "READLINE"] {
        assert!(!text.contains(word), "`{word}` in {text:?}");
    }
}

#[test]
fn bash_is_judged_by_the_line_it_holds() {
    let (house, container) = house(&[]);
    for command in [
        through_kubectl(&house, &container, &["bash"]),
        through_dockctl(&house, &container, &["/bin/bash", "-l"]),
    ] {
        check(&house, &container, &command, BASH);
    }
    let directory = house.data().join("recordings").display().to_string();
    let listed = ["session", "list", "--directory", &directory];
    let listed = [&listed[..], &["--output", "json"]].concat();
    let listed = finish(house.dockctl().args(listed), Input::Nothing, LIMIT);
    let text = listed.text();
    assert_eq!(text.lines().count(), 2, "{text}{}", listed.stderr);
    for line in text.lines() {
        let recording: Value = serde_json::from_str(line).unwrap();
        let id = recording["session"].as_str().unwrap();
        let cast = ["session", "replay", "--directory", &directory, id, "--cast"];
        let cast = finish(house.dockctl().args(cast), Input::Nothing, LIMIT);
        assert!(cast.text().contains("echo fi''rst"), "{}", cast.stderr);
        hides_the_query(&cast.text());
    }
}

#[test]
fn zsh_is_judged_by_the_line_it_holds() {
    let (house, container) = house(&[]);
    let command = through_kubectl(&house, &container, &["zsh"]);
    check(&house, &container, &command, ZSH);
}

/// What stands on the screen after the same keys.
fn picture(house: &House, container: &Container) -> String {
    let mut pty = Pty::spawn(&through_kubectl(house, container, &["bash"]));
    pty.expect(0, "# ");
    type_keys(&mut pty, "PS1='two\\nrows> '; clear\r", "rows> ");
    type_keys(&mut pty, "echo on''e\r", "one");
    type_keys(
        &mut pty,
        &format!("echo lo''{}\r", "ng lo".repeat(30)),
        "long",
    );
    type_keys(&mut pty, "\x1b[A\x01\x1bd#\r", "rows> ");
    type_keys(&mut pty, "\x12on''\r", "one");
    type_keys(&mut pty, "ls /da\t\r", "keep");
    thread::sleep(Duration::from_millis(500));
    let mut screen = vt100::Parser::new(
        NonZeroU16::new(24).unwrap(),
        NonZeroU16::new(80).unwrap(),
        0,
    );
    screen.process(pty.screen().as_bytes());
    screen.screen().contents()
}

#[test]
fn the_screen_looks_as_if_nobody_had_asked() {
    let (asking, first) = house(&[]);
    let (silent, second) = house(&[("\nclusters:\n", "\nask_shells: false\nclusters:\n")]);
    assert_eq!(picture(&asking, &first), picture(&silent, &second));
    let sources = |house: &House| -> Vec<bool> {
        let events = judged(house);
        events
            .iter()
            .map(|event| event["source"] == "buffer")
            .collect()
    };
    assert_eq!(sources(&asking), [true, true, true, true, false, true]);
    assert_eq!(sources(&silent), [false; 6]);
}

#[test]
fn shells_inside_and_shells_that_cannot_be_asked_work_as_before() {
    let (house, container) = house(&[]);
    let mut pty = Pty::spawn(&through_kubectl(&house, &container, &["bash"]));
    pty.expect(0, "# ");
    type_keys(&mut pty, "sh\r", "# ");
    type_keys(&mut pty, "echo in''ner\r", "inner");
    type_keys(&mut pty, "rm -rf /data\r", "no-delete");
    type_keys(&mut pty, "exit\r", "# ");
    type_keys(&mut pty, "bash --norc\r", "# ");
    type_keys(&mut pty, "echo dee''per\r", "deeper");
    type_keys(&mut pty, "exit\r", "exit");
    type_keys(&mut pty, "echo ba''ck\r", "back");
    let sources: Vec<(String, bool)> = judged(&house)
        .iter()
        .map(|event| {
            let line = event["line"].as_str().unwrap().to_owned();
            (line, event["source"] == "buffer")
        })
        .collect();
    let asked: Vec<&str> = sources
        .iter()
        .filter(|(_, asked)| *asked)
        .map(|(line, _)| line.as_str())
        .collect();
    assert_eq!(asked, ["sh", "bash --norc", "echo ba''ck"], "{sources:?}");
    assert!(!pty.screen().contains("7~"), "{}", pty.screen());
    assert_eq!(container.exec(&["cat", "/data/keep"]), "precious\n");
}
