//! OpenID Connect through the gateway: kubectl with the credential plugin, tenants, and every kind
//! of token that proves nobody.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a failed unwrap is a failed test"
)]

#[path = "../../../dockin-core/tests/oidc_provider/mod.rs"]
mod oidc_provider;
#[path = "support/identity.rs"]
mod support;

use std::{fs, path::Path, process::Command};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use dockin_harness::{House, HouseOptions, Input, Program, binary, eventually, finish};
use jiff::Timestamp;
use oidc_provider::Provider;
use serde_json::{Value, json};
use support::{ACCOUNTS, LIMIT, decode, encode, exec, house, is_refused, who};

/// A gateway that knows the people of a real provider.
struct Door {
    // The provider's file is read as long as there is a gateway.
    house: House,
    provider: Provider,
}

impl Door {
    fn start() -> Self {
        let provider = Provider::start();
        let identity = format!(
            "  oidc:\n  - issuer: {}\n    audiences: [dockctl]\n    certificate_authority: {}\n    \
             username_prefix: 'oidc:'\n    groups_claim: groups\n    groups_prefix: 'oidc:'\n",
            provider.issuer,
            provider.authority().display()
        );
        let access =
            "{ groups: ['oidc:dev'], verbs: ['*'], clusters: [local], namespaces: [default] }";
        Self {
            house: house(&identity, &[access]),
            provider,
        }
    }

    fn claims(&self, changes: &Value) -> Value {
        let now = Timestamp::now().as_second();
        let mut claims = json!({
            "iss": self.provider.issuer, "aud": "dockctl", "sub": "alice", "iat": now,
            "exp": now + 600, "groups": ["dev"],
        });
        let members = claims.as_object_mut().unwrap();
        members.extend(changes.as_object().unwrap().clone());
        claims
    }

    /// A token with the provider's own signature.
    fn sign(&self, header: &Value, changes: &Value) -> String {
        let what = json!({ "header": header, "claims": self.claims(changes) });
        let token = self.provider.tell(&format!("sign {what}"));
        assert_eq!(token.split('.').count(), 3, "{token}");
        token
    }

    fn good(&self) -> String {
        self.sign(&json!({}), &json!({}))
    }
}

#[test]
fn a_person_of_the_provider_works_with_kubectl_through_the_credential_plugin() {
    let door = Door::start();
    let (house, provider) = (&door.house, &door.provider);
    let container = house.docker().container(&[], &["sleep", "2147483647"]);
    let file = house.scratch().join("oidc-token");
    let mut login = Command::new(binary("dockctl"));
    login
        .args([
            "oidc-login",
            "--client-id",
            "dockctl",
            "--scope",
            "groups",
            "--issuer",
        ])
        .arg(&provider.issuer)
        .arg("--certificate-authority")
        .arg(provider.authority())
        .arg("--token-file")
        .arg(&file);
    let login = Program::start(&mut login, Input::Nothing);
    let url = || {
        let said = login.stderr();
        said.lines()
            .find(|line| line.starts_with("https://"))
            .map(str::to_owned)
    };
    assert!(eventually(LIMIT, || url().is_some()), "{}", login.stderr());
    let back = provider.browse(&url().unwrap(), "alice");
    let page = finish(
        Command::new("curl").args(["--silent", "--fail", "--max-time", "20", &back]),
        Input::Nothing,
        LIMIT,
    );
    assert_eq!(page.code, Some(0), "{}", page.stderr);
    let finished = login.finish(LIMIT);
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);

    // The kubeconfig has no token: kubectl asks dockctl for it.
    let kubeconfig = house.scratch().join("oidc-kubeconfig");
    let written = finish(
        Command::new(binary("dockctl"))
            .args([
                "kubeconfig",
                "--all",
                "--credential-plugin",
                "--server",
                &house.url(),
            ])
            .arg("--certificate-authority")
            .arg(house.data().join("tls/ca.pem"))
            .arg("--token-file")
            .arg(&file)
            .arg("-o")
            .arg(&kubeconfig),
        Input::Nothing,
        LIMIT,
    );
    assert_eq!(written.code, Some(0), "{}", written.stderr);
    let token = fs::read_to_string(&file).unwrap();
    let text = fs::read_to_string(&kubeconfig).unwrap();
    assert!(
        !text.contains(token.trim()) && text.contains("--token-file"),
        "{text}"
    );
    let ran = exec(&container, house.scratch(), &kubeconfig);
    assert_eq!(
        (ran.code, ran.text().as_str()),
        (Some(0), "it works\n"),
        "{}",
        ran.stderr
    );
    let mut audit = house.audit().into_iter();
    let start = audit.find(|one| one["event"] == "session.start").unwrap();
    assert_eq!(start["principal"]["user"], "oidc:alice", "{start}");
    assert_eq!(
        start["principal"]["groups"],
        json!(["oidc:dev", "oidc:ops"])
    );

    // A token that has ended is not sent at all; kubectl says what to do.
    let ended = door.sign(
        &json!({}),
        &json!({ "exp": Timestamp::now().as_second() - 60 }),
    );
    fs::write(&file, ended).unwrap();
    let refused = exec(&container, house.scratch(), &kubeconfig);
    assert_ne!(refused.code, Some(0));
    assert!(
        refused.stderr.contains("dockctl oidc-login"),
        "{}",
        refused.stderr
    );
}

