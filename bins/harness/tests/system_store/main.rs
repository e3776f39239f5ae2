//! Gateways that share what they know in a real Redis, and what becomes of them without it.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a failed unwrap is a failed test"
)]

mod accounts;
mod agents;
mod lists;
mod outage;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use dockin_harness::{
    Balancer, Container, Finished, House, HouseOptions, Input, Kubectl, Program, Redis, Server,
    Transport, binary, eventually, finish,
};
use serde_json::{Value, json};

/// Far more than anything here takes; what is not over by then hangs.
const LIMIT: Duration = Duration::from_secs(60);
const PASSWORD: &str = "correct horse battery";

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A gateway with a Redis, and a container behind it.
struct Shared {
    redis: Redis,
    container: Container,
    house: House,
}

impl Shared {
    /// One whose accounts are in the Redis.
    fn start() -> Self {
        let redis = Redis::start();
        let accounts = "accounts: { file: accounts.yaml, sessions: sessions }";
        let shared = format!(
            "accounts: {{ shared: true, sessions: sessions }}\nclusters_directory: clusters\n\
             store: \"{}\"",
            redis.url()
        );
        let options = HouseOptions {
            edits: vec![(accounts.to_owned(), shared)],
            prepare: Some(|data| {
                fs::create_dir(data.join("clusters")).unwrap();
                add(data, "carol", "admins");
            }),
            ..HouseOptions::default()
        };
        Self::with(redis, &options)
    }

    /// One with accounts of its own; `more` is what else is said about the store.
    fn with_own_accounts(more: &str, access: &[&str]) -> Self {
        let redis = Redis::start();
        let store = format!("store: {{ url: \"{}\"{more} }}", redis.url());
        let trail = "audit: audit/audit.jsonl";
        let options = HouseOptions {
            edits: vec![(trail.to_owned(), format!("{trail}\n{store}"))],
            access: access.iter().map(|entry| (*entry).to_owned()).collect(),
            prepare: Some(|data| {
                add(data, "carol", "admins");
                add(data, "dave", "people");
                add(data, "erin", "people");
            }),
            ..HouseOptions::default()
        };
        Self::with(redis, &options)
    }

    fn with(redis: Redis, options: &HouseOptions) -> Self {
        let house = House::start(options);
        let container = house.docker().container(&["--init"], &["sleep", "1000"]);
        Self {
            redis,
            container,
            house,
        }
    }

    /// A gateway beside it with neither accounts nor a key of its own yet.
    fn join(&self, name: &str) -> (Server, PathBuf) {
        let data = self.house.scratch().join(name);
        let mut copy = Command::new("cp");
        let copied = finish(
            copy.arg("-a").arg(self.house.data()).arg(&data),
            Input::Nothing,
            LIMIT,
        );
        assert_eq!(copied.code, Some(0), "{}", copied.stderr);
        for own in ["audit", "sessions"] {
            fs::remove_dir_all(data.join(own)).unwrap();
        }
        fs::remove_file(data.join("accounts.yaml")).unwrap();
        let mut command = Command::new(binary("dockin-opserver"));
        command.args(["serve", "--data"]).arg(&data);
        (Server::start(command.env("RUST_LOG", "debug")), data)
    }

    fn ask(&self, url: &str, method: &str, path: &str, token: &str, body: &Value) -> (u16, Value) {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--max-time", "30", "--cacert"])
            .arg(self.house.data().join("tls/ca.pem"))
            .args(["--request", method, "--write-out", "\n%{http_code}"]);
        if !token.is_empty() {
            curl.args(["--header", &format!("authorization: Bearer {token}")]);
        }
        if !body.is_null() {
            curl.args(["--header", "content-type: application/json"]);
            curl.args(["--data", &body.to_string()]);
        }
        let got = finish(curl.arg(format!("{url}{path}")), Input::Nothing, LIMIT);
        let text = got.text();
        let (body, status) = text.rsplit_once('\n').unwrap_or_default();
        let status = status.parse();
        let status = status.unwrap_or_else(|_| panic!("{text}{}", got.stderr));
        (status, serde_json::from_str(body).unwrap_or(Value::Null))
    }

    fn login(&self, url: &str, user: &str, password: &str) -> (u16, Value) {
        let body = json!({ "user": user, "password": password });
        self.ask(url, "POST", "/dockin/v1/login", "", &body)
    }

