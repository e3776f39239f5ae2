//! May he? The [`Authorizer`] port and the [`Permit`] that it leads to.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use dockin_policy::access::Attributes;
use uuid::Uuid;

use crate::{Error, ErrorKind, Target, identity::Principal};

/// What somebody wants to do with a target.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Verb {
    /// Read one object.
    Get,
    /// Read many.
    List,
    /// Run a command.
    Exec,
    /// Join the main process's streams.
    Attach,
    /// Read what it printed.
    Logs,
    /// Reach one of its ports.
    PortForward,
    /// Read the audit trail.
    Audit,
    /// Ask what others may do, as an API server does.
    Review,
    /// Create, change or delete objects, and reach what an API server proxies.
    Write,
}

impl Verb {
    /// The word used in configuration and audit.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Exec => "exec",
            Self::Attach => "attach",
            Self::Logs => "logs",
            Self::PortForward => "port-forward",
            Self::Audit => "audit",
            Self::Review => "review",
            Self::Write => "write",
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The answer of an [`Authorizer`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Decision {
    /// He may.
    Allow,
    /// He may not, and why.
    Deny {
        /// For the person and the audit trail.
        reason: String,
        /// The rule that decided, or that there is none, as `dockctl access explain` names it;
        /// for the audit trail.
        rule: Option<String>,
    },
}

/// Decides whether a principal may do a verb on a target.
#[async_trait]
pub trait Authorizer: Send + Sync {
    /// The decision. What cannot be decided is a denial.
    async fn decide(&self, principal: &Principal, verb: Verb, target: &Target) -> Decision;

    /// The decision on a request to an API server, with its cluster in it.
    ///
    /// An authorizer that knows no kinds of objects decides on what it comes to: to read a pod, to
    /// list what is in the namespace, or to write there. It lets nobody act as somebody else.
    async fn decide_request(&self, principal: &Principal, wanted: &Attributes) -> Decision {
        match coarse(wanted) {
            Some((verb, target)) => self.decide(principal, verb, &target).await,
            None => Decision::Deny {
                reason: "impersonation is not accepted from clients without a role that allows \
                         it: leave out --as and --as-group"
                    .to_owned(),
                rule: Some("no role".to_owned()),
            },
        }
    }

    /// Whether there is anything in `cluster` that the principal may do, for lists of clusters.
    async fn reaches(&self, principal: &Principal, cluster: &str) -> bool {
        let everything = Target::namespace(cluster, "*");
        self.decide(principal, Verb::List, &everything).await == Decision::Allow
    }
}

/// What a request comes to for who knows no kinds of objects; nothing for an impersonation.
#[must_use]
pub fn coarse(wanted: &Attributes) -> Option<(Verb, Target)> {
    let all = |text: &str| if text.is_empty() { "*" } else { text }.to_owned();
    let cluster = wanted.cluster.as_deref().unwrap_or_default();
    let everything = Target::namespace(cluster, &all(&wanted.namespace));
    let reads = matches!(wanted.verb.as_str(), "get" | "list" | "watch" | "head");
    if wanted.verb == "impersonate" {
        return None;
    }
    if !reads || wanted.subresource == "proxy" {
        return Some((Verb::Write, everything));
    }
    let pod = (wanted.group.as_str(), wanted.resource.as_str()) == ("", "pods")
        && !wanted.name.is_empty()
        && matches!(wanted.subresource.as_str(), "" | "status");
    Some(
        match Target::pod(cluster, &wanted.namespace, &wanted.name) {
            Ok(target) if pod => (Verb::Get, target),
            _ => (Verb::List, everything),
        },
    )
}

/// Identifies one session in audit, logs and on the node: a UUID of version 7.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct SessionId(Uuid);

impl SessionId {
    /// A new one.
    #[must_use]
    pub fn new() -> Self {
        Self(Uuid::now_v7())
    }

    /// The id in `text`, or `None`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Uuid::try_parse(text).ok().map(Self)
    }
}

impl Default for SessionId {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

/// The proof that a principal was authorized for one verb on one target.
///
/// Only [`authorize`] makes one, and a [`Runtime`](crate::runtime::Runtime) cannot be called
/// without it. A literal does not compile:
///
/// ```compile_fail
/// let permit = dockin_core::access::Permit { session: todo!() };
/// ```
#[derive(Clone, Debug)]
pub struct Permit {
    session: SessionId,
    principal: Arc<Principal>,
    verb: Verb,
    target: Target,
}

impl Permit {
    /// The session this permit opens.
    #[must_use]
    pub const fn session(&self) -> SessionId {
        self.session
    }
    /// The same permit for something that is asked in the container on the way: with a session of
    /// its own, whose end ends no process of this one.
    #[cfg(feature = "gateway")]
    pub(crate) fn for_question(&self) -> Self {
        Self {
            session: SessionId::new(),
            ..self.clone()
        }
    }
    /// Who.
    #[must_use]
    pub const fn principal(&self) -> &Arc<Principal> {
        &self.principal
    }
    /// What.
    #[must_use]
    pub const fn verb(&self) -> Verb {
        self.verb
    }
    /// Where.
    #[must_use]
    pub const fn target(&self) -> &Target {
        &self.target
    }
}

/// Asks `authorizer`, and makes the permit when it allows.
///
/// `session` is the caller's when it continues one (the agent, told by the gateway), else new.
///
/// # Errors
///
/// Kind `Forbidden` with the authorizer's reason.
pub async fn authorize(
    authorizer: &dyn Authorizer,
    principal: &Arc<Principal>,
    verb: Verb,
    target: Target,
    session: SessionId,
) -> Result<Permit, Error> {
    match authorizer.decide(principal, verb, &target).await {
        Decision::Allow => Ok(Permit {
            session,
            principal: Arc::clone(principal),
            verb,
            target,
        }),
        Decision::Deny { reason, rule } => {
            let user = &principal.user;
            let message = format!("user `{user}` may not {verb} `{target}`: {reason}");
            let error = Error::new(ErrorKind::Forbidden, message);
            Err(match rule {
                Some(rule) => error.with_rule(rule),
                None => error,
            })
        }
    }
}
