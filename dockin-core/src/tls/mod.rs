//! TLS on both sides of gateway and agent: rustls with aws-lc-rs, TLS 1.3 and 1.2.
//!
//! Between gateway and agent both sides show a certificate of the same authority. Which of its
//! certificates may do what is decided by the names inside, which are not of this world's DNS:
//! the gateway's client certificate has [`GATEWAY_NAME`], the agent `node1` has
//! `node1.agent.dockin.internal` ([`agent_name`]), whatever address it is reached at. Names are
//! read by webpki, as a server's are; common names are for people.
//!
//! HTTP/2 is offered to the gateway's clients alone: the upgrades to WebSocket and SPDY are
//! HTTP/1.1's.

#[cfg(feature = "authority")]
pub mod authority;
#[cfg(feature = "authority")]
pub mod certificate_request;
mod client_authority;
mod ending;
mod live;

use std::{path::Path, sync::Arc};

pub use client_authority::ClientAuthority;
use rustls::{
    CipherSuite, ClientConfig, RootCertStore, ServerConfig, SupportedCipherSuite,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, DnsName, PrivateKeyDer, pem::PemObject as _},
    server::{ServerConnection, WebPkiClientVerifier},
};
use sha2::{Digest as _, Sha256};
use webpki::EndEntityCert;

#[cfg(feature = "gateway")]
pub(crate) use self::live::validity;
pub use self::{
    ending::warn_before_end,
    live::{Live, TlsChange, follow},
};
use crate::{Error, ErrorKind, hex::hex, identity::CertificateSubject};

/// The name in the certificate that a gateway shows to agents.
pub const GATEWAY_NAME: &str = "gateway.dockin.internal";

/// What an agent offers in the handshake (ALPN) when it speaks to a gateway as an agent: its
/// client certificate is then checked by the agents' authority, never by that of people.
pub const AGENT_PROTOCOL: &[u8] = b"dockin-agent/1";

/// What the names in agents' certificates end in.
const AGENTS: &str = ".agent.dockin.internal";

/// The name in the certificate of the agent called `name`: the server name of a handshake with it.
///
/// # Errors
///
/// `Misuse` when `name` cannot be part of a DNS name.
pub fn agent_name(name: &str) -> Result<String, Error> {
    let full = format!("{name}{AGENTS}");
    match DnsName::try_from(full.as_str()) {
        Ok(_) => Ok(full),
        Err(error) => Err(Error::new(
            ErrorKind::Misuse,
            format!(
                "agent name `{}` cannot be in a DNS name",
                name.escape_debug()
            ),
        )
        .with_source(error)),
    }
}

/// The agent whose certificate has the name `full`, the other way round than [`agent_name`].
#[must_use]
pub fn agent_of(full: &str) -> Option<&str> {
    full.strip_suffix(AGENTS).filter(|name| !name.is_empty())
}

/// SHA-256 of a certificate (DER) as `sha256:` and lower-case hex, by which people compare them.
#[must_use]
pub fn fingerprint(certificate: &[u8]) -> String {
    format!("sha256:{}", hex(&Sha256::digest(certificate)))
}

/// Makes aws-lc-rs the process's default, for libraries that ask for it. First thing in `main`.
///
/// The configurations made here do not need it. A default that is there already stays.
pub fn install_default() {
    // The error only says that somebody was faster.
    let _ = aws_lc_rs::default_provider().install_default();
}

