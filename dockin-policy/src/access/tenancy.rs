//! Tenants, projects and the keys of subjects; the procedure around the rules.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    AccessRules, ActionOnObject, Attributes, Decision, Effect, Explanation, Mode, Request,
    action_on_object,
};

/// The tenant of who names none.
pub const DEFAULT_TENANT: &str = "default";

/// The subject key of a user: `TENANT##user##NAME`.
#[must_use]
pub fn user_key(tenant: &str, user: &str) -> String {
    format!("{tenant}##user##{user}")
}

/// The subject key of a group: `TENANT##group##NAME`.
#[must_use]
pub fn group_key(tenant: &str, group: &str) -> String {
    format!("{tenant}##group##{group}")
}

/// What is known about tenants and projects beside the rules.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Tenancy {
    /// The user who may do everything, if there is one.
    pub privileged: Option<String>,
    /// Tenants, with the users who may do everything in them.
    pub tenants: BTreeMap<String, BTreeSet<String>>,
    /// Projects, with the namespaces that belong to them.
    pub projects: BTreeMap<String, BTreeSet<Place>>,
}

/// One namespace of one cluster, or of every cluster.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Place {
    /// Cluster; `*` for every one.
    pub cluster: String,
    /// Namespace; `*` for every one.
    pub namespace: String,
}

/// Who asks, as an API server or an authenticator knows him.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Person {
    /// User name.
    pub user: String,
    /// Groups, with TKEStack's `tenant:`, `project:`, `cluster:` and `namespace:` among them.
    pub groups: Vec<String>,
    /// Extra attributes; `tenantid` names the tenant.
    pub extra: BTreeMap<String, Vec<String>>,
}

/// What the rules were asked.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Question {
    /// Subject keys in the order in which they count.
    pub subjects: Vec<String>,
    /// Project, empty for none.
    pub domain: String,
    /// Object.
    pub object: String,
    /// Action.
    pub action: String,
}

/// The answer of the whole procedure.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Answer {
    /// Whether it may be done.
    pub allowed: bool,
    /// Why, for the person. It says nothing about what exists.
    pub reason: String,
    /// The rule that denies, as [`Matched`](super::Matched) is shown; none when nothing allows.
    pub rule: Option<String>,
    /// What kept the question from being decided.
    pub error: String,
    /// What the rules were asked, unless it was decided before.
    pub question: Option<Question>,
}

/// Verbs of Kubernetes, which policies have other words for.
const CONVERTED: [&str; 11] = [
    "get",
    "list",
    "watch",
    "create",
    "update",
    "patch",
    "delete",
    "deletecollection",
    "proxy",
    "put",
    "post",
];

impl Tenancy {
    /// Whether `person` may do what `attributes` say.
    ///
    /// The order is TKEStack's: the privileged user, the tenant's administrators, the project and
    /// namespace that the context names, then the rules, for the user and for all users of his
    /// tenant. In [`Mode::Strict`] the project is the one that the namespace belongs to, whatever
    /// the context says, groups count, and every verb is converted.
    #[must_use]
    pub fn authorize(&self, rules: &AccessRules, person: &Person, wanted: &Attributes) -> Answer {
        match self.question(rules.mode(), person, wanted) {
            Err(answer) => *answer,
            Ok(question) => {
                let decision = question.ask(rules);
                let rule = match decision {
                    Decision::Denied => question.denying_rule(rules),
                    _ => None,
                };
                Answer {
                    allowed: decision.is_allowed(),
                    reason: question.reason(decision, rule.as_deref(), person),
                    rule,
                    error: String::new(),
                    question: Some(question),
                }
            }
        }
    }

