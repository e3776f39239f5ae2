//! OpenID Connect against a certified provider over TLS.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failed unwrap is a failed test"
)]

mod oidc_provider;

use std::{net::TcpListener, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use dockin_core::{
    Error, ErrorKind,
    identity::{
        Authenticator, Credentials,
        oidc::{CachePolicy, LoginSettings, LoginTokens, OidcIssuer, OidcLogin, OidcSettings},
    },
};
use jiff::Timestamp;
use oidc_provider::Provider;
use serde_json::{Value, json};

const REDIRECT: &str = "http://127.0.0.1:4711/callback";

fn settings(provider: &Provider, audience: &str) -> OidcSettings {
    let mut settings = OidcSettings::new(&provider.issuer, audience);
    settings.certificate_authority = Some(provider.authority());
    settings.groups_claim = Some("groups".to_owned());
    settings.groups_prefix = "oidc:".to_owned();
    settings
}

fn client(provider: &Provider, client_id: &str) -> LoginSettings {
    LoginSettings {
        issuer: provider.issuer.clone(),
        client_id: client_id.to_owned(),
        client_secret: None,
        scopes: vec!["email".to_owned(), "groups".to_owned()],
        certificate_authority: Some(provider.authority()),
    }
}

async fn log_in(provider: &Provider, client_id: &str, person: &str) -> LoginTokens {
    let login = OidcLogin::discover(client(provider, client_id))
        .await
        .unwrap();
    let pending = login.begin(REDIRECT).unwrap();
    let answer = provider.browse(pending.url(), person);
    let query = answer.strip_prefix(&format!("{REDIRECT}?")).unwrap();
    assert!(pending.is_answer(query));
    pending.finish(query, Timestamp::now()).await.unwrap()
}

/// Asks as the gateway does.
async fn ask(issuer: &OidcIssuer, token: &str) -> Result<(String, Vec<String>), Error> {
    let credentials = Credentials {
        bearer: Some(token.to_owned()),
        ..Credentials::default()
    };
    let known = Authenticator::authenticate(issuer, &credentials).await;
    if let Err(error) = &known {
        let shown = format!("{error:?} {} {}", error.chain(), error.message());
        for part in token.split('.').filter(|part| part.len() > 8) {
            assert!(!shown.contains(part), "an error shows the token: {shown}");
        }
    }
    if let Some(known) = known? {
        return Ok((known.user.clone(), known.groups.clone()));
    }
    // Left to other authenticators: whoever asks this one all the same hears why it counts for
    // nothing.
    let known = OidcIssuer::authenticate(issuer, token, Timestamp::now()).await;
    Err(known.expect_err("a token that this one does not know"))
}

fn claims(provider: &Provider, changes: &Value) -> Value {
    let now = Timestamp::now().as_second();
    let mut claims = json!({
        "iss": provider.issuer, "aud": "dockctl", "sub": "alice", "iat": now, "exp": now + 600,
    });
    let members = claims.as_object_mut().unwrap();
    for (name, value) in changes.as_object().unwrap() {
        members.insert(name.clone(), value.clone());
    }
    claims
}

fn sign(provider: &Provider, header: &Value, changes: &Value) -> String {
    let what = json!({ "header": header, "claims": claims(provider, changes) });
    let token = provider.tell(&format!("sign {what}"));
    assert_eq!(token.split('.').count(), 3, "{token}");
    token
}

fn encode(part: &Value) -> String {
    URL_SAFE_NO_PAD.encode(part.to_string())
}

#[tokio::test]
async fn a_person_logs_in_with_pkce_and_the_gateway_knows_who_it_is() {
    let provider = Provider::start();
    for (client, algorithm) in [
        ("dockctl", "RS256"),
        ("dockctl-es", "ES256"),
        ("dockctl-ed", "EdDSA"),
    ] {
        let tokens = log_in(&provider, client, "alice").await;
        assert_eq!(tokens.identity.subject, "alice");
        assert!(!format!("{tokens:?}").contains(&tokens.id_token));
        let header = URL_SAFE_NO_PAD
            .decode(tokens.id_token.split('.').next().unwrap())
            .unwrap();
        let header: Value = serde_json::from_slice(&header).unwrap();
        assert_eq!(header["alg"], algorithm);

        let issuer = OidcIssuer::new(settings(&provider, client)).unwrap();
        let (user, groups) = ask(&issuer, &tokens.id_token).await.unwrap();
        assert_eq!(user, format!("{}#alice", provider.issuer));
        assert_eq!(groups, ["oidc:dev", "oidc:ops"]);

        let mut by_email = settings(&provider, client);
        by_email.username_claim = "email".to_owned();
        let (user, _) = ask(&OidcIssuer::new(by_email).unwrap(), &tokens.id_token)
            .await
            .unwrap();
        assert_eq!(user, "alice@dockin.test");
    }
}

#[tokio::test]
async fn an_unverified_address_and_a_group_of_the_cluster_are_refused() {
    let provider = Provider::start();
    let token = log_in(&provider, "dockctl", "mallory").await.id_token;
    let mut by_email = settings(&provider, "dockctl");
    by_email.username_claim = "email".to_owned();
    let error = ask(&OidcIssuer::new(by_email).unwrap(), &token)
        .await
        .unwrap_err();
    assert!(error.message().contains("not verified"), "{error}");
    let mut bare = settings(&provider, "dockctl");
    bare.groups_prefix.clear();
    let error = ask(&OidcIssuer::new(bare).unwrap(), &token)
        .await
        .unwrap_err();
    assert!(error.message().contains("`system:`"), "{error}");
}

#[tokio::test]
async fn the_answer_to_one_login_is_not_taken_for_another() {
    let provider = Provider::start();
    let login = OidcLogin::discover(client(&provider, "dockctl"))
        .await
        .unwrap();
    let (first, second) = (
        login.begin(REDIRECT).unwrap(),
        login.begin(REDIRECT).unwrap(),
    );
    let answer = provider.browse(first.url(), "alice");
    let query = answer.split_once('?').unwrap().1.to_owned();
    assert!(first.is_answer(&query) && !second.is_answer(&query));
    let error = second.finish(&query, Timestamp::now()).await.unwrap_err();
    assert!(error.message().contains("another login"), "{error}");

    // The code of one login with the secrets of the other: the provider sees the wrong verifier.
    let third = login.begin(REDIRECT).unwrap();
    let state = |url: &str| {
        let (_, rest) = url.split_once("state=").unwrap();
        rest.split('&').next().unwrap().to_owned()
    };
    let forged = query.replace(&state(first.url()), &state(third.url()));
    let error = third.finish(&forged, Timestamp::now()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    assert!(error.message().contains("invalid_grant"), "{error}");

    // A code is good once, and the provider remembers that somebody tried.
    let again = login.begin(REDIRECT).unwrap();
    let refused = format!(
        "state={}&iss={}&error=access_denied",
        state(again.url()),
        provider.issuer
    );
    let error = again.finish(&refused, Timestamp::now()).await.unwrap_err();
    assert!(error.message().contains("access_denied"), "{error}");
}

#[tokio::test]
async fn tokens_that_the_provider_signed_for_somewhere_or_some_other_time_are_refused() {
    let provider = Provider::start();
    let issuer = OidcIssuer::new(settings(&provider, "dockctl")).unwrap();
    let now = Timestamp::now().as_second();
    for (header, changes, word) in [
        (json!({}), json!({ "exp": now - 60 }), "expired"),
        (json!({}), json!({ "nbf": now + 600 }), "not valid yet"),
        (json!({}), json!({ "iat": now + 600 }), "future"),
        (json!({}), json!({ "aud": "other" }), "audience"),
        (
            json!({}),
            json!({ "aud": ["dockctl", "other"] }),
            "another client",
        ),
        (json!({}), json!({ "azp": "other" }), "another client"),
        (
            json!({}),
            json!({ "iss": "https://127.0.0.1" }),
            "another issuer",
        ),
        (json!({}), json!({ "iss": 1 }), "`iss`"),
        (json!({ "typ": "logout+jwt" }), json!({}), "kind"),
        (json!({ "kid": "unknown" }), json!({}), "does not have"),
        (json!({ "kid": "RS256" }), json!({}), "does not have"),
    ] {
        let token = sign(&provider, &header, &changes);
        let error = ask(&issuer, &token).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{changes}");
        assert!(
            error.message().contains(word),
            "{header} {changes}: {error}"
        );
    }
    let good = sign(&provider, &json!({}), &json!({ "groups": "dev" }));
    assert!(issuer.is_of(&good) && !issuer.is_of("dk_A.e30.A") && !issuer.is_of(""));
    assert!(!issuer.is_of(&sign(
        &provider,
        &json!({}),
        &json!({ "iss": "https://127.0.0.1" })
    )));
    assert_eq!(ask(&issuer, &good).await.unwrap().1, ["oidc:dev"]);
    // A real token, for a real other client.
    let other = log_in(&provider, "other", "alice").await.id_token;
    let error = ask(&issuer, &other).await.unwrap_err();
    assert!(error.message().contains("audience"), "{error}");
}

#[tokio::test]
async fn forged_tokens_are_refused() {
    let provider = Provider::start();
    let issuer = OidcIssuer::new(settings(&provider, "dockctl")).unwrap();
    let token = sign(&provider, &json!({}), &json!({}));
    ask(&issuer, &token).await.unwrap();
    let [header, payload, signature] = token.split('.').collect::<Vec<_>>()[..] else {
        panic!("three parts")
    };
    let fields = URL_SAFE_NO_PAD.decode(header).unwrap();
    let fields: Value = serde_json::from_slice(&fields).unwrap();
    let with = |name: &str, value: Value| {
        let mut changed = fields.clone();
        changed[name] = value;
        encode(&changed)
    };
    let admin = encode(&claims(&provider, &json!({ "sub": "admin" })));

    // Somebody else's key under the id of the provider's, and brought along in the header.
    let stranger = Provider::start();
    let what =
        json!({ "header": { "kid": fields["kid"] }, "claims": claims(&provider, &json!({})) });
    let foreign = stranger.tell(&format!("sign {what}"));
    let own = json!({ "kid": fields["kid"], "jku": format!("{}/jwks", stranger.issuer) });
    let what = json!({ "header": own, "claims": claims(&provider, &json!({})) });
    let brought = stranger.tell(&format!("sign {what}"));

    // The public key as the secret of HS256.
    let keys = std::process::Command::new("curl")
        .args(["--silent", "--cacert"])
        .arg(provider.authority())
        .arg(format!("{}/jwks", provider.issuer))
        .output()
        .unwrap();
    let keys: Value = serde_json::from_slice(&keys.stdout).unwrap();
    let modulus = URL_SAFE_NO_PAD
        .decode(keys["keys"][0]["n"].as_str().unwrap())
        .unwrap();
    let mut confused = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::HS256);
    confused.kid = fields["kid"].as_str().map(str::to_owned);
    let secret = jsonwebtoken::EncodingKey::from_secret(&modulus);
    let confused =
        jsonwebtoken::encode(&confused, &claims(&provider, &json!({})), &secret).unwrap();

    for (what, forged, word) in [
        (
            "another payload",
            format!("{header}.{admin}.{signature}"),
            "signature is wrong",
        ),
        (
            "no signature",
            format!("{header}.{payload}."),
            "signature is wrong",
        ),
        (
            "a short signature",
            token[..token.len() - 4].to_owned(),
            "signature is wrong",
        ),
        (
            "none",
            format!("{}.{payload}.", with("alg", json!("none"))),
            "does not count",
        ),
        (
            "None",
            format!("{}.{payload}.{signature}", with("alg", json!("None"))),
            "does not count",
        ),
        (
            "HS256",
            format!("{}.{payload}.{signature}", with("alg", json!("HS256"))),
            "does not count",
        ),
        ("confusion", confused, "does not count"),
        (
            "another algorithm",
            format!("{}.{payload}.{signature}", with("alg", json!("ES256"))),
            "does not have",
        ),
        ("a foreign key", foreign, "signature is wrong"),
        ("a key brought along", brought, "signature is wrong"),
        (
            "critical",
            format!("{}.{payload}.{signature}", with("crit", json!(["x"]))),
            "extensions",
        ),
        ("nothing", String::new(), "not a signed JWT"),
        ("long", "a".repeat(20_000), "limit"),
    ] {
        let error = ask(&issuer, &forged).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{what}");
        assert!(error.message().contains(word), "{what}: {error}");
    }
}

#[tokio::test]
async fn rotated_keys_are_found_and_the_old_ones_count_no_more() {
    let provider = Provider::start();
    let policy = CachePolicy {
        between_fetches: Duration::ZERO,
        ..CachePolicy::default()
    };
    let issuer = OidcIssuer::with_policy(settings(&provider, "dockctl"), policy).unwrap();
    let old = sign(&provider, &json!({}), &json!({}));
    ask(&issuer, &old).await.unwrap();
    assert_eq!(provider.tell("rotate"), "rotated");
    let new = sign(&provider, &json!({}), &json!({}));
    ask(&issuer, &new).await.unwrap();
    let error = ask(&issuer, &old).await.unwrap_err();
    assert!(error.message().contains("does not have"), "{error}");
    ask(&issuer, &new).await.unwrap();
}

#[tokio::test]
async fn a_key_that_the_provider_took_back_goes_with_the_next_renewal() {
    let provider = Provider::start();
    let policy = CachePolicy {
        fresh: Duration::ZERO,
        between_fetches: Duration::ZERO,
        ..CachePolicy::default()
    };
    let issuer = OidcIssuer::with_policy(settings(&provider, "dockctl"), policy).unwrap();
    let old = sign(&provider, &json!({}), &json!({}));
    ask(&issuer, &old).await.unwrap();
    provider.tell("rotate");
    // Nobody sends a token with a new key, so nothing but its age makes the issuer ask again.
    let mut asked = 0;
    let error = loop {
        match ask(&issuer, &old).await {
            Err(error) => break error,
            Ok(_) => asked += 1,
        }
        assert!(asked < 1000, "the old key still counts");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(error.message().contains("does not have"), "{error}");
}

#[tokio::test]
async fn made_up_key_ids_and_crowds_ask_the_provider_once() {
    let provider = Provider::start();
    let hour = Duration::from_secs(3600);
    let policy = CachePolicy {
        fresh: hour,
        usable: hour,
        between_fetches: hour,
    };
    let issuer = OidcIssuer::with_policy(settings(&provider, "dockctl"), policy).unwrap();
    let good = sign(&provider, &json!({}), &json!({}));
    let crowd = futures::future::join_all((0..20).map(|_| ask(&issuer, &good))).await;
    assert!(crowd.iter().all(Result::is_ok));
    for id in 0..20 {
        let token = sign(
            &provider,
            &json!({ "kid": format!("made-up-{id}") }),
            &json!({}),
        );
        let error = ask(&issuer, &token).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    }
    ask(&issuer, &good).await.unwrap();
    assert_eq!(provider.tell("requests"), "1");
}

#[tokio::test]
async fn a_provider_that_cannot_be_reached_or_trusted_lets_nobody_in() {
    let provider = Provider::start();
    let token = sign(&provider, &json!({}), &json!({}));
    let stranger = Provider::start();
    let mut distrusted = settings(&provider, "dockctl");
    distrusted.certificate_authority = Some(stranger.authority());
    let issuer = OidcIssuer::new(distrusted).unwrap();
    let error = ask(&issuer, &token).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.message().contains("TLS"), "{error}");
    // Not asked again at once, and still nobody gets in.
    let error = ask(&issuer, &token).await.unwrap_err();
    assert!(error.message().contains("try again in"), "{error}");

    // Keys that are too old count no more once the provider is gone.
    let policy = CachePolicy {
        usable: Duration::ZERO,
        between_fetches: Duration::ZERO,
        ..CachePolicy::default()
    };
    let issuer = OidcIssuer::with_policy(settings(&provider, "dockctl"), policy).unwrap();
    ask(&issuer, &token).await.unwrap();
    // Keys that are not too old do.
    let longer = OidcIssuer::new(settings(&provider, "dockctl")).unwrap();
    ask(&longer, &token).await.unwrap();
    drop(provider);
    let error = ask(&issuer, &token).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.message().contains("cannot be reached"), "{error}");
    ask(&longer, &token).await.unwrap();
}

#[tokio::test]
async fn a_provider_that_calls_itself_otherwise_or_answers_nonsense_is_not_used() {
    let provider = Provider::start();
    let slashed = format!("{}/", provider.issuer);
    let token = sign(&provider, &json!({}), &json!({ "iss": slashed }));
    let mut settings = settings(&provider, "dockctl");
    settings.issuer = slashed;
    let error = ask(&OidcIssuer::new(settings.clone()).unwrap(), &token)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(
        error.chain().contains("another issuer"),
        "{}",
        error.chain()
    );

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || drop(listener.accept()));
    settings.issuer = format!("https://{address}");
    let token = sign(&provider, &json!({}), &json!({ "iss": settings.issuer }));
    let error = ask(&OidcIssuer::new(settings).unwrap(), &token)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}
