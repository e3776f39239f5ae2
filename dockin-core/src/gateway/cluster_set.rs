use std::sync::Arc;

use arc_swap::ArcSwap;

use super::Cluster;

/// The clusters there are now. Readers take no lock, and keep what they have found.
pub(super) struct ClusterSet {
    /// Of the configuration.
    fixed: Vec<Arc<Cluster>>,
    /// Those, and what was found beside them.
    all: ArcSwap<Vec<Arc<Cluster>>>,
}

impl ClusterSet {
    pub(super) fn new(fixed: Vec<Arc<Cluster>>) -> Self {
        let all = ArcSwap::from_pointee(fixed.clone());
        Self { fixed, all }
    }

    /// The cluster of that name; without a name the first one.
    pub(super) fn find(&self, name: Option<&str>) -> Option<Arc<Cluster>> {
        let all = self.all.load();
        let found = match name {
            Some(name) => all.iter().find(|cluster| cluster.name() == name),
            None => all.first(),
        };
        found.cloned()
    }

    /// Whether the configuration has one of that name.
    pub(super) fn is_fixed(&self, name: &str) -> bool {
        self.fixed.iter().any(|cluster| cluster.name() == name)
    }

    pub(super) fn all(&self) -> Arc<Vec<Arc<Cluster>>> {
        self.all.load_full()
    }

    /// Puts `found` in the place of what was found before.
    pub(super) fn replace(&self, found: &[Arc<Cluster>]) {
        let all = self.fixed.iter().chain(found).cloned().collect();
        self.all.store(Arc::new(all));
    }
}
