//! Who may do what where: roles in domains, allow and not deny, decided from an index.
//!
//! Rules come from a Casbin model and policy file, unchanged, as TKEStack writes them
//! ([`Source::casbin`]), or from a [YAML document](Document) of users, groups, roles, policies,
//! projects and tenants that compiles to the same rules. [`AccessRules::compile`] takes them
//! whole or not at all; the result is immutable, so a reader needs no lock and a writer swaps
//! one `Arc` for another.
//!
//! A request is `(subjects, domain, object, action)`, such as `default##user##alice`, `*`,
//! `cluster:cls-1/namespace:shop/pod:web`, `createPodExec`. Objects and actions are compared
//! without regard to case, subjects exactly. A `*` in a pattern is any run of characters, also
//! across `/`, but never a line feed.
//!
//! # Two modes
//!
//! [`Mode::Compatible`] decides as TKEStack does, traps included. [`Mode::Strict`], the default,
//! refuses those traps when the rules are loaded, and lets a deny be final:
//!
//! | | compatible | strict |
//! | --- | --- | --- |
//! | `?`, `[`, `(` and so on in a pattern | regular expression | refused |
//! | `.` in a pattern | any character | a dot |
//! | `cluster:cls-x*`, `cluster*` in an allow | matches other clusters, other kinds | refused |
//! | `/:` without a name | poisons every subject of the rule | refused |
//! | a group in `*` bound in a project | never resolves | resolves in that project |
//! | deny in a project, request without one | dodged | denies |
//! | deny for a user, allow for all users | allowed | denied |
//! | project | what the caller's header says | declared by its namespaces |
//! | a chain that ends at no rule | grants nothing, silently | refused |

mod attributes;
mod compile;
mod csv;
mod decide;
mod document;
mod explain;
mod fault;
mod graph;
mod model;
mod names;
mod pattern;
mod pattern_set;
mod reach;
mod review;
mod singular;
mod source;
mod tenancy;
mod trap;

pub use attributes::{ActionOnObject, Attributes, action_on_object};
pub use compile::AccessRules;
pub use decide::{Decision, Request};
pub use document::Document;
pub use explain::{Explanation, Matched};
pub use fault::{Fault, Faults};
pub use pattern::matches_pattern;
pub use review::{Endpoint, ReviewError, review};
pub use source::{Effect, Link, Mode, Rule, Source};
pub use tenancy::{Answer, DEFAULT_TENANT, Person, Place, Question, Tenancy, group_key, user_key};
