//! Ports, with `kubectl port-forward`.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, TcpStream},
};

use dockin_harness::{House, HouseOptions, Input, Kubectl, Program, Transport, eventually};
use serde_json::Value;

use crate::{BOTH, LIMIT, SECONDS, everyone, house, idle, noise};

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
fn a_forbidden_port_is_refused_with_the_reason_by_every_kubectl() {
    let rules = "
name: ports
rules:
  - { id: no-system, effect: forbid, ports: [1-1023], message: these belong to the system }
";
    let house = House::start(&HouseOptions {
        rules: Some(rules.to_owned()),
        ..HouseOptions::default()
    });
    let script = "httpd -f -p 80 -h / & exec nc -ll -p 9000 -e echo welcome";
    let container = house.docker().container(&[], &["sh", "-c", script]);
    for (kubectl, transport) in everyone() {
        let which = format!("1.{} {transport:?}", kubectl.minor());
        let forward = Forward::start(&house, &kubectl, transport, container.name(), 80);
        let mut stream = forward.connect();
        let _may_be_refused_already = stream.write_all(b"GET / HTTP/1.0\r\n\r\n");
        assert_eq!(read_all(&mut stream, &which), "");
        let told = eventually(SECONDS, || {
            let told = forward.program.stderr();
            told.contains("`port 80` refused by rule `no-system`: these belong to the system")
        });
        assert!(told, "{which}: {}", forward.program.stderr());
        let forward = Forward::start(&house, &kubectl, transport, container.name(), 9000);
        assert_eq!(read_all(&mut forward.connect(), &which), "welcome\n");
    }
    let count = |code: &str| {
        let audit = house.audit().into_iter();
        audit.filter(|event| event["code"] == code).count()
    };
    assert_eq!(count("FWD-002"), everyone().count());
    assert_eq!(count("FWD-001"), everyone().count());
}
