//! How this machine becomes an agent of a gateway, and stays one: a certificate for an invitation,
//! and a new one before that is worthless. The private key never leaves the machine.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use http::{Method, Request, Uri};
use http_body_util::{BodyExt as _, Full};
use jiff::Timestamp;
use rustls::{
    ClientConfig, DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{
        WebPkiSupportedAlgorithms, verify_tls12_signature as verify_tls12,
        verify_tls13_signature as verify_tls13,
    },
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject as _},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::{
    Error, ErrorKind,
    identity::records,
    service::{Body, HttpEndpoint, empty},
    tls::{self, Identity, certificate_request::CertificateRequest},
};

/// What an agent has after it was enrolled. `Debug` does not show the key.
pub struct Enrolled {
    /// Its certificate, and behind it its private key, PEM: secret.
    pub identity: String,
    /// Authority that gateways' certificates towards agents are of, PEM.
    pub authority: String,
    /// Authority of the certificate that the gateway has towards everybody, PEM.
    pub gateway_authority: String,
    /// Until when the certificate is good.
    pub expires: Timestamp,
}

impl fmt::Debug for Enrolled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Enrolled")
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct Answer {
    certificate: String,
    authority: String,
    expires: Timestamp,
}

/// Becomes the agent `name` of the gateway at `url` (`https://HOST[:PORT]`), which must have a
/// certificate of the authority with this `fingerprint`.
///
/// The authority is fetched first, from whoever answers, and nothing is sent there; the token goes
/// only to a server that has proved to be of the authority with the fingerprint.
///
/// # Errors
///
/// `Misuse` for a URL, name or fingerprint that cannot be one; `Forbidden` when who answers has
/// another authority; what the gateway says.
pub async fn enrol(
    url: &str,
    fingerprint: &str,
    name: &str,
    token: &str,
) -> Result<Enrolled, Error> {
    let gateway = Gateway::parse(url)?;
    let wanted = normal(fingerprint)?;
    let request = CertificateRequest::make(name)?;
    let gateway_authority = gateway.authority(&wanted).await?;
    let trusted = authority_of(&gateway_authority)?;
    let tls = tls::client_config(&trusted, None)?;
    let wish = json!({ "name": name, "token": token, "request": request.request });
    let answer: Answer = gateway.post(tls, "/dockin/v1/agents/enrol", &wish).await?;
    // Were it for another key or not readable, the agent would not start.
    Identity::from_pem(&answer.certificate, &request.key)?;
    Ok(Enrolled {
        identity: format!("{}{}", answer.certificate, request.key),
        authority: answer.authority,
        gateway_authority,
        expires: answer.expires,
    })
}

/// Keeps the certificate of an agent good.
#[derive(Clone, Debug)]
// Exhaustive: a configuration fills it.
pub struct Renewal {
    /// Name of the agent.
    pub name: String,
    /// `https://HOST[:PORT]` of the gateway.
    pub gateway: String,
    /// Authority of the certificate that the gateway has towards everybody, PEM.
    pub gateway_authority: PathBuf,
    /// The agent's certificate and its key in one file, which is replaced in one step.
    pub identity: PathBuf,
    /// Authority of gateways, PEM; replaced when the gateway names another.
    pub authority: PathBuf,
}

/// Shortest and longest pause between two looks at the certificate.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_hours(1));

impl Renewal {
    /// Renews the certificate whenever half of its life is over, until `stop`; again and again
    /// while that fails. Who serves with the file sees that it is another one.
    pub async fn run(self, stop: CancellationToken) {
        let mut pause = Duration::ZERO;
        while stop
            .run_until_cancelled(tokio::time::sleep(pause))
            .await
            .is_some()
        {
            let looked = self.look(Timestamp::now()).await;
            pause = match looked {
                Ok(pause) => pause,
                Err(error) => {
                    let error = error.chain();
                    tracing::error!(error, "the agent's certificate is not renewed");
                    self.life().map_or(PAUSES.1, |life| life / 20)
                }
            };
            pause = pause.clamp(PAUSES.0, PAUSES.1);
        }
    }

