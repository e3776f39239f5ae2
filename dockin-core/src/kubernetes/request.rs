//! What a request means to a kube-apiserver, read off its method and path.

use std::borrow::Cow;

use dockin_policy::access::Attributes;
use http::Method;

use super::query::Query;
use crate::{Error, ErrorKind};

/// Reads `method` on `path` (behind any `/clusters/{cluster}`, without its query) as a
/// kube-apiserver does: verb, group, resource, sub-resource, name, namespace.
///
/// A list that can only give one name has that name; HEAD is GET; the old forms `watch/…` and
/// `proxy/…` in front of a resource are the verbs that they say. A path that is no resource has
/// an empty [`resource`](Attributes::resource) and the method as its verb, in lower case.
///
/// # Errors
///
/// `Malformed` for a query string that cannot be read in one way only, and for a method that
/// Kubernetes has no verb for.
///
/// Spec: Kubernetes `apiserver/pkg/endpoints/request/requestinfo.go`.
pub fn request_attributes(
    method: &Method,
    cluster: &str,
    path: &str,
    query: &str,
) -> Result<Attributes, Error> {
    let verb = verb(method)?;
    let query = Query::parse(query)?;
    let segments: Vec<Cow<'_, str>> = path.trim_matches('/').split('/').map(unescape).collect();
    let segments: Vec<&str> = segments.iter().map(Cow::as_ref).collect();
    let other = || Attributes {
        verb: method.as_str().to_ascii_lowercase(),
        path: path.to_owned(),
        cluster: Some(cluster.to_owned()),
        ..Attributes::default()
    };
    let (group, rest) = match segments.as_slice() {
        ["api", _, rest @ ..] if !rest.is_empty() => ("", rest),
        ["apis", group, _, rest @ ..] if !rest.is_empty() => (*group, rest),
        _ => return Ok(other()),
    };
    let (verb, rest) = match rest {
        [special @ ("watch" | "proxy"), rest @ ..] if !rest.is_empty() => {
            if verb != "get" && *special == "watch" {
                let what = format!("method `{method}` cannot watch");
                return Err(Error::new(ErrorKind::Malformed, what));
            }
            (*special, rest)
        }
        rest => (verb, rest),
    };
    let (namespace, rest) = match rest {
        ["namespaces", namespace, resource, ..] if !NAMESPACE_PARTS.contains(resource) => {
            (*namespace, rest.get(2..).unwrap_or_default())
        }
        ["namespaces", namespace, ..] => (*namespace, rest),
        rest => ("", rest),
    };
    let (resource, mut name, mut subresource) = match rest {
        [] => return Ok(other()),
        [resource] => (*resource, String::new(), ""),
        [resource, name] => (*resource, (*name).to_owned(), ""),
        [resource, name, subresource, ..] => (*resource, (*name).to_owned(), *subresource),
    };
    // What is behind the name of an object in the old form is the path inside it.
    if verb == "proxy" {
        subresource = "";
    }
    let verb = match (verb, name.is_empty()) {
        ("get", true) => {
            if let Some(one) = only_name(&query)? {
                one.clone_into(&mut name);
            }
            if watches(&query)? { "watch" } else { "list" }
        }
        ("delete", true) => "deletecollection",
        (verb, _) => verb,
    };
    Ok(Attributes {
        verb: verb.to_owned(),
        group: group.to_owned(),
        resource: resource.to_owned(),
        subresource: subresource.to_owned(),
        name,
        namespace: namespace.to_owned(),
        path: path.to_owned(),
        cluster: Some(cluster.to_owned()),
    })
}

/// Whether nothing is changed and nothing but the API server reached.
#[must_use]
pub fn only_reads(wanted: &Attributes) -> bool {
    let reads = matches!(wanted.verb.as_str(), "get" | "list" | "watch" | "head");
    reads && wanted.subresource != "proxy"
}

