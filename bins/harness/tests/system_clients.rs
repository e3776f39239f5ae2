//! What kubectl 1.27–1.33 was seen to do against a real cluster, held against the gateway.
//!
//! | seen there | here |
//! | --- | --- |
//! | closing the connection does not always end the remote process | `system_lifetime.rs::nothing_outlives_a_killed_client`, `system_kube.rs::a_client_that_goes_away_ends_the_session_upstream`, `the_end_of_a_connection_ends_the_process_with_and_without_a_terminal`, `the_end_of_a_terminals_session_ends_what_containerd_would_leave` |
//! | a WebSocket's GET needs the right to create, and the refusal has an empty reason | `a_websockets_get_needs_the_right_to_exec_and_its_refusal_has_a_reason` |
//! | a refused WebSocket upgrade is repeated as SPDY | `system_policy.rs::one_denial_is_one_record_with_every_kubectl`, `one_denied_access_is_one_record_with_every_kubectl` |
//! | clients see the same frames whoever translates | `system_kube.rs::exec_brings_outputs_exit_codes_and_the_end_of_input`, `system_kubectl/main.rs::exec_brings_exit_codes_and_keeps_the_outputs_apart` |
//! | kubelets choose SPDY v4 though v5 is offered first | `v5_is_for_websockets_and_spdy_gets_v4`, `live_containerd.rs::containerd_chooses_v4_and_refuses_v5_alone` |
//! | exec is over WebSocket from 1.30 on, port-forward from 1.31 on | `every_kubectl_works_with_the_transport_of_its_own_choice` |
//! | input is closed as soon as an output ends | `system_bulk.rs::a_closed_output_does_not_end_the_command`, `input_goes_on_when_the_output_has_ended` |
//! | a frame that arrives before kubectl has made its streams is dropped | `the_first_frame_is_empty_and_comes_without_company`, `the_first_output_is_never_lost` |
//! | `port-forward` ends after one refused connection, by itself | `system_kubectl/ports.rs::a_refused_port_is_told_and_is_no_hang`, `a_refused_port_leaves_the_session_to_kubectl` |
//! | the text of a failed start is told twice on v5, once on SPDY | `a_failed_start_is_told_once_and_the_same_over_every_transport` |
//! | ash asks for the cursor's position behind its prompt | `system_terminal.rs::answers_of_the_terminal_are_not_taken_for_typing` |
//! | throughput and the echo's latency | the benches `stream_throughput` and `echo_latency` |

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a failed unwrap is a failed test"
)]

use std::{
    collections::BTreeSet,
    io::{Read, Write},
    net::TcpStream,
    process::Command,
    time::Duration,
};

use dockin_harness::{
    ApiServer, Container, Credential, House, HouseOptions, Input, Kubectl, Program, Pty, Transport,
    eventually, finish,
};

const LIMIT: Duration = Duration::from_secs(60);
const BOTH: [Transport; 2] = [Transport::WebSocket, Transport::Spdy];

fn house() -> (House, Container) {
    let house = House::start(&HouseOptions::default());
    let container = house.docker().container(&[], &["sleep", "2147483647"]);
    (house, container)
}

/// With carol, who may read everything and enter nothing.
fn with_reader() -> (House, Container) {
    let entry = "{ users: [carol], verbs: [get, list, logs], clusters: [local], \
                 namespaces: [default] }";
    let house = House::start(&HouseOptions {
        access: vec![entry.to_owned()],
        ..HouseOptions::default()
    });
    let container = house.docker().container(&[], &["sleep", "2147483647"]);
    (house, container)
}

/// One kubectl of each version.
fn kubectls() -> Vec<Kubectl> {
    let mut known = BTreeSet::new();
    let mut all = Kubectl::all();
    all.retain(|kubectl| known.insert(kubectl.minor()));
    all
}

fn everyone() -> impl Iterator<Item = (Kubectl, Transport)> {
    kubectls().into_iter().flat_map(|kubectl| {
        let transports = kubectl.transports();
        transports
            .iter()
            .map(move |transport| (kubectl.clone(), *transport))
    })
}

