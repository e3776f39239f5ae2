//! Agents that gateways share: enrolled, renewed and removed at one, they are so at all.

use std::{
    fs,
    path::Path,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use dockin_core::{
    Error, ErrorKind,
    identity::{AgentList, CertificateRecord, SharedAgents},
    store::{
        Store,
        redis::{RedisOptions, RedisStore},
    },
};
use dockin_harness::{Finished, HouseOptions, Input, Redis, Server, binary, eventually, finish};
use jiff::{SignedDuration, Timestamp};

use crate::{LIMIT, Shared, add};

const HOUR: Duration = Duration::from_hours(1);

fn agent(data: &Path, words: &[&str]) -> Finished {
    let mut command = Command::new(binary("dockin-opserver"));
    command.arg("agent").args(words).arg("--data").arg(data);
    finish(&mut command, Input::Nothing, LIMIT)
}

fn done(got: &Finished) -> String {
    assert_eq!(got.code, Some(0), "{}", got.stderr);
    got.text()
}

/// A gateway whose agents are in the Redis, too, from the file that `init` made.
fn start() -> Shared {
    let redis = Redis::start();
    let accounts = "accounts: { file: accounts.yaml, sessions: sessions }";
    let shared = format!(
        "accounts: {{ shared: true, sessions: sessions }}\nclusters_directory: clusters\n\
         store: \"{}\"",
        redis.url()
    );
    let enrolment = "enrolment: { agents: agents.yaml, key: tls/ca.key }";
    let options = HouseOptions {
        edits: vec![
            (accounts.to_owned(), shared),
            (
                enrolment.to_owned(),
                "enrolment: { shared: true, key: tls/ca.key }".to_owned(),
            ),
        ],
        prepare: Some(|data| {
            fs::create_dir(data.join("clusters")).unwrap();
            add(data, "carol", "admins");
            let file = data.join("agents.yaml");
            let words = ["import", "--file", &file.to_string_lossy()];
            let got = agent(data, &words);
            assert!(got.stderr.contains("1 imported"), "{}", got.stderr);
            let got = agent(data, &words);
            let left = "0 imported\nleft as they are: node-";
            assert!(got.stderr.contains(left), "{}", got.stderr);
            fs::remove_file(file).unwrap();
        }),
        ..HouseOptions::default()
    };
    Shared::with(redis, &options)
}

#[test]
fn an_agent_of_one_gateway_is_the_agent_of_all_until_it_is_removed_at_any() {
    let shared = start();
    let data = shared.house.data();
    let (server, other) = shared.join("second");
    let (first, second) = (shared.house.url(), format!("https://{}", server.address()));
    let token = shared.session(&first, "carol");
    // The one that was in the file is everybody's.
    for url in [&first, &second] {
        assert_eq!(shared.exec(url, &token).text(), "in\n", "{}", server.log());
    }

    // Invited beside one, it enrols at the other, once.
    let name = format!("far-{}", shared.house.node());
    let got = agent(&data, &["invite", &name, "--minutes", "5"]);
    let invitation = done(&got).trim().to_owned();
    let fingerprint = got
        .stderr
        .split_whitespace()
        .find(|word| word.starts_with("sha256:"));
    let enrol = |url: &str, folder: &Path| {
        let mut command = Command::new(binary("dockin-opagent"));
        command
            .args(["enrol", "--gateway", url, "--name", &name])
            .args(["--token-file", "-", "--ca-fingerprint"])
            .args([fingerprint.unwrap(), "--listen", "127.0.0.1:0", "--data"])
            .arg(folder);
        finish(&mut command, Input::Bytes(invitation.as_bytes()), LIMIT)
    };
    let folder = shared.house.scratch().join("far");
    done(&enrol(&second, &folder));
    let got = enrol(&first, &shared.house.scratch().join("again"));
    assert!(got.stderr.contains("was used already"), "{}", got.stderr);
    assert!(
        !shared
            .redis
            .call(&["hgetall", "dockin:agents"])
            .contains(&invitation)
    );

    let config = folder.join("opagent.yaml");
    let text = fs::read_to_string(&config).unwrap();
    let docker = shared.house.docker().host();
    fs::write(&config, text.replace("unix:///var/run/docker.sock", docker)).unwrap();
    let mut command = Command::new(binary("dockin-opagent"));
    let far = Server::start(command.arg("--config").arg(&config).env("RUST_LOG", "info"));
    for data in [&data, &other] {
        let cluster = format!(
            "dockin: {{ cluster-id: second }}\nagents: [ {{ name: {name}, address: \"{}\" }} ]\n",
            far.address()
        );
        fs::write(data.join("clusters/.coming"), cluster).unwrap();
        fs::rename(
            data.join("clusters/.coming"),
            data.join("clusters/second.yaml"),
        )
        .unwrap();
    }
    let pods = |url: &str| {
        let path = "/clusters/second/api/v1/namespaces/default/pods";
        shared
            .ask(url, "GET", path, &token, &serde_json::Value::Null)
            .0
    };
    for url in [&first, &second] {
        assert!(eventually(LIMIT, || pods(url) == 200), "{}", far.log());
    }
    let listed = done(&agent(&other, &["list"]));
    assert!(listed.contains(&format!("{name}\tagent\t")), "{listed}");

    // Removed beside one, it is gone at the other, with what is open through it.
    let open = shared.stay_in("second", &first, &token);
    let begun = Instant::now();
    done(&agent(&other, &["remove", &name]));
    let got = open.finish(LIMIT);
    let why = format!("session ended: agent `{name}` was removed");
    assert!(got.stderr.contains(&why), "{}", got.stderr);
    assert!(begun.elapsed() < Duration::from_secs(30));
    for url in [&first, &second] {
        assert!(eventually(LIMIT, || pods(url) != 200));
        assert_eq!(shared.exec(url, &token).text(), "in\n");
    }
    let got = agent(&data, &["remove", &name]);
    assert!(got.stderr.contains("there is no agent"), "{}", got.stderr);

    // While the store hangs nobody becomes an agent, and those that are one still are.
    let alice = shared.house.kubeconfig().to_owned();
    shared.redis.hang();
    let got = agent(&data, &["invite", &name]);
    assert!(
        got.code == Some(1) && got.stderr.contains("try again"),
        "{}",
        got.stderr
    );
    assert_eq!(shared.run(&alice, &["echo", "in"]).text(), "in\n");
    shared.redis.go_on();
    assert!(eventually(LIMIT, || shared.exec(&second, &token).text() == "in\n"));
}

fn store(redis: &Redis) -> Arc<dyn Store> {
    let options = RedisOptions {
        url: redis.url(),
        ..RedisOptions::default()
    };
    Arc::new(RedisStore::open(&options).unwrap())
}

fn record(what: &'static [u8]) -> CertificateRecord {
    CertificateRecord::new(what, Timestamp::now() + SignedDuration::from_hours(1))
}

/// What puts a certificate into the list.
fn issue(
    what: &'static [u8],
) -> impl FnOnce() -> Result<(CertificateRecord, ()), Error> + Send + 'static {
    move || Ok((record(what), ()))
}

