//! The decisions of TKEStack as tables: what its matcher, its rules, its names for requests and
//! its procedure gave when they were run. Compatible mode gives the same; what strict mode gives
//! in their place is written beside them.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failed unwrap is a failed test"
)]

use std::collections::{BTreeMap, BTreeSet};

use dockin_policy::access::{
    AccessRules, Attributes, Endpoint, Mode, Place, Request, Source, Tenancy, action_on_object,
    matches_pattern, review, user_key,
};
use serde::Deserialize;
use serde_json::Value;

const MODEL: &str = include_str!("access/model.conf");

/// What a table gives: a result, or one that differs in strict mode.
fn expected<'a>(case: &'a Value, usual: &str, strict: &str, mode: Mode) -> &'a Value {
    match (mode, case.get(strict)) {
        (Mode::Strict, Some(other)) => other,
        _ => &case[usual],
    }
}

fn text<'a>(case: &'a Value, key: &str) -> &'a str {
    case[key].as_str().unwrap_or_default()
}

fn cases(json: &str, count: usize) -> Vec<Value> {
    let cases: Vec<Value> = serde_json::from_str(json).unwrap();
    let ids: BTreeSet<&str> = cases.iter().map(|case| text(case, "id")).collect();
    assert_eq!(ids.len(), count);
    cases
}

/// Rules with every project declared that the tables use.
fn compile(policy: &str, mode: Mode) -> Result<AccessRules, String> {
    let mut source = Source::casbin(MODEL, policy).map_err(|faults| faults.to_string())?;
    source.projects = ["prj-1", "prj-2", "prj-3"].map(str::to_owned).into();
    AccessRules::compile(&source, mode).map_err(|faults| faults.to_string())
}

fn policy(case: &Value) -> String {
    let lines: Vec<&str> = case["rules"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_str)
        .collect();
    lines.join("\n")
}

#[test]
fn every_pattern_of_the_table_matches_what_it_did() {
    for case in cases(include_str!("access/patterns.json"), 43) {
        let (key, pattern) = (text(&case, "key"), text(&case, "pattern"));
        for mode in [Mode::Compatible, Mode::Strict] {
            // The pattern as an object, and as an action.
            let policy = format!("p, pol, *, \"{pattern}\", *, allow");
            let denied = format!("p, pol, *, *, \"{pattern}\", deny\np, pol, *, *, *, allow");
            let by_object = compile(&policy, mode);
            let by_action = compile(&denied, mode);
            let request = |object, action| Request {
                subjects: &["pol"],
                domain: "",
                object,
                action,
            };
            match expected(&case, "matches", "strict", mode) {
                Value::Bool(matches) => {
                    let found = matches_pattern(key, pattern, mode);
                    assert_eq!(found, *matches, "{mode:?} {case}");
                    // Strict objects have a kind, which patterns of actions do not.
                    if mode == Mode::Compatible || pattern.contains([':', '/']) {
                        let decision = by_object.unwrap().decide(&request(key, "get"));
                        assert_eq!(decision.is_allowed(), *matches, "{mode:?} {case}");
                    }
                    let decision = by_action.unwrap().decide(&request("pod:x", key));
                    // A star allows nothing that has a line feed.
                    let allowed = !matches && !key.contains('\n');
                    assert_eq!(decision.is_allowed(), allowed, "{mode:?} {case}");
                }
                word if word == "broken" => {
                    assert!(!matches_pattern(key, pattern, mode), "{case}");
                    let rules = by_action.unwrap();
                    let decision = rules.decide(&request("pod:x", "anything"));
                    assert!(!decision.is_allowed(), "{case}");
                }
                refused => {
                    assert_eq!(refused, "refused", "{case}");
                    assert!(by_object.unwrap_err().starts_with("line 1: "), "{case}");
                }
            }
        }
    }
}

#[test]
fn every_set_of_rules_of_the_table_decides_as_it_did() {
    for case in cases(include_str!("access/rules.json"), 57) {
        for mode in [Mode::Compatible, Mode::Strict] {
            let wanted = expected(&case, "decision", "strict", mode);
            let compiled = compile(&policy(&case), mode);
            if wanted == "refused" {
                assert!(compiled.is_err(), "{mode:?} {case}");
                continue;
            }
            let rules = match compiled {
                Ok(rules) => rules,
                Err(faults) => panic!("{mode:?} {case}: {faults}"),
            };
            let (user, all) = (
                user_key(text(&case, "tenant"), text(&case, "user")),
                user_key(text(&case, "tenant"), "*"),
            );
            let request = Request {
                subjects: &[&user, &all],
                domain: text(&case, "project"),
                object: text(&case, "object"),
                action: text(&case, "action"),
            };
            let decision = rules.decide(&request);
            assert_eq!(decision.is_allowed(), wanted == "allow", "{mode:?} {case}");
            assert_eq!(
                rules.explain(&request).decision,
                decision,
                "{mode:?} {case}"
            );
        }
    }
}

