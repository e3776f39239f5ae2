//! Accounts and signing keys of the store, and what is open when they end.

use std::{fs, path::Path, process::Command, thread};

use dockin_harness::{Finished, Input, Program, binary, eventually, finish};
use serde_json::{Value, json};

use crate::{LIMIT, PASSWORD, Shared, account, key};

#[test]
fn gateways_with_keys_of_their_own_accept_each_other_s_sessions() {
    let mut shared = Shared::start();
    let first = shared.house.url();
    let (server, data) = shared.join("second");
    let second = format!("https://{}", server.address());
    assert_ne!(key(&shared.house.data()), key(&data));

    let token = shared.session(&first, "carol");
    assert_eq!(shared.exec(&second, &token).text(), "in\n");
    let other = shared.session(&second, "carol");
    assert_eq!(shared.status(&first, &other), 200);

    // What one shows that is no key's own proves nothing, whoever puts what it needs together.
    let (id, rest) = token.split_once('.').unwrap();
    let (other_id, _) = other.split_once('.').unwrap();
    let id = id.trim_start_matches("dks_");
    for forged in [
        format!("{other_id}.{rest}"),
        format!("dks_{}.{rest}", "0".repeat(32)),
        format!("dks_../accounts.{rest}"),
        format!("dks_{rest}"),
    ] {
        assert_eq!(shared.status(&first, &forged), 401, "{forged}");
        assert_eq!(shared.status(&second, &forged), 401, "{forged}");
    }
    // The store has the public keys alone, and no log has the others.
    let call = |words: &[&str]| shared.redis.call(words);
    let entry = format!("dockin:signer:{id}");
    let public = call(&["get", &entry]);
    assert_eq!(public.len(), 43, "{public}");
    let log = server.log();
    for own in [key(&shared.house.data()), key(&data)] {
        assert!(!log.contains(&own) && public != own, "{log}");
    }
    // A key that is another's, or none, is none; one that is taken out signs no more.
    let others = call(&["get", &other_id.replace("dks_", "dockin:signer:")]);
    for wrong in [&*others, "none"] {
        assert_eq!(call(&["set", &entry, wrong, "ex", "100"]), "OK");
        assert_eq!(shared.status(&second, &token), 401, "{wrong}");
    }
    assert_eq!(call(&["del", &entry]), "1");
    assert_eq!(shared.status(&second, &token), 401);
    let _again = shared.session(&first, "carol");
    assert_eq!(shared.status(&second, &token), 200);

    // One that joins later knows them; and one that is gone is not missed.
    shared.house.gateway().kill();
    assert_eq!(shared.exec(&second, &token).text(), "in\n");
    let (server, _) = shared.join("third");
    let third = format!("https://{}", server.address());
    assert_eq!(shared.exec(&third, &token).text(), "in\n");
    assert_eq!(shared.status(&third, &other), 200);
}

