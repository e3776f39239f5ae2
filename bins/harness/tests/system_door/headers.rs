//! Who one is: said by nobody but the gateway.

use dockin_harness::{HouseOptions, Input, Kubectl};

use crate::Door;

/// KubeCube W1, W2 and W8, on the wire.
#[test]
fn headers_that_say_who_one_is_never_reach_the_apiserver() {
    let door = Door::start(HouseOptions::default());
    door.apiserver.forget();
    let path = "/clusters/prod/api/v1/namespaces/default/configmaps";
    for headers in [
        &["Connection: Impersonate-User, close"][..],
        &[
            "connection: close, impersonate-user",
            "Connection: Impersonate-Group",
        ],
        &["X-Remote-User: root", "X-Remote-Group: system:masters"],
        &[
            "X-Forwarded-For: 10.0.0.1",
            "X-Real-IP: 10.0.0.1",
            "Forwarded: for=10.0.0.1",
        ],
        &[
            "Cookie: Authorization=Bearer+x",
            "Proxy-Authorization: Basic eA==",
        ],
        &["TE: trailers", "Trailer: Impersonate-User", "Keep-Alive: 5"],
    ] {
        let answer = door.house.ask("GET", path, headers);
        assert!(answer.starts_with("HTTP/1.1 200 "), "{headers:?}: {answer}");
    }
    let seen = door.apiserver.seen();
    assert_eq!(seen.len(), 6);
    for one in seen {
        assert_eq!(one.user.as_deref(), Some("alice"), "{one:?}");
        assert_eq!(one.groups, ["admins"], "{one:?}");
        let mut names: Vec<&str> = one
            .headers
            .iter()
            .map(|line| line.split(':').next().unwrap())
            .collect();
        names.retain(|name| !["host", "impersonate-user", "impersonate-group"].contains(name));
        assert_eq!(names, ["x-forwarded-for"], "{one:?}");
        assert!(
            one.headers
                .contains(&"x-forwarded-for: 127.0.0.1".to_owned()),
            "{one:?}"
        );
    }
    door.apiserver.forget();
    // W1: whoever names somebody is refused when no role allows it.
    for header in [
        "Impersonate-User: root",
        "IMPERSONATE-GROUP: system:masters",
        "Impersonate-Extra-x: y",
    ] {
        let answer = door.house.ask("GET", path, &[header]);
        assert!(answer.starts_with("HTTP/1.1 40"), "{header}: {answer}");
    }
    // W8: nothing that looks like an open path opens one.
    for path in [
        "/clusters/prod/healthz",
        "/clusters/prod/api/v1/namespaces/a/services/s/proxy/healthz",
    ] {
        let request = format!("GET {path} HTTP/1.1\r\nhost: dockin\r\nconnection: close\r\n\r\n");
        let answer = door.house.exchange(request.as_bytes());
        assert!(answer.starts_with("HTTP/1.1 401 "), "{path}: {answer}");
        assert!(answer.contains("\"reason\":\"Unauthorized\""), "{answer}");
    }
    assert_eq!(door.apiserver.seen(), []);
    // What somebody's program answers does nothing to the gateway's own address.
    let path = "/clusters/prod/api/v1/namespaces/default/services/web:80/proxy/page";
    let answer = door.house.ask("GET", path, &[]).to_lowercase();
    assert!(answer.starts_with("http/1.1 200 "), "{answer}");
    assert!(!answer.contains("set-cookie"), "{answer}");
    assert!(
        answer.contains("content-security-policy: sandbox"),
        "{answer}"
    );
}

/// CVE-2018-1002105 (T29) and smuggling behind a refused upgrade (T31).
#[test]
fn t29_t31_an_upgrade_that_is_no_session_reaches_nobody_and_ends_the_connection() {
    let door = Door::start(HouseOptions::default());
    let token = door.house.token();
    door.apiserver.forget();
    for path in [
        "/api/v1/namespaces/default/services/web/proxy/",
        "/api/v1/namespaces/default/configmaps",
        "/apis/subresources.kubevirt.io/v1/namespaces/default/virtualmachineinstances/a/console",
        "/api/v1/namespaces/default/pods/none/exec?command=id&stdout=true",
    ] {
        let smuggled = format!(
            "GET /clusters/prod/api/v1/secrets HTTP/1.1\r\nhost: dockin\r\nauthorization: Bearer {token}\r\n\r\n"
        );
        let request = format!(
            "GET /clusters/prod{path} HTTP/1.1\r\nhost: dockin\r\nauthorization: Bearer {token}\r\n\
             connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
             sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\
             sec-websocket-protocol: v5.channel.k8s.io\r\n\r\n{smuggled}"
        );
        let answer = door.house.exchange(request.as_bytes());
        assert!(answer.starts_with("HTTP/1.1 4"), "{path}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{path}: {answer}");
    }
    let seen = door.apiserver.seen();
    assert!(
        seen.iter()
            .all(|one| one.upgrade.is_none() && !one.path.contains("secrets")),
        "{seen:?}"
    );
}

#[test]
fn people_act_as_others_only_where_their_roles_allow_it() {
    let rules = "access_rules: { file: clusters/.access }\n#";
    let options = HouseOptions {
        edits: vec![("access:\n  - ".to_owned(), rules.to_owned())],
        ..HouseOptions::default()
    };
    let door = Door::start(options);
    let kubectl = Kubectl::preferred();
    door.apiserver.forget();
    let asked = |arguments: &[&str]| door.kubectl(&kubectl, arguments, Input::Nothing);
    let got = asked(&["get", "configmaps", "--as", "robot", "--as-group", "robots"]);
    assert_eq!(got.code, Some(0), "{}", got.stderr);
    let seen = door.apiserver.seen();
    let list = seen
        .iter()
        .find(|seen| seen.path.contains("configmaps"))
        .unwrap();
    assert_eq!(
        (list.user.as_deref(), list.groups.as_slice()),
        (Some("robot"), &["robots".to_owned()][..])
    );
    let carried = door.audit("request.carried");
    let carried = carried
        .iter()
        .find(|one| one["resource"] == "configmaps")
        .unwrap();
    assert_eq!(carried["principal"]["user"], "robot", "{carried}");
    assert_eq!(carried["principal"]["impersonator"], "alice", "{carried}");
    door.apiserver.forget();
    for arguments in [
        // Nobody lets her be these.
        &["get", "configmaps", "--as", "root"][..],
        &[
            "get",
            "configmaps",
            "--as",
            "robot",
            "--as-group",
            "system:masters",
        ],
        &["get", "configmaps", "--as", "robot", "--as-uid", "1"],
        // As robot she may do what robot may, not what she may.
        &["get", "pods", "--as", "robot", "--as-group", "robots"],
    ] {
        let got = asked(arguments);
        assert_eq!(got.code, Some(1), "{arguments:?}: {}", got.text());
        assert!(
            got.stderr.contains("orbidden"),
            "{arguments:?}: {}",
            got.stderr
        );
    }
    let seen = door.apiserver.seen();
    assert!(
        seen.iter()
            .all(|one| one.user.as_deref() == Some("robot") && !one.path.contains("pods")),
        "{seen:?}"
    );
    // A denial names its rule.
    let denied = asked(&["delete", "configmap", "any"]);
    assert!(
        denied.stderr.contains("denied by line"),
        "{}",
        denied.stderr
    );
    assert!(denied.stderr.contains("no-deleting"), "{}", denied.stderr);
}
