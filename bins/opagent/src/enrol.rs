//! `dockin-opagent enrol`: this machine becomes an agent.

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::{Read as _, Write as _},
    net::SocketAddr,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use clap::Args;
use dockin_core::{Error, ErrorKind, agent::enrolment};

/// How a machine becomes an agent.
#[derive(Args)]
pub(crate) struct Enrol {
    /// The gateway, as https://HOST:PORT.
    #[arg(long, value_name = "URL")]
    gateway: String,
    /// Name of the agent, as it was invited.
    #[arg(long, value_name = "NAME")]
    name: String,
    /// File with the token that `dockin-opserver agent invite` printed; - reads standard input.
    #[arg(long, value_name = "FILE")]
    token_file: PathBuf,
    /// Fingerprint of the gateway's authority, which the same printed.
    #[arg(long, value_name = "sha256:HEX")]
    ca_fingerprint: String,
    /// Directory for configuration, certificate and key; must be new, or one that this made.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Address to serve.
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:10250")]
    listen: SocketAddr,
}

/// Longest token file worth reading.
const MAX_TOKEN: u64 = 4096;

/// Makes the key here, gets a certificate for it, and writes what the agent needs.
///
/// # Errors
///
/// What the gateway says; `Unavailable` when a file cannot be written.
pub(crate) async fn enrol(wanted: &Enrol) -> Result<(), Error> {
    let token = token(&wanted.token_file)?;
    let data = &wanted.data;
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(data)
        .map_err(|error| unwritable(data, error))?;
    let fingerprint = &wanted.ca_fingerprint;
    let made = enrolment::enrol(&wanted.gateway, fingerprint, &wanted.name, token.trim()).await?;
    write(&data.join("gateway-ca.pem"), &made.gateway_authority)?;
    write(&data.join("ca.pem"), &made.authority)?;
    write(&data.join("identity.pem"), &made.identity)?;
    let config = data.join("opagent.yaml");
    if !config.exists() {
        write(&config, &configuration(wanted))?;
    }
    eprintln!(
        "agent `{}` is enrolled until {}, and renews that itself; next:\n  dockin-opagent --config {}",
        wanted.name,
        made.expires,
        config.display()
    );
    Ok(())
}

fn configuration(wanted: &Enrol) -> String {
    // Names are those of DNS, the URL was spoken to, and an address is one.
    format!(
        r#"# Paths are relative to this file.
name: "{}"
listen: "{}"
tls: {{ certificate: identity.pem, key: identity.pem, authority: ca.pem }}
enrolment: {{ gateway: "{}", authority: gateway-ca.pem }}
docker: {{ host: "unix:///var/run/docker.sock" }}
"#,
        wanted.name, wanted.listen, wanted.gateway
    )
}

fn token(path: &Path) -> Result<String, Error> {
    let mut text = String::new();
    let read = match path == Path::new("-") {
        true => std::io::stdin().take(MAX_TOKEN).read_to_string(&mut text),
        false => {
            fs::File::open(path).and_then(|file| file.take(MAX_TOKEN).read_to_string(&mut text))
        }
    };
    read.map_err(|error| {
        let what = format!("token file `{}` cannot be read", path.display());
        Error::new(ErrorKind::Misuse, what).with_source(error)
    })?;
    if text.trim().is_empty() {
        let what = format!("token file `{}` is empty", path.display());
        return Err(Error::new(ErrorKind::Misuse, what));
    }
    Ok(text)
}

/// Writes a file that only its owner can read, in one step.
fn write(path: &Path, text: &str) -> Result<(), Error> {
    let fresh = path.with_extension("new");
    let written = || {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&fresh)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&fresh, path)
    };
    written().map_err(|error| unwritable(path, error))
}

fn unwritable(path: &Path, error: std::io::Error) -> Error {
    let what = format!("`{}` cannot be made", path.display());
    Error::new(ErrorKind::Unavailable, what).with_source(error)
}