    fn session(&self, url: &str, user: &str) -> String {
        let (status, told) = self.login(url, user, PASSWORD);
        assert_eq!(status, 200, "{told}");
        told["token"].as_str().unwrap().to_owned()
    }

    /// The status that a request with this token gets.
    fn status(&self, url: &str, token: &str) -> u16 {
        self.ask(url, "GET", "/dockin/v1/clusters", token, &Value::Null)
            .0
    }

    fn logout(&self, url: &str, token: &str) -> u16 {
        self.ask(url, "POST", "/dockin/v1/logout", token, &Value::Null)
            .0
    }

    /// The users of the sessions that are open in the container, as somebody sees them.
    fn open(&self, url: &str, token: &str) -> Vec<String> {
        let (status, told) = self.ask(url, "GET", "/dockin/v1/sessions", token, &Value::Null);
        assert_eq!(status, 200, "{told}");
        let all = told["sessions"].as_array().unwrap().iter();
        let here = all.filter(|one| one["pod"] == self.container.name());
        here.map(|one| one["user"].as_str().unwrap().to_owned())
            .collect()
    }

    /// A kubeconfig for an address and a token.
    fn kubeconfig(&self, url: &str, token: &str) -> PathBuf {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let file = self.house.scratch().join(format!("kubeconfig-{number}"));
        self.house.write_kubeconfig(token, "person", &file);
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, text.replace(&self.house.url(), url)).unwrap();
        file
    }

    fn kubectl(&self, kubeconfig: &Path, arguments: &[&str]) -> Command {
        let kubectl = Kubectl::preferred();
        let scratch = self.house.scratch();
        let mut command = kubectl.command(Transport::WebSocket, kubeconfig, scratch);
        command.args(arguments);
        command
    }

    /// Runs a command in the container.
    fn run(&self, kubeconfig: &Path, words: &[&str]) -> Finished {
        let arguments = [&["exec", self.container.name(), "--"], words].concat();
        let mut command = self.kubectl(kubeconfig, &arguments);
        finish(&mut command, Input::Nothing, LIMIT)
    }

    fn exec(&self, url: &str, token: &str) -> Finished {
        self.run(&self.kubeconfig(url, token), &["echo", "in"])
    }

    /// A session that stays open until it is ended.
    fn stay(&self, url: &str, token: &str) -> Program {
        self.stay_in("local", url, token)
    }

    /// The same in another cluster of the same containers.
    fn stay_in(&self, cluster: &str, url: &str, token: &str) -> Program {
        let server = format!("--server={url}/clusters/{cluster}");
        let name = self.container.name();
        let arguments = [
            "exec",
            &server,
            "-i",
            name,
            "--",
            "sh",
            "-c",
            "echo in; cat",
        ];
        let mut command = self.kubectl(&self.kubeconfig(url, token), &arguments);
        let program = Program::start(&mut command, Input::Held);
        program.expect("in");
        program
    }
}

/// Runs `dockin-opserver account`.
fn account(data: &Path, words: &[&str], password: &str) -> Finished {
    let mut command = Command::new(binary("dockin-opserver"));
    command.arg("account").args(words).arg("--data").arg(data);
    let password = format!("{password}\n");
    finish(&mut command, Input::Bytes(password.as_bytes()), LIMIT)
}

fn key(data: &Path) -> String {
    let key = fs::read_to_string(data.join("sessions/session.key")).unwrap();
    key.trim().to_owned()
}

fn add(data: &Path, user: &str, group: &str) {
    let got = account(data, &["add", "--user", user, "--group", group], PASSWORD);
    assert_eq!(got.code, Some(0), "{}", got.stderr);
}

/// What people may who keep no trail.
const PEOPLE: &str =
    r#"{ groups: [people], verbs: [get, list, exec], clusters: [local], namespaces: [default] }"#;

