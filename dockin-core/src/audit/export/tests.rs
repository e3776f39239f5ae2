#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failed unwrap is a failed test"
)]

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{Arc, Mutex},
};

use dockin_policy::audit::{AuditKind, SessionEnd, TrailVerifier};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, UdpSocket, UnixDatagram},
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::{
    audit::{FileOptions, FileSink, Filter, read_events, trail_files},
    service::HttpEndpoint,
    tls::{Identity, client_config, server_config},
};

async fn append(sink: &FileSink, numbers: std::ops::Range<u32>) {
    for number in numbers {
        let kind = AuditKind::SessionEnd(SessionEnd::default());
        let event = AuditEvent::new("2026-01-02T03:04:05Z", kind);
        sink.append(event.with_session(number.to_string()))
            .await
            .unwrap();
    }
}

fn open(path: &Path) -> Arc<FileSink> {
    let options = FileOptions {
        max_size: 4000,
        ..FileOptions::default()
    };
    Arc::new(FileSink::open_with(path, &options).unwrap())
}

fn start(
    sink: &Arc<FileSink>,
    path: &Path,
    target: ExportTarget,
) -> (JoinHandle<()>, CancellationToken) {
    let exporter = Exporter::new("test", path, target).unwrap();
    let stop = CancellationToken::new();
    let (sink, token) = (Arc::clone(sink), stop.clone());
    let task = tokio::spawn(async move {
        exporter.run(sink.written(), &*sink, &token).await;
    });
    (task, stop)
}

/// Waits for it, a second and a half at most.
async fn eventually(mut check: impl FnMut() -> bool) -> bool {
    for _ in 0..300 {
        if check() {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    false
}

/// The record of an octet-counted message.
async fn read_message(stream: &mut (impl tokio::io::AsyncBufRead + Unpin)) -> Option<String> {
    let mut length = Vec::new();
    stream.read_until(b' ', &mut length).await.ok()?;
    let length: usize = String::from_utf8(length).unwrap().trim_end().parse().ok()?;
    let mut message = vec![0; length];
    stream.read_exact(&mut message).await.ok()?;
    let message = String::from_utf8(message).unwrap();
    assert!(
        message.starts_with("<1") && message.contains("Z box dockin "),
        "{message}"
    );
    let (_, record) = message.split_once("] ").unwrap();
    Some(record.to_owned())
}

/// Numbers in the order in which they come first.
fn sequence(records: &[String]) -> Vec<u64> {
    let mut seen = BTreeSet::new();
    let numbers = records.iter().map(|record| {
        serde_json::from_str::<AuditEvent>(record)
            .unwrap()
            .seq
            .unwrap()
    });
    numbers.filter(|seq| seen.insert(*seq)).collect()
}

fn last(path: &Path) -> u64 {
    let files = trail_files(path).unwrap();
    let all = files.iter().flat_map(|file| read_events(file).unwrap());
    all.map(|event| event.unwrap().0).max().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn syslog_over_tcp_gets_every_record_in_order_though_it_was_down_and_breaks_off() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let sink = open(&path);
    append(&sink, 0..30).await;
    // Nobody listens yet, and nobody waits for it.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let address = SyslogAddress::Tcp(address.to_string());
    let target = SyslogTarget::new(address.clone(), "box");
    let (task, stop) = start(&sink, &path, ExportTarget::Syslog(target));
    append(&sink, 30..40).await;
    let failed = async || {
        let filter = Filter {
            code: Some("FLR-001".to_owned()),
            ..Filter::default()
        };
        sink.search(&filter, 10).await.unwrap().len()
    };
    for _ in 0..100 {
        if failed().await > 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(
        failed().await,
        1,
        "an export that fails is written down once"
    );

    let SyslogAddress::Tcp(place) = &address else {
        unreachable!()
    };
    let listener = TcpListener::bind(place).await.unwrap();
    let records = Arc::new(Mutex::new(Vec::new()));
    let taken = Arc::clone(&records);
    let server = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let mut stream = BufReader::new(stream);
            while let Some(record) = read_message(&mut stream).await {
                taken.lock().unwrap().push(record);
            }
        }
    });
    append(&sink, 40..50).await;
    let got = || sequence(&records.lock().unwrap());
    assert!(
        eventually(|| got().last() == Some(&last(&path))).await,
        "{:?}",
        got()
    );
    // Stopped and started again: it goes on where it was.
    stop.cancel();
    task.await.unwrap();
    append(&sink, 50..60).await;
    let before = records.lock().unwrap().len();
    let target = SyslogTarget::new(address, "box");
    let (task, stop) = start(&sink, &path, ExportTarget::Syslog(target));
    assert!(eventually(|| got().last() == Some(&last(&path))).await);
    assert!(records.lock().unwrap().len() < before + 25);
    assert_eq!(got(), (1..=last(&path)).collect::<Vec<_>>());
    stop.cancel();
    task.await.unwrap();
    server.abort();
    // What arrived is a trail of its own: whoever has it can verify it.
    let mut verifier = TrailVerifier::new([], None);
    verifier.begin_file();
    for record in &*records.lock().unwrap() {
        verifier.feed(format!("{record}\n").as_bytes());
    }
    assert_eq!(verifier.finish().1, []);
}

