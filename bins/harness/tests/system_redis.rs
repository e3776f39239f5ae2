//! The store in a real Redis by itself, with and without TLS and passwords, and in front of what only
//! looks like a Redis.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a failed unwrap is a failed test"
)]

use std::{
    fs,
    io::{Read, Write},
    net::TcpListener,
    sync::Arc,
    thread,
    time::Duration,
};

use dockin_core::{
    Error, ErrorKind,
    identity::{TokenRecord, hash_token},
    store::{
        CountKey, Lease, List, LiveSession, ObjectKind, ObjectPlace, SessionNews, Store,
        redis::{RedisOptions, RedisStore},
    },
    tls::authority::Authority,
};
use dockin_harness::Redis;
use futures::future::join_all;
use jiff::{SignedDuration, Timestamp};

fn options(url: &str) -> RedisOptions {
    RedisOptions {
        url: url.to_owned(),
        ..RedisOptions::default()
    }
}

fn open(redis: &Redis) -> RedisStore {
    RedisStore::open(&options(&redis.url())).unwrap()
}

fn token(user: &str, number: usize) -> TokenRecord {
    let now = Timestamp::now();
    TokenRecord {
        user: user.to_owned(),
        groups: Vec::new(),
        token_sha256: hash_token(&format!("dk_{user}{number}")),
        created: now,
        expires: Some(now + SignedDuration::from_hours(24)),
        personal: Some(format!("{user}-{number}")),
        note: Some("nightly".to_owned()),
    }
}

fn session(gateway: &str, id: &str) -> LiveSession {
    LiveSession {
        id: id.to_owned(),
        user: "alice".to_owned(),
        verb: "exec".to_owned(),
        cluster: "local".to_owned(),
        namespace: "default".to_owned(),
        pod: "web".to_owned(),
        container: Some("main".to_owned()),
        client: "192.0.2.1:4000".to_owned(),
        since: Timestamp::UNIX_EPOCH,
        gateway: gateway.to_owned(),
    }
}

#[tokio::test]
async fn what_is_kept_is_found_again_until_it_is_taken_out() {
    let redis = Redis::start();
    let (one, other) = (open(&redis), open(&redis));
    let now = Timestamp::now();
    // Who asks first makes its memory begin.
    let later = now + SignedDuration::from_mins(1);
    assert!(!one.is_session_revoked("a", later).await.unwrap());
    one.revoke_session("a", now + SignedDuration::from_hours(1))
        .await
        .unwrap();
    assert!(other.is_session_revoked("a", later).await.unwrap());
    assert!(!other.is_session_revoked("b", later).await.unwrap());
    // From before the store remembers anything.
    let before = now - SignedDuration::from_mins(1);
    assert!(other.is_session_revoked("b", before).await.unwrap());
    let left: i64 = redis.call(&["ttl", "dockin:revoked:a"]).parse().unwrap();
    assert!((3600..=3700).contains(&left), "{left}");

    // However many ask at once, nobody has more than he may have.
    let records: Vec<TokenRecord> = (0..40).map(|number| token("alice", number)).collect();
    let adding = records.iter().map(|record| one.add_token(record, 10));
    let added = join_all(adding).await;
    assert_eq!(
        added
            .iter()
            .filter(|added| *added.as_ref().unwrap())
            .count(),
        10
    );
    let bobs = token("bob", 0);
    assert!(other.add_token(&bobs, 10).await.unwrap());
    let found = other.token(&hash_token("dk_bob0")).await.unwrap();
    assert_eq!(found, Some(bobs));
    assert_eq!(other.tokens_of("alice").await.unwrap().len(), 10);
    assert!(!other.remove_token("alice", "bob-0").await.unwrap());
    assert!(one.remove_token("bob", "bob-0").await.unwrap());
    assert_eq!(other.token(&hash_token("dk_bob0")).await.unwrap(), None);
    // One that has expired makes room.
    let held = other.tokens_of("alice").await.unwrap();
    let _expired = redis.call(&["del", &format!("dockin:token:{}", held[0].token_sha256)]);
    assert!(one.add_token(&token("alice", 41), 10).await.unwrap());
    assert!(!one.add_token(&token("alice", 42), 10).await.unwrap());
}

