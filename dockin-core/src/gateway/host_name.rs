//! Host names of clusters: `CLUSTER.domain`.

use http::{Request, header};

use super::Gateway;
use crate::{Error, ErrorKind, service::Peer};

impl Gateway {
    /// The cluster that a request names by its host, or by that of the handshake.
    pub(super) fn cluster_host<B>(
        &self,
        peer: &Peer,
        request: &Request<B>,
    ) -> Result<Option<String>, Error> {
        match &self.cluster_domain {
            None => Ok(None),
            Some(domain) => cluster_of(domain, host(request), peer.server_name.as_deref()),
        }
    }
}

/// The host that a request is for, with its port if it has one.
pub(super) fn authority_of<B>(request: &Request<B>) -> Option<&str> {
    let of_uri = request.uri().authority().map(http::uri::Authority::as_str);
    let of_header = || {
        let mut all = request.headers().get_all(header::HOST).iter();
        match (all.next(), all.next()) {
            (Some(one), None) => one.to_str().ok(),
            _ => None,
        }
    };
    of_uri.or_else(of_header)
}

/// The host that a request is for, without a port.
fn host<B>(request: &Request<B>) -> Option<&str> {
    let authority = authority_of(request)?;
    let bare = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    };
    Some(bare)
}

/// The cluster that is named below `domain`. The host of the request decides; that of the
/// handshake counts where the first says nothing: clients that are told another name for TLS than
/// the address send the address there.
///
/// # Errors
///
/// `Malformed` when the two name different clusters, so that no connection made for one cluster is
/// used for another by mistake, and for a name that no cluster can have.
fn cluster_of(
    domain: &str,
    host: Option<&str>,
    server_name: Option<&str>,
) -> Result<Option<String>, Error> {
    let below = |name: Option<&str>| -> Result<Option<Option<String>>, Error> {
        let name = name.unwrap_or_default().to_ascii_lowercase();
        let Some(rest) = name.trim_end_matches('.').strip_suffix(domain) else {
            return Ok(None);
        };
        let Some(label) = rest.strip_suffix('.') else {
            return Ok(rest.is_empty().then_some(None));
        };
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        if label.is_empty() || !label.bytes().all(legal) {
            let what = format!("no cluster is called so below `{domain}`: use CLUSTER.{domain}");
            return Err(Error::new(ErrorKind::Malformed, what));
        }
        Ok(Some(Some(label.to_owned())))
    };
    match (below(host)?, below(server_name)?.flatten()) {
        (Some(Some(host)), Some(server)) if host != server => {
            let what = format!(
                "the connection was made for cluster `{server}`, the request is for `{host}`: \
                 use one connection for each"
            );
            Err(Error::new(ErrorKind::Malformed, what))
        }
        (Some(named), _) => Ok(named),
        (None, server) => Ok(server),
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::{cluster_of, host};

    #[test]
    fn the_host_decides_and_the_handshake_where_it_says_nothing() {
        let named = |host: &str, server: Option<&str>| {
            cluster_of("gw.example", Some(host), server).map_err(|_| ())
        };
        let prod = Ok(Some("prod".to_owned()));
        assert_eq!(named("prod.gw.example", None), prod);
        assert_eq!(named("PROD.GW.Example.", None), prod);
        assert_eq!(named("prod.gw.example", Some("prod.gw.example")), prod);
        assert_eq!(named("10.0.0.1", Some("prod.gw.example")), prod);
        assert_eq!(named("prod.gw.example", Some("gw.example")), prod);
        for none in ["gw.example", "other.example", "prodgw.example", ""] {
            assert_eq!(named(none, None), Ok(None), "{none}");
        }
        assert_eq!(named("gw.example", Some("prod.gw.example")), Ok(None));
        for bad in [
            "a/b.gw.example",
            "a.b.gw.example",
            "..gw.example",
            ".gw.example",
            "a%2fb.gw.example",
            "a b.gw.example",
        ] {
            assert_eq!(named(bad, None), Err(()), "{bad}");
        }
        assert_eq!(named("dev.gw.example", Some("prod.gw.example")), Err(()));
    }

    #[test]
    fn two_host_headers_name_nobody() {
        let request = |hosts: &[&str]| {
            let mut request = Request::builder().uri("/x");
            for one in hosts {
                request = request.header("host", *one);
            }
            let request = request.body(()).ok()?;
            host(&request).map(str::to_owned)
        };
        assert_eq!(request(&["a.b:443"]).as_deref(), Some("a.b"));
        assert_eq!(request(&["[::1]:443"]).as_deref(), Some("[::1]"));
        assert_eq!(request(&["a.b", "c.d"]), None);
        assert_eq!(request(&[]), None);
    }
}