/// A certificate for `name`, which trusts itself.
fn issue(name: &str) -> rcgen::CertifiedKey<rcgen::KeyPair> {
    rcgen::generate_simple_self_signed([name.to_owned()]).unwrap()
}

/// A syslog server in TLS with that certificate, and what it was sent.
fn tls_server(
    issued: &rcgen::CertifiedKey<rcgen::KeyPair>,
    listener: TcpListener,
) -> (JoinHandle<()>, Arc<Mutex<Vec<String>>>) {
    let key = issued.signing_key.serialize_pem();
    let identity = Identity::from_pem(&issued.cert.pem(), &key).unwrap();
    let acceptor = TlsAcceptor::from(server_config(identity, None).unwrap());
    let records = Arc::new(Mutex::new(Vec::new()));
    let taken = Arc::clone(&records);
    let task = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(stream) = acceptor.accept(stream).await else {
                continue;
            };
            let mut stream = BufReader::new(stream);
            while let Some(record) = read_message(&mut stream).await {
                taken.lock().unwrap().push(record);
            }
        }
    });
    (task, records)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn syslog_over_tls_gets_the_records_and_only_who_proves_his_name() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, other, elsewhere) = (
        issue("127.0.0.1"),
        issue("127.0.0.1"),
        issue("siem.example"),
    );
    let trusted = [&ours, &elsewhere].map(|issued| issued.cert.der().clone());
    let config = client_config(&trusted, None).unwrap();
    for (number, (issued, takes)) in [(&other, false), (&elsewhere, false), (&ours, true)]
        .into_iter()
        .enumerate()
    {
        let path = folder.path().join(format!("audit{number}.jsonl"));
        let sink = open(&path);
        append(&sink, 0..50).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = SyslogAddress::Tls(listener.local_addr().unwrap().to_string());
        let (server, records) = tls_server(issued, listener);
        let target = SyslogTarget::new(address, "box");
        let target = target.with_tls(Arc::clone(&config)).unwrap();
        let (task, stop) = start(&sink, &path, ExportTarget::Syslog(target));
        if takes {
            let got = || sequence(&records.lock().unwrap());
            assert!(eventually(|| got().contains(&50)).await, "{:?}", got());
            append(&sink, 50..60).await;
            assert!(eventually(|| got().last() == Some(&last(&path))).await);
        } else {
            let told = || {
                let files = trail_files(&path).unwrap();
                let texts = files.iter().map(|file| fs::read_to_string(file).unwrap());
                texts.collect::<String>()
            };
            assert!(eventually(|| told().contains("FLR-001")).await);
            assert!(told().contains("certificate"), "{}", told());
            assert!(records.lock().unwrap().is_empty());
        }
        stop.cancel();
        task.await.unwrap();
        server.abort();
    }
    let plain = SyslogTarget::new("tcp://127.0.0.1:1".parse().unwrap(), "box");
    assert!(plain.with_tls(config).is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn syslog_datagrams_are_sent_over_udp_and_unix() {
    let folder = tempfile::tempdir().unwrap();
    let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let unix_path = folder.path().join("log");
    let unix = UnixDatagram::bind(&unix_path).unwrap();
    let addresses = [
        format!("udp://{}", udp.local_addr().unwrap()),
        format!("unix://{}", unix_path.display()),
    ];
    for (index, address) in addresses.into_iter().enumerate() {
        let path = folder.path().join(format!("trail{index}.jsonl"));
        let sink = open(&path);
        append(&sink, 0..3).await;
        let target = SyslogTarget::new(address.parse().unwrap(), "box");
        let (task, stop) = start(&sink, &path, ExportTarget::Syslog(target));
        let mut message = vec![0; 65_536];
        for seq in 1..=4 {
            let size = match index {
                0 => udp.recv(&mut message).await.unwrap(),
                _ => unix.recv(&mut message).await.unwrap(),
            };
            let text = std::str::from_utf8(&message[..size]).unwrap();
            assert!(
                text.contains(&format!("[audit@32473 seq=\"{seq}\"")),
                "{text}"
            );
        }
        stop.cancel();
        task.await.unwrap();
    }
    for wrong in [
        "tcp://nowhere",
        "udp://:1",
        "unix://relative",
        "ftp://a:1",
        "x",
    ] {
        let error = wrong.parse::<SyslogAddress>().unwrap_err();
        assert!(error.message().contains(wrong), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http_batches_are_sent_again_until_they_are_taken() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let sink = open(&path);
    append(&sink, 0..40).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let records = Arc::new(Mutex::new(Vec::new()));
    let taken = Arc::clone(&records);
    let server = tokio::spawn(async move {
        let answers = ["503 Busy", "401 No", "200 OK"].iter();
        for answer in answers.chain(std::iter::repeat(&"204 Taken")) {
            let (stream, _) = listener.accept().await.unwrap();
            let mut stream = BufReader::new(stream);
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                assert!(stream.read_line(&mut head).await.unwrap() > 0);
            }
            let lower = head.to_lowercase();
            assert!(lower.starts_with("post /in?x=1 http/1.1"), "{head}");
            assert!(lower.contains("authorization: bearer hunter2"), "{head}");
            assert!(lower.contains("application/x-ndjson"), "{head}");
            let (_, length) = lower.split_once("content-length: ").unwrap();
            let length = length.lines().next().unwrap().parse().unwrap();
            let mut body = vec![0; length];
            stream.read_exact(&mut body).await.unwrap();
            if answer.starts_with('2') {
                let body = String::from_utf8(body).unwrap();
                taken
                    .lock()
                    .unwrap()
                    .extend(body.lines().map(str::to_owned));
            }
            let answer = format!("HTTP/1.1 {answer}\r\ncontent-length: 0\r\n\r\n");
            stream.get_mut().write_all(answer.as_bytes()).await.unwrap();
        }
    });
    let endpoint = HttpEndpoint::plain("collector", &address);
    let token = Some("hunter2".to_owned());
    let target = HttpTarget::new(endpoint, &address, "/in?x=1", token).unwrap();
    assert!(!format!("{target:?}").contains("hunter2"));
    let (task, stop) = start(&sink, &path, ExportTarget::Http(target));
    append(&sink, 40..80).await;
    let got = || sequence(&records.lock().unwrap());
    assert!(
        eventually(|| got().last() == Some(&last(&path))).await,
        "{:?}",
        got()
    );
    assert_eq!(got(), (1..=last(&path)).collect::<Vec<_>>());
    stop.cancel();
    task.await.unwrap();
    server.abort();
    let told = fs::read_to_string(trail_files(&path).unwrap().last().unwrap()).unwrap();
    assert!(!told.contains("hunter2"));
}
