//! What the rules say `ask` about waits for a second person: a gateway with somebody to ask, real
//! kubectl in front of it.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a failed unwrap is a failed test"
)]

use std::{
    fs,
    io::Read,
    net::TcpStream,
    sync::{Arc, Mutex, mpsc},
    thread,
    time::Duration,
};

use async_trait::async_trait;
use dockin_core::{
    access_list::{AccessEntry, AccessList},
    approval::{Answer, ApprovalRequest, Approvals},
    audit::FileSink,
    gateway::{Cluster, Gateway},
    identity::TokenFile,
    policy::Rules,
    runtime::agent::AgentRuntime,
    service::HttpEndpoint,
    tls::{self, Identity},
};
use dockin_harness::{
    Container, House, HouseOptions, Input, Kubectl, Program, Pty, Transport, eventually, finish,
};
use serde_json::Value;
use tokio::{net::TcpListener, runtime::Runtime, sync::oneshot};
use tokio_util::sync::CancellationToken;

const LIMIT: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_secs(40);
const WAIT: Duration = Duration::from_secs(4);

const RULES: &str = "
name: approvals
default: allow
on_unknown: ask
contact: the lead
rules:
  - id: ask-touch
    effect: ask
    commands: [touch]
    message: somebody else has to agree
  - id: ask-database
    effect: ask
    ports: [5432]
    message: somebody else has to agree to the database
";

type Question = (ApprovalRequest, oneshot::Sender<Answer>);

/// Brings each question to the test, which is the second person.
struct Bell(Mutex<mpsc::Sender<Question>>);

#[async_trait]
impl Approvals for Bell {
    async fn ask(&self, request: ApprovalRequest) -> Answer {
        let (answer, answered) = oneshot::channel();
        let _asked = self.0.lock().unwrap().send((request, answer));
        match answered.await {
            Ok(answer) => answer,
            // The test does not answer.
            Err(_) => std::future::pending().await,
        }
    }
}

struct Asking {
    // Stopped before the house goes.
    _runtime: Runtime,
    house: House,
    container: Container,
}

impl Asking {
    /// A second gateway in front of a house's agent.
    fn start() -> (Self, mpsc::Receiver<Question>) {
        let house = House::start(&HouseOptions::default());
        let script = "mkdir -p /data; exec nc -ll -p 5432 -e echo rows";
        let container = house.docker().container(&[], &["sh", "-c", script]);
        let data = house.data();
        let agent = data.join("agents").join(house.node()).join("opagent.yaml");
        let agent = fs::read_to_string(agent).unwrap();
        let listen = agent.lines().find_map(|line| line.strip_prefix("listen: "));
        let address = listen.unwrap().trim().to_owned();
        let authority = tls::certificates(&data.join("tls/ca.pem")).unwrap();
        let load = |name: &str| {
            let file = |extension| data.join(format!("tls/{name}.{extension}"));
            Identity::load(&file("pem"), &file("key")).unwrap()
        };
        let client_tls = tls::client_config(&authority, Some(load("gateway"))).unwrap();
        let name = tls::agent_name(house.node()).unwrap();
        let endpoint = HttpEndpoint::new("the agent", &address, &name, client_tls).unwrap();
        let agents = [(house.node().to_owned(), AgentRuntime::new(endpoint))];
        let access = AccessList::new(vec![AccessEntry::everything_for("alice")]).unwrap();
        let tokens = TokenFile::load(data.join("tokens.yaml")).unwrap();
        let runtime = Runtime::new().unwrap();
        let (bell, questions) = mpsc::channel();
        let address = runtime.block_on(async {
            let audit = FileSink::open(data.join("asking/audit.jsonl")).unwrap();
            let rules = Rules::from_text(RULES).unwrap();
            let gateway =
                Gateway::builder(Arc::new(tokens), Arc::new(access), Arc::new(audit), rules)
                    .cluster(Cluster::of_agents("local", agents))
                    .approvals(Arc::new(Bell(Mutex::new(bell))), WAIT)
                    .build()
                    .unwrap();
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let tls = tls::server_config(load("server"), None).unwrap();
            tokio::spawn(Arc::new(gateway).serve(listener, tls, CancellationToken::new()));
            address
        });
        let text = fs::read_to_string(house.kubeconfig()).unwrap();
        let text = text.replace(&house.url(), &format!("https://{address}"));
        fs::write(house.kubeconfig(), text).unwrap();
        let asking = Self {
            _runtime: runtime,
            house,
            container,
        };
        (asking, questions)
    }

