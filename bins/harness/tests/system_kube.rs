//! The way through a kube-apiserver: kubectl → gateway → apiserver, as the person who asks.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
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
    ApiServer, Container, Credential, Finished, House, HouseOptions, Input, Kubectl, Program,
    Transport, binary, eventually, finish,
};
use serde_json::Value;

/// Far more than anything here takes; what is not over by then hangs.
const LIMIT: Duration = Duration::from_secs(60);
/// Errors come "within seconds".
const SECONDS: Duration = Duration::from_secs(30);
const BOTH: [Transport; 2] = [Transport::WebSocket, Transport::Spdy];

/// A gateway that reaches the same containers twice: as cluster `local`, and as `prod` through an
/// apiserver.
struct Prod {
    house: House,
    apiserver: ApiServer,
    kubeconfig: PathBuf,
}

impl Prod {
    fn start(credential: Credential) -> Self {
        Self::with(credential, &HouseOptions::default())
    }

    fn with(credential: Credential, options: &HouseOptions) -> Self {
        let mut house = House::start(options);
        let apiserver = ApiServer::start(&mut house);
        add_cluster(&house, &apiserver.kubeconfig(credential));
        house.restart_gateway();
        let kubeconfig = pointed_at_prod(house.kubeconfig());
        Self {
            house,
            apiserver,
            kubeconfig,
        }
    }

    fn container(&self) -> Container {
        self.house.docker().container(&[], &["sleep", "2147483647"])
    }

    fn command(&self, transport: Transport, arguments: &[&str]) -> Command {
        let scratch = self.house.scratch();
        let mut command = Kubectl::preferred().command(transport, &self.kubeconfig, scratch);
        command.args(arguments);
        command
    }

    fn kubectl(&self, transport: Transport, arguments: &[&str]) -> Finished {
        finish(
            &mut self.command(transport, arguments),
            Input::Nothing,
            LIMIT,
        )
    }

    fn get(&self, arguments: &[&str]) -> Finished {
        self.kubectl(Transport::WebSocket, arguments)
    }

    /// Audit events about this cluster.
    fn audit(&self, event: &str) -> Vec<Value> {
        let of_prod =
            |found: &Value| found["event"] == event && found["target"]["cluster"] == "prod";
        self.house.audit().into_iter().filter(of_prod).collect()
    }
}

fn add_cluster(house: &House, kubeconfig: &str) {
    fs::write(house.data().join("prod.kubeconfig"), kubeconfig).unwrap();
    let file = house.data().join("opserver.yaml");
    let mut text = fs::read_to_string(&file).unwrap();
    text.push_str("  - name: prod\n    kubeconfig: prod.kubeconfig\n");
    fs::write(file, text).unwrap();
}

fn pointed_at_prod(kubeconfig: &std::path::Path) -> PathBuf {
    let text = fs::read_to_string(kubeconfig).unwrap();
    let name = kubeconfig.file_name().unwrap().to_string_lossy();
    let file = kubeconfig.with_file_name(format!("prod-{name}"));
    let changed = text.replace("/clusters/local", "/clusters/prod");
    assert_ne!(changed, text);
    fs::write(&file, changed).unwrap();
    file
}

#[test]
fn pods_come_as_the_apiserver_shows_them() {
    for credential in [Credential::Token, Credential::Certificate] {
        let prod = Prod::start(credential);
        let container = prod.container();
        for kubectl in Kubectl::all() {
            let get = |arguments: &[&str]| {
                let scratch = prod.house.scratch();
                let mut command = kubectl.command(Transport::WebSocket, &prod.kubeconfig, scratch);
                let got = finish(command.args(arguments), Input::Nothing, LIMIT);
                assert_eq!(got.code, Some(0), "{arguments:?}: {}", got.stderr);
                got.text()
            };
            let table = get(&["get", "pods"]);
            let columns: Vec<&str> = table.lines().next().unwrap().split_whitespace().collect();
            assert_eq!(
                columns,
                ["NAME", "READY", "STATUS", "RESTARTS", "AGE", "UPSTREAM"]
            );
            let row = table.lines().find(|line| line.contains(container.name()));
            assert!(row.unwrap().trim_end().ends_with("yes"), "{table}");
            assert!(get(&["get", "pods", "-A"]).contains(container.name()));
            let one = get(&["get", "pod", container.name(), "-o", "json"]);
            let one: Value = serde_json::from_str(&one).unwrap();
            assert_eq!(one["metadata"]["name"], container.name());
            assert!(get(&["version"]).contains("v1.33.0-upstream"));
        }
        for seen in prod.apiserver.seen() {
            assert_eq!(seen.credential, Some(credential), "{seen:?}");
            assert_eq!(seen.user.as_deref(), Some("alice"), "{seen:?}");
            assert_eq!(seen.groups, ["admins"], "{seen:?}");
        }
        let got = prod.get(&["get", "pod", "nope"]);
        assert_eq!(got.code, Some(1));
        let told = "Error from server (NotFound): pods \"nope\" not found";
        assert!(got.stderr.contains(told), "{}", got.stderr);
    }
}

