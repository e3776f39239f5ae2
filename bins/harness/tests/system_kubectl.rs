//! What a person with an unmodified kubectl sees of the whole path: kubectl → gateway → agent →
//! Docker.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a failed unwrap is a failed test"
)]

use std::{
    fs,
    io::{ErrorKind, Read, Write},
    net::{Shutdown, TcpStream},
    process::Command,
    time::Duration,
};

use dockin_harness::{
    Container, Finished, House, HouseOptions, Input, Kubectl, Program, Transport, eventually,
    finish, run,
};
use serde_json::Value;

/// Far more than anything here takes; what is not over by then hangs.
const LIMIT: Duration = Duration::from_secs(60);
/// Errors come "within seconds".
const SECONDS: Duration = Duration::from_secs(10);

fn house() -> House {
    House::start(&HouseOptions::default())
}

fn idle(house: &House) -> Container {
    house.docker().container(&[], &["sleep", "2147483647"])
}

/// Every kubectl with everything that it can speak.
fn everyone() -> impl Iterator<Item = (Kubectl, Transport)> {
    Kubectl::all().into_iter().flat_map(|kubectl| {
        let transports = kubectl.transports();
        transports
            .iter()
            .map(move |transport| (kubectl.clone(), *transport))
    })
}

const BOTH: [Transport; 2] = [Transport::WebSocket, Transport::Spdy];

fn kubectl(house: &House, arguments: &[&str]) -> Finished {
    let mut command = house.preferred(Transport::WebSocket, arguments);
    finish(&mut command, Input::Nothing, LIMIT)
}

/// Two containers that Kubernetes labels make one pod called `web`, in a namespace of their own.
struct LabelledPod {
    namespace: String,
    app: Container,
    side: Container,
}

impl LabelledPod {
    fn start(house: &House) -> Self {
        // The node's name is this house's alone.
        let namespace = format!("team-{}", house.node());
        let start = |name: &str| {
            let labels = [
                format!("io.kubernetes.pod.namespace={namespace}"),
                "io.kubernetes.pod.name=web".to_owned(),
                format!("io.kubernetes.pod.uid=uid-{namespace}"),
                format!("io.kubernetes.container.name={name}"),
                "tier=front".to_owned(),
            ];
            let flags: Vec<&str> = labels
                .iter()
                .flat_map(|label| ["--label", label.as_str()])
                .collect();
            house
                .docker()
                .container(&flags, &["sh", "-c", "echo started; exec sleep 2147483647"])
        };
        let (app, side) = (start("app"), start("side"));
        Self {
            namespace,
            app,
            side,
        }
    }
}