    fn events(&self) -> Vec<Value> {
        let file = self.house.data().join("asking/audit.jsonl");
        let text = fs::read_to_string(file).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    fn codes(&self) -> Vec<String> {
        let mut codes: Vec<String> = self
            .events()
            .iter()
            .map(|event| event["code"].as_str().unwrap().to_owned())
            .collect();
        codes.retain(|code| ["APR", "CMD", "FWD"].contains(&&code[..3]));
        codes
    }

    fn kubectl(&self, arguments: &[&str]) -> std::process::Command {
        let mut command = self
            .house
            .kubectl(&Kubectl::preferred(), Transport::WebSocket);
        command.args(arguments);
        command
    }

    fn exists(&self, file: &str) -> bool {
        let script = format!("test -e {file} && echo yes || echo no");
        self.container.exec(&["sh", "-c", &script]) == "yes\n"
    }
}

fn approved(by: &str) -> Answer {
    Answer::Approved { by: by.to_owned() }
}

#[test]
fn a_typed_line_waits_runs_when_approved_and_not_otherwise() {
    let (asking, questions) = Asking::start();
    let mut pty =
        Pty::spawn(&asking.kubectl(&["exec", "-it", asking.container.name(), "--", "bash"]));
    pty.expect(0, "# ");
    thread::sleep(Duration::from_millis(300));
    pty.send("touch /data/one\r");
    let shown = pty.expect(0, "waits for a second person");
    let (request, answer) = questions.recv_timeout(SOON).unwrap();
    assert_eq!(
        (request.line.as_str(), request.number),
        ("touch /data/one", 1)
    );
    assert_eq!(request.principal.user, "alice");
    assert_eq!(request.rule.as_deref(), Some("ask-touch"));
    assert!(!asking.exists("/data/one"));
    answer.send(approved("bob")).unwrap();
    let shown = pty.expect(shown, "approved by bob");
    assert!(eventually(SOON, || asking.exists("/data/one")));

    thread::sleep(Duration::from_millis(500));
    pty.send("touch /data/two\r");
    let shown = pty.expect(shown, "waits for a second person");
    let (_, answer) = questions.recv_timeout(SOON).unwrap();
    answer.send(approved("alice")).unwrap();
    let shown = pty.expect(shown, "nobody approves his own commands");

    thread::sleep(Duration::from_millis(500));
    pty.send("touch /data/three\r");
    let shown = pty.expect(shown, "waits for a second person");
    let _unanswered = questions.recv_timeout(SOON).unwrap();
    let shown = pty.expect(shown, "nobody approved it in time");

    thread::sleep(Duration::from_millis(500));
    pty.send("touch /data/four\r");
    let shown = pty.expect(shown, "waits for a second person");
    let _taken_back = questions.recv_timeout(SOON).unwrap();
    pty.send("\x03");
    let shown = pty.expect(shown, "cancelled");

    thread::sleep(Duration::from_millis(500));
    pty.send("touch /data/five\r");
    pty.expect(shown, "waits for a second person");
    let _left = questions.recv_timeout(SOON).unwrap();
    pty.kill();
    let settled = [
        "APR-001", "APR-002", "CMD-001", "APR-001", "APR-003", "CMD-002", "APR-001", "APR-004",
        "CMD-002", "APR-001", "APR-003", "CMD-002", "APR-001", "APR-003",
    ];
    // The first is the shell itself.
    let wanted: Vec<&str> = ["CMD-001"].into_iter().chain(settled).collect();
    assert!(
        eventually(SOON, || asking.codes() == wanted),
        "{:?}\n{}",
        asking.codes(),
        pty.screen()
    );
    for file in ["two", "three", "four", "five"] {
        assert!(!asking.exists(&format!("/data/{file}")), "{file}");
    }
    let granted = asking
        .events()
        .into_iter()
        .find(|event| event["code"] == "APR-002");
    let granted = granted.unwrap();
    assert_eq!(granted["approver"], "bob");
    assert_eq!(granted["principal"]["user"], "alice");
}

#[test]
fn commands_and_scripts_wait_as_well() {
    let (asking, questions) = Asking::start();
    let name = asking.container.name().to_owned();
    thread::scope(|scope| {
        let run = |arguments: Vec<String>, input: Input<'static>| {
            let asking = &asking;
            move || {
                let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
                finish(&mut asking.kubectl(&words), input, LIMIT)
            }
        };
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let exec: Vec<String> = words(&["exec", &name, "--", "sh", "-c", "touch /data/a"]);

        let running = scope.spawn(run(exec.clone(), Input::Nothing));
        let (request, answer) = questions.recv_timeout(SOON).unwrap();
        assert_eq!(
            (request.line.as_str(), request.number),
            ("sh -c touch /data/a", 0)
        );
        assert!(!asking.exists("/data/a"));
        answer.send(approved("bob")).unwrap();
        let got = running.join().unwrap();
        assert_eq!(got.code, Some(0), "{}", got.stderr);
        assert!(asking.exists("/data/a"));

        let running = scope.spawn(run(exec, Input::Nothing));
        let (_, answer) = questions.recv_timeout(SOON).unwrap();
        let why = "not today".to_owned();
        let by = "bob".to_owned();
        answer.send(Answer::Refused { by, why }).unwrap();
        // kubectl tries again over SPDY, which is another question.
        if let Ok((_, answer)) = questions.recv_timeout(Duration::from_secs(2)) {
            let (by, why) = ("bob".to_owned(), "not today".to_owned());
            answer.send(Answer::Refused { by, why }).unwrap();
        }
        let got = running.join().unwrap();
        assert_eq!(got.code, Some(1), "{}", got.stderr);
        assert!(
            got.stderr.contains("refused by bob: not today"),
            "{}",
            got.stderr
        );

        let script = "echo one\ntouch /data/b\necho two\n";
        let running = scope.spawn(run(
            words(&["exec", "-i", &name, "--", "sh"]),
            Input::Bytes(script.as_bytes()),
        ));
        let (request, answer) = questions.recv_timeout(SOON).unwrap();
        assert_eq!(request.line, "touch /data/b");
        assert!(!asking.exists("/data/b"));
        answer.send(approved("bob")).unwrap();
        let got = running.join().unwrap();
        assert_eq!(got.text(), "one\ntwo\n", "{}", got.stderr);
        assert!(
            got.stderr.contains("waits for a second person"),
            "{}",
            got.stderr
        );
        assert!(asking.exists("/data/b"));
    });
}

