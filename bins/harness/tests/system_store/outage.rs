//! What is refused without Redis, and what goes on.

use dockin_harness::eventually;
use serde_json::{Value, json};

use crate::{LIMIT, PASSWORD, Shared};

#[test]
fn without_redis_what_needs_it_is_refused_and_nothing_else_is() {
    let mut shared = Shared::with_own_accounts("", &[]);
    let url = shared.house.url();
    let token = shared.session(&url, "carol");
    let carol = shared.kubeconfig(&url, &token);
    let alice = shared.house.kubeconfig().to_owned();
    assert_eq!(shared.run(&carol, &["echo", "in"]).text(), "in\n");
    let open = shared.stay(&url, &token);

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
    let got = shared.run(&carol, &["echo", "in"]);
    assert_eq!(got.code, Some(1), "{}", got.stderr);
    assert!(
        got.stderr
            .contains("what the gateways share is not available"),
        "{}",
        got.stderr
    );
    assert_eq!(shared.login(&url, "carol", PASSWORD).0, 503);
    let alices = shared.house.token().to_owned();
    let sessions = |shared: &Shared| {
        shared
            .ask(&url, "GET", "/dockin/v1/sessions", &alices, &Value::Null)
            .0
    };
    assert_eq!(sessions(&shared), 503);
    assert_eq!(shared.status(&url, "dk_of-nobody"), 503);
    // What the gateway knows itself it still knows, and who is in stays in.
    assert_eq!(shared.run(&alice, &["echo", "in"]).text(), "in\n");
    assert_eq!(shared.status(&url, "neither"), 401);
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
    assert!(eventually(LIMIT, || shared.status(&url, &token) == 401));
    let token = shared.session(&url, "carol");
    assert_eq!(shared.status(&url, &token), 200);
    let there = || shared.open(&url, &alices) == ["carol"];
    assert!(eventually(LIMIT, there));
    assert!(shared.house.gateway().log().contains("the store is back"));

    // It hangs, and goes on.
    shared.redis.hang();
    assert_eq!(shared.status(&url, &token), 503);
    assert_eq!(shared.run(&alice, &["echo", "in"]).text(), "in\n");
    shared.redis.go_on();
    assert!(eventually(LIMIT, || shared.status(&url, &token) == 200));

    // It has become a replica, or has no room: what is to be revoked is not told to be.
    let call = |words: &[&str]| shared.redis.call(words);
    assert_eq!(call(&["replicaof", "127.0.0.1", "1"]), "OK");
    assert_eq!(
        (shared.logout(&url, &token), shared.status(&url, &token)),
        (503, 200)
    );
    assert_eq!(call(&["replicaof", "no", "one"]), "OK");
    assert_eq!(call(&["config", "set", "maxmemory", "1"]), "OK");
    assert_eq!(shared.logout(&url, &token), 503);
    assert_eq!(call(&["config", "set", "maxmemory", "0"]), "OK");
    assert_eq!(shared.status(&url, &token), 200);

    // Something else is where its things should be, or far too much.
    let record = "dockin:token:".to_owned() + &dockin_core::identity::hash_token("dk_huge");
    let huge = format!("return redis.call('SET', '{record}', string.rep('x', 20000000))");
    assert_eq!(call(&["eval", &huge, "0"]), "OK");
    assert_eq!(shared.status(&url, "dk_huge"), 503);
    for wrong in [["lpush", &record, "x"], ["set", &record, "{}"]] {
        let _removed = call(&["del", &record]);
        let _set = call(&wrong);
        assert_eq!(shared.status(&url, "dk_huge"), 503, "{wrong:?}");
    }
    let since = call(&["get", "dockin:sessions:since"]);
    for wrong in [
        &["hset", "dockin:sessions:since", "a", "b"][..],
        &["set", "dockin:sessions:since", "x"],
    ] {
        let _removed = call(&["del", "dockin:sessions:since"]);
        let _set = call(wrong);
        assert_eq!(shared.status(&url, &token), 503, "{wrong:?}");
    }
    assert_eq!(call(&["set", "dockin:sessions:since", &since]), "OK");
    assert_eq!(shared.status(&url, &token), 200);
    let _set = call(&["hset", "dockin:live:somewhere", "one", "no session"]);
    let _set = call(&["sadd", "dockin:gateways", "somewhere"]);
    assert_eq!(sessions(&shared), 503);
    let _removed = call(&["del", "dockin:live:somewhere"]);
    assert_eq!(sessions(&shared), 200);
    assert_eq!(
        (shared.logout(&url, &token), shared.status(&url, &token)),
        (200, 401)
    );
    open.close();
    assert_eq!(open.finish(LIMIT).code, Some(0));
}
