//! Translates exec and attach from WebSocket to SPDY, as the kube-apiserver does in front of a
//! kubelet: `cargo run --example ws_spdy_proxy -- --listen ADDR --upstream http://HOST:PORT`.

use std::{convert::Infallible, future::ready, io, time::Instant};

use bytes::Bytes;
use dockin_stream::{
    OpenGate, Relay, StreamSet, Subprotocol,
    io::{Endpoint, run_relay},
    upgrade::{Accepted, Offer},
};
use http::{Request, Response, StatusCode, header};
use hyper::{body::Incoming, client, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let ["--listen", address, "--upstream", url] =
        *arguments.iter().map(String::as_str).collect::<Vec<_>>()
    else {
        return Err("usage: ws_spdy_proxy --listen ADDR --upstream http://HOST:PORT".into());
    };
    let upstream = url.trim_start_matches("http://").trim_end_matches('/');
    Ok(serve(TcpListener::bind(address).await?, upstream.to_owned()).await?)
}

pub(crate) async fn serve(listener: TcpListener, upstream: String) -> io::Result<()> {
    loop {
        let (socket, _) = listener.accept().await?;
        let upstream = upstream.clone();
        let answer = service_fn(move |request| answer(request, upstream.clone()));
        let server = http1::Builder::new().serve_connection(TokioIo::new(socket), answer);
        tokio::spawn(server.with_upgrades());
    }
}

async fn answer(
    request: Request<Incoming>,
    upstream: String,
) -> Result<Response<String>, Infallible> {
    let answer = translate(request, upstream).await;
    Ok(answer.unwrap_or_else(|failure| {
        let mut response = Response::new(format!("{failure}\n"));
        *response.status_mut() = StatusCode::BAD_GATEWAY;
        response
    }))
}

/// Asks upstream first, so that its refusal is an answer and not a broken session.
async fn translate(
    mut request: Request<Incoming>,
    upstream: String,
) -> Result<Response<String>, Failure> {
    let accepted = Accepted::remote_command(request.headers())?;
    let streams = StreamSet::from_query(request.uri().query().unwrap_or_default());
    let mut onward = Request::post(request.uri().clone());
    onward = onward.header(header::HOST, &upstream);
    let offer = Offer::spdy(&Subprotocol::SPDY);
    offer.add_to(onward.headers_mut().ok_or("bad request")?);
    let socket = TokioIo::new(TcpStream::connect(&upstream).await?);
    let (mut sender, connection) = client::conn::http1::handshake(socket).await?;
    tokio::spawn(connection.with_upgrades());
    let response = sender.send_request(onward.body(String::new())?).await?;
    let inside = offer
        .check(&response)?
        .client_codec(streams, 0)
        .ok_or("no exec")?;
    let outside = accepted
        .protocol()
        .server_codec(streams, Instant::now())
        .ok_or("no exec")?;
    let client = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let (client, container) = tokio::try_join!(client, hyper::upgrade::on(response))?;
        let mut client = Endpoint::new(TokioIo::new(client), outside, Bytes::new());
        let mut container = Endpoint::new(TokioIo::new(container), inside, Bytes::new());
        client.ready().await?;
        let relay = Relay::new(OpenGate::default());
        run_relay(&mut client, &mut container, relay, |()| ready(Ok(()))).await;
        Ok::<_, Failure>(client.finish().await?)
    });
    Ok(accepted.into_response())
}
