//! A client for exec over WebSocket or SPDY, on plain HTTP: a kubelet's read-only cousin, a CRI
//! runtime's streaming server, or the `exec_server` beside this file.
//!
//! ```sh
//! echo hello | cargo run -p dockin-examples --example exec_client -- http://127.0.0.1:8001/exec
//! echo hello | cargo run -p dockin-examples --example exec_client -- --spdy http://127.0.0.1:8001/exec
//! ```

use std::{io::Read as _, process::ExitCode};

use bytes::Bytes;
use dockin_stream::{Event, ExitStatus, StreamSet, Subprotocol, io::Endpoint, upgrade::Offer};
use futures::{SinkExt as _, StreamExt as _};
use http::{Request, Uri, header};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<ExitCode, Failure> {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let spdy = arguments.first().is_some_and(|first| first == "--spdy");
    let url = arguments.pop().ok_or("usage: exec_client [--spdy] URL")?;
    let mut input = Vec::new();
    std::io::stdin().read_to_end(&mut input)?;
    let (output, status) = exec(&url, spdy, input).await?;
    print!("{}", String::from_utf8_lossy(&output));
    match status {
        ExitStatus::Exited(code) => Ok(ExitCode::from(code)),
        ExitStatus::Failed(failure) => Err(failure.message.into()),
    }
}

/// Runs what is behind `url` with `input`; gives its output and how it ended.
pub(crate) async fn exec(
    url: &str,
    spdy: bool,
    input: Vec<u8>,
) -> Result<(Vec<u8>, ExitStatus), Failure> {
    let streams = StreamSet {
        stdin: true,
        stdout: true,
        ..StreamSet::default()
    };
    let offer = if spdy {
        Offer::spdy(&Subprotocol::SPDY)
    } else {
        Offer::websocket(rand_bytes()?, &[Subprotocol::V5, Subprotocol::V4])
    };
    let url: Uri = url.parse()?;
    let authority = url.authority().ok_or("the URL names no host")?.clone();
    let socket = TcpStream::connect(authority.as_str()).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(socket)).await?;
    tokio::spawn(connection.with_upgrades());
    let path = url.path_and_query().map_or("/", |path| path.as_str());
    let mut request = Request::get(path)
        .header(header::HOST, authority.as_str())
        .body(String::new())?;
    offer.add_to(request.headers_mut());
    let response = sender.send_request(request).await?;
    let protocol = offer.check(&response)?;
    let codec = protocol.client_codec(streams, u64::from_ne_bytes(rand_bytes()?));
    let socket = TokioIo::new(hyper::upgrade::on(response).await?);
    let mut container = Endpoint::new(socket, codec.ok_or("no exec")?, Bytes::new());

    let (mut output, mut input) = (Vec::new(), Some(input));
    loop {
        // Input goes out while output comes in: neither may wait for the other.
        let event = tokio::select! {
            event = container.next() => event,
            () = std::future::ready(()), if input.is_some() => {
                container.feed(Event::Stdin(input.take().unwrap_or_default().into())).await?;
                container.send(Event::HalfClose).await?;
                continue;
            }
        };
        match event.ok_or("connection lost before the exit status")?? {
            Event::Stdout(bytes) => output.extend_from_slice(&bytes),
            Event::Exit(status) => return Ok((output, status)),
            _ => {}
        }
    }
}

fn rand_bytes<const N: usize>() -> Result<[u8; N], Failure> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}