/// Five at once, one more in a second; what was taken back may happen again.
#[tokio::test]
async fn what_is_counted_at_one_counts_at_the_other() {
    let redis = Redis::start();
    let (one, other) = (open(&redis), open(&redis));
    let key = CountKey {
        what: "guess",
        whom: "what may be a password",
        burst: 5,
        every: Duration::from_secs(3600),
    };
    for store in [&one, &other, &one, &other, &one] {
        assert_eq!(store.count(&key).await.unwrap(), None);
    }
    let wait = other.count(&key).await.unwrap().unwrap();
    assert!(
        wait > Duration::from_secs(3500) && wait <= Duration::from_secs(3600),
        "{wait:?}"
    );
    one.uncount(&key).await.unwrap();
    assert_eq!(other.count(&key).await.unwrap(), None);
    assert!(one.count(&key).await.unwrap().is_some());
    let somebody = CountKey {
        whom: "else",
        ..key
    };
    assert_eq!(one.count(&somebody).await.unwrap(), None);
    assert!(!redis.call(&["keys", "*"]).contains("password"));
}

#[tokio::test]
async fn sessions_of_a_gateway_are_told_whole_after_a_loss() {
    let redis = Redis::start();
    let (one, other) = (open(&redis), open(&redis));
    let ids = async || {
        let mut ids: Vec<String> = one
            .sessions()
            .await
            .unwrap()
            .into_iter()
            .map(|session| session.id)
            .collect();
        ids.sort();
        ids
    };
    let opened = |gateway: &str, id: &str, open: usize| SessionNews {
        opened: vec![session(gateway, id)],
        open,
        ..SessionNews::default()
    };
    assert!(
        one.tell_sessions("g1", &opened("g1", "a", 1))
            .await
            .unwrap()
    );
    assert!(
        other
            .tell_sessions("g2", &opened("g2", "b", 1))
            .await
            .unwrap()
    );
    assert!(
        one.tell_sessions("g1", &opened("g1", "c", 2))
            .await
            .unwrap()
    );
    assert_eq!(ids().await, ["a", "b", "c"]);
    let ended = SessionNews {
        ended: vec!["a".to_owned()],
        open: 1,
        ..SessionNews::default()
    };
    assert!(one.tell_sessions("g1", &ended).await.unwrap());
    assert_eq!(ids().await, ["b", "c"]);

    let _lost = redis.call(&["del", "dockin:live:g1"]);
    let nothing_new = SessionNews {
        open: 1,
        ..SessionNews::default()
    };
    assert!(!one.tell_sessions("g1", &nothing_new).await.unwrap());
    let all = SessionNews {
        afresh: true,
        ..opened("g1", "c", 1)
    };
    assert!(one.tell_sessions("g1", &all).await.unwrap());
    assert_eq!(ids().await, ["b", "c"]);
    let left: i64 = redis.call(&["ttl", "dockin:live:g1"]).parse().unwrap();
    assert!((1..=15).contains(&left), "{left}");
}

