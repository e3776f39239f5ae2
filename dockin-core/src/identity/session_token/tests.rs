#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::{SignedDuration, Timestamp};

use super::{Accounts, Authenticator as _, CheckedPeople, KnownPerson, SessionTokens};
use crate::{
    ErrorKind,
    identity::{Passwords, Proof, directory::tests::One, records::RELOAD_EVERY},
};

const PASSWORD: &str = "correct horse battery";

fn accounts(folder: &Path) -> Arc<Accounts> {
    let path = folder.join("accounts.yaml");
    let groups = ["dev".to_owned()];
    Accounts::put(&path, "alice", &groups, Some("acme"), PASSWORD).unwrap();
    Arc::new(Accounts::load(path).unwrap())
}

fn tokens(folder: &Path, audience: &str, accounts: &Arc<Accounts>) -> SessionTokens {
    let hour = Duration::from_secs(3600);
    SessionTokens::open(folder, audience, hour, Arc::clone(accounts)).unwrap()
}

#[tokio::test]
async fn a_session_stands_for_its_account_until_it_ends() {
    let folder = tempfile::tempdir().unwrap();
    let accounts = accounts(folder.path());
    let tokens = tokens(folder.path(), "gate", &accounts);
    let now = Timestamp::now();
    let passwords = Passwords::new(Arc::clone(&accounts));
    let here = std::net::IpAddr::from([127, 0, 0, 1]);
    let account = passwords.login("alice", PASSWORD, here, Instant::now());
    let account = account.await.unwrap();
    let issued = tokens.issue(&account, now).await.unwrap();
    let principal = tokens.principal(&issued.token, now).await.unwrap();
    assert_eq!(
        (principal.user.as_str(), principal.proof),
        ("alice", Proof::Session)
    );
    assert_eq!(
        (principal.groups.as_slice(), principal.tenant.as_deref()),
        (&["dev".to_owned()][..], Some("acme"))
    );
    // Another gateway that shares the directory knows it, too.
    let other = self::tokens(folder.path(), "gate", &accounts);
    assert!(other.principal(&issued.token, now).await.is_ok());

    let told = async |token: &str, at| {
        let error = tokens.principal(token, at).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthenticated);
        error.to_string()
    };
    assert_eq!(
        told(&issued.token, issued.expires).await,
        "the session has expired; log in again"
    );
    let early = now - SignedDuration::from_mins(10);
    assert!(told(&issued.token, early).await.contains("future"));
    let second = tokens.issue(&account, now).await.unwrap();
    assert_eq!(tokens.revoke(&issued.token, now).await.unwrap(), issued.id);
    assert_eq!(
        told(&issued.token, now).await,
        "the session was ended; log in again"
    );
    assert!(tokens.principal(&second.token, now).await.is_ok());
    // Every session of the account ends with another password, and with the account.
    let later = now + SignedDuration::from_secs(2);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let file = folder.path().join("accounts.yaml");
    assert!(Accounts::end_sessions(&file, "alice").unwrap());
    tokio::time::sleep(RELOAD_EVERY).await;
    assert!(told(&second.token, later).await.contains("was ended"));
    let third = tokens.issue(&account, later).await.unwrap();
    assert!(tokens.principal(&third.token, later).await.is_ok());
    Accounts::remove(&file, "alice").unwrap();
    tokio::time::sleep(RELOAD_EVERY).await;
    assert!(told(&third.token, later).await.contains("was ended"));
}

