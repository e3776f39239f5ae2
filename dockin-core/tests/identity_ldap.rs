//! LDAP against a real slapd, over TLS.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failed unwrap is a failed test"
)]

mod ldap_server;

use std::{io::Write as _, net::TcpListener, time::Duration};

use dockin_core::{
    Error, ErrorKind,
    identity::ldap::{LdapDirectory, LdapPerson, LdapSettings},
};
use ldap_server::{SERVICE_PASSWORD, Slapd};
use serde_json::{Value, json};

fn settings(slapd: &Slapd) -> Value {
    json!({
        "host": format!("localhost:{}", slapd.tls),
        "rootCA": slapd.file("ca.pem"),
        "bindDN": "cn=reader,dc=dockin,dc=test", "bindPWFile": slapd.file("password"),
        "userSearch": {
            "baseDN": "ou=people,dc=dockin,dc=test", "filter": "(objectClass=person)",
            "username": "uid", "scope": "sub", "idAttr": "uid", "emailAttr": "mail", "nameAttr": "cn",
        },
        "groupSearch": {
            "baseDN": "ou=groups,dc=dockin,dc=test",
            "userMatchers": [
                { "userAttr": "DN", "groupAttr": "member" },
                { "userAttr": "uid", "groupAttr": "memberUid" },
            ],
            "nameAttr": "cn",
        },
    })
}

fn directory(settings: &Value) -> LdapDirectory {
    let settings: LdapSettings = serde_json::from_value(settings.clone()).unwrap();
    LdapDirectory::new(settings).unwrap()
}

async fn login(settings: &Value, user: &str, password: &str) -> Result<LdapPerson, Error> {
    let outcome = directory(settings).login(user, password).await;
    if let Err(error) = &outcome {
        let shown = format!("{error:?} {}", error.chain());
        assert!(!shown.contains(SERVICE_PASSWORD), "{shown}");
        assert!(password.len() < 4 || !shown.contains(password), "{shown}");
    }
    outcome
}

/// The refusal that tells nothing about what exists.
async fn is_wrong(settings: &Value, user: &str, password: &str) {
    let error = login(settings, user, password).await.unwrap_err();
    assert_eq!(
        error.kind(),
        ErrorKind::Unauthenticated,
        "{user:?}: {error}"
    );
    assert!(
        error
            .message()
            .starts_with("user name or password is wrong"),
        "{user:?}: {error}"
    );
}

#[tokio::test]
async fn a_person_logs_in_over_tls_and_over_starttls_and_gets_the_groups() {
    let slapd = Slapd::start(1);
    let over_tls = settings(&slapd);
    let mut start_tls = over_tls.clone();
    start_tls["host"] = json!(format!("localhost:{}", slapd.plain));
    start_tls["startTLS"] = json!(true);
    let mut plain = start_tls.clone();
    plain["startTLS"] = json!(false);
    plain["insecureNoSSL"] = json!(true);
    for settings in [&over_tls, &start_tls, &plain] {
        let person = login(settings, "alice", "alicepw").await.unwrap();
        assert_eq!(
            (person.user.as_str(), person.id.as_str()),
            ("alice", "alice")
        );
        assert_eq!(person.groups, ["Domain Users", "ops"]);
        assert_eq!(person.dn, "uid=alice,ou=people,dc=dockin,dc=test");
        assert_eq!(person.email.as_deref(), Some("alice@dockin.test"));
        assert_eq!(person.name.as_deref(), Some("Alice A."));
        is_wrong(settings, "alice", "not-th1s").await;
    }
    // One directory, many at once.
    let directory = directory(&over_tls);
    let logins = (0..40).map(|_| directory.login("alice", "alicepw"));
    let crowd = futures::future::join_all(logins).await;
    assert!(crowd.iter().all(Result::is_ok));
}

#[tokio::test]
async fn without_a_service_searches_are_anonymous_before_and_after_the_bind() {
    let slapd = Slapd::start(1);
    let mut settings = settings(&slapd);
    let members = settings.as_object_mut().unwrap();
    members.remove("bindDN");
    members.remove("bindPWFile");
    for search in ["userSearch", "groupSearch"] {
        settings[search]["baseDN"] = json!("ou=open,dc=dockin,dc=test");
    }
    let olga = login(&settings, "olga", "olgapw").await.unwrap();
    assert_eq!(
        (olga.user.as_str(), olga.groups.as_slice()),
        ("olga", &["guests".to_owned()][..])
    );
    is_wrong(&settings, "olga", "not-th1s").await;
}