#[tokio::test]
async fn objects_of_one_name_do_not_clash_and_one_gateway_writes_them() {
    let redis = Redis::start();
    let (one, other) = (open(&redis), open(&redis));
    let time = Duration::from_secs(60);
    for (store, who, lease) in [
        (&one, "g1", Lease::Taken),
        (&other, "g2", Lease::Others),
        (&one, "g1", Lease::Kept),
    ] {
        assert_eq!(store.lease("objects:prod", who, time).await.unwrap(), lease);
    }
    let _over = redis.call(&["del", "dockin:lease:objects:prod"]);
    assert_eq!(
        other.lease("objects:prod", "g2", time).await.unwrap(),
        Lease::Taken
    );

    let place = |cluster, namespace| ObjectPlace {
        kind: ObjectKind::Pod,
        cluster,
        namespace,
        name: "web",
    };
    let json = |uid: &str| format!("{{\"metadata\":{{\"uid\":\"{uid}\"}}}}");
    let found = || redis.call(&["get", "5582:p_web_y"]);
    for (cluster, namespace, uid) in [("b", "x", "1"), ("a", "y", "2"), ("a", "x", "3")] {
        one.cache_object(&place(cluster, namespace), uid, &json(uid))
            .await
            .unwrap();
    }
    assert_eq!(found(), json("3"));
    one.uncache_object(&place("a", "x")).await.unwrap();
    one.uncache_object(&place("a", "x")).await.unwrap();
    assert_eq!(found(), json("2"));
    assert_eq!(redis.call(&["exists", "5582:p_u_3"]), "0");
    assert_eq!(redis.call(&["get", "5582:p_u_1"]), json("1"));
    let cached = one.cached_objects(ObjectKind::Pod, "a").await.unwrap();
    assert_eq!(cached, [("y".to_owned(), "web".to_owned())]);
    one.uncache_object(&place("a", "y")).await.unwrap();
    one.uncache_object(&place("b", "x")).await.unwrap();
    let kept = redis.call(&["keys", "5582:*"]);
    assert_eq!(
        (kept.as_str(), redis.call(&["exists", "dockin:p:web"])),
        ("", "0".to_owned())
    );

    let names = |names: &[&str]| {
        names
            .iter()
            .map(|&name| name.to_owned())
            .collect::<Vec<_>>()
    };
    let list = List::Addresses("team".to_owned());
    one.change_list(&list, &names(&["192.0.2.1", "192.0.2.2"]), &[])
        .await
        .unwrap();
    one.change_list(&list, &[], &names(&["192.0.2.1"]))
        .await
        .unwrap();
    assert_eq!(redis.call(&["smembers", "team_whitelist"]), "192.0.2.2");
    let many = "for i = 1, 20001 do redis.call('SADD', 'raw_cmd', i) end";
    let _added = redis.call(&["eval", many, "0"]);
    let error = one.list(&List::RawCommands).await.unwrap_err();
    assert!(
        error.chain().contains("more than 20000"),
        "{}",
        error.chain()
    );
}

#[tokio::test]
async fn passwords_and_certificates_are_checked_and_told_to_nobody() {
    dockin_core::tls::install_default();
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let now = Timestamp::now();
    let authority = Authority::new(now).unwrap();
    let ca = file("ca.pem", authority.certificate());
    let password = file("password", "hunter2 hunter2\n");
    let mut port = 0;
    let redis = Redis::start_with(|host| {
        let issued = authority.server(&[host.to_owned()], now).unwrap();
        let certificate = file("redis.pem", &issued.certificate);
        let key = file("redis.key", &issued.key);
        let listener = TcpListener::bind((host, 0)).unwrap();
        port = listener.local_addr().unwrap().port();
        let mut arguments = vec!["--requirepass".to_owned(), "hunter2 hunter2".to_owned()];
        arguments.extend(["--tls-port".to_owned(), port.to_string()]);
        arguments.extend(["--tls-auth-clients".to_owned(), "no".to_owned()]);
        for (name, path) in [("cert", &certificate), ("key", &key), ("ca-cert", &ca)] {
            arguments.push(format!("--tls-{name}-file"));
            arguments.push(path.display().to_string());
        }
        arguments
    });
    let (plain, address) = (redis.url(), redis.address());
    let (host, plain_port) = address.split_once(':').unwrap();
    let secure = format!("rediss://{host}:{port}/1");
    let ask = async |options: RedisOptions| {
        let store = RedisStore::open(&options).unwrap();
        let told = store.token("none").await;
        told.map_err(|error| format!("{} {store:?} {options:?}", error.chain()))
    };
    let right = |url: &str| RedisOptions {
        password_file: Some(password.clone()),
        ..options(url)
    };
    assert_eq!(ask(right(&plain)).await, Ok(None));
    let trusted = |url: &str| RedisOptions {
        authority: Some(ca.clone()),
        ..right(url)
    };
    assert_eq!(ask(trusted(&secure)).await, Ok(None));
    let by_url = plain.replace("redis://", "redis://:hunter2%20hunter2@");
    assert_eq!(ask(options(&by_url)).await, Ok(None));

    let wrong = file("wrong", "hunter3\n");
    let stranger = Authority::new(now).unwrap();
    let stranger = file("stranger.pem", stranger.certificate());
    for refused in [
        options(&plain),
        options(&by_url.replace("hunter2@", "hunter3@")),
        RedisOptions {
            password_file: Some(wrong),
            ..options(&plain)
        },
        // Nobody vouches for the certificate, or somebody else.
        right(&secure),
        RedisOptions {
            authority: Some(stranger),
            ..right(&secure)
        },
        // One speaks TLS, and the other does not.
        trusted(&secure.replace(&port.to_string(), plain_port)),
        right(&plain.replace(plain_port, &port.to_string())),
    ] {
        let told = ask(refused).await.unwrap_err();
        assert!(!told.contains("hunter"), "{told}");
    }
}

