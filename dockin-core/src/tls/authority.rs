//! A self-made certificate authority, so that trying Dockin needs no other one.

use std::{
    fs::{self, OpenOptions},
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    time::Duration,
};

use jiff::{Timestamp, ToSpan as _, civil::Date, tz::TimeZone};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};

use super::{agent_name, certificate_request::CertificateRequest};
use crate::{Error, ErrorKind};

/// How long an authority is good for, in years.
pub const AUTHORITY_YEARS: i16 = 10;

/// How long what it issues is good for, in years.
pub const LEAF_YEARS: i16 = 1;

/// An authority that issues server and client certificates (ECDSA P-256).
///
/// Dates are days in UTC; everything begins the day before it is made, for clocks that lag.
pub struct Authority {
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its private key, both PEM. Has no `Debug`: the key is a secret.
pub struct Issued {
    /// The certificate; public.
    pub certificate: String,
    /// The private key; secret.
    pub key: String,
}

/// A certificate that an agent has asked for.
#[derive(Clone, Debug)]
pub struct AgentCertificate {
    /// The certificate, PEM.
    pub pem: String,
    /// The same, DER.
    pub der: Vec<u8>,
    /// Until when it is good.
    pub expires: Timestamp,
}

/// By how much a clock may lag behind that of the gateway.
const LAG: Duration = Duration::from_secs(3600);

impl Authority {
    /// A new one. `now` decides its dates.
    ///
    /// # Errors
    ///
    /// `Unavailable` when the system has no randomness to give.
    pub fn new(now: Timestamp) -> Result<Self, Error> {
        let mut params = authority_params()?;
        set_dates(&mut params, now, AUTHORITY_YEARS)?;
        let key = KeyPair::generate().map_err(failed)?;
        let certificate = params.self_signed(&key).map_err(failed)?.pem();
        Ok(Self {
            certificate,
            issuer: Issuer::new(params, key),
        })
    }

    /// One that [`write`](Self::write) wrote.
    ///
    /// # Errors
    ///
    /// `Misuse` when a file cannot be read, or the key is not that of the certificate.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, Error> {
        let read = |path: &Path| {
            fs::read_to_string(path).map_err(|error| {
                Error::new(
                    ErrorKind::Misuse,
                    format!("`{}` cannot be read", path.display()),
                )
                .with_source(error)
            })
        };
        let text = read(certificate)?;
        let unfit = || {
            Error::new(
                ErrorKind::Misuse,
                format!(
                    "`{}` is not the key of `{}`",
                    key.display(),
                    certificate.display()
                ),
            )
        };
        let pair = KeyPair::from_pem(&read(key)?).map_err(|_| unfit())?;
        let der = CertificateDer::from_pem_slice(text.as_bytes()).map_err(|_| unfit())?;
        let public = rcgen::PublicKeyData::subject_public_key_info(&pair);
        if public.is_empty() || !der.windows(public.len()).any(|window| window == public) {
            return Err(unfit());
        }
        // Every authority has the same subject, so the certificate need not be taken apart.
        Ok(Self {
            certificate: text,
            issuer: Issuer::new(authority_params()?, pair),
        })
    }

    /// Its certificate, PEM.
    #[must_use]
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// Writes certificate and key (mode 0600); existing files are not touched.
    ///
    /// # Errors
    ///
    /// `Conflict` when one is there, `Unavailable` when one cannot be written.
    pub fn write(&self, certificate: &Path, key: &Path) -> Result<(), Error> {
        write_new(key, &self.issuer.key().serialize_pem(), 0o600)?;
        write_new(certificate, &self.certificate, 0o644)
    }

    /// A server's certificate for `names`, each a DNS name or an IP address; at least one.
    ///
    /// # Errors
    ///
    /// `Misuse` without a name, and for one that no certificate can have.
    pub fn server(&self, names: &[String], now: Timestamp) -> Result<Issued, Error> {
        let common_name = names
            .first()
            .ok_or_else(|| Error::new(ErrorKind::Misuse, "a server certificate needs a name"))?;
        self.issue(common_name, names, ExtendedKeyUsagePurpose::ServerAuth, now)
    }