#[test]
fn exec_brings_outputs_exit_codes_and_the_end_of_input() {
    let prod = Prod::start(Credential::Token);
    let container = prod.container();
    for kubectl in Kubectl::all() {
        for transport in kubectl.transports() {
            let which = format!("1.{} {transport:?}", kubectl.minor());
            let exec = |flags: &[&str], argv: &[&str], input: Input<'_>| {
                let scratch = prod.house.scratch();
                let mut command = kubectl.command(*transport, &prod.kubeconfig, scratch);
                command
                    .arg("exec")
                    .args(flags)
                    .args([container.name(), "--"]);
                finish(command.args(argv), input, LIMIT)
            };
            for code in [0, 3, 127, 255] {
                let script = format!("echo out; echo err >&2; exit {code}");
                let got = exec(&[], &["sh", "-c", &script], Input::Nothing);
                assert_eq!(got.code, Some(code), "{which}: {}", got.stderr);
                assert_eq!(got.text(), "out\n", "{which}");
                assert!(got.stderr.starts_with("err\n"), "{which}: {}", got.stderr);
            }
            let input = b"one\ntwo\n\0\xff\xfe three";
            let got = exec(&["-i"], &["cat"], Input::Bytes(input));
            assert_eq!(
                (got.code, got.stdout.as_slice()),
                (Some(0), &input[..]),
                "{which}: {}",
                got.stderr
            );
            let got = exec(
                &[],
                &["printf", "[%s]", "a b", "", "ü&c=d", "%2f+"],
                Input::Nothing,
            );
            assert_eq!(got.text(), "[a b][][ü&c=d][%2f+]", "{which}");
        }
    }
    // Whatever kubectl speaks, the apiserver is spoken to over SPDY, by POST.
    let seen = prod.apiserver.seen();
    let sessions: Vec<_> = seen
        .iter()
        .filter(|seen| seen.path.contains("/exec"))
        .collect();
    assert!(!sessions.is_empty());
    for seen in sessions {
        assert_eq!(
            (seen.method.as_str(), seen.upgrade.as_deref()),
            ("POST", Some("SPDY/3.1"))
        );
        assert_eq!(seen.user.as_deref(), Some("alice"));
        assert_eq!(seen.groups, ["admins"]);
    }
}

#[test]
fn much_arrives_whole_in_both_directions() {
    const SIZE: usize = 32 * 1024 * 1024;
    let prod = Prod::start(Credential::Token);
    let container = prod.container();
    for transport in BOTH {
        let count = format!("head -c {SIZE} /dev/zero; exit 3");
        let argv = ["exec", container.name(), "--", "sh", "-c", &count];
        let got = prod.kubectl(transport, &argv);
        assert_eq!(
            (got.code, got.stdout.len()),
            (Some(3), SIZE),
            "{transport:?}: {}",
            got.stderr
        );
        let bytes: Vec<u8> = (0..SIZE).map(|at| (at % 251) as u8).collect();
        let mut command = prod.command(transport, &["exec", "-i", container.name(), "--"]);
        command.args(["sh", "-c", "cat | sha256sum"]);
        let got = finish(&mut command, Input::Bytes(&bytes), LIMIT);
        let file = prod.house.scratch().join("bytes");
        fs::write(&file, &bytes).unwrap();
        let expected = finish(
            Command::new("sha256sum")
                .arg("-")
                .stdin(fs::File::open(&file).unwrap()),
            Input::Bytes(&bytes),
            LIMIT,
        );
        assert_eq!(got.text(), expected.text(), "{transport:?}: {}", got.stderr);
    }
}

