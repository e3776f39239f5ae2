//! The programs that talk to each other, joined.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
#![allow(dead_code, reason = "their `main` is for people")]

#[path = "../exec_client.rs"]
mod exec_client;
#[path = "../exec_server.rs"]
mod exec_server;
#[path = "../ws_spdy_proxy.rs"]
mod ws_spdy_proxy;

use dockin_stream::ExitStatus;
use tokio::net::TcpListener;

async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

#[tokio::test]
async fn the_client_reaches_the_server_over_both_protocols_and_through_the_proxy() {
    let (listener, server) = listen().await;
    tokio::spawn(exec_server::serve(listener));
    let (listener, proxy) = listen().await;
    tokio::spawn(ws_spdy_proxy::serve(listener, server.clone()));
    let query = "exec?stdin=true&stdout=true";
    for (address, spdy) in [
        (&server, false),
        (&server, true),
        (&proxy, false),
        (&proxy, true),
    ] {
        let url = format!("http://{address}/{query}");
        let input: Vec<u8> = (0..1_000_000_u32).flat_map(u32::to_be_bytes).collect();
        let (output, status) = exec_client::exec(&url, spdy, input.clone()).await.unwrap();
        assert_eq!(status, ExitStatus::Exited(0), "{url} {spdy}");
        assert!(output == input, "{url} {spdy}: {} bytes", output.len());
    }
}

#[tokio::test]
async fn a_refusal_upstream_is_an_answer_and_no_session() {
    let (nobody, address) = listen().await;
    drop(nobody);
    let (listener, proxy) = listen().await;
    tokio::spawn(ws_spdy_proxy::serve(listener, address));
    let url = format!("http://{proxy}/exec?stdin=true&stdout=true");
    let error = exec_client::exec(&url, false, Vec::new())
        .await
        .unwrap_err();
    assert!(error.to_string().contains("502"), "{error}");
}
