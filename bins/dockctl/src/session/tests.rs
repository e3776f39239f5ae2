#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use bytes::{Bytes, BytesMut};
use dockin_stream::{Event, ExitStatus, StreamSet, Subprotocol, channel, io::Endpoint};
use futures::{SinkExt as _, StreamExt as _};
use tokio::{io::DuplexStream, sync::mpsc};

use super::{End, Ends, Screen, Session, Signals};
use crate::{escape::Escape, terminal::ScreenModes};

/// A session, and the far ends of all it is connected to.
struct Stage {
    session: Session<DuplexStream, channel::Client>,
    gateway: Endpoint<DuplexStream, channel::Server>,
    typed: mpsc::Sender<Bytes>,
    stdout: mpsc::Receiver<Bytes>,
    stderr: mpsc::Receiver<Bytes>,
}

fn stage(screen: Option<Screen>) -> Stage {
    let streams = StreamSet {
        stdin: true,
        stdout: true,
        stderr: true,
        tty: screen.is_some(),
    };
    let (near, far) = tokio::io::duplex(16 * 1024);
    let client = channel::Client::new(Subprotocol::V5, streams, 7);
    let server = channel::Server::new(Subprotocol::V5, streams);
    let (typed, stdin) = mpsc::channel(4);
    let (out, stdout) = mpsc::channel(4);
    let (err, stderr) = mpsc::channel(4);
    let ends = Ends {
        stdin: Some(stdin.into()),
        stdout: out.into(),
        stderr: err.into(),
    };
    let endpoint = Endpoint::new(near, client, Bytes::new());
    Stage {
        session: Session::new(endpoint, ends, screen, Signals::new().unwrap()),
        gateway: Endpoint::new(far, server, Bytes::new()),
        typed,
        stdout,
        stderr,
    }
}

async fn all(mut chunks: mpsc::Receiver<Bytes>) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    while let Some(chunk) = chunks.recv().await {
        bytes.extend_from_slice(&chunk);
    }
    bytes.to_vec()
}

#[tokio::test]
async fn the_end_of_input_keeps_the_output_and_the_exit_code() {
    let Stage {
        session,
        mut gateway,
        typed,
        stdout,
        stderr,
    } = stage(None);
    let sent: Vec<u8> = (0..200_000_u32).flat_map(u32::to_le_bytes).collect();
    let input = sent.clone();
    let cat = tokio::spawn(async move {
        while let Some(event) = gateway.next().await {
            match event.unwrap() {
                Event::Stdin(bytes) => gateway.send(Event::Stdout(bytes)).await.unwrap(),
                Event::HalfClose => {
                    gateway
                        .send(Event::Stderr(Bytes::from_static(b"done")))
                        .await
                        .unwrap();
                    gateway
                        .send(Event::Exit(ExitStatus::Exited(3)))
                        .await
                        .unwrap();
                    gateway.finish().await.unwrap();
                    return;
                }
                _ => {}
            }
        }
        panic!("input never ended");
    });
    let typing = tokio::spawn(async move {
        for chunk in input.chunks(50_000) {
            typed.send(Bytes::copy_from_slice(chunk)).await.unwrap();
        }
    });
    let (ended, stdout, stderr) = tokio::join!(session.run(), all(stdout), all(stderr));
    assert_eq!(ended.0, End::Exit(ExitStatus::Exited(3)));
    assert_eq!(stdout, sent);
    assert_eq!(stderr, b"done");
    typing.await.unwrap();
    cat.await.unwrap();
}

#[tokio::test]
async fn a_lost_connection_is_never_a_success() {
    let Stage {
        session,
        mut gateway,
        typed,
        stdout,
        stderr,
    } = stage(None);
    gateway
        .send(Event::Stdout(Bytes::from_static(b"half")))
        .await
        .unwrap();
    drop(gateway);
    let (ended, stdout) = tokio::join!(session.run(), all(stdout));
    assert!(matches!(ended.0, End::Lost(_)), "{ended:?}");
    assert_eq!(stdout, b"half");
    drop((typed, stderr));
}

#[tokio::test]
async fn a_session_ends_when_nobody_reads_its_output() {
    let Stage {
        session,
        gateway,
        typed,
        stdout,
        stderr,
    } = stage(None);
    drop(stdout);
    let (end, _) = session.run().await;
    assert_eq!(end, End::OutputClosed);
    drop((gateway, typed, stderr));
}

#[tokio::test]
async fn the_escape_ends_a_session_whose_gateway_is_mute() {
    let screen = Screen {
        escape: Escape::new(Some(b'~')),
        modes: ScreenModes::default(),
    };
    let Stage {
        session,
        gateway,
        typed,
        stdout,
        stderr,
    } = stage(Some(screen));
    let typing = tokio::spawn(async move {
        typed.send(Bytes::from_static(b"ls\r")).await.unwrap();
        typed.send(Bytes::from_static(b"~.")).await.unwrap();
        typed
    });
    let (end, _) = session.run().await;
    assert_eq!(end, End::Disconnected);
    drop((gateway, stdout, stderr, typing));
}