#[tokio::test]
async fn a_session_of_the_directory_follows_what_the_directory_says() {
    let folder = tempfile::tempdir().unwrap();
    let accounts = accounts(folder.path());
    let directory = One::knowing("dora", "d.smith");
    let people = Arc::new(CheckedPeople::new(directory.clone(), Duration::ZERO));
    let alone = tokens(folder.path(), "gate", &accounts);
    let tokens = tokens(folder.path(), "gate", &accounts).with_directory(people.clone());
    let now = Timestamp::now();
    let person = people.check("d.smith", "right").await.unwrap().unwrap();
    let token = tokens
        .issue(&KnownPerson::Directory(person), now)
        .await
        .unwrap()
        .token;
    let dora = tokens.principal(&token, now).await.unwrap();
    assert_eq!((dora.user.as_str(), dora.proof), ("dora", Proof::Session));
    assert_eq!(dora.groups, ["dev"]);
    let change = |change: fn(&mut super::super::DirectoryPerson)| {
        change(directory.person.lock().unwrap().as_mut().unwrap());
    };
    change(|person| person.groups = vec!["ops".to_owned()]);
    assert_eq!(tokens.principal(&token, now).await.unwrap().groups, ["ops"]);
    let ended = async |tokens: &SessionTokens| {
        let error = tokens.principal(&token, now).await.unwrap_err();
        assert_eq!(error.message(), "the session was ended; log in again");
    };
    ended(&alone).await;
    // Somebody else has got the name.
    change(|person| person.id = "2".to_owned());
    ended(&tokens).await;
    change(|person| person.id = "1".to_owned());
    assert!(tokens.principal(&token, now).await.is_ok());
    *directory.away.lock().unwrap() = true;
    let error = tokens.principal(&token, now).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    *directory.away.lock().unwrap() = false;
    // What he has open goes on while it cannot be known, and ends with him.
    assert_eq!(tokens.ended(&dora, now).await.unwrap(), None);
    *directory.person.lock().unwrap() = None;
    let why = tokens.ended(&dora, now).await.unwrap();
    assert_eq!(why.as_deref(), Some("`dora` is gone from who may log in"));
    ended(&tokens).await;
}

#[tokio::test]
async fn sessions_of_who_has_no_account_are_ended_by_the_account_file() {
    let folder = tempfile::tempdir().unwrap();
    let accounts = accounts(folder.path());
    let directory = One::knowing("dora", "d.smith");
    let people = Arc::new(CheckedPeople::new(directory, Duration::ZERO));
    let tokens = tokens(folder.path(), "gate", &accounts).with_directory(people.clone());
    let login = async || {
        let person = people.check("d.smith", "right").await.unwrap().unwrap();
        let person = KnownPerson::Directory(person);
        let now = Timestamp::now();
        tokens.issue(&person, now).await.unwrap().token
    };
    let token = login().await;
    let began = Timestamp::now();
    let dora = tokens.principal(&token, began).await.unwrap();
    assert_eq!(tokens.ended(&dora, began).await.unwrap(), None);
    let file = folder.path().join("accounts.yaml");
    assert!(!Accounts::end_sessions(&file, "dora").unwrap());
    Accounts::end_stranger(&file, "dora").unwrap();
    tokio::time::sleep(RELOAD_EVERY).await;
    let why = tokens.ended(&dora, began).await.unwrap();
    assert_eq!(why.as_deref(), Some("the sessions of `dora` were ended"));
    assert!(tokens.principal(&token, Timestamp::now()).await.is_err());
    // Who logs in again is in, and so are others who were in before.
    let token = login().await;
    let now = Timestamp::now();
    assert!(tokens.principal(&token, now).await.is_ok());
    assert_eq!(tokens.ended(&dora, now).await.unwrap(), None);
    let account = KnownPerson::Account(accounts.find("alice").await.unwrap().unwrap());
    let token = tokens.issue(&account, began).await.unwrap().token;
    let alice = tokens.principal(&token, now).await;
    // Her account was made before that.
    assert_eq!(alice.unwrap().user, "alice");
}

