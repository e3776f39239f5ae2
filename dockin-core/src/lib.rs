//! The engine of Dockin: what a platform embeds to have a gateway or a node agent.
//!
//! [`gateway::Gateway`] and [`agent::Agent`] are builders that end in a service over any accepted
//! connection; the ports behind them are traits: [`identity::Authenticator`] (who is this?),
//! [`access::Authorizer`] (may he?), [`directory::Directory`] (what is there?),
//! [`runtime::Runtime`] (exec, attach, logs, port-forward) and [`audit::AuditSink`] (what
//! happened). Every adapter is a feature.
//!
//! # The walks
//!
//! *A keystroke*: [`gateway`] route → [`identity`] → [`access::authorize`] gives a
//! [`access::Permit`] → [`session`] opens the container's side through [`runtime`] and joins it to
//! the client with `dockin_stream::Relay` → the agent's [`agent`] service → its own runtime.
//!
//! *A command judged*: the relay's gate is [`session::InterceptorGate`], which asks
//! `dockin_policy::Interceptor`; what it notes goes to [`audit`] before the bytes move on.

pub mod access;
pub mod access_list;
#[cfg(feature = "gateway")]
pub mod access_policy;
#[cfg(feature = "agent")]
pub mod agent;
pub mod approval;
pub mod audit;
#[cfg(feature = "dockin-ops")]
pub mod compat;
pub mod directory;
mod error;
#[cfg(feature = "gateway")]
pub mod gateway;
mod hex;
pub mod identity;
#[cfg(feature = "service")]
pub mod kubernetes;
mod percent;
pub mod policy;
#[cfg(feature = "gateway")]
mod rate;
#[cfg(feature = "reaper")]
pub mod reaper;
pub mod recording;
pub mod runtime;
#[cfg(feature = "service")]
pub mod service;
pub mod session;
mod stamp;
#[cfg(feature = "gateway")]
pub mod store;
mod target;
#[cfg(feature = "service")]
pub mod tls;

pub use error::{Error, ErrorKind};
pub use percent::percent_encode;
pub use target::{Target, TargetError};
