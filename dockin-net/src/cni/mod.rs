//! The process contract of a CNI plugin: environment and standard input in, one JSON object out.
//!
//! [`run`] keeps the contract and asks a [`Plugin`] for the work. It needs no process: tests call
//! it with values.
//!
//! Spec: CNI 1.1.0, SPEC.md sections 2 to 5; the older versions of the same file.

mod args;
mod call;
mod environment;
mod error;
mod json;
mod result;
mod verb;
mod version;

pub use args::{Args, ArgsError};
pub use call::{Outcome, Plugin, Request, run};
pub use environment::Environment;
pub use error::{CniError, ErrorCode};
pub use json::{Field, FieldError, Json, SyntaxError};
pub use result::{CniResult, Dns, Interface, IpConfig, ResultError, Route};
pub(crate) use result::{decode_address, decode_cidr, decode_dns, decode_routes};
pub use verb::Verb;
pub use version::{Shape, Version};
