use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use super::Cluster;
use crate::{Error, ErrorKind, runtime::agent::AgentsTls, stamp::Stamp};

/// A directory of files, each of which [describes a cluster](Cluster::from_file). Files may come,
/// change and go while the gateway serves.
///
/// A file that is wrong is named, harms no other, and leaves the cluster that it described before
/// in force. Of two files with one name the first in the order of file names counts. Hidden files
/// and those of editors are left out.
pub struct ClusterFolder {
    path: PathBuf,
    agents_tls: Option<AgentsTls>,
    files: BTreeMap<PathBuf, Known>,
    unreadable: bool,
}

/// What a look at the folder found out.
#[derive(Clone, Debug, Eq, PartialEq)]
// Exhaustive: what can become of a file.
pub enum ClusterChange {
    /// The cluster of that name can be reached now, or in another way than before.
    Opened(String),
    /// The cluster of that name is gone. Sessions in it go on.
    Closed(String),
    /// A file is wrong; what and how, for people.
    Refused(String),
}

/// How often the folder is looked at. A change counts at the second look that sees it, so that no
/// half-written file does.
pub(super) const LOOK: Duration = Duration::from_millis(500);

#[derive(Default)]
struct Known {
    /// The file, and those that it names.
    stamps: Vec<(PathBuf, Option<Stamp>)>,
    changing: Option<Vec<(PathBuf, Option<Stamp>)>>,
    cluster: Option<Arc<Cluster>>,
    /// What was said of it last.
    told: Option<String>,
}

impl ClusterFolder {
    /// The folder at `path`. `agents_tls` is the gateway's side of mutual TLS with agents.
    ///
    /// # Errors
    ///
    /// `Misuse` when it is no directory.
    pub fn open(path: impl Into<PathBuf>, agents_tls: Option<AgentsTls>) -> Result<Self, Error> {
        let path = path.into();
        if !path.is_dir() {
            let what = format!(
                "`{}` is no directory: make it, or name another",
                path.display()
            );
            return Err(Error::new(ErrorKind::Misuse, what));
        }
        Ok(Self {
            path,
            agents_tls,
            files: BTreeMap::new(),
            unreadable: false,
        })
    }

    /// Looks at every file: the clusters of now, and what has changed since the last look.
    /// `taken` tells whether a name is used elsewhere.
    pub(super) async fn look(
        &mut self,
        taken: impl Fn(&str) -> bool,
    ) -> (Vec<Arc<Cluster>>, Vec<ClusterChange>) {
        let first = self.files.is_empty();
        let before: BTreeSet<String> = self.names();
        let mut changes = Vec::new();
        match list(&self.path) {
            Ok(paths) => {
                self.unreadable = false;
                self.files.retain(|path, _| paths.contains(path));
                for path in paths {
                    changes.extend(self.look_at(path, first).await);
                }
            }
            // What was known stays in force.
            Err(error) if !self.unreadable => {
                self.unreadable = true;
                let what = format!("`{}` cannot be read: {error}", self.path.display());
                changes.push(ClusterChange::Refused(what));
            }
            Err(_) => {}
        }
        let mut clusters: Vec<Arc<Cluster>> = Vec::new();
        for (path, known) in &mut self.files {
            let Some(cluster) = &known.cluster else {
                continue;
            };
            let name = cluster.name();
            if taken(name) || clusters.iter().any(|other| other.name() == name) {
                let what = format!(
                    "kubeconfig {}: cluster `{name}` is there already; give it another `cluster-id`",
                    path.display()
                );
                if known.told.as_ref() != Some(&what) {
                    changes.push(ClusterChange::Refused(what.clone()));
                    known.told = Some(what);
                }
                continue;
            }
            clusters.push(Arc::clone(cluster));
        }
        let now: BTreeSet<&str> = clusters.iter().map(|cluster| cluster.name()).collect();
        let gone = before
            .iter()
            .filter(|name| !now.contains(name.as_str()) && !taken(name));
        changes.extend(gone.cloned().map(ClusterChange::Closed));
        (clusters, changes)
    }

    fn names(&self) -> BTreeSet<String> {
        let clusters = self
            .files
            .values()
            .filter_map(|known| known.cluster.as_ref());
        clusters.map(|cluster| cluster.name().to_owned()).collect()
    }

    async fn look_at(&mut self, path: PathBuf, first: bool) -> Option<ClusterChange> {
        let known = self.files.entry(path.clone()).or_default();
        let mut looked: Vec<PathBuf> = known.stamps.iter().map(|(path, _)| path.clone()).collect();
        if looked.is_empty() {
            looked.push(path.clone());
        }
        let now = stamps(looked);
        if now == known.stamps {
            known.changing = None;
            return None;
        }
        if !first && known.changing.as_ref() != Some(&now) {
            known.changing = Some(now);
            return None;
        }
        known.changing = None;
        let all = std::iter::once(path.clone());
        #[cfg(feature = "kube")]
        let all = all.chain(crate::runtime::kube::ClusterConfig::referred(&path));
        // Before it is read: a change in between then costs one more reading.
        known.stamps = stamps(all.collect());
        match Cluster::from_file(&path, self.agents_tls.as_ref()).await {
            Ok(cluster) => {
                let name = cluster.name().to_owned();
                known.told = None;
                known.cluster = Some(Arc::new(cluster));
                Some(ClusterChange::Opened(name))
            }
            Err(error) => {
                let mut what = error.chain();
                if known.cluster.is_some() {
                    what.push_str("; what it said before stays in force");
                }
                known.told = Some(what.clone());
                Some(ClusterChange::Refused(what))
            }
        }
    }
}

fn list(folder: &Path) -> std::io::Result<BTreeSet<PathBuf>> {
    let mut paths = BTreeSet::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let passing = name.starts_with('.')
            || [".swp", ".tmp", ".new", ".bak", "~"]
                .iter()
                .any(|end| name.ends_with(end));
        if !passing && path.is_file() {
            paths.insert(path);
        }
    }
    Ok(paths)
}

fn stamps(paths: Vec<PathBuf>) -> Vec<(PathBuf, Option<Stamp>)> {
    let stamped = paths.into_iter().map(|path| {
        let stamp = Stamp::of(&path);
        (path, stamp)
    });
    stamped.collect()
}
