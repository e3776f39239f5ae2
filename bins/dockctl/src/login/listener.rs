use std::{net::Ipv4Addr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use crate::failure::Failure;

/// Where the browser comes back to.
#[derive(Debug)]
pub(super) struct Listener {
    listener: TcpListener,
    port: u16,
}

/// The browser that came back, waiting to be told how it went.
#[derive(Debug)]
pub(super) struct Answer {
    socket: TcpStream,
    query: String,
}

const PATH: &str = "/callback";
/// The head of a request in bytes: codes of some providers have kilobytes.
const MAX_HEAD: usize = 16 * 1024;
/// How long a browser may take to send it.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections that have not sent theirs. Any page can open some.
const MAX_OPEN: usize = 32;

impl Listener {
    /// Listens on loopback, at a free port when `port` is 0.
    pub(super) async fn bind(port: u16) -> Result<Self, Failure> {
        let failed = |error| {
            Failure::local(format!(
                "cannot listen on port {port} of this machine: {error}"
            ))
        };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
            .await
            .map_err(failed)?;
        let port = listener.local_addr().map_err(failed)?.port();
        Ok(Self { listener, port })
    }

    /// The redirect address to give to the provider.
    pub(super) fn address(&self) -> String {
        format!("http://127.0.0.1:{}{PATH}", self.port)
    }

    /// Waits for a request whose query is the one; everything else is told that there is nothing.
    pub(super) async fn answer(&self, is_it: impl Fn(&str) -> bool) -> Result<Answer, Failure> {
        let mut open = JoinSet::new();
        loop {
            tokio::select! {
                Some(read) = open.join_next() => {
                    let Ok(Some(answer)) = read else {
                        continue;
                    };
                    let answer: Answer = answer;
                    if is_it(&answer.query) {
                        return Ok(answer);
                    }
                    answer.send("404 Not Found", "This is not what the login waits for.").await;
                }
                accepted = self.listener.accept(), if open.len() < MAX_OPEN => {
                    let (socket, _) = accepted
                        .map_err(|error| Failure::local(format!("cannot listen: {error}")))?;
                    open.spawn(read(socket));
                }
            }
        }
    }
}

impl Answer {
    pub(super) fn query(&self) -> &str {
        &self.query
    }

    /// Tells the person that all went well.
    pub(super) async fn thank(self) {
        self.send("200 OK", "You are logged in; this page can be closed.")
            .await;
    }

    /// Tells the person that it did not.
    pub(super) async fn refuse(self) {
        self.send(
            "403 Forbidden",
            "You are not logged in; the terminal says why.",
        )
        .await;
    }

    /// `text` is ours alone: nothing that came with a request goes into a page.
    async fn send(mut self, status: &str, text: &str) {
        let page = format!("<!doctype html><title>dockctl</title><p>{text}</p>\n");
        let answer = format!(
            "HTTP/1.1 {status}\r\ncontent-type: text/html; charset=utf-8\r\n\
             content-length: {}\r\ncache-control: no-store\r\nreferrer-policy: no-referrer\r\n\
             content-security-policy: default-src 'none'\r\nconnection: close\r\n\r\n{page}",
            page.len()
        );
        let sent = async {
            self.socket.write_all(answer.as_bytes()).await?;
            self.socket.shutdown().await
        };
        // A browser that has gone or does not read changes nothing about the login.
        let _unread = tokio::time::timeout(Duration::from_secs(2), sent).await;
    }
}

/// Reads a request. Without a query of ours it gets an answer that no login has.
async fn read(mut socket: TcpStream) -> Option<Answer> {
    let mut head = Vec::new();
    let read = async {
        let mut bytes = [0; 2048];
        while !head.windows(4).any(|end| end == b"\r\n\r\n") {
            let size = socket
                .read(&mut bytes)
                .await
                .ok()
                .filter(|size| *size > 0)?;
            head.extend_from_slice(bytes.get(..size)?);
            if head.len() > MAX_HEAD {
                return None;
            }
        }
        Some(())
    };
    tokio::time::timeout(HEAD_TIMEOUT, read).await.ok()??;
    let query = query(&head).unwrap_or_default();
    Some(Answer { socket, query })
}

/// The query of `GET /callback?QUERY HTTP/1.1`.
fn query(head: &[u8]) -> Option<String> {
    let line = head.split(|byte| *byte == b'\r').next()?;
    let line = std::str::from_utf8(line).ok()?;
    let mut words = line.split(' ');
    let (method, target, version) = (words.next()?, words.next()?, words.next()?);
    if method != "GET" || !version.starts_with("HTTP/1.") || words.next().is_some() {
        return None;
    }
    let query = target.strip_prefix(PATH)?.strip_prefix('?')?;
    Some(query.to_owned())
}

#[cfg(test)]
mod tests {
    use super::query;

    #[test]
    fn only_a_get_of_the_callback_has_a_query() {
        for (head, wanted) in [
            (
                "GET /callback?a=b&c HTTP/1.1\r\nhost: x\r\n\r\n",
                Some("a=b&c"),
            ),
            ("GET /callback? HTTP/1.0\r\n\r\n", Some("")),
            ("POST /callback?a=b HTTP/1.1\r\n\r\n", None),
            ("GET /callback HTTP/1.1\r\n\r\n", None),
            ("GET /callbackx?a=b HTTP/1.1\r\n\r\n", None),
            ("GET /callback?a=b HTTP/2\r\n\r\n", None),
            ("GET /callback?a=b HTTP/1.1 x\r\n\r\n", None),
            ("GET /favicon.ico HTTP/1.1\r\n\r\n", None),
            ("\r\n\r\n", None),
            ("", None),
        ] {
            assert_eq!(query(head.as_bytes()).as_deref(), wanted, "{head}");
        }
    }
}
