#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failed unwrap is a failed test"
)]

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{OidcIdentity, TokenRules};
use crate::identity::oidc::{
    NameError, OidcSettings, SignedToken, SigningAlgorithm, TokenError, VerifiedToken,
};

const NOW: i64 = 1_800_000_000;

fn settings() -> OidcSettings {
    OidcSettings::new("https://id.example.com", "dockin")
}

fn claims() -> Value {
    json!({
        "iss": "https://id.example.com", "aud": "dockin", "sub": "alice",
        "exp": NOW + 600, "iat": NOW, "email": "alice@example.com", "groups": ["dev", "ops"],
    })
}

fn with(changes: Value) -> Map<String, Value> {
    let Value::Object(mut claims) = claims() else {
        unreachable!("an object")
    };
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            claims.remove(name);
        } else {
            claims.insert(name.clone(), value.clone());
        }
    }
    claims
}

fn judge(settings: OidcSettings, changes: Value) -> Result<OidcIdentity, TokenError> {
    let token = SignedToken {
        algorithm: SigningAlgorithm::Rs256,
        key_id: None,
        claims: with(changes),
        message: "",
        signature: "",
    };
    let rules = TokenRules::new(settings).unwrap();
    let now = Timestamp::from_second(NOW).unwrap();
    rules.identity(&VerifiedToken { token: &token }, now)
}

#[test]
fn the_tenant_is_the_claim_s_or_the_issuer_s_and_never_the_default_for_want_of_a_claim() {
    let tenant = |settings: OidcSettings, changes| judge(settings, changes).map(|it| it.tenant);
    assert_eq!(tenant(settings(), json!({ "org": "acme" })), Ok(None));
    let mut fixed = settings();
    fixed.tenant = Some("acme".to_owned());
    let acme = Some("acme".to_owned());
    assert_eq!(tenant(fixed, json!({ "org": "other" })), Ok(acme.clone()));
    let mut by_claim = settings();
    by_claim.tenant_claim = Some("org".to_owned());
    let given = |org| tenant(by_claim.clone(), json!({ "org": org }));
    assert_eq!(given(json!("acme")), Ok(acme));
    assert_eq!(given(Value::Null), Err(missing("org")));
    for odd in [json!(""), json!(["acme"]), json!(1), json!("system:x")] {
        assert!(given(odd.clone()).is_err(), "{odd}");
    }
}

fn missing(claim: &str) -> TokenError {
    TokenError::Missing {
        claim: claim.to_owned(),
    }
}

fn bad(claim: &str) -> TokenError {
    TokenError::Claim {
        claim: claim.to_owned(),
    }
}

#[test]
fn issuer_audience_party_and_times_decide() {
    for (changes, verdict) in [
        (json!({}), None),
        (json!({"iss": null}), Some(missing("iss"))),
        (
            json!({"iss": "https://id.example.com/"}),
            Some(TokenError::Issuer),
        ),
        (
            json!({"iss": "https://ID.example.com"}),
            Some(TokenError::Issuer),
        ),
        (json!({"iss": ["https://id.example.com"]}), Some(bad("iss"))),
        (json!({"aud": null}), Some(missing("aud"))),
        (json!({"aud": "other"}), Some(TokenError::Audience)),
        (json!({"aud": "Dockin"}), Some(TokenError::Audience)),
        (json!({"aud": []}), Some(TokenError::Audience)),
        (json!({"aud": {"dockin": 1}}), Some(bad("aud"))),
        (json!({"aud": ["dockin", 1]}), Some(bad("aud"))),
        (json!({"aud": ["dockin"]}), None),
        (
            json!({"aud": ["dockin", "other"]}),
            Some(TokenError::AuthorizedParty),
        ),
        (json!({"aud": ["dockin", "other"], "azp": "dockin"}), None),
        (
            json!({"aud": ["dockin", "other"], "azp": "other"}),
            Some(TokenError::AuthorizedParty),
        ),
        (json!({"azp": "other"}), Some(TokenError::AuthorizedParty)),
        (json!({"azp": 1}), Some(bad("azp"))),
        (json!({"exp": null}), Some(missing("exp"))),
        (json!({"exp": "soon"}), Some(bad("exp"))),
        (json!({"exp": f64::MAX}), Some(bad("exp"))),
        (json!({"exp": i64::MAX}), Some(bad("exp"))),
        (json!({"exp": NOW - 29}), None),
        (json!({"exp": NOW - 30}), Some(TokenError::Expired)),
        (json!({"exp": 0}), Some(TokenError::Expired)),
        (json!({"exp": -1}), Some(TokenError::Expired)),
        (json!({"exp": 1_800_000_600.5}), None),
        (json!({"nbf": NOW + 30}), None),
        (json!({"nbf": NOW + 31}), Some(TokenError::NotYet)),
        (json!({"nbf": "x"}), Some(bad("nbf"))),
        (json!({"iat": null}), Some(missing("iat"))),
        (json!({"iat": NOW + 30}), None),
        (json!({"iat": NOW + 31}), Some(TokenError::FromTheFuture)),
        (json!({"iat": true}), Some(bad("iat"))),
        (json!({"sub": null}), Some(missing("sub"))),
        (json!({"sub": 7}), Some(bad("sub"))),
    ] {
        assert_eq!(
            judge(settings(), changes.clone()).err(),
            verdict,
            "{changes}"
        );
    }
}

