//! The built program: a resource manager on loopback, plugins as shell scripts, records on disk.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test stops where a value is not what it must be"
)]

use std::{
    fs,
    io::{Read, Write},
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Child, Command, Output, Stdio},
    thread,
};

use serde_json::{Value, json};
use tempfile::TempDir;

/// Notes every call and answers `ADD` with the address of its configuration.
const PLUGIN: &str = r#"#!/bin/sh
config=$(cat)
echo "$CNI_COMMAND $CNI_IFNAME $CNI_ARGS" >> "$(dirname "$0")/calls"
if [ "$CNI_COMMAND" = ADD ]; then
    address=$(printf %s "$config" | sed 's/.*"address":"\([^"]*\)".*/\1/')
    printf '{"cniVersion":"1.0.0","ips":[{"address":"%s"}]}' "$address"
fi
"#;

struct Node {
    directory: TempDir,
    backend: String,
}

impl Node {
    fn new(backend: String) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let node = Self { directory, backend };
        for name in ["bin", "net.d"] {
            fs::create_dir(node.path(name)).unwrap();
        }
        let plugin = Path::new(&node.path("bin")).join("script");
        fs::write(&plugin, PLUGIN).unwrap();
        fs::set_permissions(&plugin, fs::Permissions::from_mode(0o755)).unwrap();
        let network = json!({"cniVersion": "1.0.0", "name": "webank", "type": "script"});
        fs::write(node.path("net.d/10.conf"), network.to_string()).unwrap();
        fs::write(node.path("net.d/20.conf"), "// not JSON").unwrap();
        node
    }

    fn path(&self, name: &str) -> String {
        let path = self.directory.path().join(name);
        path.to_str().unwrap().to_owned()
    }

    fn run(&self, verb: &str) -> Output {
        self.start(verb).wait_with_output().unwrap()
    }

    fn start(&self, verb: &str) -> Child {
        let config = json!({
            "cniVersion": "1.0.0", "name": "dockin", "type": "dockin-cni",
            "backend": self.backend,
            "confDir": self.path("net.d"), "binDir": self.path("bin"),
            "stateDir": self.path("state"),
            "logFile": self.path("log"), "logLevel": "info",
        });
        let mut child = Command::new(env!("CARGO_BIN_EXE_dockin-cni"))
            .env("CNI_COMMAND", verb)
            .env("CNI_CONTAINERID", "c1")
            .env("CNI_NETNS", "/run/netns/none")
            .env("CNI_IFNAME", "eth0")
            .env("CNI_PATH", "/nowhere")
            .env(
                "CNI_ARGS",
                "IgnoreUnknown=1;K8S_POD_NAMESPACE=ns;K8S_POD_NAME=web-0",
            )
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take();
        stdin
            .unwrap()
            .write_all(config.to_string().as_bytes())
            .unwrap();
        child
    }

    fn calls(&self) -> String {
        fs::read_to_string(self.path("bin/calls")).unwrap_or_default()
    }
}

/// A resource manager that gives one answer; its address, and the question it got.
fn resource_manager(answer: &Value) -> (String, thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!(
        "http://{}/rmController/getPodMultiNetwork",
        listener.local_addr().unwrap()
    );
    let body = answer.to_string();
    let asked = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        let mut buffer = [0; 1024];
        while !request.ends_with(b"\r\n\r\n") {
            let count = stream.read(&mut buffer).unwrap();
            request.extend_from_slice(&buffer[..count]);
        }
        let length = body.len();
        write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}"
        )
        .unwrap();
        String::from_utf8(request).unwrap()
    });
    (address, asked)
}

#[test]
fn a_pod_is_attached_checked_and_gone_again() {
    let (backend, asked) = resource_manager(&json!({"code": 0, "reqId": "1", "data": [{
        "type": "webank", "podIp": "10.0.0.2", "subnetMask": "255.255.255.0",
        "gateway": "10.0.0.1", "ifName": "eth0", "master": true,
    }]}));
    let node = Node::new(backend);
    let added = node.run("ADD");
    let result: Value = serde_json::from_slice(&added.stdout).unwrap();
    assert_eq!(
        result,
        json!({
            "cniVersion": "1.0.0",
            "interfaces": [{"name": "eth0", "sandbox": "/run/netns/none"}],
            "ips": [{"address": "10.0.0.2/24", "interface": 0}],
        })
    );
    assert!(asked.join().unwrap().starts_with(
        "GET /rmController/getPodMultiNetwork?podName=web-0&namespace=ns&containerId=c1 HTTP/1.1"
    ));
    // The resource manager is gone from here on.
    for verb in ["CHECK", "DEL", "DEL"] {
        let done = node.run(verb);
        assert!(
            done.status.success() && done.stdout.is_empty(),
            "{verb}: {done:?}"
        );
    }
    let verbs: Vec<_> = node.calls().lines().map(|it| it[..3].to_owned()).collect();
    assert_eq!(verbs, ["ADD", "CHE", "DEL"]);
    assert!(
        node.calls().contains("K8S_POD_NAME=web-0"),
        "{}",
        node.calls()
    );
    assert!(
        fs::read_to_string(node.path("log"))
            .unwrap()
            .contains("20.conf is passed over")
    );
    // And the pod is known: its last answer is enough to start it again.
    assert_eq!(node.run("ADD").stdout, added.stdout);
}

#[test]
fn of_calls_for_one_attachment_at_once_one_makes_it_and_the_others_are_told() {
    let (backend, asked) = resource_manager(&json!({"code": 0, "data": [{
        "type": "webank", "podIp": "10.0.0.2/24", "ifName": "eth0", "master": true,
    }]}));
    let node = Node::new(backend);
    let children: Vec<_> = (0..6).map(|_| node.start("ADD")).collect();
    let outputs = children
        .into_iter()
        .map(|it| it.wait_with_output().unwrap());
    let (made, told): (Vec<_>, Vec<_>) = outputs.partition(|it| it.status.success());
    assert_eq!((made.len(), told.len()), (1, 5));
    for output in told {
        let error: Value = serde_json::from_slice(&output.stdout).unwrap();
        let message = error["msg"].as_str().unwrap();
        assert!(message.contains("attached already"), "{message}");
    }
    asked.join().unwrap();
    assert_eq!(node.calls().lines().count(), 1, "{}", node.calls());
    assert!(node.run("DEL").status.success());
    assert_eq!(node.calls().lines().count(), 2, "{}", node.calls());
}

#[test]
fn an_unknown_pod_is_told_to_try_again_while_nobody_answers() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let backend = format!("http://{}/", listener.local_addr().unwrap());
    drop(listener);
    let node = Node::new(backend);
    let added = node.run("ADD");
    let error: Value = serde_json::from_slice(&added.stdout).unwrap();
    assert_eq!((added.status.code(), &error["code"]), (Some(1), &json!(11)));
    assert!(
        error["msg"].as_str().unwrap().starts_with("`backend`"),
        "{error}"
    );
    assert_eq!(node.calls(), "");
}
