use bytes::Bytes;
use futures::{Stream, StreamExt};
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt, Empty, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::Frame;

use crate::{Error, kubernetes::Status};

/// A body of any kind.
pub type Body = UnsyncBoxBody<Bytes, BodyError>;
/// Why a body broke off.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// No body.
#[must_use]
pub fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// A JSON document with status 200.
#[must_use]
pub fn json(value: &serde_json::Value) -> Response<Body> {
    with_type(StatusCode::OK, "application/json", value.to_string())
}

/// A text with a status.
#[must_use]
pub fn text(status: StatusCode, text: &str) -> Response<Body> {
    with_type(status, "text/plain; charset=utf-8", text.to_owned())
}

/// An error as the Kubernetes `Status` object that kubectl prints.
#[must_use]
pub fn status_response(error: &Error) -> Response<Body> {
    let body = Status::from(error);
    let code = StatusCode::from_u16(body.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = with_type(code, "application/json", body.to_json());
    if let Some(seconds) = body.retry_after() {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// Bytes as they come.
pub fn stream_body(stream: impl Stream<Item = Result<Bytes, Error>> + Send + 'static) -> Body {
    let frames = stream.map(|item| match item {
        Ok(bytes) => Ok(Frame::data(bytes)),
        Err(error) => Err(BodyError::from(error)),
    });
    StreamBody::new(frames).boxed_unsync()
}

/// Bytes that are all there.
pub(crate) fn full_body(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

fn with_type(status: StatusCode, kind: &'static str, text: String) -> Response<Body> {
    let mut response = Response::new(full_body(text));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
