//! Every way into a container under one set of rules: what each refuses, what it lets through, and
//! what is written down. On the containers of an agent, and the same through a kube-apiserver.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a failed unwrap is a failed test"
)]

use std::{fs, io::Read, net::TcpStream, path::PathBuf, process::Command, time::Duration};

use dockin_harness::{
    ApiServer, Container, Credential, House, HouseOptions, Input, Kubectl, Program, Pty, Transport,
    eventually, finish,
};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_secs(40);

const RULES: &str = "
name: routes
default: allow
on_unknown: deny
rules:
  - { id: no-delete, effect: forbid, commands: [rm], message: nothing is deleted here }
  - { id: no-locked, effect: forbid, writes: ['/data/locked/**'] }
  - { id: no-secret, effect: forbid, reads: ['/data/secret/**'] }
  - { id: no-system, effect: forbid, ports: [1-1023] }
";

/// The containers of one house, reached as those of `cluster`.
struct Routes {
    house: House,
    // Served as long as somebody asks it.
    _apiserver: Option<ApiServer>,
    cluster: &'static str,
    kubeconfig: PathBuf,
}

/// What a route is asked for, and what is to come of it.
struct Refusal<'a> {
    route: &'a str,
    arguments: Vec<&'a str>,
    input: Input<'a>,
    /// What runs all the same.
    prints: &'a str,
    rule: &'a str,
    /// Member of the audit event that tells what was refused, and what it says.
    says: (&'a str, Value),
}

impl Routes {
    fn of_agents() -> Self {
        let house = Self::house();
        let kubeconfig = house.kubeconfig().to_owned();
        Self {
            house,
            _apiserver: None,
            cluster: "local",
            kubeconfig,
        }
    }

    fn of_an_apiserver() -> Self {
        let mut house = Self::house();
        let apiserver = ApiServer::start(&mut house);
        let upstream = apiserver.kubeconfig(Credential::Token);
        fs::write(house.data().join("prod.kubeconfig"), upstream).unwrap();
        let file = house.data().join("opserver.yaml");
        let mut text = fs::read_to_string(&file).unwrap();
        text.push_str("  - name: prod\n    kubeconfig: prod.kubeconfig\n");
        fs::write(file, text).unwrap();
        house.restart_gateway();
        let text = fs::read_to_string(house.kubeconfig()).unwrap();
        let kubeconfig = house.kubeconfig().with_file_name("prod");
        let changed = text.replace("/clusters/local", "/clusters/prod");
        fs::write(&kubeconfig, changed).unwrap();
        Self {
            house,
            _apiserver: Some(apiserver),
            cluster: "prod",
            kubeconfig,
        }
    }

    fn house() -> House {
        House::start(&HouseOptions {
            rules: Some(RULES.to_owned()),
            ..HouseOptions::default()
        })
    }

    fn kubectl(&self, transport: Transport, arguments: &[&str]) -> Command {
        let scratch = self.house.scratch();
        let mut command = Kubectl::preferred().command(transport, &self.kubeconfig, scratch);
        command.args(arguments);
        command
    }

    /// Events of the cluster with one of these codes, behind the first `skipped` of the trail.
    fn events(&self, skipped: usize, codes: &[&str]) -> Vec<Value> {
        let is_one = |event: &Value| {
            event["target"]["cluster"] == self.cluster
                && codes.iter().any(|code| event["code"] == *code)
        };
        let audit = self.house.audit().into_iter().skip(skipped);
        audit.filter(is_one).collect()
    }

    /// Does what a forbidden command does behind every route that carries commands.
    fn refuses(&self, transport: Transport, refusal: Refusal<'_>) {
        let Refusal { route, rule, .. } = refusal;
        let before = self.house.audit().len();
        let mut command = self.kubectl(transport, &refusal.arguments);
        let got = finish(&mut command, refusal.input, LIMIT);
        assert!(got.stderr.contains(rule), "{route}: {}", got.stderr);
        assert_eq!(got.text(), refusal.prints, "{route}: {}", got.stderr);
        let refused = self.events(before, &["CMD-002"]);
        assert_eq!(refused.len(), 1, "{route}: {refused:?}");
        assert_refused_by(rule, &refused[0]);
        let (member, text) = refusal.says;
        assert_eq!(refused[0][member], text, "{route}: {}", refused[0]);
    }

    fn attach(&self, transport: Transport, container: &Container, words: &[&str]) -> Program {
        let arguments = [&["attach", container.name()], words].concat();
        let input = if words.is_empty() {
            Input::Nothing
        } else {
            Input::Held
        };
        Program::start(&mut self.kubectl(transport, &arguments), input)
    }

    fn forward(&self, transport: Transport, pod: &str, port: &str) -> (Program, TcpStream) {
        let pair = format!(":{port}");
        let mut command = self.kubectl(transport, &["port-forward", pod, &pair]);
        let program = Program::start(&mut command, Input::Nothing);
        program.expect("Forwarding from 127.0.0.1:");
        let told = program.stdout();
        let (_, behind) = told.split_once("127.0.0.1:").unwrap();
        let local: u16 = behind.split(' ').next().unwrap().parse().unwrap();
        let stream = TcpStream::connect(("127.0.0.1", local)).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        (program, stream)
    }

