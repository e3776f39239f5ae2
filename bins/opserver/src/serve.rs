use std::sync::Arc;

use dockin_core::{
    Error, ErrorKind,
    access::Authorizer,
    access_policy::{AccessChange, AccessPolicy},
    audit::{AuditSink, BestEffort, FileSink},
    gateway::{Cluster, Gateway},
    identity::TokenFile,
    policy::{Reload, Rules},
    recording::RecordingStore,
    runtime::{agent::AgentRuntime, kube::KubeCluster},
    service::HttpEndpoint,
    tls::{self, Identity},
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
    let authenticator = Arc::new(TokenFile::load(&config.tokens)?);
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
    for cluster in &config.clusters {
        builder = builder.cluster(open(cluster, config.agents_tls.as_ref()).await?);
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
    let gateway = Arc::new(builder.ask_shells(config.ask_shells).build()?);
    let identity = Identity::load(&config.tls.certificate, &config.tls.key)?;
    if let Some(wanted) = &config.resource_manager {
        let identity = Identity::load(&config.tls.certificate, &config.tls.key)?;
        resource_manager::start(wanted, identity, stop.clone()).await?;
    }
    let server_tls = tls::server_config(identity, None)?;
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
    eprintln!("listening on https://{address}");
    gateway.serve(listener, server_tls, stop).await;
    Ok(())
}

async fn open(cluster: &config::Cluster, tls: Option<&TlsFiles>) -> Result<Cluster, Error> {
    if let Some(kubeconfig) = &cluster.kubeconfig {
        let kube = KubeCluster::from_kubeconfig(&cluster.name, kubeconfig).await?;
        return Ok(Cluster::of_kube(&cluster.name, kube));
    }
    let files = tls.ok_or_else(|| Error::new(ErrorKind::Misuse, "`agents_tls` is missing"))?;
    let identity = Identity::load(&files.certificate, &files.key)?;
    let authority = tls::certificates(&files.authority)?;
    let client_tls = Arc::new(tls::client_config(&authority, Some(identity))?);
    let mut agents = Vec::new();
    for agent in &cluster.agents {
        let endpoint = HttpEndpoint::new(
            format!("agent {}", agent.name),
            &agent.address,
            &tls::agent_name(&agent.name)?,
            Arc::clone(&client_tls),
        )?;
        agents.push((agent.name.clone(), AgentRuntime::new(endpoint)));
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
