//! The engine beside the `casbin` crate: the same policies, the same requests, the same answers.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use casbin::{CoreApi as _, DefaultModel, Enforcer, MgmtApi as _, function_map::OperatorFunction};
use dockin_policy::access::{AccessRules, Mode, Request, Source, matches_pattern};
use proptest::prelude::*;

const MODEL: &str = include_str!("access/model.conf");

/// The platform and two projects.
const DOMAINS: [&str; 3] = ["*", "prj-1", "prj-2"];

fn node() -> impl Strategy<Value = String> {
    (0..9_u8).prop_map(|number| format!("n{number}"))
}

fn domain() -> impl Strategy<Value = &'static str> {
    prop::sample::select(DOMAINS.as_slice())
}

fn key(parts: &'static [&'static str]) -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(parts), 1..5).prop_map(|parts| parts.concat())
}

const OBJECT: [&str; 12] = [
    "cluster:a",
    "/",
    "namespace:b",
    "pod:",
    "x",
    "y",
    "X",
    "*",
    "*",
    ".",
    "/:id",
    "+",
];
const OBJECT_KEY: [&str; 9] = [
    "cluster:a",
    "/",
    "namespace:b",
    "pod:",
    "x",
    "y",
    "X",
    "7",
    ".",
];
const ACTION: [&str; 7] = ["get", "list", "Pod", "s", "Exec", "*", "(a|b)"];
const ACTION_KEY: [&str; 6] = ["get", "list", "Pod", "s", "Exec", "a"];

#[derive(Clone, Debug)]
struct Policy {
    rules: Vec<[String; 4]>,
    links: Vec<(String, String, &'static str)>,
}

fn policy() -> impl Strategy<Value = Policy> {
    let effect = prop::sample::select(["allow", "allow", "allow", "deny", "maybe"].as_slice());
    let rule = (node(), key(&OBJECT), key(&ACTION), effect)
        .prop_map(|(subject, object, action, effect)| [subject, object, action, effect.to_owned()])
        .boxed();
    let link = (node(), node(), domain());
    (
        // Sometimes enough for one node that its rules are indexed.
        prop_oneof![
            prop::collection::vec(rule.clone(), 0..14),
            prop::collection::vec(rule, 60..90)
        ],
        prop::collection::vec(link, 0..16),
    )
        .prop_map(|(rules, links)| Policy { rules, links })
}

impl Policy {
    fn csv(&self) -> String {
        let mut lines = Vec::new();
        for [subject, object, action, effect] in &self.rules {
            lines.push(format!(
                "p, {subject}, *, \"{object}\", \"{action}\", {effect}"
            ));
        }
        for (member, role, domain) in &self.links {
            lines.push(format!("g, {member}, {role}, {domain}"));
        }
        lines.join("\n")
    }