#[test]
fn two_gateways_behind_one_address_are_one_and_outlive_each_other() {
    let mut shared = Shared::with_own_accounts("", &[PEOPLE]);
    let replica = shared.house.replica();
    let first = shared.house.url();
    let second = format!("https://{}", replica.server.address());
    let servers = [&first, &second].map(|url| url.trim_start_matches("https://").to_owned());
    let door = Balancer::start(servers.to_vec());

    // A session of one is a session of the other, until it is ended at either.
    let token = shared.session(&first, "carol");
    assert_eq!(
        (
            shared.status(&first, &token),
            shared.status(&second, &token)
        ),
        (200, 200)
    );
    let other = shared.session(&second, "carol");
    assert_eq!(shared.logout(&second, &token), 200);
    assert_eq!(
        (
            shared.status(&first, &token),
            shared.status(&second, &token)
        ),
        (401, 401)
    );
    assert_eq!(shared.status(&first, &other), 200);

    // So are personal tokens, and there are no more of them than at one.
    let make = |url: &str| {
        let wish = json!({ "note": "nightly", "days": 2 });
        shared.ask(url, "POST", "/dockin/v1/tokens", &other, &wish)
    };
    let (status, made) = make(&first);
    assert_eq!(status, 200, "{made}");
    let (program, id) = (
        made["token"].as_str().unwrap(),
        made["id"].as_str().unwrap(),
    );
    assert_eq!(shared.status(&second, program), 200);
    for number in 1..10 {
        assert_eq!(make(if number % 2 == 0 { &first } else { &second }).0, 200);
    }
    assert_eq!((make(&first).0, make(&second).0), (429, 429));
    let path = format!("/dockin/v1/tokens/{id}");
    let gone = shared.ask(&second, "DELETE", &path, &other, &Value::Null);
    assert_eq!(gone.0, 200, "{gone:?}");
    assert_eq!(
        (
            shared.status(&first, program),
            shared.status(&second, program)
        ),
        (401, 401)
    );
    let listed = shared.ask(&first, "GET", "/dockin/v1/tokens", &other, &Value::Null);
    assert_eq!(listed.1["tokens"].as_array().unwrap().len(), 9);
    assert!(!shared.redis.call(&["keys", "*"]).contains(program));

    // Who guesses has no more guesses for having two gateways.
    let guess = |url: &str| {
        let body = json!({ "user": "dave", "password": "is it this one?" });
        shared.ask(url, "POST", "/dockin/v1/login", "", &body).0
    };
    let begun = Instant::now();
    let guesses: Vec<u16> = (0..4)
        .flat_map(|_| [guess(&first), guess(&second)])
        .collect();
    let wrong = guesses.iter().filter(|status| **status == 401).count();
    // One more in twelve seconds.
    let most = 5 + begun.elapsed().as_secs() / 12;
    assert!((5..=most).contains(&(wrong as u64)), "{guesses:?}");

    // Who is in which container now, wherever he came in.
    let erins = shared.session(&second, "erin");
    let erin = shared.kubeconfig(&second, &erins);
    let mut hers = shared.stay(&first, &other);
    let his = shared.stay(&second, &erins);
    for url in [&first, &second] {
        let both = || shared.open(url, &other) == ["carol", "erin"];
        assert!(eventually(LIMIT, both), "{:?}", shared.open(url, &other));
        // He keeps no trail: he sees himself.
        assert_eq!(shared.open(url, &erins), ["erin"]);
    }
    let mut dockctl = Command::new(binary("dockctl"));
    dockctl.env("KUBECONFIG", &erin).args(["session", "live"]);
    let shown = finish(&mut dockctl, Input::Nothing, LIMIT);
    let row = format!("exec   local/default/{}/", shared.container.name());
    assert!(
        shown.text().contains(&row) && !shown.text().contains("carol"),
        "{shown:?}"
    );
    hers.close();
    assert_eq!(hers.finish(LIMIT).code, Some(0));
    assert!(eventually(LIMIT, || shared.open(&second, &other) == ["erin"]));

    // One is killed: the other serves, and soon nobody takes its sessions for open ones.
    let hers = shared.stay(&first, &other);
    assert!(eventually(LIMIT, || shared.open(&second, &other).len() == 2));
    let through = shared.kubeconfig(&door.url(), &other);
    for _ in 0..3 {
        assert_eq!(shared.run(&through, &["echo", "there"]).text(), "there\n");
    }
    shared.house.gateway().kill();
    for _ in 0..3 {
        let got = shared.run(&through, &["echo", "still"]);
        assert_eq!(got.text(), "still\n", "{}", got.stderr);
    }
    assert_ne!(hers.finish(LIMIT).code, Some(0));
    assert!(eventually(LIMIT, || shared.open(&second, &other) == ["erin"]));
    assert_eq!(shared.logout(&second, &other), 200);
    drop(his);
}
