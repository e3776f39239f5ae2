//! Clients of Dockin-Ops: their requests and messages, sealed with their key, through a gateway that
//! asks who they are, judges what they run, and writes it down.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a failed unwrap is a failed test"
)]

#[path = "support/dockin_ops.rs"]
mod dockin_ops;

use std::{fs, process::Command, thread, time::Duration};

use dockin_harness::{
    ApiServer, Credential, House, HouseOptions, Input, binary, eventually, finish,
};
use serde_json::{Value, json};
use tungstenite::Message;

use dockin_ops::{LIMIT, Ops, PASSWORD, PROXY, SEEN, STRANGER, sealed, sealed_with};

/// Whether a reply says that it was not done, with a trace, and these words.
fn refused(told: &Value, words: &str) -> bool {
    let message = told["Message"].as_str().unwrap_or_default();
    let trace = message
        .rsplit_once(",traceId=")
        .map_or("", |(_, trace)| trace);
    told["Code"] == -1 && message.contains(words) && trace.len() == 32
}

#[test]
fn a_shell_is_judged_resized_written_down_and_ends_with_its_status() {
    let ops = Ops::start("");
    let _made = ops.container.exec(&["sh", "-c", "echo precious > /keep"]);
    let mut shell = ops.terminal("ssh-v2", &ops.token, &[]).unwrap();
    shell.expect("welcome, bob\r\n");
    shell.expect(&format!("pod {}, rule default\r\n", ops.container.name()));
    shell.expect("# ");
    shell.send("stty size\r");
    shell.expect("\n30 100");
    shell.resize(90, 20);
    shell.expect("# ");
    // A size takes its own way, so it may come after the line.
    assert!(eventually(LIMIT, || {
        shell.send("stty size\r");
        shell.shows("\n20 90", Duration::from_secs(2))
    }));
    shell.answers("sized");
    shell.send("rm -f /keep\r");
    shell.expect("no-delete");
    shell.answers("alive");
    assert_eq!(ops.container.exec(&["cat", "/keep"]), "precious\n");
    // H4: a whole line in one message is judged all the same.
    let line = r#"{"type":"cmd","cmd":"rm -f /keep\r","cmdLine":"ls"}"#;
    shell.socket.send(Message::text(line)).unwrap();
    shell.expect("no-delete");
    shell.answers("still");
    // H5, H11: so is what comes faster than the shell answers, and behind what runs.
    let lines = r#"{"type":"cmd","cmd":"sleep 1\rrm -f /keep\r"}"#;
    shell.socket.send(Message::text(lines)).unwrap();
    shell.expect("no-delete");
    shell.answers("again");
    assert_eq!(ops.container.exec(&["cat", "/keep"]), "precious\n");
    shell.send("exit 3\r");
    assert_eq!(shell.end(), (1000, "exit status 3".to_owned()));

    assert!(eventually(LIMIT, || !ops.events("session.end").is_empty()));
    let end = &ops.events("session.end")[0];
    assert_eq!(end["exit_status"], 3, "{end}");
    assert_eq!(end["principal"]["user"], "bob", "{end}");
    let lines: Vec<Value> = ops.events("command.refused");
    let lines: Vec<&str> = lines
        .iter()
        .filter_map(|one| one["line"].as_str())
        .collect();
    assert!(lines.len() >= 3, "{lines:?}");
    // What is typed before the prompt is there is refused unread.
    let told = |line: &&str| matches!(*line, "rm -f /keep" | "[hidden input]");
    assert!(lines.iter().all(told), "{lines:?}");
    let verdicts = ops.events("command.verdict");
    assert!(
        verdicts.iter().any(|one| one["line"] == "stty size"),
        "{verdicts:?}"
    );
    assert_eq!(ops.events("recording.stored").len(), 1);
    // A client that just goes leaves no shell behind.
    let mut gone = ops.terminal("ssh-v2", &ops.token, &[]).unwrap();
    gone.expect("# ");
    drop(gone);
    let alone = || ops.container.processes().len() == 1;
    assert!(eventually(LIMIT, alone), "{:?}", ops.container.processes());
}

