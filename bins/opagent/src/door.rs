//! What secures the connections of gateways, followed while the agent serves.

use std::sync::Arc;

use dockin_core::{
    Error,
    agent::enrolment::Renewal,
    tls::{self, Identity, Live, TlsChange},
};
use jiff::Timestamp;
use rustls::ServerConfig;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, TlsFiles};

/// The agent's side of TLS, which follows its files until `stop`; and its renewal, when it was
/// enrolled.
///
/// # Errors
///
/// `Misuse` when a file cannot be used.
pub(crate) fn open(config: &Config, stop: &CancellationToken) -> Result<Live<ServerConfig>, Error> {
    let files = &config.tls;
    let live = Live::from(server(files)?);
    let (kept, own) = (live.clone(), files.clone());
    let remake = move || {
        Identity::load(&own.certificate, &own.key)?.unexpired(Timestamp::now())?;
        kept.replace(server(&own)?);
        Ok(())
    };
    let source = files.certificate.display().to_string();
    let told = move |change| match change {
        TlsChange::Accepted => tracing::info!(source, "another certificate is in force"),
        TlsChange::Rejected(error) => {
            let what = "certificate refused, the old one stays in force";
            tracing::error!(source, error, "{what}");
        }
    };
    let mut paths = vec![files.certificate.clone(), files.authority.clone()];
    if files.key != files.certificate {
        paths.push(files.key.clone());
    }
    tls::follow(paths, stop.clone(), remake, told);
    if let Some(enrolment) = &config.enrolment {
        let renewal = Renewal {
            name: config.name.clone(),
            gateway: enrolment.gateway.clone(),
            gateway_authority: enrolment.authority.clone(),
            identity: files.certificate.clone(),
            authority: files.authority.clone(),
        };
        tokio::spawn(renewal.run(stop.clone()));
    } else {
        let name = &config.name;
        let remedy = format!(
            "add `enrolment: {{ gateway: \"https://HOST:PORT\", authority: gateway-ca.pem }}` to \
             the agent's configuration, or invite it anew with `dockin-opserver agent invite \
             {name}` and `dockin-opagent enrol`"
        );
        tls::warn_before_end(files.certificate.clone(), remedy, stop.clone());
    }
    Ok(live)
}

fn server(files: &TlsFiles) -> Result<Arc<ServerConfig>, Error> {
    let identity = Identity::load(&files.certificate, &files.key)?;
    let authority = tls::certificates(&files.authority)?;
    tls::server_config(identity, Some(&authority))
}