#[test]
fn attach_logs_and_copies_work() {
    let prod = Prod::start(Credential::Token);
    let script = "while read line; do echo \"got $line\"; echo \"err $line\" >&2; done";
    for transport in BOTH {
        let container = prod
            .house
            .docker()
            .container(&["--interactive"], &["sh", "-c", script]);
        let mut command = prod.command(transport, &["attach", "-i", container.name()]);
        let mut attached = Program::start(&mut command, Input::Held);
        assert!(
            eventually(LIMIT, || {
                attached.write(b"hello\n");
                eventually(Duration::from_secs(1), || {
                    attached.stdout().contains("got hello")
                })
            }),
            "{transport:?}: {}",
            attached.stderr()
        );
        assert!(eventually(LIMIT, || attached
            .stderr()
            .contains("err hello")));
        attached.kill();
        let logged = prod.get(&["logs", "--tail", "1", container.name()]);
        assert!(
            logged.text().contains("hello"),
            "{}{}",
            logged.text(),
            logged.stderr
        );
        let script = "for i in 1 2 3; do echo line$i; sleep 0.3; done";
        let talker = prod.house.docker().container(&[], &["sh", "-c", script]);
        let followed = prod.get(&["logs", "-f", talker.name()]);
        assert_eq!(
            followed.text(),
            "line1\nline2\nline3\n",
            "{}",
            followed.stderr
        );

        let container = prod.container();
        let local = prod.house.scratch().join(format!("there-{transport:?}"));
        let bytes: Vec<u8> = (0..300_000_u32).map(|at| (at % 253) as u8).collect();
        fs::write(&local, &bytes).unwrap();
        let remote = format!("{}:/tmp/file", container.name());
        let there = prod.kubectl(transport, &["cp", local.to_str().unwrap(), &remote]);
        assert_eq!(there.code, Some(0), "{transport:?}: {}", there.stderr);
        let back = prod.house.scratch().join(format!("back-{transport:?}"));
        let copied = prod.kubectl(transport, &["cp", &remote, back.to_str().unwrap()]);
        assert_eq!(copied.code, Some(0), "{transport:?}: {}", copied.stderr);
        assert_eq!(fs::read(back).unwrap(), bytes, "{transport:?}");
    }
}

#[test]
fn ports_are_forwarded_and_half_closed() {
    let prod = Prod::start(Credential::Token);
    let script = "while true; do nc -l -p 8080 -e sh -c 'cat; echo bye'; done";
    let container = prod.house.docker().container(&[], &["sh", "-c", script]);
    for transport in BOTH {
        let mut command = prod.command(transport, &["port-forward", container.name(), ":8080"]);
        let forward = Program::start(&mut command, Input::Nothing);
        forward.expect("Forwarding from 127.0.0.1:");
        let said = forward.stdout();
        let port = said.split("127.0.0.1:").nth(1).unwrap();
        let port: u16 = port.split(' ').next().unwrap().parse().unwrap();
        let mut answer = String::new();
        let answered = eventually(SECONDS, || {
            let mut socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
            socket.set_read_timeout(Some(SECONDS)).unwrap();
            answer.clear();
            let asked = socket
                .write_all(b"hello\n")
                .and_then(|()| socket.shutdown(Shutdown::Write))
                .and_then(|()| socket.read_to_string(&mut answer));
            asked.is_ok() && answer == "hello\nbye\n"
        });
        assert!(answered, "{transport:?}: `{answer}` {}", forward.stderr());
    }
    assert!(
        prod.audit("port.forward")
            .iter()
            .any(|event| event["port"] == 8080)
    );
}

