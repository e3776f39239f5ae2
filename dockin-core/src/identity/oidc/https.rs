use std::{fmt, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, pki_types::ServerName};
use thiserror::Error;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::{Error, ErrorKind};

/// An absolute `https` URL without a password in it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct HttpsUrl {
    text: String,
    uri: Uri,
}

/// Why a text is not such a URL.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum UrlError {
    /// Not an absolute URL, or longer than 2 KiB.
    #[error("is not a URL")]
    Malformed,
    /// Something else than `https`.
    #[error("is not an https URL")]
    Scheme,
    /// A user or password before the host, or a `#`.
    #[error("has a password or a fragment in it")]
    Password,
}

impl HttpsUrl {
    pub(super) fn parse(text: &str) -> Result<Self, UrlError> {
        if text.len() > 2048 {
            return Err(UrlError::Malformed);
        }
        // `Uri` drops fragments.
        if text.contains('#') {
            return Err(UrlError::Password);
        }
        let uri: Uri = text.parse().map_err(|_| UrlError::Malformed)?;
        match uri.scheme_str() {
            Some("https") => {}
            Some(_) => return Err(UrlError::Scheme),
            None => return Err(UrlError::Malformed),
        }
        let authority = uri.authority().ok_or(UrlError::Malformed)?;
        if authority.as_str().contains('@') {
            return Err(UrlError::Password);
        }
        if authority.host().is_empty() {
            return Err(UrlError::Malformed);
        }
        Ok(Self {
            text: text.to_owned(),
            uri,
        })
    }

    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    pub(super) fn has_query(&self) -> bool {
        self.uri.query().is_some()
    }

    fn host(&self) -> &str {
        let host = self.uri.host().unwrap_or_default();
        host.trim_start_matches('[').trim_end_matches(']')
    }
}

impl fmt::Display for HttpsUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Asks an issuer. One connection for each question: there are few.
#[derive(Clone)]
pub(super) struct HttpsClient {
    config: Arc<ClientConfig>,
}

/// A whole question, from the look-up of the name to the last byte of the answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of an answer: keys with their certificates are tens of KiB.
const MAX_ANSWER: usize = 512 * 1024;

impl HttpsClient {
    pub(super) const fn new(config: Arc<ClientConfig>) -> Self {
        Self { config }
    }

    pub(super) async fn fetch(&self, url: &HttpsUrl) -> Result<Bytes, Error> {
        let (status, body) = self.ask(url, Method::GET, String::new()).await?;
        match status {
            StatusCode::OK => Ok(body),
            other => Err(unavailable(
                url,
                &format!("answered with HTTP {}", other.as_u16()),
            )),
        }
    }

    /// Sends a form; the answer's status is the caller's to judge. Redirects are not followed.
    pub(super) async fn post(
        &self,
        url: &HttpsUrl,
        form: String,
    ) -> Result<(StatusCode, Bytes), Error> {
        self.ask(url, Method::POST, form).await
    }

    async fn ask(
        &self,
        url: &HttpsUrl,
        method: Method,
        form: String,
    ) -> Result<(StatusCode, Bytes), Error> {
        match tokio::time::timeout(TIMEOUT, self.exchange(url, method, form)).await {
            Ok(answer) => answer,
            Err(_) => {
                let seconds = TIMEOUT.as_secs();
                Err(unavailable(
                    url,
                    &format!("did not answer within {seconds} s"),
                ))
            }
        }
    }

    async fn exchange(
        &self,
        url: &HttpsUrl,
        method: Method,
        form: String,
    ) -> Result<(StatusCode, Bytes), Error> {
        let host = url.host();
        let port = url.uri.port_u16().unwrap_or(443);
        let name = ServerName::try_from(host.to_owned())
            .map_err(|error| unavailable(url, "has no name for TLS").with_source(error))?;
        let cut = |error: hyper::Error| unavailable(url, "gave no answer").with_source(error);
        let socket = TcpStream::connect((host, port))
            .await
            .map_err(|error| unavailable(url, "cannot be reached").with_source(error))?;
        let stream = TlsConnector::from(Arc::clone(&self.config))
            .connect(name, socket)
            .await
            .map_err(|error| unavailable(url, "failed the TLS handshake").with_source(error))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(cut)?;
        let driver = Abort(tokio::spawn(async move {
            // What goes wrong there also reaches the answer or the body.
            let _told_elsewhere = connection.await;
        }));
        let target = url
            .uri
            .path_and_query()
            .map_or("/", |target| target.as_str());
        let authority = url
            .uri
            .authority()
            .map_or(host, |authority| authority.as_str());
        let mut request = Request::builder()
            .method(&method)
            .uri(target)
            .header(header::HOST, authority)
            .header(header::ACCEPT, "application/json")
            .header(
                header::USER_AGENT,
                concat!("dockin/", env!("CARGO_PKG_VERSION")),
            );
        if method == Method::POST {
            request = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        }
        let request = request
            .body(Full::new(Bytes::from(form)))
            .map_err(|error| unavailable(url, "cannot be asked").with_source(error))?;
        let answer = sender.send_request(request).await.map_err(cut)?;
        let status = answer.status();
        let mut body = answer.into_body();
        let mut bytes = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(cut)?.into_data() else {
                continue;
            };
            if bytes.len().saturating_add(data.len()) > MAX_ANSWER {
                return Err(unavailable(
                    url,
                    &format!("sent more than {MAX_ANSWER} bytes"),
                ));
            }
            bytes.extend_from_slice(&data);
        }
        drop(driver);
        Ok((status, bytes.freeze()))
    }
}

impl fmt::Debug for HttpsClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HttpsClient")
    }
}

/// Ends a connection with the question it was made for.
struct Abort(tokio::task::JoinHandle<()>);

impl Drop for Abort {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn unavailable(url: &HttpsUrl, what: &str) -> Error {
    // A query may have something in it that is not for logs.
    let place = url.text.split('?').next().unwrap_or_default();
    Error::new(
        ErrorKind::Unavailable,
        format!("the identity provider at `{place}` {what}"),
    )
}

#[cfg(test)]
mod tests {
    use super::{HttpsUrl, UrlError};

    #[test]
    fn only_https_without_a_password_is_an_address_of_an_issuer() {
        for (text, why) in [
            ("https://a", None),
            ("https://a:8443/b?c=d", None),
            ("https://[::1]:1/b", None),
            ("http://a", Some(UrlError::Scheme)),
            ("ftp://a", Some(UrlError::Scheme)),
            ("https://user@a", Some(UrlError::Password)),
            ("https://user:pass@a/", Some(UrlError::Password)),
            ("https://a/#b", Some(UrlError::Password)),
            ("https://", Some(UrlError::Malformed)),
            ("/a", Some(UrlError::Malformed)),
            ("", Some(UrlError::Malformed)),
            ("https://a b", Some(UrlError::Malformed)),
        ] {
            assert_eq!(HttpsUrl::parse(text).err(), why, "{text}");
        }
    }
}
