//! What is there? Clusters, pods and containers: the [`Directory`] port.

mod pod;

use async_trait::async_trait;
pub use pod::{Container, ContainerState, Pod};

use crate::Error;

/// Knows the pods of one cluster.
#[async_trait]
pub trait Directory: Send + Sync {
    /// Every pod of `namespace`, or of all namespaces, in order of namespace and name.
    ///
    /// # Errors
    ///
    /// `Unavailable` when it cannot be known now; a part is never passed off as the whole.
    async fn pods(&self, namespace: Option<&str>) -> Result<Vec<Pod>, Error>;

    /// One pod.
    ///
    /// # Errors
    ///
    /// `NotFound` when it is not there; `Conflict` when two have this name.
    async fn pod(&self, namespace: &str, name: &str) -> Result<Pod, Error>;
}
