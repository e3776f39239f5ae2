//! Gateways that share a Redis with their accounts in it, and a container behind them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use dockin_harness::{
    Container, Finished, House, HouseOptions, Input, Kubectl, Program, Redis, Server, Transport,
    binary, finish,
};
use serde_json::{Value, json};

/// Far more than anything here takes; what is not over by then hangs.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);
pub(crate) const PASSWORD: &str = "correct horse battery";

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A gateway whose accounts are in a Redis, and a container behind it.
pub(crate) struct Shared {
    pub(crate) redis: Redis,
    pub(crate) container: Container,
    pub(crate) house: House,
}

impl Shared {
    pub(crate) fn start() -> Self {
        let redis = Redis::start();
        let accounts = "accounts: { file: accounts.yaml, sessions: sessions }";
        let shared = format!(
            "accounts: {{ shared: true, sessions: sessions }}\nclusters_directory: clusters\n\
             store: \"{}\"",
            redis.url()
        );
        let house = House::start(&HouseOptions {
            edits: vec![(accounts.to_owned(), shared)],
            prepare: Some(|data| {
                fs::create_dir(data.join("clusters")).unwrap();
                let got = account(
                    data,
                    &["add", "--user", "carol", "--group", "admins"],
                    PASSWORD,
                );
                assert_eq!(got.code, Some(0), "{}", got.stderr);
            }),
            ..HouseOptions::default()
        });
        let container = house.docker().container(&["--init"], &["sleep", "1000"]);
        Self {
            redis,
            container,
            house,
        }
    }

    /// A gateway beside it with neither accounts nor a key of its own yet.
    pub(crate) fn join(&self, name: &str) -> (Server, PathBuf) {
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

    pub(crate) fn ask(
        &self,
        url: &str,
        method: &str,
        path: &str,
        token: &str,
        body: &Value,
    ) -> (u16, Value) {
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

    pub(crate) fn login(&self, url: &str, user: &str, password: &str) -> (u16, Value) {
        let body = json!({ "user": user, "password": password });
        self.ask(url, "POST", "/dockin/v1/login", "", &body)
    }

    pub(crate) fn session(&self, url: &str, user: &str) -> String {
        let (status, told) = self.login(url, user, PASSWORD);
        assert_eq!(status, 200, "{told}");
        told["token"].as_str().unwrap().to_owned()
    }

    /// The status that a request with this token gets.
    pub(crate) fn with(&self, url: &str, token: &str) -> u16 {
        self.ask(url, "GET", "/dockin/v1/clusters", token, &Value::Null)
            .0
    }

    pub(crate) fn kubectl(&self, url: &str, token: &str, arguments: &[&str]) -> Command {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let file = self.house.scratch().join(format!("kubeconfig-{number}"));
        self.house.write_kubeconfig(token, "person", &file);
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, text.replace(&self.house.url(), url)).unwrap();
        let kubectl = Kubectl::preferred();
        let mut command = kubectl.command(Transport::WebSocket, &file, self.house.scratch());
        command.args(arguments);
        command
    }

    pub(crate) fn exec(&self, url: &str, token: &str) -> Finished {
        let arguments = ["exec", self.container.name(), "--", "echo", "in"];
        finish(
            &mut self.kubectl(url, token, &arguments),
            Input::Nothing,
            LIMIT,
        )
    }

    /// A session that stays open until it is ended.
    pub(crate) fn stay(&self, url: &str, token: &str) -> Program {
        self.stay_in("local", url, token)
    }

    /// The same in another cluster of the same containers.
    pub(crate) fn stay_in(&self, cluster: &str, url: &str, token: &str) -> Program {
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
        let program = Program::start(&mut self.kubectl(url, token, &arguments), Input::Held);
        program.expect("in");
        program
    }
}

/// Runs `dockin-opserver account`.
pub(crate) fn account(data: &Path, words: &[&str], password: &str) -> Finished {
    let mut command = Command::new(binary("dockin-opserver"));
    command.arg("account").args(words).arg("--data").arg(data);
    let password = format!("{password}\n");
    finish(&mut command, Input::Bytes(password.as_bytes()), LIMIT)
}

pub(crate) fn key(data: &Path) -> String {
    let key = fs::read_to_string(data.join("sessions/session.key")).unwrap();
    key.trim().to_owned()
}