/// A certificate chain and its private key. `Debug` does not show the key.
#[derive(Debug)]
pub struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Identity {
    /// Reads PEM files: the certificate first in `chain`, then what leads to the authority.
    ///
    /// # Errors
    ///
    /// `Misuse` when one cannot be read or has nothing of the kind in it, naming the file.
    pub fn load(chain: &Path, key: &Path) -> Result<Self, Error> {
        let private = PrivateKeyDer::from_pem_file(key)
            .map_err(|error| unreadable(key, "private key").with_source(error))?;
        Ok(Self {
            chain: certificates(chain)?,
            key: private,
        })
    }

    /// Reads PEM texts as [`load`](Self::load) reads files.
    ///
    /// # Errors
    ///
    /// `Misuse` when one has nothing of the kind in it.
    pub fn from_pem(chain: &str, key: &str) -> Result<Self, Error> {
        let bad = |what| {
            Error::new(
                ErrorKind::Misuse,
                format!("there is no {what} in the PEM text"),
            )
        };
        let chain: Vec<_> = CertificateDer::pem_slice_iter(chain.as_bytes())
            .collect::<Result<_, _>>()
            .map_err(|error| bad("certificate").with_source(error))?;
        if chain.is_empty() {
            return Err(bad("certificate"));
        }
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes())
            .map_err(|error| bad("private key").with_source(error))?;
        Ok(Self { chain, key })
    }
}

/// Reads every certificate of the PEM file at `path`; at least one.
///
/// # Errors
///
/// `Misuse` when it cannot be read or has none, naming the file.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let read = || CertificateDer::pem_file_iter(path)?.collect::<Result<Vec<_>, _>>();
    let found = read().map_err(|error| unreadable(path, "certificate").with_source(error))?;
    if found.is_empty() {
        Err(unreadable(path, "certificate"))
    } else {
        Ok(found)
    }
}

/// Which clients a server lets in.
#[derive(Clone, Copy, Debug)]
// Exhaustive: there is no fourth.
pub enum ClientCheck<'a> {
    /// All; certificates are not asked for.
    None,
    /// All; who shows a certificate shows one of this authority.
    Offered(&'a [CertificateDer<'static>]),
    /// Those with a certificate of this authority.
    Required(&'a [CertificateDer<'static>]),
}

/// A server's side. With `client_authority` only clients with a certificate of it get in.
///
/// # Errors
///
/// `Misuse` when key and certificate do not fit, or the authority's certificate is none.
pub fn server_config(
    identity: Identity,
    client_authority: Option<&[CertificateDer<'static>]>,
) -> Result<Arc<ServerConfig>, Error> {
    let check = client_authority.map_or(ClientCheck::None, ClientCheck::Required);
    server_config_for(identity, check)
}

/// A server's side that lets in whom `check` says.
///
/// # Errors
///
/// As [`server_config`].
pub fn server_config_for(
    identity: Identity,
    check: ClientCheck<'_>,
) -> Result<Arc<ServerConfig>, Error> {
    let provider = provider();
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| unfit("server", error))?;
    let verifier = |authority: &[CertificateDer<'static>]| {
        let roots = Arc::new(roots(authority)?);
        Ok::<_, Error>(WebPkiClientVerifier::builder_with_provider(roots, provider))
    };
    let verifier = match check {
        ClientCheck::None => None,
        ClientCheck::Required(authority) => Some(verifier(authority)?),
        ClientCheck::Offered(authority) => Some(verifier(authority)?.allow_unauthenticated()),
    };
    let builder = match verifier {
        None => builder.with_no_client_auth(),
        Some(verifier) => {
            let verifier = verifier
                .build()
                .map_err(|error| unfit("authority", error))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder
        .with_single_cert(identity.chain, identity.key)
        .map_err(|error| unfit("server", error))?;
    config.alpn_protocols = vec![HTTP_1_1.to_vec()];
    Ok(Arc::new(config))
}

/// The same side of a server that also speaks HTTP/2, which is for requests that are no upgrade:
/// clients ask for HTTP/1.1 when they mean to switch protocols.
#[cfg(feature = "gateway")]
#[must_use]
pub fn with_http2(config: &ServerConfig) -> Arc<ServerConfig> {
    let mut config = config.clone();
    config.alpn_protocols.insert(0, HTTP_2.to_vec());
    Arc::new(config)
}

/// A client's side, which trusts servers with a certificate of `authority` and nobody else.
///
/// # Errors
///
/// `Misuse` when key and certificate do not fit, or the authority's certificate is none.
pub fn client_config(
    authority: &[CertificateDer<'static>],
    identity: Option<Identity>,
) -> Result<Arc<ClientConfig>, Error> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| unfit("client", error))?
        .with_root_certificates(roots(authority)?);
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some(identity) => builder
            .with_client_auth_cert(identity.chain, identity.key)
            .map_err(|error| unfit("client", error))?,
    };
    config.alpn_protocols = vec![HTTP_1_1.to_vec()];
    Ok(Arc::new(config))
}