    /// Renews it if it is time; how long until the next look.
    async fn look(&self, now: Timestamp) -> Result<Duration, Error> {
        let identity = Identity::load(&self.identity, &self.identity)?;
        let (begin, end) = identity.validity()?;
        let life = seconds(begin, end);
        if seconds(now, end) > life / 2 {
            return Ok(life / 20);
        }
        if end <= now {
            let what = format!(
                "the certificate of agent `{}` has expired at {end}: enrol it again with \
                 `dockin-opagent enrol`",
                self.name
            );
            return Err(Error::new(ErrorKind::Misuse, what));
        }
        let expires = self.renew(identity).await?;
        tracing::info!(%expires, "the agent's certificate is renewed");
        Ok(life / 20)
    }

    async fn renew(&self, identity: Identity) -> Result<Timestamp, Error> {
        let gateway = Gateway::parse(&self.gateway)?;
        let trusted = tls::certificates(&self.gateway_authority)?;
        let tls = tls::agent_client_config(&trusted, identity)?;
        let request = CertificateRequest::make(&self.name)?;
        let wish = json!({ "request": request.request });
        let answer: Answer = gateway.post(tls, "/dockin/v1/agents/renew", &wish).await?;
        Identity::from_pem(&answer.certificate, &request.key)?;
        authority_of(&answer.authority)?;
        let old = fs::read_to_string(&self.authority).unwrap_or_default();
        if old != answer.authority {
            replace(&self.authority, &answer.authority)?;
        }
        let identity = format!("{}{}", answer.certificate, request.key);
        replace(&self.identity, &identity)?;
        Ok(answer.expires)
    }

    fn life(&self) -> Option<Duration> {
        let identity = Identity::load(&self.identity, &self.identity).ok()?;
        let (begin, end) = identity.validity().ok()?;
        Some(seconds(begin, end))
    }
}

/// A gateway's address.
struct Gateway {
    host: String,
    address: String,
}

impl Gateway {
    fn parse(url: &str) -> Result<Self, Error> {
        let wrong = || {
            let what = format!("gateway `{url}` is not https://HOST or https://HOST:PORT");
            Error::new(ErrorKind::Misuse, what)
        };
        let parsed: Uri = url.parse().map_err(|_| wrong())?;
        let authority = parsed.authority().ok_or_else(wrong)?;
        let bare = parsed.path().is_empty() || parsed.path() == "/";
        if parsed.scheme_str() != Some("https") || !bare || authority.as_str().contains('@') {
            return Err(wrong());
        }
        let host = authority.host();
        let port = authority.port_u16().unwrap_or(443);
        Ok(Self {
            host: host.trim_matches(['[', ']']).to_owned(),
            address: format!("{host}:{port}"),
        })
    }

    fn endpoint(&self, tls: Arc<ClientConfig>) -> Result<HttpEndpoint, Error> {
        HttpEndpoint::new("the gateway", &self.address, &self.host, tls)
    }

    /// The certificate with the fingerprint `wanted`, PEM, from whoever answers.
    async fn authority(&self, wanted: &str) -> Result<String, Error> {
        let request = Request::get("/dockin/v1/authority").body(empty());
        let request = request.map_err(|error| {
            Error::new(ErrorKind::Misuse, "request to the gateway").with_source(error)
        })?;
        let endpoint = self.endpoint(unverified()?)?;
        let text = endpoint.connect().await?.fetch(request).await?;
        let found = CertificateDer::pem_slice_iter(&text)
            .filter_map(Result::ok)
            .find(|certificate| tls::fingerprint(certificate) == wanted);
        let Some(found) = found else {
            let what = format!(
                "who answers at {} has another authority than the one with the fingerprint \
                 {wanted}: it is not the gateway that made the invitation, or the fingerprint is \
                 wrong; nothing was sent to it",
                self.address
            );
            return Err(Error::new(ErrorKind::Forbidden, what));
        };
        Ok(pem(&found))
    }

    async fn post<T: DeserializeOwned>(
        &self,
        tls: Arc<ClientConfig>,
        path: &str,
        wish: &Value,
    ) -> Result<T, Error> {
        let body: Body = Full::from(wish.to_string())
            .map_err(|never| match never {})
            .boxed_unsync();
        let request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header("content-type", "application/json")
            .body(body)
            .map_err(|error| {
                Error::new(ErrorKind::Misuse, "request to the gateway").with_source(error)
            })?;
        let answer = self.endpoint(tls)?.connect().await?.fetch(request).await?;
        serde_json::from_slice(&answer).map_err(|_| {
            let what = "the gateway's answer has no certificate that can be read";
            Error::new(ErrorKind::Misbehaved, what)
        })
    }
}

