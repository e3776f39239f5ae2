//! Who may ask the resource manager: plugins with a certificate, the token, or both.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use dockin_core::{
    Error,
    service::Caller,
    tls::{self, ClientAuthority, Live},
};
use rustls::pki_types::CertificateDer;
use sha2::{Digest as _, Sha256};

use super::config::{ResourceManager, misuse};

/// The shortest token.
const SHORTEST: usize = 16;
/// What tokens of people begin with.
const OF_PEOPLE: &str = "dk_";
/// How often the file of tokens is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// What plugins prove themselves with.
pub(super) struct Callers {
    authority: Option<Live<PluginAuthority>>,
    tokens: Option<Tokens>,
}

/// Who signs plugins' certificates.
pub(super) struct PluginAuthority {
    known: ClientAuthority,
    certificates: Vec<CertificateDer<'static>>,
}

impl PluginAuthority {
    fn load(path: &Path) -> Result<Self, Error> {
        let certificates = tls::certificates(path)?;
        Ok(Self {
            known: ClientAuthority::new(&certificates)?,
            certificates,
        })
    }

    pub(super) fn certificates(&self) -> &[CertificateDer<'static>] {
        &self.certificates
    }
}

impl Callers {
    pub(super) fn load(config: &ResourceManager) -> Result<Self, Error> {
        Ok(Self {
            authority: Self::read_authority(config)?.map(Live::from),
            tokens: config.token.as_deref().map(Tokens::load).transpose()?,
        })
    }

    /// What the file of the authority says now; nothing when plugins have no certificates.
    pub(super) fn read_authority(
        config: &ResourceManager,
    ) -> Result<Option<Arc<PluginAuthority>>, Error> {
        let read = config.authority.as_deref().map(PluginAuthority::load);
        Ok(read.transpose()?.map(Arc::new))
    }

    /// The authority of plugins' certificates; none when they have none.
    pub(super) fn authority(&self) -> Option<Arc<PluginAuthority>> {
        self.authority.as_ref().map(Live::current)
    }

    /// Puts another authority in force. Only where nobody else comes: a certificate of the one
    /// before would name a person elsewhere.
    pub(super) fn replace_authority(&self, authority: Arc<PluginAuthority>) {
        if let Some(live) = &self.authority {
            live.replace(authority);
        }
    }

    /// Refuses an authority that also signs for people: each of them would be a plugin, or each
    /// plugin somebody.
    pub(super) fn check_beside(&self, people: &[CertificateDer<'static>]) -> Result<(), Error> {
        let Some(ours) = self.authority() else {
            return Ok(());
        };
        if !people.is_empty() && ours.known.shares_a_key_with(&ClientAuthority::new(people)?) {
            return Err(misuse(
                "`resource_manager.authority` and `client_authority` have a key in common: plugins \
                 need an authority of their own",
            ));
        }
        Ok(())
    }

    /// For whom a certificate speaks that a client showed. One of a plugin's whose time is over is
    /// nobody's, and never that of the person it may name.
    pub(super) fn caller(&self, chain: &[CertificateDer<'static>]) -> Caller {
        match self.authority() {
            Some(ours) if ours.known.vouches_for(chain) => Caller::Other,
            Some(ours) if ours.known.has_issued(chain) => Caller::Nobody,
            _ => Caller::Named,
        }
    }

    /// Whether a caller with that proof is a plugin; with both configured it needs both.
    pub(super) fn know(&self, has_certificate: bool, bearer: Option<&str>) -> bool {
        if self.authority.is_some() && !has_certificate {
            return false;
        }
        match (&self.tokens, bearer) {
            (None, _) => self.authority.is_some(),
            (Some(_), None) => false,
            (Some(tokens), Some(given)) => tokens.has(given),
        }
    }
}

/// A file with a token a line. It is read again when it has changed, so that one token takes the
/// other's place without a restart.
struct Tokens {
    path: PathBuf,
    read: Mutex<Read>,
}

struct Read {
    /// SHA-256 of each, so that comparing tells nothing by its time.
    hashes: Vec<[u8; 32]>,
    changed: Option<SystemTime>,
    looked: Instant,
}

impl Tokens {
    fn load(path: &Path) -> Result<Self, Error> {
        Ok(Self {
            path: path.to_owned(),
            read: Mutex::new(Read {
                changed: changed(path),
                hashes: read(path)?,
                looked: Instant::now(),
            }),
        })
    }

    fn has(&self, given: &str) -> bool {
        let mut known = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if known.looked.elapsed() >= LOOK {
            known.looked = Instant::now();
            let now = changed(&self.path);
            if now != known.changed {
                match read(&self.path) {
                    Ok(hashes) => {
                        known.hashes = hashes;
                        known.changed = now;
                        tracing::info!("other tokens of plugins are in force");
                    }
                    Err(error) => tracing::error!(
                        error = error.chain(),
                        "tokens of plugins refused, the old ones stay in force"
                    ),
                }
            }
        }
        let given = <[u8; 32]>::from(Sha256::digest(given));
        known.hashes.contains(&given)
    }
}

fn changed(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|it| it.modified()).ok()
}

fn read(path: &Path) -> Result<Vec<[u8; 32]>, Error> {
    let wrong = |what: &str| misuse(format!("token `{}`: {what}", path.display()));
    let text =
        fs::read_to_string(path).map_err(|error| wrong("cannot be read").with_source(error))?;
    let tokens = text.lines().map(str::trim).filter(|it| !it.is_empty());
    let hashes: Result<Vec<_>, Error> = tokens
        .map(|token| {
            if token.len() < SHORTEST {
                return Err(wrong("a token has less than 16 characters"));
            }
            if token.starts_with(OF_PEOPLE) {
                return Err(wrong("a token that begins with `dk_` is a person's"));
            }
            Ok(Sha256::digest(token).into())
        })
        .collect();
    let hashes = hashes?;
    match hashes.is_empty() {
        true => Err(wrong("there is none in it")),
        false => Ok(hashes),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use std::sync::Arc;

    use dockin_core::{
        service::Caller,
        tls::{ClientAuthority, Live},
    };
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
    use rustls::pki_types::CertificateDer;

    use super::{Callers, PluginAuthority};

    fn authority() -> (Issuer<'static, KeyPair>, CertificateDer<'static>) {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().der().clone();
        (Issuer::new(params, key), certificate)
    }

    fn client(by: &Issuer<'_, KeyPair>, until: i32) -> [CertificateDer<'static>; 1] {
        let mut params = CertificateParams::default();
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(until, 1, 1);
        let key = KeyPair::generate().unwrap();
        [params.signed_by(&key, by).unwrap().der().clone()]
    }

    #[test]
    fn a_plugins_certificate_never_names_a_person_not_even_when_its_time_is_over() {
        let (ours, certificate) = authority();
        let (others, _) = authority();
        let callers = Callers {
            authority: Some(Live::from(Arc::new(PluginAuthority {
                known: ClientAuthority::new(std::slice::from_ref(&certificate)).unwrap(),
                certificates: vec![certificate.clone()],
            }))),
            tokens: None,
        };
        assert_eq!(callers.caller(&client(&ours, 4000)), Caller::Other);
        assert_eq!(callers.caller(&client(&ours, 2001)), Caller::Nobody);
        assert_eq!(callers.caller(&client(&others, 4000)), Caller::Named);
        assert!(callers.check_beside(&[certificate]).is_err());
        assert!(callers.check_beside(&[authority().1]).is_ok());
        assert!(!callers.know(false, None) && callers.know(true, None));
    }
}
