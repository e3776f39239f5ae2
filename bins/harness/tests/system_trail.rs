//! What a session leaves behind: a trail that verifies, and a recording that plays.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a failed unwrap is a failed test"
)]

use std::{
    fs, os::unix::fs::PermissionsExt as _, path::PathBuf, process::Command, thread, time::Duration,
};

use dockin_harness::{
    Container, Finished, House, HouseOptions, Input, Pty, Transport, eventually, finish,
};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_secs(40);
const AUDIT: &str = "\naudit: audit/audit.jsonl\n";

/// A house that records into `recordings`, encrypted, with what is typed.
fn house() -> (House, Container) {
    let recording = "recording: { directory: recordings, input: true, key: recording.key }\n";
    with(vec![(AUDIT.to_owned(), format!("{AUDIT}{recording}"))])
}

fn with(edits: Vec<(String, String)>) -> (House, Container) {
    let options = HouseOptions {
        edits,
        prepare: Some(|data| {
            let key = data.join("recording.key");
            fs::write(&key, "5a".repeat(32)).unwrap();
            fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        }),
        ..HouseOptions::default()
    };
    let house = House::start(&options);
    let script = "mkdir -p /data; echo precious > /data/keep; exec sleep 2147483647";
    let container = house.docker().container(&[], &["sh", "-c", script]);
    assert!(eventually(SOON, || container.exec(&["cat", "/data/keep"])
        == "precious\n"));
    (house, container)
}

fn dockctl(house: &House, arguments: &[&str]) -> Finished {
    finish(house.dockctl().args(arguments), Input::Nothing, LIMIT)
}

fn trail(house: &House) -> PathBuf {
    house.data().join("audit/audit.jsonl")
}

fn verify(house: &House) -> Finished {
    let key = house.data().join("audit/audit.key.pub");
    let (trail, key) = (
        trail(house).display().to_string(),
        key.display().to_string(),
    );
    dockctl(house, &["audit", "verify", &trail, "--key", &key])
}

/// `dockctl session VERB` with the house's recordings and key.
fn session(house: &House, verb: &str, more: &[&str]) -> Finished {
    let directory = house.data().join("recordings").display().to_string();
    let key = house.data().join("recording.key").display().to_string();
    let mut arguments = vec!["session", verb, "--directory", &directory, "--key", &key];
    arguments.extend(more);
    dockctl(house, &arguments)
}

