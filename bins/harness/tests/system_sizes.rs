//! Rules that count for large files only: the container is asked how large a file is before it is
//! opened, and what a copy carries is counted as it passes.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a failed unwrap is a failed test"
)]

use std::{fs, path::PathBuf, time::Duration};

use dockin_harness::{
    Container, Finished, House, HouseOptions, Input, Pty, Transport, eventually, finish,
};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_secs(40);
const BOTH: [Transport; 2] = [Transport::WebSocket, Transport::Spdy];
const AUDIT: &str = "\naudit: audit/audit.jsonl\n";
const RULES: &str = "
rules:
  - { id: no-big-files, effect: forbid, commands: [cat, vi], size_over: 10KiB, message: use the viewer }
  - { id: no-big-copies, effect: forbid, commands: [tar], size_over: 100KiB, message: use the store }
";

/// A house with these rules, and a container with small and large files.
fn house() -> (House, Container) {
    let recording = "recording: { directory: recordings }\n";
    let house = House::start(&HouseOptions {
        rules: Some(RULES.to_owned()),
        edits: vec![(AUDIT.to_owned(), format!("{AUDIT}{recording}"))],
        ..HouseOptions::default()
    });
    let script = "mkdir -p /data/tree; cd /data; echo little > small; \
                  head -c 20000 /dev/zero > large; head -c 90000 /dev/zero > tree/one; \
                  head -c 90000 /dev/zero > tree/two; echo ready > done; exec sleep 2147483647";
    let container = house.docker().container(&[], &["sh", "-c", script]);
    assert!(eventually(SOON, || {
        container.exec(&["cat", "/data/done"]) == "ready\n"
    }));
    (house, container)
}

fn exec(house: &House, container: &Container, transport: Transport, argv: &[&str]) -> Finished {
    let mut command = house.preferred(transport, &["exec", container.name(), "--"]);
    finish(command.args(argv), Input::Nothing, LIMIT)
}

fn copy(house: &House, transport: Transport, from: &str, to: &str) -> Finished {
    let mut command = house.preferred(transport, &["cp", from, to]);
    finish(&mut command, Input::Nothing, LIMIT)
}

fn events(house: &House, event: &str) -> Vec<Value> {
    let all = house.audit().into_iter();
    all.filter(|found| found["event"] == event).collect()
}

/// A file of this machine with so many bytes.
fn file(house: &House, name: &str, size: usize) -> PathBuf {
    let path = house.scratch().join(name);
    fs::write(&path, vec![b'x'; size]).unwrap();
    path
}

#[test]
fn a_command_about_a_large_file_is_refused_and_about_a_small_one_runs() {
    let (house, container) = house();
    for transport in BOTH {
        for argv in [
            &["cat", "/data/small"][..],
            &["sh", "-c", "cd /data && cat ./small"],
        ] {
            let got = exec(&house, &container, transport, argv);
            assert_eq!((got.code, got.text()), (Some(0), "little\n".to_owned()));
        }
        // Nothing is opened where nothing is, and the program says so itself.
        let got = exec(&house, &container, transport, &["cat", "/data/none"]);
        assert!(got.stderr.contains("No such file"), "{}", got.stderr);
        for argv in [
            &["cat", "/data/large"][..],
            &["cat", "/data/small", "/data/../data//large"],
            &["sh", "-c", "cd /data/tree && cat ../large"],
            &["timeout", "9", "vi", "/data/large"],
        ] {
            let got = exec(&house, &container, transport, argv);
            assert_eq!(got.code, Some(1), "{argv:?}: {}", got.stderr);
            assert!(got.stderr.contains("no-big-files"), "{}", got.stderr);
            assert!(got.stderr.contains("use the viewer"), "{}", got.stderr);
        }
        // What has no size, and what nobody knows, is not known.
        for argv in [
            &["cat", "/dev/zero"][..],
            &["sh", "-c", "cat $(ls -t | head -1)"],
        ] {
            let got = exec(&house, &container, transport, argv);
            assert_eq!(got.code, Some(1), "{argv:?}: {}", got.stderr);
            assert!(
                got.stderr
                    .contains("the size of a file that it names is not known"),
                "{}",
                got.stderr
            );
        }
    }
}