#[test]
fn expired_tokens_and_those_of_the_future_prove_nobody() {
    let door = Door::start();
    assert_eq!(who(&door.house, &door.good()), Ok("oidc:alice".to_owned()));
    let now = Timestamp::now().as_second();
    for (changes, words) in [
        (json!({ "exp": now - 60 }), "expired"),
        (json!({ "nbf": now + 600 }), "not valid yet"),
        (json!({ "iat": now + 600 }), "from the future"),
        (json!({ "exp": "never" }), "`exp`"),
    ] {
        is_refused(&door.house, &door.sign(&json!({}), &changes), words);
    }
}

#[test]
fn tokens_for_another_audience_client_or_purpose_prove_nobody() {
    let door = Door::start();
    for (header, changes, words) in [
        (json!({}), json!({ "aud": "other" }), "audience"),
        (json!({}), json!({ "aud": [] }), "audience"),
        (
            json!({}),
            json!({ "aud": ["dockctl", "other"] }),
            "another client",
        ),
        (json!({}), json!({ "azp": "other" }), "another client"),
        (json!({ "typ": "logout+jwt" }), json!({}), "kind"),
        // Nobody here answers for that issuer.
        (
            json!({}),
            json!({ "iss": "https://127.0.0.1" }),
            "not known",
        ),
    ] {
        is_refused(&door.house, &door.sign(&header, &changes), words);
    }
}

#[test]
fn tokens_of_another_key_or_with_a_changed_payload_prove_nobody() {
    let door = Door::start();
    let good = door.good();
    let [header, payload, signature] = good.split('.').collect::<Vec<_>>()[..] else {
        panic!("three parts")
    };
    let key = &decode(header)["kid"];
    let stranger = Provider::start();
    let signed_by_stranger = |header: Value| {
        let what = json!({ "header": header, "claims": door.claims(&json!({})) });
        stranger.tell(&format!("sign {what}"))
    };
    let admin = encode(&door.claims(&json!({ "sub": "admin", "groups": ["admins"] })));
    for (token, words) in [
        (
            format!("{header}.{admin}.{signature}"),
            "signature is wrong",
        ),
        (
            format!("{header}.{payload}.{}", "A".repeat(signature.len())),
            "signature is wrong",
        ),
        (
            signed_by_stranger(json!({ "kid": key })),
            "signature is wrong",
        ),
        (
            // And brings its key along.
            signed_by_stranger(json!({ "kid": key, "jku": format!("{}/jwks", stranger.issuer) })),
            "signature is wrong",
        ),
        (signed_by_stranger(json!({})), "does not have"),
    ] {
        is_refused(&door.house, &token, words);
    }
    assert!(who(&door.house, &good).is_ok());
}

