//! The built program before resource managers that are down, hang, lie or send it elsewhere: a pod
//! that is known starts with its last answer, an unknown one is refused, and nothing is made.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test stops where a value is not what it must be"
)]

use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::TempDir;

/// Notes every call and answers `ADD` with the address of its configuration.
const PLUGIN: &str = r#"#!/bin/sh
config=$(cat)
echo "$CNI_COMMAND $CNI_CONTAINERID" >> "$(dirname "$0")/calls"
if [ "$CNI_COMMAND" = ADD ]; then
    address=$(printf %s "$config" | sed 's/.*"address":"\([^"]*\)".*/\1/')
    printf '{"cniVersion":"1.0.0","ips":[{"address":"%s"}]}' "$address"
fi
"#;

/// What a resource manager does with a question.
#[derive(Clone, Debug)]
enum Manner {
    /// It sends these bytes and hangs up.
    Says(String),
    /// It takes the question and says nothing, until the other end has gone.
    Hangs,
    /// A byte at a time, without end.
    Drips,
    /// A body without end.
    Floods,
}

/// A resource manager whose manner can be changed.
struct Manager {
    address: String,
    manner: Arc<Mutex<Manner>>,
    asked: Arc<AtomicU32>,
}

impl Manager {
    fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let manager = Self {
            address,
            manner: Arc::new(Mutex::new(manner)),
            asked: Arc::default(),
        };
        let (manner, asked) = (Arc::clone(&manager.manner), Arc::clone(&manager.asked));
        thread::spawn(move || {
            for stream in listener.incoming() {
                asked.fetch_add(1, Ordering::SeqCst);
                let manner = manner.lock().unwrap().clone();
                thread::spawn(move || treat(stream.unwrap(), &manner));
            }
        });
        manager
    }

    fn becomes(&self, manner: Manner) {
        *self.manner.lock().unwrap() = manner;
        self.asked.store(0, Ordering::SeqCst);
    }
}

fn treat(mut stream: TcpStream, manner: &Manner) {
    let mut request = Vec::new();
    let mut buffer = [0; 1024];
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read(&mut buffer) {
            Ok(count) if count > 0 => request.extend_from_slice(&buffer[..count]),
            _ => return,
        }
    }
    match manner {
        Manner::Says(text) => drop(stream.write_all(text.as_bytes())),
        Manner::Hangs => while stream.read(&mut buffer).is_ok_and(|count| count > 0) {},
        Manner::Drips => {
            let mut head = b"HTTP/1.1 200 OK\r\nX: "
                .iter()
                .chain(std::iter::repeat(&b'x'));
            while stream.write_all(&[*head.next().unwrap()]).is_ok() {
                thread::sleep(Duration::from_millis(50));
            }
        }
        Manner::Floods => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n{\"code\":0,\"data\":[");
            while stream.write_all(&[b' '; 65_536]).is_ok() {}
        }
    }
}

fn http(status: &str, more: &str, body: &str) -> Manner {
    let length = body.len();
    Manner::Says(format!(
        "HTTP/1.1 {status}\r\n{more}Content-Length: {length}\r\n\r\n{body}"
    ))
}

/// A good answer about a pod.
fn good(pod: &str) -> Value {
    json!({"code": 0, "message": null, "data": [{
        "type": "webank", "podIp": "10.0.0.2", "subnetMask": "255.255.255.0",
        "gateway": "10.0.0.1", "ifName": "eth0", "master": true,
        "podName": pod, "namespace": "ns",
    }]})
}

/// A node, and how its plugin was called.
struct Node {
    directory: TempDir,
    backend: String,
    netns: String,
}

