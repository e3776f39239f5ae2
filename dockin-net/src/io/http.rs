//! The question to the resource manager: `GET` over HTTP/1.1 or HTTPS, one answer a connection.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream, ToSocketAddrs},
    sync::mpsc,
    thread::{self, sleep},
    time::{Duration, Instant},
};

use super::tls::{Security, Stream};
use crate::meta::{NoAnswer, Trust};

/// An answer names a handful of networks.
const MAX_ANSWER: u64 = 1024 * 1024;
/// From the first try to the end of the last; runtimes give a plugin tens of seconds.
const DEADLINE: Duration = Duration::from_secs(5);
/// Tries, and the pause after the first; it doubles.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_millis(100);

/// Asks until there is an answer, three times within five seconds.
pub(super) fn get(url: &str, trust: &Trust) -> Result<Vec<u8>, NoAnswer> {
    let end = Instant::now() + DEADLINE;
    let mut pause = PAUSE;
    for _ in 1..TRIES {
        match get_once(url, trust, end) {
            Err(error) if error.later && Instant::now() + pause < end => sleep(pause),
            done => return done,
        }
        pause *= 2;
    }
    get_once(url, trust, end)
}

fn get_once(url: &str, trust: &Trust, end: Instant) -> Result<Vec<u8>, NoAnswer> {
    let invalid = |message: &str| NoAnswer {
        // What may be secret is not told: a password, and what stands behind the path.
        message: match url.split('?').next() {
            Some(start) if !start.contains('@') => format!("{message}: `{start}`"),
            _ => message.to_owned(),
        },
        later: false,
    };
    let (rest, is_secret) = match (url.strip_prefix("http://"), url.strip_prefix("https://")) {
        (Some(rest), _) => (rest, false),
        (None, Some(rest)) => (rest, true),
        _ => return Err(invalid("only `http://` and `https://` can be asked")),
    };
    let (authority, path) = match rest.find(['/', '?']) {
        Some(index) => rest.split_at(index),
        None => (rest, ""),
    };
    if url.bytes().any(|byte| byte <= b' ' || byte == 0x7f) || authority.is_empty() {
        return Err(invalid("not an address"));
    }
    if authority.contains('@') {
        return Err(NoAnswer {
            message: "no user belongs into the address, `backendToken` is what we show".into(),
            later: false,
        });
    }
    let slash = if path.starts_with('/') { "" } else { "/" };
    let proof = match &trust.token {
        None => String::new(),
        // A token that anyone on the way can read is nobody's.
        Some(_) if !is_secret => return Err(invalid("`backendToken` needs `https://`")),
        Some(file) => format!("Authorization: Bearer {}\r\n", read_token(file)?),
    };
    let request = format!(
        "GET {slash}{path} HTTP/1.1\r\nHost: {authority}\r\nAccept: application/json\r\n\
         {proof}Connection: close\r\n\r\n"
    );
    let security = match is_secret {
        true => Some(Security::new(authority, trust)?),
        false => None,
    };
    let later = |error: std::io::Error| NoAnswer {
        message: format!("{authority}: {error}"),
        later: true,
    };
    let mut answer = Vec::new();
    exchange(authority, security.as_ref(), &request, end, &mut answer).map_err(later)?;
    read_answer(&answer).map_err(|(message, later)| NoAnswer {
        message: format!("{authority}: {message}"),
        later,
    })
}

fn read_token(file: &str) -> Result<String, NoAnswer> {
    let invalid = |what: &dyn std::fmt::Display| NoAnswer {
        message: format!("`backendToken` `{file}`: {what}"),
        later: false,
    };
    let text = std::fs::read_to_string(file).map_err(|error| invalid(&error))?;
    let token = text.trim();
    if token.is_empty() || token.bytes().any(|byte| !byte.is_ascii_graphic()) {
        return Err(invalid(&"not one word"));
    }
    Ok(token.to_owned())
}

