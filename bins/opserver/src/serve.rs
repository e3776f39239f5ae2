use std::{fs::DirBuilder, os::unix::fs::DirBuilderExt as _, sync::Arc};

use dockin_core::{
    Error, ErrorKind,
    access::Authorizer,
    access_policy::{AccessChange, AccessPolicy},
    audit::{AuditSink, BestEffort, FileSink},
    gateway::{Cluster, ClusterFolder, Gateway, Logins, OpsDoor},
    identity::{AccountFile, Authenticator, Chain, ClientCertificates, SessionTokens, TokenFile},
    policy::{Reload, Rules},
    recording::RecordingStore,
    runtime::agent::AgentRuntime,
    tls::{self, ClientCheck, Identity},
};
use dockin_policy::io::access_file::AccessFiles;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};
use tokio_util::sync::CancellationToken;

use crate::{
    config::{self, Age, Config, Mode, TlsFiles},
    resource_manager,
};

/// Builds the gateway that `config` describes and serves until SIGTERM or SIGINT.
pub(crate) async fn serve(config: Config) -> Result<(), Error> {
    let stop = CancellationToken::new();
    let (changes, mut changed) = mpsc::unbounded_channel();
    let rules = Rules::follow(config.rules.clone(), stop.clone(), move |change| {
        // The receiver lives as long as the gateway.
        let _stopped = changes.send(change);
    })?;
    let (authenticator, logins) = people(&config)?;
    let file = Arc::new(FileSink::open_with(
        &config.audit.file,
        &config.audit.options(),
    )?);
    let exporters = config.audit.exporters()?;
    let audit: Arc<dyn AuditSink> = match config.audit.mode {
        Mode::Strict => Arc::clone(&file) as Arc<dyn AuditSink>,
        Mode::BestEffort => Arc::new(BestEffort::new(Arc::clone(&file) as Arc<dyn AuditSink>)),
    };
    let (access_changes, mut access_changed) = mpsc::unbounded_channel();
    let mut access_policy = None;
    let authorizer: Arc<dyn Authorizer> = match config.access_rules()? {
        None => Arc::new(config.access()?),
        Some((files, mode)) => {
            let source = source_of(&files);
            let policy = AccessPolicy::follow(files, mode, stop.clone(), move |change| {
                // The receiver lives as long as the gateway.
                let _stopped = access_changes.send((source.clone(), change));
            })?;
            access_policy = Some(Arc::clone(&policy));
            policy
        }
    };
    let mut builder = Gateway::builder(authenticator, authorizer, audit, rules);
    builder = builder.limits(config.limits());
    if let Some(logins) = logins {
        builder = builder.logins(logins);
    }
    let to_agents = agents_tls(config.agents_tls.as_ref())?;
    for cluster in &config.clusters {
        builder = builder.cluster(open(cluster, to_agents.as_ref()).await?);
    }
    if let Some(folder) = &config.clusters_directory {
        builder = builder.cluster_folder(ClusterFolder::open(folder, to_agents)?);
    }
    if let Some(recording) = &config.recording {
        builder = builder.recordings(RecordingStore::open(recording.options()?)?);
    }
    if let Some(Age(limit)) = config.idle_timeout {
        builder = builder.idle_timeout(limit);
    }
    if let Some(policy) = access_policy {
        builder = builder.reviews(policy);
    }
    if let Some(ops) = &config.dockin_ops {
        builder = builder.dockin_ops(ops.settings()?);
    }
    let gateway = Arc::new(builder.ask_shells(config.ask_shells).build()?);
    let identity = Identity::load(&config.tls.certificate, &config.tls.key)?;
    if let Some(wanted) = &config.resource_manager {
        let identity = Identity::load(&config.tls.certificate, &config.tls.key)?;
        resource_manager::start(wanted, identity, stop.clone()).await?;
    }
    let people = config.client_authority.as_deref().map(tls::certificates);
    let people = people.transpose()?;
    let check = people
        .as_deref()
        .map_or(ClientCheck::None, ClientCheck::Offered);
    let server_tls = tls::with_http2(&*tls::server_config_for(identity, check)?);
    let listener = TcpListener::bind(config.listen).await.map_err(|error| {
        Error::new(
            ErrorKind::Unavailable,
            format!("cannot listen on {}", config.listen),
        )
        .with_source(error)
    })?;
    let address = listener.local_addr().map_err(|error| {
        Error::new(ErrorKind::Unavailable, "the listener has no address").with_source(error)
    })?;
    stop_on_signal(stop.clone())?;
    let told = Arc::clone(&gateway);
    let source = config.rules.display().to_string();
    tokio::spawn(async move {
        while let Some(change) = changed.recv().await {
            report(&source, &change);
            if let Err(error) = told.rules_changed(&source, &change).await {
                tracing::error!(error = error.chain(), "change of rules not audited");
            }
        }
    });
    for exporter in exporters {
        let (file, stop) = (Arc::clone(&file), stop.clone());
        tokio::spawn(async move { exporter.run(file.written(), &*file, &stop).await });
    }
    let told = Arc::clone(&gateway);
    tokio::spawn(async move {
        while let Some((source, change)) = access_changed.recv().await {
            report_access(&source, &change);
            if let Err(error) = told.access_changed(&source, &change).await {
                tracing::error!(error = error.chain(), "change of access not audited");
            }
        }
    });
    if let Some(listen) = config.dockin_ops.as_ref().and_then(|ops| ops.listen) {
        let door = OpsDoor::open(listen).await?;
        eprintln!("clients of Dockin-Ops on http://{}", door.address()?);
        tokio::spawn(door.serve(Arc::clone(&gateway), stop.clone()));
    }
    eprintln!("listening on https://{address}");
    gateway.serve(listener, server_tls, stop).await;
    Ok(())
}