/// What kubectl asks for before anything else, and asks about the person himself: nothing of any
/// namespace.
#[must_use]
pub fn is_discovery(wanted: &Attributes) -> bool {
    let own = [
        "selfsubjectaccessreviews",
        "selfsubjectrulesreviews",
        "selfsubjectreviews",
    ];
    let about_oneself = wanted.verb == "create"
        && matches!(
            wanted.group.as_str(),
            "authorization.k8s.io" | "authentication.k8s.io"
        )
        && own.contains(&wanted.resource.as_str());
    if about_oneself {
        return true;
    }
    if !wanted.resource.is_empty() || !only_reads(wanted) {
        return false;
    }
    let segments: Vec<&str> = wanted.path.trim_matches('/').split('/').collect();
    matches!(
        *segments.as_slice(),
        [""] | ["version" | "api" | "apis" | "openapi", ..] | ["healthz" | "readyz" | "livez"]
    )
}

/// Sub-resources of a namespace, which are no resources in it.
const NAMESPACE_PARTS: [&str; 2] = ["status", "finalize"];

fn verb(method: &Method) -> Result<&'static str, Error> {
    Ok(match method.as_str() {
        "GET" | "HEAD" => "get",
        "POST" => "create",
        "PUT" => "update",
        "PATCH" => "patch",
        "DELETE" => "delete",
        other => {
            let what = format!("method `{other}` is none that Kubernetes has a verb for");
            return Err(Error::new(ErrorKind::Malformed, what));
        }
    })
}

fn watches(query: &Query) -> Result<bool, Error> {
    let value = query.value("watch")?;
    Ok(value.is_some_and(|value| value != "0" && !value.eq_ignore_ascii_case("false")))
}

/// The name that a field selector leaves.
fn only_name(query: &Query) -> Result<Option<&str>, Error> {
    let name = query
        .value("fieldSelector")?
        .and_then(|selector| selector.strip_prefix("metadata.name="));
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-.".contains(&byte);
    Ok(name.filter(|name| !name.is_empty() && name.bytes().all(plain)))
}

