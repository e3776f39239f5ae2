//! The Kubernetes API's documents and query strings, as functions: no sockets, no clock.
//!
//! What goes out: [`Status`] for failures, [`pod`] and [`pod_list`] for objects, [`table`] for what
//! kubectl prints, [`discovery`] for what it asks first. What comes in: [`query`] and
//! [`selector`]. Times are seconds since the epoch, and `now` is an argument.

pub mod discovery;
mod kubeconfig;
mod pod;
pub mod query;
mod request;
pub mod selector;
mod status;
pub mod table;

pub use kubeconfig::{Kubeconfig, credential_plugin};
pub use pod::{Phase, namespace, namespace_list, phase, pod, pod_list};
pub use query::{ExecOptions, ListOptions, LogQuery};
pub use request::{is_discovery, only_reads, request_attributes};
pub use selector::{FieldSelector, LabelSelector};
pub use status::{Status, StatusDetails, pod_not_found};