#[tokio::test]
async fn the_user_name_is_the_directory_s_however_it_is_typed() {
    let slapd = Slapd::start(1);
    let mut settings = settings(&slapd);
    for typed in ["alice", "ALICE", "Alice", " alice "] {
        assert_eq!(
            login(&settings, typed, "alicepw").await.unwrap().user,
            "alice",
            "{typed}"
        );
    }
    // A distinguished name full of what means something in filters finds its groups and no others.
    let carol = login(&settings, "carol", "carolpw").await.unwrap();
    assert_eq!(carol.groups, ["Domain Users"]);
    assert_eq!(carol.name.as_deref(), Some("Carol, (the *) \\ Doe"));
    settings["userSearch"]["preferredUsernameAttr"] = json!("displayName");
    settings["userSearch"]["emailSuffix"] = json!("example.com");
    let alice = login(&settings, "alice", "alicepw").await.unwrap();
    assert_eq!(
        (alice.user.as_str(), alice.email.as_deref()),
        ("alice-a", Some("alice-a@example.com"))
    );
    // Who lacks the attribute does not become somebody without a name.
    let error = login(&settings, "carol", "carolpw").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    assert!(error.message().contains("`displayName`"), "{error}");
}

#[tokio::test]
async fn nothing_typed_as_a_name_changes_the_search() {
    let slapd = Slapd::start(1);
    let settings = settings(&slapd);
    for typed in [
        "*",
        "a*",
        "alic?",
        "*)(uid=alice",
        "alice)(objectClass=*",
        "alice)(|(uid=*",
        "nobody)(|(uid=alice)",
        "*))(|(uid=alice",
        "alice))(&(uid=alice",
        "alice\0",
        "al\nice",
        "\\61lice",
        "uid=alice,ou=people,dc=dockin,dc=test",
        "(uid=alice)",
        "",
        " ",
        // Not what the filter of the settings asks for, and not where it looks.
        "machine",
        "reader",
        &"a".repeat(300),
    ] {
        is_wrong(&settings, typed, "alicepw").await;
        is_wrong(&settings, typed, "machinepw").await;
    }
}

#[tokio::test]
async fn an_empty_password_is_refused_though_the_server_takes_it() {
    let slapd = Slapd::start(1);
    let settings = settings(&slapd);
    // The server says yes: this is the trap.
    let url = format!("ldap://127.0.0.1:{}", slapd.plain);
    let (connection, mut ldap) = ldap3::LdapConnAsync::new(&url).await.unwrap();
    let driver = tokio::spawn(async move { connection.drive().await });
    let dn = "uid=alice,ou=people,dc=dockin,dc=test";
    assert_eq!(ldap.simple_bind(dn, "").await.unwrap().rc, 0);
    driver.abort();

    is_wrong(&settings, "alice", "").await;
    is_wrong(&settings, "alice", &"a".repeat(2000)).await;
    is_wrong(&settings, "nobody", "").await;
    std::fs::write(slapd.file("password"), "\n").unwrap();
    let error = login(&settings, "alice", "alicepw").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.message().contains("`bindPWFile`"), "{error}");
}

#[tokio::test]
async fn unclear_persons_and_groups_are_refused() {
    let slapd = Slapd::start(1);
    let mut settings = settings(&slapd);
    // Two entries have that name.
    is_wrong(&settings, "twin", "twinpw").await;
    let error = login(&settings, "eve", "evepw").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    assert!(error.message().contains("`system:`"), "{error}");
    // The server tells ten of his groups and not the rest.
    let error = login(&settings, "frank", "frankpw").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.message().contains("too many groups"), "{error}");
    is_wrong(&settings, "frank", "not-th1s").await;
    // With one level only, the twin of the upper level is the only one.
    settings["userSearch"]["scope"] = json!("one");
    assert_eq!(
        login(&settings, "twin", "twinpw").await.unwrap().groups,
        Vec::<String>::new()
    );
}