/// One request and its whole answer, over one connection.
pub(super) fn exchange(
    authority: &str,
    security: Option<&Security>,
    request: &str,
    end: Instant,
    answer: &mut Vec<u8>,
) -> std::io::Result<()> {
    let left = || {
        let left = end.saturating_duration_since(Instant::now());
        left.max(Duration::from_millis(1))
    };
    let has_port = authority
        .rsplit_once(':')
        .is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let with_port = match has_port {
        true => authority.to_owned(),
        false if security.is_some() => format!("{authority}:443"),
        false => format!("{authority}:80"),
    };
    let mut failed = std::io::Error::other("the name has no address");
    let addresses = addresses_of(with_port, end)?;
    for (index, address) in addresses.iter().enumerate() {
        // One that does not answer leaves time for the others.
        let others = u32::try_from(addresses.len() - index).unwrap_or(1);
        match TcpStream::connect_timeout(address, left() / others) {
            Ok(socket) => {
                let timed = Timed { socket, end };
                let mut stream: Box<dyn Stream> = match security {
                    Some(security) => security.over(timed)?,
                    None => Box::new(timed),
                };
                stream.write_all(request.as_bytes())?;
                let mut buffer = [0; 8192];
                loop {
                    let count = match stream.read(&mut buffer) {
                        // The answer says itself whether it is whole.
                        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => 0,
                        read => read?,
                    };
                    answer.extend_from_slice(buffer.get(..count).unwrap_or_default());
                    let too_long = u64::try_from(answer.len()).is_ok_and(|it| it > MAX_ANSWER);
                    if too_long {
                        return Err(std::io::Error::other("the answer does not end"));
                    }
                    if count == 0 {
                        return Ok(());
                    }
                }
            }
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// The addresses of a name and port. Who looks names up takes a time of his own.
fn addresses_of(name: String, end: Instant) -> std::io::Result<Vec<SocketAddr>> {
    match name.parse() {
        Ok(address) => Ok(vec![address]),
        Err(_) => within(end, move || Ok(name.to_socket_addrs()?.collect())),
    }
}

/// Does it on a thread of its own, which is left to itself when the time is over.
fn within<T: Send + 'static>(
    end: Instant,
    act: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> std::io::Result<T> {
    let (done, answer) = mpsc::channel();
    thread::Builder::new().spawn(move || drop(done.send(act())))?;
    let left = end.saturating_duration_since(Instant::now());
    answer.recv_timeout(left).unwrap_or_else(|_| {
        let what = "the name was not looked up in time";
        Err(std::io::Error::new(std::io::ErrorKind::TimedOut, what))
    })
}

/// A socket that gives up at a time, however often a little comes before: below TLS too, where a
/// handshake is many reads.
pub(super) struct Timed {
    socket: TcpStream,
    end: Instant,
}

impl Timed {
    fn left(&self) -> std::io::Result<Option<Duration>> {
        match self.end.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err(too_late(std::io::ErrorKind::WouldBlock.into())),
            left => Ok(Some(left)),
        }
    }
}

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.socket.set_read_timeout(self.left()?)?;
        self.socket.read(buffer).map_err(too_late)
    }
}

impl Write for Timed {
    fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
        self.socket.set_write_timeout(self.left()?)?;
        self.socket.write(buffer).map_err(too_late)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.socket.flush()
    }
}

/// A socket whose time is over says that it would block.
fn too_late(error: std::io::Error) -> std::io::Error {
    match error.kind() {
        std::io::ErrorKind::WouldBlock => {
            std::io::Error::new(std::io::ErrorKind::TimedOut, "no whole answer in time")
        }
        _ => error,
    }
}

/// The body of an answer with status 200; else what is wrong and whether it may pass.
fn read_answer(answer: &[u8]) -> Result<Vec<u8>, (String, bool)> {
    match split_answer(answer)? {
        (200, body) => Ok(body),
        (status, _) => {
            let later = status >= 500 || status == 429;
            Err((format!("status {status}"), later))
        }
    }
}