#[test]
fn accounts_of_the_store_count_everywhere_at_once() {
    let shared = Shared::start();
    let data = shared.house.data();
    let first = shared.house.url();
    let (server, other) = shared.join("second");
    let second = format!("https://{}", server.address());
    let run = |data: &Path, words: &[&str], password: &str| {
        let got = account(data, words, password);
        assert_eq!(got.code, Some(0), "{words:?}: {}", got.stderr);
    };
    // Made beside one, it is known at the other; as are a change and the end.
    run(
        &data,
        &["add", "--user", "frank", "--group", "admins"],
        PASSWORD,
    );
    let token = shared.session(&second, "frank");
    assert_eq!(shared.status(&first, &token), 200);
    let another = "another horse battery";
    run(&other, &["add", "--user", "frank"], another);
    assert_eq!(
        (
            shared.status(&first, &token),
            shared.status(&second, &token)
        ),
        (401, 401)
    );
    assert_eq!(shared.login(&first, "frank", PASSWORD).0, 401);
    let (status, told) = shared.login(&first, "frank", another);
    assert_eq!((status, &told["groups"]), (200, &json!([])), "{told}");
    let token = told["token"].as_str().unwrap();
    let wish = json!({ "note": "nightly", "days": 2 });
    let (status, made) = shared.ask(&first, "POST", "/dockin/v1/tokens", token, &wish);
    assert_eq!(status, 200, "{made}");
    let program = made["token"].as_str().unwrap();
    assert_eq!(shared.status(&second, program), 200);
    run(&data, &["end", "--user", "frank"], "");
    assert_eq!(
        (
            shared.status(&second, token),
            shared.status(&second, program)
        ),
        (401, 200)
    );
    run(&other, &["remove", "--user", "frank"], "");
    assert_eq!(
        (
            shared.status(&first, program),
            shared.login(&first, "frank", another).0
        ),
        (401, 401)
    );
    assert!(
        account(&data, &["remove", "--user", "frank"], "")
            .stderr
            .contains("no account `frank`")
    );
    // The next one of that name does not get what the last one had.
    run(&data, &["add", "--user", "frank"], PASSWORD);
    assert_eq!(shared.status(&first, program), 401);

    // Of those who add one name at once one is heard, whole.
    let passwords: Vec<String> = (0..4)
        .map(|number| format!("{PASSWORD} {number}"))
        .collect();
    let data = &data;
    let ended: Vec<Finished> = thread::scope(|scope| {
        let add = |password| move || account(data, &["add", "--user", "grace"], password);
        let adding: Vec<_> = passwords.iter().map(|one| scope.spawn(add(one))).collect();
        adding.into_iter().map(|one| one.join().unwrap()).collect()
    });
    for one in &ended {
        let told = one
            .stderr
            .contains("somebody else changed the account of `grace`");
        assert!(one.code == Some(0) || told, "{}", one.stderr);
    }
    let right = passwords
        .iter()
        .map(|one| shared.login(&second, "grace", one).0);
    let right: Vec<u16> = right.collect();
    assert_eq!(
        right.iter().filter(|status| **status == 200).count(),
        1,
        "{right:?}"
    );

    // While the store hangs nobody is let in and nothing is changed, and all say what to do.
    let carol = shared.session(&first, "carol");
    let mut open = shared.stay(&first, &carol);
    shared.redis.hang();
    let (status, told) = shared.login(&first, "carol", PASSWORD);
    assert_eq!(
        (status, &told["reason"]),
        (503, &json!("ServiceUnavailable"))
    );
    assert!(
        told["message"].as_str().unwrap().contains("try again"),
        "{told}"
    );
    assert_eq!(shared.status(&second, &carol), 503);
    let got = account(data, &["add", "--user", "heidi"], PASSWORD);
    assert!(
        got.code == Some(1) && got.stderr.contains("try again"),
        "{}",
        got.stderr
    );
    // Who is in stays in.
    open.write(b"still\n");
    open.expect("still");
    shared.redis.go_on();
    assert!(eventually(LIMIT, || shared.status(&second, &carol) == 200));
    assert_eq!(shared.login(&second, "heidi", PASSWORD).0, 401);
    open.close();
    assert_eq!(open.finish(LIMIT).code, Some(0));

    // What is no account lets nobody in.
    for wrong in ["{}", "no JSON", r#"{"user":"carol","password":"x"}"#] {
        let _set = shared
            .redis
            .call(&["hset", "dockin:accounts", "heidi", wrong]);
        assert_eq!(shared.login(&first, "heidi", PASSWORD).0, 503, "{wrong}");
    }
    assert!(!server.log().contains("argon2"), "{}", server.log());
}

#[test]
fn what_is_open_ends_with_the_person_the_credential_and_the_agent() {
    let shared = Shared::start();
    let data = shared.house.data();
    let (server, _) = shared.join("second");
    let (first, second) = (shared.house.url(), format!("https://{}", server.address()));
    let told = |program: Program, why: &str| {
        let got = program.finish(LIMIT);
        assert_eq!(got.code, Some(1), "{}", got.stderr);
        assert!(got.stderr.contains(why), "{why}: {}", got.stderr);
    };
    // Ended beside one gateway, it ends at the other.
    let token = shared.session(&first, "carol");
    let open = shared.stay(&second, &token);
    let got = account(&data, &["end", "--user", "carol"], "");
    assert_eq!(got.code, Some(0), "{}", got.stderr);
    told(open, "session ended: the sessions of `carol` were ended");

    // So do those of who logs out, and no others.
    let token = shared.session(&first, "carol");
    let other = shared.session(&first, "carol");
    let mut goes_on = shared.stay(&first, &other);
    let open = shared.stay(&first, &token);
    let out = shared.ask(&second, "POST", "/dockin/v1/logout", &token, &Value::Null);
    assert_eq!(out.0, 200, "{out:?}");
    told(open, "session ended: its person logged out");

    // And those of tokens that are taken back.
    let wish = json!({ "note": "nightly", "days": 2 });
    let (status, made) = shared.ask(&first, "POST", "/dockin/v1/tokens", &other, &wish);
    assert_eq!(status, 200, "{made}");
    let open = shared.stay(&first, made["token"].as_str().unwrap());
    let path = format!("/dockin/v1/tokens/{}", made["id"].as_str().unwrap());
    let gone = shared.ask(&second, "DELETE", &path, &other, &Value::Null);
    assert_eq!(gone.0, 200, "{gone:?}");
    told(open, "session ended: its token was revoked");
    goes_on.write(b"still\n");
    goes_on.expect("still");

    // A cluster that is taken away has no sessions either.
    let text = fs::read_to_string(data.join("opserver.yaml")).unwrap();
    let agent = text
        .lines()
        .find(|line| line.contains("- { name: "))
        .unwrap();
    let file = data.join("clusters/second.yaml");
    let cluster = format!("dockin: {{ cluster-id: second }}\nagents:\n{agent}\n");
    fs::write(&file, cluster).unwrap();
    let path = "/clusters/second/api";
    let there = || shared.ask(&first, "GET", path, &other, &Value::Null).0 == 200;
    assert!(eventually(LIMIT, there));
    let open = shared.stay_in("second", &first, &other);
    fs::remove_file(&file).unwrap();
    told(open, "session ended: cluster `second` was removed");

    // An agent that is taken off the list has no sessions.
    let mut remove = Command::new(binary("dockin-opserver"));
    remove
        .args(["agent", "remove", shared.house.node(), "--data"])
        .arg(&data);
    let got = finish(&mut remove, Input::Nothing, LIMIT);
    assert_eq!(got.code, Some(0), "{}", got.stderr);
    let why = format!("session ended: agent `{}` was removed", shared.house.node());
    told(goes_on, &why);
    let written = || {
        let trail = shared.house.audit();
        let ends = trail.iter().filter(|event| event["event"] == "session.end");
        ends.filter(|event| event.to_string().contains("session ended"))
            .count()
    };
    assert!(
        eventually(LIMIT, || written() == 4),
        "{:?}",
        shared.house.audit()
    );
}

