//! TLS to the resource manager.

use std::io::{self, Read, Write};

use super::http::Timed;
use crate::meta::{NoAnswer, Trust};

/// A connection, secured or not.
pub(super) trait Stream: Read + Write {}

impl<T: Read + Write> Stream for T {}

#[cfg(feature = "tls")]
pub(super) use with::Security;
#[cfg(not(feature = "tls"))]
pub(super) use without::Security;

#[cfg(feature = "tls")]
mod with {
    use std::sync::Arc;

    use rustls::{
        ClientConfig, ClientConnection, RootCertStore, StreamOwned,
        crypto::aws_lc_rs,
        pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    };

    use super::{NoAnswer, Stream, Timed, Trust, io};

    /// Whom we believe, and what we show.
    pub(in super::super) struct Security {
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    }

    impl Security {
        /// Reads the files.
        pub(in super::super) fn new(authority: &str, trust: &Trust) -> Result<Self, NoAnswer> {
            let Some(file) = &trust.authority else {
                return Err(invalid("backendAuthority", &"missing: `https://` needs it"));
            };
            let wrong = |error: &dyn std::fmt::Display| {
                invalid("backendAuthority", &format_args!("`{file}`: {error}"))
            };
            let mut roots = RootCertStore::empty();
            for certificate in CertificateDer::pem_file_iter(file).map_err(|it| wrong(&it))? {
                let certificate = certificate.map_err(|error| wrong(&error))?;
                roots.add(certificate).map_err(|error| wrong(&error))?;
            }
            if roots.is_empty() {
                return Err(wrong(&"no certificate in it"));
            }
            let builder =
                ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
                    .with_safe_default_protocol_versions()
                    .map_err(|error| wrong(&error))?
                    .with_root_certificates(roots);
            let config = match &trust.identity {
                None => builder.with_no_client_auth(),
                Some((certificate, key)) => {
                    let wrong = |error: &dyn std::fmt::Display| {
                        let what = format_args!("`{certificate}` and `{key}`: {error}");
                        invalid("backendCertificate", &what)
                    };
                    let chain = CertificateDer::pem_file_iter(certificate)
                        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
                        .map_err(|error| wrong(&error))?;
                    let key = PrivateKeyDer::from_pem_file(key).map_err(|error| wrong(&error))?;
                    let config = builder.with_client_auth_cert(chain, key);
                    config.map_err(|error| wrong(&error))?
                }
            };
            let host = match authority.rsplit_once(':') {
                Some((host, port)) if port.parse::<u16>().is_ok() => host,
                _ => authority,
            };
            let host = host
                .trim_start_matches('[')
                .trim_end_matches(']')
                .to_owned();
            let name = ServerName::try_from(host).map_err(|error| invalid("backend", &error))?;
            Ok(Self {
                config: Arc::new(config),
                name,
            })
        }

        /// The same connection, secured at the first byte.
        pub(in super::super) fn over(&self, socket: Timed) -> io::Result<Box<dyn Stream>> {
            let connection = ClientConnection::new(Arc::clone(&self.config), self.name.clone());
            let connection = connection.map_err(io::Error::other)?;
            Ok(Box::new(StreamOwned::new(connection, socket)))
        }
    }

    fn invalid(field: &str, what: &dyn std::fmt::Display) -> NoAnswer {
        NoAnswer {
            message: format!("`{field}`: {what}"),
            later: false,
        }
    }
}

#[cfg(not(feature = "tls"))]
mod without {
    use super::{NoAnswer, Stream, Timed, Trust, io};

    /// There is none.
    pub(in super::super) struct Security;

    impl Security {
        pub(in super::super) fn new(_authority: &str, _trust: &Trust) -> Result<Self, NoAnswer> {
            Err(NoAnswer {
                message: "`https://` is asked by `dockin-ask`, which is not beside this program"
                    .into(),
                later: false,
            })
        }

        pub(in super::super) fn over(&self, socket: Timed) -> io::Result<Box<dyn Stream>> {
            Ok(Box::new(socket))
        }
    }
}