#[test]
fn every_request_of_the_table_has_its_action_and_object() {
    for case in cases(include_str!("access/attributes.json"), 50) {
        let field = |key| text(&case, key).to_owned();
        let attributes = Attributes {
            verb: field("verb"),
            group: field("group"),
            resource: field("resource"),
            subresource: field("subresource"),
            name: field("name"),
            namespace: field("namespace"),
            path: field("path"),
            cluster: case["cluster"].as_str().map(str::to_owned),
        };
        for mode in [Mode::Compatible, Mode::Strict] {
            let asked = action_on_object(&attributes, mode);
            let action = expected(&case, "action", "strict_action", mode);
            assert_eq!(asked.action, *action, "{mode:?} {case}");
            assert_eq!(asked.object, text(&case, "object"), "{mode:?} {case}");
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Expect {
    allowed: bool,
    /// Whether the rules are asked.
    asked: Option<bool>,
    subject: Option<String>,
    action: Option<String>,
    object: Option<String>,
    reason: Vec<String>,
    error: Option<String>,
    strict_error: Option<String>,
    /// The verb of the first item of a list.
    web: Option<String>,
}

fn tenancy(case: &Value) -> Tenancy {
    let tenants: BTreeMap<String, BTreeSet<String>> =
        serde_json::from_value(case["tenants"].clone()).unwrap();
    let place = |namespace: &str| Place {
        cluster: "cls-1".to_owned(),
        namespace: namespace.to_owned(),
    };
    Tenancy {
        privileged: case["privileged"].as_str().map(str::to_owned),
        tenants,
        projects: [("prj-1".to_owned(), [place("n")].into())].into(),
    }
}

#[test]
fn every_review_of_the_table_is_answered_as_it_was() {
    for case in cases(include_str!("access/procedure.json"), 15) {
        let rules = compile(&policy(&case), Mode::Compatible).unwrap();
        let expect: Expect = serde_json::from_value(case["expect"].clone()).unwrap();
        let endpoint = match text(&case, "endpoint") {
            "restauthz" => Endpoint::Converted,
            "batchauthz" => Endpoint::Batch,
            _ => Endpoint::Plain,
        };
        let body = case["review"].to_string();
        let tenancy = tenancy(&case);
        let (document, answers) =
            review(body.as_bytes(), endpoint, None, &tenancy, &rules).unwrap();
        assert_eq!(document["apiVersion"], case["review"]["apiVersion"]);
        let status = &document["status"];
        assert_eq!(status["allowed"], expect.allowed, "{case}: {status}");
        let answer = &answers[0];
        let question = answer.question.clone();
        if let Some(asked) = expect.asked {
            assert_eq!(question.is_some(), asked, "{case}: {answer:?}");
        }
        let question = question.unwrap_or_default();
        if let Some(subject) = expect.subject {
            assert_eq!(question.subjects[0], subject, "{case}");
        }
        for (expected, found) in [
            (expect.action, question.action),
            (expect.object, question.object),
        ] {
            assert_eq!(expected.unwrap_or_else(|| found.clone()), found, "{case}");
        }
        for word in expect.reason {
            assert!(answer.reason.contains(&word), "{case}: {answer:?}");
        }
        match expect.error {
            Some(word) => assert!(answer.error.contains(&word), "{case}: {answer:?}"),
            None => assert_eq!(answer.error, "", "{case}"),
        }
        if let Some(web) = expect.web {
            assert_eq!(status["allowedList"][0]["web"], web.as_str(), "{case}");
            assert_eq!(status["allowedList"][0]["allowed"], expect.allowed);
        }
        let strict = compile(&policy(&case), Mode::Strict).unwrap();
        let (_, answers) = review(body.as_bytes(), endpoint, None, &tenancy, &strict).unwrap();
        if let Some(word) = expect.strict_error {
            assert!(answers[0].error.contains(&word), "{case}: {answers:?}");
        }
        if let Some(expect) = case.get("strict") {
            assert_eq!(expect["allowed"], answers[0].allowed, "{case}: {answers:?}");
        }
    }
}