fn recordings(house: &House) -> Vec<Value> {
    let listed = session(house, "list", &["--output", "json"]);
    assert_eq!(listed.code, Some(0), "{}", listed.stderr);
    listed
        .text()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn shell(house: &House, container: &Container) -> (Pty, usize) {
    let arguments = ["exec", "-it", container.name(), "--", "sh"];
    let pty = Pty::spawn(&house.preferred(Transport::WebSocket, &arguments));
    let shown = pty.expect(0, "# ");
    (pty, shown)
}

#[test]
fn a_session_leaves_a_trail_that_verifies_and_a_recording_that_replays() {
    let (house, container) = house();
    let (mut pty, shown) = shell(&house, &container);
    pty.send("echo fi''rst\r");
    let shown = pty.expect(shown, "first");
    pty.send("rm -rf /data\r");
    let shown = pty.expect(shown, "no-delete");
    pty.send("read -s -p 'Password: ' x; echo re''ad ${#x}\r");
    let shown = pty.expect(shown, "Password: ");
    thread::sleep(Duration::from_millis(500));
    pty.send("hunter2-unseen\r");
    let shown = pty.expect(shown, "read 14");
    pty.send("exit 3\r");
    pty.expect(shown, "exit 3");
    assert_eq!(pty.exit_code(), Some(3), "{}", pty.screen());
    let stored = || {
        let audit = house.audit();
        audit.into_iter().find(|event| event["code"] == "REC-001")
    };
    assert!(
        eventually(SOON, || stored().is_some()),
        "{:#?}",
        house.audit()
    );
    let stored = stored().unwrap();

    let listed = recordings(&house);
    assert_eq!(listed.len(), 1);
    let id = stored["session"].as_str().unwrap();
    assert_eq!(
        (&listed[0]["session"], &listed[0]["bytes"]),
        (&stored["session"], &stored["bytes"])
    );
    assert_eq!(listed[0]["by"]["user"], "alice");
    assert_eq!(listed[0]["by"]["pod"], container.name());
    let file = listed[0]["file"].as_str().unwrap();
    let sum = Command::new("sha256sum").arg(file).output().unwrap().stdout;
    assert!(
        String::from_utf8(sum)
            .unwrap()
            .starts_with(stored["sha256"].as_str().unwrap())
    );

    let played = session(&house, "replay", &[id, "--speed", "0"]);
    assert_eq!(played.code, Some(0), "{}", played.stderr);
    for seen in ["first", "no-delete", "Password: ", "read 14", "exit 3"] {
        assert!(played.text().contains(seen), "{seen}: {}", played.text());
    }
    assert!(!played.stderr.contains("cut off"), "{}", played.stderr);
    let cast = session(&house, "replay", &[id, "--cast"]).text();
    let events: Vec<Value> = cast
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(events[0]["version"], 3);
    let of = |code: &str| -> Vec<&str> {
        let all = events.iter().skip(1).filter(|event| event[1] == code);
        all.map(|event| event[2].as_str().unwrap()).collect()
    };
    let markers = of("m");
    assert!(markers[0].starts_with("1 allow: echo"), "{markers:?}");
    assert!(
        markers[1].starts_with("2 deny: rm -rf /data [no-delete]"),
        "{markers:?}"
    );
    assert_eq!(of("x"), ["3"]);
    let typed = of("i").concat();
    assert!(
        typed.contains("rm -rf /data\r") && typed.contains("[hidden input]\r"),
        "{typed:?}"
    );
    assert!(!cast.contains("hunter2"), "{cast}");
    let jumped = session(&house, "replay", &[id, "--from", "5", "--idle", "0.1"]);
    assert_eq!(jumped.code, Some(0), "{}", jumped.stderr);
    let none = dockctl(&house, &["session", "replay", file]);
    assert_eq!(none.code, Some(1));
    assert!(
        none.stderr.contains("encrypted with key"),
        "{}",
        none.stderr
    );

    let found = dockctl(
        &house,
        &["audit", "search", "--program", "rm", "--verdict", "deny"],
    );
    assert!(
        found.text().contains("rm -rf /data"),
        "{}{}",
        found.text(),
        found.stderr
    );
    assert_eq!(found.text().lines().count(), 2, "{}", found.text());
    let verified = verify(&house);
    assert_eq!(
        verified.code,
        Some(0),
        "{}{}",
        verified.text(),
        verified.stderr
    );
    assert!(verified.text().contains("intact"), "{}", verified.text());

    let text = fs::read_to_string(trail(&house)).unwrap();
    assert!(!text.contains("hunter2"));
    fs::write(
        trail(&house),
        text.replace("\"decision\":\"deny\"", "\"decision\":\"alow\""),
    )
    .unwrap();
    let changed = verify(&house);
    assert_eq!(changed.code, Some(65), "{}", changed.text());
    assert!(changed.text().contains("was changed"), "{}", changed.text());
}

#[test]
fn two_sessions_at_once_are_two_recordings_and_one_trail() {
    let (house, container) = house();
    let (mut one, shown_one) = shell(&house, &container);
    let (mut two, shown_two) = shell(&house, &container);
    for number in 0..5 {
        one.send(&format!("echo one-{number}\r"));
        two.send(&format!("echo two-{number}\r"));
        thread::sleep(Duration::from_millis(300));
    }
    one.expect(shown_one, "\none-4");
    two.expect(shown_two, "\ntwo-4");
    for pty in [&mut one, &mut two] {
        pty.send("exit\r");
        assert_eq!(pty.exit_code(), Some(0), "{}", pty.screen());
    }
    let stored = || {
        house
            .audit()
            .iter()
            .filter(|event| event["code"] == "REC-001")
            .count()
    };
    assert!(eventually(SOON, || stored() == 2), "{:#?}", house.audit());
    let listed = recordings(&house);
    let played: Vec<String> = listed
        .iter()
        .map(|it| {
            session(
                &house,
                "replay",
                &[it["session"].as_str().unwrap(), "--speed", "0"],
            )
            .text()
        })
        .collect();
    assert_eq!(played.len(), 2);
    for (text, (own, other)) in played.iter().zip([("one-4", "two-"), ("two-4", "one-")]) {
        assert!(text.contains(own) && !text.contains(other), "{text}");
    }
    let verified = verify(&house);
    assert_eq!(verified.code, Some(0), "{}", verified.text());
}

#[test]
fn a_gateway_that_is_killed_leaves_both_readable() {
    let (mut house, container) = house();
    let (mut pty, shown) = shell(&house, &container);
    pty.send("echo be''fore\r");
    let shown = pty.expect(shown, "before");
    thread::sleep(Duration::from_secs(2));
    pty.send("echo la''st\r");
    pty.expect(shown, "last");
    house.gateway().kill();
    pty.kill();
    let verified = verify(&house);
    assert_eq!(verified.code, Some(0), "{}", verified.text());
    let listed = recordings(&house);
    let played = session(
        &house,
        "replay",
        &[listed[0]["session"].as_str().unwrap(), "--speed", "0"],
    );
    assert_eq!(played.code, Some(0), "{}", played.stderr);
    assert!(played.text().contains("before"), "{}", played.text());
    assert!(played.stderr.contains("cut off"), "{}", played.stderr);
    assert!(
        house
            .audit()
            .iter()
            .any(|event| event["line"] == "echo la''st")
    );
    house.restart_gateway();
    let got = finish(
        &mut house.preferred(
            Transport::WebSocket,
            &["exec", container.name(), "--", "true"],
        ),
        Input::Nothing,
        LIMIT,
    );
    assert_eq!(got.code, Some(0), "{}", got.stderr);
    house.gateway().stop();
    let verified = verify(&house);
    assert_eq!(verified.code, Some(0), "{}", verified.text());
}

/// A directory of 128 KiB of its own, gone with the test.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=128k,mode=700", "none"]);
        assert!(
            mount.arg(folder.path()).status().unwrap().success(),
            "mount: needs root"
        );
        Self(folder)
    }

    fn fill(&self) {
        let full = fs::write(self.0.path().join("filler"), vec![0; 1 << 20]);
        assert!(full.is_err());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _gone = Command::new("umount")
            .arg("--lazy")
            .arg(self.0.path())
            .status();
    }
}

