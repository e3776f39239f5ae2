//! What the adapters of outside identity providers have in common: whom they trust on the wire,
//! and which names they may give.

use std::{path::Path, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use thiserror::Error;

use crate::{Error, ErrorKind};

/// Longest name of a user or group in bytes, its prefix included.
const MAX_NAME: usize = 253;
/// Groups of one person. More would not fit into the headers that carry them on.
pub(super) const MAX_GROUPS: usize = 512;

/// Why a name from outside is not taken.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum NameError {
    /// No bytes, or nothing behind the prefix.
    #[error("is empty")]
    Empty,
    /// More than 253 bytes.
    #[error("has {size} bytes, limit {MAX_NAME}")]
    TooLong {
        /// Bytes it has.
        size: usize,
    },
    /// A control character, a blank other than single spaces inside, or text that runs backwards.
    #[error("has characters that a name cannot have")]
    Characters,
    /// `system:…`: names that Kubernetes gives to itself, `system:masters` among them.
    #[error("begins with `system:`, which is Kubernetes' own; set a prefix")]
    Reserved,
}

/// `prefix` and `name` as one name, if that can be a user or a group.
///
/// Spaces inside are fine: directories are full of groups like `Domain Users`.
pub(super) fn outside_name(prefix: &str, name: &str) -> Result<String, NameError> {
    if name.trim().is_empty() {
        return Err(NameError::Empty);
    }
    let full = format!("{prefix}{name}");
    if full.len() > MAX_NAME {
        return Err(NameError::TooLong { size: full.len() });
    }
    let bad = |c: char| c.is_control() || (c.is_whitespace() && c != ' ') || invisible(c);
    if name.trim() != name || full.chars().any(bad) {
        return Err(NameError::Characters);
    }
    if full.starts_with("system:") {
        return Err(NameError::Reserved);
    }
    Ok(full)
}

/// Characters that make two different names look the same: direction marks and zero widths.
fn invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// The client's side of TLS: trusts the certificates of the PEM file `authority` and nobody else,
/// or without it the authorities of this system.
///
/// # Errors
///
/// `Misuse` when the file cannot be read or has no certificate, or the system has none.
pub(super) fn client_config(authority: Option<&Path>) -> Result<Arc<ClientConfig>, Error> {
    let misuse = |what: String| Error::new(ErrorKind::Misuse, what);
    let mut roots = RootCertStore::empty();
    if let Some(path) = authority {
        let shown = path.display();
        let read = || CertificateDer::pem_file_iter(path)?.collect::<Result<Vec<_>, _>>();
        let found = read().map_err(|error| {
            misuse(format!("no certificate can be read from `{shown}`")).with_source(error)
        })?;
        for certificate in found {
            roots.add(certificate).map_err(|error| {
                misuse(format!(
                    "a certificate of `{shown}` cannot be an authority's"
                ))
                .with_source(error)
            })?;
        }
        if roots.is_empty() {
            return Err(misuse(format!("`{shown}` has no certificate in PEM")));
        }
    } else {
        // Unreadable ones are passed over, as every TLS client does; trust is only narrower.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() {
            let what = "this system has no certificate authorities; name the provider's in a file";
            return Err(misuse(what.to_owned()));
        }
    }
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| misuse("TLS cannot be set up".to_owned()).with_source(error))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::{MAX_NAME, NameError, client_config, outside_name};
    use crate::ErrorKind;

    #[test]
    fn names_that_confuse_people_or_clusters_are_not_taken() {
        for (prefix, name, verdict) in [
            ("", "alice", Ok("alice")),
            ("idp:", "Domain Users", Ok("idp:Domain Users")),
            ("idp:", "system:masters", Ok("idp:system:masters")),
            ("", "system:masters", Err(NameError::Reserved)),
            ("system:", "masters", Err(NameError::Reserved)),
            ("sys", "tem:masters", Err(NameError::Reserved)),
            ("idp:", "", Err(NameError::Empty)),
            ("idp:", "  ", Err(NameError::Empty)),
            ("", " alice", Err(NameError::Characters)),
            ("idp:", "alice ", Err(NameError::Characters)),
            ("", "al\nice", Err(NameError::Characters)),
            ("", "al\tice", Err(NameError::Characters)),
            ("", "al\u{202e}ice", Err(NameError::Characters)),
            ("", "alice\u{200b}", Err(NameError::Characters)),
        ] {
            let got = outside_name(prefix, name);
            assert_eq!(got, verdict.map(str::to_owned), "{prefix}|{name:?}");
        }
        assert_eq!(
            outside_name("", &"a".repeat(MAX_NAME)).unwrap().len(),
            MAX_NAME
        );
        let long = outside_name("a", &"a".repeat(MAX_NAME));
        assert_eq!(long, Err(NameError::TooLong { size: MAX_NAME + 1 }));
    }

    #[test]
    fn a_file_without_a_certificate_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        for text in [
            None,
            Some(""),
            Some("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
        ] {
            if let Some(text) = text {
                std::fs::write(&path, text).unwrap();
            }
            let error = client_config(Some(&path)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Misuse);
            assert!(error.message().contains("ca.pem"), "{error}");
        }
    }
}
