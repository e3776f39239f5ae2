//! The gateway behind an HTTP proxy, spoken to in the clear and over TLS: kubectl and dockctl reach
//! it as `HTTPS_PROXY`, `NO_PROXY` and the kubeconfig's `proxy-url` say.

#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a failed unwrap is a failed test"
)]

use std::{
    fs,
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    path::PathBuf,
    process::Command,
    time::Duration,
};

use dockin_harness::{
    ConnectProxy, Container, Finished, House, HouseOptions, Input, Kubectl, Program, Transport,
    finish,
};

const LIMIT: Duration = Duration::from_secs(60);
/// A name that the proxy alone knows: nobody reaches the gateway by it in another way.
const NAME: &str = "gateway.dockin.test";

fn house() -> (House, Container) {
    let house = House::start(&HouseOptions::default());
    let container = house.docker().container(&[], &["sleep", "2147483647"]);
    (house, container)
}

/// Alice's kubeconfig with a server that only a proxy can reach; `more` is put beside it.
fn kubeconfig(house: &House, more: &str) -> PathBuf {
    let text = fs::read_to_string(house.kubeconfig()).unwrap();
    let port = house.gateway_address().rsplit_once(':').unwrap().1;
    let behind = format!("https://{NAME}:{port}");
    let old = text
        .lines()
        .find(|line| line.trim_start().starts_with("server:"))
        .unwrap();
    let (indent, url) = old.split_once("server:").unwrap();
    let path = url.trim().trim_matches('"');
    let path = path.strip_prefix(&house.url()).unwrap();
    let mut new = format!("{indent}server: {behind}{path}\n{indent}tls-server-name: localhost");
    if !more.is_empty() {
        new.push_str(&format!("\n{indent}{more}"));
    }
    let file = house.scratch().join("behind");
    fs::write(&file, text.replace(old, &new)).unwrap();
    file
}

fn dockctl(house: &House, kubeconfig: &PathBuf, variables: &[(&str, &str)]) -> Command {
    let mut command = house.dockctl();
    command.env("KUBECONFIG", kubeconfig);
    for name in ["HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy"] {
        command.env_remove(name);
    }
    command.envs(variables.iter().copied());
    command
}

/// What goes in comes out, with the command's own exit code.
fn assert_echoed(which: &str, got: &Finished) {
    assert_eq!(
        (got.code, got.text().as_str()),
        (Some(7), "to and fro\n"),
        "{which}: {}",
        got.stderr
    );
}

/// T46 (kubernetes/kubernetes#126134): behind a proxy that is spoken to over TLS kubectl's
/// WebSocket does not start, and it falls back to SPDY.
#[test]
fn every_kubectl_reaches_a_session_through_either_kind_of_proxy() {
    let (house, container) = house();
    let kubeconfig = kubeconfig(&house, "");
    for proxy in [ConnectProxy::start(None), ConnectProxy::start_tls(&house)] {
        for kubectl in Kubectl::all() {
            for transport in kubectl.transports() {
                let before = proxy.asked().len();
                let which = format!("1.{} {transport:?} {}", kubectl.minor(), proxy.url(""));
                let mut command = kubectl.command(*transport, &kubeconfig, house.scratch());
                command
                    .env("HTTPS_PROXY", proxy.url(""))
                    .env_remove("NO_PROXY");
                let script = "cat; exit 7";
                let name = container.name();
                command.args(["exec", "-i", name, "--", "sh", "-c", script]);
                let got = finish(&mut command, Input::Bytes(b"to and fro\n"), LIMIT);
                assert_echoed(&which, &got);
                let asked = proxy.asked();
                assert!(asked.len() > before, "{which}");
                assert!(
                    asked.iter().all(|target| target.starts_with(NAME)),
                    "{asked:?}"
                );
            }
        }
    }
}

#[test]
fn kubectl_forwards_ports_through_either_kind_of_proxy() {
    let house = House::start(&HouseOptions::default());
    let serve = [
        "nc",
        "-ll",
        "-p",
        "9000",
        "-e",
        "sh",
        "-c",
        "echo got $(wc -c)",
    ];
    let container = house.docker().container(&[], &serve);
    let kubeconfig = kubeconfig(&house, "");
    for proxy in [ConnectProxy::start(None), ConnectProxy::start_tls(&house)] {
        for transport in [Transport::WebSocket, Transport::Spdy] {
            let kubectl = Kubectl::preferred();
            let mut command = kubectl.command(transport, &kubeconfig, house.scratch());
            command
                .env("HTTPS_PROXY", proxy.url(""))
                .env_remove("NO_PROXY");
            command.args(["port-forward", container.name(), ":9000"]);
            let program = Program::start(&mut command, Input::Nothing);
            assert_eq!(ask_forward(&program), "got 5\n", "{transport:?}");
        }
    }
}

