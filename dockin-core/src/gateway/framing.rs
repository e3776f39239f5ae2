//! Requests that two readers could read in two ways.

use http::{HeaderValue, Request, Response, Version, header};

use crate::{
    Error, ErrorKind,
    service::{Body, status_response},
};

/// Refuses a request that another reader could take for one to another host, or of another person.
/// What cannot be read at all never comes here; of `Content-Length` and `Transfer-Encoding` at once
/// hyper reads the latter, and nothing behind it.
///
/// # Errors
///
/// `Malformed` that names the headers.
///
/// Spec: RFC 9112 §3.2; RFC 9113 §8.3.1.
pub(super) fn check<B>(request: &Request<B>) -> Result<(), Error> {
    let malformed = |what: &str| Err(Error::new(ErrorKind::Malformed, what));
    let headers = request.headers();
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return malformed("`Host` is given twice: send one");
    }
    if let (Some(host), Some(authority)) = (host, request.uri().authority()) {
        let host = host.as_bytes();
        if !host.eq_ignore_ascii_case(authority.as_str().as_bytes()) {
            return malformed("`Host` and the request's own address differ: send one");
        }
    }
    if headers
        .get_all(header::AUTHORIZATION)
        .iter()
        .nth(1)
        .is_some()
    {
        return malformed("`Authorization` is given twice: send one");
    }
    Ok(())
}

/// The answer to a request that was refused by [`check`]: what follows on the connection may be
/// part of it, and is not read.
pub(super) fn refused<B>(request: &Request<B>, error: &Error) -> Response<Body> {
    let mut response = status_response(error);
    if request.version() <= Version::HTTP_11 {
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(header::CONNECTION, close);
    }
    response
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use http::Request;

    use super::check;

    fn told(uri: &str, headers: &[(&str, &str)]) -> Result<(), String> {
        let mut request = Request::builder().uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        check(&request.body(()).unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for (uri, headers, words) in [
            (
                "/x",
                &[("host", "a"), ("host", "a")][..],
                "`Host` is given twice",
            ),
            ("https://a/x", &[("host", "b")], "differ"),
            (
                "/x",
                &[("authorization", "Bearer a"), ("authorization", "Bearer b")],
                "`Authorization`",
            ),
        ] {
            let error = told(uri, headers).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
        for (uri, headers) in [
            ("/x", &[("host", "a"), ("content-length", "3")][..]),
            ("https://A:1/x", &[("host", "a:1")]),
            ("https://a/x", &[("transfer-encoding", "chunked")]),
            ("*", &[]),
        ] {
            assert_eq!(told(uri, headers), Ok(()), "{uri} {headers:?}");
        }
    }
}
