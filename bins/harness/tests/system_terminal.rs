//! A person at a terminal: kubectl and dockctl on a pseudo-terminal that the test types into.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a failed unwrap is a failed test"
)]

use std::{process::Command, time::Duration};

use dockin_harness::{
    Container, House, HouseOptions, Input, Kubectl, Pty, Transport, eventually, finish,
};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(40);
const PROMPT: &str = "# ";

fn house() -> (House, Container) {
    let house = House::start(&HouseOptions::default());
    let script = "mkdir -p /data; echo precious > /data/keep; exec sleep 2147483647";
    let container = house.docker().container(&[], &["sh", "-c", script]);
    assert!(eventually(SOON, || container.exec(&["cat", "/data/keep"])
        == "precious\n"));
    (house, container)
}

/// The commands that open a shell on a terminal: kubectls of several ages, and dockctl.
fn shells(house: &House, container: &Container) -> Vec<(String, Command)> {
    let mut all = Vec::new();
    let kubectls = Kubectl::all();
    let (oldest, newest) = (
        kubectls
            .iter()
            .min_by_key(|kubectl| kubectl.minor())
            .unwrap(),
        kubectls
            .iter()
            .max_by_key(|kubectl| kubectl.minor())
            .unwrap(),
    );
    for kubectl in [&kubectls[0], oldest, newest] {
        for transport in kubectl.transports() {
            let mut command = house.kubectl(kubectl, *transport);
            command.args(["exec", "-it", container.name(), "--", "sh"]);
            all.push((
                format!("kubectl 1.{} {transport:?}", kubectl.minor()),
                command,
            ));
        }
    }
    let mut dockctl = house.dockctl();
    dockctl.args(["exec", "-it", container.name(), "--", "sh"]);
    all.push(("dockctl".to_owned(), dockctl));
    all
}

fn start(which: &str, command: &Command) -> (Pty, usize) {
    let pty = Pty::spawn(command);
    let seen = eventually(SOON, || pty.screen().contains(PROMPT));
    assert!(seen, "{which} shows no prompt: {}", pty.screen());
    let shown = pty.screen().len();
    (pty, shown)
}

/// Types a line and waits until `text` is there and the shell prompts again.
fn type_line(pty: &mut Pty, shown: usize, line: &str, text: &str) -> usize {
    pty.send(line);
    pty.send("\r");
    let answered = pty.expect(shown, text);
    if pty.screen()[shown..]
        .split_once(text)
        .is_some_and(|(_, behind)| behind.contains(PROMPT))
    {
        return answered;
    }
    pty.expect(answered, PROMPT)
}

