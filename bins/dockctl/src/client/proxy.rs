//! HTTP proxies on the way to the gateway: which one, and how to pass it.
//!
//! The one of the kubeconfig (`proxy-url`), else the environment's, read as Go and so kubectl
//! read it: `HTTPS_PROXY` or `https_proxy`, unless `NO_PROXY` or `no_proxy` names the host, and
//! never for this machine's loopback.
//!
//! Spec: RFC 9110 §9.3.6 for CONNECT; golang.org/x/net/http/httpproxy for the environment.

use std::{fmt, net::IpAddr};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{Uri, uri::Authority};
use tokio::io::{
    AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _,
};

use crate::{
    failure::{Failure, chain},
    kubeconfig::{Connection, is_loopback},
};

/// A proxy that opens connections for others.
#[derive(Clone, PartialEq)]
pub(super) struct Proxy {
    /// It is spoken to over TLS.
    pub(super) encrypted: bool,
    pub(super) host: String,
    pub(super) port: u16,
    /// What it is shown: the name and password of its URL.
    credential: Option<String>,
}

impl Proxy {
    /// The proxy between us and the server of `connection`, if there is one. `variable` reads the
    /// environment.
    pub(super) fn between(
        connection: &Connection,
        host: &str,
        port: u16,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<Self>, Failure> {
        if let Some(url) = &connection.proxy_url {
            return Self::parse(url, "proxy-url of the kubeconfig").map(Some);
        }
        // The first of both spellings that says something.
        let either = |names: [&'static str; 2]| {
            let mut both = names.into_iter();
            both.find_map(|name| Some((name, variable(name).filter(|text| !text.is_empty())?)))
        };
        // Plain HTTP is for loopback alone, and that is never proxied.
        let Some((name, url)) = either(["HTTPS_PROXY", "https_proxy"]) else {
            return Ok(None);
        };
        let exceptions = either(["NO_PROXY", "no_proxy"]).map(|(_, list)| list);
        if is_loopback(host) || is_excepted(&exceptions.unwrap_or_default(), host, port) {
            return Ok(None);
        }
        Self::parse(&url, name).map(Some)
    }

    /// Reads a URL; without a scheme it is `http`. `whence` is for the message.
    fn parse(url: &str, whence: &str) -> Result<Self, Failure> {
        // Never the URL itself: it may have a password in it.
        let wrong = |what: &str| {
            Failure::local(format!(
                "{whence} {what}\nwrite it as http://proxy.example:3128, https too, with NAME:PASSWORD@ where it asks for them"
            ))
        };
        let (scheme, rest) = url.trim().split_once("://").unwrap_or(("http", url.trim()));
        let encrypted = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            "socks5" | "socks5h" => return Err(wrong("is a SOCKS proxy, which is not supported")),
            _ => return Err(wrong("is neither http nor https")),
        };
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let (credential, address) = match authority.rsplit_once('@') {
            Some((credential, address)) => (Some(credential), address),
            None => (None, authority),
        };
        let (host, port) = split_port(address);
        // A host that can stand in a URL.
        let known: Result<Authority, _> = host.parse();
        if bare(host).is_empty() || known.is_err() {
            return Err(wrong("is no URL"));
        }
        let port = match port.unwrap_or_default() {
            "" if encrypted => 443,
            "" => 80,
            digits => digits
                .parse()
                .map_err(|_| wrong("has no port that there is"))?,
        };
        let credential = credential
            .map(|text| {
                let (name, password) = text.split_once(':').unwrap_or((text, ""));
                Some(format!("{}:{}", decode(name)?, decode(password)?))
            })
            .map(|text| text.ok_or_else(|| wrong("has a broken name or password")))
            .transpose()?;
        Ok(Self {
            encrypted,
            host: bare(host).to_owned(),
            port,
            credential,
        })
    }