fn exec_path(container: &Container, query: &str) -> String {
    let pod = container.name();
    format!("/clusters/local/api/v1/namespaces/default/pods/{pod}/exec?{query}")
}

const WEBSOCKET: [&str; 5] = [
    "connection: Upgrade",
    "upgrade: websocket",
    "sec-websocket-version: 13",
    "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",
    "sec-websocket-protocol: v5.channel.k8s.io",
];

/// Sends a request as `token` and gives what comes up to the end of the head, and what came with it
/// in the same reads.
fn head(
    house: &House,
    token: &str,
    method: &str,
    path: &str,
    headers: &[&str],
) -> (String, Vec<u8>, impl Read + Write + use<>) {
    let mut stream = house.tls();
    let headers = headers.join("\r\n");
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: dockin\r\nauthorization: Bearer {token}\r\n{headers}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut bytes = Vec::new();
    let mut buffer = [0; 16_384];
    loop {
        let count = stream.read(&mut buffer).unwrap();
        assert!(count > 0, "{}", String::from_utf8_lossy(&bytes));
        bytes.extend_from_slice(&buffer[..count]);
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let behind = bytes.split_off(end + 4);
            return (String::from_utf8(bytes).unwrap(), behind, stream);
        }
    }
}

#[test]
fn the_end_of_a_connection_ends_the_process_with_and_without_a_terminal() {
    let (house, container) = house();
    let runs = |mark: &str| container.processes().iter().any(|line| line.contains(mark));
    for (number, (kubectl, transport)) in everyone().enumerate() {
        let which = format!("1.{} {transport:?}", kubectl.minor());
        let (plain, terminal) = (
            format!("{}", 40_000 + number),
            format!("{}", 50_000 + number),
        );
        let exec = |flag: &str, mark: &str| {
            let mut command = house.kubectl(&kubectl, transport);
            command.args(["exec", flag, container.name(), "--", "sleep", mark]);
            command
        };
        let mut program = Program::start(&mut exec("-i", &plain), Input::Held);
        let mut pty = Pty::spawn(&exec("-it", &terminal));
        assert!(
            eventually(LIMIT, || runs(&plain) && runs(&terminal)),
            "{which}"
        );
        program.kill();
        pty.kill();
        let gone = eventually(LIMIT, || !runs(&plain) && !runs(&terminal));
        assert!(gone, "{which}: {:#?}", container.processes());
    }
}

/// The command lines of this machine's processes, which containerd's are too.
fn machine_runs(mark: &str) -> bool {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let mut lines = processes.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    let mark = format!("sleep\0{mark}\0");
    lines.any(|line| line == mark.as_bytes())
}

/// containerd 1.6 leaves a process running whose connection ends: on a terminal it is asked to go.
#[test]
fn the_end_of_a_terminals_session_ends_what_containerd_would_leave() {
    let apiserver = ApiServer::start_with_containerd();
    let mut house = House::start(&HouseOptions::default());
    let upstream = apiserver.kubeconfig(Credential::Token);
    std::fs::write(house.data().join("prod.kubeconfig"), upstream).unwrap();
    let file = house.data().join("opserver.yaml");
    let mut text = std::fs::read_to_string(&file).unwrap();
    text.push_str("  - name: prod\n    kubeconfig: prod.kubeconfig\n");
    std::fs::write(file, text).unwrap();
    house.restart_gateway();
    let text = std::fs::read_to_string(house.kubeconfig()).unwrap();
    let prod = house.scratch().join("prod");
    std::fs::write(&prod, text.replace("/clusters/local", "/clusters/prod")).unwrap();
    for (number, transport) in BOTH.into_iter().enumerate() {
        let mark = &format!("6161{}{number}", std::process::id());
        let kubectl = Kubectl::preferred();
        let mut command = kubectl.command(transport, &prod, house.scratch());
        command.args(["exec", "-it", "cri", "--", "sleep", mark]);
        let mut terminal = Pty::spawn(&command);
        assert!(
            eventually(LIMIT, || machine_runs(mark)),
            "{}",
            terminal.screen()
        );
        terminal.kill();
        let gone = eventually(LIMIT, || !machine_runs(mark));
        assert!(gone, "{transport:?}");
    }
}

