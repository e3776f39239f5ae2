use std::ops::ControlFlow;

use async_trait::async_trait;
use http::{Request, Response};
use hyper::body::Incoming;
use rustls::pki_types::CertificateDer;

use crate::service::{Body, Peer};

/// A service on the gateway's port that is no affair of people's, such as the resource manager that
/// plugins ask. It knows its own callers: their credentials are nobody's at the gateway, and
/// people's are nobody's here.
#[async_trait]
pub trait Beside: Send + Sync {
    /// Whether the certificate that a client showed is one of its callers'. The gateway then reads
    /// nobody's name in it, and [`Peer::is_claimed`] says so.
    fn claims(&self, chain: &[CertificateDer<'static>]) -> bool;

    /// Answers what is its own, and gives the gateway the rest.
    async fn handle(
        &self,
        peer: &Peer,
        request: Request<Incoming>,
    ) -> ControlFlow<Response<Body>, Request<Incoming>>;
}