#[test]
fn another_client_may_ask_when_the_settings_say_so() {
    let mut settings = settings();
    settings.authorized_parties = vec!["portal".to_owned()];
    let changes = json!({"aud": ["dockin", "other"], "azp": "portal"});
    assert!(judge(settings.clone(), changes).is_ok());
    // As an audience it counts for nothing.
    let changes = json!({"aud": "portal", "azp": "portal"});
    assert_eq!(judge(settings, changes).unwrap_err(), TokenError::Audience);
}

#[test]
fn an_algorithm_that_the_settings_leave_out_does_not_count() {
    let mut settings = settings();
    settings.algorithms = vec![SigningAlgorithm::Es256, SigningAlgorithm::EdDsa];
    assert_eq!(
        judge(settings, json!({})).unwrap_err(),
        TokenError::Algorithm
    );
}

#[test]
fn user_names_get_the_prefix_that_the_flags_of_the_apiserver_give() {
    for (claim, prefix, user) in [
        ("sub", None, "https://id.example.com#alice"),
        ("sub", Some(""), "https://id.example.com#alice"),
        ("sub", Some("-"), "alice"),
        ("sub", Some("oidc:"), "oidc:alice"),
        ("email", None, "alice@example.com"),
        ("email", Some("oidc:"), "oidc:alice@example.com"),
        ("email", Some("-"), "alice@example.com"),
    ] {
        let mut settings = settings();
        claim.clone_into(&mut settings.username_claim);
        settings.username_prefix = prefix.map(str::to_owned);
        assert_eq!(
            judge(settings, json!({})).unwrap().user,
            user,
            "{claim} {prefix:?}"
        );
    }
}

#[test]
fn an_email_address_counts_unless_it_is_said_to_be_unverified() {
    let mut settings = settings();
    "email".clone_into(&mut settings.username_claim);
    for (verified, good) in [
        (json!(null), true),
        (json!(true), true),
        (json!(false), false),
        (json!("true"), false),
        (json!(1), false),
    ] {
        let got = judge(settings.clone(), json!({ "email_verified": verified }));
        let why = (!good).then_some(TokenError::EmailNotVerified);
        assert_eq!(got.err(), why, "{verified}");
    }
    let got = judge(settings.clone(), json!({"email": null})).unwrap_err();
    assert_eq!(got, missing("email"));
    // Where the address is not the name, it does not matter.
    settings.username_claim = "sub".to_owned();
    assert!(judge(settings, json!({"email_verified": false})).is_ok());
}

#[test]
fn groups_are_a_text_or_a_list_and_nothing_is_left_out_silently() {
    let mut settings = settings();
    assert_eq!(
        judge(settings.clone(), json!({})).unwrap().groups,
        Vec::<String>::new()
    );
    settings.groups_claim = Some("groups".to_owned());
    settings.groups_prefix = "oidc:".to_owned();
    let named = |why| {
        Err(TokenError::Name {
            claim: "groups".to_owned(),
            why,
        })
    };
    for (groups, verdict) in [
        (json!(null), Ok(vec![])),
        (json!([]), Ok(vec![])),
        (json!("dev"), Ok(vec!["oidc:dev"])),
        (
            json!(["dev", "ops", "dev"]),
            Ok(vec!["oidc:dev", "oidc:ops"]),
        ),
        (json!([1]), Err(bad("groups"))),
        (json!({}), Err(bad("groups"))),
        (json!(["dev", ""]), named(NameError::Empty)),
        (
            json!(["dev\r\nImpersonate-User: root"]),
            named(NameError::Characters),
        ),
        (
            json!(vec!["a"; 513]),
            Err(TokenError::Groups {
                count: 513,
                max: 512,
            }),
        ),
    ] {
        let got = judge(settings.clone(), json!({ "groups": groups })).map(|who| who.groups);
        let verdict = verdict.map(|names| names.into_iter().map(str::to_owned).collect());
        assert_eq!(got, verdict, "{groups}");
    }
    // Too many for a token: the issuer only says where they are.
    let elsewhere = json!({"groups": null, "_claim_names": {"groups": "src1"}});
    assert_eq!(
        judge(settings.clone(), elsewhere).unwrap_err(),
        bad("groups")
    );
    settings.groups_prefix.clear();
    let got = judge(settings, json!({"groups": ["system:masters"]})).map(|who| who.groups);
    assert_eq!(got.err(), named(NameError::Reserved).err());
}

#[test]
fn required_claims_must_have_exactly_that_text() {
    let mut settings = settings();
    settings
        .required_claims
        .insert("hd".to_owned(), "example.com".to_owned());
    for (value, verdict) in [
        (json!("example.com"), None),
        (json!(null), Some(missing("hd"))),
        (json!("Example.com"), Some(bad("hd"))),
        (json!(["example.com"]), Some(bad("hd"))),
        (json!(true), Some(bad("hd"))),
    ] {
        let got = judge(settings.clone(), json!({ "hd": value }));
        assert_eq!(got.err(), verdict, "{value}");
    }
}

#[test]
fn no_error_shows_what_the_token_says() {
    let mut settings = settings();
    settings.groups_claim = Some("groups".to_owned());
    settings
        .required_claims
        .insert("hd".to_owned(), "example.com".to_owned());
    for claim in [
        "iss", "aud", "azp", "exp", "nbf", "iat", "sub", "groups", "hd",
    ] {
        let error = judge(settings.clone(), json!({ claim: "s3cret\n" })).unwrap_err();
        assert!(!error.to_string().contains("s3cret"), "{error}");
    }
}
