use std::{
    fs,
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    sync::Arc,
    time::Duration,
};

use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use serde_json::Value;

use crate::House;

/// How long a server may think before it counts as hanging.
const PATIENCE: Duration = Duration::from_secs(20);

impl House {
    /// Sends `bytes` to the gateway over TLS, as they are, and gives all that comes back until it
    /// closes the connection.
    ///
    /// # Panics
    ///
    /// There is no TLS connection, or nothing more comes for 20 s and it stays open: a hang.
    #[must_use]
    pub fn exchange(&self, bytes: &[u8]) -> String {
        let mut stream = self.tls();
        // A server that has heard enough closes before it was told everything.
        let _cut = stream.write_all(bytes).and_then(|()| stream.flush());
        let mut answer = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            match stream.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => answer.extend_from_slice(buffer.get(..count).unwrap_or_default()),
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    let answer = String::from_utf8_lossy(&answer);
                    panic!(
                        "no end of the answer to `{}`: {answer}",
                        String::from_utf8_lossy(bytes.get(..bytes.len().min(300)).unwrap_or(bytes))
                    );
                }
                // Closed without a TLS goodbye.
                Err(_) => break,
            }
        }
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// Asks the gateway as alice, one request on a connection of its own; `headers` are whole
    /// lines.
    ///
    /// # Panics
    ///
    /// As [`exchange`](Self::exchange).
    #[must_use]
    pub fn ask(&self, method: &str, path: &str, headers: &[&str]) -> String {
        let headers: String = headers
            .iter()
            .map(|header| format!("{header}\r\n"))
            .collect();
        let connection = if headers.to_lowercase().contains("connection:") {
            ""
        } else {
            "connection: close\r\n"
        };
        let token = self.token();
        self.exchange(
            format!(
                "{method} {path} HTTP/1.1\r\nhost: dockin\r\nauthorization: Bearer {token}\r\n\
                 {connection}{headers}\r\n"
            )
            .as_bytes(),
        )
    }

    /// Sends `body`, nothing when it is null, with the bearer token, if it is not empty; gives the
    /// answer's status and document, null when it is no JSON.
    ///
    /// # Panics
    ///
    /// As [`exchange`](Self::exchange), or the answer is no HTTP.
    #[must_use]
    pub fn send(&self, method: &str, path: &str, token: &str, body: &Value) -> (u16, Value) {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let authorization = match token {
            "" => String::new(),
            token => format!("authorization: Bearer {token}\r\n"),
        };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: dockin\r\n{authorization}content-length: {}\r\n\
             content-type: application/json\r\nconnection: close\r\n\r\n{body}",
            body.len()
        );
        parsed(&self.exchange(request.as_bytes()))
    }

    /// A TLS connection to the gateway.
    ///
    /// # Panics
    ///
    /// There is none.
    #[must_use]
    pub fn tls(&self) -> StreamOwned<ClientConnection, TcpStream> {
        self.tls_offering(&[])
    }

    /// A TLS connection to the gateway that offers `protocols`.
    ///
    /// # Panics
    ///
    /// There is none.
    #[must_use]
    pub fn tls_offering(&self, protocols: &[&[u8]]) -> StreamOwned<ClientConnection, TcpStream> {
        let mut config = Arc::unwrap_or_clone(self.tls_config());
        config.alpn_protocols = protocols.iter().map(|one| one.to_vec()).collect();
        let name = ServerName::try_from("localhost").expect("a name");
        let connection = ClientConnection::new(Arc::new(config), name).expect("TLS");
        let socket = TcpStream::connect(self.gateway_address()).expect("the gateway");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        socket.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        StreamOwned::new(connection, socket)
    }

    /// What a client of the gateway trusts: its authority, and nobody else.
    ///
    /// # Panics
    ///
    /// There is none.
    #[must_use]
    pub fn tls_config(&self) -> Arc<ClientConfig> {
        let text = fs::read(self.data().join("tls/ca.pem")).expect("the authority");
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(&text).expect("PEM"))
            .expect("an authority");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("TLS versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Arc::new(config)
    }
}

/// Status and document of an answer over HTTP/1.1; null when it is no JSON.
///
/// # Panics
///
/// It has no status.
#[must_use]
pub fn parsed(answer: &str) -> (u16, Value) {
    let status = answer
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    let body = answer.split("\r\n\r\n").nth(1).unwrap_or_default();
    (
        status.expect("an answer over HTTP"),
        serde_json::from_str(body).unwrap_or(Value::Null),
    )
}