/// A fingerprint as [`tls::fingerprint`] writes it: colons, capitals and the name of the hash are
/// a matter of taste.
fn normal(fingerprint: &str) -> Result<String, Error> {
    let lower = fingerprint.trim().to_ascii_lowercase();
    let hex = lower.strip_prefix("sha256:").unwrap_or(&lower);
    let hex: String = hex.chars().filter(|letter| *letter != ':').collect();
    if hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(format!("sha256:{hex}"));
    }
    let what = format!(
        "fingerprint `{}` is not `sha256:` and 64 hex digits: take the one that \
         `dockin-opserver agent invite` prints",
        fingerprint.escape_debug()
    );
    Err(Error::new(ErrorKind::Misuse, what))
}

fn authority_of(pem: &str) -> Result<Vec<CertificateDer<'static>>, Error> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    match all {
        Ok(all) if !all.is_empty() => Ok(all),
        _ => {
            let what = "the gateway's answer has no authority that can be read";
            Err(Error::new(ErrorKind::Misbehaved, what))
        }
    }
}

fn pem(certificate: &[u8]) -> String {
    use base64::{Engine as _, engine::general_purpose::STANDARD};

    let mut text = "-----BEGIN CERTIFICATE-----\n".to_owned();
    for (number, letter) in STANDARD.encode(certificate).chars().enumerate() {
        if number > 0 && number.is_multiple_of(64) {
            text.push('\n');
        }
        text.push(letter);
    }
    text.push_str("\n-----END CERTIFICATE-----\n");
    text
}

fn replace(path: &Path, text: &str) -> Result<(), Error> {
    records::replace(path, text.as_bytes()).map_err(|error| {
        let what = format!("`{}` cannot be replaced", path.display());
        Error::new(ErrorKind::Unavailable, what).with_source(error)
    })
}

fn seconds(from: Timestamp, to: Timestamp) -> Duration {
    let seconds = to.as_second().saturating_sub(from.as_second());
    Duration::from_secs(u64::try_from(seconds).unwrap_or_default())
}

/// A client that takes any certificate, for what is public and compared with a fingerprint.
fn unverified() -> Result<Arc<ClientConfig>, Error> {
    let provider = tls::provider();
    let anybody = Anybody(provider.signature_verification_algorithms);
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::new(ErrorKind::Misuse, "TLS versions").with_source(error))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(anybody))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

#[derive(Debug)]
struct Anybody(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12(message, certificate, signature, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13(message, certificate, signature, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use jiff::Timestamp;
    use rustls::pki_types::{CertificateDer, pem::PemObject as _};

    use super::{Gateway, normal, pem};
    use crate::tls::{self, authority::Authority};

    #[test]
    fn a_fingerprint_is_taken_as_people_write_it() {
        let hex = "ab".repeat(32);
        let wanted = format!("sha256:{hex}");
        let colons = vec!["AB"; 32].join(":");
        for written in [&hex, &wanted, &colons, &format!(" SHA256:{colons}\n")] {
            assert_eq!(normal(written).unwrap(), wanted);
        }
        for wrong in ["", "sha256:", "ab", &"zz".repeat(32), &"ab".repeat(33)] {
            assert!(normal(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_pinned_is_written_as_it_was() {
        let authority = Authority::new(Timestamp::now()).unwrap();
        let der = CertificateDer::from_pem_slice(authority.certificate().as_bytes()).unwrap();
        let again = pem(&der);
        let read = CertificateDer::from_pem_slice(again.as_bytes()).unwrap();
        assert_eq!(tls::fingerprint(&read), tls::fingerprint(&der));
    }

    #[test]
    fn a_gateway_is_reached_over_tls_only() {
        let good = Gateway::parse("https://gate.example").unwrap();
        assert_eq!(good.address, "gate.example:443");
        let address = Gateway::parse("https://[::1]:6443/").unwrap();
        assert_eq!((&*address.host, &*address.address), ("::1", "[::1]:6443"));
        for bad in [
            "http://gate",
            "gate:1",
            "https://a@gate",
            "https://gate/x",
            "",
        ] {
            assert!(Gateway::parse(bad).is_err(), "{bad}");
        }
    }
}