#[tokio::test]
async fn forged_tokens_and_those_of_others_prove_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let accounts = accounts(folder.path());
    let ours = tokens(folder.path(), "gate", &accounts);
    let wrong_key = tokens(elsewhere.path(), "gate", &accounts);
    let wrong_audience = tokens(folder.path(), "other", &accounts);
    let now = Timestamp::now();
    let account = KnownPerson::Account(accounts.find("alice").await.unwrap().unwrap());
    let issued = ours.issue(&account, now).await.unwrap();
    let (signed, signature) = issued.token.rsplit_once('.').unwrap();
    let (key, claims) = signed.split_once('.').unwrap();
    let claims = URL_SAFE_NO_PAD.decode(claims).unwrap();
    let claims = String::from_utf8(claims).unwrap().replace("alice", "admin");
    let claims = URL_SAFE_NO_PAD.encode(claims);
    let renamed = format!("{key}.{claims}.{signature}");
    let without_key = format!("dks_{claims}.{signature}");
    let unsigned = format!("{signed}.");
    for (token, words) in [
        (
            wrong_key.issue(&account, now).await.unwrap().token,
            "not one of this gateway",
        ),
        (
            wrong_audience.issue(&account, now).await.unwrap().token,
            "another gateway",
        ),
        (renamed, "not one of this gateway"),
        (without_key, "not one of this gateway"),
        (unsigned, "not one of this gateway"),
        (signed.to_owned(), "not one of this gateway"),
        (format!("{}A", issued.token), "not one of this gateway"),
        (
            issued.token.replacen("dks_", "dkx_", 1),
            "not one of this gateway",
        ),
        ("dks_.".to_owned(), "not one of this gateway"),
        (
            format!("dks_{}", "A".repeat(10_000)),
            "not one of this gateway",
        ),
    ] {
        let error = ours.principal(&token, now).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthenticated);
        assert!(error.message().contains(words), "{token}: {error}");
        assert!(!error.chain().contains(signature));
    }
}

#[tokio::test]
async fn floods_of_logins_wait_and_names_are_not_told() {
    let folder = tempfile::tempdir().unwrap();
    let accounts = accounts(folder.path());
    let now = Instant::now();
    let passwords = Passwords::new(accounts);
    let login = async |user: &str, password: &str, address: &str, now| {
        let address = address.parse().unwrap();
        passwords.login(user, password, address, now).await
    };
    // What is right is not counted.
    for _ in 0..7 {
        login("alice", PASSWORD, "192.0.2.1", now).await.unwrap();
    }
    let wrong = login("alice", "wrong", "192.0.2.1", now).await.unwrap_err();
    let unknown = login("mallory", "wrong", "192.0.2.1", now)
        .await
        .unwrap_err();
    assert_eq!(wrong.to_string(), unknown.to_string());
    for _ in 0..4 {
        let error = login("alice", "wrong", "192.0.2.2", now).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    }
    // Also the right one waits then: there is no telling them apart.
    let error = login("alice", PASSWORD, "192.0.2.3", now)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exhausted);
    let wait = error.retry_after().unwrap();
    assert!(wait <= Duration::from_secs(12), "{wait:?}");
    login("alice", PASSWORD, "192.0.2.3", now + wait)
        .await
        .unwrap();
    // From one address, whatever the names.
    let mut exhausted = 0;
    for number in 0..25 {
        let error = login(&format!("user{number}"), "wrong", "192.0.2.9", now).await;
        exhausted += usize::from(error.unwrap_err().kind() == ErrorKind::Exhausted);
    }
    assert_eq!(exhausted, 5);
    assert!(
        login("alice", &"x".repeat(5000), "192.0.2.4", now + wait)
            .await
            .is_err()
    );
}

#[test]
fn weak_passwords_and_bad_names_make_no_account() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("accounts.yaml");
    for (user, password) in [("alice", "short"), ("a b", PASSWORD), ("", PASSWORD)] {
        let error = Accounts::put(&path, user, &[], None, password).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Malformed, "{user}");
    }
    Accounts::put(&path, "alice", &[], None, PASSWORD).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains("$argon2id$v=19$m=19456,t=2,p=1$"), "{text}");
    std::fs::write(&path, text.replace("argon2id", "argon2d")).unwrap();
    let error = Accounts::load(&path).unwrap_err();
    assert!(error.message().contains("argon2id"), "{error}");
}
