//! A recording plays in asciinema's own player, and looks there as it does in our replay.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::expect_used,
    missing_docs,
    reason = "a failed unwrap is a failed test"
)]

use std::{
    env, fs,
    num::NonZero,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use dockin_harness::{Finished, House, HouseOptions, Input, Pty, Transport, eventually, finish};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_secs(40);
const AUDIT: &str = "\naudit: audit/audit.jsonl\n";

/// What asciinema's player shows at the end of the cast in `file`.
fn played_by_asciinema(file: &Path) -> Value {
    let folder = env::var_os("DOCKIN_TEST_ASCIINEMA_PLAYER").expect(
        "DOCKIN_TEST_ASCIINEMA_PLAYER: run these tests by `cargo xtask test`, or take the exports \
         of `cargo xtask servers`",
    );
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/asciinema_player/play.mjs");
    let mut node = Command::new("node");
    node.arg(script).arg(folder).arg(file);
    let played = finish(&mut node, Input::Nothing, LIMIT);
    assert_eq!(played.code, Some(0), "{}", played.stderr);
    serde_json::from_str(&played.text()).unwrap()
}

/// The lines of a terminal of that size behind `output`.
fn drawn(output: &[u8], (columns, rows): (u16, u16)) -> Vec<String> {
    let sized = |size| NonZero::new(size).unwrap();
    let mut terminal = vt100::Parser::new(sized(rows), sized(columns), 0);
    terminal.process(output);
    let screen = terminal.screen();
    screen
        .rows(0, columns)
        .map(|line| line.trim_end().to_owned())
        .collect()
}

fn replay(house: &House, session: &str, more: &[&str]) -> Finished {
    let directory = house.data().join("recordings").display().to_string();
    let mut command = house.dockctl();
    command.args(["session", "replay", session, "--directory", &directory]);
    let replayed = finish(command.args(more), Input::Nothing, LIMIT);
    assert_eq!(replayed.code, Some(0), "{}", replayed.stderr);
    replayed
}

/// A session in which colours, wide characters, wrapped lines, a full screen and a refusal were
/// seen, and the id of its recording.
fn record(house: &House) -> String {
    let container = house.docker().container(&[], &["sleep", "2147483647"]);
    let arguments = ["exec", "-it", container.name(), "--", "sh"];
    let mut pty = Pty::spawn(&house.preferred(Transport::WebSocket, &arguments));
    let mut shown = pty.expect(0, "# ");
    for (line, seen) in [
        ("printf 'first\\033[1;31m red\\033[0m\\n'", "first"),
        (
            "printf 'w\\303\\266rld \\344\\270\\226\\347\\225\\214\\n'",
            "wörld",
        ),
        ("printf '%0200d\\n' 7", "0007"),
        ("printf '\\033[?1049h\\033[2Jhidden\\033[?1049l'", "hidden"),
        ("printf '\\033[18;10Hplaced\\n'", "placed"),
        ("rm -rf /data", "no-delete"),
        ("printf 'a\\tb\\rc\\n'", "c"),
    ] {
        pty.send(line);
        shown = pty.expect(shown, line.split(' ').next().unwrap());
        pty.send("\r");
        shown = pty.expect(shown, seen);
        thread::sleep(Duration::from_millis(200));
    }
    pty.send("exit 0\r");
    pty.expect(shown, "exit 0");
    assert_eq!(pty.exit_code(), Some(0), "{}", pty.screen());
    let stored = || {
        let audit = house.audit();
        audit.into_iter().find(|event| event["code"] == "REC-001")
    };
    assert!(eventually(SOON, || stored().is_some()));
    stored().unwrap()["session"].as_str().unwrap().to_owned()
}

#[test]
fn a_recording_looks_in_asciinemas_player_as_in_our_replay() {
    let recording = "recording: { directory: recordings, input: true }\n";
    let house = House::start(&HouseOptions {
        edits: vec![(AUDIT.to_owned(), format!("{AUDIT}{recording}"))],
        ..HouseOptions::default()
    });
    let session = record(&house);
    let cast = replay(&house, &session, &["--cast"]).text();
    let file = house.scratch().join("session.cast");
    fs::write(&file, &cast).unwrap();
    let played = played_by_asciinema(&file);

    let number = |value: &Value| -> u16 {
        let text = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        text.parse().unwrap()
    };
    let size = (number(&played["size"][0]), number(&played["size"][1]));
    let ours = drawn(&replay(&house, &session, &["--speed", "0"]).stdout, size);
    let theirs: Vec<&str> = played["lines"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| line.as_str().unwrap())
        .collect();
    assert_eq!(ours, theirs);
    let text = theirs.join("\n");
    for seen in ["first red", "wörld 世界", "placed", "no-delete", "exit 0"] {
        assert!(text.contains(seen), "{seen} is not in:\n{text}");
    }
    assert!(!text.contains("hidden\n"), "{text}");

    // A marker at each judged line, at the time that the cast says.
    let events: Vec<Value> = cast
        .lines()
        .skip(1)
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let mut time = 0.0;
    let mut marked = Vec::new();
    for event in &events {
        time += event[0].as_f64().unwrap();
        if event[1] == "m" {
            marked.push((time, event[2].clone()));
        }
    }
    let markers = played["markers"].as_array().unwrap();
    assert_eq!(marked.len(), 8, "{marked:?}");
    assert_eq!(markers.len(), marked.len());
    for (marker, (time, label)) in markers.iter().zip(&marked) {
        assert!((marker[0].as_f64().unwrap() - time).abs() < 1e-6);
        assert_eq!(marker[1], *label);
    }
    assert!((played["duration"].as_f64().unwrap() - time).abs() < 1e-6);
}

#[test]
fn what_is_no_cast_is_refused_by_the_player() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("no.cast");
    fs::write(&file, "{\"version\":9}\n").unwrap();
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/asciinema_player/play.mjs");
    let player = env::var_os("DOCKIN_TEST_ASCIINEMA_PLAYER").expect("the exports of xtask servers");
    let mut node = Command::new("node");
    node.arg(script).arg(player).arg(&file);
    let played = finish(&mut node, Input::Nothing, LIMIT);
    assert_eq!(played.code, Some(1), "{}", played.text());
}