    /// A client's certificate. `common_name` is for people, `name` is the DNS name that
    /// [`peer_names`](super::peer_names) tells.
    ///
    /// # Errors
    ///
    /// `Misuse` for a name that no certificate can have.
    pub fn client(&self, common_name: &str, name: &str, now: Timestamp) -> Result<Issued, Error> {
        self.issue(
            common_name,
            &[name.to_owned()],
            ExtendedKeyUsagePurpose::ClientAuth,
            now,
        )
    }

    /// What the agent that made `request` asks for: a certificate for exactly its name, good from
    /// an hour before `now`, for clocks that lag, or a tenth of its life, until `lifetime` after it.
    ///
    /// Everything in it is decided here; of the request only the public key is taken.
    ///
    /// # Errors
    ///
    /// `Misuse` when the clock shows an impossible date.
    pub fn agent(
        &self,
        request: &CertificateRequest,
        now: Timestamp,
        lifetime: Duration,
    ) -> Result<AgentCertificate, Error> {
        let mut params = agent_params(request.agent(), &[agent_name(request.agent())?])?;
        let second = |time: Timestamp| -> Result<u64, Error> {
            let impossible = || Error::new(ErrorKind::Misuse, "the clock shows an impossible date");
            u64::try_from(time.as_second()).map_err(|_| impossible())
        };
        let begin = second(now)?.saturating_sub(LAG.min(lifetime / 10).as_secs());
        let end = second(now)?.saturating_add(lifetime.as_secs());
        let date = |second| date_time_ymd(1970, 1, 1) + Duration::from_secs(second);
        params.not_before = date(begin);
        params.not_after = date(end);
        let certificate = params
            .signed_by(request.public_key(), &self.issuer)
            .map_err(failed)?;
        let expires = i64::try_from(end).ok().map(Timestamp::from_second);
        Ok(AgentCertificate {
            pem: certificate.pem(),
            der: certificate.der().to_vec(),
            expires: expires.and_then(Result::ok).unwrap_or(now),
        })
    }

    /// A certificate for the agent called `name` and its key, for who makes both. `also` are names
    /// and addresses that people may reach it at.
    ///
    /// # Errors
    ///
    /// `Misuse` for a name that no certificate can have.
    pub fn agent_pair(&self, name: &str, also: &[String], now: Timestamp) -> Result<Issued, Error> {
        let mut names = vec![agent_name(name)?];
        names.extend_from_slice(also);
        let mut params = agent_params(name, &names)?;
        set_dates(&mut params, now, LEAF_YEARS)?;
        self.sign(&params)
    }

    fn sign(&self, params: &CertificateParams) -> Result<Issued, Error> {
        let key = KeyPair::generate().map_err(failed)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(failed)?;
        Ok(Issued {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        })
    }

    fn issue(
        &self,
        common_name: &str,
        names: &[String],
        usage: ExtendedKeyUsagePurpose,
        now: Timestamp,
    ) -> Result<Issued, Error> {
        let mut params = CertificateParams::new(names).map_err(|error| {
            Error::new(
                ErrorKind::Misuse,
                format!("no certificate can be for `{common_name}`"),
            )
            .with_source(error)
        })?;
        params.distinguished_name = subject(common_name);
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        params.use_authority_key_identifier_extension = true;
        set_dates(&mut params, now, LEAF_YEARS)?;
        self.sign(&params)
    }
}

impl Issued {
    /// Writes certificate and key (mode 0600); existing files are not touched.
    ///
    /// # Errors
    ///
    /// `Conflict` when one is there, `Unavailable` when one cannot be written.
    pub fn write(&self, certificate: &Path, key: &Path) -> Result<(), Error> {
        write_new(key, &self.key, 0o600)?;
        write_new(certificate, &self.certificate, 0o644)
    }
}

