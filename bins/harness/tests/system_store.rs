//! Gateways that share what they know in a real Redis, and what becomes of them without it.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a failed unwrap is a failed test"
)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use dockin_harness::{
    ApiServer, Balancer, Container, Credential, Finished, House, HouseOptions, Input, Kubectl,
    Program, Redis, Transport, binary, eventually, finish,
};
use serde_json::{Value, json};

/// Far more than anything here takes; what is not over by then hangs.
const LIMIT: Duration = Duration::from_secs(60);
const PASSWORD: &str = "correct horse battery";

/// A gateway with a Redis, and a container behind it.
struct Shared {
    redis: Redis,
    container: Container,
    house: House,
}

impl Shared {
    /// `more` is what else is said about the store.
    fn start(more: &str, access: &[&str]) -> Self {
        let redis = Redis::start();
        let store = format!("store: {{ url: \"{}\"{more} }}", redis.url());
        let trail = "audit: audit/audit.jsonl";
        let house = House::start(&HouseOptions {
            edits: vec![(trail.to_owned(), format!("{trail}\n{store}"))],
            access: access.iter().map(|entry| (*entry).to_owned()).collect(),
            prepare: Some(|data| {
                add_account(data, "carol", "admins");
                add_account(data, "dave", "people");
                add_account(data, "erin", "people");
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

    fn login(&self, url: &str, user: &str) -> (u16, Value) {
        let body = json!({ "user": user, "password": PASSWORD });
        self.ask(url, "POST", "/dockin/v1/login", "", &body)
    }

    fn session(&self, url: &str, user: &str) -> String {
        let (status, told) = self.login(url, user);
        assert_eq!(status, 200, "{told}");
        told["token"].as_str().unwrap().to_owned()
    }

    /// The status that a request with this token gets.
    fn with(&self, url: &str, token: &str) -> u16 {
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

    /// A kubeconfig for a token and an address.
    fn kubeconfig(&self, name: &str, token: &str, url: &str) -> PathBuf {
        let file = self.house.scratch().join(format!("kubeconfig-{name}"));
        self.house.write_kubeconfig(token, name, &file);
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

    fn exec(&self, kubeconfig: &Path, words: &[&str]) -> Finished {
        let arguments = [&["exec", self.container.name(), "--"], words].concat();
        let mut command = self.kubectl(kubeconfig, &arguments);
        finish(&mut command, Input::Nothing, LIMIT)
    }

    /// A session that stays open until it is closed.
    fn stay(&self, kubeconfig: &Path) -> Program {
        let arguments = [
            "exec",
            "-i",
            self.container.name(),
            "--",
            "sh",
            "-c",
            "echo in; cat",
        ];
        let program = Program::start(&mut self.kubectl(kubeconfig, &arguments), Input::Held);
        program.expect("in");
        program
    }
}

fn add_account(data: &Path, user: &str, group: &str) {
    let mut command = Command::new(binary("dockin-opserver"));
    command
        .args(["account", "add", "--user", user, "--group", group, "--data"])
        .arg(data);
    let password = format!("{PASSWORD}\n");
    let got = finish(&mut command, Input::Bytes(password.as_bytes()), LIMIT);
    assert_eq!(got.code, Some(0), "{}", got.stderr);
}

/// What people may who keep no trail.
const PEOPLE: &str =
    r#"{ groups: [people], verbs: [get, list, exec], clusters: [local], namespaces: [default] }"#;

#[test]
fn two_gateways_behind_one_address_are_one_and_outlive_each_other() {
    let mut shared = Shared::start("", &[PEOPLE]);
    let replica = shared.house.replica();
    let first = shared.house.url();
    let second = format!("https://{}", replica.server.address());
    let servers = [&first, &second].map(|url| url.trim_start_matches("https://").to_owned());
    let door = Balancer::start(servers.to_vec());

    // A session of one is a session of the other, until it is ended at either.
    let token = shared.session(&first, "carol");
    assert_eq!(
        (shared.with(&first, &token), shared.with(&second, &token)),
        (200, 200)
    );
    let other = shared.session(&second, "carol");
    assert_eq!(shared.logout(&second, &token), 200);
    assert_eq!(
        (shared.with(&first, &token), shared.with(&second, &token)),
        (401, 401)
    );
    assert_eq!(shared.with(&first, &other), 200);

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
    assert_eq!(shared.with(&second, program), 200);
    for number in 1..10 {
        assert_eq!(make(if number % 2 == 0 { &first } else { &second }).0, 200);
    }
    assert_eq!((make(&first).0, make(&second).0), (429, 429));
    let path = format!("/dockin/v1/tokens/{id}");
    let gone = shared.ask(&second, "DELETE", &path, &other, &Value::Null);
    assert_eq!(gone.0, 200, "{gone:?}");
    assert_eq!(
        (shared.with(&first, program), shared.with(&second, program)),
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
    let carol = shared.kubeconfig("carol", &other, &first);
    let erins = shared.session(&second, "erin");
    let erin = shared.kubeconfig("erin", &erins, &second);
    let mut hers = shared.stay(&carol);
    let his = shared.stay(&erin);
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
    let hers = shared.stay(&carol);
    assert!(eventually(LIMIT, || shared.open(&second, &other).len() == 2));
    let through = shared.kubeconfig("through", &other, &door.url());
    for _ in 0..3 {
        assert_eq!(shared.exec(&through, &["echo", "there"]).text(), "there\n");
    }
    shared.house.gateway().kill();
    for _ in 0..3 {
        let got = shared.exec(&through, &["echo", "still"]);
        assert_eq!(got.text(), "still\n", "{}", got.stderr);
    }
    assert_ne!(hers.finish(LIMIT).code, Some(0));
    assert!(eventually(LIMIT, || shared.open(&second, &other) == ["erin"]));
    assert_eq!(shared.logout(&second, &other), 200);
    drop(his);
}

#[test]
fn without_redis_what_needs_it_is_refused_and_nothing_else_is() {
    let mut shared = Shared::start("", &[]);
    let url = shared.house.url();
    let token = shared.session(&url, "carol");
    let carol = shared.kubeconfig("carol", &token, &url);
    let alice = shared.house.kubeconfig().to_owned();
    assert_eq!(shared.exec(&carol, &["echo", "in"]).text(), "in\n");
    let open = shared.stay(&carol);

    shared.redis.kill();
    let (status, told) = shared.ask(&url, "GET", "/dockin/v1/clusters", &token, &Value::Null);
    assert_eq!(
        (status, &told["reason"]),
        (503, &json!("ServiceUnavailable")),
        "{told}"
    );
    assert!(
        told["message"].as_str().unwrap().contains("try again"),
        "{told}"
    );
    assert!(
        !told.to_string().contains(&shared.redis.address()),
        "{told}"
    );
    let got = shared.exec(&carol, &["echo", "in"]);
    assert_eq!(got.code, Some(1), "{}", got.stderr);
    assert!(
        got.stderr
            .contains("what the gateways share is not available"),
        "{}",
        got.stderr
    );
    assert_eq!(shared.login(&url, "carol").0, 503);
    let alices = shared.house.token().to_owned();
    let sessions = |shared: &Shared| {
        shared
            .ask(&url, "GET", "/dockin/v1/sessions", &alices, &Value::Null)
            .0
    };
    assert_eq!(sessions(&shared), 503);
    assert_eq!(shared.with(&url, "dk_of-nobody"), 503);
    // What the gateway knows itself it still knows, and who is in stays in.
    assert_eq!(shared.exec(&alice, &["echo", "in"]).text(), "in\n");
    assert_eq!(shared.with(&url, "neither"), 401);
    let mut open = open;
    open.write(b"still\n");
    open.expect("still");
    let log = shared.house.gateway().log();
    assert_eq!(
        log.matches("the store is not available").count(),
        1,
        "{log}"
    );

    // It comes back with nothing in it, so nobody knows any more what was revoked.
    shared.redis.restart();
    assert!(eventually(LIMIT, || shared.with(&url, &token) == 401));
    let token = shared.session(&url, "carol");
    assert_eq!(shared.with(&url, &token), 200);
    let there = || shared.open(&url, &alices) == ["carol"];
    assert!(eventually(LIMIT, there));
    assert!(shared.house.gateway().log().contains("the store is back"));

    // It hangs, and goes on.
    shared.redis.hang();
    assert_eq!(shared.with(&url, &token), 503);
    assert_eq!(shared.exec(&alice, &["echo", "in"]).text(), "in\n");
    shared.redis.go_on();
    assert!(eventually(LIMIT, || shared.with(&url, &token) == 200));

    // It has become a replica, or has no room: what is to be revoked is not told to be.
    let call = |words: &[&str]| shared.redis.call(words);
    assert_eq!(call(&["replicaof", "127.0.0.1", "1"]), "OK");
    assert_eq!(
        (shared.logout(&url, &token), shared.with(&url, &token)),
        (503, 200)
    );
    assert_eq!(call(&["replicaof", "no", "one"]), "OK");
    assert_eq!(call(&["config", "set", "maxmemory", "1"]), "OK");
    assert_eq!(shared.logout(&url, &token), 503);
    assert_eq!(call(&["config", "set", "maxmemory", "0"]), "OK");
    assert_eq!(shared.with(&url, &token), 200);

    // Something else is where its things should be, or far too much.
    let record = "dockin:token:".to_owned() + &dockin_core::identity::hash_token("dk_huge");
    let huge = format!("return redis.call('SET', '{record}', string.rep('x', 20000000))");
    assert_eq!(call(&["eval", &huge, "0"]), "OK");
    assert_eq!(shared.with(&url, "dk_huge"), 503);
    for wrong in [["lpush", &record, "x"], ["set", &record, "{}"]] {
        let _removed = call(&["del", &record]);
        let _set = call(&wrong);
        assert_eq!(shared.with(&url, "dk_huge"), 503, "{wrong:?}");
    }
    let since = call(&["get", "dockin:sessions:since"]);
    for wrong in [
        &["hset", "dockin:sessions:since", "a", "b"][..],
        &["set", "dockin:sessions:since", "x"],
    ] {
        let _removed = call(&["del", "dockin:sessions:since"]);
        let _set = call(wrong);
        assert_eq!(shared.with(&url, &token), 503, "{wrong:?}");
    }
    assert_eq!(call(&["set", "dockin:sessions:since", &since]), "OK");
    assert_eq!(shared.with(&url, &token), 200);
    let _set = call(&["hset", "dockin:live:somewhere", "one", "no session"]);
    let _set = call(&["sadd", "dockin:gateways", "somewhere"]);
    assert_eq!(sessions(&shared), 503);
    let _removed = call(&["del", "dockin:live:somewhere"]);
    assert_eq!(sessions(&shared), 200);
    assert_eq!(
        (shared.logout(&url, &token), shared.with(&url, &token)),
        (200, 401)
    );
    open.close();
    assert_eq!(open.finish(LIMIT).code, Some(0));
}

#[test]
fn commands_and_addresses_come_from_the_lists_of_dockin_ops() {
    let lists = ", commands: whitelist, rule_addresses: true, lists_every: 1s, lists_stale: 8s";
    let mut shared = Shared::start(lists, &[]);
    let alice = shared.house.kubeconfig().to_owned();
    let runs = |shared: &Shared, words: &[&str]| shared.exec(&alice, words).code == Some(0);
    // Nothing is listed, so nothing runs.
    let got = shared.exec(&alice, &["echo", "in"]);
    assert!(
        got.stderr.contains("Forbidden") || got.stderr.contains("forbidden"),
        "{got:?}"
    );
    let _added = shared.redis.call(&["sadd", "raw_cmd", "echo"]);
    assert!(eventually(LIMIT, || runs(&shared, &["echo", "in"])));
    assert!(!runs(&shared, &["ls"]));
    let _added = shared.redis.call(&["sadd", "common_cmd", "LS", "cat"]);
    assert!(eventually(LIMIT, || runs(&shared, &["ls"])));
    let _removed = shared.redis.call(&["srem", "raw_cmd", "echo"]);
    assert!(eventually(LIMIT, || !runs(&shared, &["echo", "in"])));
    assert!(runs(&shared, &["ls"]));

    // The last lists count for a while when there is no Redis, and then nothing runs.
    shared.redis.kill();
    assert!(runs(&shared, &["ls"]));
    assert!(eventually(LIMIT, || !runs(&shared, &["ls"])));
    let events = shared.house.audit();
    let told = events
        .iter()
        .any(|event| event.to_string().contains("not read for 8 s"));
    assert!(told, "{events:?}");
    shared.redis.restart();
    let _added = shared.redis.call(&["sadd", "common_cmd", "ls"]);
    assert!(eventually(LIMIT, || runs(&shared, &["ls"])));
}

#[test]
fn clusters_of_a_rule_are_reached_from_its_addresses_alone() {
    let redis = Redis::start();
    let store = format!(
        "store: {{ url: \"{}\", rule_addresses: true, lists_every: 1s, lists_stale: 3s }}",
        redis.url()
    );
    let trail = "audit: audit/audit.jsonl";
    let house = House::start(&HouseOptions {
        edits: vec![(
            trail.to_owned(),
            format!("{trail}\nclusters_directory: clusters\n{store}"),
        )],
        prepare: Some(|data| fs::create_dir(data.join("clusters")).unwrap()),
        ..HouseOptions::default()
    });
    // The same agent once more, under a rule.
    let configuration = fs::read_to_string(house.data().join("opserver.yaml")).unwrap();
    let agent = configuration
        .lines()
        .find(|line| line.contains("{ name:") && line.contains("address:"));
    let section = "dockin: { cluster-id: ruled, rule: team }\nagents:";
    fs::write(
        house.data().join("clusters/ruled.yaml"),
        format!("{section}\n{}\n", agent.unwrap()),
    )
    .unwrap();

    let pods = || house.ask("GET", "/clusters/ruled/api/v1/namespaces/default/pods", &[]);
    let status = || pods().split(' ').nth(1).unwrap_or_default().to_owned();
    assert!(eventually(LIMIT, || status() == "403"), "{}", pods());
    assert!(pods().contains("the list of its rule"), "{}", pods());
    for words in [
        &["sadd", "team_whitelist", "127.0.0.1", "no address"][..],
        &["sadd", "rule_access", "team"],
    ] {
        assert_eq!(status(), "403");
        let _added = redis.call(words);
    }
    assert!(eventually(LIMIT, || status() == "200"), "{}", pods());
    assert!(
        house
            .ask("GET", "/dockin/v1/clusters", &[])
            .contains("ruled")
    );
    let _removed = redis.call(&["srem", "team_whitelist", "127.0.0.1"]);
    assert!(eventually(LIMIT, || status() == "403"), "{}", pods());
    assert!(
        !house
            .ask("GET", "/dockin/v1/clusters", &[])
            .contains("ruled")
    );
    drop(redis);
    assert!(eventually(LIMIT, || status() == "503"), "{}", pods());
    // A cluster without a rule has no list.
    let plain = house.ask("GET", "/clusters/local/api/v1/namespaces/default/pods", &[]);
    assert!(plain.starts_with("HTTP/1.1 200"), "{plain}");
}

#[test]
fn pods_and_nodes_are_in_redis_as_long_as_they_are_there() {
    let redis = Redis::start();
    let store = format!("store: {{ url: \"{}\", object_cache: true }}", redis.url());
    let trail = "audit: audit/audit.jsonl";
    let mut house = House::start(&HouseOptions {
        edits: vec![(
            trail.to_owned(),
            format!("{trail}\nclusters_directory: clusters\n{store}"),
        )],
        prepare: Some(|data| fs::create_dir(data.join("clusters")).unwrap()),
        ..HouseOptions::default()
    });
    let apiserver = ApiServer::start(&mut house);
    let file = house.data().join("clusters/prod.yaml");
    fs::write(&file, apiserver.kubeconfig(Credential::Token)).unwrap();

    // The same pod twice: of the cluster of agents, and of the one behind the API server.
    let container = house.docker().container(&["--init"], &["sleep", "1000"]);
    let name = container.name().to_owned();
    let by_name = format!("5582:p_{name}_y");
    let places = || redis.call(&["hkeys", &format!("dockin:p:{name}")]);
    let both = || {
        let places = places();
        places.contains("local/default") && places.contains("prod/default")
    };
    assert!(
        eventually(LIMIT, both),
        "{}{}",
        places(),
        house.gateway().log()
    );
    let found: Value = serde_json::from_str(&redis.call(&["get", &by_name])).unwrap();
    assert_eq!(
        (&found["kind"], &found["metadata"]["name"]),
        (&json!("Pod"), &json!(name))
    );
    let uid = found["metadata"]["uid"].as_str().unwrap();
    let by_uid = format!("5582:p_u_{uid}");
    assert_eq!(redis.call(&["exists", &by_uid]), "1");
    let node: Value = serde_json::from_str(&redis.call(&["get", "5582:n_one_y"])).unwrap();
    assert_eq!(node["status"]["addresses"][0]["address"], "192.0.2.10");

    // One cluster goes: the other's pod is found by the name, and nothing of the first is left.
    fs::remove_file(&file).unwrap();
    assert!(
        eventually(LIMIT, || places() == "local/default"),
        "{}",
        places()
    );
    assert_eq!(redis.call(&["exists", &by_name, "5582:n_one_y"]), "1");
    assert_eq!(redis.call(&["exists", "dockin:cached:p:prod"]), "0");

    // Redis forgets everything, and is told everything.
    assert_eq!(redis.call(&["flushall"]), "OK");
    assert!(eventually(LIMIT, || redis.call(&["exists", &by_name]) == "1"));

    // The pod goes.
    fs::write(&file, apiserver.kubeconfig(Credential::Token)).unwrap();
    assert!(eventually(LIMIT, both), "{}", places());
    drop(container);
    let keys = || redis.call(&["exists", &by_name, &by_uid]);
    assert!(eventually(LIMIT, || keys() == "0"), "{}", places());
}