#[test]
fn a_websockets_get_needs_the_right_to_exec_and_its_refusal_has_a_reason() {
    let (house, container) = with_reader();
    let token = house.add_user("carol", &[]);
    let pod = container.name();
    let base = format!("/clusters/local/api/v1/namespaces/default/pods/{pod}");
    let (answer, ..) = head(&house, &token, "GET", &base, &["connection: close"]);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    for what in [
        "exec?command=true&stdout=true",
        "attach?stdout=true",
        "portforward?ports=80",
    ] {
        let path = format!("{base}/{what}");
        let mut headers = WEBSOCKET.to_vec();
        if what.starts_with("portforward") {
            headers[4] = "sec-websocket-protocol: v4.channel.k8s.io";
        }
        let (answer, behind, mut stream) = head(&house, &token, "GET", &path, &headers);
        assert!(answer.starts_with("HTTP/1.1 403"), "{what}: {answer}");
        let mut body = behind;
        // A connection that ends without a goodbye is an end, too.
        let _cut = stream.read_to_end(&mut body);
        let status: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            (&status["kind"], &status["code"]),
            (&"Status".into(), &403.into()),
            "{what}"
        );
        assert_eq!(status["reason"], "Forbidden", "{what}");
        let message = status["message"].as_str().unwrap();
        assert!(
            message.contains("carol") && message.contains("may not"),
            "{what}: {message}"
        );
    }
}

/// One who may read the pod and not enter it gets as far as the upgrade. kubectl asks again over
/// SPDY: that is one denial, and another kubectl's is another one.
#[test]
fn one_denied_access_is_one_record_with_every_kubectl() {
    let (house, container) = with_reader();
    let carol = house.add_person("carol", &[]);
    let denied = |verb: &str| {
        let audit = house.audit();
        let denied = audit
            .iter()
            .filter(|event| event["event"] == "access.denied" && event["verb"] == verb);
        denied.count()
    };
    let mut expected = 0;
    for (kubectl, transport) in everyone() {
        expected += 1;
        for (verb, arguments) in [
            ("exec", &["exec", container.name(), "--", "true"][..]),
            ("attach", &["attach", container.name()]),
            ("port-forward", &["port-forward", container.name(), ":80"]),
        ] {
            let mut command = kubectl.command(transport, &carol, house.scratch());
            let got = finish(command.args(arguments), Input::Nothing, LIMIT);
            let which = format!("1.{} {transport:?} {verb}: {}", kubectl.minor(), got.stderr);
            assert_eq!(got.code, Some(1), "{which}");
            assert!(got.stderr.contains("`carol` may not"), "{which}");
            assert_eq!(denied(verb), expected, "{which}");
        }
    }
    let path = exec_path(&container, "command=true&stdout=true");
    let token = house.add_user("carol", &[]);
    let session = "kubectl-session: 6b1e3a52-0d64-4a6f-9d2c-0a4c7f7f4d11";
    let websocket = [&WEBSOCKET[..], &[session]].concat();
    let spdy = [
        "connection: Upgrade",
        "upgrade: SPDY/3.1",
        "x-stream-protocol-version: v4.channel.k8s.io",
        session,
    ];
    // The same header again and again hides nothing: only what falls back is no second denial.
    for (method, headers, records) in [
        ("GET", &websocket[..], 1),
        ("POST", &spdy, 1),
        ("POST", &spdy, 2),
        ("GET", &websocket, 3),
        ("GET", &websocket, 4),
    ] {
        let (answer, ..) = head(&house, &token, method, &path, headers);
        assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
        assert_eq!(denied("exec"), expected + records, "{method} {records}");
    }
}

