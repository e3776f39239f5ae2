//! Requests that are no sessions, through the gateway to an API server: how many a second, and
//! what one more hop costs, beside nginx as a plain TLS reverse proxy in front of the same server.
//!
//! Both take HTTP/1.1 over TLS from the same clients and carry it over TLS, verified, to an nginx
//! that answers with a pod of 2 KiB and wants the proxy's own credential. The gateway also finds
//! out who asks, decides whether he may, counts him, and asks in his name.
//!
//! Needs nginx and the tests' servers: `cargo xtask bench --bench gateway_proxy`.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a bench that cannot run fails by panicking"
)]

use std::{
    fs,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use criterion::Criterion;
use dockin_benches::{Ratio, median, nginx::Nginx, percentile, report};
use dockin_core::tls::authority::Authority;
use dockin_harness::{House, HouseOptions};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    runtime::Runtime,
    task::JoinSet,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

/// Connections that ask at the same time.
const CONNECTIONS: usize = 32;
/// Requests of a round, of all connections together.
const REQUESTS: usize = 6400;
/// Requests of a round, one after the other on one connection.
const SINGLE: usize = 1500;
/// Rounds, each with every contestant once.
const ROUNDS: usize = 15;
/// What the API server wants to see of whoever carries requests to it.
const CREDENTIAL: &str = "credential-of-the-proxy";

fn main() {
    let stage = Stage::new();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut rates: [Vec<f64>; 2] = Default::default();
    let mut times: [Vec<f64>; 3] = Default::default();
    for round in 0..ROUNDS {
        eprintln!("round {} of {ROUNDS}", round + 1);
        // Who comes first has the colder caches.
        for turn in 0..2 {
            let who = (turn + round) % 2;
            rates[who].push(stage.rate(&runtime, &stage.proxies[who]));
        }
        for turn in 0..3 {
            let who = (turn + round) % 3;
            times[who].extend(stage.times(&runtime, who));
        }
    }
    let added = |part: f64, who: usize| {
        percentile(times[who].clone(), part) - percentile(times[DIRECT].clone(), part)
    };
    let latency = |what: &str, part, must| Ratio {
        what: what.to_owned(),
        measured: added(part, 0),
        floor: added(part, 1),
        unit: "us",
        more_is_better: false,
        must,
        aim: None,
    };
    let ratios = [
        Ratio {
            what: "requests through the gateway, of nginx".to_owned(),
            measured: median(rates[0].clone()),
            floor: median(rates[1].clone()),
            unit: "1/s",
            more_is_better: true,
            must: Some(0.8),
            aim: Some(1.0),
        },
        latency("what the gateway adds at p50, of nginx", 0.5, None),
        latency("what the gateway adds at p99, of nginx", 0.99, Some(1.5)),
    ];
    report("gateway_proxy", &ratios);

    let mut criterion = Criterion::default().configure_from_args().sample_size(10);
    for (who, name) in ["gateway", "nginx"].into_iter().enumerate() {
        criterion.bench_function(&format!("gateway_proxy/{name}"), |bencher| {
            bencher.iter_custom(|times| {
                let requests = usize::try_from(times).unwrap();
                runtime.block_on(stage.proxies[who].ask_times(requests)).1
            });
        });
    }
    criterion.final_summary();
}

/// The API server asked without a proxy, behind the two proxies.
const DIRECT: usize = 2;

/// Who asks whom.
struct Stage {
    /// The gateway, nginx, and the API server itself.
    proxies: [Contestant; 3],
    _nginx: [Nginx; 2],
    _house: House,
}

impl Stage {
    fn new() -> Self {
        let mut house = House::start(&HouseOptions::default());
        let home = house.scratch().join("nginx");
        fs::create_dir(&home).unwrap();
        let now = jiff::Timestamp::now();
        let authority = Authority::new(now).unwrap();
        let issued = authority.server(&["127.0.0.1".to_owned()], now).unwrap();
        fs::write(home.join("server.pem"), &issued.certificate).unwrap();
        fs::write(home.join("server.key"), &issued.key).unwrap();
        fs::write(home.join("ca.pem"), authority.certificate()).unwrap();

        let server = Nginx::start(
            &home,
            "apiserver",
            "",
            &format!(
                "default_type application/json;\n    location / {{\n      \
                 if ($http_authorization != \"Bearer {CREDENTIAL}\") {{ return 401; }}\n      \
                 return 200 '{}';\n    }}\n    location = /version {{ return 200 \
                 '{{\"major\":\"1\",\"minor\":\"30\",\"gitVersion\":\"v1.30.0\"}}'; }}",
                pod()
            ),
        );
        let plain = Nginx::start(
            &home,
            "proxy",
            &format!(
                "upstream apiserver {{ server {}; keepalive 64; \
                 keepalive_requests 100000000; }}",
                server.address()
            ),
            &format!(
                "location /clusters/prod/ {{\n      proxy_pass https://apiserver/;\n      \
                 proxy_http_version 1.1;\n      proxy_set_header Connection \"\";\n      \
                 proxy_set_header Authorization \"Bearer {CREDENTIAL}\";\n      \
                 proxy_ssl_verify on;\n      proxy_ssl_name 127.0.0.1;\n      \
                 proxy_ssl_trusted_certificate {};\n    }}",
                home.join("ca.pem").display()
            ),
        );
        let kubeconfig = house.data().join("prod.kubeconfig");
        fs::write(&kubeconfig, upstream(&home, server.address())).unwrap();
        let file = house.data().join("opserver.yaml");
        let mut text = fs::read_to_string(&file).unwrap();
        text.push_str("  - name: prod\n    kubeconfig: prod.kubeconfig\n");
        text.push_str("limits: { requests_per_second: 1000000, burst: 1000000 }\n");
        fs::write(&file, text).unwrap();
        house.restart_gateway();

        let authority = fs::read(home.join("ca.pem")).unwrap();
        let gateways = fs::read(house.data().join("tls/ca.pem")).unwrap();
        let path = "/clusters/prod/api/v1/namespaces/default/pods/web";
        let contestants = [
            Contestant::new(house.gateway_address(), &gateways, path, house.token()),
            Contestant::new(plain.address(), &authority, path, "of-the-person"),
            Contestant::new(
                server.address(),
                &authority,
                "/api/v1/namespaces/default/pods/web",
                CREDENTIAL,
            ),
        ];
        Self {
            proxies: contestants,
            _nginx: [plain, server],
            _house: house,
        }
    }

    /// Requests a second of all connections together.
    fn rate(&self, runtime: &Runtime, who: &Contestant) -> f64 {
        let took = runtime.block_on(async {
            let mut open = Vec::new();
            for _ in 0..CONNECTIONS {
                open.push(who.connect().await);
            }
            let begun = Instant::now();
            let mut tasks = JoinSet::new();
            for mut connection in open {
                let request = Arc::clone(&who.request);
                tasks.spawn(async move {
                    for _ in 0..REQUESTS / CONNECTIONS {
                        connection.ask(&request).await;
                    }
                });
            }
            while let Some(done) = tasks.join_next().await {
                done.unwrap();
            }
            begun.elapsed()
        });
        f64::from(u32::try_from(REQUESTS).unwrap()) / took.as_secs_f64()
    }

    /// Microseconds of one request after the other.
    fn times(&self, runtime: &Runtime, who: usize) -> Vec<f64> {
        runtime.block_on(self.proxies[who].ask_times(SINGLE)).0
    }
}

/// One of those that are asked.
struct Contestant {
    address: String,
    tls: TlsConnector,
    request: Arc<[u8]>,
}

impl Contestant {
    fn new(address: &str, authority: &[u8], path: &str, token: &str) -> Self {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(authority) {
            roots.add(certificate.unwrap()).unwrap();
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nAccept: application/json\r\n\
             User-Agent: bench\r\nAuthorization: Bearer {token}\r\n\r\n"
        );
        Self {
            address: address.to_owned(),
            tls: TlsConnector::from(Arc::new(config)),
            request: request.into_bytes().into(),
        }
    }

    async fn connect(&self) -> Connection {
        let socket = TcpStream::connect(&self.address).await.unwrap();
        socket.set_nodelay(true).unwrap();
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let stream = self.tls.connect(name, socket).await.unwrap();
        let mut connection = Connection {
            stream,
            buffer: Vec::new(),
        };
        // The first request opens the connection behind the proxy as well.
        connection.ask(&self.request).await;
        connection
    }

    /// Microseconds of each of `times` requests on one connection, and of all of them.
    async fn ask_times(&self, times: usize) -> (Vec<f64>, Duration) {
        let mut connection = self.connect().await;
        let mut each = Vec::with_capacity(times);
        let begun = Instant::now();
        for _ in 0..times {
            let begun = Instant::now();
            connection.ask(&self.request).await;
            each.push(begun.elapsed().as_secs_f64() * 1e6);
        }
        (each, begun.elapsed())
    }
}

struct Connection {
    stream: TlsStream<TcpStream>,
    buffer: Vec<u8>,
}

impl Connection {
    /// Sends `request` and reads its answer to the end.
    async fn ask(&mut self, request: &[u8]) {
        self.stream.write_all(request).await.unwrap();
        self.stream.flush().await.unwrap();
        self.buffer.clear();
        let mut wanted = None;
        while wanted.is_none_or(|wanted| self.buffer.len() < wanted) {
            let count = self.stream.read_buf(&mut self.buffer).await.unwrap();
            assert!(count > 0, "the answer ends early");
            if wanted.is_none() {
                wanted = length(&self.buffer);
            }
        }
        assert_eq!(wanted, Some(self.buffer.len()), "nothing behind the answer");
    }
}

/// The length of the answer that begins with `bytes`, once its head is there.
fn length(bytes: &[u8]) -> Option<usize> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&bytes[..end]).unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let head = head.to_ascii_lowercase();
    let (_, behind) = head.split_once("content-length: ").expect("a length");
    let body: usize = behind.split("\r\n").next()?.parse().unwrap();
    assert!(body > 2000, "the pod itself");
    Some(end + body)
}

/// A pod of some 2 KiB.
fn pod() -> String {
    let variables: Vec<String> = (0..48)
        .map(|number| format!("{{\"name\":\"VARIABLE_{number}\",\"value\":\"value {number}\"}}"))
        .collect();
    format!(
        "{{\"kind\":\"Pod\",\"apiVersion\":\"v1\",\"metadata\":{{\"name\":\"web\",\
         \"namespace\":\"default\"}},\"spec\":{{\"containers\":[{{\"name\":\"web\",\
         \"image\":\"web\",\"env\":[{}]}}]}}}}",
        variables.join(",")
    )
}

fn upstream(home: &Path, address: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: upstream\n\
         clusters:\n- name: upstream\n  cluster:\n    server: https://{address}\n    \
         certificate-authority: {}\n\
         users:\n- name: gateway\n  user:\n    token: {CREDENTIAL}\n\
         contexts:\n- name: upstream\n  context:\n    cluster: upstream\n    user: gateway\n\
         dockin:\n  cluster-id: prod\n",
        home.join("ca.pem").display()
    )
}