#[test]
fn nobody_may_say_who_he_is() {
    let prod = Prod::start(Credential::Token);
    prod.apiserver.forget();
    for arguments in [
        &["--as", "root", "get", "pods"][..],
        &[
            "--as",
            "root",
            "--as-group",
            "system:masters",
            "get",
            "pods",
        ],
    ] {
        let got = prod.get(arguments);
        assert_eq!(got.code, Some(1), "{}", got.text());
        assert!(
            got.stderr.contains("impersonation is not accepted"),
            "{}",
            got.stderr
        );
    }
    for header in [
        "impersonate-user: root",
        "Impersonate-Group: system:masters",
        "impersonate-uid: 1",
        "impersonate-extra-scopes: all",
    ] {
        let path = "/clusters/prod/api/v1/pods";
        let answer = prod.house.ask("GET", path, &[header]);
        assert!(answer.starts_with("HTTP/1.1 40"), "{header}: {answer}");
    }
    assert_eq!(prod.apiserver.seen(), []);
}

#[test]
fn what_is_forbidden_here_never_reaches_the_apiserver() {
    let prod = Prod::start(Credential::Token);
    let container = prod.container();
    prod.apiserver.forget();
    for transport in BOTH {
        let argv = ["exec", container.name(), "--", "rm", "-rf", "/tmp"];
        let got = prod.kubectl(transport, &argv);
        assert_eq!(got.code, Some(1), "{transport:?}: {}", got.text());
        assert!(
            got.stderr
                .contains("deleting and overwriting is forbidden here"),
            "{}",
            got.stderr
        );
    }
    let stranger = pointed_at_prod(&prod.house.add_person("stranger", &["nobody"]));
    let scratch = prod.house.scratch();
    let mut command = Kubectl::preferred().command(Transport::WebSocket, &stranger, scratch);
    let got = finish(command.args(["get", "pods"]), Input::Nothing, LIMIT);
    assert_eq!(got.code, Some(1), "{}", got.text());
    let seen = prod.apiserver.seen();
    assert!(
        seen.iter().all(|seen| !seen.path.contains("/exec")),
        "{seen:?}"
    );
    assert!(
        seen.iter()
            .all(|seen| seen.user.as_deref() == Some("alice")),
        "{seen:?}"
    );
    let denied: Vec<Value> = prod.house.audit();
    let denied = denied
        .iter()
        .filter(|event| event.to_string().contains("no-delete"));
    assert_eq!(
        denied
            .filter(|event| event["target"]["cluster"] == "prod")
            .count(),
        2
    );
}

#[test]
fn what_reaches_into_containers_past_the_sessions_is_not_carried() {
    let prod = Prod::start(Credential::Token);
    let container = prod.container();
    // What the roles here allow and the apiserver does not is told in its words.
    let got = prod.get(&["delete", "pod", container.name(), "--wait=false"]);
    assert_eq!(got.code, Some(1), "{}", got.text());
    let words = "User \"alice\" cannot delete resource \"pods\"";
    assert!(got.stderr.contains(words), "{}", got.stderr);
    prod.apiserver.forget();
    let base = format!(
        "/clusters/prod/api/v1/namespaces/default/pods/{}",
        container.name()
    );
    for (method, path) in [
        ("POST", format!("{base}/exec/?command=id&stdout=true")),
        ("PUT", format!("{base}/exec?command=id&stdout=true")),
        ("PUT", format!("{base}/log")),
        ("OPTIONS", base.clone()),
        (
            "POST",
            "/clusters/prod/api/v1/nodes/node1/proxy/run/default/x/y?cmd=id".to_owned(),
        ),
    ] {
        let answer = prod.house.ask(method, &path, &["content-length: 0"]);
        assert!(
            answer.starts_with("HTTP/1.1 4"),
            "{method} {path}: {answer}"
        );
        assert!(
            answer.contains("\"kind\":\"Status\""),
            "{method} {path}: {answer}"
        );
    }
    // Other readings of a session's path are not a way around the policy.
    for path in [
        format!("{base}/exec/?command=rm&command=/x&stdout=true"),
        format!("{base}/%65xec?command=rm&command=/x&stdout=true"),
        format!("{base}//exec?command=rm&command=/x&stdout=true"),
        format!(
            "{base}/../{}/exec?command=rm&command=/x&stdout=true",
            container.name()
        ),
        format!("{base}/proxy/secret"),
        "/clusters/prod/api/v1/nodes/node1/proxy/run/default/x/y?cmd=id".to_owned(),
        "/clusters/prod/api/v1/namespaces/default/services/web/proxy/".to_owned(),
        "/clusters/prod/api/v1/namespaces/default/services/web:80/proxy".to_owned(),
    ] {
        let upgrade = [
            "connection: Upgrade",
            "upgrade: SPDY/3.1",
            "x-stream-protocol-version: v4.channel.k8s.io",
        ];
        let answer = prod.house.ask("GET", &path, &upgrade);
        assert!(answer.starts_with("HTTP/1.1 4"), "{path}: {answer}");
    }
    for seen in prod.apiserver.seen() {
        assert_eq!(seen.method, "GET", "{seen:?}");
        assert!(!seen.path.contains("exec"), "{seen:?}");
        assert!(!seen.path.contains("proxy"), "{seen:?}");
    }
}