    fn check(&self, transport: Transport) {
        let script = "mkdir -p /data/locked /data/secret; echo precious > /data/keep; \
                      echo key > /data/secret/key; echo logged; \
                      exec nc -ll -p 9000 -e echo welcome";
        let container = self.house.docker().container(&[], &["sh", "-c", script]);
        let ready = || container.exec(&["cat", "/data/secret/key"]) == "key\n";
        assert!(eventually(SOON, ready));
        self.check_commands(transport, &container);
        self.check_copies(transport, &container);
        self.check_terminal(transport, &container);
        self.check_ports(transport, &container);
        self.check_attach(transport);
        self.check_logs(transport, &container);
        assert_eq!(container.exec(&["cat", "/data/keep"]), "precious\n");
        assert_eq!(container.exec(&["ls", "/data/locked"]), "");
    }

    fn check_commands(&self, transport: Transport, container: &Container) {
        let pod = container.name();
        let argv = ["rm", "/data/keep"];
        let line = "rm /data/keep";
        for refusal in [
            Refusal {
                route: "exec argv",
                arguments: [&["exec", pod, "--"], &argv[..]].concat(),
                input: Input::Nothing,
                prints: "",
                rule: "no-delete",
                says: ("argv", serde_json::json!(argv)),
            },
            Refusal {
                route: "sh -c",
                arguments: vec!["exec", pod, "--", "sh", "-c", "echo on; rm /data/keep"],
                input: Input::Nothing,
                prints: "",
                rule: "no-delete",
                says: (
                    "argv",
                    serde_json::json!(["sh", "-c", "echo on; rm /data/keep"]),
                ),
            },
            Refusal {
                route: "script",
                arguments: vec!["exec", "-i", pod, "--", "sh"],
                input: Input::Bytes(b"echo one\nrm /data/keep\necho two\n"),
                prints: "one\ntwo\n",
                rule: "no-delete",
                says: ("line", line.into()),
            },
        ] {
            self.refuses(transport, refusal);
        }
        let before = self.house.audit().len();
        let mut command = self.kubectl(transport, &["exec", pod, "--", "cat", "/data/keep"]);
        let got = finish(&mut command, Input::Nothing, LIMIT);
        assert_eq!(got.text(), "precious\n", "{}", got.stderr);
        let allowed = self.events(before, &["CMD-001"]);
        assert_eq!(allowed[0]["argv"], serde_json::json!(["cat", "/data/keep"]));
    }

    fn check_copies(&self, transport: Transport, container: &Container) {
        let pod = container.name();
        let local = self.house.scratch().join("local");
        fs::write(&local, "mine").unwrap();
        let local = local.to_str().unwrap();
        let (up, down) = (
            format!("{pod}:/data/locked/x"),
            format!("{pod}:/data/secret/key"),
        );
        let got = self.house.scratch().join("got").display().to_string();
        self.refuses(
            transport,
            Refusal {
                route: "cp up",
                arguments: vec!["cp", local, &up],
                input: Input::Nothing,
                prints: "",
                rule: "no-locked",
                says: (
                    "argv",
                    serde_json::json!(["tar", "-xmf", "-", "-C", "/data/locked"]),
                ),
            },
        );
        self.refuses(
            transport,
            Refusal {
                route: "cp down",
                arguments: vec!["cp", &down, &got],
                input: Input::Nothing,
                prints: "",
                rule: "no-secret",
                says: (
                    "argv",
                    serde_json::json!(["tar", "cf", "-", "/data/secret/key"]),
                ),
            },
        );
        assert!(self.events(0, &["CPY-001"]).is_empty());
    }

    fn check_terminal(&self, transport: Transport, container: &Container) {
        let before = self.house.audit().len();
        let arguments = ["exec", "-it", container.name(), "--", "sh"];
        let mut pty = Pty::spawn(&self.kubectl(transport, &arguments));
        let shown = pty.expect(0, "# ");
        pty.send("rm /data/keep\r");
        let shown = pty.expect(shown, "no-delete");
        pty.send("echo al''ive\r");
        pty.expect(shown, "\nalive");
        pty.kill();
        let refused = self.events(before, &["CMD-002"]);
        assert_eq!(refused.len(), 1, "{refused:?}");
        assert_refused_by("no-delete", &refused[0]);
        assert_eq!(refused[0]["line"], "rm /data/keep");
    }

    fn check_ports(&self, transport: Transport, container: &Container) {
        let before = self.house.audit().len();
        let (program, mut stream) = self.forward(transport, container.name(), "22");
        let mut text = String::new();
        // However the refused connection ends.
        let _reset = stream.read_to_string(&mut text);
        assert_eq!(text, "");
        let told = || program.stderr();
        assert!(
            eventually(SOON, || told().contains("no-system")),
            "{}",
            told()
        );
        let (program, mut stream) = self.forward(transport, container.name(), "9000");
        stream.read_to_string(&mut text).unwrap();
        assert_eq!(text, "welcome\n", "{}", program.stderr());
        let ports: Vec<_> = self
            .events(before, &["FWD-001", "FWD-002"])
            .iter()
            .map(|event| (event["code"].clone(), event["port"].clone()))
            .collect();
        assert_eq!(
            ports,
            [
                ("FWD-002".into(), 22.into()),
                ("FWD-001".into(), 9000.into())
            ]
        );
        assert_refused_by("no-system", &self.events(before, &["FWD-002"])[0]);
    }

