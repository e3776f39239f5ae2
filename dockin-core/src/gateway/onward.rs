//! What of a request goes on to an API server, and which headers of its answer come back.

use std::{
    net::IpAddr,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use hyper::body::{Body as HttpBody, Frame, SizeHint};

use crate::service::BodyError;

/// The headers of `client`'s request that go on.
///
/// What belongs to the connection stays: the names of RFC 9110 §7.6.1 and whatever `Connection`
/// names. So does everything by which somebody could say who he is: credentials, impersonation,
/// the headers of an authenticating front proxy, and where the request is said to come from,
/// which is put in anew. All of it is taken out before who asks is put in, so that no
/// `Connection` can take that out again.
pub(super) fn onward(client: &HeaderMap, address: IpAddr) -> HeaderMap {
    let named = named_by_connection(client);
    // Room for who asks as well, which comes next.
    let mut headers = HeaderMap::with_capacity(client.len() + 8);
    for (name, value) in client {
        if goes_on(name) && !OF_CONNECTIONS.contains(name) && !named.contains(name) {
            headers.append(name.clone(), value.clone());
        }
    }
    // An apiserver writes it into its own audit log.
    if let Ok(address) = HeaderValue::from_str(&address.to_canonical().to_string()) {
        headers.insert(HeaderName::from_static("x-forwarded-for"), address);
    }
    headers
}

/// Takes out of an answer what belongs to the connection it came on, or would do something to
/// the gateway's own address: cookies, authentication of other realms, other ways to reach it.
pub(super) fn returned(headers: &mut HeaderMap) {
    remove_connection(headers);
    remove(headers, &OF_THE_ADDRESS);
}

/// What an answer would do to the address that it comes from.
static OF_THE_ADDRESS: [HeaderName; 6] = [
    header::SET_COOKIE,
    header::WWW_AUTHENTICATE,
    header::ALT_SVC,
    header::STRICT_TRANSPORT_SECURITY,
    HeaderName::from_static("clear-site-data"),
    HeaderName::from_static("service-worker-allowed"),
];

/// Makes a browser that shows an answer of somebody's program run nothing of it.
pub(super) fn disarm(headers: &mut HeaderMap) {
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("sandbox"),
    );
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
}

/// What belongs to one connection, whether `Connection` names it or not.
static OF_CONNECTIONS: [HeaderName; 10] = [
    header::CONNECTION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("http2-settings"),
];

fn named_by_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    let mut named = Vec::new();
    for value in headers.get_all(header::CONNECTION) {
        let text = String::from_utf8_lossy(value.as_bytes());
        named.extend(
            text.split(',')
                .filter_map(|name| name.trim().parse::<HeaderName>().ok()),
        );
    }
    named
}

fn remove_connection(headers: &mut HeaderMap) {
    for name in named_by_connection(headers) {
        headers.remove(name);
    }
    remove(headers, &OF_CONNECTIONS);
}

/// Takes out what is there of `names`. Most answers have nothing of it, and comparing names is
/// quicker than hashing each.
fn remove(headers: &mut HeaderMap, names: &[HeaderName]) {
    while let Some(found) = headers.keys().find(|name| names.contains(name)).cloned() {
        headers.remove(found);
    }
}

