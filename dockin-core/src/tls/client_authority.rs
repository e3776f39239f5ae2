use std::{sync::Arc, time::Duration};

use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, UnixTime},
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
};

use super::{provider, roots, unfit};
use crate::Error;

/// One of several authorities whose certificates clients may show: tells, after the handshake,
/// which ones are its own.
#[derive(Debug)]
pub struct ClientAuthority {
    verifier: Arc<dyn ClientCertVerifier>,
    roots: Arc<RootCertStore>,
}

impl ClientAuthority {
    /// The authority with these certificates.
    ///
    /// # Errors
    ///
    /// `Misuse` when there are none, or one of them cannot be used.
    pub fn new(authority: &[CertificateDer<'static>]) -> Result<Self, Error> {
        let roots = Arc::new(roots(authority)?);
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), provider());
        let verifier = builder.build().map_err(|error| unfit("authority", error))?;
        Ok(Self { verifier, roots })
    }

    /// Whether a client's chain, its own certificate first, is of this authority and valid now. The
    /// handshake has shown that the client has the key.
    #[must_use]
    pub fn vouches_for(&self, chain: &[CertificateDer<'static>]) -> bool {
        self.vouched_for(chain, UnixTime::now())
    }

    /// Whether a client's chain is of this authority, also when its time is over: a handshake that
    /// resumes an earlier one does not look at dates again.
    #[must_use]
    pub fn has_issued(&self, chain: &[CertificateDer<'static>]) -> bool {
        let ends = chain.iter().filter_map(|certificate| {
            let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
            let end = u64::try_from(parsed.validity().not_after.timestamp()).ok()?;
            Some(UnixTime::since_unix_epoch(Duration::from_secs(end)))
        });
        self.vouches_for(chain) || ends.into_iter().any(|end| self.vouched_for(chain, end))
    }

    fn vouched_for(&self, chain: &[CertificateDer<'static>], at: UnixTime) -> bool {
        let Some((own, others)) = chain.split_first() else {
            return false;
        };
        self.verifier.verify_client_cert(own, others, at).is_ok()
    }

    /// Whether a key of this authority is one of `other`'s too, so that the two cannot be told
    /// apart.
    #[must_use]
    pub fn shares_a_key_with(&self, other: &Self) -> bool {
        let mut ours = self.roots.roots.iter();
        ours.any(|our| {
            let mut theirs = other.roots.roots.iter();
            theirs.any(|their| our.subject_public_key_info == their.subject_public_key_info)
        })
    }
}
