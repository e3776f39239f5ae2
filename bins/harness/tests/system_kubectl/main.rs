//! What a person with an unmodified kubectl sees of the whole path: kubectl → gateway → agent →
//! Docker.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a failed unwrap is a failed test"
)]

mod copies;
mod ports;
mod refusals;

use std::time::Duration;

use dockin_harness::{
    Container, Finished, House, HouseOptions, Input, Kubectl, Program, Transport, eventually,
    finish,
};
use serde_json::Value;

/// Far more than anything here takes; what is not over by then hangs.
const LIMIT: Duration = Duration::from_secs(60);
/// Errors come "within seconds".
const SECONDS: Duration = Duration::from_secs(40);

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
