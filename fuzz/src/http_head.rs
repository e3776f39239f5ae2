use dockin_stream::{
    Subprotocol,
    docker::{Shape, hijack},
    portforward,
    upgrade::{Accepted, Offer, Protocol, UpgradeError},
    websocket::{TUNNEL_SUBPROTOCOL, handshake::HandshakeError},
};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use tungstenite::handshake::{derive_accept_key, server::create_response};

use crate::script::Script;

/// The head of an upgrade: which side reads it, what was offered and how it is edited, a key, then
/// header lines as httparse reads them.
///
/// A request or an answer is agreed to exactly when a plain reading of the lines says so; where
/// tungstenite agrees, too, the answers are the same; and both ends of one handshake conclude the
/// same.
///
/// # Panics
///
/// A law is broken.
pub fn http_head(data: &[u8]) {
    let mut script = Script::new(data);
    let choice = script.byte();
    let offered = OFFERED[usize::from(choice >> 4) % OFFERED.len()];
    let offer = offered.offer([script.byte(); 16]);
    let lines = [script.rest(), b"\r\n\r\n"].concat();
    let mut slots = [httparse::EMPTY_HEADER; 64];
    let Ok(httparse::Status::Complete((_, lines))) = httparse::parse_headers(&lines, &mut slots)
    else {
        return;
    };
    if choice & 1 == 0 {
        check_request(offered, &offer, &edited(&offer, choice >> 1, lines));
    } else {
        let status = [101, 200, 403][usize::from(choice >> 1 & 7) % 3];
        check_answer(
            offered,
            &offer,
            status,
            &edited_answer(&offer, choice >> 3, lines),
        );
        check_docker(status, lines);
    }
}

