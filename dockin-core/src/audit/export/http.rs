use http::{Request, header};

use crate::{
    Error, ErrorKind,
    service::{HttpEndpoint, full_body},
};

/// Posts batches of JSON lines, at most 500 records or 1 MiB each.
///
/// A batch counts as delivered with an answer of 2xx, and is sent again after anything else. A
/// receiver tells repeated records by their `seq`.
pub struct HttpTarget {
    endpoint: HttpEndpoint,
    host: String,
    path: String,
    token: Option<String>,
}

impl HttpTarget {
    /// The receiver at `endpoint`, called `host` there, that takes a POST on `path`; with a
    /// bearer token if it wants one.
    ///
    /// # Errors
    ///
    /// `Misuse` when the path or the token cannot stand in a request.
    pub fn new(
        endpoint: HttpEndpoint,
        host: impl Into<String>,
        path: impl Into<String>,
        token: Option<String>,
    ) -> Result<Self, Error> {
        let target = Self {
            endpoint,
            host: host.into(),
            path: path.into(),
            token,
        };
        target.request(Vec::new())?;
        Ok(target)
    }

    fn request(&self, body: Vec<u8>) -> Result<Request<crate::service::Body>, Error> {
        let mut request = Request::post(&self.path)
            .header(header::HOST, &self.host)
            .header(header::CONTENT_TYPE, "application/x-ndjson");
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        request.body(full_body(body)).map_err(|_| {
            Error::new(
                ErrorKind::Misuse,
                format!(
                    "path `{}` or the token cannot stand in an HTTP request",
                    self.path
                ),
            )
        })
    }

    pub(super) async fn send(&self, batch: &[(u64, Vec<u8>)]) -> Result<(), Error> {
        let body = batch
            .iter()
            .flat_map(|(_, line)| line.iter().copied())
            .collect();
        let request = self.request(body)?;
        self.endpoint.connect().await?.fetch(request).await?;
        Ok(())
    }
}

impl std::fmt::Debug for HttpTarget {
    /// Without the token.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "HttpTarget({}{})", self.host, self.path)
    }
}