#[test]
fn the_apiservers_own_refusal_is_told_in_its_words() {
    let prod = Prod::start(Credential::Token);
    let container = prod.container();
    let bob = pointed_at_prod(&prod.house.add_person("bob", &["admins", "ops"]));
    let reader = pointed_at_prod(&prod.house.add_person("reader", &["admins"]));
    let ask = |kubeconfig: &PathBuf, transport: Transport, arguments: &[&str]| {
        let scratch = prod.house.scratch();
        let mut command = Kubectl::preferred().command(transport, kubeconfig, scratch);
        let got = finish(command.args(arguments), Input::Nothing, LIMIT);
        assert_eq!(got.code, Some(1), "{arguments:?}: {}", got.text());
        got.stderr
    };
    let told = ask(&bob, Transport::WebSocket, &["get", "pods"]);
    let words = "Error from server (Forbidden): pods is forbidden: User \"bob\" cannot list \
                 resource \"pods\" in API group \"\" in the namespace \"default\"";
    assert!(told.contains(words), "{told}");
    let seen = prod.apiserver.seen();
    let bobs = seen.iter().find(|seen| seen.user.as_deref() == Some("bob"));
    assert_eq!(bobs.unwrap().groups, ["admins", "ops"]);
    for transport in BOTH {
        let argv = ["exec", container.name(), "--", "true"];
        let told = ask(&reader, transport, &argv);
        let words = "User \"reader\" cannot create resource \"pods/exec\"";
        assert!(told.contains(words), "{transport:?}: {told}");
        let told = ask(&reader, transport, &["logs", container.name()]);
        let words = "User \"reader\" cannot get resource \"pods/log\"";
        assert!(told.contains(words), "{transport:?}: {told}");
    }
}

#[test]
fn an_apiserver_that_misbehaves_gives_a_status_within_seconds() {
    let prod = Prod::start(Credential::Token);
    let told = |transport: Transport, arguments: &[&str]| {
        let mut command = prod.command(transport, arguments);
        let got = finish(&mut command, Input::Nothing, LIMIT);
        assert_eq!(got.code, Some(1), "{arguments:?}: {}", got.text());
        got.stderr
    };
    for (name, words) in [
        ("redirect-get", "redirect"),
        ("error-get", "the kubelet is on fire"),
        ("busy-get", "currently unable to handle the request"),
        ("hang-get", "cluster `prod`"),
    ] {
        let error = told(Transport::WebSocket, &["get", "pod", name]);
        assert!(error.contains(words), "{name}: {error}");
    }
    for transport in BOTH {
        for (name, words) in [
            ("redirect-exec", "redirect"),
            ("error-exec", "the kubelet is on fire"),
            ("busy-exec", "currently unable to handle the request"),
            ("hang-exec", "cluster `prod`"),
        ] {
            let error = told(transport, &["exec", name, "--", "true"]);
            assert!(error.contains(words), "{transport:?} {name}: {error}");
        }
        let error = told(transport, &["logs", "redirect-exec"]);
        assert!(error.contains("redirect"), "{transport:?}: {error}");
    }
    let seen = prod.apiserver.seen();
    assert!(
        seen.iter().all(|seen| !seen.path.contains("stolen")),
        "{seen:?}"
    );
    let location = prod.house.ask(
        "GET",
        "/clusters/prod/api/v1/namespaces/default/pods/redirect-get",
        &[],
    );
    assert!(!location.to_lowercase().contains("location:"), "{location}");
    // A request that may have done something is not sent again.
    let tried = seen
        .iter()
        .filter(|seen| seen.path.contains("busy-exec/exec"));
    // kubectl itself asks over SPDY when WebSocket was refused.
    assert!(tried.count() <= 3, "{seen:?}");
}

