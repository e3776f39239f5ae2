use std::{
    collections::HashMap,
    convert::Infallible,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bollard::{
    models::EventMessage,
    query_parameters::{EventsOptions, ListContainersOptions},
};
use futures::{StreamExt, TryStreamExt, stream};
use tokio::time::{sleep, timeout};

use super::{
    catalog::Catalog,
    daemon::{DEADLINE, Daemon},
    entry::Entry,
};
use crate::{Error, ErrorKind};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Containers that are inspected at once.
const PARALLEL: usize = 8;
/// How far back the daemon's events are read again, in seconds, so that none falls between two
/// connections or between the events and the list.
const OVERLAP: u64 = 2;
/// The events that change what a container looks like. Execs have events too, and are not here.
const ACTIONS: [&str; 12] = [
    "create", "start", "restart", "die", "stop", "kill", "destroy", "rename", "pause", "unpause",
    "update", "oom",
];

/// Keeps `catalog` true, for ever: follows the daemon's events, and after each loss lists anew.
pub(super) async fn watch(daemon: Arc<Daemon>, catalog: Arc<Catalog>) {
    let mut pause = FIRST_PAUSE;
    loop {
        let Err(error) = follow(&daemon, &catalog, &mut pause).await;
        catalog.set_current(false);
        let error = error.chain();
        if pause == FIRST_PAUSE {
            tracing::warn!(error, "docker is away, its containers are not known");
        } else {
            tracing::debug!(error, "docker is still away");
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

async fn follow(
    daemon: &Daemon,
    catalog: &Catalog,
    pause: &mut Duration,
) -> Result<Infallible, Error> {
    daemon.negotiate().await?;
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let filters = HashMap::from([
        ("type".to_owned(), vec!["container".to_owned()]),
        ("event".to_owned(), ACTIONS.map(str::to_owned).to_vec()),
    ]);
    let options = EventsOptions {
        since: Some(now.saturating_sub(OVERLAP).to_string()),
        until: None,
        filters: Some(filters),
    };
    let mut events = daemon.client()?.events(Some(options)).boxed();
    list_all(daemon, catalog).await?;
    catalog.set_current(true);
    *pause = FIRST_PAUSE;
    loop {
        match events.next().await {
            Some(Ok(event)) => apply(daemon, catalog, event).await?,
            Some(Err(error)) => return Err(daemon.failure(error)),
            None => return Err(daemon.unavailable("ended its events")),
        }
    }
}

async fn apply(daemon: &Daemon, catalog: &Catalog, event: EventMessage) -> Result<(), Error> {
    let Some(id) = event.actor.and_then(|actor| actor.id) else {
        return Ok(());
    };
    let _writing = catalog.writing.lock().await;
    let entry = inspect(daemon, &id).await?;
    catalog.put(&id, entry);
    Ok(())
}

/// Lists and inspects every container.
async fn list_all(daemon: &Daemon, catalog: &Catalog) -> Result<(), Error> {
    let _writing = catalog.writing.lock().await;
    let ids = list(daemon).await?.into_keys().collect();
    catalog.replace(inspect_all(daemon, ids).await?.into_iter().collect());
    Ok(())
}

/// Lists the containers and inspects those that are not known, in at most [`DEADLINE`]; all of
/// them when the events are not followed.
pub(super) async fn list_new(daemon: &Daemon, catalog: &Catalog) -> Result<(), Error> {
    let work = async {
        if !catalog.is_current() {
            daemon.negotiate().await?;
            return list_all(daemon, catalog).await;
        }
        let _writing = catalog.writing.lock().await;
        let new = catalog.keep(&list(daemon).await?);
        for (id, entry) in inspect_all(daemon, new).await? {
            catalog.put(&id, Some(entry));
        }
        Ok(())
    };
    match timeout(DEADLINE, work).await {
        Ok(listed) => listed,
        Err(_elapsed) => Err(daemon.unavailable("did not list its containers in time")),
    }
}

/// Ids and names of all containers.
async fn list(daemon: &Daemon) -> Result<HashMap<String, String>, Error> {
    let options = ListContainersOptions {
        all: true,
        ..ListContainersOptions::default()
    };
    let listed = daemon
        .ask(daemon.client()?.list_containers(Some(options)))
        .await?;
    let named = listed.into_iter().filter_map(|container| {
        // A container has one name without a second `/`; the others are links to it.
        let names = container.names.unwrap_or_default();
        let name = names.iter().filter_map(|name| name.strip_prefix('/'));
        let name = name
            .filter(|name| !name.contains('/'))
            .min()
            .unwrap_or_default()
            .to_owned();
        Some((container.id?, name))
    });
    Ok(named.collect())
}

async fn inspect_all(daemon: &Daemon, ids: Vec<String>) -> Result<Vec<(String, Entry)>, Error> {
    stream::iter(ids)
        .map(|id| async move { Ok(inspect(daemon, &id).await?.map(|entry| (id, entry))) })
        .buffer_unordered(PARALLEL)
        .try_filter_map(|found| async { Ok(found) })
        .try_collect()
        .await
}

/// One container, `None` when it is not there any more.
async fn inspect(daemon: &Daemon, id: &str) -> Result<Option<Entry>, Error> {
    match daemon
        .ask(daemon.client()?.inspect_container(id, None))
        .await
    {
        Ok(inspected) => Ok(Entry::read(inspected)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