#[test]
fn pods_are_listed_in_every_form_by_every_kubectl() {
    let house = house();
    let plain = idle(&house);
    let pod = LabelledPod::start(&house);
    for kubectl in Kubectl::all() {
        let get = |arguments: &[&str]| {
            let mut command = house.kubectl(&kubectl, Transport::WebSocket);
            let got = finish(command.args(arguments), Input::Nothing, LIMIT);
            assert_eq!(
                got.code,
                Some(0),
                "1.{} {arguments:?}: {}",
                kubectl.minor(),
                got.stderr
            );
            got.text()
        };
        let all = get(&["get", "pods", "-A"]);
        let columns: Vec<&str> = all.lines().next().unwrap().split_whitespace().collect();
        assert_eq!(
            columns,
            ["NAMESPACE", "NAME", "READY", "STATUS", "RESTARTS", "AGE"]
        );
        let row = |name: &str| {
            let line = all
                .lines()
                .find(|line| line.split_whitespace().nth(1) == Some(name));
            line.unwrap_or_else(|| panic!("{name} is not in\n{all}"))
                .to_owned()
        };
        let words: Vec<String> = row(plain.name())
            .split_whitespace()
            .map(str::to_owned)
            .collect();
        assert_eq!(words[..4], ["default", plain.name(), "1/1", "Running"]);
        let web = all
            .lines()
            .find(|line| line.starts_with(&pod.namespace))
            .unwrap();
        let words: Vec<&str> = web.split_whitespace().collect();
        assert_eq!(
            words[..4],
            [pod.namespace.as_str(), "web", "2/2", "Running"]
        );

        let wide = get(&["get", "pods", "-o", "wide"]);
        assert!(wide.lines().next().unwrap().contains("NODE"), "{wide}");
        assert!(wide.contains(house.node()), "{wide}");
        let one: Value =
            serde_json::from_str(&get(&["get", "pod", plain.name(), "-o", "json"])).unwrap();
        assert_eq!(
            (&one["kind"], &one["metadata"]["name"]),
            (&"Pod".into(), &plain.name().into())
        );
        let list: Value =
            serde_json::from_str(&get(&["get", "pods", "-n", &pod.namespace, "-o", "json"]))
                .unwrap();
        let containers = list["items"][0]["spec"]["containers"].as_array().unwrap();
        let names: Vec<&str> = containers
            .iter()
            .map(|c| c["name"].as_str().unwrap())
            .collect();
        assert_eq!(names, ["app", "side"]);
        assert_eq!(list["items"][0]["metadata"]["labels"]["tier"], "front");
        let yaml = get(&["get", "pod", plain.name(), "-o", "yaml"]);
        assert!(
            yaml.contains("kind: Pod\n") && yaml.contains("phase: Running"),
            "{yaml}"
        );
        let name = get(&["get", "pods", "-n", &pod.namespace, "-o", "name"]);
        assert_eq!(name, "pod/web\n");
        let selected = get(&["get", "pods", "-A", "-l", "tier=front", "-o", "name"]);
        assert!(
            selected.contains("pod/web") && !selected.contains(plain.name()),
            "{selected}"
        );
        let namespaces = get(&["get", "namespaces", "-o", "name"]);
        assert!(
            namespaces.contains(&format!("namespace/{}\n", pod.namespace)),
            "{namespaces}"
        );
    }
    drop((pod.app, pod.side));
}

#[test]
fn a_container_that_is_gone_is_gone_from_the_list() {
    let house = house();
    let container = idle(&house);
    let name = container.name().to_owned();
    let listed = || {
        kubectl(&house, &["get", "pods", "-o", "name"])
            .text()
            .contains(&name)
    };
    assert!(listed());
    drop(container);
    assert!(eventually(SECONDS, || !listed()));
}

#[test]
fn unknown_things_are_told_in_the_words_of_the_apiserver() {
    let house = house();
    let container = idle(&house);
    for arguments in [
        &["get", "pod", "nope"][..],
        &["exec", "nope", "--", "true"],
        &["logs", "nope"],
        &["attach", "nope"],
        &["port-forward", "nope", ":80"],
    ] {
        let mut command = house.preferred(Transport::WebSocket, arguments);
        let got = finish(&mut command, Input::Nothing, SECONDS);
        assert_eq!(got.code, Some(1), "{arguments:?}");
        // kubectl itself has two ways to say it.
        let told = got.stderr.to_lowercase();
        let expected = "error from server (notfound): pods \"nope\" not found";
        assert!(told.contains(expected), "{arguments:?}: {}", got.stderr);
    }
    let got = kubectl(
        &house,
        &["exec", container.name(), "-c", "nope", "--", "true"],
    );
    assert_eq!(got.code, Some(1));
    assert!(
        got.stderr.contains("container nope is not valid for pod"),
        "{}",
        got.stderr
    );
    let got = kubectl(&house, &["get", "deployments"]);
    assert_eq!(got.code, Some(1));
    assert!(
        got.stderr
            .contains("the server doesn't have a resource type"),
        "{}",
        got.stderr
    );
}

