//! What this gateway shares with those beside it.

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::Args;
use dockin_core::{
    Error, ErrorKind,
    gateway::GatewayBuilder,
    policy::{Reload, Rules},
    store::{RuleAddresses, Store, follow_commands},
};
use tokio::sync::mpsc::UnboundedSender;
use tokio_util::sync::CancellationToken;

use crate::config::{self, Config};

/// Of which gateway a command that changes something speaks.
#[derive(Args)]
pub(crate) struct Commanded {
    /// Data directory that `init` made.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Redis that the gateways share, in place of the one of the configuration; the one that
    /// `serve --store` was last given, without.
    #[arg(long, value_name = "URL")]
    store: Option<String>,
}

impl Commanded {
    /// Its configuration, with the store that it serves with.
    ///
    /// # Errors
    ///
    /// Those of the configuration; `Misuse` when `--store` has a password in it.
    pub(crate) fn config(&self) -> Result<Config, Error> {
        let path = self.data.join("opserver.yaml");
        let mut config = Config::load(&path)?;
        let noted = match &self.store {
            Some(_) => None,
            None => noted(&path)?,
        };
        config::override_url(
            &mut config.store,
            self.store.as_deref().or(noted.as_deref()),
        )?;
        if let (Some(_), Some(store)) = (&noted, &config.store) {
            eprintln!(
                "the store is {}, which `serve --store` was given; `--store` names another",
                store.place()
            );
        }
        Ok(config)
    }
}

/// Notes beside the configuration which store the gateway serves with that is not in it, for the
/// commands that change what is there.
pub(crate) fn note(configuration: &Path, url: Option<&str>) {
    let path = note_of(configuration);
    let done = match url {
        Some(url) => fs::write(&path, format!("{url}\n")),
        None => match fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done,
        },
    };
    if let Err(error) = done {
        tracing::warn!(
            path = %path.display(),
            %error,
            "`account` and `agent` will not know of `--store`: give it to them, too, or write \
             `store` into the configuration"
        );
    }
}

/// What [`note`] noted last.
fn noted(configuration: &Path) -> Result<Option<String>, Error> {
    let path = note_of(configuration);
    match fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text.trim().to_owned()).filter(|url| !url.is_empty())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => {
            let message = format!(
                "`{}` cannot be read, which says what store the gateway serves with; give \
                 `--store`",
                path.display()
            );
            Err(Error::new(ErrorKind::Unavailable, message).with_source(error))
        }
    }
}

fn note_of(configuration: &Path) -> PathBuf {
    let mut name: OsString = configuration.as_os_str().to_owned();
    name.push(".store");
    name.into()
}

/// Waits for what the store says.
///
/// # Errors
///
/// Those of `answer`.
pub(crate) fn wait<T>(answer: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::new(ErrorKind::Unavailable, "no runtime").with_source(error))?
        .block_on(answer)
}

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

/// The same for a gateway: one that is of no use is told at once, one that does not answer yet may.
///
/// # Errors
///
/// `Misuse` when it cannot be one, or answers as none.
pub(crate) async fn reach(config: &Config) -> Result<Option<Arc<dyn Store>>, Error> {
    let Some(wanted) = &config.store else {
        return Ok(None);
    };
    let store = wanted.open()?;
    store.check().await?;
    Ok(Some(store as Arc<dyn Store>))
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
