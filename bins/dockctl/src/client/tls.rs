use std::sync::Arc;

use rustls::{
    CipherSuite, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject as _},
};

use crate::{failure::Failure, kubeconfig::Connection};

/// Makes aws-lc-rs the provider of the whole process.
pub(crate) fn install_provider() {
    // Fails when one is installed already, and then it is this one.
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    // AES with 128 bits first, as Go has it: streams cost a quarter less, and nobody breaks it.
    provider
        .cipher_suites
        .sort_by_key(|suite| suite.suite() != CipherSuite::TLS13_AES_128_GCM_SHA256);
    let _already_there = provider.install_default();
}

/// The TLS side of a connection: whom we trust and what we show.
pub(super) fn client_config(connection: &Connection) -> Result<Arc<ClientConfig>, Failure> {
    let builder = ClientConfig::builder();
    let builder = if connection.insecure {
        let provider = builder.crypto_provider().clone();
        builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Unchecked(provider)))
    } else {
        builder.with_root_certificates(roots(connection.authority.as_deref())?)
    };
    let config = match &connection.client_certificate {
        None => builder.with_no_client_auth(),
        Some(client) => {
            let chain = certificates("client-certificate", &client.chain)?;
            let key = PrivateKeyDer::from_pem_slice(&client.key)
                .map_err(|_| Failure::local("client-key holds no private key in PEM"))?;
            builder.with_client_auth_cert(chain, key).map_err(|error| {
                Failure::local(format!("client certificate and key are no pair: {error}"))
            })?
        }
    };
    Ok(Arc::new(config))
}

/// The TLS side of a connection to a proxy, which is shown no certificate of ours.
pub(super) fn proxy_config(connection: &Connection) -> Result<Arc<ClientConfig>, Failure> {
    let mut trusted = RootCertStore::empty();
    trusted.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    trusted
        .roots
        .extend(roots(connection.authority.as_deref())?.roots);
    let config = ClientConfig::builder().with_root_certificates(trusted);
    Ok(Arc::new(config.with_no_client_auth()))
}

fn roots(authority: Option<&[u8]>) -> Result<RootCertStore, Failure> {
    let mut roots = RootCertStore::empty();
    if let Some(pem) = authority {
        for certificate in certificates("certificate-authority", pem)? {
            roots.add(certificate).map_err(|error| {
                Failure::local(format!("certificate-authority cannot be used: {error}"))
            })?;
        }
    } else {
        // Unreadable ones are passed over, as every TLS client does; trust is only narrower.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() {
            return Err(Failure::local(
                "the kubeconfig has no certificate-authority and this system has none either",
            ));
        }
    }
    Ok(roots)
}

fn certificates(what: &str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|_| Failure::local(format!("{what} is broken PEM")))?;
    if certificates.is_empty() {
        return Err(Failure::local(format!(
            "{what} holds no certificate in PEM"
        )));
    }
    Ok(certificates)
}

/// Takes any certificate. The kubeconfig reader allows this for loopback addresses only, where
/// nobody sits in between.
#[derive(Debug)]
struct Unchecked(Arc<CryptoProvider>);

impl ServerCertVerifier for Unchecked {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
