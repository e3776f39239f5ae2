//! A watch of pods and nodes, as a kube-apiserver's stand-in tells of them.

use std::{collections::BTreeMap, convert::Infallible, future::Future, time::Duration};

use bytes::Bytes;
use dockin_core::{directory::Pod, kubernetes};
use futures::stream;
use http::{Response, header};
use http_body_util::{BodyExt, StreamBody, combinators::BoxBody};
use hyper::body::Frame;
use serde_json::{Value, json};
use tokio::sync::mpsc;

type Body = BoxBody<Bytes, hyper::Error>;
/// Pods by namespace and name.
pub(crate) type Known = BTreeMap<(String, String), Value>;

/// How often the node is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// An event a line for every change since lists had what is `listed`, until the client goes.
pub(crate) fn watch_pods<F>(listed: Known, pods: impl Fn() -> F + Send + 'static) -> Response<Body>
where
    F: Future<Output = Vec<Pod>> + Send + 'static,
{
    let (events, told) = mpsc::channel(16);
    tokio::spawn(async move {
        let mut before = listed;
        loop {
            tokio::time::sleep(LOOK).await;
            let now = known(&pods().await);
            for event in changes(&before, &now) {
                if events.send(event).await.is_err() {
                    return;
                }
            }
            before = now;
        }
    });
    lines(stream::unfold(told, |mut told| async move {
        let event = told.recv().await?;
        Some((event, told))
    }))
}

pub(crate) fn known(pods: &[Pod]) -> Known {
    pods.iter()
        .map(|pod| {
            let place = (pod.namespace.clone(), pod.name.clone());
            (place, kubernetes::pod(pod))
        })
        .collect()
}

fn changes(before: &Known, now: &Known) -> Vec<Value> {
    let event = |kind: &str, object: &Value| json!({ "type": kind, "object": object });
    let mut events: Vec<Value> = now
        .iter()
        .filter_map(|(place, object)| match before.get(place) {
            None => Some(event("ADDED", object)),
            Some(known) if known != object => Some(event("MODIFIED", object)),
            Some(_) => None,
        })
        .collect();
    let gone = before.iter().filter(|(place, _)| !now.contains_key(*place));
    events.extend(gone.map(|(_, object)| event("DELETED", object)));
    events
}

/// The one node.
pub(crate) fn nodes(name: &str) -> Value {
    json!({
        "kind": "NodeList", "apiVersion": "v1", "metadata": { "resourceVersion": "1" },
        "items": [{
            "metadata": { "name": name, "uid": "00000000-0000-0000-0000-00000000000a" },
            "status": { "addresses": [{ "type": "InternalIP", "address": "192.0.2.10" }] },
        }],
    })
}

/// A watch in which nothing happens.
pub(crate) fn watch_nothing() -> Response<Body> {
    lines(stream::pending())
}

fn lines(events: impl futures::Stream<Item = Value> + Send + Sync + 'static) -> Response<Body> {
    use futures::StreamExt as _;

    let frames =
        events.map(|event| Ok::<_, Infallible>(Frame::data(Bytes::from(format!("{event}\n")))));
    let body = StreamBody::new(frames).map_err(|never| match never {});
    Response::builder()
        .header(header::CONTENT_TYPE, "application/json")
        .body(body.boxed())
        .expect("a response")
}