/// H1, H2, H17, H20: every way to a command is judged, however it is spelt.
#[test]
fn h1_h2_h17_h20_a_command_is_judged_on_every_route_however_it_is_spelt() {
    let ops = Ops::start("");
    let _made = ops.container.exec(&["sh", "-c", "echo precious > /keep"]);
    let told = ops.common_exec(&ops.token, &["echo", "hi"]);
    assert_eq!(
        told,
        json!({ "Code": 0, "Message": "Success", "Data": "hi\n" })
    );
    for command in [
        &["rm", "-f", "/keep"][..],
        &["sh", "-c", "rm -f /keep"],
        &["env", "rm", "-f", "/keep"],
        &["busybox", "rm", "-f", "/keep"],
        &["/bin/rm", "-f", "/keep"],
        &["sh", "-c", "'r'\\m -f /keep"],
        &["sh", "-c", "x=rm; \"$x\" -f /keep"],
        &["sh", "-c", "$0 -f /keep", "rm"],
    ] {
        let told = ops.common_exec(&ops.token, command);
        assert!(refused(&told, "rm"), "{command:?}: {told}");
        assert_eq!(told["Data"], Value::Null);
        let mut shown = ops.terminal("interact-exec", &ops.token, command).unwrap();
        assert_eq!(shown.end(), (1011, "Forbidden".to_owned()));
        assert!(shown.shown.contains("rm"), "{command:?}: {}", shown.shown);
    }
    assert_eq!(ops.container.exec(&["cat", "/keep"]), "precious\n");
    let failing = "echo out; echo 100%d >&2; exit 4";
    let told = ops.common_exec(&ops.token, &["sh", "-c", failing]);
    assert!(
        refused(&told, "100%d\ncommand exited with code 4"),
        "{told}"
    );
    assert_eq!(told["Data"], "out\n");
    let told = ops.common_exec(&ops.token, &["yes"]);
    assert!(refused(&told, "4194304 bytes"), "{}", told["Message"]);
    let mut run = ops.terminal("interact-exec", &ops.token, &["sh"]).unwrap();
    run.expect("# ");
    run.send("rm -f /keep\r");
    run.expect("no-delete");
    run.answers("alive");
    run.send("exit\r");
    assert_eq!(run.end().0, 1000);
    assert_eq!(ops.container.exec(&["cat", "/keep"]), "precious\n");
    let starts = ops.events("session.start");
    assert!(
        starts.iter().all(|one| one["principal"]["user"] == "bob"),
        "{starts:?}"
    );
    assert_eq!(starts.len(), 4, "{starts:?}");
    let ended = || ops.events("session.end").len() == 4;
    assert!(eventually(LIMIT, ended), "{:?}", ops.events("session.end"));
    assert_eq!(
        ops.container.processes().len(),
        1,
        "{:?}",
        ops.container.processes()
    );
}