/// What a server that is none answers, and how.
#[tokio::test]
async fn whatever_a_server_says_or_does_not_nothing_hangs_or_breaks() {
    let answers: [&[u8]; 6] = [
        b"-LOADING Redis is loading the dataset in memory\r\n",
        b"-NOAUTH Authentication required.\r\n",
        b"-CLUSTERDOWN Hash slot not served\r\n",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"$99999999999999\r\n",
        b"",
    ];
    for answer in answers {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("redis://{}", listener.local_addr().unwrap());
        thread::spawn(move || {
            for mut client in listener.incoming().flatten() {
                thread::spawn(move || {
                    let mut buffer = [0; 4096];
                    while client.read(&mut buffer).is_ok_and(|count| count > 0) {
                        if client.write_all(answer).is_err() {
                            break;
                        }
                    }
                });
            }
        });
        let store = Arc::new(RedisStore::open(&options(&url)).unwrap());
        let asked = (0..20).map(|_| {
            let store = Arc::clone(&store);
            async move { store.is_session_revoked("a", Timestamp::now()).await }
        });
        let told: Vec<Result<bool, Error>> = join_all(asked).await;
        for told in told {
            let error = told.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{}", error.chain());
        }
    }
}

#[tokio::test]
async fn a_cluster_and_a_sentinel_are_refused_with_what_to_give() {
    for url in [
        "redis-cluster://:hunter2@redis:6379",
        "rediss-cluster://redis:6379",
        "redis-sentinel://redis:26379/primary",
        "redis+sentinel://redis:26379",
    ] {
        let error = RedisStore::open(&options(url)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Misuse);
        let told = error.chain();
        assert!(told.contains("a name that follows it"), "{told}");
        assert!(!told.contains("hunter2"), "{told}");
    }

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("nodes.conf");
    let file = file.to_string_lossy().into_owned();
    let arguments = ["--cluster-enabled", "yes", "--cluster-config-file", &file];
    let node = Redis::start_with(|_| arguments.map(str::to_owned).to_vec());
    let told = refused(&open(&node)).await;
    assert!(told.contains("a node of a Redis Cluster"), "{told}");

    let sentinel = Sentinel::start(folder.path());
    let told = refused(&RedisStore::open(&options(&sentinel.url)).unwrap()).await;
    assert!(told.contains("is a Redis Sentinel"), "{told}");

    // One that is not there yet may be a good one.
    open(&Redis::start()).check().await.unwrap();
    let nobody = RedisStore::open(&options("redis://127.0.0.1:1/0")).unwrap();
    nobody.check().await.unwrap();
}

/// What is told of a store that is of no use: when somebody asks for it, and when it is used.
async fn refused(store: &RedisStore) -> String {
    let error = store.check().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misuse);
    let used = store.signer("a").await.unwrap_err();
    assert_eq!(used.kind(), ErrorKind::Unavailable);
    error.chain()
}

/// A real Sentinel on loopback.
struct Sentinel {
    url: String,
    child: std::process::Child,
}

impl Sentinel {
    fn start(folder: &std::path::Path) -> Self {
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let file = folder.join("sentinel.conf");
        fs::write(&file, format!("bind 127.0.0.1\nport {port}\n")).unwrap();
        let child = std::process::Command::new("redis-server")
            .arg(file)
            .arg("--sentinel")
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let address = ("127.0.0.1", port);
        let up = || std::net::TcpStream::connect(address).is_ok();
        assert!(dockin_harness::eventually(Duration::from_secs(20), up));
        Self {
            url: format!("redis://127.0.0.1:{port}/0"),
            child,
        }
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}
