//! What is answered, and in which shape an error is.

use http::{HeaderValue, Response, StatusCode, header};
use serde::Serialize;
use uuid::Uuid;

use crate::{
    Error,
    compat::{NodeReply, Reply},
    service::{Body, full_body},
};

/// How a route answers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Shape {
    /// [`Reply`].
    Reply,
    /// [`NodeReply`].
    Node,
    /// Text.
    Text,
}

impl Shape {
    /// The shape of the route `name`; nothing for what is no route.
    pub(super) fn of(name: &str) -> Option<Self> {
        Some(match name {
            "ctrl/login" | "ctrl/auth" | "ctrl/getPodByName" | "echo" | "rm" | "common-exec"
            | "command-exec" => Self::Reply,
            "node/getNodeByName" | "node/batchGetNode" => Self::Node,
            "interact-exec" | "ssh-v2" | "ctrl/getCmdList" | "ctrl/manager" | "ctrl/addRawCmd"
            | "ctrl/deleteRawCmd" | "ctrl/addCmd" | "ctrl/deleteCmd" | "ctrl/addWhitelist"
            | "ctrl/deleteIP" | "ctrl/addAccount" | "ctrl/deleteAccount" | "ctrl/updateVersion" => {
                Self::Text
            }
            _ => return None,
        })
    }
}

/// What became of a request that was refused.
pub(super) fn failure(shape: Shape, error: &Error, trace: &str) -> Response<Body> {
    let message = error.message();
    match shape {
        Shape::Reply => document(Reply::failure(message, trace).to_json()),
        Shape::Node => document(NodeReply::failure("", message, trace).to_json()),
        Shape::Text => plain(StatusCode::OK, &format!("{message},traceId={trace}")),
    }
}

/// What became of a request that was done.
pub(super) fn success(data: impl Serialize) -> Response<Body> {
    document(Reply::success(data).to_json())
}

/// A JSON text that nobody on the way keeps: it may hold a token.
pub(super) fn document(text: String) -> Response<Body> {
    typed("application/json", text)
}

pub(super) fn html(text: &str) -> Response<Body> {
    typed("text/html; charset=utf-8", text.to_owned())
}

pub(super) fn plain(status: StatusCode, text: &str) -> Response<Body> {
    let mut response = typed("text/plain; charset=utf-8", text.to_owned());
    *response.status_mut() = status;
    response
}

/// 32 hex digits by which an answer is found in the log.
pub(super) fn trace_id() -> String {
    Uuid::now_v7().simple().to_string()
}

fn typed(kind: &'static str, text: String) -> Response<Body> {
    let mut response = Response::new(full_body(text));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let never = HeaderValue::from_static("nosniff");
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, never);
    response
}
