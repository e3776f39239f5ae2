//! What the rules forbid does not run, whoever asks how, and what is written down has no secrets.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a failed unwrap is a failed test"
)]

use std::{fs, thread, time::Duration};

use dockin_harness::{
    Container, Finished, House, HouseOptions, Input, Kubectl, Pty, Transport, eventually, finish,
};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_secs(40);
/// How soon other rules must count.
const RELOAD: Duration = Duration::from_secs(2);
const BOTH: [Transport; 2] = [Transport::WebSocket, Transport::Spdy];

fn house() -> (House, Container) {
    with(&HouseOptions::default())
}

fn with(options: &HouseOptions) -> (House, Container) {
    let house = House::start(options);
    let script = "mkdir -p /data; echo precious > /data/keep; exec sleep 2147483647";
    let container = house.docker().container(&[], &["sh", "-c", script]);
    assert!(eventually(SOON, || container.exec(&["cat", "/data/keep"])
        == "precious\n"));
    (house, container)
}

fn exec(house: &House, container: &Container, transport: Transport, argv: &[&str]) -> Finished {
    let mut command = house.preferred(transport, &["exec", container.name(), "--"]);
    finish(command.args(argv), Input::Nothing, LIMIT)
}

fn count(house: &House, event: &str) -> usize {
    house
        .audit()
        .iter()
        .filter(|found| found["event"] == event)
        .count()
}

#[test]
fn a_forbidden_command_is_refused_in_every_shape_and_written_down_once() {
    let (house, container) = house();
    let mut refused = 0;
    for argv in [
        &["rm", "-rf", "/data"][..],
        &["/bin/rm", "-rf", "/data"],
        &["busybox", "rm", "-rf", "/data"],
        &["env", "A=b", "rm", "-rf", "/data"],
        &["sh", "-c", "rm -rf /data"],
        &["sh", "-c", "true && r''m -rf /data"],
        &["sh", "-c", "sh -c 'rm -rf /data'"],
        &["sh", "-c", "for x in 1; do rm -rf /data; done"],
        &["sh", "-ec", "echo /data | xargs rm -rf"],
        &["timeout", "5", "rm", "-rf", "/data"],
        &["find", "/data", "-exec", "rm", "{}", ";"],
    ] {
        for transport in BOTH {
            let got = exec(&house, &container, transport, argv);
            assert_eq!(got.code, Some(1), "{argv:?}: {}", got.stderr);
            assert!(got.stderr.contains("no-delete"), "{argv:?}: {}", got.stderr);
            assert!(
                got.stderr.to_lowercase().contains("forbidden"),
                "{argv:?}: {}",
                got.stderr
            );
            refused += 1;
            assert_eq!(
                count(&house, "command.refused"),
                refused,
                "{argv:?} {transport:?}"
            );
        }
        assert_eq!(
            container.exec(&["cat", "/data/keep"]),
            "precious\n",
            "{argv:?}"
        );
    }
    assert_eq!(count(&house, "session.start"), 0);
    let audit = house.audit();
    let event = audit
        .iter()
        .find(|event| event["event"] == "command.refused")
        .unwrap();
    assert_eq!(event["code"], "CMD-002");
    assert_eq!(event["argv"], serde_json::json!(["rm", "-rf", "/data"]));
    assert_eq!(
        (&event["rule"], &event["decision"]),
        (&"no-delete".into(), &"deny".into())
    );
    assert_eq!(event["principal"]["user"], "alice");
    assert_eq!(event["target"]["pod"], container.name());
    assert!(event["client"].as_str().unwrap().starts_with("127.0.0.1:"));
}

#[test]
fn one_denial_is_one_record_with_every_kubectl() {
    let (house, container) = house();
    let mut expected = 0;
    for kubectl in Kubectl::all() {
        for transport in kubectl.transports() {
            let mut command = house.kubectl(&kubectl, *transport);
            command.args(["exec", container.name(), "--", "rm", "/data/keep"]);
            let got = finish(&mut command, Input::Nothing, LIMIT);
            assert!(
                got.stderr.contains("no-delete"),
                "1.{}: {}",
                kubectl.minor(),
                got.stderr
            );
            expected += 1;
            let counted = count(&house, "command.refused");
            assert_eq!(counted, expected, "1.{} {transport:?}", kubectl.minor());
        }
    }
}

