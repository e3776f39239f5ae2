//! A few objects that the stand-in of a kube-apiserver keeps in memory, with their watches.

#![expect(clippy::indexing_slicing, reason = "a test harness fails by panicking")]

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use futures::{StreamExt, stream};
use http::{Method, Request, Response, header};
use http_body_util::{BodyExt, StreamBody, combinators::BoxBody};
use hyper::body::{Frame, Incoming};
use serde_json::{Value, json};
use tokio::sync::broadcast;

use crate::apiserver::{document, failure};

/// Config maps by namespace and name.
pub(crate) struct Objects {
    state: Mutex<State>,
    events: broadcast::Sender<Value>,
}

#[derive(Default)]
struct State {
    version: u64,
    objects: BTreeMap<(String, String), Value>,
}

type Body = BoxBody<Bytes, hyper::Error>;

impl Objects {
    pub(crate) fn new() -> Self {
        Self {
            state: Mutex::default(),
            events: broadcast::channel(1024).0,
        }
    }

    /// Answers a request below `/api/v1/namespaces/{namespace}/configmaps`.
    pub(crate) async fn answer(
        &self,
        namespace: &str,
        name: Option<&str>,
        request: Request<Incoming>,
    ) -> Response<Body> {
        let method = request.method().clone();
        let query = request.uri().query().unwrap_or_default().to_owned();
        let kind = request.headers().get(header::CONTENT_TYPE);
        let kind = kind.map(|kind| String::from_utf8_lossy(kind.as_bytes()).into_owned());
        let body = request
            .into_body()
            .collect()
            .await
            .expect("a body")
            .to_bytes();
        let sent: Value = serde_json::from_slice(&body).unwrap_or_default();
        match (method, name) {
            (Method::GET, None) if query.contains("watch=") => self.watch(namespace),
            (Method::GET, None) => document(&self.list(namespace)),
            (Method::POST, None) => {
                let name = sent["metadata"]["name"]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned();
                if self.find(namespace, &name).is_some() {
                    let told = format!("configmaps \"{name}\" already exists");
                    return failure(409, "AlreadyExists", &told, &json!({}));
                }
                document(&self.store(namespace, &name, sent, "ADDED"))
            }
            (Method::GET, Some(name)) => match self.find(namespace, name) {
                Some(found) => document(&found),
                None => missing(name),
            },
            (Method::PUT, Some(name)) => document(&self.store(namespace, name, sent, "MODIFIED")),
            (Method::PATCH, Some(name)) => {
                let applied = kind.is_some_and(|kind| kind.starts_with("application/apply-patch"));
                match self.find(namespace, name) {
                    Some(mut found) => {
                        merge(&mut found, &sent);
                        document(&self.store(namespace, name, found, "MODIFIED"))
                    }
                    None if applied => document(&self.store(namespace, name, sent, "ADDED")),
                    None => missing(name),
                }
            }
            (Method::DELETE, Some(name)) => {
                let key = (namespace.to_owned(), name.to_owned());
                let gone = self.state().objects.remove(&key);
                match gone {
                    Some(gone) => {
                        self.tell("DELETED", &gone);
                        document(&json!({
                            "kind": "Status", "apiVersion": "v1", "metadata": {},
                            "status": "Success", "details": { "name": name, "kind": "configmaps" },
                        }))
                    }
                    None => missing(name),
                }
            }
            _ => failure(
                405,
                "MethodNotAllowed",
                "the server does not allow this",
                &json!({}),
            ),
        }
    }

    fn list(&self, namespace: &str) -> Value {
        let state = self.state();
        let items = state
            .objects
            .iter()
            .filter(|((found, _), _)| found == namespace);
        let items: Vec<&Value> = items.map(|(_, object)| object).collect();
        json!({
            "kind": "ConfigMapList", "apiVersion": "v1",
            "metadata": { "resourceVersion": state.version.to_string() }, "items": items,
        })
    }

    /// What there is, and then what happens, a line each, until the client goes.
    fn watch(&self, namespace: &str) -> Response<Body> {
        let events = self.events.subscribe();
        let namespace = namespace.to_owned();
        let events = stream::unfold(events, |mut events| async move {
            let event = events.recv().await.ok()?;
            Some((event, events))
        });
        let here =
            move |event: &Value| event["object"]["metadata"]["namespace"] == namespace.as_str();
        let lines = events
            .filter(move |event| std::future::ready(here(event)))
            .map(|event| Ok::<_, Infallible>(Frame::data(Bytes::from(format!("{event}\n")))));
        let body = StreamBody::new(lines).map_err(|never| match never {});
        Response::builder()
            .header(header::CONTENT_TYPE, "application/json")
            .body(body.boxed())
            .expect("a response")
    }

    fn find(&self, namespace: &str, name: &str) -> Option<Value> {
        let key = (namespace.to_owned(), name.to_owned());
        self.state().objects.get(&key).cloned()
    }

    fn store(&self, namespace: &str, name: &str, mut object: Value, event: &str) -> Value {
        let mut state = self.state();
        state.version += 1;
        let metadata = &mut object["metadata"];
        metadata["namespace"] = namespace.into();
        metadata["name"] = name.into();
        metadata["uid"] = "00000000-0000-0000-0000-000000000001".into();
        metadata["creationTimestamp"] = "2026-01-01T00:00:00Z".into();
        metadata["resourceVersion"] = state.version.to_string().into();
        object["kind"] = "ConfigMap".into();
        object["apiVersion"] = "v1".into();
        let key = (namespace.to_owned(), name.to_owned());
        state.objects.insert(key, object.clone());
        drop(state);
        self.tell(event, &object);
        object
    }

    fn tell(&self, event: &str, object: &Value) {
        // Perhaps nobody watches.
        let _heard = self.events.send(json!({ "type": event, "object": object }));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn missing(name: &str) -> Response<Body> {
    let told = format!("configmaps \"{name}\" not found");
    failure(
        404,
        "NotFound",
        &told,
        &json!({ "name": name, "kind": "configmaps" }),
    )
}

/// RFC 7396; a strategic merge is the same for config maps.
fn merge(target: &mut Value, patch: &Value) {
    let Some(fields) = patch.as_object() else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    let object = target.as_object_mut().expect("an object");
    for (name, value) in fields {
        if value.is_null() {
            object.remove(name);
        } else {
            merge(object.entry(name.clone()).or_insert(Value::Null), value);
        }
    }
}
