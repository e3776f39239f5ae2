//! The webhook by which an API server asks: `SubjectAccessReview` in, the same with a status out.

use serde::Deserialize;
use serde_json::{Map, Value, json};
use thiserror::Error;

use super::{
    AccessRules, ActionOnObject, Answer, Attributes, Mode, Person, Tenancy, action_on_object,
};

/// Which of TKEStack's three reviews is asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
// Exhaustive: these are its routes.
pub enum Endpoint {
    /// `/auth/authz`: attributes as the API server has them.
    Plain,
    /// `/auth/restauthz`: attributes that are always converted first.
    Converted,
    /// `/auth/batchauthz`: many of them, each with a status of its own.
    Batch,
}

/// Why there is no review.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReviewError {
    /// The body is no JSON of this shape.
    #[error("no SubjectAccessReview: {0}")]
    Malformed(#[from] serde_json::Error),
    /// Another kind or version of object.
    #[error(
        "`{kind}` of `{version}` is no SubjectAccessReview of authorization.k8s.io/v1 or v1beta1, \
         nor of auth.tkestack.io/v1"
    )]
    OtherKind {
        /// Its `kind`.
        kind: String,
        /// Its `apiVersion`.
        version: String,
    },
    /// Neither or both of resource and non-resource attributes.
    #[error(
        "`spec` needs one of `resourceAttributes`, `nonResourceAttributes` and `resourceAttributesList`"
    )]
    NotOne,
    /// A list that is too long.
    #[error("{count} reviews in one list, limit {MOST}; ask in parts")]
    TooMany {
        /// How many there are.
        count: usize,
    },
}

/// Reviews of one list.
const MOST: usize = 1000;

const VERSIONS: [&str; 3] = [
    "authorization.k8s.io/v1",
    "authorization.k8s.io/v1beta1",
    "auth.tkestack.io/v1",
];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Review {
    api_version: String,
    kind: String,
    #[serde(default)]
    metadata: Value,
    spec: Spec,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    resource_attributes: Option<ResourceAttributes>,
    non_resource_attributes: Option<NonResourceAttributes>,
    resource_attributes_list: Option<Vec<ResourceAttributes>>,
    user: String,
    /// As v1beta1 and TKEStack name it.
    group: Option<Vec<String>>,
    /// As v1 names it.
    groups: Option<Vec<String>>,
    extra: Option<std::collections::BTreeMap<String, Vec<String>>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ResourceAttributes {
    namespace: String,
    verb: String,
    group: String,
    resource: String,
    subresource: String,
    name: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct NonResourceAttributes {
    path: String,
    verb: String,
}

/// The answer to a review: the JSON to send back, and each answer in it, for the audit trail.
///
/// `cluster` is the one whose API server asks, when its credential or the URL says so; it goes
/// before what the context among the groups says. [`Mode::Compatible`] reads no `groups`, and no
/// groups at all for a list, as TKEStack does.
///
/// # Errors
///
/// The body is no review that can be answered. An API server takes that for no opinion.
pub fn review(
    body: &[u8],
    endpoint: Endpoint,
    cluster: Option<&str>,
    tenancy: &Tenancy,
    rules: &AccessRules,
) -> Result<(Value, Vec<Answer>), ReviewError> {
    let asked: Review = serde_json::from_slice(body)?;
    if asked.kind != "SubjectAccessReview" || !VERSIONS.contains(&asked.api_version.as_str()) {
        return Err(ReviewError::OtherKind {
            kind: asked.kind,
            version: asked.api_version,
        });
    }
    let mode = rules.mode();
    let Spec {
        resource_attributes,
        non_resource_attributes,
        resource_attributes_list,
        user,
        group,
        groups,
        extra,
    } = asked.spec;
    let mut person = Person {
        user,
        groups: group.unwrap_or_default(),
        extra: extra.unwrap_or_default(),
    };
    match (mode, endpoint) {
        (Mode::Strict, _) => person.groups.extend(groups.unwrap_or_default()),
        (Mode::Compatible, Endpoint::Batch) => person.groups.clear(),
        (Mode::Compatible, _) => {}
    }
    let one = |mut wanted: Attributes| {
        wanted.cluster = cluster.map(str::to_owned);
        if endpoint == Endpoint::Converted && mode == Mode::Compatible {
            wanted = converted(wanted, &person);
        }
        tenancy.authorize(rules, &person, &wanted)
    };
    let (status, answers) = match (
        resource_attributes,
        non_resource_attributes,
        resource_attributes_list,
    ) {
        (Some(resource), None, None) => {
            let answer = one(resource.into());
            (status_of(&answer), vec![answer])
        }
        (None, Some(path), None) => {
            let answer = one(Attributes {
                verb: path.verb,
                path: path.path,
                ..Attributes::default()
            });
            (status_of(&answer), vec![answer])
        }
        (None, None, Some(list)) if list.len() > MOST => {
            return Err(ReviewError::TooMany { count: list.len() });
        }
        (None, None, Some(list)) => {
            let mut statuses = Vec::new();
            let mut answers = Vec::new();
            for item in list {
                let (verb, resource) = (item.verb.clone(), item.resource.clone());
                let answer = one(item.into());
                let mut status = status_of(&answer);
                status.insert("resource".to_owned(), resource.into());
                // The name under which TKEStack's clients look for the verb.
                status.insert("web".to_owned(), verb.into());
                statuses.push(Value::Object(status));
                answers.push(answer);
            }
            let all = answers.iter().all(|answer| answer.allowed);
            let mut status = Map::new();
            status.insert("allowed".to_owned(), all.into());
            status.insert("allowedList".to_owned(), statuses.into());
            (status, answers)
        }
        _ => return Err(ReviewError::NotOne),
    };
    let mut document = json!({
        "apiVersion": asked.api_version,
        "kind": asked.kind,
        "status": status,
    });
    if let (Some(document), false) = (document.as_object_mut(), asked.metadata.is_null()) {
        document.insert("metadata".to_owned(), asked.metadata);
    }
    Ok((document, answers))
}

impl From<ResourceAttributes> for Attributes {
    fn from(from: ResourceAttributes) -> Self {
        Self {
            verb: from.verb,
            group: from.group,
            resource: from.resource,
            subresource: from.subresource,
            // Kubernetes means all of them by `*`, too.
            name: if from.name == "*" {
                String::new()
            } else {
                from.name
            },
            namespace: if from.namespace == "*" {
                String::new()
            } else {
                from.namespace
            },
            path: String::new(),
            cluster: None,
        }
    }
}

/// Attributes with action and object in the place of verb and resource.
fn converted(mut wanted: Attributes, person: &Person) -> Attributes {
    if wanted.cluster.is_none() {
        let mut groups = person.groups.iter();
        let cluster = groups.find_map(|group| group.strip_prefix("cluster:"));
        wanted.cluster = cluster.map(str::to_owned);
    }
    let ActionOnObject { action, object } = action_on_object(&wanted, Mode::Compatible);
    Attributes {
        verb: action,
        resource: object,
        subresource: String::new(),
        ..wanted
    }
}

/// Never "no opinion": what is not allowed is denied.
fn status_of(answer: &Answer) -> Map<String, Value> {
    let mut status = Map::new();
    status.insert("allowed".to_owned(), answer.allowed.into());
    if !answer.allowed {
        status.insert("denied".to_owned(), true.into());
    }
    status.insert("reason".to_owned(), answer.reason.as_str().into());
    if !answer.error.is_empty() {
        status.insert("evaluationError".to_owned(), answer.error.as_str().into());
    }
    status
}