    fn check_attach(&self, transport: Transport) {
        let before = self.house.audit().len();
        let docker = self.house.docker();
        // A main process that is a shell, without a terminal and at one.
        let shell = docker.container(&["--interactive"], &["sh"]);
        let mut attached = self.attach(transport, &shell, &["-i"]);
        let mut says = |text: &str| {
            eventually(LIMIT, || {
                attached.write(format!("echo {text}\n").as_bytes());
                eventually(Duration::from_secs(1), || attached.stdout().contains(text))
            })
        };
        assert!(says("there"));
        attached.write(b"touch /keep; rm /keep\n");
        assert!(eventually(SOON, || attached.stderr().contains("no-delete")));
        let mut says = |text: &str| {
            attached.write(format!("echo {text}\n").as_bytes());
            eventually(SOON, || attached.stdout().contains(text))
        };
        assert!(says("still"));
        let refused = self.events(before, &["CMD-002"]);
        assert_eq!(refused.len(), 1, "{refused:?}");
        assert_refused_by("no-delete", &refused[0]);
        drop(attached);

        let shell = docker.container(&["--interactive", "--tty"], &["sh"]);
        let mut pty = Pty::spawn(&self.kubectl(transport, &["attach", "-it", shell.name()]));
        let prompts = eventually(SOON, || {
            pty.send("\r");
            eventually(Duration::from_secs(1), || pty.screen().contains("# "))
        });
        assert!(prompts, "{}", pty.screen());
        let shown = pty.screen().len();
        pty.send("rm /keep\r");
        pty.expect(shown, "no-delete");
        pty.kill();
        assert_eq!(self.events(before, &["CMD-002"]).len(), 2);

        // Nobody knows what a main process is: lines arrive as they are, but what a shell would
        // have to run a forbidden program for.
        let before = self.house.audit().len();
        let echo = docker.container(&["--interactive"], &["cat"]);
        let mut attached = self.attach(transport, &echo, &["-i"]);
        let heard = eventually(LIMIT, || {
            attached.write(b"good day, 42!\n");
            eventually(Duration::from_secs(1), || {
                attached.stdout().contains("good day, 42!\n")
            })
        });
        assert!(heard, "{}", attached.stderr());
        attached.write(b"rm everything\nover\n");
        assert!(eventually(SOON, || attached.stdout().ends_with("over\n")));
        assert!(!attached.stdout().contains("everything"));
        assert_eq!(self.events(before, &["CMD-002"]).len(), 1);
        drop(attached);

        // Who only looks types nothing.
        let before = self.house.audit().len();
        let talker = docker.container(
            &[],
            &["sh", "-c", "while true; do echo rm; sleep 0.1; done"],
        );
        let mut attached = self.attach(transport, &talker, &[]);
        attached.expect("rm\nrm\n");
        attached.kill();
        assert!(self.events(before, &["CMD-001", "CMD-002"]).is_empty());
        let started = self.events(before, &["SES-001"]);
        assert_eq!(started.len(), 1, "{started:?}");
        assert_eq!(started[0]["verb"], "attach");
    }

    /// Logs are read: there is nothing to type, and nothing is judged.
    fn check_logs(&self, transport: Transport, container: &Container) {
        let before = self.house.audit().len();
        let mut command = self.kubectl(transport, &["logs", container.name()]);
        let got = finish(&mut command, Input::Bytes(b"rm /data/keep\n"), LIMIT);
        assert_eq!(got.text(), "logged\n", "{}", got.stderr);
        let mut stream = self.house.audit();
        let behind = stream.split_off(before);
        let commands = |event: &&Value| event["event"].as_str().unwrap().starts_with("command.");
        assert_eq!(behind.iter().find(commands), None);
    }
}

fn assert_refused_by(rule: &str, event: &Value) {
    assert_eq!(event["rule"], rule, "{event}");
    assert_eq!(event["decision"], "deny", "{event}");
    assert_eq!(event["principal"]["user"], "alice", "{event}");
    assert!(event["session"].is_string(), "{event}");
    assert!(event["reason"].as_str().unwrap().contains(rule), "{event}");
}

#[test]
fn every_route_to_the_containers_of_an_agent_is_policed() {
    let routes = Routes::of_agents();
    for transport in [Transport::WebSocket, Transport::Spdy] {
        routes.check(transport);
    }
}

#[test]
fn every_route_through_an_apiserver_is_policed() {
    let routes = Routes::of_an_apiserver();
    for transport in [Transport::WebSocket, Transport::Spdy] {
        routes.check(transport);
    }
}