/// `kubectl port-forward` to the port that is asked about, and a connection to it.
fn forwarded(asking: &Asking) -> (Program, u16) {
    let mut command = asking.kubectl(&["port-forward", asking.container.name(), ":5432"]);
    let program = Program::start(&mut command, Input::Nothing);
    program.expect("Forwarding from 127.0.0.1:");
    let told = program.stdout();
    let (_, behind) = told.split_once("127.0.0.1:").unwrap();
    let port = behind.split(' ').next().unwrap().parse().unwrap();
    (program, port)
}

fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream
}

fn read_all(mut stream: TcpStream) -> String {
    let mut bytes = Vec::new();
    // However the other side ends it.
    let _reset = stream.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn a_port_waits_and_is_asked_about_once_a_session() {
    let (asking, questions) = Asking::start();
    let (program, port) = forwarded(&asking);
    // As browsers do: several at once, of which one gives up.
    let waiting = [connect(port), connect(port)];
    drop(connect(port));
    let (request, answer) = questions.recv_timeout(SOON).unwrap();
    assert_eq!(
        (request.line.as_str(), request.number),
        ("port-forward 5432", 1)
    );
    assert_eq!(request.principal.user, "alice");
    assert_eq!(request.target.pod, asking.container.name());
    assert_eq!(request.rule.as_deref(), Some("ask-database"));
    answer.send(approved("bob")).unwrap();
    for stream in waiting {
        assert_eq!(read_all(stream), "rows\n", "{}", program.stderr());
    }
    assert_eq!(read_all(connect(port)), "rows\n", "{}", program.stderr());
    assert!(questions.try_recv().is_err(), "asked twice");
    let forwards = asking.events().into_iter();
    let forwards: Vec<Value> = forwards
        .filter(|event| event["code"] == "FWD-001")
        .collect();
    assert!(forwards.len() >= 3, "{forwards:?}");
    for event in forwards {
        assert_eq!(
            (&event["decision"], &event["approver"]),
            (&"ask".into(), &"bob".into()),
            "{event}"
        );
    }
    drop(program);

    // Another session is another question.
    let (program, port) = forwarded(&asking);
    let stream = connect(port);
    let (_, answer) = questions.recv_timeout(SOON).unwrap();
    let (by, why) = ("bob".to_owned(), "not today".to_owned());
    answer.send(Answer::Refused { by, why }).unwrap();
    assert_eq!(read_all(stream), "");
    let told = || program.stderr();
    assert!(
        eventually(SOON, || told().contains("refused by bob: not today")),
        "{}",
        told()
    );
    drop(program);

    let (program, port) = forwarded(&asking);
    let stream = connect(port);
    let _unanswered = questions.recv_timeout(SOON).unwrap();
    assert_eq!(read_all(stream), "");
    let told = || program.stderr();
    assert!(
        eventually(SOON, || told().contains("nobody approved it in time")),
        "{}",
        told()
    );
    let mut codes = asking.codes();
    codes.retain(|code| code != "FWD-001");
    assert_eq!(
        codes,
        [
            "APR-001", "APR-002", "APR-001", "APR-003", "FWD-002", "APR-001", "APR-004", "FWD-002"
        ]
    );
}