#[test]
fn what_only_looks_forbidden_runs() {
    let (house, container) = house();
    for (argv, output) in [
        (&["echo", "rm", "-rf", "/data"][..], "rm -rf /data\n"),
        (&["sh", "-c", "echo \"rm -rf /data\""], "rm -rf /data\n"),
        (&["sh", "-c", "farm=1; echo $farm # rm -rf /data"], "1\n"),
        (&["grep", "-c", "rm", "/data/keep"], "0\n"),
        (
            &["sh", "-c", "cat <<EOF\nrm -rf /data\nEOF\n"],
            "rm -rf /data\n",
        ),
    ] {
        for transport in BOTH {
            let got = exec(&house, &container, transport, argv);
            assert_eq!(got.text(), output, "{argv:?}: {}", got.stderr);
        }
    }
    assert_eq!(count(&house, "command.refused"), 0);
}

#[test]
fn what_cannot_be_known_is_refused() {
    let (house, container) = house();
    for argv in [
        &["sh", "-c", "$(echo cm0gLXJmIC9kYXRh | base64 -d)"][..],
        &["sh", "-c", "echo 'rm -rf /data' | sh"],
        &["sh", "-c", "$x -rf /data"],
        &["sh", "-c", "rm -rf /data 'unfinished"],
    ] {
        let got = exec(&house, &container, Transport::WebSocket, argv);
        assert_eq!(got.code, Some(1), "{argv:?}: {}{}", got.text(), got.stderr);
        assert!(
            got.stderr.to_lowercase().contains("forbidden"),
            "{argv:?}: {}",
            got.stderr
        );
    }
    assert_eq!(container.exec(&["cat", "/data/keep"]), "precious\n");
}

#[test]
fn a_piped_script_is_judged_command_by_command() {
    let (house, container) = house();
    let script = b"echo one\nrm -rf /data\nif true; then\n  echo two\nfi\nexit 6\n";
    for transport in BOTH {
        let arguments = ["exec", "-i", container.name(), "--", "sh"];
        let mut command = house.preferred(transport, &arguments);
        let got = finish(&mut command, Input::Bytes(script), LIMIT);
        assert_eq!(got.text(), "one\ntwo\n", "{transport:?}: {}", got.stderr);
        assert!(
            got.stderr.contains("no-delete"),
            "{transport:?}: {}",
            got.stderr
        );
        assert_eq!(got.code, Some(6), "{transport:?}: {}", got.stderr);
        assert_eq!(container.exec(&["cat", "/data/keep"]), "precious\n");
    }
    assert_eq!(count(&house, "command.refused"), 2);
    let unfinished = b"echo one; rm -rf /data";
    let arguments = ["exec", "-i", container.name(), "--", "sh"];
    let mut command = house.preferred(Transport::WebSocket, &arguments);
    let got = finish(&mut command, Input::Bytes(unfinished), LIMIT);
    assert!(got.stderr.contains("no-delete"), "{}", got.stderr);
    assert_eq!(container.exec(&["cat", "/data/keep"]), "precious\n");
}

#[test]
fn a_shell_main_process_is_policed_when_attached_to() {
    let house = House::start(&HouseOptions::default());
    let container = house
        .docker()
        .container(&["--interactive", "--tty"], &["sh"]);
    let _made = container.exec(&["sh", "-c", "mkdir -p /data; echo precious > /data/keep"]);
    for transport in BOTH {
        let arguments = ["attach", "-it", container.name()];
        let mut pty = Pty::spawn(&house.preferred(transport, &arguments));
        assert!(
            eventually(SOON, || {
                pty.send("\r");
                eventually(Duration::from_secs(1), || pty.screen().contains("# "))
            }),
            "{}",
            pty.screen()
        );
        let shown = pty.screen().len();
        pty.send("rm -rf /data\r");
        let shown = pty.expect(shown, "no-delete");
        pty.send("echo al''ive\r");
        pty.expect(shown, "\nalive");
        assert_eq!(container.exec(&["cat", "/data/keep"]), "precious\n");
        pty.kill();
    }
}