#[test]
fn what_changes_accounts_changes_them_where_the_gateway_looks() {
    let shared = Shared::start();
    let url = shared.house.url();
    let data = shared.house.scratch().join("flag");
    let mut copy = Command::new("cp");
    copy.arg("-a").arg(shared.house.data()).arg(&data);
    assert_eq!(finish(&mut copy, Input::Nothing, LIMIT).code, Some(0));
    fs::remove_dir_all(data.join("audit")).unwrap();
    let configuration = data.join("opserver.yaml");
    let text = fs::read_to_string(&configuration).unwrap();
    let store = format!("store: \"{}\"", shared.redis.url());
    fs::write(&configuration, text.replace(&store, "")).unwrap();

    // No store is named: nothing is changed anywhere.
    let got = account(&data, &["add", "--user", "ivan"], PASSWORD);
    assert_eq!(got.code, Some(1));
    assert!(got.stderr.contains("or `--store`"), "{}", got.stderr);
    let flag = shared.redis.url();
    let got = account(
        &data,
        &["add", "--user", "ivan", "--store", &flag],
        PASSWORD,
    );
    assert_eq!(got.code, Some(0), "{}", got.stderr);
    assert_eq!(shared.login(&url, "ivan", PASSWORD).0, 200);
    let secret = "redis://:hunter2@127.0.0.1:1/0";
    let got = account(&data, &["remove", "--user", "ivan", "--store", secret], "");
    let told = got.stderr.contains("password_file") && !got.stderr.contains("hunter2");
    assert!(got.code == Some(1) && told, "{}", got.stderr);

    // A gateway that was given one by its flag has its commands act there, too.
    let mut serve = Command::new(binary("dockin-opserver"));
    serve.args(["serve", "--store", &flag, "--data"]).arg(&data);
    let server = dockin_harness::Server::start(&mut serve);
    let beside = format!("https://{}", server.address());
    let token = shared.session(&beside, "ivan");
    let wish = json!({ "note": "nightly", "days": 2 });
    let (status, made) = shared.ask(&beside, "POST", "/dockin/v1/tokens", &token, &wish);
    assert_eq!(status, 200, "{made}");
    let personal = made["token"].as_str().unwrap();
    let mut revoke = Command::new(binary("dockin-opserver"));
    revoke.args(["token", "revoke", "--user", "ivan", "--data"]);
    let got = finish(revoke.arg(&data), Input::Nothing, LIMIT);
    assert!(got.stderr.contains("1 of `ivan` revoked"), "{}", got.stderr);
    assert_eq!(shared.status(&beside, personal), 401);
    let got = account(&data, &["remove", "--user", "ivan"], "");
    assert_eq!(got.code, Some(0), "{}", got.stderr);
    assert!(
        got.stderr.contains(&shared.redis.address()),
        "{}",
        got.stderr
    );
    assert_eq!(
        (shared.status(&beside, &token), shared.status(&url, &token)),
        (401, 401)
    );
}
