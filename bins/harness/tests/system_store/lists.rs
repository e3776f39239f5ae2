//! Lists and objects, under the keys that Dockin-Ops has.

use std::fs;

use dockin_harness::{ApiServer, Credential, House, HouseOptions, Redis, eventually};
use serde_json::{Value, json};

use crate::{LIMIT, Shared};

#[test]
fn commands_and_addresses_come_from_the_lists_of_dockin_ops() {
    let lists = ", commands: whitelist, rule_addresses: true, lists_every: 1s, lists_stale: 8s";
    let mut shared = Shared::with_own_accounts(lists, &[]);
    let alice = shared.house.kubeconfig().to_owned();
    let runs = |shared: &Shared, words: &[&str]| shared.run(&alice, words).code == Some(0);
    // Nothing is listed, so nothing runs.
    let got = shared.run(&alice, &["echo", "in"]);
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