#[test]
fn a_pod_of_two_containers_needs_a_name_where_the_apiserver_wants_one() {
    let house = house();
    let pod = LabelledPod::start(&house);
    let base = format!(
        "/clusters/local/api/v1/namespaces/{}/pods/web",
        pod.namespace
    );
    let upgrade = [
        "connection: Upgrade",
        "upgrade: websocket",
        "sec-websocket-version: 13",
        "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",
        "sec-websocket-protocol: v5.channel.k8s.io",
    ];
    for (path, headers) in [
        (format!("{base}/log"), &[][..]),
        (format!("{base}/exec?command=true&stdout=true"), &upgrade),
        (format!("{base}/attach?stdout=true"), &upgrade),
    ] {
        let answer = house.ask("GET", &path, headers);
        assert!(answer.starts_with("HTTP/1.1 400 "), "{path}: {answer}");
        let words = "a container name must be specified for pod web, choose one of: [app side]";
        assert!(answer.contains(words), "{path}: {answer}");
        assert!(
            answer.contains(r#""reason":"BadRequest""#),
            "{path}: {answer}"
        );
    }
    // kubectl itself takes the first one and says so; a name is taken at its word.
    for (kubectl, transport) in everyone() {
        let hostname = |container: &str| {
            let mut command = house.kubectl(&kubectl, transport);
            command.args([
                "exec",
                "-n",
                &pod.namespace,
                "web",
                "-c",
                container,
                "--",
                "hostname",
            ]);
            finish(&mut command, Input::Nothing, LIMIT).text()
        };
        assert_eq!(hostname("app"), pod.app.exec(&["hostname"]));
        assert_eq!(hostname("side"), pod.side.exec(&["hostname"]));
    }
    let got = kubectl(&house, &["logs", "-n", &pod.namespace, "web", "-c", "side"]);
    assert_eq!(got.text(), "started\n");
}

#[test]
fn exec_brings_exit_codes_and_keeps_the_outputs_apart() {
    let house = house();
    let container = idle(&house);
    for (kubectl, transport) in everyone() {
        let exec = |argv: &[&str]| {
            let mut command = house.kubectl(&kubectl, transport);
            command.args(["exec", container.name(), "--"]).args(argv);
            finish(&mut command, Input::Nothing, LIMIT)
        };
        let which = format!("1.{} {transport:?}", kubectl.minor());
        for code in [0, 3, 126, 127, 255] {
            let got = exec(&["sh", "-c", &format!("echo out; echo err >&2; exit {code}")]);
            assert_eq!(got.code, Some(code), "{which}: {}", got.stderr);
            assert_eq!(got.text(), "out\n", "{which}");
            assert!(got.stderr.starts_with("err\n"), "{which}: {}", got.stderr);
            let told = format!("command terminated with exit code {code}\n");
            assert_eq!(
                got.stderr.contains(&told),
                code != 0,
                "{which}: {}",
                got.stderr
            );
        }
        let got = exec(&["no-such-program"]);
        assert!(matches!(got.code, Some(126 | 127)), "{which}: {got:?}");
        let told = format!("{}{}", got.text(), got.stderr);
        assert!(told.contains("no-such-program"), "{which}: {told}");
        let got = exec(&["sh", "-c", "kill -9 $$"]);
        assert_eq!(got.code, Some(137), "{which}: {}", got.stderr);
    }
}

#[test]
fn what_is_piped_in_arrives_and_its_end_too() {
    let house = house();
    let container = idle(&house);
    for (kubectl, transport) in everyone() {
        for input in [&b""[..], b"x", b"one\ntwo\n\0\xff\xfe three"] {
            let mut command = house.kubectl(&kubectl, transport);
            command.args(["exec", "-i", container.name(), "--", "cat"]);
            let got = finish(&mut command, Input::Bytes(input), LIMIT);
            assert_eq!(
                (got.code, got.stdout.as_slice()),
                (Some(0), input),
                "{transport:?}"
            );
        }
    }
}

#[test]
fn arguments_arrive_as_they_are() {
    let house = house();
    let container = idle(&house);
    let words = [
        "a b", "", "'\"\\", "ü€", "$HOME", "*", "a=b&c=d", "%2f+", "-x",
    ];
    for transport in BOTH {
        let mut command = house.preferred(transport, &["exec", container.name(), "--"]);
        command.args(["printf", "[%s]"]).args(words);
        let expected: String = words.iter().map(|word| format!("[{word}]")).collect();
        let got = finish(&mut command, Input::Nothing, LIMIT);
        assert_eq!(got.text(), expected, "{}", got.stderr);
    }
}

#[test]
fn attach_talks_to_the_main_process() {
    let house = house();
    let script = "while read line; do echo \"got $line\"; echo \"err $line\" >&2; done";
    for (kubectl, transport) in everyone() {
        let container = house
            .docker()
            .container(&["--interactive"], &["sh", "-c", script]);
        let mut command = house.kubectl(&kubectl, transport);
        command.args(["attach", "-i", container.name()]);
        let mut attached = Program::start(&mut command, Input::Held);
        // What is said before kubectl is attached is the main process's, so it is said again.
        assert!(
            eventually(LIMIT, || {
                attached.write(b"hello\n");
                eventually(Duration::from_secs(1), || {
                    attached.stdout().contains("got hello")
                })
            }),
            "1.{} {transport:?}: {}",
            kubectl.minor(),
            attached.stderr()
        );
        assert!(eventually(LIMIT, || attached
            .stderr()
            .contains("err hello")));
        attached.kill();
        // The main process belongs to nobody's session.
        assert_eq!(
            container.processes().len(),
            1,
            "{:?}",
            container.processes()
        );
    }
}

#[test]
fn attach_ends_with_the_main_process_and_its_exit_code() {
    let house = house();
    for transport in BOTH {
        let script = "read line; echo \"last $line\"; exit 4";
        let container = house
            .docker()
            .container(&["--interactive"], &["sh", "-c", script]);
        let mut command = house.preferred(transport, &["attach", "-i", container.name()]);
        let mut attached = Program::start(&mut command, Input::Held);
        attached.write(b"word\n");
        attached.expect("last word");
        assert_eq!(attached.finish(LIMIT).code, Some(4), "{transport:?}");
    }
}

#[test]
fn logs_are_cut_and_followed_as_asked() {
    let house = house();
    let script = "for i in 1 2 3 4 5 6; do echo line$i; sleep 0.5; done; echo last >&2; sleep 1";
    let container = house.docker().container(&[], &["sh", "-c", script]);
    let name = container.name();
    let followed = kubectl(&house, &["logs", "-f", name]);
    let all = "line1\nline2\nline3\nline4\nline5\nline6\nlast\n";
    assert_eq!(
        (followed.code, followed.text().as_str()),
        (Some(0), all),
        "{}",
        followed.stderr
    );
    for kubectl in Kubectl::all() {
        let logs = |arguments: &[&str]| {
            let mut command = house.kubectl(&kubectl, Transport::WebSocket);
            command.args(["logs", name]).args(arguments);
            let got = finish(&mut command, Input::Nothing, LIMIT);
            assert_eq!(got.code, Some(0), "{arguments:?}: {}", got.stderr);
            got.text()
        };
        assert_eq!(logs(&[]), all);
        assert_eq!(logs(&["--tail", "2"]), "line6\nlast\n");
        assert_eq!(logs(&["--tail=0"]), "");
        assert_eq!(logs(&["--since=1h"]), all);
        assert_eq!(logs(&["--limit-bytes=8"]), "line1\nli");
        let stamped = logs(&["--timestamps", "--tail=1"]);
        let (time, line) = stamped.split_once(' ').unwrap();
        assert_eq!(line, "last\n");
        assert!(
            time.starts_with("20") && time.contains('T') && time.ends_with('Z'),
            "{time}"
        );
    }
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(kubectl(&house, &["logs", name, "--since=1s"]).text(), "");
}

#[test]
fn following_a_log_ends_with_the_client_and_shows_lines_as_they_come() {
    let house = house();
    let script = "i=0; while :; do i=$((i + 1)); echo tick$i; sleep 0.2; done";
    let container = house.docker().container(&[], &["sh", "-c", script]);
    let mut command = house.preferred(
        Transport::WebSocket,
        &["logs", "-f", "--tail=1", container.name()],
    );
    let mut following = Program::start(&mut command, Input::Nothing);
    let lines = || following.stdout().lines().count();
    assert!(eventually(LIMIT, || lines() > 10));
    assert!(following.is_running());
    following.kill();
}

/// Bytes without a pattern, the same for the same length.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

fn copy(house: &House, transport: Transport, from: &str, to: &str) {
    let mut command = house.preferred(transport, &["cp", from, to]);
    let got = finish(&mut command, Input::Nothing, Duration::from_secs(180));
    assert_eq!(
        got.code,
        Some(0),
        "{transport:?} cp {from} {to}: {}{}",
        got.text(),
        got.stderr
    );
}

#[test]
fn files_and_folders_are_copied_both_ways_and_written_down() {
    let house = house();
    let container = idle(&house);
    let name = container.name();
    let source = house.scratch().join("source");
    fs::create_dir_all(source.join("deep/er")).unwrap();
    fs::write(source.join("big"), noise(20 * 1024 * 1024)).unwrap();
    fs::write(source.join("deep/er/small file"), b"hello\n").unwrap();
    fs::write(source.join("deep/empty"), b"").unwrap();
    for transport in BOTH {
        let tag = format!("{transport:?}").to_lowercase();
        let there = format!("/data/{tag}");
        let _made = container.exec(&["mkdir", "-p", &there]);
        let big = source.join("big").display().to_string();
        copy(&house, transport, &big, &format!("{name}:{there}/big"));
        let sum = run(Command::new("sha256sum").arg(source.join("big"))).stdout;
        let sum = String::from_utf8(sum).unwrap()[..64].to_owned();
        assert_eq!(
            container.exec(&["sha256sum", &format!("{there}/big")])[..64],
            sum
        );
        let back = house.scratch().join(format!("big-{tag}"));
        copy(
            &house,
            transport,
            &format!("{name}:{there}/big"),
            &back.display().to_string(),
        );
        assert!(
            fs::read(&back).unwrap() == noise(20 * 1024 * 1024),
            "20 MiB differ"
        );

        copy(
            &house,
            transport,
            &source.display().to_string(),
            &format!("{name}:{there}/tree"),
        );
        assert_eq!(
            container.exec(&["cat", &format!("{there}/tree/deep/er/small file")]),
            "hello\n"
        );
        let tree = house.scratch().join(format!("tree-{tag}"));
        copy(
            &house,
            transport,
            &format!("{name}:{there}/tree"),
            &tree.display().to_string(),
        );
        let status = run(Command::new("diff").arg("-r").arg(&source).arg(&tree)).status;
        assert!(status.success(), "the folder came back different");
    }
    let copies: Vec<Value> = house
        .audit()
        .into_iter()
        .filter(|event| event["event"] == "file.copy")
        .collect();
    for direction in ["upload", "download"] {
        let of_big = copies.iter().filter(|event| {
            event["direction"] == direction && event["bytes"].as_u64() > Some(20 * 1024 * 1024)
        });
        // Big and the tree with big in it, over two transports.
        assert_eq!(of_big.count(), 4, "{direction}: {copies:#?}");
    }
    assert!(
        copies
            .iter()
            .all(|event| event["principal"]["user"] == "alice"
                && event["target"]["pod"] == name
                && event["path"].as_str().unwrap().starts_with("/data/"))
    );
}

/// A running `kubectl port-forward`.
struct Forward {
    program: Program,
    port: u16,
}

impl Forward {
    fn start(house: &House, kubectl: &Kubectl, transport: Transport, pod: &str, port: u16) -> Self {
        let mut command = house.kubectl(kubectl, transport);
        command.args(["port-forward", pod, &format!(":{port}")]);
        let program = Program::start(&mut command, Input::Nothing);
        program.expect("Forwarding from 127.0.0.1:");
        let told = program.stdout();
        let (_, behind) = told.split_once("127.0.0.1:").unwrap();
        let port = behind.split(' ').next().unwrap().parse().unwrap();
        Self { program, port }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream
    }
}

/// All that comes until the other side ends, however it ends.
fn read_all(stream: &mut TcpStream, which: &str) -> String {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
            panic!(
                "{which}: the port hangs after {:?}",
                String::from_utf8_lossy(&bytes)
            )
        }
        _ => String::from_utf8_lossy(&bytes).into_owned(),
    }
}

