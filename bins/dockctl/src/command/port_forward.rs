use std::{net::IpAddr, process::ExitCode};

use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

use super::streams::signalled;
use crate::{
    failure::Failure,
    forward::{Forwarder, PortPair},
    target::Target,
};

/// Ports of a pod to have on this machine.
#[derive(Debug)]
pub(crate) struct PortForward {
    pub(crate) target: Target,
    /// Where to listen.
    pub(crate) address: IpAddr,
    /// Never empty.
    pub(crate) ports: Vec<PortPair>,
}

/// Forwards until interrupted or until the connection to the gateway ends.
pub(crate) async fn run(forward: PortForward) -> Result<ExitCode, Failure> {
    let mut listeners = Vec::new();
    let mut lines = Vec::new();
    for pair in &forward.ports {
        let listener = TcpListener::bind((forward.address, pair.local))
            .await
            .map_err(|error| {
                Failure::local(format!(
                    "cannot listen on {} port {}: {error}",
                    forward.address, pair.local
                ))
            })?;
        let address = listener
            .local_addr()
            .map_err(|error| Failure::local(format!("cannot listen: {error}")))?;
        lines.push(format!("Forwarding from {address} -> {}", pair.remote));
        listeners.push((listener, pair.remote));
    }
    let path = forward.target.path(Some("portforward"));
    let upgraded = forward.target.client()?.spdy_ports(&path).await?;
    let await_signal = |kind: SignalKind| {
        signal(kind).map_err(|error| Failure::local(format!("cannot await signals: {error}")))
    };
    let mut interrupt = await_signal(SignalKind::interrupt())?;
    let mut terminate = await_signal(SignalKind::terminate())?;
    for line in lines {
        println!("{line}");
    }
    let mut forwarder = Forwarder::new(upgraded.wire, upgraded.early, listeners);
    let number = tokio::select! {
        failure = forwarder.run() => return Err(failure),
        _ = interrupt.recv() => SignalKind::interrupt().as_raw_value(),
        _ = terminate.recv() => SignalKind::terminate().as_raw_value(),
    };
    forwarder.finish().await;
    Ok(ExitCode::from(signalled(number)))
}