#[tokio::test]
async fn referrals_are_not_followed() {
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    elsewhere.set_nonblocking(true).unwrap();
    let slapd = Slapd::start(elsewhere.local_addr().unwrap().port());
    let mut settings = settings(&slapd);
    // A search over it goes on without what is abroad.
    login(&settings, "alice", "alicepw").await.unwrap();
    // A search that begins there does not take place.
    settings["userSearch"]["baseDN"] = json!("ou=abroad,ou=people,dc=dockin,dc=test");
    let error = login(&settings, "alice", "alicepw").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.message().contains("refers"), "{error}");
    let nobody = elsewhere.accept().unwrap_err();
    assert_eq!(nobody.kind(), std::io::ErrorKind::WouldBlock);
}

#[tokio::test]
async fn a_server_that_is_not_the_right_one_gets_no_password() {
    let slapd = Slapd::start(1);
    let mut strange = settings(&slapd);
    strange["rootCA"] = json!(slapd.file("stranger.pem"));
    let mut renamed = settings(&slapd);
    renamed["host"] = json!(format!("127.0.0.2:{}", slapd.tls));
    for (settings, port) in [
        (&strange, slapd.tls),
        (&strange, slapd.plain),
        (&renamed, slapd.tls),
    ] {
        let mut settings = settings.clone();
        let host = settings["host"]
            .as_str()
            .unwrap()
            .split(':')
            .next()
            .unwrap()
            .to_owned();
        settings["host"] = json!(format!("{host}:{port}"));
        settings["startTLS"] = json!(port == slapd.plain);
        let error = login(&settings, "alice", "alicepw").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{settings}");
    }
    let error = login(&strange, "alice", "alicepw").await.unwrap_err();
    assert!(
        error.chain().contains("invalid peer certificate"),
        "{}",
        error.chain()
    );
    // One that is not ready for StartTLS is not spoken to in plain.
    let mut silent = settings(&slapd);
    silent["startTLS"] = json!(true);
    let error = login(&silent, "alice", "alicepw").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn a_server_that_is_away_or_silent_or_talks_nonsense_lets_nobody_in() {
    let slapd = Slapd::start(1);
    let mut settings = settings(&slapd);
    std::fs::write(slapd.file("password"), "not the service's").unwrap();
    let error = login(&settings, "alice", "alicepw").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.message().contains("`bindDN`"), "{error}");
    assert!(!error.chain().contains("not the service's"));
    std::fs::remove_file(slapd.file("password")).unwrap();
    let error = login(&settings, "alice", "alicepw").await.unwrap_err();
    assert!(error.message().contains("cannot be read"), "{error}");
    std::fs::write(slapd.file("password"), format!("{SERVICE_PASSWORD}\r\n")).unwrap();
    login(&settings, "alice", "alicepw").await.unwrap();

    settings["insecureNoSSL"] = json!(true);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    settings["host"] = json!(listener.local_addr().unwrap().to_string());
    let short = serde_json::from_value(settings.clone()).unwrap();
    let short = LdapDirectory::with_time_limit(short, Duration::from_millis(300)).unwrap();
    let error = short.login("alice", "alicepw").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.message().contains("took too long"), "{error}");

    // Answers that are not LDAP, some of which the library panics at.
    std::thread::spawn(move || {
        let answers: [&[u8]; 5] = [
            b"HTTP/1.1 400 Bad Request\r\n\r\n",
            // A response to message 1 of no known kind; a bind's with nothing in it; with half.
            &[0x30, 0x05, 0x02, 0x01, 0x01, 0x7f, 0x00],
            &[0x30, 0x05, 0x02, 0x01, 0x01, 0x61, 0x00],
            &[0x30, 0x08, 0x02, 0x01, 0x01, 0x61, 0x03, 0x0a, 0x01, 0x00],
            b"",
        ];
        // The first is of the login that took too long.
        drop(listener.accept());
        for answer in answers {
            let Ok((mut socket, _)) = listener.accept() else {
                return;
            };
            // It may have gone by then.
            let _sent = socket.write_all(answer);
        }
    });
    for _ in 0..5 {
        let error = login(&settings, "alice", "alicepw").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    }
    settings["host"] = json!("127.0.0.1:1");
    let error = login(&settings, "alice", "alicepw").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.message().contains("cannot be reached"), "{error}");
}