    /// Whether the crate can be asked: a pattern that loops or does not compile has no answer.
    fn is_sound(&self) -> bool {
        self.rules
            .iter()
            .flat_map(|[_, object, action, _]| [object, action])
            .all(|pattern| expression(pattern).is_some())
    }
}

/// `keyMatchCustom` written a second time, from its description, on the `regex` crate alone.
fn expression(pattern: &str) -> Option<regex::Regex> {
    let parameter = regex::Regex::new("(.*):[^/]+(.*)").unwrap();
    let mut text = pattern.to_lowercase().replace('*', ".*");
    while text.contains("/:") {
        let next = parameter.replace_all(&text, "$1[^/]+$2").into_owned();
        if next == text {
            return None;
        }
        text = next;
    }
    regex::Regex::new(&format!("^{text}$")).ok()
}

fn key_match_custom(key: &str, pattern: &str) -> bool {
    expression(pattern).is_some_and(|expression| expression.is_match(&key.to_lowercase()))
}

/// TKEStack looks in the project and then on the platform; the crate, only where it is told.
async fn casbin(policy: &Policy) -> Enforcer {
    let model = DefaultModel::from_str(&MODEL.replace(
        "g(r.sub, p.sub, r.dom)",
        "(r.sub == p.sub || g(r.sub, p.sub, r.dom) || g(r.sub, p.sub, \"*\"))",
    ))
    .await
    .unwrap();
    let mut enforcer = Enforcer::new(model, casbin::MemoryAdapter::default())
        .await
        .unwrap();
    enforcer.add_function(
        "keyMatchCustom",
        OperatorFunction::Arg2(|key, pattern| {
            let (key, pattern) = (key.into_string(), pattern.into_string());
            key_match_custom(&key.unwrap(), &pattern.unwrap()).into()
        }),
    );
    for [subject, object, action, effect] in &policy.rules {
        let rule = [subject, "*", object, action, effect].map(|text: &str| text.to_owned());
        let _ = enforcer.add_policy(rule.to_vec()).await.unwrap();
    }
    for (member, role, domain) in &policy.links {
        let link = vec![member.clone(), role.clone(), (*domain).to_owned()];
        let _ = enforcer.add_grouping_policy(link).await.unwrap();
    }
    enforcer
}

fn compile(policy: &Policy, mode: Mode) -> Option<AccessRules> {
    let csv = policy.csv();
    let mut source = Source::casbin(MODEL, &csv).unwrap();
    source.projects = DOMAINS.map(str::to_owned).into();
    AccessRules::compile(&source, mode).ok()
}

type Asked = (String, &'static str, String, String);

fn asked() -> impl Strategy<Value = Vec<Asked>> {
    let one = (node(), domain(), key(&OBJECT_KEY), key(&ACTION_KEY));
    prop::collection::vec(one, 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Compatible mode is the crate's decision, and its explanation is its decision.
    #[test]
    fn the_casbin_crate_decides_the_same(policy in policy(), asked in asked()) {
        prop_assume!(policy.is_sound());
        let rules = compile(&policy, Mode::Compatible).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let enforcer = runtime.block_on(casbin(&policy));
        for (subject, domain, object, action) in asked {
            let request = Request {
                subjects: &[&subject], domain, object: &object, action: &action,
            };
            let decision = rules.decide(&request);
            let oracle = enforcer.enforce((&subject, domain, &object, &action)).unwrap();
            prop_assert_eq!(decision.is_allowed(), oracle, "{:?}", request);
            prop_assert_eq!(rules.explain(&request).decision, decision);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Every pattern, indexed or not, matches as its regular expression does.
    #[test]
    fn a_pattern_matches_as_its_regular_expression(
        pattern in key(&OBJECT), text in key(&OBJECT_KEY),
    ) {
        prop_assume!(expression(&pattern).is_some());
        let found = matches_pattern(&text, &pattern, Mode::Compatible);
        prop_assert_eq!(found, key_match_custom(&text, &pattern));
    }

}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(160))]

    /// Decision and explanation agree in both modes, and neither panics on any policy.
    #[test]
    fn decision_and_explanation_agree(policy in policy(), asked in asked()) {
        for mode in [Mode::Compatible, Mode::Strict] {
            let Some(rules) = compile(&policy, mode) else { continue };
            for (subject, domain, object, action) in &asked {
                let subjects = [subject.as_str(), "n0", "nobody"];
                let request = Request { subjects: &subjects, domain, object, action };
                prop_assert_eq!(rules.explain(&request).decision, rules.decide(&request));
            }
        }
    }

    /// One more denial never makes a no into a yes, in either mode.
    #[test]
    fn a_denial_more_allows_nothing_more(
        policy in policy(), asked in asked(), denied in (node(), key(&OBJECT), key(&ACTION)),
    ) {
        let mut stricter = policy.clone();
        let (subject, object, action) = denied;
        stricter.rules.push([subject, object, action, "deny".to_owned()]);
        for mode in [Mode::Compatible, Mode::Strict] {
            let both = (compile(&policy, mode), compile(&stricter, mode));
            let (Some(before), Some(after)) = both else { continue };
            for (subject, domain, object, action) in &asked {
                let request = Request { subjects: &[subject], domain, object, action };
                let allowed = after.decide(&request).is_allowed();
                prop_assert!(!allowed || before.decide(&request).is_allowed());
            }
        }
    }

    /// The order of lines says nothing.
    #[test]
    fn the_order_of_lines_does_not_matter(policy in policy(), asked in asked()) {
        let mut turned = policy.clone();
        turned.rules.reverse();
        turned.links.reverse();
        let one = compile(&policy, Mode::Compatible).unwrap();
        let other = compile(&turned, Mode::Compatible).unwrap();
        for (subject, domain, object, action) in &asked {
            let request = Request { subjects: &[subject], domain, object, action };
            prop_assert_eq!(one.decide(&request), other.decide(&request));
        }
    }
}

/// Policies that one subject is given in great number share one index; what is said about each
/// stays its own, and the eleventh link of a chain still counts for nothing.
#[test]
fn policies_in_great_number_keep_their_names_and_depth() {
    let mut lines: Vec<String> = (0..60)
        .map(|n| {
            format!("p, pol-{n}, *, cluster:c/namespace:n{n}/*, get*, allow\ng, u, pol-{n}, *")
        })
        .collect();
    lines.push("p, pol-7, *, cluster:c/namespace:n8/pod:secret, *, deny".to_owned());
    for depth in 0..10 {
        let role = if depth == 9 {
            "u".to_owned()
        } else {
            format!("r{}", depth + 1)
        };
        lines.push(format!("g, r{depth}, {role}, *"));
    }
    let csv = lines.join("\n");
    let source = Source::casbin(MODEL, &csv).unwrap();
    for mode in [Mode::Compatible, Mode::Strict] {
        let rules = AccessRules::compile(&source, mode).unwrap();
        // Nine links from `r1` to `u` and one to the policy; from `r0` one more.
        for (subject, near) in [("u", true), ("r1", true), ("r0", mode == Mode::Strict)] {
            for (object, allowed) in [
                ("cluster:c/namespace:n8/pod:p", true),
                ("cluster:c/namespace:n59/pod:p", true),
                ("cluster:c/namespace:n8/pod:secret", false),
                ("cluster:c/namespace:n60/pod:p", false),
            ] {
                let request = Request {
                    subjects: &[subject],
                    domain: "",
                    object,
                    action: "getPod",
                };
                let decision = rules.decide(&request);
                assert_eq!(
                    decision.is_allowed(),
                    allowed && near,
                    "{mode:?} {request:?}"
                );
                let explanation = rules.explain(&request);
                assert_eq!(explanation.decision, decision);
                if subject == "u" && object.ends_with("n59/pod:p") {
                    assert_eq!(explanation.matched.len(), 1);
                    assert!(
                        explanation
                            .matched
                            .iter()
                            .all(|one| one.path == ["u", "pol-59"])
                    );
                }
            }
        }
    }
}