#[test]
fn v5_is_for_websockets_and_spdy_gets_v4() {
    let (house, container) = house();
    let path = exec_path(&container, "command=true&stdout=true");
    let spdy = [
        "connection: Upgrade",
        "upgrade: SPDY/3.1",
        "x-stream-protocol-version: v5.channel.k8s.io",
        "x-stream-protocol-version: v4.channel.k8s.io",
        "x-stream-protocol-version: v3.channel.k8s.io",
    ];
    let (answer, ..) = head(&house, house.token(), "POST", &path, &spdy);
    let answer = answer.to_lowercase();
    assert!(answer.starts_with("http/1.1 101"), "{answer}");
    assert!(
        answer.contains("x-stream-protocol-version: v4.channel.k8s.io"),
        "{answer}"
    );
    let (answer, ..) = head(&house, house.token(), "GET", &path, &WEBSOCKET);
    let answer = answer.to_lowercase();
    assert!(
        answer.contains("sec-websocket-protocol: v5.channel.k8s.io"),
        "{answer}"
    );
    let (answer, ..) = head(&house, house.token(), "POST", &path, &spdy[..3]);
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
}

/// Nobody sets a switch: 1.30 and newer speak WebSocket for exec, 1.31 and newer for ports too.
#[test]
fn every_kubectl_works_with_the_transport_of_its_own_choice() {
    let house = House::start(&HouseOptions::default());
    let serve = ["nc", "-ll", "-p", "9000", "-e", "echo", "hello"];
    let container = house.docker().container(&[], &serve);
    let own = |kubectl: &Kubectl, arguments: &[&str]| -> Command {
        let mut command = house.kubectl(kubectl, Transport::Spdy);
        command
            .env_remove("KUBECTL_REMOTE_COMMAND_WEBSOCKETS")
            .env_remove("KUBECTL_PORT_FORWARD_WEBSOCKETS")
            .args(arguments);
        command
    };
    for kubectl in kubectls() {
        let which = format!("1.{}", kubectl.minor());
        let arguments = [
            "exec",
            "-i",
            container.name(),
            "--",
            "sh",
            "-c",
            "cat; exit 8",
        ];
        let got = finish(
            &mut own(&kubectl, &arguments),
            Input::Bytes(b"in and out"),
            LIMIT,
        );
        assert_eq!(
            (got.code, got.text().as_str()),
            (Some(8), "in and out"),
            "{which}: {}",
            got.stderr
        );
        let arguments = ["port-forward", container.name(), ":9000"];
        let program = Program::start(&mut own(&kubectl, &arguments), Input::Nothing);
        let mut stream = TcpStream::connect(("127.0.0.1", port_of(&program))).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello\n", "{which}: {}", program.stderr());
    }
}

/// The first local port that a forward tells of.
fn port_of(program: &Program) -> u16 {
    program.expect("Forwarding from 127.0.0.1:");
    let told = program.stdout();
    let (_, behind) = told.split_once("127.0.0.1:").unwrap();
    behind.split(' ').next().unwrap().parse().unwrap()
}

#[test]
fn input_goes_on_when_the_output_has_ended() {
    let (house, container) = house();
    let input = vec![b'x'; 3_000_000];
    for transport in BOTH {
        let script = "exec >&- 2>&-; wc -c > /tmp/counted; exit 3";
        let arguments = ["exec", "-i", container.name(), "--", "sh", "-c", script];
        let got = finish(
            &mut house.preferred(transport, &arguments),
            Input::Bytes(&input),
            LIMIT,
        );
        assert_eq!(got.code, Some(3), "{transport:?}: {}", got.stderr);
        assert_eq!(
            container.exec(&["cat", "/tmp/counted"]),
            "3000000\n",
            "{transport:?}"
        );
    }
}

/// "Unknown stream id 1": kubectl up to 1.33 needs a moment before it can take a frame.
#[test]
fn the_first_frame_is_empty_and_comes_without_company() {
    let (house, container) = house();
    for (streams, channel) in [
        ("stdout=true&stderr=true", 1),
        ("stdin=true&stdout=true", 1),
        ("stderr=true", 2),
    ] {
        let query = format!("command=sh&command=-c&command=echo+now%3B+echo+now+%3E%262&{streams}");
        let path = exec_path(&container, &query);
        // On a busy machine we may come to read only when both are there.
        let alone = (0..20).find_map(|_| {
            let (answer, behind, stream) = head(&house, house.token(), "GET", &path, &WEBSOCKET);
            assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
            behind.is_empty().then_some((behind, stream))
        });
        let (mut behind, mut stream) = alone.expect("the answer without company");
        let mut buffer = [0; 4096];
        while behind.len() < 3 {
            let count = stream.read(&mut buffer).unwrap();
            assert!(count > 0, "{streams}");
            behind.extend_from_slice(&buffer[..count]);
        }
        assert_eq!(behind[..3], [0x82, 1, channel], "{streams}");
    }
}

