use std::collections::BTreeSet;

use http::{HeaderName, HeaderValue, Request, Response, header};
use hyper::body::Incoming;

use super::{Call, Cluster, Gateway};
use crate::{
    Error, ErrorKind, Target,
    access::Verb,
    kubernetes::{ListOptions, namespace, namespace_list, pod, pod_list, table},
    service::{Body, json},
};

const WARNING: HeaderName = HeaderName::from_static("warning");

impl Gateway {
    pub(super) async fn pods(
        &self,
        call: &Call,
        cluster: &Cluster,
        namespace: Option<&str>,
        request: &Request<Incoming>,
    ) -> Result<Response<Body>, Error> {
        let target = Target::namespace(cluster.name(), namespace.unwrap_or("*"));
        self.authorize(call, Verb::List, target).await?;
        let options = ListOptions::parse(request.uri().query().unwrap_or_default())?;
        if options.watch {
            return Err(Error::new(
                ErrorKind::Malformed,
                "watching pods is not served here: list them again instead",
            ));
        }
        let mut listing = cluster.list(namespace).await?;
        listing.pods.retain(|pod| options.matches(pod));
        let mut response = if table::wants_table(accept(request)) {
            json(&table::pods(&listing.pods, options.include, now()))
        } else {
            json(&pod_list(&listing.pods))
        };
        for warning in listing.warnings {
            // kubectl prints these on standard error. RFC 7234 §5.5.
            let quoted = warning.replace(['"', '\\'], "'");
            if let Ok(value) = HeaderValue::from_str(&format!("299 - \"{quoted}\"")) {
                response.headers_mut().append(WARNING, value);
            }
        }
        Ok(response)
    }

    pub(super) async fn pod(
        &self,
        call: &Call,
        cluster: &Cluster,
        namespace: &str,
        name: &str,
        request: &Request<Incoming>,
    ) -> Result<Response<Body>, Error> {
        let target = Target::pod(cluster.name(), namespace, name)
            .map_err(|error| Error::new(ErrorKind::Malformed, error.to_string()))?;
        self.authorize(call, Verb::Get, target).await?;
        let found = cluster.find(call, namespace, name).await?;
        if table::wants_table(accept(request)) {
            let options = ListOptions::parse(request.uri().query().unwrap_or_default())?;
            return Ok(json(&table::pods([&found.pod], options.include, now())));
        }
        Ok(json(&pod(&found.pod)))
    }

    pub(super) async fn namespaces(
        &self,
        call: &Call,
        cluster: &Cluster,
        name: Option<&str>,
        request: &Request<Incoming>,
    ) -> Result<Response<Body>, Error> {
        let target = Target::namespace(cluster.name(), name.unwrap_or("*"));
        self.authorize(call, Verb::List, target).await?;
        let listing = cluster.list(None).await?;
        let mut names: BTreeSet<&str> = listing
            .pods
            .iter()
            .map(|pod| pod.namespace.as_str())
            .collect();
        names.insert("default");
        match name {
            Some(name) if names.contains(name) => Ok(json(&namespace(name))),
            Some(name) => Err(Error::new(
                ErrorKind::NotFound,
                format!("namespaces \"{name}\" not found"),
            )),
            None if table::wants_table(accept(request)) => {
                let options = ListOptions::parse(request.uri().query().unwrap_or_default())?;
                Ok(json(&table::namespaces(names, options.include)))
            }
            None => Ok(json(&namespace_list(names))),
        }
    }
}

fn accept(request: &Request<Incoming>) -> &str {
    let accept = request.headers().get(header::ACCEPT);
    accept
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}

fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}