    /// Has the proxy behind `socket` open a connection to `host:port`; from then on `socket` is
    /// that connection.
    pub(super) async fn open(
        &self,
        socket: &mut (impl AsyncBufRead + AsyncWrite + Unpin),
        host: &str,
        port: u16,
    ) -> Result<(), Failure> {
        let target = authority(host, port);
        let mut request = format!(
            "CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nUser-Agent: dockctl/{}\r\n",
            env!("CARGO_PKG_VERSION")
        );
        if let Some(credential) = &self.credential {
            request.push_str("Proxy-Authorization: Basic ");
            request.push_str(&STANDARD.encode(credential));
            request.push_str("\r\n");
        }
        request.push_str("\r\n");
        let broken = |error: std::io::Error| {
            Failure::gateway(format!("{self} broke off: {}", chain(&error)))
        };
        socket.write_all(request.as_bytes()).await.map_err(broken)?;
        socket.flush().await.map_err(broken)?;
        let mut head = Vec::new();
        let mut limited = socket.take(MAX_HEAD);
        while !head.ends_with(b"\r\n\r\n") && !head.ends_with(b"\n\n") {
            if limited.read_until(b'\n', &mut head).await.map_err(broken)? == 0 {
                return Err(Failure::gateway(format!(
                    "{self} did not answer as an HTTP proxy does"
                )));
            }
        }
        let head = String::from_utf8_lossy(&head);
        let line = head.lines().next().unwrap_or_default();
        let status = line.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..));
        match status.and_then(|rest| rest.get(..3)) {
            Some(code) if code.starts_with('2') => Ok(()),
            Some("407") => Err(Failure::gateway(format!(
                "{self} wants a name and a password, or other ones (407)\nput them into its URL: http://NAME:PASSWORD@{}",
                authority(&self.host, self.port)
            ))),
            Some(_) => {
                let told: String = status.unwrap_or_default().chars().take(100).collect();
                Err(Failure::gateway(format!(
                    "{self} does not connect to {target}: {}",
                    told.escape_debug()
                )))
            }
            None => Err(Failure::gateway(format!(
                "{self} did not answer as an HTTP proxy does"
            ))),
        }
    }
}

/// Without name and password.
impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.encrypted { "https" } else { "http" };
        write!(f, "proxy {scheme}://{}", authority(&self.host, self.port))
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({self})")
    }
}

/// A proxy's answer, bytes.
const MAX_HEAD: u64 = 16 * 1024;

/// Whether `list`, a `NO_PROXY`, names `host:port`: `*`; addresses and networks; names, which
/// stand for what is below them too, and with a leading `.` or `*.` for that alone; all but
/// networks with a port if wanted.
fn is_excepted(list: &str, host: &str, port: u16) -> bool {
    let host = bare(host).to_ascii_lowercase();
    let address: Option<IpAddr> = host.parse().ok();
    list.split(',').any(|entry| {
        let entry = entry.trim().to_ascii_lowercase();
        if entry.is_empty() || entry == "*" {
            return entry == "*";
        }
        if let Some(network) = Network::parse(&entry) {
            return address.is_some_and(|address| network.contains(address));
        }
        let (name, wanted) = split_port(&entry);
        if wanted.is_some_and(|wanted| !wanted.is_empty() && wanted.parse() != Ok(port)) {
            return false;
        }
        let name = bare(name);
        if let Ok(excepted) = name.parse::<IpAddr>() {
            return address
                .is_some_and(|address| address.to_canonical() == excepted.to_canonical());
        }
        let below = name
            .strip_prefix('*')
            .filter(|rest| rest.starts_with('.'))
            .unwrap_or(name);
        match below.strip_prefix('.') {
            Some(domain) => !domain.is_empty() && host.ends_with(below),
            None => {
                let rest = host.strip_suffix(below);
                !below.is_empty() && rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
            }
        }
    })
}

/// A CIDR block.
struct Network {
    address: IpAddr,
    bits: u32,
}