#[test]
fn ports_are_forwarded_by_every_kubectl() {
    let house = house();
    let script = "mkdir -p /data/www; echo welcome > /data/www/index.html; \
                  exec httpd -f -p 8080 -h /data/www";
    let container = house.docker().container(&[], &["sh", "-c", script]);
    for (kubectl, transport) in everyone() {
        let forward = Forward::start(&house, &kubectl, transport, container.name(), 8080);
        // Several connections, some at once.
        let mut streams = [forward.connect(), forward.connect(), forward.connect()];
        for stream in &mut streams {
            stream.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
        }
        for stream in &mut streams {
            let which = format!("1.{} {transport:?}", kubectl.minor());
            let answer = read_all(stream, &which);
            assert!(
                answer.ends_with("welcome\n"),
                "{which}: {answer}{}",
                forward.program.stderr()
            );
        }
    }
    let ports: Vec<Value> = house
        .audit()
        .into_iter()
        .filter(|event| event["event"] == "port.forward")
        .collect();
    assert_eq!(ports.len(), 3 * everyone().count());
    assert!(
        ports
            .iter()
            .all(|event| event["port"] == 8080 && event["principal"]["user"] == "alice")
    );
}

#[test]
fn an_answer_long_after_the_clients_last_byte_arrives() {
    let house = house();
    let serve = [
        "nc",
        "-ll",
        "-p",
        "9000",
        "-e",
        "sh",
        "-c",
        "n=$(wc -c); sleep 2; echo got $n",
    ];
    let container = house.docker().container(&[], &serve);
    for transport in BOTH {
        let kubectl = Kubectl::preferred();
        let forward = Forward::start(&house, &kubectl, transport, container.name(), 9000);
        let mut stream = forward.connect();
        stream.write_all(&noise(300_000)).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(
            read_all(&mut stream, "kubectl"),
            "got 300000\n",
            "{transport:?}"
        );
    }
}