/// Who people are, in the order in which they are asked: client certificates, session tokens,
/// then the token file with personal tokens in it.
fn people(config: &Config) -> Result<(Arc<dyn Authenticator>, Option<Logins>), Error> {
    let mut chain: Vec<Arc<dyn Authenticator>> = Vec::new();
    if config.client_authority.is_some() {
        chain.push(Arc::new(ClientCertificates));
    }
    let tokens = TokenFile::load(&config.tokens)?;
    let Some(wanted) = &config.accounts else {
        chain.push(Arc::new(tokens));
        return Ok((Arc::new(Chain::new(chain)), None));
    };
    let accounts = Arc::new(AccountFile::load(&wanted.file)?);
    let directory = &wanted.sessions;
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(|error| {
            let message = format!("`{}` cannot be made", directory.display());
            Error::new(ErrorKind::Unavailable, message).with_source(error)
        })?;
    let sessions = SessionTokens::open(
        directory,
        &wanted.audience,
        wanted.lifetime(),
        Arc::clone(&accounts),
    )?;
    let logins = Logins {
        tokens: Arc::new(tokens.with_accounts(Arc::clone(&accounts))),
        sessions: Arc::new(sessions),
        accounts,
    };
    chain.push(Arc::clone(&logins.sessions) as Arc<dyn Authenticator>);
    chain.push(Arc::clone(&logins.tokens) as Arc<dyn Authenticator>);
    Ok((Arc::new(Chain::new(chain)), Some(logins)))
}

/// The gateway's side of mutual TLS with agents.
fn agents_tls(files: Option<&TlsFiles>) -> Result<Option<Arc<rustls::ClientConfig>>, Error> {
    let Some(files) = files else {
        return Ok(None);
    };
    let identity = Identity::load(&files.certificate, &files.key)?;
    let authority = tls::certificates(&files.authority)?;
    tls::client_config(&authority, Some(identity)).map(Some)
}

async fn open(
    cluster: &config::Cluster,
    tls: Option<&Arc<rustls::ClientConfig>>,
) -> Result<Cluster, Error> {
    if let Some(kubeconfig) = &cluster.kubeconfig {
        let opened = Cluster::from_file(kubeconfig, tls).await?;
        if opened.name() != cluster.name {
            let message = format!(
                "kubeconfig {}: its `cluster-id` is `{}`, the gateway's configuration calls it `{}`",
                kubeconfig.display(),
                opened.name(),
                cluster.name
            );
            return Err(Error::new(ErrorKind::Misuse, message));
        }
        return Ok(opened);
    }
    let tls = tls.ok_or_else(|| Error::new(ErrorKind::Misuse, "`agents_tls` is missing"))?;
    let mut agents = Vec::new();
    for agent in &cluster.agents {
        let runtime = AgentRuntime::at(&agent.name, &agent.address, Arc::clone(tls))?;
        agents.push((agent.name.clone(), runtime));
    }
    Ok(Cluster::of_agents(&cluster.name, agents))
}

fn stop_on_signal(stop: CancellationToken) -> Result<(), Error> {
    let listen = |kind| {
        signal(kind).map_err(|error| {
            Error::new(ErrorKind::Unavailable, "signals cannot be heard").with_source(error)
        })
    };
    let mut terminate = listen(SignalKind::terminate())?;
    let mut interrupt = listen(SignalKind::interrupt())?;
    // Files are watched anyway; the signal that others use for that must not end us.
    let mut reload = listen(SignalKind::hangup())?;
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                _ = reload.recv() => {}
            }
        }
        stop.cancel();
    });
    Ok(())
}

/// The file of access rules that changes most.
fn source_of(files: &AccessFiles) -> String {
    match files {
        AccessFiles::Document(path) | AccessFiles::Casbin { policy: path, .. } => {
            path.display().to_string()
        }
    }
}

fn report_access(source: &str, change: &AccessChange) {
    match change {
        AccessChange::Accepted(rules) => {
            tracing::info!(source, rules, "other access rules are in force");
        }
        AccessChange::Rejected(error) => {
            let what = "access rules refused, the old ones stay in force";
            tracing::error!(source, error, "{what}");
        }
    }
}

fn report(source: &str, change: &Reload) {
    match change {
        Reload::Accepted(rules) => {
            tracing::info!(source, rules = rules.len(), "other rules are in force");
        }
        Reload::Rejected(error) => {
            tracing::error!(source, error, "rules refused, the old ones stay in force");
        }
    }
}
