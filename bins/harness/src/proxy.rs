use std::{
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, copy_bidirectional},
    net::{TcpListener, TcpStream},
    runtime::{Builder, Runtime},
};
use tokio_rustls::TlsAcceptor;

use crate::House;

/// An HTTP proxy on loopback that knows CONNECT and nothing else, as in front of a company. It ends
/// when its owner goes.
///
/// It reaches this machine whatever name it is asked for: who asks may use a name that only the
/// proxy knows, as Go's clients use no proxy for loopback.
pub struct ConnectProxy {
    address: SocketAddr,
    scheme: &'static str,
    state: Arc<State>,
    // Its tasks end with it.
    runtime: Option<Runtime>,
}

/// What its tasks share.
#[derive(Default)]
struct State {
    /// `NAME:PASSWORD` that it wants to be shown.
    credential: Option<String>,
    asked: Mutex<Vec<String>>,
}

impl ConnectProxy {
    /// One that is spoken to in the clear; with a `credential` it wants that one.
    ///
    /// # Panics
    ///
    /// There is no port.
    #[must_use]
    pub fn start(credential: Option<&str>) -> Self {
        Self::serve("http", None, credential)
    }

    /// One that is spoken to over TLS, with the certificate of `house`'s gateway.
    ///
    /// # Panics
    ///
    /// There is no port, or no certificate.
    #[must_use]
    pub fn start_tls(house: &House) -> Self {
        let folder = house.data().join("tls");
        let acceptor = acceptor(&folder.join("server.pem"), &folder.join("server.key"));
        Self::serve("https", Some(acceptor), None)
    }

    /// Its URL, with `user` (`NAME:PASSWORD@`) in it.
    #[must_use]
    pub fn url(&self, user: &str) -> String {
        format!("{}://{user}{}", self.scheme, self.address)
    }

    /// What it was asked to connect to so far, refused ones too.
    #[must_use]
    pub fn asked(&self) -> Vec<String> {
        let asked = self.state.asked.lock();
        asked.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn serve(scheme: &'static str, tls: Option<TlsAcceptor>, credential: Option<&str>) -> Self {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let listener = runtime
            .block_on(TcpListener::bind("127.0.0.1:0"))
            .expect("a port");
        let address = listener.local_addr().expect("an address");
        let state = Arc::new(State {
            credential: credential.map(str::to_owned),
            asked: Mutex::default(),
        });
        let theirs = Arc::clone(&state);
        runtime.spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (state, tls) = (Arc::clone(&theirs), tls.clone());
                tokio::spawn(async move {
                    // A client that goes away in between is its own affair.
                    let _gone = match tls {
                        None => carry(socket, &state).await,
                        Some(tls) => match tls.accept(socket).await {
                            Ok(stream) => carry(stream, &state).await,
                            Err(error) => Err(error),
                        },
                    };
                });
            }
        });
        Self {
            address,
            scheme,
            state,
            runtime: Some(runtime),
        }
    }
}

impl Drop for ConnectProxy {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(5));
        }
    }
}

async fn carry(
    mut client: impl AsyncRead + AsyncWrite + Unpin,
    state: &State,
) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let mut words = head.split(' ');
    let (method, target) = (words.next(), words.next().unwrap_or_default());
    {
        let mut asked = state.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.push(target.to_owned());
    }
    if method != Some("CONNECT") {
        return client
            .write_all(b"HTTP/1.1 405 CONNECT alone\r\n\r\n")
            .await;
    }
    let shown = state.credential.as_ref().is_none_or(|credential| {
        let wanted = format!("Basic {}", BASE64.encode(credential));
        head.lines().any(|line| {
            line.split_once(": ").is_some_and(|(name, value)| {
                name.eq_ignore_ascii_case("proxy-authorization") && value == wanted
            })
        })
    });
    if !shown {
        let answer = "HTTP/1.1 407 Who are you\r\nProxy-Authenticate: Basic realm=\"x\"\r\n\r\n";
        return client.write_all(answer.as_bytes()).await;
    }
    let port = target
        .rsplit_once(':')
        .and_then(|(_, port)| port.parse().ok());
    let port: u16 = port.unwrap_or_default();
    let mut server = match TcpStream::connect(("127.0.0.1", port)).await {
        Ok(server) => server,
        Err(_) => return client.write_all(b"HTTP/1.1 502 Nobody there\r\n\r\n").await,
    };
    server.set_nodelay(true)?;
    client
        .write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")
        .await?;
    client.flush().await?;
    copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}

fn acceptor(certificate: &Path, key: &Path) -> TlsAcceptor {
    let chain = CertificateDer::pem_file_iter(certificate).expect("PEM");
    let chain = chain.collect::<Result<Vec<_>, _>>().expect("certificates");
    let key = PrivateKeyDer::from_pem_file(key).expect("a key");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("TLS versions")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("certificate and key");
    TlsAcceptor::from(Arc::new(config))
}