#[test]
fn a_refused_port_is_told_and_is_no_hang() {
    let house = house();
    let container = idle(&house);
    for (kubectl, transport) in everyone() {
        let forward = Forward::start(&house, &kubectl, transport, container.name(), 81);
        let mut stream = forward.connect();
        let _may_be_refused_already = stream.write_all(b"hello");
        let which = format!("1.{} {transport:?}", kubectl.minor());
        assert_eq!(read_all(&mut stream, &which), "");
        let told = eventually(SECONDS, || forward.program.stderr().contains("refused"));
        assert!(
            told,
            "1.{} {transport:?}: {}",
            kubectl.minor(),
            forward.program.stderr()
        );
    }
}

#[test]
fn a_wrong_token_is_unauthorized_and_written_down() {
    let house = house();
    let container = idle(&house);
    let file = house.scratch().join("wrong");
    house.write_kubeconfig("not-a-token", "mallory", &file);
    for arguments in [
        &["get", "pods"][..],
        &["exec", container.name(), "--", "true"],
        &["logs", container.name()],
    ] {
        for transport in BOTH {
            let mut command = house.preferred(transport, arguments);
            let got = finish(command.env("KUBECONFIG", &file), Input::Nothing, SECONDS);
            assert_eq!(got.code, Some(1), "{arguments:?}");
            let told = got.stderr.contains("Unauthorized")
                || got
                    .stderr
                    .contains("asked for the client to provide credentials");
            assert!(told, "{arguments:?}: {}", got.stderr);
        }
    }
    let answer =
        house.exchange(b"GET /api/v1/pods HTTP/1.1\r\nhost: d\r\nconnection: close\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    let audit = house.audit();
    let failed: Vec<&Value> = audit
        .iter()
        .filter(|event| event["event"] == "login.failed")
        .collect();
    assert!(!failed.is_empty());
    let client = |event: &Value| event["client"].as_str().unwrap_or_default().to_owned();
    assert!(
        failed
            .iter()
            .all(|event| client(event).starts_with("127.0.0.1:"))
    );
    assert!(audit.iter().all(|event| event["event"] != "session.start"));
}

#[test]
fn nobody_reaches_what_he_has_no_right_to() {
    let entry = "{ users: [carol], verbs: [get, list, logs], clusters: [local], \
                 namespaces: [default] }";
    let options = HouseOptions {
        access: vec![entry.to_owned()],
        ..HouseOptions::default()
    };
    let house = House::start(&options);
    let container = idle(&house);
    let name = container.name();
    let (bob, carol) = (
        house.add_person("bob", &[]),
        house.add_person("carol", &["dev"]),
    );
    let try_as = |kubeconfig, transport, arguments: &[&str]| {
        let mut command = house.preferred(transport, arguments);
        finish(
            command.env("KUBECONFIG", kubeconfig),
            Input::Nothing,
            SECONDS,
        )
    };
    for transport in BOTH {
        for arguments in [
            &["get", "pods"][..],
            &["get", "pod", "nope"],
            &["exec", name, "--", "true"],
            &["logs", name],
            &["attach", name],
        ] {
            let got = try_as(&bob, transport, arguments);
            assert_eq!(got.code, Some(1), "{arguments:?}");
            assert!(
                got.stderr.contains("(Forbidden)"),
                "{arguments:?}: {}",
                got.stderr
            );
        }
        for (arguments, allowed) in [
            (&["get", "pods"][..], true),
            (&["logs", name], true),
            (&["get", "pods", "-A"], false),
            (&["get", "pods", "-n", "other"], false),
            (&["exec", name, "--", "true"], false),
            (&["attach", name], false),
        ] {
            let got = try_as(&carol, transport, arguments);
            assert_eq!(
                got.code == Some(0),
                allowed,
                "{arguments:?}: {}",
                got.stderr
            );
            let forbidden = got.stderr.to_lowercase().contains("forbidden");
            assert_eq!(forbidden, !allowed, "{arguments:?}: {}", got.stderr);
        }
    }
    let got = try_as(&carol, Transport::WebSocket, &["port-forward", name, ":80"]);
    assert_eq!(got.code, Some(1), "{}", got.stderr);
    let denied = |event: &Value| event["event"] == "access.denied";
    let of_carol = |event: &&Value| event["principal"]["user"] == "carol" && denied(event);
    assert!(house.audit().iter().filter(of_carol).count() >= 5);
}

#[test]
fn an_agent_that_is_down_is_told_within_seconds_and_comes_back() {
    let mut house = house();
    let container = idle(&house);
    let name = container.name().to_owned();
    house.agent().kill();
    for transport in BOTH {
        for arguments in [
            &["get", "pods"][..],
            &["get", "pod", &name],
            &["exec", &name, "--", "true"],
            &["logs", &name],
        ] {
            let mut command = house.preferred(transport, arguments);
            let got = finish(&mut command, Input::Nothing, SECONDS);
            assert_eq!(got.code, Some(1), "{arguments:?}");
            assert!(
                got.stderr.contains("(ServiceUnavailable)"),
                "{arguments:?}: {}",
                got.stderr
            );
        }
    }
    house.restart_agent();
    let got = kubectl(&house, &["exec", &name, "--", "echo", "back"]);
    assert_eq!(
        (got.code, got.text().as_str()),
        (Some(0), "back\n"),
        "{}",
        got.stderr
    );
}

#[test]
fn malformed_requests_get_a_status_and_harm_nobody() {
    let mut house = house();
    let container = idle(&house);
    let pod = format!(
        "/clusters/local/api/v1/namespaces/default/pods/{}",
        container.name()
    );
    let websocket = ["connection: Upgrade", "upgrade: websocket"];
    let spdy = ["connection: Upgrade", "upgrade: SPDY/3.1"];
    let with_protocol = [
        "connection: Upgrade",
        "upgrade: SPDY/3.1",
        "x-stream-protocol-version: v9.channel.k8s.io",
    ];
    let cases: [(&str, String, &[&str]); 16] = [
        ("GET", format!("{pod}/exec?command=true&stdout=true"), &[]),
        (
            "GET",
            format!("{pod}/exec?command=true&stdout=true"),
            &websocket,
        ),
        (
            "POST",
            format!("{pod}/exec?command=true&stdout=true"),
            &spdy,
        ),
        (
            "POST",
            format!("{pod}/exec?command=true&stdout=true"),
            &with_protocol,
        ),
        ("POST", format!("{pod}/exec?stdout=true"), &spdy),
        (
            "POST",
            format!("{pod}/exec?command=%ff%fe&stdout=true"),
            &spdy,
        ),
        (
            "POST",
            format!("{pod}/exec?command=true&command=%zz"),
            &spdy,
        ),
        ("POST", format!("{pod}/portforward"), &[]),
        ("GET", format!("{pod}/log?tailLines=many"), &[]),
        ("GET", format!("{pod}/log?sinceSeconds=-5"), &[]),
        ("GET", "/clusters/nope/api/v1/pods".to_owned(), &[]),
        (
            "GET",
            "/clusters/local/api/v1/namespaces/../pods".to_owned(),
            &[],
        ),
        (
            "GET",
            "/clusters/local/api/v1/namespaces/a%2fb/pods/x".to_owned(),
            &[],
        ),
        ("DELETE", pod.clone(), &[]),
        ("PATCH", "/nowhere".to_owned(), &[]),
        ("GET", "/api/v1/pods?labelSelector=((".to_owned(), &[]),
    ];
    for (method, path, headers) in cases {
        let answer = house.ask(method, &path, headers);
        let code: u16 = answer
            .get(9..12)
            .and_then(|code| code.parse().ok())
            .unwrap_or(0);
        assert!((400..500).contains(&code), "{method} {path}: {answer}");
        let body = answer
            .split_once("\r\n\r\n")
            .map(|(_, body)| body)
            .unwrap_or_default();
        let status: Value = serde_json::from_str(body)
            .unwrap_or_else(|error| panic!("{method} {path}: {error}: {answer}"));
        assert_eq!(
            (&status["kind"], &status["code"]),
            (&"Status".into(), &code.into()),
            "{path}"
        );
    }
    let long = format!("GET /{} HTTP/1.1\r\nhost: d\r\n\r\n", "x".repeat(1 << 20));
    let header = format!(
        "GET / HTTP/1.1\r\nhost: d\r\nx: {}\r\n\r\n",
        "y".repeat(1 << 20)
    );
    for garbage in [
        &b"\0\0\0\0\0\0\0\0\r\n\r\n"[..],
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\x80\x03\x00\x01\x00\x00\x00\x0a\0\0\0\x01\0\0\0\0\0\0",
        b"GET /api HTTP/1.1\r\nhost: d\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello",
        b"POST /api HTTP/1.1\r\nhost: d\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        long.as_bytes(),
        header.as_bytes(),
    ] {
        let answer = house.exchange(garbage);
        assert!(!answer.starts_with("HTTP/1.1 2"), "{answer}");
        assert!(!answer.starts_with("HTTP/1.1 5"), "{answer}");
    }
    // Not even TLS, and some who connect and say nothing.
    let silent: Vec<TcpStream> = (0..20)
        .map(|_| TcpStream::connect(house.gateway_address()).unwrap())
        .collect();
    let mut plain = TcpStream::connect(house.gateway_address()).unwrap();
    plain
        .write_all(b"GET / HTTP/1.1\r\nhost: d\r\n\r\n")
        .unwrap();
    let got = kubectl(
        &house,
        &["exec", container.name(), "--", "echo", "unharmed"],
    );
    assert_eq!(got.text(), "unharmed\n", "{}", got.stderr);
    drop(silent);
    assert!(
        !house.gateway().log().contains("panicked"),
        "{}",
        house.gateway().log()
    );
    assert!(
        !house.agent().log().contains("panicked"),
        "{}",
        house.agent().log()
    );
}

#[test]
fn garbage_inside_a_session_ends_that_session_only() {
    let mut house = house();
    let container = idle(&house);
    let path = format!(
        "/clusters/local/api/v1/namespaces/default/pods/{}/exec?command=sleep&command=1000\
         &stdin=true&stdout=true&stderr=true",
        container.name()
    );
    let token = house.token().to_owned();
    let websocket = format!(
        "GET {path} HTTP/1.1\r\nhost: d\r\nauthorization: Bearer {token}\r\n\
         connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
         sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         sec-websocket-protocol: v5.channel.k8s.io\r\n\r\n"
    );
    let spdy = format!(
        "POST {path} HTTP/1.1\r\nhost: d\r\nauthorization: Bearer {token}\r\n\
         connection: Upgrade\r\nupgrade: SPDY/3.1\r\n\
         x-stream-protocol-version: v4.channel.k8s.io\r\n\r\n"
    );
    for head in [websocket, spdy] {
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(&noise(100_000));
        let answer = house.exchange(&bytes);
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    }
    assert!(
        eventually(Duration::from_secs(5), || container.processes().len() == 1),
        "{:?}",
        container.processes()
    );
    let got = kubectl(
        &house,
        &["exec", container.name(), "--", "echo", "unharmed"],
    );
    assert_eq!(got.text(), "unharmed\n", "{}", got.stderr);
    assert!(
        !house.gateway().log().contains("panicked"),
        "{}",
        house.gateway().log()
    );
    assert!(
        !house.agent().log().contains("panicked"),
        "{}",
        house.agent().log()
    );
}
