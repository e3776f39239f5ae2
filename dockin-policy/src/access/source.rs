use std::{borrow::Cow, collections::BTreeSet};

use super::{Faults, csv, model};

/// How rules are read and decided.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
// Exhaustive: a third mode would be a third language.
pub enum Mode {
    /// Refuses the traps of the format at load; a deny is final.
    #[default]
    Strict,
    /// Decides exactly as TKEStack does.
    Compatible,
}

/// What a rule does when it matches.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
// Exhaustive: the format has these two.
pub enum Effect {
    /// Allows, if nothing denies.
    Allow,
    /// Denies, whatever allows.
    Deny,
}

impl Effect {
    /// The word in a policy file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        }
    }
}

/// One `p` line: who holds `subject` may or may not do `action` on `object`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rule<'a> {
    /// Name of the policy, role, user or group that has this rule.
    pub subject: Cow<'a, str>,
    /// Domain; the model never compares it, and only `*` says so honestly.
    pub domain: Cow<'a, str>,
    /// Pattern of objects.
    pub object: Cow<'a, str>,
    /// Pattern of actions.
    pub action: Cow<'a, str>,
    /// `allow` or `deny`; anything else has no effect.
    pub effect: Cow<'a, str>,
    /// Line in the text, from 1.
    pub line: u32,
}

/// One `g` line: `member` has what `role` has, in `domain`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Link<'a> {
    /// A user, group or role.
    pub member: Cow<'a, str>,
    /// A group, role or policy.
    pub role: Cow<'a, str>,
    /// A project, or `*` for the platform.
    pub domain: Cow<'a, str>,
    /// Line in the text, from 1.
    pub line: u32,
}

/// Rules and links before they are compiled.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Source<'a> {
    /// Rules, in the order of the text.
    pub rules: Vec<Rule<'a>>,
    /// Links, in the order of the text.
    pub links: Vec<Link<'a>>,
    /// Projects of which it is known, from something else than the caller's word, what belongs
    /// to them. Strict rules may use no other ones.
    pub projects: BTreeSet<String>,
}

impl<'a> Source<'a> {
    /// Reads a Casbin model (`.conf`) and policy (`.csv`).
    ///
    /// # Errors
    ///
    /// The model is not the one of this module (see [`check_model`](Self::check_model)), or a
    /// line of the policy is no `p` line of five values and no `g` line of three.
    pub fn casbin(model: &str, policy: &'a str) -> Result<Self, Faults> {
        Self::check_model(model)?;
        csv::read(policy)
    }

    /// Reads a Casbin policy (`.csv`) whose model has been checked.
    ///
    /// # Errors
    ///
    /// A line is no `p` line of five values and no `g` line of three.
    pub fn policy(policy: &'a str) -> Result<Self, Faults> {
        csv::read(policy)
    }

    /// Whether a Casbin model says what this module decides: requests `sub, dom, obj, act`,
    /// policies `sub, dom, obj, act, eft`, roles of three places, allow and not deny, and a
    /// matcher that joins `g(r.sub, p.sub, r.dom)`, `keyMatchCustom(r.obj, p.obj)` and
    /// `keyMatchCustom(r.act, p.act)` with `&&`, in any order.
    ///
    /// # Errors
    ///
    /// It says something else: which line, and what is expected there.
    pub fn check_model(model: &str) -> Result<(), Faults> {
        model::check(model)
    }
}