#[test]
fn tokens_without_a_signature_or_with_the_public_key_as_a_secret_prove_nobody() {
    let door = Door::start();
    let good = door.good();
    let [header, payload, signature] = good.split('.').collect::<Vec<_>>()[..] else {
        panic!("three parts")
    };
    let with = |algorithm: &str| {
        let mut changed = decode(header);
        changed["alg"] = json!(algorithm);
        encode(&changed)
    };
    let keys = finish(
        Command::new("curl")
            .args(["--silent", "--cacert"])
            .arg(door.provider.authority())
            .arg(format!("{}/jwks", door.provider.issuer)),
        Input::Nothing,
        LIMIT,
    );
    let keys: Value = serde_json::from_str(&keys.text()).unwrap();
    let modulus = BASE64
        .decode(keys["keys"][0]["n"].as_str().unwrap())
        .unwrap();
    let mut confused = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::HS256);
    confused.kid = decode(header)["kid"].as_str().map(str::to_owned);
    let secret = jsonwebtoken::EncodingKey::from_secret(&modulus);
    let confused = jsonwebtoken::encode(&confused, &door.claims(&json!({})), &secret).unwrap();
    for (token, words) in [
        (format!("{}.{payload}.", with("none")), "does not count"),
        (
            format!("{}.{payload}.{signature}", with("None")),
            "does not count",
        ),
        (format!("{header}.{payload}."), "signature is wrong"),
        (
            format!("{}.{payload}.{signature}", with("HS256")),
            "does not count",
        ),
        (confused, "does not count"),
        (format!("{header}.{payload}"), "not a signed JWT"),
    ] {
        is_refused(&door.house, &token, words);
    }
}

#[test]
fn a_rotated_key_counts_and_the_one_before_does_not() {
    let door = Door::start();
    let old = door.good();
    assert!(who(&door.house, &old).is_ok());
    assert_eq!(door.provider.tell("rotate"), "rotated");
    let new = door.good();
    // The provider is asked for its keys every ten seconds at most.
    assert!(eventually(LIMIT, || who(&door.house, &new).is_ok()));
    is_refused(&door.house, &old, "does not have");
    assert!(who(&door.house, &new).is_ok());
}

const TENANTS: &str = r#"
policies:
  shell: [ { allow: [exec, "get*", "list*"], on: ["cluster:local/namespace:default/*"] } ]
roles:
  worker: { policies: [shell] }
tenants:
  acme: { everyone: [] }
users:
  "oidc:alice": { tenant: acme, roles: [worker] }
"#;

#[test]
fn the_tenant_that_the_provider_tells_decides_which_rules_count() {
    let provider = Provider::start();
    let identity = format!(
        "identity:\n  oidc:\n  - issuer: {}\n    audiences: [dockctl]\n    \
         certificate_authority: {}\n    username_prefix: 'oidc:'\n    tenant_claim: org\n",
        provider.issuer,
        provider.authority().display()
    );
    let house = House::start(&HouseOptions {
        edits: vec![
            (ACCOUNTS.to_owned(), format!("{ACCOUNTS}\n{identity}")),
            (
                "access:\n  - ".to_owned(),
                "access_rules: { file: access.yaml }\n#".to_owned(),
            ),
        ],
        prepare: Some(|data: &Path| fs::write(data.join("access.yaml"), TENANTS).unwrap()),
        ..HouseOptions::default()
    });
    let door = Door { house, provider };
    let list = |tenant: Value| {
        let token = door.sign(&json!({}), &json!({ "org": tenant }));
        let path = "/clusters/local/api/v1/namespaces/default/pods";
        door.house.send("GET", path, &token, &Value::Null)
    };
    assert_eq!(list(json!("acme")).0, 200);
    // The same user of another tenant is somebody else, and one that nobody knows has no rules.
    for tenant in ["default", "other"] {
        let (status, told) = list(json!(tenant));
        assert_eq!(status, 403, "{tenant}: {told}");
        let hint = format!("--tenant {tenant}");
        assert!(told["message"].as_str().unwrap().contains(&hint), "{told}");
    }
    // Who has no tenant is not let into the default one.
    assert_eq!(list(Value::Null).0, 401);
}