/// The same by who is concerned: every WebSocket kubectl, again and again.
#[test]
fn the_first_output_is_never_lost() {
    let (house, container) = house();
    for kubectl in kubectls() {
        if kubectl.minor() < 30 {
            continue;
        }
        for round in 0..5 {
            let arguments = ["exec", container.name(), "--", "echo", "the first word"];
            let mut command = house.kubectl(&kubectl, Transport::WebSocket);
            let got = finish(command.args(arguments), Input::Nothing, LIMIT);
            let which = format!("1.{} round {round}: {}", kubectl.minor(), got.stderr);
            assert_eq!(
                (got.code, got.text().as_str()),
                (Some(0), "the first word\n"),
                "{which}"
            );
        }
    }
}

/// Newer kubectls end with their first refused connection, older ones go on: the session does not
/// mind, and is written down as ended when they have.
#[test]
fn a_refused_port_leaves_the_session_to_kubectl() {
    let house = House::start(&HouseOptions::default());
    let serve = ["nc", "-ll", "-p", "9000", "-e", "echo", "hello"];
    let container = house.docker().container(&[], &serve);
    let ended = || {
        let audit = house.audit();
        audit
            .iter()
            .filter(|event| event["event"] == "session.end")
            .count()
    };
    for (number, (kubectl, transport)) in everyone().enumerate() {
        let which = format!("1.{} {transport:?}", kubectl.minor());
        let mut command = house.kubectl(&kubectl, transport);
        command.args(["port-forward", container.name(), ":81", ":9000"]);
        let mut program = Program::start(&mut command, Input::Nothing);
        let both = || program.stdout().matches("127.0.0.1:").count() == 2;
        assert!(eventually(LIMIT, both), "{which}: {}", program.stderr());
        let told = program.stdout();
        let ports: Vec<u16> = told
            .split("127.0.0.1:")
            .skip(1)
            .map(|behind| behind.split(' ').next().unwrap().parse().unwrap())
            .collect();
        let refused = TcpStream::connect(("127.0.0.1", ports[0])).unwrap();
        let heard = eventually(LIMIT, || program.stderr().contains("refused"));
        assert!(heard, "{which}: {}", program.stderr());
        drop(refused);
        let mut text = String::new();
        if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", ports[1])) {
            stream.set_read_timeout(Some(LIMIT)).unwrap();
            // kubectl may be ending.
            let _cut = stream.read_to_string(&mut text);
        }
        if text != "hello\n" {
            let over = eventually(LIMIT, || !program.is_running());
            assert!(
                over,
                "{which}: neither an answer nor an end: {}",
                program.stderr()
            );
        }
        program.kill();
        assert!(eventually(LIMIT, || ended() == number + 1), "{which}");
    }
}

#[test]
fn a_failed_start_is_told_once_and_the_same_over_every_transport() {
    let (house, container) = house();
    let mut told = BTreeSet::new();
    for (kubectl, transport) in everyone() {
        let arguments = ["exec", container.name(), "--", "no-such-program"];
        let mut command = house.kubectl(&kubectl, transport);
        let got = finish(command.args(arguments), Input::Nothing, LIMIT);
        let which = format!("1.{} {transport:?}: {}", kubectl.minor(), got.stderr);
        assert!(got.code.is_some_and(|code| code != 0), "{which}");
        assert_eq!(got.stderr.matches("no-such-program").count(), 1, "{which}");
        assert!(
            got.stderr.matches("nternal error occurred").count() <= 1,
            "{which}"
        );
        told.insert((got.code, got.stderr));
    }
    assert_eq!(told.len(), 1, "{told:#?}");
}