/// What a port says to `hello`, through the forward that `program` tells of.
fn ask_forward(program: &Program) -> String {
    program.expect("Forwarding from 127.0.0.1:");
    let told = program.stdout();
    let (_, behind) = told.split_once("127.0.0.1:").unwrap();
    let port: u16 = behind.split(' ').next().unwrap().parse().unwrap();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.write_all(b"hello").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn dockctl_works_through_the_proxy_that_environment_or_kubeconfig_name() {
    let house = House::start(&HouseOptions::default());
    let serve = [
        "nc",
        "-ll",
        "-p",
        "9000",
        "-e",
        "sh",
        "-c",
        "echo got $(wc -c)",
    ];
    let container = house.docker().container(&[], &serve);
    let name = container.name();
    let open = ConnectProxy::start(None);
    let guarded = ConnectProxy::start(Some("me@work:s:cret"));
    let secure = ConnectProxy::start_tls(&house);
    let plain = kubeconfig(&house, "");
    for (proxy, url) in [
        (&open, open.url("")),
        (&guarded, guarded.url("me%40work:s%3Acret@")),
        (&secure, secure.url("")),
    ] {
        for variable in ["HTTPS_PROXY", "https_proxy"] {
            let before = proxy.asked().len();
            let mut command = dockctl(&house, &plain, &[(variable, url.as_str())]);
            command.args(["exec", "-i", name, "--", "sh", "-c", "cat; exit 7"]);
            let got = finish(&mut command, Input::Bytes(b"to and fro\n"), LIMIT);
            assert_echoed(variable, &got);
            assert!(proxy.asked().len() > before, "{variable}");
        }
    }
    let mut command = dockctl(&house, &plain, &[("HTTPS_PROXY", secure.url("").as_str())]);
    command.args(["port-forward", name, ":9000"]);
    assert_eq!(
        ask_forward(&Program::start(&mut command, Input::Nothing)),
        "got 5\n"
    );
    // The kubeconfig's own holds whatever the environment says.
    let own = kubeconfig(&house, &format!("proxy-url: {}", open.url("")));
    let before = open.asked().len();
    let nowhere = [("HTTPS_PROXY", "http://127.0.0.1:1"), ("NO_PROXY", "*")];
    let mut command = dockctl(&house, &own, &nowhere);
    let got = finish(command.args(["get", "pods"]), Input::Nothing, LIMIT);
    assert!(got.text().contains(name), "{}", got.stderr);
    assert_eq!(open.asked().len(), before + 1);
}

#[test]
fn dockctl_passes_the_proxy_by_where_it_is_told_to_and_says_what_is_wrong_with_one() {
    let (house, container) = house();
    let name = container.name();
    let behind = kubeconfig(&house, "");
    let proxy = ConnectProxy::start(Some("me:right"));
    let pods = |kubeconfig: &PathBuf, variables: &[(&str, &str)]| {
        let mut command = dockctl(&house, kubeconfig, variables);
        finish(command.args(["get", "pods"]), Input::Nothing, LIMIT)
    };
    // Loopback is never proxied.
    let direct = house.kubeconfig().to_owned();
    let got = pods(&direct, &[("HTTPS_PROXY", "http://127.0.0.1:1")]);
    assert!(got.text().contains(name), "{}", got.stderr);
    let url = proxy.url("");
    let got = pods(
        &behind,
        &[("HTTPS_PROXY", &url), ("NO_PROXY", "dockin.test")],
    );
    assert!(
        got.stderr
            .contains("cannot connect to https://gateway.dockin.test"),
        "{}",
        got.stderr
    );
    assert_eq!(proxy.asked(), Vec::<String>::new());
    let wrong = proxy.url("me:wrong-one@");
    for (url, told) in [
        (url.as_str(), "407"),
        (wrong.as_str(), "407"),
        (
            "http://127.0.0.1:1",
            "cannot connect to proxy http://127.0.0.1:1",
        ),
        ("socks5://127.0.0.1:1", "SOCKS"),
    ] {
        let got = pods(&behind, &[("HTTPS_PROXY", url)]);
        assert_ne!(got.code, Some(0), "{url}");
        assert!(got.stderr.contains(told), "{url}: {}", got.stderr);
        assert!(!got.stderr.contains("wrong-one"), "{}", got.stderr);
    }
}
