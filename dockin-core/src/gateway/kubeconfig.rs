//! The kubeconfig of the caller, and the authority in it, as downloads.

use http::{HeaderValue, Request, Response, header, uri::Authority};
use hyper::body::Incoming;

use super::{Call, Gateway, host_name::authority_of};
use crate::{
    Error, ErrorKind,
    kubernetes::{Kubeconfig, query::Query},
    service::{Body, full_body},
};

impl Gateway {
    /// A kubeconfig with a context for each cluster that the caller may use from where he is, or
    /// for the one that is asked for. There is no secret in it: kubectl asks `dockctl` for a token.
    pub(super) async fn own_kubeconfig(
        &self,
        call: &Call,
        request: &Request<Incoming>,
    ) -> Result<Response<Body>, Error> {
        let authority = self.authority_text().await?;
        let host = authority_of(request).and_then(|host| host.parse::<Authority>().ok());
        let host = host.filter(|host| !host.as_str().contains('@'));
        let host = host.ok_or_else(|| {
            Error::new(
                ErrorKind::Malformed,
                "the request has no `Host`: send the one that the kubeconfig is to have",
            )
        })?;
        let query = Query::parse(request.uri().query().unwrap_or_default())?;
        let clusters = match query.value("cluster")? {
            None => self.reachable(call).await,
            Some(name) => {
                let found = self
                    .reached_cluster(call, Some(name), "/kubeconfig")
                    .await?;
                vec![found.name().to_owned()]
            }
        };
        let text = Kubeconfig {
            server: &format!("https://{host}"),
            authority: authority.as_bytes(),
            user: &call.principal.user,
            clusters: &clusters,
            namespace: None,
        }
        .to_yaml()?;
        let mut response = Response::new(full_body(text));
        for (name, value) in [
            (header::CONTENT_TYPE, "application/yaml"),
            (
                header::CONTENT_DISPOSITION,
                "attachment; filename=\"dockin.kubeconfig\"",
            ),
            (header::CACHE_CONTROL, "no-store"),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        ] {
            response
                .headers_mut()
                .insert(name, HeaderValue::from_static(value));
        }
        Ok(response)
    }

    /// The authority of the gateway's own certificate, PEM: it is no secret.
    pub(super) async fn own_authority(&self) -> Result<Response<Body>, Error> {
        let mut response = Response::new(full_body(self.authority_text().await?));
        let kind = HeaderValue::from_static("application/x-pem-file");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        Ok(response)
    }

    async fn authority_text(&self) -> Result<String, Error> {
        let Some(file) = &self.authority else {
            let what = "this gateway does not know the authority of its certificate: ask who \
                        keeps it";
            return Err(Error::new(ErrorKind::NotFound, what));
        };
        tokio::fs::read_to_string(file).await.map_err(|error| {
            let what = "the authority of the gateway's certificate cannot be read";
            Error::new(ErrorKind::Unavailable, what).with_source(error)
        })
    }
}
