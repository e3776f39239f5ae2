use std::{process::ExitCode, sync::Arc, time::Duration};

use dockin_core::{
    Error, ErrorKind,
    agent::Agent,
    reaper::{self, Reaper, ReaperOptions},
    runtime::docker::{self, DockerOptions, DockerRuntime, ExecPath},
};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;

use crate::{
    Internal,
    config::{Config, Exec},
    door,
};

/// How long the last sessions' processes may take to end: what sessions promise.
const LAST_ENDS: Duration = Duration::from_secs(5);

/// Builds the agent that `config` describes and serves until SIGTERM or SIGINT.
pub(crate) async fn serve(config: Config) -> Result<(), Error> {
    let stop = CancellationToken::new();
    let server_tls = door::open(&config, &stop)?;
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
    if config.docker.exec == Exec::Direct {
        docker::adopt_orphans().map_err(|error| {
            Error::new(ErrorKind::Unavailable, "orphans cannot be adopted").with_source(error)
        })?;
    }
    let reaper = Reaper::new(ReaperOptions::new(&config.name));
    clean_up(&reaper).await?;
    let runtime = DockerRuntime::connect(DockerOptions {
        host: Some(config.docker.host),
        node: config.name.clone(),
        reaper: Arc::clone(&reaper),
        exec: match config.docker.exec {
            Exec::Direct => ExecPath::Direct,
            Exec::Daemon => ExecPath::Daemon,
        },
    })
    .await?;
    stop_on_signal(stop.clone())?;
    eprintln!("listening on https://{address}");
    Agent::new(config.name, Arc::new(runtime))
        .serve(listener, server_tls, stop)
        .await;
    if !reaper.wait_idle(LAST_ENDS) {
        tracing::error!("processes of the last sessions are still there");
    }
    Ok(())
}

/// Ends what an earlier run left behind, and starts the guardian that does so for this one.
async fn clean_up(reaper: &Arc<Reaper>) -> Result<(), Error> {
    let failed = |what: &str| Error::new(ErrorKind::Unavailable, what.to_owned());
    let sweeper = Arc::clone(reaper);
    let left = tokio::task::spawn_blocking(move || sweeper.sweep())
        .await
        .map_err(|error| failed("leftovers cannot be looked for").with_source(error))?;
    if left > 0 {
        tracing::warn!(left, "processes of an earlier run could not be ended");
    }
    let program = std::env::current_exe()
        .map_err(|error| failed("the agent's own program has no path").with_source(error))?;
    reaper
        .spawn_guardian(&program)
        .map_err(|error| failed("the guardian does not start").with_source(error))
}

fn stop_on_signal(stop: CancellationToken) -> Result<(), Error> {
    let listen = |kind| {
        signal(kind).map_err(|error| {
            Error::new(ErrorKind::Unavailable, "signals cannot be heard").with_source(error)
        })
    };
    let mut terminate = listen(SignalKind::terminate())?;
    let mut interrupt = listen(SignalKind::interrupt())?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stop.cancel();
    });
    Ok(())
}

/// Runs one of the processes that the agent starts itself as.
pub(crate) fn internal(which: Internal) -> ExitCode {
    match which {
        Internal::Guardian { agent } => ExitCode::from(reaper::guardian_main(&agent)),
    }
}
