//! Our clients against containerd's own CRI streaming server, over every protocol that it speaks,
//! and our relay between a WebSocket client and it.

#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a failed unwrap is a failed test"
)]

use std::{future::ready, io::ErrorKind, num::NonZeroU16, time::Duration};

use bytes::Bytes;
use dockin_harness::{Cri, CriContainer};
use dockin_stream::{
    Event, ExitStatus, OpenGate, Outcome, Relay, StreamSet, Subprotocol, TerminalSize, channel,
    io::{BoxCodec, Endpoint, EndpointError, PortForward, PortStream, run_relay},
    portforward::{self, PortForwardEvent},
    upgrade::{Offer, Protocol, UpgradeError},
};
use futures::{SinkExt, StreamExt};
use http::{Request, StatusCode, Uri};
use http_body_util::Empty;
use hyper::{client::conn::http1, upgrade::Upgraded};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, duplex},
    net::{TcpListener, TcpStream},
    time::timeout,
};

const LIMIT: Duration = Duration::from_secs(60);

const PIPES: StreamSet = StreamSet {
    stdin: true,
    stdout: true,
    stderr: true,
    tty: false,
};
const OUTPUTS: StreamSet = StreamSet {
    stdin: false,
    ..PIPES
};
const TERMINAL: StreamSet = StreamSet {
    stderr: false,
    tty: true,
    ..PIPES
};

type End = Endpoint<TokioIo<Upgraded>, BoxCodec>;

/// All that containerd speaks: it knows no v5.
fn offers() -> Vec<(&'static str, Offer)> {
    use Subprotocol::{V1, V1Base64, V2, V3, V4, V4Base64};
    vec![
        ("SPDY v4", Offer::spdy(&[V4])),
        ("SPDY v3", Offer::spdy(&[V3])),
        ("SPDY v2", Offer::spdy(&[V2])),
        ("WebSocket v4", Offer::websocket([1; 16], &[V4])),
        (
            "WebSocket v4 base64",
            Offer::websocket([2; 16], &[V4Base64]),
        ),
        ("WebSocket v1", Offer::websocket([3; 16], &[V1])),
        (
            "WebSocket v1 base64",
            Offer::websocket([4; 16], &[V1Base64]),
        ),
    ]
}

/// Asks containerd to switch protocols.
async fn switch(url: &str, offer: &Offer) -> Result<(Protocol, Upgraded), UpgradeError> {
    let uri: Uri = url.parse().unwrap();
    let address = uri.authority().unwrap().as_str();
    let socket = TcpStream::connect(address).await.unwrap();
    socket.set_nodelay(true).unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(socket)).await.unwrap();
    tokio::spawn(connection.with_upgrades());
    let mut request = Request::get(uri.path())
        .header("host", address)
        .body(Empty::<Bytes>::new())
        .unwrap();
    offer.add_to(request.headers_mut());
    let response = sender.send_request(request).await.unwrap();
    let protocol = offer.check(&response)?;
    Ok((protocol, hyper::upgrade::on(response).await.unwrap()))
}

async fn session(url: &str, offer: &Offer, streams: StreamSet) -> End {
    let (protocol, upgraded) = switch(url, offer).await.unwrap();
    let codec = protocol.client_codec(streams, 7).unwrap();
    Endpoint::from_upgrade(upgraded, codec)
}

#[derive(Debug, Default)]
struct Heard {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    exits: Vec<ExitStatus>,
    error: Option<EndpointError>,
}

impl Heard {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    fn exit(&self) -> &ExitStatus {
        assert_eq!(self.exits.len(), 1, "{self:?}");
        self.exits.first().unwrap()
    }
}

