//! How machines become agents, and how agents stay such: certificates for invitations, and new
//! ones for old ones.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use http::{Method, Request, Response};
use hyper::body::Incoming;
use jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use serde::Deserialize;
use serde_json::json;

use super::{Gateway, login::body};
use crate::{
    Error, ErrorKind,
    identity::{AgentList, CertificateRecord},
    rate::Rates,
    service::{self, Body, Peer},
    tls::{
        agent_of,
        authority::{AgentCertificate, Authority},
        certificate_request::CertificateRequest,
    },
};

/// Where certificates of agents come from.
#[derive(Clone, Debug)]
// Exhaustive: a configuration fills it.
pub struct EnrolmentOptions {
    /// Who is an agent, and who may become one.
    pub agents: Arc<AgentList>,
    /// The agents' authority, PEM. It is read for each certificate.
    pub certificate: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
    /// How long a certificate is good: ten seconds to a year. Agents renew it at half of that.
    pub lifetime: Duration,
}

/// Gives certificates to agents.
#[derive(Debug)]
pub struct Enrolment {
    options: EnrolmentOptions,
    /// Attempts of an address, renewals of an agent.
    rates: Mutex<Rates>,
}

/// Attempts of one address at once, and a second in the long run.
const RATE: (f64, f64) = (20.0, 1.0);
const YEAR: Duration = Duration::from_secs(366 * 86_400);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    name: String,
    token: String,
    request: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Renewal {
    request: String,
}

impl Enrolment {
    /// Makes it, and sees whether authority and key fit.
    ///
    /// # Errors
    ///
    /// `Misuse` when they do not, or the lifetime is out of bounds.
    pub fn new(options: EnrolmentOptions) -> Result<Self, Error> {
        if !(Duration::from_secs(10)..=YEAR).contains(&options.lifetime) {
            let what = "the lifetime of agents' certificates must be 10 s to a year";
            return Err(Error::new(ErrorKind::Misuse, what));
        }
        Authority::load(&options.certificate, &options.key)?;
        let rates = Mutex::new(Rates::new(RATE.1, RATE.0));
        Ok(Self { options, rates })
    }

    fn count(&self, key: &str) -> Result<(), Error> {
        let mut rates = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
        rates.take(key, Instant::now()).map_err(|wait| {
            let what = "too many certificates are asked for; wait";
            Error::new(ErrorKind::Exhausted, what).with_retry_after(wait)
        })
    }

    /// What makes the certificate for the request `pem` of agent `name`, once it is known that it
    /// may have one.
    fn issuer(
        &self,
        name: &str,
        pem: String,
        now: Timestamp,
    ) -> impl FnOnce() -> Result<(CertificateRecord, Certified), Error> + Send + 'static {
        let (options, name) = (self.options.clone(), name.to_owned());
        move || {
            let request = CertificateRequest::read(&pem, &name)?;
            let authority = Authority::load(&options.certificate, &options.key)?;
            let certificate = authority.agent(&request, now, options.lifetime)?;
            let record = CertificateRecord::new(&certificate.der, certificate.expires);
            let authority = authority.certificate().to_owned();
            Ok((
                record,
                Certified {
                    certificate,
                    authority,
                },
            ))
        }
    }
}

/// A certificate, and the authority that it is of.
struct Certified {
    certificate: AgentCertificate,
    authority: String,
}

impl Certified {
    fn answer(&self) -> Response<Body> {
        service::json(&json!({
            "certificate": self.certificate.pem,
            "authority": self.authority,
            "expires": self.certificate.expires.to_string(),
        }))
    }
}

impl Gateway {
    /// A certificate for who shows an invitation.
    pub(super) async fn enrol(
        &self,
        peer: &Peer,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Error> {
        let enrolment = self.enrolment()?;
        let address = peer.address.ip().to_canonical().to_string();
        enrolment.count(&address)?;
        let shape = "{ \"name\": …, \"token\": …, \"request\": PEM }";
        let wish: Wish = body(request, shape).await?;
        let now = Timestamp::now();
        let issue = enrolment.issuer(&wish.name, wish.request, now);
        let agents = &enrolment.options.agents;
        let certified = match agents.enrol(&wish.token, &wish.name, now, issue).await {
            Ok(certified) => certified,
            Err(error) => {
                let name = wish.name.escape_debug();
                let what = format!("agent `{name}` not enrolled: {}", error.message());
                let told = Error::new(error.kind(), what);
                self.auditor.login_failed(peer.address, &told).await?;
                return Err(error);
            }
        };
        let (name, expires) = (&wish.name, certified.certificate.expires);
        tracing::info!(agent = name, %expires, "agent enrolled");
        let change = format!("agent `{name}` enrolled: certificate good until {expires}");
        self.auditor.agent_certified(peer.address, change).await?;
        Ok(certified.answer())
    }

    /// Answers an agent, which has shown the certificate that it has: it may have a new one.
    pub(super) async fn to_agent(
        &self,
        peer: &Peer,
        shown: &CertificateDer<'static>,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Error> {
        let enrolment = self.enrolment()?;
        if (request.method(), request.uri().path()) != (&Method::POST, "/dockin/v1/agents/renew") {
            let what = "agents may renew their certificates here, and nothing else";
            return Err(Error::new(ErrorKind::Forbidden, what));
        }
        let mut names = peer
            .certificate_names
            .iter()
            .filter_map(|one| agent_of(one));
        let (Some(name), None) = (names.next(), names.next()) else {
            let what = "the certificate is not that of one agent";
            return Err(Error::new(ErrorKind::Forbidden, what));
        };
        enrolment.count(&format!("agent {name}"))?;
        let wish: Renewal = body(request, "{ \"request\": PEM }").await?;
        let now = Timestamp::now();
        let issue = enrolment.issuer(name, wish.request, now);
        let agents = &enrolment.options.agents;
        let certified = match agents.renew(name, shown, now, issue).await {
            Ok(certified) => certified,
            Err(error) => {
                self.auditor.login_failed(peer.address, &error).await?;
                return Err(error);
            }
        };
        peer.connection.proved(&format!("agent {name}"))?;
        let expires = certified.certificate.expires;
        tracing::info!(agent = name, %expires, "agent's certificate renewed");
        let change = format!("agent `{name}` renewed its certificate: good until {expires}");
        self.auditor.agent_certified(peer.address, change).await?;
        Ok(certified.answer())
    }

    fn enrolment(&self) -> Result<&Enrolment, Error> {
        self.enrolment.as_ref().ok_or_else(|| {
            let what = "this gateway enrols no agents: its configuration has no `enrolment`";
            Error::new(ErrorKind::NotFound, what)
        })
    }
}