#[test]
fn other_rules_count_within_two_seconds_and_wrong_ones_never() {
    let (house, container) = house();
    let path = house.data().join("rules.yaml");
    let original = fs::read_to_string(&path).unwrap();
    let runs =
        |program: &str| exec(&house, &container, Transport::WebSocket, &[program]).code == Some(0);
    let arguments = ["exec", "-it", container.name(), "--", "sh"];
    let mut pty = Pty::spawn(&house.preferred(Transport::WebSocket, &arguments));
    let shown = pty.expect(0, "# ");
    assert!(runs("uname"));

    fs::write(
        &path,
        original.replacen("commands: [rm,", "commands: [uname, rm,", 1),
    )
    .unwrap();
    assert!(eventually(LIMIT, || !runs("uname")));
    assert_eq!(count(&house, "policy.reloaded"), 1);
    // An open shell is judged by them too.
    pty.send("uname\r");
    let shown = pty.expect(shown, "no-delete");

    for wrong in [
        "rules: [",
        "",
        "rules:\n  - id: a\n    effect: maybe\n    commands: [ls]\n",
    ] {
        let before = count(&house, "policy.rejected");
        fs::write(&path, wrong).unwrap();
        let rejected = || count(&house, "policy.rejected") == before + 1;
        assert!(
            eventually(LIMIT, rejected),
            "`{wrong}`: {:#?}",
            house.audit()
        );
        thread::sleep(RELOAD);
        assert!(rejected(), "`{wrong}` is told again and again");
        assert!(
            !runs("uname") && runs("hostname"),
            "`{wrong}` changed something"
        );
    }
    let audit = house.audit();
    let rejected = audit
        .iter()
        .rfind(|event| event["event"] == "policy.rejected")
        .unwrap();
    assert_eq!(rejected["code"], "POL-002");
    assert!(
        rejected["error"]
            .as_str()
            .is_some_and(|error| !error.is_empty()),
        "{rejected}"
    );

    fs::remove_file(&path).unwrap();
    thread::sleep(RELOAD);
    assert!(!runs("uname") && runs("hostname"));

    // As editors and deployments write it: beside, then renamed over.
    let beside = path.with_extension("new");
    fs::write(&beside, &original).unwrap();
    fs::rename(&beside, &path).unwrap();
    assert!(eventually(LIMIT, || runs("uname")));
    pty.send("una''me\r");
    pty.expect(shown, "\nLinux");
}

#[test]
fn no_secret_is_written_down_or_shown() {
    let options = HouseOptions {
        log: Some("trace".to_owned()),
        ..HouseOptions::default()
    };
    let (mut house, container) = with(&options);
    let typed = "hunter2-typed-unseen";
    let option = "hunter2-in-an-option";
    let exported = "hunter2-exported";
    let arguments = ["exec", "-it", container.name(), "--", "sh"];
    for transport in BOTH {
        let mut pty = Pty::spawn(&house.preferred(transport, &arguments));
        let shown = pty.expect(0, "# ");
        pty.send("read -s -p 'Password: ' x; echo re''ad ${#x}\r");
        let shown = pty.expect(shown, "Password: ");
        thread::sleep(Duration::from_millis(500));
        pty.send(typed);
        thread::sleep(Duration::from_millis(300));
        pty.send("\r");
        let shown = pty.expect(shown, &format!("read {}", typed.len()));
        pty.send(&format!("export DB_PASSWORD={exported}\r"));
        thread::sleep(Duration::from_millis(500));
        pty.send("exit 0\r");
        pty.expect(shown, "exit 0");
        assert_eq!(pty.exit_code(), Some(0), "{}", pty.screen());
        let got = exec(
            &house,
            &container,
            transport,
            &["echo", &format!("--password={option}")],
        );
        assert_eq!(got.code, Some(0), "{}", got.stderr);
        // Refused ones are written down too.
        let _refused = exec(
            &house,
            &container,
            transport,
            &["rm", &format!("--password={option}"), "/x"],
        );
    }
    let wrong = "hunter2-wrong-token";
    let file = house.scratch().join("wrong");
    house.write_kubeconfig(wrong, "mallory", &file);
    let mut command = house.preferred(Transport::WebSocket, &["get", "pods"]);
    let _unauthorized = finish(command.env("KUBECONFIG", &file), Input::Nothing, LIMIT);

    // A session is open while the process list is looked at.
    let mut pty = Pty::spawn(&house.preferred(Transport::WebSocket, &arguments));
    pty.expect(0, "# ");
    let mut processes = String::new();
    for pid in [house.gateway().pid(), house.agent().pid(), pty.pid()] {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap();
        processes.push_str(&String::from_utf8_lossy(&line));
    }
    pty.kill();
    let trail = fs::read_to_string(house.data().join("audit/audit.jsonl")).unwrap();
    assert!(trail.contains("[hidden input]"), "{trail}");
    let places = [
        ("the audit trail", trail),
        ("the gateway's log", house.gateway().log()),
        ("the agent's log", house.agent().log()),
        ("a command line", processes),
        (
            "tokens.yaml",
            fs::read_to_string(house.data().join("tokens.yaml")).unwrap(),
        ),
    ];
    let key = fs::read_to_string(house.data().join("tls/server.key")).unwrap();
    let key = key.lines().nth(1).unwrap().to_owned();
    for (place, text) in &places {
        for secret in [typed, option, exported, wrong, house.token(), &key] {
            let at = text.find(secret);
            let around = at.map(|at| {
                text[at.saturating_sub(200)..]
                    .chars()
                    .take(300)
                    .collect::<String>()
            });
            assert_eq!(around, None, "`{secret}` is in {place}");
        }
    }
}