/// Listens to the end.
async fn hear(end: &mut End) -> Heard {
    let mut heard = Heard::default();
    let all = async {
        while let Some(event) = end.next().await {
            match event {
                Ok(Event::Stdout(bytes)) => heard.stdout.extend_from_slice(&bytes),
                Ok(Event::Stderr(bytes)) => heard.stderr.extend_from_slice(&bytes),
                Ok(Event::Exit(status)) => heard.exits.push(status),
                Ok(_) => {}
                // containerd closes behind the status, and answers a goodbye that it has not
                // read with a reset.
                Err(EndpointError::Io(error))
                    if error.kind() == ErrorKind::ConnectionReset && !heard.exits.is_empty() => {}
                Err(error) => heard.error = Some(error),
            }
        }
    };
    timeout(LIMIT, all).await.expect("containerd ends it");
    heard
}

async fn idle() -> CriContainer {
    let cri = Cri::from_environment().await;
    cri.container(&["sleep", "2147483647"], false, false).await
}

#[tokio::test(flavor = "multi_thread")]
async fn outputs_and_their_end_arrive_over_every_protocol() {
    let container = idle().await;
    let command = "seq 1 20000; echo error >&2";
    let expected: String = (1..=20_000).map(|number| format!("{number}\n")).collect();
    for (name, offer) in offers() {
        let url = container.exec(&["sh", "-c", command], OUTPUTS).await;
        let mut end = session(&url, &offer, OUTPUTS).await;
        let heard = hear(&mut end).await;
        // Not the whole of it: that is a hundred kilobytes.
        let (length, error) = (heard.stdout.len(), &heard.error);
        assert!(heard.text() == expected, "{name}: {length} {error:?}");
        assert_eq!(heard.stderr, b"error\n", "{name}");
        assert!(error.is_none(), "{name}: {error:?}");
    }
    container.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn exit_codes_arrive_where_the_protocol_has_them() {
    let container = idle().await;
    for (name, offer) in offers() {
        for code in [0, 1, 42, 255] {
            let exit = format!("exit {code}");
            let url = container.exec(&["sh", "-c", &exit], OUTPUTS).await;
            let mut end = session(&url, &offer, OUTPUTS).await;
            let heard = hear(&mut end).await;
            if name.contains("v4") {
                assert_eq!(heard.exit(), &ExitStatus::Exited(code), "{name}");
            } else {
                // Older ones have a text in place of a code.
                let succeeded = heard.exits.iter().any(ExitStatus::is_success);
                assert!(code == 0 || !succeeded, "{name}: {heard:?}");
            }
        }
    }
    container.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_is_not_there_fails_with_containerds_words() {
    let container = idle().await;
    for (name, offer) in offers() {
        if !name.contains("v4") {
            continue;
        }
        let url = container.exec(&["no-such-program"], OUTPUTS).await;
        let mut end = session(&url, &offer, OUTPUTS).await;
        let heard = hear(&mut end).await;
        let ExitStatus::Failed(failure) = heard.exit() else {
            panic!("{name}: {heard:?}");
        };
        assert!(
            failure.message.contains("no-such-program"),
            "{name}: {failure:?}"
        );
    }
    container.remove().await;
}

/// T3, T4 and T35: all input arrives, its end too, and the output that follows comes back.
#[tokio::test(flavor = "multi_thread")]
async fn input_and_its_end_cross_spdy_in_bulk() {
    const SIZE: usize = 24 * 1024 * 1024;
    let container = idle().await;
    for (name, offer) in offers() {
        if !name.contains("SPDY") {
            continue;
        }
        let url = container
            .exec(&["sh", "-c", "md5sum; echo over"], PIPES)
            .await;
        let end = session(&url, &offer, PIPES).await;
        let (mut sink, mut stream) = end.split();
        let send = async move {
            let piece = Bytes::from(vec![b'x'; 64 * 1024]);
            for _ in 0..SIZE / piece.len() {
                sink.send(Event::Stdin(piece.clone())).await.unwrap();
            }
            sink.send(Event::HalfClose).await.unwrap();
        };
        let mut stdout = Vec::new();
        let listen = async {
            while let Some(event) = stream.next().await {
                match event.unwrap() {
                    Event::Stdout(bytes) => stdout.extend_from_slice(&bytes),
                    // Behind it containerd may reset the connection.
                    Event::Exit(_) => break,
                    _ => {}
                }
            }
        };
        timeout(LIMIT, async { tokio::join!(send, listen) })
            .await
            .unwrap();
        // 24 MiB of the letter x.
        let text = String::from_utf8(stdout).unwrap();
        assert_eq!(text, format!("{MD5}  -\nover\n"), "{name}");
    }
    container.remove().await;
}

/// `head -c 25165824 /dev/zero | tr '\0' x | md5sum`
const MD5: &str = "cc3500a277c8a4cbffeeebed26a465d5";

/// WebSocket v4 cannot say that input ends, so the program must know how much to read.
#[tokio::test(flavor = "multi_thread")]
async fn input_crosses_websockets_whole() {
    let container = idle().await;
    let text: Vec<u8> = (0..700_000_u32)
        .map(|number| (number % 251) as u8)
        .collect();
    for (name, offer) in offers() {
        if !name.contains("WebSocket") {
            continue;
        }
        let length = text.len().to_string();
        let url = container.exec(&["head", "-c", &length], PIPES).await;
        let mut end = session(&url, &offer, PIPES).await;
        for chunk in text.chunks(30_000) {
            end.feed(Event::Stdin(Bytes::copy_from_slice(chunk)))
                .await
                .unwrap();
        }
        let heard = hear(&mut end).await;
        assert!(heard.stdout == text, "{name}: {} bytes", heard.stdout.len());
    }
    container.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_has_the_size_that_it_is_given() {
    let container = idle().await;
    for (name, offer) in offers() {
        // Sizes came with v3.
        if name.contains("v1") || name.contains("v2") {
            continue;
        }
        let url = container.exec(&["sh"], TERMINAL).await;
        let mut end = session(&url, &offer, TERMINAL).await;
        let size = TerminalSize {
            width: 133,
            height: 41,
        };
        end.send(Event::Resize(size)).await.unwrap();
        tokio::time::sleep(Duration::from_millis(500)).await;
        let typed = Bytes::from_static(b"stty size; exit 5\n");
        end.send(Event::Stdin(typed)).await.unwrap();
        let heard = hear(&mut end).await;
        assert!(heard.text().contains("41 133"), "{name}: {heard:?}");
        if name.contains("v4") {
            assert_eq!(heard.exit(), &ExitStatus::Exited(5), "{name}");
        }
    }
    container.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attach_joins_the_containers_own_process() {
    let cri = Cri::from_environment().await;
    for (name, offer) in offers() {
        let container = cri.container(&["cat"], true, false).await;
        let url = container.attach(PIPES).await;
        let mut end = session(&url, &offer, PIPES).await;
        let typed = Bytes::from_static(b"hello\n");
        end.send(Event::Stdin(typed)).await.unwrap();
        let mut stdout = Vec::new();
        while stdout.len() < 6 {
            match timeout(LIMIT, end.next()).await.unwrap().unwrap().unwrap() {
                Event::Stdout(bytes) => stdout.extend_from_slice(&bytes),
                event => panic!("{name}: {event:?}"),
            }
        }
        assert_eq!(stdout, b"hello\n", "{name}");
        drop(end);
        container.remove().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn containerd_chooses_v4_and_refuses_v5_alone() {
    use Subprotocol::{V4, V5};
    let container = idle().await;
    for (offer, chosen) in [
        (Offer::spdy(&[V5, V4]), Protocol::Spdy(V4)),
        (
            Offer::websocket([5; 16], &[V5, V4]),
            Protocol::WebSocket(V4),
        ),
    ] {
        let url = container.exec(&["true"], OUTPUTS).await;
        let (protocol, _) = switch(&url, &offer).await.unwrap();
        assert_eq!(protocol, chosen);
    }
    for offer in [Offer::spdy(&[V5]), Offer::websocket([6; 16], &[V5])] {
        let url = container.exec(&["true"], OUTPUTS).await;
        let refused = switch(&url, &offer).await.map(|(protocol, _)| protocol);
        let status = StatusCode::FORBIDDEN;
        assert_eq!(refused, Err(UpgradeError::NotSwitched { status }));
    }
    container.remove().await;
}

/// How a round ends in which a process says its last while input never stops.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Ending {
    /// All output, then the process's own code.
    Whole,
    /// The connection broke off, or there is a failure in place of a code: the person knows that
    /// something is missing.
    Lost,
    /// All output, and then nothing while input comes. containerd 1.6 ends every round so: its
    /// connection stands still behind input that nobody reads any more (kubernetes/kubernetes#96339),
    /// and its goodbye with it.
    Silent,
}

/// T1 and T2: a Go server closes with our input unread, and then the kernel may throw its tail away,
/// or it does not get as far as its goodbye.
///
/// In every round: no byte is wrong, nothing follows the status, there is at most one, a code comes
/// behind all output alone, and nothing that is missing is a success.
#[tokio::test(flavor = "multi_thread")]
async fn a_tail_that_containerd_loses_is_never_taken_for_the_whole() {
    const SIZE: usize = 2_000_000;
    /// Without an event for so long nothing more comes.
    const SILENCE: Duration = Duration::from_secs(3);
    let container = idle().await;
    let command = format!("head -c {SIZE} /dev/zero; exit 3");
    let mut endings = Vec::new();
    for round in 0..4 {
        let offer = if round % 2 == 0 {
            Offer::spdy(&[Subprotocol::V4])
        } else {
            Offer::websocket([8; 16], &[Subprotocol::V4])
        };
        let url = container.exec(&["sh", "-c", &command], PIPES).await;
        let (mut sink, mut stream) = session(&url, &offer, PIPES).await.split();
        let flood = async {
            let piece = Bytes::from(vec![0; 32 * 1024]);
            while sink.send(Event::Stdin(piece.clone())).await.is_ok() {
                // Input that the process does not want any more is dropped at once.
                tokio::task::yield_now().await;
            }
            std::future::pending().await
        };
        let (mut bytes, mut exits) = (0, Vec::new());
        let listen = async {
            loop {
                match timeout(SILENCE, stream.next()).await {
                    Err(_) => return Ending::Silent,
                    Ok(Some(Ok(Event::Stdout(more)))) => {
                        assert!(exits.is_empty(), "round {round}: output behind {exits:?}");
                        assert!(more.iter().all(|byte| *byte == 0), "round {round}");
                        bytes += more.len();
                    }
                    Ok(Some(Ok(Event::Exit(status)))) => exits.push(status),
                    Ok(Some(Ok(Event::Close) | Err(_)) | None) => {
                        let code = matches!(exits.last(), Some(ExitStatus::Exited(_)));
                        return if code { Ending::Whole } else { Ending::Lost };
                    }
                    Ok(Some(Ok(event))) => panic!("round {round}: {event:?}"),
                }
            }
        };
        let ending = tokio::select! { ending = listen => ending, ending = flood => ending };
        let which = format!("round {round}: {ending:?}, {bytes} bytes, then {exits:?}");
        match ending {
            Ending::Whole => assert_eq!((bytes, &exits[..]), (SIZE, &[ExitStatus::Exited(3)][..])),
            Ending::Lost => {
                assert!(bytes <= SIZE && exits.len() <= 1, "{which}");
                assert!(!exits.iter().any(ExitStatus::is_success), "{which}");
            }
            Ending::Silent => assert!(bytes == SIZE && exits.is_empty(), "{which}"),
        }
        endings.push(ending);
    }
    eprintln!("containerd ended {endings:?}");
    container.remove().await;
}

/// The relay between a v5 client and containerd's SPDY, as the gateway joins them: order, codes
/// and the end of input.
#[tokio::test(flavor = "multi_thread")]
async fn a_v5_client_uses_containerd_through_the_relay() {
    let container = idle().await;
    let command = "cat; echo done >&2; exit 7";
    let url = container.exec(&["sh", "-c", command], PIPES).await;
    let mut back = session(&url, &Offer::spdy(&[Subprotocol::V4]), PIPES).await;
    let (near, far) = duplex(8192);
    let codec = channel::Server::new(Subprotocol::V5, PIPES);
    let mut front = Endpoint::new(far, codec, Bytes::new());
    let relay = async {
        let relay = Relay::new(OpenGate::default());
        let (outcome, _) = run_relay(&mut front, &mut back, relay, |()| ready(Ok(()))).await;
        front.finish().await.unwrap();
        outcome
    };
    let person = async {
        let codec = channel::Client::new(Subprotocol::V5, PIPES, 3);
        let end = Endpoint::new(near, codec, Bytes::new());
        let text: Vec<u8> = (0..3_000_000_u32)
            .map(|number| (number % 251) as u8)
            .collect();
        let (mut sink, mut stream) = end.split();
        let send = async {
            for chunk in text.chunks(20_000) {
                let event = Event::Stdin(Bytes::copy_from_slice(chunk));
                sink.send(event).await.unwrap();
            }
            sink.send(Event::HalfClose).await.unwrap();
        };
        let mut heard = Heard::default();
        let listen = async {
            while let Some(event) = stream.next().await {
                match event.unwrap() {
                    Event::Stdout(bytes) => heard.stdout.extend_from_slice(&bytes),
                    Event::Stderr(bytes) => heard.stderr.extend_from_slice(&bytes),
                    Event::Exit(status) => heard.exits.push(status),
                    _ => break,
                }
            }
        };
        tokio::join!(send, listen);
        let mut end = stream.reunite(sink).unwrap();
        assert!(
            heard.stdout == text,
            "{} bytes came back",
            heard.stdout.len()
        );
        assert_eq!(heard.stderr, b"done\n");
        assert_eq!(heard.exit(), &ExitStatus::Exited(7));
        end.finish().await.unwrap();
    };
    let (outcome, ()) = timeout(LIMIT, async { tokio::join!(relay, person) })
        .await
        .unwrap();
    assert_eq!(outcome, Outcome::Ended(ExitStatus::Exited(7)));
    container.remove().await;
}

/// A port of this machine, which is the sandbox's network, that answers in capitals as it is asked:
/// containerd does not tell it that a question has ended.
async fn shouting_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut text = vec![0; 4096];
                loop {
                    let count = socket.read(&mut text).await.unwrap_or(0);
                    let Some(text @ [_, ..]) = text.get_mut(..count) else {
                        return;
                    };
                    text.make_ascii_uppercase();
                    socket.write_all(text).await.unwrap();
                }
            });
        }
    });
    port
}

