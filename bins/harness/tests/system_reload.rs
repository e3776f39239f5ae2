//! Access rules that change while people work: each request is decided by one state of them, the
//! old or the new, and a bad file changes nothing.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a failed unwrap is a failed test"
)]

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use dockin_harness::{House, HouseOptions, eventually};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(60);
/// Changes of the rules while they are asked for.
const CHANGES: usize = 40;
/// How often the gateway looks at the file is a quarter of a second.
const PAUSE: Duration = Duration::from_millis(120);
/// Who asks at the same time.
const ASKERS: usize = 4;

/// Rules by which alice enters `shop` always, `vault` never, and of `even` and `odd` one.
fn rules(even: bool) -> String {
    let (open, shut) = if even {
        ("even", "odd")
    } else {
        ("odd", "even")
    };
    format!(
        "policies:\n  \
         ask: [ {{ allow: [createSubjectaccessreview], on: [\"*\"] }} ]\n  \
         shop: [ {{ allow: [exec], on: [\"cluster:local/namespace:shop/*\"] }} ]\n  \
         turn: [ {{ allow: [exec], on: [\"cluster:local/namespace:{open}/*\"] }} ]\n  \
         shut: [ {{ deny: [\"*\"], on: [\"*/namespace:{shut}/*\", \"*/namespace:vault/*\"] }} ]\n\
         roles:\n  asker: {{ policies: [ask] }}\n  worker: {{ policies: [shop, turn, shut] }}\n\
         users:\n  alice: {{ roles: [asker, worker] }}\n"
    )
}

fn house() -> House {
    House::start(&HouseOptions {
        edits: vec![(
            "access:\n  - ".to_owned(),
            "limits: { requests_per_second: 100000, burst: 100000 }\n\
             access_rules: { file: access.yaml }\n#"
                .to_owned(),
        )],
        prepare: Some(|data: &Path| fs::write(data.join("access.yaml"), rules(true)).unwrap()),
        ..HouseOptions::default()
    })
}

/// Whether alice may enter a pod in `shop`, `vault`, `even` and `odd`, asked at once.
fn asked(house: &House) -> [bool; 4] {
    let list: Vec<Value> = ["shop", "vault", "even", "odd"]
        .iter()
        .map(|namespace| {
            json!({
                "verb": "create", "resource": "pods", "subresource": "exec",
                "namespace": namespace, "name": "web",
            })
        })
        .collect();
    let body = json!({
        "apiVersion": "auth.tkestack.io/v1", "kind": "SubjectAccessReview", "metadata": {},
        "spec": { "user": "alice", "resourceAttributesList": list },
    });
    let path = "/clusters/local/auth/batchauthz";
    let (status, told) = house.send("POST", path, house.token(), &body);
    assert_eq!(status, 200, "{told}");
    let each = told["status"]["allowedList"].as_array().unwrap();
    let allowed: Vec<bool> = each
        .iter()
        .map(|one| one["allowed"].as_bool().unwrap())
        .collect();
    allowed.try_into().unwrap()
}

/// Puts `text` in the place of the rules, whole.
fn put(file: &PathBuf, text: &str) {
    let beside = file.with_extension("new");
    fs::write(&beside, text).unwrap();
    fs::rename(&beside, file).unwrap();
}

#[test]
fn rules_change_under_load_without_a_wrong_decision() {
    let house = house();
    let file = house.data().join("access.yaml");
    let (over, even_seen, odd_seen) = (
        AtomicBool::new(false),
        AtomicUsize::new(0),
        AtomicUsize::new(0),
    );
    thread::scope(|scope| {
        for _ in 0..ASKERS {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let [shop, vault, even, odd] = asked(&house);
                    let turn = (even, odd);
                    if !shop || vault || even == odd {
                        over.store(true, Ordering::Relaxed);
                    }
                    assert!(shop && !vault && even != odd, "{shop} {vault} {turn:?}");
                    let seen = if even { &even_seen } else { &odd_seen };
                    seen.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for change in 0..CHANGES {
            if over.load(Ordering::Relaxed) {
                break;
            }
            match change % 4 {
                // Half a file, and one that allows everything behind a mistake.
                1 => put(&file, &rules(change % 8 == 1)[..200]),
                3 => put(
                    &file,
                    &format!("{}oops: [\n", rules(true).replace("shut]", "]")),
                ),
                _ => put(&file, &rules(change % 8 == 0)),
            }
            thread::sleep(PAUSE);
        }
        over.store(true, Ordering::Relaxed);
    });
    let seen = (
        even_seen.load(Ordering::Relaxed),
        odd_seen.load(Ordering::Relaxed),
    );
    assert!(seen.0 > 0 && seen.1 > 0, "both states were asked: {seen:?}");

    // What is refused leaves what was there in force; what is accepted last is.
    for even in [false, true] {
        put(&file, &rules(even));
        let expected = [true, false, even, !even];
        assert!(
            eventually(LIMIT, || asked(&house) == expected),
            "{:?}",
            asked(&house)
        );
        put(&file, "users: [\n");
        thread::sleep(PAUSE * 5);
        assert_eq!(asked(&house), expected);
    }
}