#[test]
fn copies_are_judged_as_what_they_run() {
    let options = HouseOptions {
        rules: Some(
            "name: t\ndefault: allow\non_unknown: deny\nrules:\n  - id: no-tar\n    \
             effect: forbid\n    commands: [tar]\n"
                .to_owned(),
        ),
        ..HouseOptions::default()
    };
    let (house, container) = with(&options);
    let target = house.scratch().join("copy").display().to_string();
    let mut command = house.preferred(
        Transport::WebSocket,
        &["cp", &format!("{}:/data/keep", container.name()), &target],
    );
    let got = finish(&mut command, Input::Nothing, LIMIT);
    assert!(got.stderr.contains("no-tar"), "{}", got.stderr);
    let copies: Vec<Value> = house
        .audit()
        .into_iter()
        .filter(|event| event["event"] == "file.copy")
        .collect();
    assert_eq!(copies, Vec::<Value>::new());
}

#[test]
fn a_copy_leaves_the_names_and_sizes_of_its_files() {
    let (house, container) = house();
    let folder = house.scratch().join("up");
    fs::create_dir_all(folder.join("inside")).unwrap();
    fs::write(folder.join("one"), vec![b'x'; 70_000]).unwrap();
    fs::write(folder.join("inside/two"), "12345").unwrap();
    let up = folder.display().to_string();
    let down = house.scratch().join("down").display().to_string();
    let remote = format!("{}:/data/up", container.name());
    for arguments in [["cp", &up, &remote], ["cp", &remote, &down]] {
        let mut command = house.preferred(Transport::WebSocket, &arguments);
        let got = finish(&mut command, Input::Nothing, LIMIT);
        assert_eq!(got.code, Some(0), "{arguments:?}: {}", got.stderr);
    }
    assert!(eventually(SOON, || count(&house, "file.copy") == 2));
    for event in house.audit() {
        if event["event"] != "file.copy" {
            continue;
        }
        let mut files: Vec<(&str, u64)> = event["files"]
            .as_array()
            .unwrap()
            .iter()
            .map(|file| {
                (
                    file["path"].as_str().unwrap(),
                    file["bytes"].as_u64().unwrap(),
                )
            })
            .collect();
        files.sort_unstable_by_key(|(_, bytes)| *bytes);
        assert!(files[0].0.ends_with("up/inside/two"), "{event}");
        assert!(files[1].0.ends_with("up/one"), "{event}");
        assert_eq!((files[0].1, files[1].1), (5, 70_000), "{event}");
        assert_eq!(files.len(), 2, "{event}");
    }
}