    /// What the rules are asked for `person`, or the answer that needs no rules.
    ///
    /// # Errors
    ///
    /// The answer, when it is known without rules.
    pub fn question(
        &self,
        mode: Mode,
        person: &Person,
        wanted: &Attributes,
    ) -> Result<Question, Box<Answer>> {
        let context = Context::of(person);
        if self.privileged.as_ref() == Some(&person.user) {
            return Err(Answer::allow("the privileged user may do everything"));
        }
        let tenant = match (mode, context.tenant) {
            (Mode::Strict, None) => Some(DEFAULT_TENANT),
            (_, tenant) => tenant,
        };
        if mode == Mode::Strict {
            for (what, name) in [
                ("user", person.user.as_str()),
                ("tenant", tenant.unwrap_or("")),
            ] {
                if name.is_empty() || name.contains("##") {
                    return Err(Answer::fail(format!(
                        "{what} `{name}` cannot be a name here"
                    )));
                }
            }
        }
        if let Some(name) = tenant {
            match self.tenants.get(name) {
                None => return Err(Answer::fail(format!("tenant `{name}` is not known"))),
                Some(administrators) if administrators.contains(&person.user) => {
                    return Err(Answer::allow(
                        "an administrator of the tenant may do everything",
                    ));
                }
                Some(_) => {}
            }
        }
        if wanted.verb == "listPortal" {
            return Err(Answer::allow("everybody may see the portal"));
        }
        let mut wanted = wanted.clone();
        if wanted.cluster.is_none() {
            wanted.cluster = context.cluster.map(str::to_owned);
        }
        if mode == Mode::Compatible {
            context.check(&wanted)?;
        }
        if mode == Mode::Strict {
            check_names(&wanted)?;
        }
        let convert = match mode {
            // What has a colon has been converted before it was asked.
            Mode::Strict => !wanted.resource.contains(':'),
            Mode::Compatible => tenant.is_some() && CONVERTED.contains(&wanted.verb.as_str()),
        };
        let ActionOnObject { action, object } = if convert {
            action_on_object(&wanted, mode)
        } else {
            raw(&wanted)
        };
        let tenant = tenant.unwrap_or_default();
        let mut subjects = vec![user_key(tenant, &person.user)];
        let domain = match mode {
            Mode::Compatible => context.project.unwrap_or_default().to_owned(),
            Mode::Strict => {
                let groups = person.groups.iter().filter(|group| !is_context(group));
                let groups = groups.filter(|group| !group.contains("##"));
                subjects.extend(groups.map(|group| group_key(tenant, group)));
                self.project_of(&object).unwrap_or_default().to_owned()
            }
        };
        subjects.push(user_key(tenant, "*"));
        Ok(Question {
            subjects,
            domain,
            object,
            action,
        })
    }

    /// The project that has the namespace of an object. A place that names the cluster counts
    /// before one for every cluster, one namespace before all of them.
    fn project_of(&self, object: &str) -> Option<&str> {
        let (cluster, rest) = match object.strip_prefix("cluster:") {
            Some(rest) => rest.split_once('/')?,
            None => ("", object),
        };
        let namespace = rest.strip_prefix("namespace:")?;
        let namespace = namespace.split('/').next()?;
        if self.projects.is_empty() || namespace == "*" {
            return None;
        }
        let has = |(cluster, namespace): (&str, &str)| {
            let place = Place {
                cluster: cluster.to_owned(),
                namespace: namespace.to_owned(),
            };
            let mut projects = self.projects.iter();
            projects.find(|(_, places)| places.contains(&place))
        };
        [(cluster, namespace), ("*", namespace), (cluster, "*")]
            .into_iter()
            .find_map(has)
            .map(|(project, _)| project.as_str())
    }
}

/// Refuses names that would read as something else inside an object's key.
fn check_names(wanted: &Attributes) -> Result<(), Box<Answer>> {
    let cluster = wanted.cluster.as_deref().unwrap_or_default();
    for (what, name, forbidden) in [
        ("cluster", cluster, ['/', ':', '*']),
        ("namespace", &wanted.namespace, ['/', ':', '*']),
        ("name", &wanted.name, ['/', '/', '/']),
    ] {
        if name.contains(forbidden) || name.chars().any(char::is_control) {
            return Err(Answer::fail(format!("{what} `{name}` cannot be a name")));
        }
    }
    Ok(())
}

impl Question {
    /// Asks the rules.
    #[must_use]
    pub fn ask(&self, rules: &AccessRules) -> Decision {
        self.with_request(|request| rules.decide(request))
    }