#[test]
fn a_line_typed_into_a_shell_waits_until_the_size_is_known() {
    let (house, container) = house();
    let arguments = ["exec", "-it", container.name(), "--", "sh"];
    for transport in BOTH {
        let mut pty = Pty::spawn(&house.preferred(transport, &arguments));
        let shown = pty.expect(0, "# ");
        pty.send("cd /data\r");
        let shown = pty.expect(shown, "# ");
        pty.send("cat large\r");
        let shown = pty.expect(shown, "use the viewer");
        pty.send("cat small\r");
        let shown = pty.expect(shown, "\nlittle");
        // It has grown since.
        let _grown = container.exec(&[
            "sh",
            "-c",
            "cp /data/small /data/s; cat /data/large >> /data/small",
        ]);
        pty.send("cat small\r");
        let shown = pty.expect(shown, "use the viewer");
        let _back = container.exec(&["cp", "/data/s", "/data/small"]);
        pty.send("exit 4\r");
        pty.expect(shown, "exit 4");
        assert_eq!(pty.exit_code(), Some(4), "{}", pty.screen());
    }
    let refused = events(&house, "command.refused");
    assert_eq!(refused.len(), 4, "{refused:#?}");
    assert!(refused.iter().all(|event| event["rule"] == "no-big-files"));
}

#[test]
fn a_copy_that_is_too_large_is_ended_either_way() {
    let (house, container) = house();
    let name = container.name();
    let small = file(&house, "small", 90_000);
    let large = file(&house, "large", 110_000);
    for transport in BOTH {
        let got = copy(
            &house,
            transport,
            &small.display().to_string(),
            &format!("{name}:/data/came"),
        );
        assert_eq!(got.code, Some(0), "{}", got.stderr);
        assert_eq!(
            container.exec(&["wc", "-c", "/data/came"]),
            "90000 /data/came\n"
        );

        let got = copy(
            &house,
            transport,
            &large.display().to_string(),
            &format!("{name}:/data/never"),
        );
        assert_ne!(got.code, Some(0), "{}", got.stderr);
        let told = format!("{}{}", got.text(), got.stderr);
        assert!(told.contains("no-big-copies"), "{transport:?}: {told}");
        assert_ne!(
            container.exec(&["sh", "-c", "wc -c < /data/never"]),
            "110000\n"
        );

        let back = house.scratch().join(format!("back-{transport:?}"));
        let back = back.display().to_string();
        let got = copy(&house, transport, &format!("{name}:/data/came"), &back);
        assert_eq!(got.code, Some(0), "{}", got.stderr);
        assert_eq!(fs::metadata(&back).unwrap().len(), 90_000);
        // A folder counts with all that is in it.
        let got = copy(&house, transport, &format!("{name}:/data/tree"), &back);
        assert_ne!(got.code, Some(0), "{}", got.stderr);
        assert!(got.stderr.contains("no-big-copies"), "{}", got.stderr);
        // One that nobody could ask about beforehand is ended as it passes.
        let argv = ["tar", "cf", "-", "--directory=/data", "tree"];
        let got = exec(&house, &container, transport, &argv);
        assert_ne!(got.code, Some(0));
        assert!(got.stderr.contains("no-big-copies"), "{}", got.stderr);
        assert!(got.stdout.len() < 110_000, "{} bytes", got.stdout.len());
    }
    // The client is told before the end is written down.
    let told = || {
        let ended = events(&house, "session.end").into_iter();
        let told = ended.filter(|event| {
            let reason = event["reason"].as_str().unwrap_or_default();
            reason.contains("no-big-copies")
        });
        told.count()
    };
    assert!(eventually(SOON, || told() == 4), "{:#?}", house.audit());
}

#[test]
fn a_copy_is_in_the_recordings_with_the_names_of_its_files_and_without_what_is_in_them() {
    let (house, container) = house();
    let name = container.name();
    let source = house.scratch().join("notes.txt");
    fs::write(&source, "hunter2-in-a-file").unwrap();
    let source = source.display().to_string();
    let got = copy(
        &house,
        Transport::WebSocket,
        &source,
        &format!("{name}:/data"),
    );
    assert_eq!(got.code, Some(0), "{}", got.stderr);
    let stored = || events(&house, "recording.stored");
    assert!(eventually(SOON, || !stored().is_empty()));
    let directory = house.data().join("recordings").display().to_string();
    let mut casts = String::new();
    for event in stored() {
        let id = event["session"].as_str().unwrap().to_owned();
        let mut command = house.dockctl();
        command.args([
            "session",
            "replay",
            &id,
            "--cast",
            "--directory",
            &directory,
        ]);
        let replayed = finish(&mut command, Input::Nothing, LIMIT);
        assert_eq!(replayed.code, Some(0), "{}", replayed.stderr);
        casts.push_str(&replayed.text());
    }
    assert!(casts.contains("\"m\",\"upload: /data\""), "{casts}");
    assert!(casts.contains("upload notes.txt, 17 bytes"), "{casts}");
    assert!(!casts.contains("hunter2"), "{casts}");
}