impl Node {
    fn new(manager: &Manager) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let backend = format!("http://{}/rmController/getPodMultiNetwork", manager.address);
        let node = Self {
            directory,
            backend,
            netns: "/run/netns/none".into(),
        };
        for name in ["bin", "net.d"] {
            fs::create_dir(node.path(name)).unwrap();
        }
        let plugin = Path::new(&node.path("bin")).join("script");
        fs::write(&plugin, PLUGIN).unwrap();
        fs::set_permissions(&plugin, fs::Permissions::from_mode(0o755)).unwrap();
        let network = json!({"cniVersion": "1.0.0", "name": "webank", "type": "script"});
        fs::write(node.path("net.d/10.conf"), network.to_string()).unwrap();
        node
    }

    fn path(&self, name: &str) -> String {
        let path = self.directory.path().join(name);
        path.to_str().unwrap().to_owned()
    }

    /// The address that a pod's container gets, or the error's code and message.
    fn add(&self, pod: &str, container: &str) -> Result<String, (u64, String)> {
        let answer = self.call("ADD", pod, container);
        match answer["code"].as_u64() {
            Some(code) => Err((code, answer["msg"].as_str().unwrap().to_owned())),
            None => Ok(answer["ips"][0]["address"].as_str().unwrap().to_owned()),
        }
    }

    fn call(&self, verb: &str, pod: &str, container: &str) -> Value {
        let config = json!({
            "cniVersion": "1.0.0", "name": "dockin", "type": "dockin-cni",
            "backend": self.backend,
            "confDir": self.path("net.d"), "binDir": self.path("bin"),
            "stateDir": self.path("state"),
        });
        let mut child = Command::new(env!("CARGO_BIN_EXE_dockin-cni"))
            .env("CNI_COMMAND", verb)
            .env("CNI_CONTAINERID", container)
            .env("CNI_NETNS", &self.netns)
            .env("CNI_IFNAME", "eth0")
            .env("CNI_PATH", "/nowhere")
            .env(
                "CNI_ARGS",
                format!("IgnoreUnknown=1;K8S_POD_NAMESPACE=ns;K8S_POD_NAME={pod}"),
            )
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take();
        let config = config.to_string();
        stdin.unwrap().write_all(config.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or_default()
    }

    fn calls(&self) -> String {
        fs::read_to_string(self.path("bin/calls")).unwrap_or_default()
    }

    /// How often a network was begun.
    fn begun(&self) -> usize {
        let calls = self.calls();
        calls.lines().filter(|line| line.starts_with("ADD")).count()
    }

    /// The answers that are remembered, by file.
    fn remembered(&self) -> Vec<(String, Vec<u8>)> {
        let mut files = Vec::new();
        for entry in fs::read_dir(self.path("state/dockin/answers")).unwrap() {
            let path = entry.unwrap().path();
            files.push((path.display().to_string(), fs::read(&path).unwrap()));
        }
        files.sort();
        files
    }
}

/// A pod is known from here on, and its container has ended.
fn known(node: &Node, manager: &Manager) {
    manager.becomes(http("200 OK", "", &good("web-0").to_string()));
    assert_eq!(node.add("web-0", "c0").as_deref(), Ok("10.0.0.2/24"));
    node.call("DEL", "web-0", "c0");
}

/// What such a resource manager means: the known pod starts, the unknown one is told to try again.
fn is_as_good_as_down(manner: Manner) {
    let manager = Manager::start(Manner::Hangs);
    let node = Node::new(&manager);
    known(&node, &manager);
    let before = node.remembered();
    manager.becomes(manner.clone());
    assert_eq!(
        node.add("web-0", "c1").as_deref(),
        Ok("10.0.0.2/24"),
        "{manner:?}"
    );
    let begun = node.begun();
    let refused = node.add("web-1", "c2").unwrap_err();
    assert_eq!(refused.0, 11, "{manner:?}: {refused:?}");
    assert!(refused.1.contains("backend"), "{refused:?}");
    assert_eq!(node.begun(), begun, "{manner:?}");
    assert_eq!(node.remembered(), before, "{manner:?}");
}

/// What such a resource manager means: nobody starts, also with code 7, and the last answer stays
/// as it was for when it is mended.
fn is_refused(manner: Manner, words: &str) {
    let manager = Manager::start(Manner::Hangs);
    let node = Node::new(&manager);
    known(&node, &manager);
    let (before, begun) = (node.remembered(), node.begun());
    manager.becomes(manner.clone());
    for (pod, container) in [("web-0", "c1"), ("web-1", "c2")] {
        let refused = node.add(pod, container).unwrap_err();
        assert_eq!(refused.0, 7, "{manner:?}: {refused:?}");
        assert!(refused.1.contains(words), "{manner:?}: {refused:?}");
    }
    // It is not asked again for what will not pass.
    assert_eq!(manager.asked.load(Ordering::SeqCst), 2, "{manner:?}");
    assert_eq!((node.remembered(), node.begun()), (before, begun));
}

#[test]
fn one_that_accepts_and_never_answers_is_as_good_as_down() {
    is_as_good_as_down(Manner::Hangs);
}

#[test]
fn one_that_answers_a_byte_at_a_time_is_as_good_as_down() {
    is_as_good_as_down(Manner::Drips);
}

#[test]
fn one_whose_answer_has_no_end_is_as_good_as_down() {
    is_as_good_as_down(Manner::Floods);
}

#[test]
fn one_that_hangs_up_or_fails_is_as_good_as_down() {
    for manner in [
        Manner::Says(String::new()),
        Manner::Says("HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n{}".into()),
        http("503 Unavailable", "", ""),
        http("500 Internal Server Error", "", "<html>oops</html>"),
        http("429 Too Many Requests", "", ""),
    ] {
        is_as_good_as_down(manner);
    }
}

#[test]
fn one_that_sends_elsewhere_is_not_followed() {
    let elsewhere = Manager::start(http("200 OK", "", &good("web-1").to_string()));
    for status in [
        "301 Moved Permanently",
        "302 Found",
        "307 Temporary Redirect",
    ] {
        let location = format!("Location: http://{}/\r\n", elsewhere.address);
        is_refused(http(status, &location, ""), &status[..3]);
    }
    assert_eq!(elsewhere.asked.load(Ordering::SeqCst), 0);
}