#[tokio::test]
async fn a_certificate_of_one_gateway_is_known_at_the_other_at_once() {
    let redis = Redis::start();
    let (one, other) = (store(&redis), store(&redis));
    let shared = SharedAgents::new(Arc::clone(&one));
    let first = AgentList::in_store(one, LIMIT).await;
    let second = AgentList::in_store(other, LIMIT).await;
    let now = Timestamp::now();
    let token = shared.invite("node1", HOUR, now).await.unwrap();

    // Of two machines with one token one becomes the agent.
    let (left, right) = tokio::join!(
        first.enrol(&token, "node1", now, issue(b"left")),
        second.enrol(&token, "node1", now, issue(b"right")),
    );
    let won: &[u8] = if left.is_ok() { b"left" } else { b"right" };
    let (lost, error) = match (left, right) {
        (Ok(()), Err(error)) => (b"right".as_slice(), error),
        (Err(error), Ok(())) => (b"left".as_slice(), error),
        both => panic!("{both:?}"),
    };
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    for list in [&first, &second] {
        list.check("node1", won).await.unwrap();
        assert!(list.check("node1", lost).await.is_err());
    }
    for (token, name) in [("dk_forged", "node1"), (&*token, "node2"), (&token, "../1")] {
        let error = first
            .enrol(token, name, now, issue(b"x"))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    }

    second
        .renew("node1", won, now, issue(b"new"))
        .await
        .unwrap();
    first.check("node1", b"new").await.unwrap();
    first.check("node1", won).await.unwrap();
    first
        .renew("node1", b"new", now, issue(b"newer"))
        .await
        .unwrap();
    second.check("node1", b"newer").await.unwrap();
    assert!(second.check("node1", won).await.is_err());

    shared.remove("node1").await.unwrap();
    let mut gone = false;
    for _ in 0..300 {
        gone = !first.has("node1").await && !second.has("node1").await;
        if gone {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(gone);
    let error = first.renew("node1", b"newer", now, issue(b"x")).await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Forbidden);
}

#[tokio::test]
async fn agents_that_were_read_too_long_ago_are_spoken_to_no_more() {
    let mut redis = Redis::start();
    let shared = SharedAgents::new(store(&redis));
    let now = Timestamp::now();
    let token = shared.invite("node1", HOUR, now).await.unwrap();
    let list = AgentList::in_store(store(&redis), Duration::from_secs(3)).await;
    list.enrol(&token, "node1", now, issue(b"one"))
        .await
        .unwrap();
    redis.kill();
    list.check("node1", b"one").await.unwrap();
    let mut refused = None;
    for _ in 0..300 {
        refused = list.check("node1", b"one").await.err();
        if refused.is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(refused.unwrap().kind(), ErrorKind::Unavailable);
    // Nobody knows that it is gone: what is open goes on.
    assert!(list.has("node1").await);
    // A Redis with nothing in it knows no agent.
    redis.restart();
    let mut gone = false;
    for _ in 0..300 {
        gone = !list.has("node1").await;
        if gone {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(gone);
    // What is no agent's record is none, and lets nobody in.
    for wrong in ["{}", "no JSON", r#"{"name":"node2"}"#] {
        let _set = redis.call(&["hset", "dockin:agents", "node1", wrong]);
        let error = shared.remove("node1").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{wrong}");
    }
}
