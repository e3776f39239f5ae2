//! What a refusal by the access rules tells: the question to ask about it.

use dockin_policy::access::Attributes;

use crate::{Error, ErrorKind, Target, access::Verb, identity::Principal};

/// Groups that are named; with more of them nobody would copy the question.
const MAX_GROUPS: usize = 8;

/// `error`, with how to ask why.
pub(super) fn explained(error: Error, principal: &Principal, verb: Verb, target: &Target) -> Error {
    let pod = match target.pod.as_str() {
        "" => "*",
        pod => pod,
    };
    let place = format!("{}/{}/{pod}", target.cluster, target.namespace);
    let asked = [verb.as_str().to_owned(), place];
    with_question(error, principal, &asked)
}

/// The refusal of a request to an API server: `message`, with how to ask why.
pub(super) fn refused(message: &str, principal: &Principal, wanted: &Attributes) -> Error {
    with_question(
        Error::new(ErrorKind::Forbidden, message),
        principal,
        &question(wanted),
    )
}

fn with_question(error: Error, principal: &Principal, asked: &[String]) -> Error {
    let mut words = vec![principal.user.clone()];
    words.extend_from_slice(asked);
    for group in principal.groups.iter().take(MAX_GROUPS) {
        words.extend(["--group".to_owned(), group.clone()]);
    }
    if principal.groups.len() > MAX_GROUPS {
        words.push("--group …".to_owned());
    }
    if let Some(tenant) = &principal.tenant {
        words.extend(["--tenant".to_owned(), tenant.clone()]);
    }
    let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
    let message = format!(
        "{}; who keeps the gateway sees why with `dockctl access explain {} --config opserver.yaml`",
        error.message(),
        words.join(" ")
    );
    let rule = error.rule().map(str::to_owned);
    let told = Error::new(error.kind(), message);
    match rule {
        Some(rule) => told.with_rule(rule),
        None => told,
    }
}

/// Verb, place and options, as `dockctl access explain` takes them.
fn question(wanted: &Attributes) -> Vec<String> {
    let all = |text: &str| match text {
        "" => "*".to_owned(),
        text => text.to_owned(),
    };
    let cluster = all(wanted.cluster.as_deref().unwrap_or_default());
    let mut words = vec![wanted.verb.clone()];
    if wanted.resource.is_empty() {
        words.push(cluster);
        words.extend(["--path".to_owned(), wanted.path.clone()]);
        return words;
    }
    let (namespace, name) = (all(&wanted.namespace), all(&wanted.name));
    words.push(format!("{cluster}/{namespace}/{}/{name}", wanted.resource));
    for (option, value) in [
        ("--subresource", &wanted.subresource),
        ("--api-group", &wanted.group),
    ] {
        if !value.is_empty() {
            words.extend([option.to_owned(), value.clone()]);
        }
    }
    words
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+=,#…".contains(c);
    let option = word == "--group …" || word.starts_with("--");
    match option || (!word.is_empty() && word.chars().all(plain) && !word.starts_with('#')) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use dockin_policy::access::Attributes;

    use super::{explained, refused};
    use crate::{
        Error, ErrorKind, Target,
        access::Verb,
        identity::{Principal, Proof},
    };

    fn question(error: &Error) -> &str {
        let (_, question) = error.message().split_once('`').unwrap();
        question.trim_end_matches('`')
    }

    #[test]
    fn a_refusal_names_the_question_that_explains_it() {
        let groups = ["dev".to_owned(), "Domain Users".to_owned()];
        let mut alice = Principal::new("it's alice", groups.to_vec(), Proof::Token);
        alice.tenant = Some("acme".to_owned());
        let target = Target::pod("prod", "shop", "web-0").unwrap();
        let error = Error::new(ErrorKind::Forbidden, "no").with_rule("line 3");
        let error = explained(error, &alice, Verb::Exec, &target);
        assert_eq!(error.rule(), Some("line 3"));
        assert_eq!(
            question(&error),
            r"dockctl access explain 'it'\''s alice' exec prod/shop/web-0 --group dev --group 'Domain Users' --tenant acme --config opserver.yaml"
        );
        let bob = Principal::new("bob", Vec::new(), Proof::Token);
        let ask = |wanted: &Attributes| question(&refused("no", &bob, wanted)).to_owned();
        let mut wanted = Attributes {
            verb: "patch".to_owned(),
            group: "apps".to_owned(),
            resource: "deployments".to_owned(),
            subresource: "scale".to_owned(),
            name: "web".to_owned(),
            namespace: "shop".to_owned(),
            cluster: Some("prod".to_owned()),
            ..Attributes::default()
        };
        assert_eq!(
            ask(&wanted),
            "dockctl access explain bob patch prod/shop/deployments/web --subresource scale \
             --api-group apps --config opserver.yaml"
        );
        wanted.resource.clear();
        wanted.verb = "get".to_owned();
        wanted.path = "/metrics".to_owned();
        assert_eq!(
            ask(&wanted),
            "dockctl access explain bob get prod --path /metrics --config opserver.yaml"
        );
    }
}