#[test]
fn one_whose_answer_is_none_or_about_another_pod_is_refused() {
    let said = |body: &str| http("200 OK", "", body);
    let mut two_masters = good("web-0");
    let first = two_masters["data"][0].clone();
    two_masters["data"].as_array_mut().unwrap().push(first);
    for (body, words) in [
        ("<html>please log in</html>", "the answer is"),
        ("", "the answer is"),
        ("{\"code\":0,\"data\":[{]", "the answer is"),
        ("{\"code\":-1,\"message\":\"no such pod\"}", "no such pod"),
        ("{\"code\":0,\"data\":{}}", "data"),
        ("{\"code\":0,\"data\":[]}", "master"),
        (&two_masters.to_string(), "master"),
        (&good("web-9").to_string(), "web-9"),
        (
            &good("web-0").to_string().replace("\"ns\"", "\"other\""),
            "other",
        ),
        (
            &good("web-0")
                .to_string()
                .replace("255.255.255.0", "0.255.0.255"),
            "subnetMask",
        ),
        (
            &good("web-0").to_string().replace("255.255.255.0", "0"),
            "subnetMask",
        ),
        (
            &good("web-0")
                .to_string()
                .replace("\"10.0.0.1\"", "\"fd00::1\""),
            "gateway",
        ),
        (
            &good("web-0").to_string().replace("\"10.0.0.2\"", "[1]"),
            "podIp",
        ),
        (
            &good("web-0").to_string().replace("eth0", "../../x"),
            "ifName",
        ),
    ] {
        // What is wrong for one of the two is wrong for both.
        is_refused(said(body), if words == "other" { "" } else { words });
    }
}

/// A runtime passes the message on in places that are short.
#[test]
fn of_one_that_talks_without_end_the_beginning_is_told() {
    let says = "no such pod ".repeat(50_000);
    let body = json!({"code": -1, "message": says}).to_string();
    let manager = Manager::start(http("200 OK", "", &body));
    let refused = Node::new(&manager).add("web-0", "c1").unwrap_err();
    assert_eq!(refused.0, 7);
    assert!(
        refused.1.contains("no such pod") && refused.1.len() < 4096,
        "{refused:?}"
    );
}

/// Names that Kubernetes allows are longer together than a file's name may be.
#[test]
fn a_pod_with_the_longest_name_starts_is_remembered_and_ends() {
    let pod = ["p"; 253].concat();
    let manager = Manager::start(http("200 OK", "", &good(&pod).to_string()));
    let node = Node::new(&manager);
    let container = ["c"; 400].concat();
    assert_eq!(node.add(&pod, &container).as_deref(), Ok("10.0.0.2/24"));
    assert_eq!(node.call("CHECK", &pod, &container), Value::Null);
    assert_eq!(node.call("DEL", &pod, &container), Value::Null);
    assert!(node.calls().ends_with(&format!("DEL {container}\n")));
    manager.becomes(Manner::Says(String::new()));
    assert_eq!(node.add(&pod, "c2").as_deref(), Ok("10.0.0.2/24"));
}

/// Makes the only remembered answer older, as time would.
fn grows_older(node: &Node, seconds: u64) {
    let (path, bytes) = node.remembered().remove(0);
    let mut record: Value = serde_json::from_slice(&bytes).unwrap();
    record["since"] = (record["since"].as_u64().unwrap() - seconds).into();
    fs::write(path, record.to_string()).unwrap();
}

#[test]
fn an_answer_of_the_day_before_is_not_taken_up_again_until_a_newer_one_takes_its_place() {
    const DAY: u64 = 86_400;
    let hangs_up = || Manner::Says(String::new());
    let manager = Manager::start(Manner::Hangs);
    let mut node = Node::new(&manager);
    known(&node, &manager);
    manager.becomes(hangs_up());
    grows_older(&node, DAY - 60);
    assert_eq!(node.add("web-0", "c1").as_deref(), Ok("10.0.0.2/24"));
    grows_older(&node, 60);
    // The machine was switched off meanwhile, and the pod's namespace with it.
    node.call("DEL", "web-0", "c1");
    let refused = node.add("web-0", "c2").unwrap_err();
    assert_eq!(refused.0, 11, "{refused:?}");
    assert!(
        refused.1.contains("`answerAgeSeconds` is 86400"),
        "{refused:?}"
    );
    known(&node, &manager);
    manager.becomes(hangs_up());
    assert_eq!(node.add("web-0", "c3").as_deref(), Ok("10.0.0.2/24"));
    node.call("DEL", "web-0", "c3");
    // A pod that ran for months and whose namespace is there until its end has its address until
    // then.
    node.netns = node.path("netns");
    fs::write(&node.netns, "").unwrap();
    assert_eq!(node.add("web-0", "c4").as_deref(), Ok("10.0.0.2/24"));
    grows_older(&node, 100 * DAY);
    node.call("DEL", "web-0", "c4");
    assert_eq!(node.add("web-0", "c5").as_deref(), Ok("10.0.0.2/24"));
}
