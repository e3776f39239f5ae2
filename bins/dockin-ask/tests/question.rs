//! A resource manager behind TLS, asked through the program.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a failed unwrap is a failed test"
)]

use std::{
    fs,
    io::{Read, Write},
    net::TcpListener,
    process::{Command, Output, Stdio},
    sync::Arc,
    thread,
};

use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    crypto::aws_lc_rs,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use serde_json::{Value, json};

/// A server that answers every question with what it was asked; its URL and its certificate.
fn serve() -> (String, String) {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".into()]).unwrap();
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], PrivateKeyDer::Pkcs8(key))
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!(
        "https://{}/rm?podName=web-0",
        listener.local_addr().unwrap()
    );
    thread::spawn(move || {
        for socket in listener.incoming() {
            let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = StreamOwned::new(connection, socket.unwrap());
            let mut request = Vec::new();
            let mut buffer = [0; 1024];
            while !request.ends_with(b"\r\n\r\n") {
                match stream.read(&mut buffer) {
                    Ok(count) if count > 0 => request.extend_from_slice(&buffer[..count]),
                    // Whoever does not believe the certificate goes.
                    _ => break,
                }
            }
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n",
                request.len()
            );
            let _gone = stream.write_all(head.as_bytes());
            let _gone = stream.write_all(&request);
            let _gone = stream.flush();
        }
    });
    (url, made.cert.pem())
}

fn ask(question: &Value) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_dockin-ask"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(question.to_string().as_bytes()).unwrap();
    drop(stdin);
    child.wait_with_output().unwrap()
}

#[test]
fn the_one_that_is_believed_is_asked_with_the_token_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let (url, certificate) = serve();
    let (_, of_another) = serve();
    fs::write(at("ca.pem"), certificate).unwrap();
    fs::write(at("other.pem"), of_another).unwrap();
    fs::write(at("token"), "secret\n").unwrap();
    let asked = ask(&json!({"url": url, "authority": at("ca.pem"), "token": at("token")}));
    let told = String::from_utf8(asked.stdout).unwrap();
    assert!(asked.status.success(), "{:?}", asked.stderr);
    assert!(
        told.starts_with("GET /rm?podName=web-0 HTTP/1.1\r\n"),
        "{told}"
    );
    assert!(
        told.contains("\r\nAuthorization: Bearer secret\r\n"),
        "{told}"
    );
    let refused = ask(&json!({"url": url, "authority": at("other.pem")}));
    assert!(!refused.status.success() && refused.stdout.is_empty());
    assert!(!refused.stderr.is_empty());
}

#[test]
fn what_is_no_question_is_told_and_who_does_not_listen_may_later() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = format!("https://{}/", listener.local_addr().unwrap());
    drop(listener);
    let (_, certificate) = serve();
    let folder = tempfile::tempdir().unwrap();
    let authority = folder.path().join("ca.pem");
    fs::write(&authority, certificate).unwrap();
    let later = ask(&json!({"url": nobody, "authority": authority}));
    assert_eq!(later.status.code(), Some(11), "{later:?}");
    for question in [json!([]), json!({}), json!({"url": nobody})] {
        let refused = ask(&question);
        assert_eq!(refused.status.code(), Some(1), "{question}: {refused:?}");
        assert!(!refused.stderr.is_empty());
    }
}

#[test]
fn a_handshake_that_never_ends_is_given_up_and_may_do_better_later() {
    let (_, certificate) = serve();
    let directory = tempfile::tempdir().unwrap();
    let authority = directory.path().join("authority.pem");
    fs::write(&authority, certificate).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}/rm", listener.local_addr().unwrap());
    thread::spawn(move || {
        for socket in listener.incoming() {
            let mut socket = socket.unwrap();
            // A record of 16 KiB that arrives byte by byte.
            let mut bytes = [22, 3, 3, 64, 0].iter().chain(std::iter::repeat(&2));
            while socket.write_all(&[*bytes.next().unwrap()]).is_ok() {
                thread::sleep(std::time::Duration::from_millis(100));
            }
        }
    });
    let output = ask(&json!({"url": url, "authority": authority}));
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(11), "{told}");
    assert!(told.contains("in time"), "{told}");
}
