//! A server that kubectl's protocols reach: exec over WebSocket and SPDY, on plain HTTP. What it
//! "runs" is `cat` in a few lines: it echoes its input, and exits with 0 at the end of it.
//!
//! ```sh
//! cargo run -p dockin-examples --example exec_server -- --listen 127.0.0.1:8001
//! ```

use std::{convert::Infallible, io, time::Instant};

use bytes::Bytes;
use dockin_stream::{
    Event, ExitStatus, StreamSet,
    io::Endpoint,
    upgrade::{Accepted, Protocol},
};
use futures::{SinkExt as _, StreamExt as _};
use http::{Request, Response, StatusCode};
use hyper::{body::Incoming, server::conn::http1, service::service_fn, upgrade::OnUpgrade};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [flag, address] = arguments.as_slice() else {
        return Err(io::Error::other("usage: exec_server --listen ADDRESS"));
    };
    assert_eq!(flag, "--listen", "the only option");
    serve(TcpListener::bind(address).await?).await
}

/// Serves everybody who connects.
pub(crate) async fn serve(listener: TcpListener) -> io::Result<()> {
    loop {
        let (socket, _) = listener.accept().await?;
        let connection = http1::Builder::new()
            .serve_connection(TokioIo::new(socket), service_fn(answer))
            .with_upgrades();
        tokio::spawn(connection);
    }
}

/// Agrees to an upgrade, and leaves the session to a task.
async fn answer(mut request: Request<Incoming>) -> Result<Response<String>, Infallible> {
    let accepted = match Accepted::remote_command(request.headers()) {
        Ok(accepted) => accepted,
        Err(refused) => {
            let mut response = Response::new(format!("{refused}\n"));
            *response.status_mut() = StatusCode::BAD_REQUEST;
            return Ok(response);
        }
    };
    tokio::spawn(session(
        hyper::upgrade::on(&mut request),
        accepted.protocol(),
    ));
    Ok(accepted.into_response())
}

/// One session, from the 101 to the last byte.
async fn session(upgrade: OnUpgrade, protocol: Protocol) -> Option<()> {
    let streams = StreamSet {
        stdin: true,
        stdout: true,
        ..StreamSet::default()
    };
    let socket = TokioIo::new(upgrade.await.ok()?);
    let codec = protocol.server_codec(streams, Instant::now())?;
    let mut client = Endpoint::new(socket, codec, Bytes::new());
    client.ready().await.ok()?;
    while let Some(Ok(event)) = client.next().await {
        match event {
            Event::Stdin(bytes) => client.send(Event::Stdout(bytes)).await.ok()?,
            Event::HalfClose => {
                let status = Event::Exit(ExitStatus::Exited(0));
                client.send(status).await.ok()?;
                break;
            }
            Event::Close => break,
            _ => {}
        }
    }
    // Lingers: a plain close would throw away what the client has not read yet.
    client.finish().await.ok()
}