#[test]
fn sessions_are_written_down_with_their_cluster() {
    let prod = Prod::start(Credential::Token);
    let container = prod.container();
    for transport in BOTH {
        let argv = ["exec", container.name(), "--", "sh", "-c", "exit 7"];
        assert_eq!(prod.kubectl(transport, &argv).code, Some(7));
    }
    let ended = || prod.audit("session.end");
    assert!(
        eventually(SECONDS, || ended().len() == 2),
        "{:?}",
        prod.house.audit()
    );
    let started = prod.audit("session.start");
    assert_eq!(started.len(), 2);
    for event in started.iter().chain(&ended()) {
        assert_eq!(event["principal"]["user"], "alice", "{event}");
        assert_eq!(event["target"]["pod"], container.name(), "{event}");
    }
}

#[test]
fn a_client_that_goes_away_ends_the_session_upstream() {
    let prod = Prod::start(Credential::Token);
    let container = prod.container();
    for transport in BOTH {
        let argv = ["exec", "-i", container.name(), "--", "sleep", "31536"];
        let mut command = prod.command(transport, &argv);
        let mut sleeper = Program::start(&mut command, Input::Held);
        let sleeps = || {
            container
                .processes()
                .iter()
                .any(|line| line.contains("31536"))
        };
        assert!(
            eventually(SECONDS, sleeps),
            "{transport:?}: {}",
            sleeper.stderr()
        );
        sleeper.kill();
        assert!(eventually(SECONDS, || !sleeps()), "{transport:?}");
    }
}

#[test]
fn a_kubeconfig_that_is_not_fit_is_refused_at_the_start_by_name() {
    let mut house = House::start(&HouseOptions::default());
    let apiserver = ApiServer::start(&mut house);
    let good = apiserver.kubeconfig(Credential::Token);
    add_cluster(&house, &good);
    let authority = good
        .lines()
        .find(|line| line.contains("certificate-authority-data"));
    for (from, to, words) in [
        (
            "dockin:\n  cluster-id: prod\n",
            "",
            "has no `dockin:` section",
        ),
        ("cluster-id: prod", "cluster-id: test", "`test`"),
        ("cluster-id: prod", "cluster: prod", "cluster-id"),
        (
            authority.unwrap(),
            "    insecure-skip-tls-verify: true",
            "insecure-skip-tls-verify",
        ),
        ("https://", "http://", "https"),
        (
            "current-context: upstream",
            "current-context: other",
            "other",
        ),
        (
            "user:\n    token:",
            "user:\n    as: root\n    token:",
            "`as`",
        ),
        ("apiVersion: v1", "apiVersion: [", "YAML"),
    ] {
        let text = good.replacen(from, to, 1);
        assert_ne!(text, good, "{from}");
        fs::write(house.data().join("prod.kubeconfig"), text).unwrap();
        house.gateway().kill();
        let mut command = Command::new(binary("dockin-opserver"));
        command.arg("serve").arg("--data").arg(house.data());
        let got = finish(&mut command, Input::Nothing, SECONDS);
        assert_ne!(got.code, Some(0), "{from}");
        assert!(
            got.stderr.contains("prod.kubeconfig"),
            "{from}: {}",
            got.stderr
        );
        assert!(got.stderr.contains(words), "{from}: {}", got.stderr);
        assert!(
            !got.stderr.contains("the-gateways-own-token"),
            "{}",
            got.stderr
        );
    }
}

#[test]
fn a_gateway_whose_own_credential_is_refused_says_that_it_is_its_own() {
    let mut house = House::start(&HouseOptions::default());
    let apiserver = ApiServer::start(&mut house);
    let kubeconfig = apiserver.kubeconfig(Credential::Token);
    add_cluster(&house, &kubeconfig.replace("the-gateways-own-token", "old"));
    house.restart_gateway();
    let prod = Prod {
        kubeconfig: pointed_at_prod(house.kubeconfig()),
        house,
        apiserver,
    };
    for arguments in [
        &["get", "pods"][..],
        &["exec", "any", "--", "true"],
        &["logs", "any"],
    ] {
        let got = prod.get(arguments);
        assert_eq!(got.code, Some(1));
        assert!(
            got.stderr.contains("the gateway's own credential"),
            "{}",
            got.stderr
        );
        assert!(!got.stderr.contains("logged in"), "{}", got.stderr);
    }
}