/// Undoes the escapes of a segment; one that has a broken escape stays as it is.
fn unescape(segment: &str) -> Cow<'_, str> {
    if !segment.contains('%') {
        return Cow::Borrowed(segment);
    }
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
        match (digit(rest.next()), digit(rest.next())) {
            (Some(high), Some(low)) => bytes.push(u8::try_from(high * 16 + low).unwrap_or(b'?')),
            _ => return Cow::Borrowed(segment),
        }
    }
    String::from_utf8(bytes).map_or(Cow::Borrowed(segment), Cow::Owned)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use http::Method;

    use super::{is_discovery, request_attributes};

    #[test]
    fn paths_are_read_as_the_apiserver_reads_them() {
        // verb, group, resource, sub-resource, namespace, name
        for (method, path, words) in [
            (
                "GET",
                "/api/v1/namespaces/dev/pods/web",
                "get||pods||dev|web",
            ),
            (
                "HEAD",
                "/api/v1/namespaces/dev/pods/web",
                "get||pods||dev|web",
            ),
            ("GET", "/api/v1/namespaces/dev/pods", "list||pods||dev|"),
            ("GET", "/api/v1/pods?watch=true", "watch||pods|||"),
            ("GET", "/api/v1/pods?watch", "watch||pods|||"),
            ("GET", "/api/v1/pods?watch=0", "list||pods|||"),
            ("GET", "/api/v1/pods?watch=False", "list||pods|||"),
            (
                "GET",
                "/api/v1/pods?fieldSelector=metadata.name%3Dweb",
                "list||pods|||web",
            ),
            (
                "GET",
                "/api/v1/pods?fieldSelector=metadata.name%3Da%2Cx%3Dy",
                "list||pods|||",
            ),
            (
                "GET",
                "/api/v1/watch/namespaces/dev/pods",
                "watch||pods||dev|",
            ),
            ("GET", "/api/v1/namespaces", "list||namespaces|||"),
            ("GET", "/api/v1/namespaces/dev", "get||namespaces||dev|dev"),
            (
                "PUT",
                "/api/v1/namespaces/dev/finalize",
                "update||namespaces|finalize|dev|dev",
            ),
            (
                "GET",
                "/api/v1/namespaces/dev/status",
                "get||namespaces|status|dev|dev",
            ),
            (
                "POST",
                "/apis/apps/v1/namespaces/dev/deployments",
                "create|apps|deployments||dev|",
            ),
            (
                "PATCH",
                "/apis/apps/v1/namespaces/dev/deployments/web/scale",
                "patch|apps|deployments|scale|dev|web",
            ),
            (
                "DELETE",
                "/api/v1/namespaces/dev/pods",
                "deletecollection||pods||dev|",
            ),
            ("DELETE", "/api/v1/nodes/n1", "delete||nodes|||n1"),
            (
                "GET",
                "/api/v1/nodes/n1/proxy/run/dev/web/main",
                "get||nodes|proxy||n1",
            ),
            (
                "GET",
                "/api/v1/namespaces/dev/services/web:80/proxy/a/b",
                "get||services|proxy|dev|web:80",
            ),
            (
                "GET",
                "/api/v1/proxy/namespaces/dev/pods/web",
                "proxy||pods||dev|web",
            ),
            // A node may be called `namespaces`.
            (
                "GET",
                "/api/v1/nodes/namespaces/dev",
                "get||nodes|dev||namespaces",
            ),
            (
                "POST",
                "/api/v1/namespaces/dev/pods/web/exec",
                "create||pods|exec|dev|web",
            ),
            (
                "GET",
                "/api/v1/namespaces/dev/configmaps/a%20b",
                "get||configmaps||dev|a b",
            ),
        ] {
            let (path, query) = path.split_once('?').unwrap_or((path, ""));
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let found = request_attributes(&method, "c", path, query).unwrap();
            let told = [
                found.verb,
                found.group,
                found.resource,
                found.subresource,
                found.namespace,
                found.name,
            ];
            assert_eq!(told.join("|"), words, "{method} {path}?{query}");
            assert_eq!(
                (found.path.as_str(), found.cluster.as_deref()),
                (path, Some("c"))
            );
        }
    }

    #[test]
    fn what_is_no_resource_keeps_its_path_and_method() {
        for (path, discovery) in [
            ("/", true),
            ("/api", true),
            ("/api/v1", true),
            ("/apis/apps/v1", true),
            ("/openapi/v3/api/v1", true),
            ("/version", true),
            ("/metrics", false),
            ("/debug/pprof/heap", false),
            ("/logs/kubelet.log", false),
        ] {
            let found = request_attributes(&Method::GET, "c", path, "timeout=32s").unwrap();
            assert_eq!(
                (found.verb.as_str(), found.resource.as_str()),
                ("get", ""),
                "{path}"
            );
            assert_eq!(is_discovery(&found), discovery, "{path}");
            let found = request_attributes(&Method::POST, "c", path, "").unwrap();
            assert_eq!(found.verb, "post");
            assert!(!is_discovery(&found), "{path}");
        }
        let own = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
        let own = request_attributes(&Method::POST, "c", own, "").unwrap();
        assert!(is_discovery(&own));
        let others = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
        let others = request_attributes(&Method::POST, "c", others, "").unwrap();
        assert!(!is_discovery(&others));
    }

    #[test]
    fn what_has_two_readings_is_refused() {
        for (method, query) in [
            ("GET", "watch=false&watch=true"),
            ("GET", "fieldSelector=metadata.name%3Da&fieldSelector="),
            ("OPTIONS", ""),
            ("CONNECT", ""),
            ("BREW", ""),
        ] {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let read = request_attributes(&method, "c", "/api/v1/pods", query);
            assert!(read.is_err(), "{method} {query}");
        }
    }
}