/// The DNS names in the client certificate of a connection, such as [`GATEWAY_NAME`]; none without
/// a certificate.
///
/// The handshake has checked its authority, dates and key. Names are those of the subject
/// alternative name extension, as they are: a wildcard is no name, a common name does not count.
#[must_use]
pub fn peer_names(connection: &ServerConnection) -> Vec<String> {
    let certificate = connection.peer_certificates().and_then(<[_]>::first);
    let parsed = certificate.and_then(|certificate| EndEntityCert::try_from(certificate).ok());
    match parsed {
        Some(certificate) => certificate.valid_dns_names().map(str::to_owned).collect(),
        None => Vec::new(),
    }
}

/// Whom the client certificate of a connection is for; nothing without a certificate, and for one
/// whose subject cannot be read or names two.
#[must_use]
pub fn peer_subject(connection: &ServerConnection) -> Option<CertificateSubject> {
    let certificate = connection.peer_certificates().and_then(<[_]>::first)?;
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let subject = parsed.subject();
    let mut names = subject.iter_common_name().map(|name| name.as_str().ok());
    let (Some(common_name), None) = (names.next(), names.next()) else {
        return None;
    };
    let organizations = subject.iter_organization().map(|name| name.as_str().ok());
    Some(CertificateSubject {
        common_name: common_name?.to_owned(),
        organizations: organizations
            .map(|name| name.map(str::to_owned))
            .collect::<Option<_>>()?,
    })
}

/// A server's side for agents with a certificate of `authority`, who come by [`AGENT_PROTOCOL`].
///
/// # Errors
///
/// As [`server_config`].
#[cfg(feature = "gateway")]
pub fn agents_server_config(
    identity: Identity,
    authority: &[CertificateDer<'static>],
) -> Result<Arc<ServerConfig>, Error> {
    let mut config = (*server_config(identity, Some(authority))?).clone();
    config.alpn_protocols = vec![AGENT_PROTOCOL.to_vec()];
    Ok(Arc::new(config))
}

/// An agent's side towards a gateway, by [`AGENT_PROTOCOL`].
///
/// # Errors
///
/// As [`client_config`].
#[cfg(feature = "agent")]
pub fn agent_client_config(
    authority: &[CertificateDer<'static>],
    identity: Identity,
) -> Result<Arc<ClientConfig>, Error> {
    let mut config = (*client_config(authority, Some(identity))?).clone();
    config.alpn_protocols = vec![AGENT_PROTOCOL.to_vec()];
    Ok(Arc::new(config))
}

const HTTP_1_1: &[u8] = b"http/1.1";
/// HTTP/2 in a handshake.
#[cfg(feature = "gateway")]
pub(crate) const HTTP_2: &[u8] = b"h2";

pub(crate) fn provider() -> Arc<CryptoProvider> {
    let mut provider = aws_lc_rs::default_provider();
    // AES with 128 bits first, as Go has it: streams cost a quarter less, and nobody breaks it.
    let first =
        |suite: &SupportedCipherSuite| suite.suite() != CipherSuite::TLS13_AES_128_GCM_SHA256;
    provider.cipher_suites.sort_by_key(first);
    Arc::new(provider)
}

fn roots(authority: &[CertificateDer<'static>]) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in authority {
        roots
            .add(certificate.clone())
            .map_err(|error| unfit("authority", error))?;
    }
    Ok(roots)
}

fn unreadable(path: &Path, what: &str) -> Error {
    Error::new(
        ErrorKind::Misuse,
        format!("`{}` has no readable {what} (PEM)", path.display()),
    )
}

fn unfit(whose: &str, error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(
        ErrorKind::Misuse,
        format!("the {whose} certificate or key cannot be used"),
    )
    .with_source(error)
}
