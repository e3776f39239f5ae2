//! What secures the connections to people and to agents, followed while the gateway serves.

use std::{path::PathBuf, sync::Arc};

use dockin_core::{
    Error, ErrorKind,
    gateway::{Enrolment, EnrolmentOptions, Gateway},
    identity::AgentList,
    runtime::agent::AgentsTls,
    service::Transport,
    store::Store,
    tls::{self, ClientCheck, Identity, Live, TlsChange},
};
use jiff::Timestamp;
use rustls::{ClientConfig, ServerConfig};
use tokio::{
    net::TcpListener,
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
};
use tokio_util::sync::CancellationToken;

use crate::{
    agent,
    config::{Config, TlsFiles},
    resource_manager::{self, ResourceManager},
};

/// Files of certificates, and what became of a change of them.
type Change = (String, TlsChange);

/// Makes the sides of TLS, and follows their files.
pub(crate) struct Door {
    changes: UnboundedSender<Change>,
    changed: UnboundedReceiver<Change>,
    stop: CancellationToken,
    list: Option<Arc<AgentList>>,
}

impl Door {
    /// One whose files are followed until `stop`.
    ///
    /// # Errors
    ///
    /// `Misuse` when the list of agents cannot be read.
    pub(crate) async fn new(
        config: &Config,
        store: Option<&Arc<dyn Store>>,
        stop: CancellationToken,
    ) -> Result<Self, Error> {
        let (changes, changed) = unbounded_channel();
        Ok(Self {
            changes,
            changed,
            stop,
            list: agent::list(config, store).await?.map(Arc::new),
        })
    }

    /// The gateway's side of mutual TLS with agents.
    ///
    /// # Errors
    ///
    /// `Misuse` when a file cannot be used.
    pub(crate) fn to_agents(&self, config: &Config) -> Result<Option<AgentsTls>, Error> {
        let Some(files) = &config.agents_tls else {
            return Ok(None);
        };
        let live = Live::from(client(files, At::Start)?);
        let (kept, own) = (live.clone(), files.clone());
        self.follow(files.paths(), move || {
            kept.replace(client(&own, At::Change)?);
            Ok(())
        });
        Ok(Some(AgentsTls::new(live, self.list.clone())))
    }

    /// What gives agents their certificates.
    ///
    /// # Errors
    ///
    /// `Misuse` when authority and key do not fit.
    pub(crate) fn enrolment(&self, config: &Config) -> Result<Option<Enrolment>, Error> {
        let (Some(enrolment), Some(files), Some(agents)) =
            (&config.enrolment, &config.agents_tls, &self.list)
        else {
            return Ok(None);
        };
        // Over plain HTTP there is no authority to pin, and no certificate to renew by.
        let (Some(key), Some(_)) = (&enrolment.key, &config.tls) else {
            return Ok(None);
        };
        Enrolment::new(EnrolmentOptions {
            agents: Arc::clone(agents),
            certificate: files.authority.clone(),
            key: key.clone(),
            lifetime: enrolment.lifetime(),
        })
        .map(Some)
    }

    /// What secures the connections that `listener` takes, also those of `plugins` when the resource
    /// manager is there as well.
    ///
    /// # Errors
    ///
    /// `Misuse` when a file cannot be used, or plain HTTP would leave this machine.
    pub(crate) fn transport(
        &self,
        config: &Config,
        listener: &TcpListener,
        plugins: Option<Arc<resource_manager::Service>>,
    ) -> Result<Transport, Error> {
        let Some(files) = &config.tls else {
            return Transport::plain(listener);
        };
        let own = Own {
            files: files.clone(),
            people: config.client_authority.clone(),
            plugins,
            agents: match (&config.enrolment, &config.agents_tls) {
                (Some(_), Some(agents)) => Some(agents.authority.clone()),
                _ => None,
            },
        };
        let people = Live::from(own.to_people(At::Start)?);
        let agents = own.to_agents(At::Start)?.map(Live::from);
        let mut paths = files.paths();
        paths.extend(own.people.iter().chain(&own.agents).cloned());
        let kept = (people.clone(), agents.clone());
        self.follow(paths, move || {
            // Both are made before one is replaced.
            let to_people = own.to_people(At::Change)?;
            let to_agents = own.to_agents(At::Change)?;
            kept.0.replace(to_people);
            if let (Some(live), Some(to_agents)) = (&kept.1, to_agents) {
                live.replace(to_agents);
            }
            Ok(())
        });
        Ok(Transport::tls(people, agents))
    }