impl Network {
    fn parse(text: &str) -> Option<Self> {
        let (address, bits) = text.split_once('/')?;
        let address: IpAddr = address.parse().ok()?;
        let bits = bits.parse().ok()?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        (bits <= most).then_some(Self { address, bits })
    }

    fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let differ = network.to_bits() ^ address.to_bits();
                differ.leading_zeros() >= self.bits
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let differ = network.to_bits() ^ address.to_bits();
                differ.leading_zeros() >= self.bits
            }
            _ => false,
        }
    }
}

/// `host:port` as Go splits it: an address with colons of its own has no port unless in brackets.
fn split_port(entry: &str) -> (&str, Option<&str>) {
    match entry.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, Some(port)),
        _ => (entry, None),
    }
}

/// Without the brackets of an IPv6 address.
fn bare(host: &str) -> &str {
    let inner = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    inner.unwrap_or(host)
}

fn authority(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

/// Resolves percent escapes.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        rest = behind;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (digits, behind) = rest.split_at_checked(2)?;
        rest = behind;
        let digits = std::str::from_utf8(digits).ok()?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
    }
    String::from_utf8(bytes).ok()
}

/// What says where the server is, and which proxy its URL means.
pub(super) fn host_of(server: &Uri) -> &str {
    bare(server.host().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader, duplex};

    use super::{Proxy, is_excepted};
    use crate::kubeconfig::Connection;

    fn connection(proxy_url: Option<&str>) -> Connection {
        Connection {
            server: "https://gateway.example:6443".parse().unwrap(),
            authority: None,
            server_name: None,
            proxy_url: proxy_url.map(str::to_owned),
            insecure: false,
            token: None,
            client_certificate: None,
            namespace: None,
        }
    }

    fn chosen(proxy_url: Option<&str>, host: &str, variables: &[(&str, &str)]) -> Option<String> {
        let variable = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        Proxy::between(&connection(proxy_url), host, 6443, variable)
            .unwrap()
            .map(|proxy| proxy.to_string())
    }

    #[test]
    fn the_environment_is_read_as_go_reads_it() {
        let https = ("HTTPS_PROXY", "http://one:3128");
        let lower = ("https_proxy", "https://two");
        let one = Some("proxy http://one:3128".to_owned());
        let two = Some("proxy https://two:443".to_owned());
        assert_eq!(chosen(None, "gateway.example", &[]), None);
        assert_eq!(chosen(None, "gateway.example", &[lower, https]), one);
        assert_eq!(chosen(None, "gateway.example", &[lower]), two);
        assert_eq!(
            chosen(None, "gateway.example", &[("HTTPS_PROXY", ""), lower]),
            two
        );
        // Go knows no ALL_PROXY, and HTTP_PROXY is for http alone.
        for name in ["ALL_PROXY", "HTTP_PROXY", "http_proxy"] {
            assert_eq!(chosen(None, "gateway.example", &[(name, "http://x")]), None);
        }
        let no = ("no_proxy", "gateway.example");
        assert_eq!(chosen(None, "gateway.example", &[https, no]), None);
        for loopback in ["localhost", "127.0.0.1", "127.8.9.1", "::1"] {
            assert_eq!(chosen(None, loopback, &[https]), None);
        }
        // What the kubeconfig says holds whatever the environment says.
        let own = Some("https://[::1]:8080/");
        let shown = Some("proxy https://[::1]:8080".to_owned());
        assert_eq!(chosen(own, "127.0.0.1", &[https, ("NO_PROXY", "*")]), shown);
        assert_eq!(
            chosen(None, "10.0.0.1", &[("HTTPS_PROXY", "one:3128")]),
            one
        );
    }

    #[test]
    fn exceptions_are_read_as_go_reads_them() {
        for (list, host, excepted) in [
            ("*", "a.example", true),
            ("", "a.example", false),
            ("example", "a.example", true),
            ("example.", "a.example", false),
            ("A.EXAMPLE", "a.example", true),
            ("a.example", "ba.example", false),
            ("a.example", "b.a.example", true),
            (".a.example", "a.example", false),
            (".a.example", "b.a.example", true),
            ("*.a.example", "b.a.example", true),
            ("*.a.example", "a.example", false),
            ("x, a.example:6443 ", "a.example", true),
            ("a.example:443", "a.example", false),
            ("10.0.0.0/8", "10.1.2.3", true),
            ("10.0.0.0/8", "11.1.2.3", false),
            ("10.0.0.0/33", "10.1.2.3", false),
            ("10.0.0.0/8", "a.example", false),
            ("0.0.0.0/0", "10.1.2.3", true),
            ("10.1.2.3", "10.1.2.3", true),
            ("10.1.2.3:6443", "10.1.2.3", true),
            ("10.1.2.3:80", "10.1.2.3", false),
            ("fd00::/8", "fd00::1", true),
            ("fd00::1", "fd00::1", true),
            ("[fd00::1]:6443", "fd00::1", true),
            (":6443", "a.example", false),
            (".", "a.example", false),
        ] {
            assert_eq!(is_excepted(list, host, 6443), excepted, "{list} {host}");
        }
    }

    #[test]
    fn a_url_that_cannot_be_used_is_told_without_its_password() {
        for (url, told) in [
            ("socks5://me:secret@proxy", "SOCKS"),
            ("ftp://me:secret@proxy", "neither"),
            ("http://me:secret@", "no URL"),
            ("http://me:secret@proxy:99999", "port"),
            ("http://me:%zz@proxy", "password"),
        ] {
            let failure = Proxy::parse(url, "HTTPS_PROXY").unwrap_err().to_string();
            assert!(
                failure.contains(told) && failure.contains("HTTPS_PROXY"),
                "{failure}"
            );
            assert!(!failure.contains("secret"), "{failure}");
        }
    }

    /// What the proxy hears when it answers `answer`, and what comes of it.
    async fn opened(url: &str, answer: &str) -> (String, Result<(), String>) {
        let proxy = Proxy::parse(url, "test").unwrap();
        let (ours, mut theirs) = duplex(4096);
        let mut ours = BufReader::new(ours);
        theirs.write_all(answer.as_bytes()).await.unwrap();
        theirs.write_all(b"early").await.unwrap();
        let result = proxy.open(&mut ours, "fd00::1", 6443).await;
        if result.is_ok() {
            let mut early = [0; 5];
            ours.read_exact(&mut early).await.unwrap();
            assert_eq!(&early, b"early");
        }
        let mut heard = vec![0; 4096];
        let count = theirs.read(&mut heard).await.unwrap();
        heard.truncate(count);
        let result = result.map_err(|failure| failure.to_string());
        (String::from_utf8(heard).unwrap(), result)
    }

    #[tokio::test]
    async fn a_proxy_is_asked_once_and_its_refusals_are_told() {
        let (heard, result) = opened(
            "http://m%40e:p%3Aw@proxy:8080",
            "HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\n",
        )
        .await;
        assert_eq!(result, Ok(()));
        assert!(heard.starts_with("CONNECT [fd00::1]:6443 HTTP/1.1\r\nHost: [fd00::1]:6443\r\n"));
        assert!(
            heard.contains("\r\nProxy-Authorization: Basic bUBlOnA6dw==\r\n"),
            "{heard}"
        );
        assert!(heard.ends_with("\r\n\r\n"));
        for (answer, told) in [
            ("HTTP/1.1 407 No\r\n\r\n", "NAME:PASSWORD@proxy:8080"),
            (
                "HTTP/1.1 403 Forbidden by \x1b[m\r\n\r\n",
                "403 Forbidden by \\u{1b}[m",
            ),
            ("SSH-2.0-x\r\n\r\n", "as an HTTP proxy"),
        ] {
            let (_, result) = opened("http://me:secret@proxy:8080", answer).await;
            let failure = result.unwrap_err();
            assert!(
                failure.contains(told) && !failure.contains("secret"),
                "{failure}"
            );
        }
    }
}