#[test]
fn without_room_for_the_trail_strict_runs_nothing_and_best_effort_says_what_is_lost() {
    for (mode, code) in [("strict", Some(1)), ("best-effort", Some(0))] {
        let disk = SmallDisk::mount();
        let file = disk.0.path().join("audit.jsonl");
        let audit = format!(
            "\naudit: {{ file: \"{}\", mode: {mode} }}\n",
            file.display()
        );
        let (house, container) = with(vec![(AUDIT.to_owned(), audit)]);
        let run = || {
            let arguments = ["exec", container.name(), "--", "touch", "/data/ran"];
            finish(
                &mut house.preferred(Transport::WebSocket, &arguments),
                Input::Nothing,
                LIMIT,
            )
        };
        disk.fill();
        let got = run();
        assert_eq!(got.code, code, "{mode}: {}", got.stderr);
        let ran = container.exec(&["ls", "/data"]).contains("ran");
        assert_eq!(ran, mode == "best-effort", "{mode}");
        fs::remove_file(disk.0.path().join("filler")).unwrap();
        assert_eq!(run().code, Some(0), "{mode}");
        let text = fs::read_to_string(&file).unwrap();
        assert_eq!(
            text.contains("\"AUD-003\""),
            mode == "best-effort",
            "{text}"
        );
        let verified = dockctl(&house, &["audit", "verify", &file.display().to_string()]);
        assert_eq!(verified.code, Some(0), "{}", verified.text());
    }
}

#[test]
fn without_room_for_recordings_strict_opens_no_session() {
    let disk = SmallDisk::mount();
    let recording = format!(
        "recording: {{ directory: \"{}\" }}\n",
        disk.0.path().display()
    );
    let (house, container) = with(vec![(AUDIT.to_owned(), format!("{AUDIT}{recording}"))]);
    let (mut pty, shown) = shell(&house, &container);
    disk.fill();
    // What cannot be recorded ends the session.
    for _ in 0..40 {
        pty.send("head -c 3000 /dev/urandom | base64\r");
        thread::sleep(Duration::from_millis(100));
        if pty.screen().contains("cannot be recorded") {
            break;
        }
    }
    pty.expect(shown, "cannot be recorded");
    let arguments = ["exec", container.name(), "--", "touch", "/data/ran"];
    let got = finish(
        &mut house.preferred(Transport::WebSocket, &arguments),
        Input::Nothing,
        LIMIT,
    );
    assert_eq!(got.code, Some(1), "{}", got.stderr);
    assert!(!container.exec(&["ls", "/data"]).contains("ran"));
    let failures = house
        .audit()
        .iter()
        .filter(|event| event["code"] == "FLR-001")
        .count();
    assert!(failures >= 1, "{:#?}", house.audit());
}