#[test]
fn an_apiserver_with_another_authority_is_not_trusted() {
    let mut house = House::start(&HouseOptions::default());
    let apiserver = ApiServer::start(&mut house);
    let other = ApiServer::start(&mut house);
    let authority = |text: &str| {
        let line = text
            .lines()
            .find(|line| line.contains("certificate-authority-data"));
        line.unwrap().to_owned()
    };
    let text = apiserver.kubeconfig(Credential::Token);
    let theirs = authority(&other.kubeconfig(Credential::Token));
    add_cluster(&house, &text.replace(&authority(&text), &theirs));
    house.restart_gateway();
    let prod = Prod {
        kubeconfig: pointed_at_prod(house.kubeconfig()),
        house,
        apiserver,
    };
    assert_eq!(prod.get(&["get", "pods"]).code, Some(1));
    // kubectl has words of its own for a 503.
    let path = "/clusters/prod/api/v1/namespaces/default/pods";
    let answer = prod.house.ask("GET", path, &[]);
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.contains("cluster `prod`"), "{answer}");
    assert_eq!(prod.apiserver.seen(), []);
}

#[test]
fn who_has_little_sees_little_of_the_apiserver() {
    let entries = [
        r#"{ groups: [dev], verbs: [get, list, exec], clusters: [prod], namespaces: [default] }"#,
        r#"{ users: [erin], verbs: [get, exec], clusters: [prod], namespaces: [default], pods: ["t*"] }"#,
    ];
    let options = HouseOptions {
        access: entries.map(str::to_owned).to_vec(),
        ..HouseOptions::default()
    };
    let prod = Prod::with(Credential::Token, &options);
    let container = prod.container();
    let dana = pointed_at_prod(&prod.house.add_person("dana", &["dev"]));
    let erin = pointed_at_prod(&prod.house.add_person("erin", &[]));
    let frank = pointed_at_prod(&prod.house.add_person("frank", &[]));
    prod.apiserver.forget();
    let ask = |kubeconfig: &PathBuf, arguments: &[&str]| {
        let scratch = prod.house.scratch();
        let mut command = Kubectl::preferred().command(Transport::WebSocket, kubeconfig, scratch);
        finish(command.args(arguments), Input::Nothing, LIMIT)
    };
    for arguments in [
        &["get", "pods"][..],
        &["get", "pod", container.name()],
        &["exec", container.name(), "--", "true"],
    ] {
        let got = ask(&dana, arguments);
        assert_eq!(got.code, Some(0), "{arguments:?}: {}", got.stderr);
    }
    for arguments in [
        &["get", "pods", "-A"][..],
        &["get", "pods", "-n", "kube-system"],
        &["get", "pod", "-n", "kube-system", "x"],
        &["get", "nodes"],
        &["logs", container.name()],
        &["attach", container.name()],
    ] {
        let got = ask(&dana, arguments);
        assert_eq!(got.code, Some(1), "{arguments:?}: {}", got.text());
    }
    let reached = |what: &str| {
        prod.apiserver
            .seen()
            .iter()
            .any(|seen| seen.path.contains(what))
    };
    assert!(reached("/api/v1/namespaces/default/pods"));
    for what in ["kube-system", "/api/v1/pods", "/nodes", "/log", "/attach"] {
        assert!(!reached(what), "{what}: {:?}", prod.apiserver.seen());
    }
    // Upstream erin is nobody; here he may read a pod but not list them.
    let got = ask(&erin, &["get", "pod", container.name()]);
    assert!(
        got.stderr.contains("User \"erin\" cannot get"),
        "{}",
        got.stderr
    );
    let got = ask(&erin, &["get", "pods"]);
    assert!(!got.stderr.contains("User \"erin\""), "{}", got.stderr);
    prod.apiserver.forget();
    assert_eq!(ask(&frank, &["get", "pods"]).code, Some(1));
    assert_eq!(prod.apiserver.seen(), []);
}