fn goes_on(name: &HeaderName) -> bool {
    const PREFIXES: [&str; 4] = [
        "impersonate-",
        "x-remote-",
        "x-forwarded-",
        "sec-websocket-",
    ];
    const NAMES: [&str; 7] = [
        "authorization",
        "cookie",
        // The body is framed anew, by what it is.
        "content-length",
        "expect",
        "forwarded",
        "host",
        "x-real-ip",
    ];
    // Behind CGI and its like `Impersonate_User` is the same name.
    let dashed = name
        .as_str()
        .contains('_')
        .then(|| name.as_str().replace('_', "-"));
    let name = dashed.as_deref().unwrap_or(name.as_str());
    !NAMES.contains(&name) && !PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// The body of a request without what comes behind it: trailers have been judged by nobody, and
/// some servers take them for headers.
pub(super) struct WithoutTrailers<B>(pub(super) B);

impl<B> HttpBody for WithoutTrailers<B>
where
    B: HttpBody<Data = Bytes, Error: Into<BodyError>> + Unpin,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        loop {
            match ready!(Pin::new(&mut self.0).poll_frame(context)) {
                Some(Ok(frame)) if frame.is_trailers() => {}
                other => return Poll::Ready(other.map(|frame| frame.map_err(Into::into))),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use std::net::{IpAddr, Ipv4Addr};

    use bytes::Bytes;
    use http::{HeaderMap, HeaderName};
    use http_body_util::{BodyExt as _, StreamBody};
    use hyper::body::Frame;

    use super::{WithoutTrailers, onward, returned};
    use crate::service::BodyError;

    const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));

    fn headers(lines: &[&str]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for line in lines {
            let (name, value) = line.split_once(": ").unwrap();
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            map.append(name, value.parse().unwrap());
        }
        map
    }

    fn kept(lines: &[&str]) -> Vec<String> {
        let map = onward(&headers(lines), CLIENT);
        let mut kept: Vec<String> = map
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .filter(|line| line != "x-forwarded-for: 192.0.2.7")
            .collect();
        kept.sort();
        kept
    }

    /// KubeCube W1: any valid token with `Impersonate-Group: system:masters` was cluster-admin.
    #[test]
    fn w1_impersonation_of_the_client_never_goes_on() {
        for line in [
            "Impersonate-User: root",
            "impersonate-group: system:masters",
            "IMPERSONATE-GROUP: system:masters",
            "Impersonate-Uid: 0",
            "Impersonate-Extra-Scopes: all",
            "impersonate-extra-%63: x",
            "Impersonate-Anything-New: x",
            "Impersonate_User: root",
            "impersonate_Extra-Scopes: all",
            "X_Remote_Group: system:masters",
            "X_Forwarded_For: 10.0.0.1",
            "X-Remote-User: root",
            "X-Remote-Group: system:masters",
            "X-Remote-Extra-Scopes: all",
            "Authorization: Bearer stolen",
            "Cookie: session=1",
        ] {
            assert_eq!(kept(&[line, "accept: */*"]), ["accept: */*"], "{line}");
        }
    }

    /// KubeCube W2, Rancher GHSA-pvxj-25m6-7vqr: what `Connection` names is taken from the
    /// client's headers alone, before who asks is put in.
    #[test]
    fn w2_connection_takes_out_the_clients_headers_and_itself() {
        let lines = [
            "Connection: Impersonate-User, x-mine",
            "connection: close, Keep-Alive",
            "Impersonate-User: root",
            "x-mine: 1",
            "x-other: 2",
            "keep-alive: timeout=5",
        ];
        assert_eq!(kept(&lines), ["x-other: 2"]);
    }

    #[test]
    fn what_belongs_to_the_connection_or_says_where_it_comes_from_stays() {
        let lines = [
            "Transfer-Encoding: chunked",
            "Content-Length: 3",
            "TE: trailers",
            "Trailer: x",
            "Upgrade: h2c",
            "HTTP2-Settings: x",
            "Proxy-Authorization: x",
            "Proxy-Connection: keep-alive",
            "Expect: 100-continue",
            "Host: elsewhere",
            "Forwarded: for=10.0.0.1",
            "X-Forwarded-For: 10.0.0.1",
            "X-Forwarded-Host: elsewhere",
            "X-Real-IP: 10.0.0.1",
            "Sec-WebSocket-Protocol: base64url.bearer.authorization.k8s.io.eA",
            "User-Agent: kubectl",
            "Content-Type: application/apply-patch+yaml",
            "Audit-ID: 1",
            "If-None-Match: x",
        ];
        let expected = [
            "audit-id: 1",
            "content-type: application/apply-patch+yaml",
            "if-none-match: x",
            "user-agent: kubectl",
        ];
        assert_eq!(kept(&lines), expected);
        let map = onward(&headers(&lines), CLIENT);
        assert_eq!(map.get_all("x-forwarded-for").iter().count(), 1);
    }

    #[test]
    fn answers_do_nothing_to_the_gateways_own_address() {
        let mut map = headers(&[
            "Connection: close, x-hop",
            "x-hop: 1",
            "Set-Cookie: a=b",
            "WWW-Authenticate: Basic",
            "Alt-Svc: h3=\":1\"",
            "Transfer-Encoding: chunked",
            "Content-Type: application/json",
            "Warning: 299 - \"old\"",
            "Audit-Id: 1",
        ]);
        returned(&mut map);
        let mut names: Vec<&str> = map.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["audit-id", "content-type", "warning"]);
    }

    #[tokio::test]
    async fn what_comes_behind_a_body_stays() {
        let frames: [Result<_, BodyError>; 3] = [
            Ok(Frame::data(Bytes::from_static(b"a"))),
            Ok(Frame::trailers(headers(&["impersonate-user: root"]))),
            Ok(Frame::data(Bytes::from_static(b"b"))),
        ];
        let body = StreamBody::new(futures::stream::iter(frames));
        let whole = WithoutTrailers(body).collect().await.unwrap();
        assert_eq!(whole.trailers(), None);
        assert_eq!(whole.to_bytes(), "ab");
    }
}