fn session_of(audit: &[Value], pod: &str) -> String {
    let start = audit
        .iter()
        .rfind(|event| event["event"] == "session.start" && event["target"]["pod"] == pod);
    start.unwrap_or_else(|| panic!("no session in {audit:#?}"))["session"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[test]
fn a_shell_works_is_policed_and_written_down() {
    let (house, container) = house();
    for (which, command) in shells(&house, &container) {
        let (mut pty, shown) = start(&which, &command);
        let shown = type_line(&mut pty, shown, "echo he''llo", "\nhello");

        let shown = type_line(&mut pty, shown, "rm -rf /data", "no-delete");
        let shown = type_line(&mut pty, shown, "cat /data/keep; echo go''es on", "goes on");
        assert!(
            pty.screen().contains("\nprecious"),
            "{which}: {}",
            pty.screen()
        );

        pty.send("exit 7\r");
        pty.expect(shown, "exit 7");
        assert_eq!(pty.exit_code(), Some(7), "{which}: {}", pty.screen());

        let ended = |audit: &[Value]| {
            let session = session_of(audit, container.name());
            let end =
                |event: &&Value| event["event"] == "session.end" && event["session"] == session;
            audit.iter().find(end).cloned()
        };
        assert!(
            eventually(SOON, || ended(&house.audit()).is_some()),
            "{which}: no end"
        );
        let audit = house.audit();
        assert_eq!(ended(&audit).unwrap()["exit_status"], 7, "{which}");
        let session = session_of(&audit, container.name());
        let events: Vec<&Value> = audit
            .iter()
            .filter(|event| event["session"] == session.as_str())
            .collect();
        for event in &events {
            assert_eq!(event["principal"]["user"], "alice", "{event}");
            assert_eq!(event["target"]["cluster"], "local", "{event}");
            assert_eq!(event["target"]["namespace"], "default", "{event}");
            assert_eq!(event["target"]["pod"], container.name(), "{event}");
            assert_eq!(event["target"]["container"], container.name(), "{event}");
            assert!(
                event["client"].as_str().unwrap().starts_with("127.0.0.1:"),
                "{event}"
            );
            assert!(event["time"].as_str().unwrap().starts_with("20"), "{event}");
        }
        let start = events
            .iter()
            .find(|event| event["event"] == "session.start")
            .unwrap();
        assert_eq!(
            (&start["tty"], &start["verb"]),
            (&Value::Bool(true), &"exec".into()),
            "{start}"
        );
        assert_eq!(start["argv"], serde_json::json!(["sh"]), "{start}");
        let lines = |kind: &str| -> Vec<&str> {
            let of_kind = events.iter().filter(|event| event["event"] == kind);
            of_kind.filter_map(|event| event["line"].as_str()).collect()
        };
        assert_eq!(
            lines("command.verdict"),
            ["echo he''llo", "cat /data/keep; echo go''es on", "exit 7"],
            "{which}"
        );
        assert_eq!(lines("command.refused"), ["rm -rf /data"], "{which}");
        let refused = events
            .iter()
            .find(|event| event["event"] == "command.refused")
            .unwrap();
        assert_eq!(
            (&refused["rule"], &refused["decision"]),
            (&"no-delete".into(), &"deny".into())
        );
    }
    assert_eq!(container.exec(&["cat", "/data/keep"]), "precious\n");
}

#[test]
fn the_terminals_size_follows() {
    let (house, container) = house();
    for (which, command) in shells(&house, &container) {
        let (mut pty, mut shown) = start(&which, &command);
        for (columns, rows) in [(80, 24), (100, 40), (33, 10)] {
            pty.resize(columns, rows);
            let wanted = format!("{rows} {columns}");
            // A size takes its own way, so it may come after the line.
            let seen = eventually(SOON, || {
                pty.send("stty size\r");
                eventually(Duration::from_secs(2), || {
                    pty.screen()[shown..].contains(&wanted)
                })
            });
            assert!(
                seen,
                "{which}: {wanted} is not on the screen: {}",
                pty.screen()
            );
            shown = pty.screen().len();
        }
        pty.send("exit\r");
        assert_eq!(pty.exit_code(), Some(0), "{which}");
    }
}

#[test]
fn an_interrupt_ends_the_command_and_not_the_shell() {
    let (house, container) = house();
    for (which, command) in shells(&house, &container) {
        let (mut pty, shown) = start(&which, &command);
        pty.send("sleep 1234\r");
        let sleeps = || {
            container
                .processes()
                .iter()
                .any(|line| line.ends_with("sleep 1234"))
        };
        assert!(eventually(SOON, sleeps), "{which}: {}", pty.screen());
        pty.send("\x03");
        assert!(eventually(SOON, || !sleeps()), "{which}: {}", pty.screen());
        let shown = pty.expect(shown, PROMPT);
        let _shown = type_line(&mut pty, shown, "echo ba''ck", "\nback");
        // The end of input ends the shell with the status of the last command.
        pty.send("\x04");
        assert_eq!(pty.exit_code(), Some(0), "{which}: {}", pty.screen());
    }
}

#[test]
fn a_pasted_block_is_judged_line_by_line() {
    let (house, container) = house();
    for (which, command) in shells(&house, &container) {
        let (mut pty, shown) = start(&which, &command);
        pty.send("echo o''ne; echo t''wo\nrm -rf /data\necho th''ree\n");
        let _shown = pty.expect(shown, "\ntwo");
        let shown = pty.expect(shown, "no-delete");
        // Whether what stands behind a refused line runs is not promised; that the shell is
        // there is.
        assert!(
            eventually(SOON, || {
                pty.send("\recho al''ive\r");
                eventually(Duration::from_secs(2), || {
                    pty.screen()[shown..].contains("\nalive")
                })
            }),
            "{which}: {}",
            pty.screen()
        );
        assert_eq!(
            container.exec(&["cat", "/data/keep"]),
            "precious\n",
            "{which}"
        );
        pty.kill();
    }
}

#[test]
fn refused_lines_do_not_run_however_they_are_typed() {
    let (house, container) = house();
    let tries: [(&str, &str); 9] = [
        ("edited", "rx -rf /data\x1b[H\x1b[C\x1b[C\x7fm"),
        ("with backspaces", "rmm\x7f -rf /data"),
        ("quoted", "r'm' -rf /data"),
        ("with a path", "/bin/rm -rf /data"),
        ("behind another command", "true; rm -rf /data"),
        ("by busybox", "busybox rm -rf /data"),
        ("by a shell", "sh -c 'rm -rf /data'"),
        ("by xargs", "echo /data | xargs rm -rf"),
        ("right of the cursor", "m -rf /data\x01r\x05"),
    ];
    for transport in [Transport::WebSocket, Transport::Spdy] {
        let arguments = ["exec", "-it", container.name(), "--", "sh"];
        let (mut pty, _) = start("kubectl", &house.preferred(transport, &arguments));
        for (how, keys) in tries {
            let shown = pty.screen().len();
            pty.send(keys);
            std::thread::sleep(Duration::from_millis(300));
            pty.send("\r");
            std::thread::sleep(Duration::from_millis(300));
            // Whatever became of the line, the next one is a line of its own.
            pty.send("\x03");
            let mark = format!("mark-{}", how.replace(' ', "-"));
            assert!(
                eventually(SOON, || {
                    pty.send(&format!("echo \"\"{mark}\r"));
                    let line = format!("\n{mark}");
                    eventually(Duration::from_secs(2), || {
                        pty.screen()[shown..].contains(&line)
                    })
                }),
                "{how}: {}",
                pty.screen()
            );
            let kept = container.exec(&["cat", "/data/keep"]);
            assert_eq!(
                kept,
                "precious\n",
                "{how} got through: {}",
                &pty.screen()[shown..]
            );
        }
    }
}

#[test]
fn history_brings_no_refused_line_back() {
    let (house, container) = house();
    let arguments = ["exec", "-it", container.name(), "--", "sh"];
    let (mut pty, shown) = start(
        "kubectl",
        &house.preferred(Transport::WebSocket, &arguments),
    );
    let shown = type_line(&mut pty, shown, "rm -rf /data", "no-delete");
    pty.send("\x1b[A");
    std::thread::sleep(Duration::from_millis(500));
    pty.send("\r");
    std::thread::sleep(Duration::from_secs(1));
    pty.send("\x03");
    assert!(
        eventually(SOON, || {
            pty.send("echo al''ive\r");
            eventually(Duration::from_secs(2), || {
                pty.screen()[shown..].contains("\nalive")
            })
        }),
        "{}",
        pty.screen()
    );
    assert_eq!(
        container.exec(&["cat", "/data/keep"]),
        "precious\n",
        "{}",
        pty.screen()
    );
}

#[test]
fn answers_of_the_terminal_are_not_taken_for_typing() {
    // busybox asks for the cursor's position after its prompt; a real terminal answers.
    let (house, container) = house();
    let arguments = ["exec", "-it", container.name(), "--", "sh"];
    for transport in [Transport::WebSocket, Transport::Spdy] {
        let (mut pty, mut shown) = start("kubectl", &house.preferred(transport, &arguments));
        for (line, text) in [
            ("echo o''ne", "\none"),
            ("rm -rf /data", "no-delete"),
            ("echo t''wo", "\ntwo"),
        ] {
            pty.send("\x1b[1;5R");
            std::thread::sleep(Duration::from_millis(200));
            shown = type_line(&mut pty, shown, line, text);
        }
        pty.send("\x1b[9;5Rexit 5\r");
        assert_eq!(pty.exit_code(), Some(5), "{}", pty.screen());
        assert_eq!(container.exec(&["cat", "/data/keep"]), "precious\n");
    }
}

#[test]
fn full_screen_programs_get_their_keys() {
    let (house, container) = house();
    let arguments = ["exec", "-it", container.name(), "--", "sh"];
    for transport in [Transport::WebSocket, Transport::Spdy] {
        let (mut pty, shown) = start("kubectl", &house.preferred(transport, &arguments));
        // Without a size vi asks the terminal for it, and takes the next keys for the answer.
        assert!(eventually(SOON, || {
            pty.send("stty size\r");
            eventually(Duration::from_secs(1), || {
                pty.screen()[shown..].contains("24 80")
            })
        }));
        let shown = pty.screen().len();
        let file = format!("/tmp/{transport:?}");
        pty.send(&format!("vi {file}\r"));
        let shown = pty.expect(shown, "~");
        // As a person types: busybox's vi drops what follows an escape at once.
        for keys in ["i", "some words", "\x1b", ":wq\r"] {
            pty.send(keys);
            std::thread::sleep(Duration::from_millis(400));
        }
        let wrote = || container.exec(&["cat", &file]) == "some words\n";
        assert!(eventually(SOON, wrote), "{transport:?}: {}", pty.screen());
        let shown = pty.expect(shown, PROMPT);
        let shown = type_line(&mut pty, shown, "rm -rf /data", "no-delete");
        let _shown = type_line(&mut pty, shown, "echo al''ive", "\nalive");
        assert_eq!(container.exec(&["cat", "/data/keep"]), "precious\n");
        pty.kill();
    }
}

#[test]
fn a_command_on_a_terminal_that_just_ends_shows_all_of_its_output() {
    let (house, container) = house();
    for transport in [Transport::WebSocket, Transport::Spdy] {
        for _ in 0..10 {
            let script = "seq 1 3000; exit 11";
            let arguments = ["exec", "-it", container.name(), "--", "sh", "-c", script];
            let mut pty = Pty::spawn(&house.preferred(transport, &arguments));
            assert_eq!(pty.exit_code(), Some(11), "{}", pty.screen());
            assert!(
                eventually(SOON, || pty.screen().contains("\n3000\r\n")),
                "{}",
                pty.screen()
            );
            let numbers: Vec<String> = pty
                .screen()
                .lines()
                .filter(|l| l.parse::<u32>().is_ok())
                .map(str::to_owned)
                .collect();
            assert_eq!(numbers.len(), 3000);
        }
    }
}

#[test]
fn dockctl_tells_the_trail_of_a_session() {
    let (house, container) = house();
    let mut command = house.dockctl();
    command.args(["exec", "-it", container.name(), "--", "sh"]);
    let (mut pty, shown) = start("dockctl", &command);
    let shown = type_line(&mut pty, shown, "echo he''llo", "\nhello");
    let _shown = type_line(&mut pty, shown, "rm -rf /data", "no-delete");
    pty.send("exit 0\r");
    assert_eq!(pty.exit_code(), Some(0));
    let search = |arguments: &[&str]| {
        let mut command = house.dockctl();
        command
            .args(["audit", "search", "--pod", container.name()])
            .args(arguments);
        let got = finish(&mut command, Input::Nothing, SOON);
        assert_eq!(got.code, Some(0), "{}", got.stderr);
        got.text()
    };
    assert!(eventually(SOON, || search(&[]).contains("session.end")
        || search(&[]).contains("SES-002")));
    let refused = search(&["--code", "CMD-002", "-o", "json"]);
    let refused: Value = serde_json::from_str(refused.lines().next().unwrap())
        .unwrap_or_else(|_| serde_json::from_str::<Value>(&refused).unwrap()[0].clone());
    assert_eq!(
        (&refused["line"], &refused["rule"]),
        (&"rm -rf /data".into(), &"no-delete".into())
    );
    assert!(search(&["--user", "alice"]).contains("rm -rf /data"));
    assert!(!search(&["--user", "bob"]).contains("rm -rf /data"));
}
