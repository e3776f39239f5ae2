use std::{net::SocketAddr, ops::ControlFlow};

use async_trait::async_trait;
use http::{Request, Response};
use hyper::body::Incoming;
use rustls::pki_types::CertificateDer;

use super::Gateway;
use crate::{
    Error, ErrorKind,
    service::{Body, Caller, Peer},
};

/// A service on the gateway's port that is no affair of people's, such as the resource manager that
/// plugins ask. It knows its own callers: their credentials are nobody's at the gateway, and
/// people's are nobody's here.
#[async_trait]
pub trait Beside: Send + Sync {
    /// For whom the certificate speaks that a client showed: [`Caller::Other`] for one of its own
    /// callers, which [`Peer::is_other`] says then; nobody's name is read in that one.
    fn caller(&self, chain: &[CertificateDer<'static>]) -> Caller;

    /// Answers what is its own, and gives the gateway the rest.
    async fn handle(
        &self,
        peer: &Peer,
        request: Request<Incoming>,
    ) -> ControlFlow<Response<Body>, Request<Incoming>>;
}

impl Gateway {
    /// Writes down that a service beside the gateway refused somebody, for `reason`: as a failed
    /// login, of which a flood is only counted.
    ///
    /// # Errors
    ///
    /// It cannot be written down.
    pub async fn refused_beside(&self, client: SocketAddr, reason: &str) -> Result<(), Error> {
        let error = Error::new(ErrorKind::Unauthenticated, reason);
        self.auditor.login_failed(client, &error).await
    }
}
