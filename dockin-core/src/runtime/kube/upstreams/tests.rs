#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::{
    collections::VecDeque,
    convert::Infallible,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex},
    sync::{Notify, mpsc},
};
use tower::BoxError;

use super::{AnswerBody, CarryError, Dial, IDLE, STREAMS, Upstreams};
use crate::service::{empty, full_body};

/// Connections to a test, which gets the other ends.
struct Wire {
    ends: mpsc::UnboundedSender<DuplexStream>,
    is_http2: bool,
}

type Carried = Arc<Upstreams<Wire>>;

impl Dial for Wire {
    type Stream = TokioIo<DuplexStream>;

    async fn dial(&self) -> Result<(Self::Stream, bool), BoxError> {
        let (near, far) = duplex(64 * 1024);
        self.ends.send(far).map_err(|_| "nobody is there")?;
        Ok((TokioIo::new(near), self.is_http2))
    }
}

fn upstreams(is_http2: bool) -> (Carried, mpsc::UnboundedReceiver<DuplexStream>) {
    let (ends, far) = mpsc::unbounded_channel();
    let base = "https://user@cluster.example:6443".parse().unwrap();
    let upstreams = Upstreams::new(Wire { ends, is_http2 }, base).unwrap();
    (upstreams, far)
}

/// An apiserver of these bytes: each connection gets one answer after the other, one for every
/// request, and is closed when it has had its last. Counts connections and tells the requests.
fn scripted(
    mut far: mpsc::UnboundedReceiver<DuplexStream>,
    connections: Vec<Vec<&'static str>>,
) -> (Arc<AtomicUsize>, Arc<Mutex<Vec<String>>>) {
    let count = Arc::new(AtomicUsize::new(0));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (counted, told) = (Arc::clone(&count), Arc::clone(&seen));
    let mut connections = VecDeque::from(connections);
    tokio::spawn(async move {
        while let Some(mut end) = far.recv().await {
            counted.fetch_add(1, Ordering::Relaxed);
            let answers = connections.pop_front().unwrap_or_default();
            let told = Arc::clone(&told);
            tokio::spawn(async move {
                for answer in answers {
                    let mut request = Vec::new();
                    while !request.ends_with(b"\r\n\r\n") {
                        if end.read_buf(&mut request).await.unwrap() == 0 {
                            return;
                        }
                    }
                    told.lock()
                        .unwrap()
                        .push(String::from_utf8(request).unwrap());
                    end.write_all(answer.as_bytes()).await.unwrap();
                }
            });
        }
    });
    (count, seen)
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";

async fn ask(carried: &Carried, method: Method) -> Result<(StatusCode, Bytes), CarryError> {
    let request = Request::builder().method(method).uri("/a?b=c");
    let answer = Arc::clone(carried).send(request.body(empty()).unwrap());
    let (head, body) = answer.await?.into_parts();
    Ok((head.status, body.collect().await.unwrap().to_bytes()))
}

async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

#[tokio::test(start_paused = true)]
async fn one_connection_serves_request_after_request() {
    let (carried, far) = upstreams(false);
    let no_content = "HTTP/1.1 204 No Content\r\n\r\n";
    let (count, seen) = scripted(far, vec![vec![OK, CHUNKED, no_content, OK]]);
    for body in ["ok", "ok", "", "ok"] {
        let (_, answer) = ask(&carried, Method::GET).await.unwrap();
        assert_eq!(answer, body);
    }
    assert_eq!(count.load(Ordering::Relaxed), 1);
    let seen = seen.lock().unwrap();
    assert_eq!(
        seen.first().unwrap(),
        "GET /a?b=c HTTP/1.1\r\nhost: cluster.example:6443\r\n\r\n"
    );
    assert_eq!(seen.len(), 4);
}

#[tokio::test(start_paused = true)]
async fn requests_at_once_have_a_connection_each() {
    let (carried, far) = upstreams(false);
    let (count, _) = scripted(far, vec![vec![OK; 9]; 3]);
    for _ in 0..3 {
        let asked = (0..3).map(|_| ask(&carried, Method::GET));
        for answer in futures::future::join_all(asked).await {
            assert_eq!(answer.unwrap().1, "ok");
        }
    }
    assert_eq!(count.load(Ordering::Relaxed), 3);
}

#[tokio::test(start_paused = true)]
async fn a_kept_connection_that_has_ended_costs_no_request() {
    let (carried, far) = upstreams(false);
    let (count, seen) = scripted(far, vec![vec![OK], vec![OK], vec![OK]]);
    for _ in 0..3 {
        let (status, _) = ask(&carried, Method::POST).await.unwrap();
        assert_eq!(status, StatusCode::OK);
        settle().await;
    }
    assert_eq!(count.load(Ordering::Relaxed), 3);
    assert_eq!(seen.lock().unwrap().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn what_was_sent_and_not_answered_is_never_sent_again() {
    let (carried, far) = upstreams(false);
    let (count, seen) = scripted(far, vec![vec![OK, ""], vec![OK]]);
    ask(&carried, Method::POST).await.unwrap();
    let error = ask(&carried, Method::POST).await.unwrap_err();
    assert!(!error.never_connected(), "{error}");
    assert_eq!(seen.lock().unwrap().len(), 2);
    assert_eq!(count.load(Ordering::Relaxed), 1);
    ask(&carried, Method::POST).await.unwrap();
    assert_eq!(count.load(Ordering::Relaxed), 2);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_nobody_reads_to_its_end_closes_its_connection() {
    let (carried, mut far) = upstreams(false);
    let asked = tokio::spawn({
        let carried = Arc::clone(&carried);
        async move {
            let request = Request::builder().uri("/").body(empty()).unwrap();
            carried.send(request).await.unwrap()
        }
    });
    let mut end = far.recv().await.unwrap();
    let mut request = [0; 8];
    end.read_exact(&mut request).await.unwrap();
    let begun = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok";
    end.write_all(begun.as_bytes()).await.unwrap();
    let answer = asked.await.unwrap();
    drop(answer);
    let mut rest = Vec::new();
    end.read_to_end(&mut rest).await.unwrap();
    assert!(far.is_empty());
}

/// A proxy in between that answers twice would answer the next person with it.
#[tokio::test(start_paused = true)]
async fn bytes_behind_an_answer_are_nobodys_answer() {
    let (carried, far) = upstreams(false);
    let twice = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok\
                 HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong";
    let (count, _) = scripted(far, vec![vec![twice, OK], vec![OK]]);
    for _ in 0..2 {
        let (_, body) = ask(&carried, Method::GET).await.unwrap();
        assert_eq!(body, "ok");
        settle().await;
    }
    assert_eq!(count.load(Ordering::Relaxed), 2);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_breaks_off_is_an_error_of_its_body() {
    let (carried, far) = upstreams(false);
    let broken = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok";
    let (_, _) = scripted(far, vec![vec![broken]]);
    let request = Request::builder().uri("/").body(empty()).unwrap();
    let answer = Arc::clone(&carried).send(request).await.unwrap();
    assert!(answer.into_body().collect().await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_nobody_uses_is_closed_after_a_while() {
    let (carried, mut far) = upstreams(false);
    let (close, closed) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let told = Arc::clone(&closed);
    tokio::spawn(async move {
        let mut end = far.recv().await.unwrap();
        let mut request = [0; 512];
        assert!(end.read(&mut request).await.unwrap() > 0);
        end.write_all(OK.as_bytes()).await.unwrap();
        while end.read(&mut request).await.unwrap() > 0 {}
        told.notify_one();
        close.notified().await;
    });
    ask(&carried, Method::GET).await.unwrap();
    let early = tokio::time::timeout(IDLE / 2, closed.notified()).await;
    assert!(early.is_err(), "it is kept for another request");
    tokio::time::timeout(IDLE, closed.notified()).await.unwrap();
}

/// Answers `far`'s connections over HTTP/2 once `ready`.
fn over_http2(
    mut far: mpsc::UnboundedReceiver<DuplexStream>,
    ready: &Arc<Notify>,
) -> Arc<AtomicUsize> {
    let count = Arc::new(AtomicUsize::new(0));
    let (counted, ready) = (Arc::clone(&count), Arc::clone(ready));
    tokio::spawn(async move {
        while let Some(end) = far.recv().await {
            counted.fetch_add(1, Ordering::Relaxed);
            let ready = Arc::clone(&ready);
            let service = service_fn(move |request: Request<Incoming>| {
                let ready = Arc::clone(&ready);
                async move {
                    if request.uri().path() == "/watch" {
                        ready.notified().await;
                    }
                    let body = Full::new(Bytes::from(request.uri().to_string()));
                    Ok::<_, Infallible>(Response::new(body))
                }
            });
            let served = http2::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(end), service);
            tokio::spawn(served);
        }
    });
    count
}

#[tokio::test(start_paused = true)]
async fn requests_share_a_connection_of_http2_until_it_is_full() {
    let (carried, far) = upstreams(true);
    let ready = Arc::new(Notify::new());
    let count = over_http2(far, &ready);
    let (_, body) = ask(&carried, Method::GET).await.unwrap();
    assert_eq!(body, "https://cluster.example:6443/a?b=c");
    let watches: Vec<_> = (0..STREAMS)
        .map(|_| {
            let request = Request::builder().uri("/watch").body(full_body("x"));
            tokio::spawn(Arc::clone(&carried).send(request.unwrap()))
        })
        .collect();
    settle().await;
    assert_eq!(count.load(Ordering::Relaxed), 1);
    // The next would wait for the end of a watch.
    ask(&carried, Method::GET).await.unwrap();
    ask(&carried, Method::GET).await.unwrap();
    assert_eq!(count.load(Ordering::Relaxed), 2);
    ready.notify_waiters();
    for watch in watches {
        let answer = watch.await.unwrap().unwrap();
        assert!(matches!(answer.body(), AnswerBody::Http2 { .. }));
    }
    ask(&carried, Method::GET).await.unwrap();
    assert_eq!(count.load(Ordering::Relaxed), 2);
}

#[tokio::test(start_paused = true)]
async fn a_connection_over_which_http1_is_spoken_after_http2_still_carries() {
    let (carried, mut far) = upstreams(false);
    tokio::spawn(async move {
        let end = far.recv().await.unwrap();
        let service = service_fn(|request: Request<Incoming>| {
            let host = request.headers().get("host").cloned().unwrap();
            let body = Full::new(Bytes::copy_from_slice(host.as_bytes()));
            std::future::ready(Ok::<_, Infallible>(Response::new(body)))
        });
        http1::Builder::new()
            .serve_connection(TokioIo::new(end), service)
            .await
            .unwrap();
    });
    let whole = Request::builder().uri("https://elsewhere.example/x");
    let answer = Arc::clone(&carried).send(whole.body(empty()).unwrap());
    let body = answer.await.unwrap().into_body().collect().await.unwrap();
    assert_eq!(body.to_bytes(), "cluster.example:6443");
}
