use std::sync::Arc;

use dockin_core::{
    Error, ErrorKind,
    access::Authorizer,
    access_policy::{AccessChange, AccessPolicy},
    audit::{AuditSink, BestEffort, FileSink},
    gateway::{Cluster, ClusterFolder, Gateway, OpsDoor},
    policy::Reload,
    recording::RecordingStore,
    runtime::agent::{AgentRuntime, AgentsTls},
    service,
};
use dockin_policy::io::access_file::AccessFiles;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};
use tokio_util::sync::CancellationToken;

use crate::{
    config::{self, Age, Config, Mode},
    door::Door,
    people::{People, people},
    resource_manager, store,
};

/// Builds the gateway that `config` describes and serves until SIGTERM or SIGINT.
pub(crate) async fn serve(config: Config) -> Result<(), Error> {
    service::raise_open_files();
    let stop = CancellationToken::new();
    let (changes, mut changed) = mpsc::unbounded_channel();
    let shared = store::reach(&config).await?;
    let (rules, source) = store::rules(&config, shared.as_ref(), &stop, changes).await?;
    let People {
        authenticator,
        logins,
        cluster_accounts,
    } = people(&config, shared.as_ref()).await?;
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
    for accounts in cluster_accounts {
        builder = builder.cluster_accounts(accounts);
    }
    builder = builder.connections(config.connections.limits());
    if let Some(domain) = &config.cluster_domain {
        builder = builder.cluster_domain(domain);
    }
    if let Some(files) = &config.tls {
        builder = builder.authority(files.authority.clone());
    }
    let door = Door::new(&config, shared.as_ref(), stop.clone()).await?;
    if let Some(enrolment) = door.enrolment(&config)? {
        builder = builder.enrolment(enrolment);
    }
    let to_agents = door.to_agents(&config)?;
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
    let manager = config.resource_manager.as_ref();
    let manager = manager.map(resource_manager::Service::new).transpose()?;
    let manager = manager.map(Arc::new);
    let own_port = config.resource_manager.as_ref().and_then(|it| it.listen);
    let plugins = manager.clone().filter(|_| own_port.is_none());
    if let Some(plugins) = plugins.clone() {
        builder = builder.beside(plugins);
    }
    builder = store::share(builder, &config, shared, &stop).await;
    let gateway = Arc::new(builder.ask_shells(config.ask_shells).build()?);
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
    let transport = door.transport(&config, &listener, plugins)?;
    if let (Some(manager), Some(wanted)) = (manager, &config.resource_manager) {
        manager.tell(&gateway);
        if let Some(address) = own_port {
            let secured = door.to_plugins(config.tls_files()?, wanted, &manager)?;
            manager.listen(address, secured, stop.clone()).await?;
        }
    }
    door.tell(Arc::clone(&gateway));
    stop_on_signal(stop.clone())?;
    let told = Arc::clone(&gateway);
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
    let scheme = config.tls.as_ref().map_or("http", |_| "https");
    eprintln!("listening on {scheme}://{address}");
    gateway.serve(listener, transport, stop).await;
    Ok(())
}

async fn open(cluster: &config::Cluster, tls: Option<&AgentsTls>) -> Result<Cluster, Error> {
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
        let runtime = AgentRuntime::at(&agent.name, &agent.address, tls.clone())?;
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