/// What a client of the field offers.
#[derive(Clone, Copy, Debug)]
enum Offered {
    WebSocket(&'static [Subprotocol]),
    Spdy(&'static [Subprotocol]),
    Ports,
}

impl Offered {
    fn offer(self, random: [u8; 16]) -> Offer {
        match self {
            Self::WebSocket(subprotocols) => Offer::websocket(random, subprotocols),
            Self::Spdy(subprotocols) => Offer::spdy(subprotocols),
            Self::Ports => Offer::spdy_ports(),
        }
    }

    const fn is_websocket(self) -> bool {
        matches!(self, Self::WebSocket(_))
    }

    fn contains(self, protocol: Protocol) -> bool {
        match (self, protocol) {
            (Self::WebSocket(known), Protocol::WebSocket(chosen))
            | (Self::Spdy(known), Protocol::Spdy(chosen)) => known.contains(&chosen),
            (Self::Ports, Protocol::SpdyPorts) => true,
            _ => false,
        }
    }
}

const OFFERED: [Offered; 5] = [
    Offered::WebSocket(&[Subprotocol::V5, Subprotocol::V4]),
    Offered::WebSocket(&Subprotocol::WEBSOCKET),
    Offered::Spdy(&Subprotocol::SPDY),
    Offered::Spdy(&[Subprotocol::V4]),
    Offered::Ports,
];

/// The headers alone, or added to those of the offer, or in place of those.
fn edited(offer: &Offer, how: u8, lines: &[httparse::Header<'_>]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if !how.is_multiple_of(4) {
        offer.add_to(&mut headers);
    }
    edit(&mut headers, how, lines);
    headers
}

/// The same for the answer that a server of ours gives to the offer.
fn edited_answer(offer: &Offer, how: u8, lines: &[httparse::Header<'_>]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if !how.is_multiple_of(2) {
        let mut request = HeaderMap::new();
        offer.add_to(&mut request);
        let accepted = Accepted::remote_command(&request)
            .or_else(|_| Accepted::port_forward(&request))
            .expect("our own offer is refused");
        headers = accepted.into_response::<()>().headers().clone();
    }
    edit(&mut headers, how, lines);
    headers
}

fn edit(headers: &mut HeaderMap, how: u8, lines: &[httparse::Header<'_>]) {
    for line in lines {
        let name = HeaderName::from_bytes(line.name.as_bytes());
        let value = HeaderValue::from_bytes(line.value);
        if let (Ok(name), Ok(value)) = (name, value) {
            if how & 2 == 0 {
                headers.append(name, value);
            } else {
                headers.insert(name, value);
            }
        }
    }
}

fn check_request(offered: Offered, offer: &Offer, headers: &HeaderMap) {
    let lines = Lines::new(headers);
    let websocket = lines.has("connection", "upgrade") && lines.has("upgrade", "websocket");
    let spdy = lines.has("connection", "upgrade") && lines.has("upgrade", "spdy/3.1");
    let names = lines.names(if websocket {
        "sec-websocket-protocol"
    } else {
        "x-stream-protocol-version"
    });

    let command = Accepted::remote_command(headers);
    let chosen = |known: &[Subprotocol]| {
        let mut chosen = names.iter().filter_map(|name| Subprotocol::parse(name));
        chosen.find(|name| known.contains(name))
    };
    let expected = match (websocket, spdy) {
        (true, _) => match chosen(&Subprotocol::WEBSOCKET) {
            None if names.is_empty() => Some(Protocol::WebSocket(Subprotocol::V1)),
            chosen => chosen.map(Protocol::WebSocket),
        },
        (false, true) => chosen(&Subprotocol::SPDY).map(Protocol::Spdy),
        (false, false) => None,
    };
    check_accepted(&lines, websocket, spdy, &command, expected);
    check_against_tungstenite(headers, &command, websocket && expected.is_some());

    let ports = Accepted::port_forward(headers);
    let expected = match (websocket, spdy) {
        (true, _) if names.contains(&TUNNEL_SUBPROTOCOL) => Some(Protocol::TunnelledPorts),
        (true, _) => match chosen(&portforward::channel::SUBPROTOCOLS) {
            None if names.is_empty() => Some(Protocol::ChannelPorts(Subprotocol::V4)),
            chosen => chosen.map(Protocol::ChannelPorts),
        },
        (false, true) => names
            .contains(&portforward::SUBPROTOCOL)
            .then_some(Protocol::SpdyPorts),
        (false, false) => None,
    };
    check_accepted(&lines, websocket, spdy, &ports, expected);

    // The client of this offer, if the answer is to it, concludes what the server did.
    for accepted in [command, ports].into_iter().flatten() {
        let protocol = accepted.protocol();
        if matches!(protocol, Protocol::ChannelPorts(_)) {
            // The names are those of a session, and which of the two is meant the path says: none
            // of the offers here is for these.
            continue;
        }
        let response: Response<()> = accepted.into_response();
        if let Ok(concluded) = offer.check(&response) {
            assert_eq!(concluded, protocol, "{offered:?} to {headers:?}");
        }
    }
}

/// `expected` is what the lines choose, if their handshake is right.
fn check_accepted(
    lines: &Lines<'_>,
    websocket: bool,
    spdy: bool,
    accepted: &Result<Accepted, UpgradeError>,
    expected: Option<Protocol>,
) {
    let key = lines.only("sec-websocket-key");
    let handshake = match (lines.only("sec-websocket-version"), key) {
        _ if !websocket => None,
        (version, _) if version != Some("13") => Some(HandshakeError::Version),
        (_, key) if !key.is_some_and(is_key) => Some(HandshakeError::Key),
        _ => None,
    };
    match (accepted, expected, handshake) {
        (Ok(accepted), Some(expected), None) => {
            assert_eq!(accepted.protocol(), expected);
            let response: Response<()> = accepted.clone().into_response();
            check_written(&response, key.filter(|_| websocket));
        }
        (Err(UpgradeError::NotRequested), None, _) => assert!(!websocket && !spdy),
        (Err(UpgradeError::NoCommonVersion { known }), None, _) => assert!(!known.is_empty()),
        (Err(UpgradeError::Handshake(error)), Some(_), expected) => {
            assert_eq!(Some(*error), expected);
        }
        other => panic!("{other:?} of {:?}", lines.0),
    }
}

/// A 101 that httparse reads, and an accept key that tungstenite would give.
fn check_written(response: &Response<()>, key: Option<&str>) {
    assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
    let mut wire = b"HTTP/1.1 101 Switching Protocols\r\n".to_vec();
    for (name, value) in response.headers() {
        wire.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
    }
    wire.extend(b"\r\n");
    let mut slots = [httparse::EMPTY_HEADER; 8];
    let mut head = httparse::Response::new(&mut slots);
    assert_eq!(
        head.parse(&wire),
        Ok(httparse::Status::Complete(wire.len()))
    );
    let accept = response.headers().get("sec-websocket-accept");
    assert_eq!(
        accept.map(HeaderValue::as_bytes),
        key.map(|key| derive_accept_key(key.as_bytes()))
            .as_deref()
            .map(str::as_bytes)
    );
}

fn check_against_tungstenite(
    headers: &HeaderMap,
    ours: &Result<Accepted, UpgradeError>,
    chosen: bool,
) {
    let mut request = Request::new(());
    *request.headers_mut() = headers.clone();
    let Ok(theirs) = create_response(&request) else {
        // It wants exact words and the first header alone; Go's clients do better, and so do we.
        return;
    };
    match ours {
        Ok(accepted) => {
            let response: Response<()> = accepted.clone().into_response();
            assert_eq!(
                response.headers().get("sec-websocket-accept"),
                theirs.headers().get("sec-websocket-accept")
            );
        }
        // It knows no subprotocols, reads the first of several, and takes a key of pieces that are
        // padded each, which is no base64 of RFC 4648.
        Err(error) => assert!(
            !chosen
                || headers
                    .get("sec-websocket-key")
                    .and_then(|key| key.to_str().ok()?.trim_end_matches('=').find('='))
                    .is_some()
                || ["sec-websocket-key", "sec-websocket-version"]
                    .iter()
                    .any(|name| headers.get_all(*name).iter().count() > 1),
            "{error} of {headers:?}"
        ),
    }
}

fn check_answer(offered: Offered, offer: &Offer, status: u16, headers: &HeaderMap) {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::from_u16(status).expect("a status");
    *response.headers_mut() = headers.clone();
    let lines = Lines::new(headers);
    let upgrade = if offered.is_websocket() {
        "websocket"
    } else {
        "spdy/3.1"
    };
    let switched = status == 101
        && lines.has("connection", "upgrade")
        && lines.has("upgrade", upgrade)
        && (!offered.is_websocket()
            || lines.only("sec-websocket-accept") == accept(offer).as_deref());
    let name = if offered.is_websocket() {
        "sec-websocket-protocol"
    } else {
        "x-stream-protocol-version"
    };
    let named = lines.values(name).find(|value| !value.is_empty());
    let chosen =
        match (offered, named) {
            (Offered::Ports, None | Some(portforward::SUBPROTOCOL)) => Some(Protocol::SpdyPorts),
            (Offered::Ports, Some(_)) => None,
            (_, named) => named.map_or(Some(Subprotocol::V1), Subprotocol::parse).map(
                if offered.is_websocket() {
                    Protocol::WebSocket
                } else {
                    Protocol::Spdy
                },
            ),
        };
    let expected = chosen.filter(|chosen| switched && offered.contains(*chosen));
    assert_eq!(
        offer.check(&response).ok(),
        expected,
        "{offered:?}, {response:?}"
    );
}

/// The accept key that belongs to an offer's key.
fn accept(offer: &Offer) -> Option<String> {
    let mut headers = HeaderMap::new();
    offer.add_to(&mut headers);
    let key = headers.get("sec-websocket-key")?;
    Some(derive_accept_key(key.as_bytes()))
}

/// A daemon's answer is a stream only as one, and what we write as a daemon is read as written.
fn check_docker(status: u16, lines: &[httparse::Header<'_>]) {
    let pairs = lines
        .iter()
        .filter_map(|line| Some((line.name, std::str::from_utf8(line.value).ok()?)));
    for tty in [false, true] {
        let Ok(answer) = hijack::Answer::parse(status, pairs.clone(), tty) else {
            continue;
        };
        assert_eq!(answer.upgraded, status == 101);
        assert!(answer.upgraded || status == 200);
        assert!(!answer.upgraded || hijack::is_upgrade(pairs.clone()));
        for minor in [24, 41, 42, 47] {
            let text = answer.to_head(minor);
            let mut slots = [httparse::EMPTY_HEADER; 8];
            let mut head = httparse::Response::new(&mut slots);
            assert_eq!(
                head.parse(text.as_bytes()),
                Ok(httparse::Status::Complete(text.len()))
            );
            let again = head
                .headers
                .iter()
                .filter_map(|line| Some((line.name, std::str::from_utf8(line.value).ok()?)));
            // Before 1.42 the head does not tell, and who asked has to know.
            let tty = answer.shape == Shape::Raw;
            let read = hijack::Answer::parse(head.code.unwrap_or_default(), again, tty);
            assert_eq!(read, Ok(answer));
        }
    }
}

/// Names and values of a head that are text, read with nothing but the standard library.
struct Lines<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Lines<'a> {
    fn new(headers: &'a HeaderMap) -> Self {
        let visible = |byte: &u8| matches!(byte, b'\t' | b' '..=b'~');
        let lines = headers
            .iter()
            .filter(|(_, value)| value.as_bytes().iter().all(visible))
            .filter_map(|(name, value)| {
                let value = std::str::from_utf8(value.as_bytes()).ok()?;
                Some((name.as_str(), value.trim()))
            });
        Self(lines.collect())
    }

    fn values(&self, name: &str) -> impl Iterator<Item = &'a str> {
        self.0
            .iter()
            .filter(move |(known, _)| *known == name)
            .map(|(_, value)| *value)
    }

    fn has(&self, name: &str, word: &str) -> bool {
        self.values(name)
            .any(|value| value.to_ascii_lowercase().contains(word))
    }

    fn only(&self, name: &str) -> Option<&'a str> {
        let values: Vec<&str> = self.values(name).collect();
        <[&str; 1]>::try_from(values).ok().map(|[value]| value)
    }

    fn names(&self, name: &str) -> Vec<&'a str> {
        self.values(name)
            .flat_map(|value| value.split(','))
            .map(str::trim)
            .filter(|name| !name.is_empty())
            .collect()
    }
}

/// Whether a text is 16 bytes in base64: 21 letters, one of four, two signs of padding.
fn is_key(key: &str) -> bool {
    let letter = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    key.as_bytes()
        .split_last_chunk::<3>()
        .is_some_and(|(letters, end)| {
            letters.len() == 21
                && letters.iter().all(letter)
                && matches!(end, [b'A' | b'Q' | b'g' | b'w', b'=', b'='])
        })
}