/// Several connections at a time, each with its own end. That containerd gives the second direction
/// a second only once the first has ended is its own (`T24`).
#[tokio::test(flavor = "multi_thread")]
async fn ports_are_forwarded_over_spdy_each_for_itself() {
    let container = idle().await;
    let port = NonZeroU16::new(shouting_port().await).unwrap();
    let url = container.port_forward(&[port.get()]).await;
    let (protocol, upgraded) = switch(&url, &Offer::spdy_ports()).await.unwrap();
    assert_eq!(protocol, Protocol::SpdyPorts);
    let client = portforward::Client::new();
    let mut forward = PortForward::from_upgrade(upgraded, client, Duration::from_secs(10));
    let mut programs = Vec::new();
    for length in [1, 1000, 400_000] {
        let (program, theirs) = duplex(5000);
        forward.open(port, theirs).unwrap();
        programs.push(tokio::spawn(async move {
            let (mut reader, mut writer) = tokio::io::split(program);
            let write = async { writer.write_all(&vec![b'a'; length]).await.unwrap() };
            let mut answer = vec![0; length];
            let read = async { reader.read_exact(&mut answer).await.unwrap() };
            tokio::join!(write, read);
            writer.shutdown().await.unwrap();
            let mut more = Vec::new();
            reader.read_to_end(&mut more).await.unwrap();
            assert!(
                answer == vec![b'A'; length] && more.is_empty(),
                "{length} bytes"
            );
        }));
    }
    let moving = async {
        while let Some(event) = forward.next().await {
            if let PortForwardEvent::Failed { message, .. } = event.unwrap() {
                panic!("{message}");
            }
        }
    };
    let all = async {
        for program in programs {
            program.await.unwrap();
        }
    };
    timeout(LIMIT, async {
        tokio::select! { () = all => {} () = moving => panic!("containerd ended the session") }
    })
    .await
    .unwrap();
    forward.finish().await.unwrap();
    container.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_nobody_serves_fails_with_containerds_words() {
    let container = idle().await;
    // Bound and not listening.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = NonZeroU16::new(taken.local_addr().unwrap().port()).unwrap();
    drop(taken);
    let url = container.port_forward(&[port.get()]).await;
    let (_, upgraded) = switch(&url, &Offer::spdy_ports()).await.unwrap();
    let client = portforward::Client::new();
    let socket = TokioIo::new(upgraded);
    let mut stream = PortStream::open(socket, client, Bytes::new(), port).unwrap();
    let mut text = String::new();
    let read = timeout(LIMIT, stream.read_to_string(&mut text))
        .await
        .unwrap();
    let error = read.unwrap_err().to_string();
    assert!(error.contains("refused"), "{error}");
    container.remove().await;
}

/// The numbered channels: both of two ports, raw and in base64.
#[tokio::test(flavor = "multi_thread")]
async fn ports_are_forwarded_over_numbered_channels() {
    let container = idle().await;
    let port = NonZeroU16::new(shouting_port().await).unwrap();
    const RAW: &[Subprotocol] = &[Subprotocol::V4];
    const BASE64: &[Subprotocol] = &[Subprotocol::V4Base64];
    for subprotocols in [RAW, BASE64] {
        let ports = [port, port];
        let url = container.port_forward(&ports.map(NonZeroU16::get)).await;
        let offer = Offer::websocket([9; 16], subprotocols);
        let (protocol, upgraded) = switch(&url, &offer).await.unwrap();
        let Protocol::WebSocket(subprotocol) = protocol else {
            panic!("{protocol:?}");
        };
        let client = portforward::channel::Client::new(subprotocol, &ports, 5).unwrap();
        let ids: Vec<_> = client.connections().collect();
        let mut forward = PortForward::from_upgrade(upgraded, client, Duration::from_secs(10));
        let mut programs = Vec::new();
        for (id, port) in ids {
            let (mut program, theirs) = duplex(100);
            forward.adopt(id, port, theirs);
            programs.push(tokio::spawn(async move {
                program.write_all(b"hello").await.unwrap();
                let mut answer = [0; 5];
                program.read_exact(&mut answer).await.unwrap();
                assert_eq!(&answer, b"HELLO");
                program
            }));
        }
        let moving = async {
            while let Some(event) = forward.next().await {
                event.unwrap();
            }
        };
        let all = async {
            let mut held = Vec::new();
            for program in programs {
                held.push(program.await.unwrap());
            }
            held.len()
        };
        let answered = timeout(LIMIT, async {
            tokio::select! { answered = all => answered, () = moving => panic!("ended") }
        });
        assert_eq!(answered.await.unwrap(), 2, "{subprotocol:?}");
    }
    container.remove().await;
}
