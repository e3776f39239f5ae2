//! What the tests of identity have in common: a gateway with a section `identity`, and what it
//! thinks of a token.

#![allow(dead_code, reason = "each test target uses a part of it")]

use std::{path::Path, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use dockin_harness::{Container, Finished, House, HouseOptions, Input, Kubectl, Transport, finish};
use serde_json::{Value, json};

pub(crate) const LIMIT: Duration = Duration::from_secs(60);
pub(crate) const ACCOUNTS: &str = "accounts: { file: accounts.yaml, sessions: sessions }";

/// A gateway with this under `identity`, and the people of these entries under `access`.
pub(crate) fn house(identity: &str, access: &[&str]) -> House {
    House::start(&HouseOptions {
        edits: vec![(
            ACCOUNTS.to_owned(),
            format!("{ACCOUNTS}\nidentity:\n{identity}"),
        )],
        access: access.iter().map(|entry| (*entry).to_owned()).collect(),
        ..HouseOptions::default()
    })
}

/// Who the gateway thinks asks; the message of its refusal otherwise.
pub(crate) fn who(house: &House, token: &str) -> Result<String, String> {
    let (status, told) = house.send("GET", "/dockin/v1/clusters", token, &Value::Null);
    let text = |name: &str| told[name].as_str().unwrap_or_default().to_owned();
    match status {
        200 => Ok(text("user")),
        401 => Err(text("message")),
        other => Err(format!("{other}: {}", text("message"))),
    }
}

/// That `token` proves nobody, is told so in `words`, and is written down without itself.
pub(crate) fn is_refused(house: &House, token: &str, words: &str) {
    let path = "/clusters/local/api/v1/namespaces/default/pods";
    let (status, told) = house.send("GET", path, token, &Value::Null);
    assert_eq!(
        (status, &told["reason"]),
        (401, &json!("Unauthorized")),
        "{words}: {told}"
    );
    let message = told["message"].as_str().unwrap();
    assert!(message.contains(words), "{words}: {message}");
    let failed: Vec<Value> = house
        .audit()
        .into_iter()
        .filter(|one| one["event"] == "login.failed")
        .collect();
    let last = failed.last().unwrap().to_string();
    assert!(last.contains(words), "{words}: {last}");
    for part in token.split('.').filter(|part| part.len() > 8) {
        assert!(
            !last.contains(part) && !message.contains(part),
            "{message} {last}"
        );
    }
}

pub(crate) fn exec(container: &Container, scratch: &Path, kubeconfig: &Path) -> Finished {
    let mut kubectl = Kubectl::preferred().command(Transport::WebSocket, kubeconfig, scratch);
    kubectl.args(["exec", container.name(), "--", "echo", "it works"]);
    finish(&mut kubectl, Input::Nothing, LIMIT)
}

pub(crate) fn encode(part: &Value) -> String {
    BASE64.encode(part.to_string())
}

pub(crate) fn decode(part: &str) -> Value {
    serde_json::from_slice(&BASE64.decode(part).unwrap()).unwrap()
}