/// H22: whatever is sealed with the key that everybody has proves nothing.
#[test]
fn h22_only_a_token_of_this_gateway_opens_anything() {
    let ops = Ops::start("");
    let forged = sealed(
        r#"{"userName":"bob","password":"","rule":"default","expire":3600,"createTime":"2999-01-01T00:00:00+08:00","accessToken":"dks_x"}"#,
    );
    let admin = sealed(
        r#"{"userName":"admin","password":"admin","rule":"default","expire":3600,"createTime":"2999-01-01T00:00:00+08:00","accessToken":""}"#,
    );
    let other = sealed_with(&[3; 16], r#"{"userName":"bob","accessToken":"x"}"#);
    let mut cut = ops.token.clone();
    cut.truncate(cut.len() - 8);
    for token in ["", &forged, &admin, &other, &cut, "dks_x", "00", "bob"] {
        let told = ops.common_exec(token, &["echo", "hi"]);
        assert_eq!(
            (&told["Code"], &told["Data"]),
            (&json!(-1), &Value::Null),
            "{told}"
        );
        for route in ["ssh-v2", "interact-exec"] {
            let told = ops.terminal(route, token, &["echo"]).err().unwrap();
            assert!(told.contains(",traceId="), "{told}");
        }
        for route in ["echo", "rm"] {
            let params = ops.params(ops.container.name(), token, &[], &json!({}));
            let told = ops.get(&format!("{route}?{params}"), &[]);
            assert_eq!(
                (&told["Code"], &told["Data"]),
                (&json!(-1), &Value::Null),
                "{told}"
            );
        }
    }
    assert_eq!(ops.events("session.start").len(), 0);
    assert!(ops.events("login.failed").len() >= 6);
    // Another's name beside a token, and two tokens that differ, are no second way in.
    let header = format!("access-token: {}", ops.auth("eve"));
    let params = ops.params(ops.container.name(), &ops.token, &["echo"], &json!({}));
    let told = ops.get(&format!("common-exec?{params}"), &[&header]);
    assert!(refused(&told, "differ"), "{told}");
    // What a token proves is not more than who logged in may.
    let told = ops.common_exec(&ops.auth("eve"), &["echo", "hi"]);
    assert!(refused(&told, "may not exec"), "{told}");
    // A session that is ended is ended here too.
    let mut command = Command::new(binary("dockin-opserver"));
    command
        .args(["account", "end", "--user", "bob", "--data"])
        .arg(ops.house.data());
    assert_eq!(finish(&mut command, Input::Nothing, LIMIT).code, Some(0));
    thread::sleep(SEEN);
    assert_eq!(ops.common_exec(&ops.token, &["echo", "hi"])["Code"], -1);
    let all = fs::read_to_string(ops.house.data().join("audit/audit.jsonl")).unwrap();
    for secret in [PASSWORD, &ops.token] {
        assert!(!all.contains(secret));
    }
}

/// H21: addresses are those of connections, or of listed proxies' words.
#[test]
fn h21_x_real_ip_counts_from_listed_proxies_alone() {
    let ops = Ops::start("");
    let params = ops.params(
        ops.container.name(),
        &ops.token,
        &["echo", "hi"],
        &json!({}),
    );
    let path = format!("common-exec?{params}");
    let run = |from: &str, headers: &[&str]| {
        let (status, body) = ops.get_from(from, &path, headers);
        assert_eq!(status, 200);
        serde_json::from_str::<Value>(&body).unwrap()
    };
    assert_eq!(run("127.0.0.1", &[])["Code"], 0);
    let told = run(STRANGER, &[]);
    assert!(refused(&told, "whitelist"), "{told}");
    let told = run(STRANGER, &["X-Real-IP: 127.0.0.1"]);
    assert!(refused(&told, "not to be had from 127.0.0.3"), "{told}");
    assert_eq!(run(PROXY, &["X-Real-IP: 127.0.0.1"])["Code"], 0);
    let told = run(PROXY, &["X-Real-IP: 203.0.113.9"]);
    assert!(refused(&told, "from 203.0.113.9"), "{told}");
    for bad in [
        &["X-Real-IP: x"][..],
        &["X-Real-IP: 127.0.0.1", "X-Real-IP: 127.0.0.1"],
    ] {
        assert!(refused(&run(PROXY, bad), "`X-Real-IP`"), "{bad:?}");
    }
    let denied = ops.events("access.denied");
    let from = |address: &str| {
        let mut clients = denied.iter().filter_map(|one| one["client"].as_str());
        clients.any(|client| client.starts_with(address))
    };
    assert!(from(STRANGER) && from("203.0.113.9"), "{denied:?}");
    // The rule that a client names is one of its own cluster's, and has addresses of its own.
    let far = ops.params(
        ops.container.name(),
        &ops.token,
        &["echo"],
        &json!({ "rule": "far" }),
    );
    let told = ops.get(&format!("common-exec?{far}"), &[]);
    assert!(refused(&told, "rule `far`"), "{told}");
    let far = ["X-Real-IP: 192.0.2.1"];
    let asked = ops.params(
        ops.container.name(),
        &ops.token,
        &["echo"],
        &json!({ "rule": "far" }),
    );
    let (_, told) = ops.get_from(PROXY, &format!("common-exec?{asked}"), &far);
    assert!(told.contains("is not in a cluster of rule `far`"), "{told}");
    let path = format!(
        "ctrl/auth?userName=bob&password={}&rule=none",
        sealed(PASSWORD)
    );
    assert!(refused(&ops.get(&path, &[]), "rule `none`"));
}

/// H23, H25: nothing is changed without a name, and no name opens anything.
#[test]
fn h23_h25_what_is_there_is_shown_to_who_may_see_it_and_changed_by_nobody() {
    let ops =
        Ops::start("  commands: { filter: whitelist, raw: [top], common: [echo, cat, sh] }\n");
    let token = format!("access-token: {}", ops.token);
    let name = ops.container.name();
    for route in [
        "ctrl/addCmd?cmdName=rm",
        "ctrl/addRawCmd?cmdName=rm",
        "ctrl/deleteCmd?cmdName=cat",
        "ctrl/deleteRawCmd?cmdName=top",
        "ctrl/addWhitelist?rule=default&ip=127.0.0.3",
        "ctrl/deleteIP?rule=default&ip=127.0.0.1",
        "ctrl/addAccount?accountName=x",
        "ctrl/deleteAccount?accountName=bob",
        "ctrl/updateVersion?version=2",
    ] {
        let told = ops.get(route, &[]).to_string();
        assert!(told.contains("no access token"), "{route}: {told}");
        let told = ops.get(route, &[&token]).to_string();
        assert!(told.contains("is not done here"), "{route}: {told}");
    }
    let told = ops.get("ctrl/getCmdList", &[]).to_string();
    assert!(told.contains("no access token"), "{told}");
    let (_, told) = ops.get_from("127.0.0.1", "ctrl/getCmdList", &[&token]);
    assert_eq!(told, r#"{"raw":["top"],"common":["echo","cat","sh"]}"#);
    let told = ops.get("ctrl/manager", &[&token]).to_string();
    assert!(told.contains("<h1>Dockin</h1>"), "{told}");
    // The list narrows what the rules allow, and lets nothing pass that they forbid.
    assert_eq!(ops.common_exec(&ops.token, &["echo", "hi"])["Code"], 0);
    assert_eq!(ops.common_exec(&ops.token, &["ls", "/"])["Code"], -1);
    assert_eq!(ops.common_exec(&ops.token, &["rm", "/x"])["Code"], -1);
    let mut shell = ops.terminal("ssh-v2", &ops.token, &[]).unwrap();
    shell.expect("top\techo\tcat\tsh\r\n");
    drop(shell);

    // opsctl asks without its token: it hears what it said itself.
    let path = |name: &str, user: &str| {
        format!("ctrl/getPodByName?rule=default&podName={name}&userName={user}")
    };
    for (name, user) in [(name, "bob"), (name, "admin"), ("nothing", "admin")] {
        let (_, told) = ops.get_from("127.0.0.1", &path(name, user), &[]);
        assert_eq!(
            told,
            format!(
                r#"{{"Code":0,"Message":"Success","Data":{{"podName":"{name}","clusterId":"","podIp":"","hostIp":""}}}}"#
            )
        );
    }
    let told = ops.get(&path(name, "bob"), &[&token]);
    assert_eq!(told["Data"]["clusterId"], "local", "{told}");
    assert_eq!(told["Data"]["hostIp"], ops.house.node(), "{told}");
    let told = ops.get(&path(name, "admin"), &[&token]);
    assert!(refused(&told, "is of `bob`"), "{told}");

    let login =
        |parameters: &str, headers: &[&str]| ops.get(&format!("ctrl/login?{parameters}"), headers);
    let told = login(
        &format!("userName=bob&password={}&rule=default", sealed(PASSWORD)),
        &[],
    );
    let identity: Value = serde_json::from_str(told["Data"].as_str().unwrap()).unwrap();
    assert_eq!(
        (
            &identity["userName"],
            &identity["password"],
            &identity["rule"]
        ),
        (&json!("bob"), &json!(""), &json!("default")),
        "{told}"
    );
    assert_eq!(
        ops.common_exec(identity["accessToken"].as_str().unwrap(), &["echo"])["Code"],
        0
    );
    let told = login(
        &format!("userName=&password={}&rule=default", sealed("")),
        &[&token],
    );
    let identity: Value = serde_json::from_str(told["Data"].as_str().unwrap()).unwrap();
    assert_eq!(identity["accessToken"], ops.token, "{told}");
    for (user, password) in [
        ("bob", "wrong password"),
        ("BOB", PASSWORD),
        ("nobody", PASSWORD),
    ] {
        let told = login(
            &format!("userName={user}&password={}&rule=default", sealed(password)),
            &[],
        );
        assert!(refused(&told, "user name or password is wrong"), "{told}");
    }
    assert!(refused(&login("userName=&password=00", &[]), "`userName`"));

    let params = ops.params(name, &ops.token, &[], &json!({}));
    let told = ops.get(&format!("echo?{params}"), &[]);
    let rows: Value = serde_json::from_str(told["Data"]["local"].as_str().unwrap()).unwrap();
    assert_eq!(
        (&rows[0]["name"], &rows[0]["status"], &rows[0]["ClusterID"]),
        (&json!(name), &json!("Running"), &json!("local")),
        "{told}"
    );
    for (dcn, count) in [("1c1,2A1", 1), ("2A1", 0)] {
        let params = ops.params(name, &ops.token, &[], &json!({ "dcn": dcn }));
        let told = ops.get(&format!("rm?{params}"), &[]);
        let rows = told["Data"].as_array().unwrap();
        assert_eq!(rows.len(), count, "{told}");
        assert!(
            rows.iter()
                .all(|row| row["Dcn"] == "1C1" && row["State"] == "Running")
        );
    }
    let node = ops.house.node();
    let told = ops.get(
        &format!("node/getNodeByName?nodeName={node}&taskId=t7"),
        &[&token],
    );
    assert_eq!(
        (&told["code"], &told["taskId"]),
        (&json!(0), &json!("t7")),
        "{told}"
    );
    let object: Value = serde_json::from_str(told["data"].as_str().unwrap()).unwrap();
    assert_eq!(object["metadata"]["name"], node);
    let told = ops.get(
        &format!("node/batchGetNode?nodeName=x,{node}&taskId=t8"),
        &[&token],
    );
    assert_eq!(
        (&told["data"][0], told["data"].as_array().unwrap().len()),
        (&json!(""), 2)
    );
    let told = ops.get("node/getNodeByName?nodeName=x&taskId=t9", &[&token]);
    assert_eq!(told["code"], -1, "{told}");
    for nothing in ["terminal", "debug", "devops-exec", "ps", "", "../healthz"] {
        assert_eq!(
            ops.get_from("127.0.0.1", nothing, &[&token]).0,
            404,
            "{nothing}"
        );
    }
}

#[test]
fn a_cluster_behind_an_apiserver_is_reached_as_the_person_who_asks() {
    let mut ops = Ops::start("");
    let apiserver = ApiServer::start(&mut ops.house);
    let data = ops.house.data();
    let kubeconfig = apiserver.kubeconfig(Credential::Token);
    fs::write(data.join("prod.kubeconfig"), kubeconfig).unwrap();
    let file = data.join("opserver.yaml");
    let mut text = fs::read_to_string(&file).unwrap();
    text.push_str("  - name: prod\n    kubeconfig: prod.kubeconfig\n");
    fs::write(file, text).unwrap();
    ops.restart();
    // A token for programs does as well as one of a login.
    let token = ops.house.token().to_owned();
    let told = ops.common_exec(&token, &["echo", "hi"]);
    assert!(refused(&told, "2 pods are called"), "{told}");
    let ask = |route: &str, cluster: &str, flags: &[&str]| {
        let asked = json!({
            "resource": "pod", "name": ops.container.name(), "accessToken": token,
            "flags": flags, "clusterId": cluster, "printType": "wide",
        });
        ops.get(
            &format!("{route}?params={}", sealed(&asked.to_string())),
            &[],
        )
    };
    for cluster in ["local", "prod"] {
        let told = ask("common-exec", cluster, &["echo", cluster]);
        assert_eq!(told["Data"], format!("{cluster}\n"), "{told}");
        assert!(refused(
            &ask("common-exec", cluster, &["rm", "x"]),
            "no-delete"
        ));
        let told = ask("echo", cluster, &[]);
        let rows: Value = serde_json::from_str(told["Data"][cluster].as_str().unwrap()).unwrap();
        assert_eq!(rows[0]["status"], "Running", "{told}");
    }
    let told = ask("common-exec", "other", &["echo"]);
    assert!(refused(&told, "is not in a cluster"), "{told}");
    let starts = ops.events("session.start");
    let of_prod = starts.iter().find(|one| one["target"]["cluster"] == "prod");
    assert_eq!(of_prod.unwrap()["principal"]["user"], "alice", "{starts:?}");
}

#[test]
fn without_configuration_there_is_nothing() {
    let house = House::start(&HouseOptions::default());
    let told = house.ask("GET", "/v1/dockin/opserver/ctrl/getCmdList", &[]);
    assert!(told.starts_with("HTTP/1.1 404"), "{told}");
    assert!(told.contains("\"kind\":\"Status\""), "{told}");
}