/// An agent is a server to gateways, and a client when it renews its certificate. The name of its
/// subject is one that no person can have.
fn agent_params(agent: &str, names: &[String]) -> Result<CertificateParams, Error> {
    let mut params = CertificateParams::new(names).map_err(|error| {
        let message = format!("no certificate can be for agent `{agent}`");
        Error::new(ErrorKind::Misuse, message).with_source(error)
    })?;
    params.distinguished_name = subject(&format!("system:dockin:agent:{agent}"));
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn authority_params() -> Result<CertificateParams, Error> {
    let mut params = CertificateParams::new(Vec::<String>::new()).map_err(failed)?;
    params.distinguished_name = subject("Dockin authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn subject(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}

fn set_dates(params: &mut CertificateParams, now: Timestamp, years: i16) -> Result<(), Error> {
    let today = now.to_zoned(TimeZone::UTC).date();
    let out_of_range = |error| {
        Error::new(ErrorKind::Misuse, "the clock shows an impossible date").with_source(error)
    };
    let begin = today.checked_sub(1.day()).map_err(out_of_range)?;
    let end = today.checked_add(years.years()).map_err(out_of_range)?;
    let date = |date: Date| {
        date_time_ymd(
            date.year().into(),
            date.month().unsigned_abs(),
            date.day().unsigned_abs(),
        )
    };
    params.not_before = date(begin);
    params.not_after = date(end);
    Ok(())
}

fn write_new(path: &Path, text: &str, mode: u32) -> Result<(), Error> {
    let write = || {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    write().map_err(|error: std::io::Error| {
        let (kind, what) = match error.kind() {
            std::io::ErrorKind::AlreadyExists => (ErrorKind::Conflict, "is there already"),
            _ => (ErrorKind::Unavailable, "cannot be written"),
        };
        Error::new(kind, format!("`{}` {what}", path.display())).with_source(error)
    })
}

fn failed(error: rcgen::Error) -> Error {
    Error::new(ErrorKind::Unavailable, "the certificate cannot be made").with_source(error)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use std::{fs, os::unix::fs::PermissionsExt as _, sync::Arc};

    use jiff::Timestamp;
    use rustls::pki_types::{CertificateDer, ServerName};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio_rustls::{TlsAcceptor, TlsConnector};

    use super::{Authority, Issued};
    use crate::{
        ErrorKind,
        tls::{
            GATEWAY_NAME, Identity, agent_name, certificates, client_config, peer_names,
            server_config,
        },
    };

    fn authority() -> (Authority, Vec<CertificateDer<'static>>) {
        let authority = Authority::new(Timestamp::now()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (certificate, key) = (folder.path().join("ca.pem"), folder.path().join("ca.key"));
        authority.write(&certificate, &key).unwrap();
        (authority, certificates(&certificate).unwrap())
    }

    fn identity(issued: &Issued) -> Identity {
        Identity::from_pem(&issued.certificate, &issued.key).unwrap()
    }

    /// Shakes hands and sends a byte each way; says whether the client is the gateway.
    async fn connect(
        server: &Issued,
        client: Option<&Issued>,
        trust: &[CertificateDer<'static>],
        client_authority: &[CertificateDer<'static>],
        name: ServerName<'static>,
    ) -> Result<bool, String> {
        let server = server_config(identity(server), Some(client_authority)).unwrap();
        let client = client_config(trust, client.map(identity)).unwrap();
        let (near, far) = tokio::io::duplex(16 << 10);
        let accept = async {
            let mut stream = TlsAcceptor::from(server).accept(far).await?;
            stream.write_all(b"x").await?;
            stream.flush().await?;
            let gateway = peer_names(stream.get_ref().1)
                .iter()
                .any(|name| name == GATEWAY_NAME);
            assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
            Ok::<_, std::io::Error>(gateway)
        };
        let dial = async {
            let mut stream = TlsConnector::from(client).connect(name, near).await?;
            stream.read_u8().await
        };
        let (accepted, dialled) = tokio::join!(accept, dial);
        dialled.map_err(|error| error.to_string())?;
        accepted.map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn only_the_gateways_certificate_is_the_gateway() {
        let now = Timestamp::now();
        let (ours, root) = authority();
        let (theirs, other_root) = authority();
        let name = agent_name("node1").unwrap();
        let server = |name: &str| ServerName::try_from(name.to_owned()).unwrap();
        let agent = ours
            .server(&[name.clone(), "127.0.0.1".to_owned()], now)
            .unwrap();
        let gateway = ours.client("dockin-gateway", GATEWAY_NAME, now).unwrap();
        let person = ours
            .client(GATEWAY_NAME, "alice.dockin.internal", now)
            .unwrap();
        let stranger = theirs.client("dockin-gateway", GATEWAY_NAME, now).unwrap();
        let imposter = ours.server(&[GATEWAY_NAME.to_owned()], now).unwrap();

        for address in [server(&name), server("127.0.0.1")] {
            assert_eq!(
                connect(&agent, Some(&gateway), &root, &root, address).await,
                Ok(true)
            );
        }
        // A common name is no proof.
        assert_eq!(
            connect(&agent, Some(&person), &root, &root, server(&name)).await,
            Ok(false)
        );
        for client in [None, Some(&stranger), Some(&imposter)] {
            connect(&agent, client, &root, &root, server(&name))
                .await
                .unwrap_err();
        }
        connect(&agent, Some(&gateway), &other_root, &root, server(&name))
            .await
            .unwrap_err();
        let node2 = agent_name("node2").unwrap();
        connect(&agent, Some(&gateway), &root, &root, server(&node2))
            .await
            .unwrap_err();
        assert!(agent_name("a b").is_err());
    }

    #[tokio::test]
    async fn loaded_authority_issues_what_its_certificate_verifies() {
        let now = Timestamp::now();
        let folder = tempfile::tempdir().unwrap();
        let (certificate, key) = (folder.path().join("ca.pem"), folder.path().join("ca.key"));
        Authority::new(now)
            .unwrap()
            .write(&certificate, &key)
            .unwrap();
        assert_eq!(
            fs::metadata(&key).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let again = Authority::load(&certificate, &key).unwrap();
        assert_eq!(
            again.write(&certificate, &key).unwrap_err().kind(),
            ErrorKind::Conflict
        );

        let root = certificates(&certificate).unwrap();
        let server = again.server(&["localhost".to_owned()], now).unwrap();
        let client = again.client("dockin-gateway", GATEWAY_NAME, now).unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        assert_eq!(
            connect(&server, Some(&client), &root, &root, name).await,
            Ok(true)
        );

        fs::write(&key, &client.key).unwrap();
        let error = Authority::load(&certificate, &key).err().unwrap();
        assert!(error.message().contains("ca.key"), "{error}");
        assert!(again.server(&[], now).is_err());
        assert!(again.server(&["ä".to_owned()], now).is_err());
    }

    #[test]
    fn files_without_what_they_should_have_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("server.pem");
        for text in [
            None,
            Some(""),
            Some("-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n"),
        ] {
            if let Some(text) = text {
                fs::write(&path, text).unwrap();
            }
            let error = certificates(&path).unwrap_err();
            assert!(error.message().contains("server.pem"), "{error}");
        }
        let error = Identity::load(&path, &folder.path().join("server.key")).unwrap_err();
        assert!(error.message().contains("server.key"), "{error}");
        let ours = Authority::new(Timestamp::now()).unwrap();
        let one = ours.server(&["a".to_owned()], Timestamp::now()).unwrap();
        let two = ours.server(&["a".to_owned()], Timestamp::now()).unwrap();
        let mixed = Identity::from_pem(&one.certificate, &two.key).unwrap();
        assert!(server_config(mixed, None).is_err());
        let _: Arc<_> = server_config(identity(&one), None).unwrap();
    }
}