    /// Asks the rules for everything that led to the decision.
    #[must_use]
    pub fn explain(&self, rules: &AccessRules) -> Explanation {
        self.with_request(|request| rules.explain(request))
    }

    fn with_request<T>(&self, ask: impl FnOnce(&Request<'_>) -> T) -> T {
        let subjects: Vec<&str> = self.subjects.iter().map(String::as_str).collect();
        ask(&Request {
            subjects: &subjects,
            domain: &self.domain,
            object: &self.object,
            action: &self.action,
        })
    }

    /// The first rule that denies.
    fn denying_rule(&self, rules: &AccessRules) -> Option<String> {
        let matched = self.explain(rules).matched;
        let denying = matched.iter().find(|one| one.effect == Effect::Deny);
        denying.map(ToString::to_string)
    }

    /// What a person is told: the same for what exists and what does not.
    fn reason(&self, decision: Decision, rule: Option<&str>, person: &Person) -> String {
        let Self { object, action, .. } = self;
        let user = &person.user;
        let why = match (decision.is_allowed(), rule) {
            (true, _) => return format!("user `{user}` is allowed `{action}` on `{object}`"),
            (false, Some(rule)) => format!("denied by {rule}"),
            (false, None) => "no rule allows it".to_owned(),
        };
        format!(
            "user `{user}` may not do `{action}` on `{object}`: {why}; ask who keeps the access \
             rules for a role that allows it"
        )
    }
}

impl Answer {
    fn allow(reason: &str) -> Box<Self> {
        Box::new(Self {
            allowed: true,
            reason: reason.to_owned(),
            ..Self::default()
        })
    }

    fn deny(reason: String) -> Box<Self> {
        Box::new(Self {
            reason,
            ..Self::default()
        })
    }

    fn fail(error: String) -> Box<Self> {
        Box::new(Self {
            reason: error.clone(),
            error,
            ..Self::default()
        })
    }
}

/// What TKEStack carries among the groups.
struct Context<'a> {
    tenant: Option<&'a str>,
    project: Option<&'a str>,
    cluster: Option<&'a str>,
    namespace: Option<&'a str>,
}

const CONTEXT: [&str; 4] = ["tenant:", "project:", "cluster:", "namespace:"];

fn is_context(group: &str) -> bool {
    CONTEXT.iter().any(|prefix| group.starts_with(prefix))
}

impl<'a> Context<'a> {
    fn of(person: &'a Person) -> Self {
        let group = |prefix: &str| {
            let mut groups = person.groups.iter();
            groups.find_map(|group| group.strip_prefix(prefix))
        };
        let or_default = |tenant: &'a str| match tenant {
            "" => DEFAULT_TENANT,
            tenant => tenant,
        };
        let extra = person.extra.get("tenantid");
        let extra = extra.map(|values| values.first().map_or("", String::as_str));
        Self {
            tenant: extra.or_else(|| group("tenant:")).map(or_default),
            project: group("project:"),
            cluster: group("cluster:"),
            namespace: group("namespace:"),
        }
    }

    /// Refuses what is in another project or namespace than the context names.
    fn check(&self, wanted: &Attributes) -> Result<(), Box<Answer>> {
        let name = wanted.name.as_str();
        if let Some(project) = self.project
            && name != "*"
            && wanted.resource == format!("project:{name}")
            && name != project
        {
            return Err(Answer::deny(format!(
                "project `{name}` is not `{project}`, in which the request is made"
            )));
        }
        let resource = match wanted.resource.as_str() {
            "" => wanted.path.as_str(),
            resource => resource,
        };
        if let Some(namespace) = self.namespace
            && !resource.starts_with("/api")
            && namespace != wanted.namespace
        {
            return Err(Answer::deny(format!(
                "namespace `{}` is not `{namespace}`, in which the request is made",
                wanted.namespace
            )));
        }
        Ok(())
    }
}

/// Attributes that are asked about as they are.
fn raw(wanted: &Attributes) -> ActionOnObject {
    let object = match wanted.resource.as_str() {
        "" => &wanted.path,
        _ => &wanted.resource,
    };
    ActionOnObject {
        action: wanted.verb.clone(),
        object: object.clone(),
    }
}
