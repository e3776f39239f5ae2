//! What this gateway shares with those beside it.

use std::sync::Arc;

use dockin_core::{
    Error,
    gateway::GatewayBuilder,
    policy::{Reload, Rules},
    store::{RuleAddresses, Store, follow_commands},
};
use tokio::sync::mpsc::UnboundedSender;
use tokio_util::sync::CancellationToken;

use crate::config::Config;

/// The store that the configuration names, if any.
///
/// # Errors
///
/// `Misuse` when it cannot be one.
pub(crate) fn open(config: &Config) -> Result<Option<Arc<dyn Store>>, Error> {
    let Some(wanted) = &config.store else {
        return Ok(None);
    };
    Ok(Some(wanted.open()? as Arc<dyn Store>))
}

/// The rules by which commands are judged, and where they come from: the rule file, or the lists
/// in the store when the configuration says so.
///
/// # Errors
///
/// Those of the rule file.
pub(crate) async fn rules(
    config: &Config,
    store: Option<&Arc<dyn Store>>,
    stop: &CancellationToken,
    changes: UnboundedSender<Reload>,
) -> Result<(Arc<Rules>, String), Error> {
    let told = move |change| {
        // The receiver lives as long as the gateway.
        let _stopped = changes.send(change);
    };
    let wanted = config.store.as_ref();
    if let (Some(store), Some(wanted)) = (store, wanted)
        && let Some(filter) = wanted.commands()
    {
        let store = Arc::clone(store);
        let rules = follow_commands(store, filter, wanted.follow(), stop.clone(), told).await?;
        return Ok((rules, "raw_cmd and common_cmd in the store".to_owned()));
    }
    let rules = Rules::follow(config.rules.clone(), stop.clone(), told)?;
    Ok((rules, config.rules.display().to_string()))
}

/// The gateway with the store, and with what the configuration says of it: its lists of addresses,
/// and the cache of objects.
pub(crate) async fn share(
    builder: GatewayBuilder,
    config: &Config,
    store: Option<Arc<dyn Store>>,
    stop: &CancellationToken,
) -> GatewayBuilder {
    let (Some(store), Some(wanted)) = (store, &config.store) else {
        return builder;
    };
    let mut builder = builder.store(Arc::clone(&store));
    if wanted.has_object_cache() {
        builder = builder.object_cache(Arc::clone(&store));
    }
    if !wanted.has_rule_addresses() {
        return builder;
    }
    let lists = RuleAddresses::follow(store, wanted.follow(), stop.clone()).await;
    builder.rule_addresses(lists)
}