/// The status and the body of an answer.
pub(super) fn split_answer(answer: &[u8]) -> Result<(u16, Vec<u8>), (String, bool)> {
    let cut = || ("the answer is cut off".to_owned(), true);
    let split = answer
        .windows(4)
        .position(|it| it == b"\r\n\r\n")
        .ok_or_else(cut)?;
    let (head, rest) = answer.split_at(split);
    let body = rest.get(4..).unwrap_or_default();
    let head = String::from_utf8_lossy(head);
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1));
    let status: u16 = status.and_then(|it| it.parse().ok()).ok_or_else(cut)?;
    let header = |wanted: &str| {
        head.lines().skip(1).find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case(wanted).then(|| value.trim())
        })
    };
    if header("transfer-encoding").is_some_and(|it| it.eq_ignore_ascii_case("chunked")) {
        return Ok((status, read_chunks(body).ok_or_else(cut)?));
    }
    let body = match header("content-length").map(str::parse::<usize>) {
        None => Some(body),
        Some(Ok(length)) => body.get(..length),
        Some(Err(_)) => None,
    };
    Ok((status, body.ok_or_else(cut)?.to_vec()))
}

fn read_chunks(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|it| it == b"\r\n")?;
        let size = std::str::from_utf8(rest.get(..end)?).ok()?;
        let size = size.split(';').next()?.trim();
        let size = usize::from_str_radix(size, 16).ok()?;
        rest = rest.get(end + 2..)?;
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(rest.get(..size)?);
        rest = rest.get(size.checked_add(2)?..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::{Trust, addresses_of, get_once, read_answer, within};
    use std::{
        thread,
        time::{Duration, Instant},
    };

    #[test]
    fn a_name_that_nobody_looks_up_in_time_is_told() {
        let never = || loop {
            thread::park();
        };
        let late = within::<()>(Instant::now(), never).unwrap_err();
        assert_eq!(late.kind(), std::io::ErrorKind::TimedOut);
        let end = Instant::now() + Duration::from_secs(3600);
        let found = addresses_of("localhost:7".into(), end).unwrap();
        assert!(found.iter().all(|it| it.ip().is_loopback()), "{found:?}");
        assert_eq!(addresses_of("[::1]:7".into(), end).unwrap().len(), 1);
    }

    #[test]
    fn what_may_be_secret_in_an_address_is_not_told() {
        for url in [
            "http://user:hunter2@rm/",
            "ftp://user:hunter2@rm/",
            "http://rm/a b?token=hunter2",
        ] {
            let error = get_once(url, &Trust::default(), Instant::now()).unwrap_err();
            assert!(
                !error.later && !error.message.contains("hunter2"),
                "{error:?}"
            );
        }
    }

    #[test]
    fn bodies_are_read_in_each_form() {
        for (answer, body) in [
            ("HTTP/1.1 200 OK\r\n\r\n{}", "{}"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}x", "{}"),
            (
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\n{\r\n1;a=b\r\n}\r\n0\r\n\r\n",
                "{}",
            ),
        ] {
            assert_eq!(read_answer(answer.as_bytes()).unwrap(), body.as_bytes());
        }
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        for (answer, later) in [
            ("", true),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{}", true),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n{",
                true,
            ),
            ("HTTP/1.1 503 No\r\n\r\n{}", true),
            ("HTTP/1.1 404 No\r\n\r\n{}", false),
        ] {
            assert_eq!(
                read_answer(answer.as_bytes()).unwrap_err().1,
                later,
                "{answer}"
            );
        }
        for url in [
            "ftp://rm/",
            "https:///",
            "http:///",
            "http://rm/a b",
            "http://rm/\r\nX: y",
        ] {
            assert!(
                !get_once(url, &Trust::default(), Instant::now())
                    .unwrap_err()
                    .later,
                "{url}"
            );
        }
    }
}