    /// What secures the port that the resource manager has of its own.
    ///
    /// # Errors
    ///
    /// `Misuse` when a file cannot be used.
    pub(crate) fn to_plugins(
        &self,
        files: &TlsFiles,
        config: &ResourceManager,
        manager: &Arc<resource_manager::Service>,
    ) -> Result<Live<ServerConfig>, Error> {
        let live = Live::from(manager.secure(config, identity(files, At::Start)?)?);
        let (kept, manager) = (live.clone(), Arc::clone(manager));
        let (files, config) = (files.clone(), config.clone());
        let mut paths = vec![files.certificate.clone(), files.key.clone()];
        paths.extend(config.authority.clone());
        let source = format!("resource manager's port: {}", files.certificate.display());
        self.follow_as(source, paths, move || {
            kept.replace(manager.secure(&config, identity(&files, At::Change)?)?);
            Ok(())
        });
        Ok(live)
    }

    /// Tells log and audit trail of changes, as long as there can be any.
    pub(crate) fn tell(mut self, gateway: Arc<Gateway>) {
        drop(self.changes);
        tokio::spawn(async move {
            while let Some((source, change)) = self.changed.recv().await {
                match &change {
                    TlsChange::Accepted => {
                        tracing::info!(source, "other certificates are in force");
                    }
                    TlsChange::Rejected(error) => {
                        let what = "certificates refused, the old ones stay in force";
                        tracing::error!(source, error, "{what}");
                    }
                }
                if let Err(error) = gateway.tls_changed(&source, &change).await {
                    let error = error.chain();
                    tracing::error!(error, "change of certificates not audited");
                }
            }
        });
    }

    /// Calls `remake` when one of `paths` changes; the first one is what it is called by.
    fn follow(
        &self,
        paths: Vec<PathBuf>,
        remake: impl FnMut() -> Result<(), Error> + Send + 'static,
    ) {
        let source = paths.first().map(|path| path.display().to_string());
        self.follow_as(source.unwrap_or_default(), paths, remake);
    }

    /// Calls `remake` when one of `paths` changes, and calls them `source`.
    fn follow_as(
        &self,
        source: String,
        paths: Vec<PathBuf>,
        remake: impl FnMut() -> Result<(), Error> + Send + 'static,
    ) {
        let changes = self.changes.clone();
        let told = move |change| {
            // The receiver lives as long as the gateway.
            let _stopped = changes.send((source.clone(), change));
        };
        tls::follow(paths, self.stop.clone(), remake, told);
    }
}

/// What the gateway's own side of TLS is made of.
struct Own {
    files: TlsFiles,
    /// Authority of people's certificates.
    people: Option<PathBuf>,
    /// Who knows the authority of plugins' certificates.
    plugins: Option<Arc<resource_manager::Service>>,
    /// Authority of agents' certificates, when they can have some.
    agents: Option<PathBuf>,
}

impl Own {
    fn to_people(&self, at: At) -> Result<Arc<ServerConfig>, Error> {
        let mut people = self.people.as_deref().map(tls::certificates).transpose()?;
        if let Some(plugins) = &self.plugins {
            people = plugins.authorities(people)?;
        }
        let check = people
            .as_deref()
            .map_or(ClientCheck::None, ClientCheck::Offered);
        let config = tls::server_config_for(identity(&self.files, at)?, check)?;
        Ok(tls::with_http2(&config))
    }

    fn to_agents(&self, at: At) -> Result<Option<Arc<ServerConfig>>, Error> {
        let Some(authority) = &self.agents else {
            return Ok(None);
        };
        let authority = tls::certificates(authority)?;
        tls::agents_server_config(identity(&self.files, at)?, &authority).map(Some)
    }
}

fn client(files: &TlsFiles, at: At) -> Result<Arc<ClientConfig>, Error> {
    let authority = tls::certificates(&files.authority)?;
    tls::client_config(&authority, Some(identity(files, at)?))
}

/// When files are read.
#[derive(Clone, Copy, Eq, PartialEq)]
enum At {
    /// There is nothing else to serve with.
    Start,
    /// There is what they said before.
    Change,
}

/// What is in the files. A certificate that has expired takes no other's place.
fn identity(files: &TlsFiles, at: At) -> Result<Identity, Error> {
    let file = files.certificate.display();
    let identity = Identity::load(&files.certificate, &files.key)?;
    let (_, end) = identity.validity()?;
    if end >= Timestamp::now() {
        return Ok(identity);
    }
    let what = format!("the certificate `{file}` has expired at {end}: nobody accepts it");
    match at {
        At::Start => tracing::error!("{what}"),
        At::Change => return Err(Error::new(ErrorKind::Misuse, what)),
    }
    Ok(identity)
}
