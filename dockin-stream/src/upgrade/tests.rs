#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::time::Instant;

use bytes::BytesMut;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};

use super::{Accepted, Offer, Protocol, STREAM_VERSION, UpgradeError};
use crate::{Event, ExitStatus, StreamSet, Subprotocol, websocket::handshake::HandshakeError};

fn request(offer: &Offer) -> HeaderMap {
    let mut headers = HeaderMap::new();
    offer.add_to(&mut headers);
    headers
}

#[test]
fn what_is_offered_is_accepted_and_the_answer_agrees() {
    for (offer, expected) in [
        (
            Offer::websocket([7; 16], &[Subprotocol::V5, Subprotocol::V4]),
            Protocol::WebSocket(Subprotocol::V5),
        ),
        (
            Offer::websocket([8; 16], &[Subprotocol::V4]),
            Protocol::WebSocket(Subprotocol::V4),
        ),
        (
            Offer::spdy(&[Subprotocol::V3, Subprotocol::V4]),
            Protocol::Spdy(Subprotocol::V3),
        ),
    ] {
        let accepted = Accepted::remote_command(&request(&offer)).unwrap();
        assert_eq!(accepted.protocol(), expected);
        let response: Response<()> = accepted.into_response();
        assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
        assert_eq!(offer.check(&response), Ok(expected));
    }
}

#[test]
fn ports_are_offered_and_accepted_over_spdy() {
    let offer = Offer::spdy_ports();
    let accepted = Accepted::port_forward(&request(&offer)).unwrap();
    let response: Response<()> = accepted.into_response();
    assert_eq!(offer.check(&response), Ok(Protocol::SpdyPorts));
    assert!(Offer::spdy(&Subprotocol::SPDY).check(&response).is_err());
}

#[test]
fn ports_over_a_websocket_take_the_tunnel_first_and_channels_else() {
    let accepted = |offered: Option<&'static str>| {
        let mut headers = request(&Offer::websocket([7; 16], &[Subprotocol::V5]));
        headers.remove(header::SEC_WEBSOCKET_PROTOCOL);
        if let Some(offered) = offered {
            let offered = HeaderValue::from_static(offered);
            headers.insert(header::SEC_WEBSOCKET_PROTOCOL, offered);
        }
        let accepted = Accepted::port_forward(&headers).unwrap();
        let protocol = accepted.protocol();
        let response: Response<()> = accepted.into_response();
        let named = response.headers().get(header::SEC_WEBSOCKET_PROTOCOL);
        let named = named.map(|name| name.to_str().unwrap().to_owned());
        (protocol, named)
    };
    let (raw, base64) = ("v4.channel.k8s.io", "v4.base64.channel.k8s.io");
    let tunnel = "SPDY/3.1+portforward.k8s.io";
    for (offered, protocol, named) in [
        (
            Some("v4.channel.k8s.io, SPDY/3.1+portforward.k8s.io"),
            Protocol::TunnelledPorts,
            Some(tunnel),
        ),
        (
            Some(raw),
            Protocol::ChannelPorts(Subprotocol::V4),
            Some(raw),
        ),
        (
            Some("v5.channel.k8s.io, v4.base64.channel.k8s.io"),
            Protocol::ChannelPorts(Subprotocol::V4Base64),
            Some(base64),
        ),
        (None, Protocol::ChannelPorts(Subprotocol::V4), None),
    ] {
        let named = named.map(str::to_owned);
        assert_eq!(accepted(offered), (protocol, named), "{offered:?}");
    }
}

#[test]
fn a_websocket_without_an_offer_is_the_oldest_version_and_is_named_nothing_back() {
    let mut headers = request(&Offer::websocket([7; 16], &[Subprotocol::V5]));
    headers.remove(header::SEC_WEBSOCKET_PROTOCOL);
    let accepted = Accepted::remote_command(&headers).unwrap();
    assert_eq!(accepted.protocol(), Protocol::WebSocket(Subprotocol::V1));
    let response: Response<()> = accepted.into_response();
    assert!(
        !response
            .headers()
            .contains_key(header::SEC_WEBSOCKET_PROTOCOL)
    );
}

#[test]
fn refusals_name_what_is_known() {
    let plain = HeaderMap::new();
    let refused = Accepted::remote_command(&plain).unwrap_err();
    assert_eq!(refused, UpgradeError::NotRequested);
    assert_eq!(Accepted::port_forward(&plain).unwrap_err(), refused);
    for (offer, header) in [
        (
            Offer::websocket([7; 16], &[Subprotocol::V5]),
            header::SEC_WEBSOCKET_PROTOCOL,
        ),
        (Offer::spdy(&[Subprotocol::V4]), STREAM_VERSION),
    ] {
        let mut headers = request(&offer);
        headers.insert(header, HeaderValue::from_static("v9.channel.k8s.io"));
        let refused = Accepted::remote_command(&headers).unwrap_err();
        assert!(
            refused.to_string().contains("v4.channel.k8s.io"),
            "{refused}"
        );
        let refused = Accepted::port_forward(&headers).unwrap_err();
        assert!(
            refused.to_string().contains("portforward.k8s.io"),
            "{refused}"
        );
    }
    let mut headers = request(&Offer::websocket([7; 16], &[Subprotocol::V5]));
    headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("8"));
    let refused = Accepted::remote_command(&headers).unwrap_err();
    assert_eq!(refused, UpgradeError::Handshake(HandshakeError::Version));
}

#[test]
fn a_server_that_answers_something_else_is_not_believed() {
    let offer = Offer::websocket([7; 16], &[Subprotocol::V5]);
    let answer = |name: HeaderName, value: &'static str| {
        let accepted = Accepted::remote_command(&request(&offer)).unwrap();
        let mut response: Response<()> = accepted.into_response();
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
        offer.check(&response).unwrap_err()
    };
    let unoffered = answer(header::SEC_WEBSOCKET_PROTOCOL, "v4.channel.k8s.io");
    assert_eq!(unoffered, UpgradeError::NotOffered);
    let forged = answer(header::SEC_WEBSOCKET_ACCEPT, "AAAA");
    assert_eq!(forged, UpgradeError::Handshake(HandshakeError::Accept));
    let mut refused = Response::new(());
    *refused.status_mut() = StatusCode::FOUND;
    let status = StatusCode::FOUND;
    assert_eq!(
        offer.check(&refused),
        Err(UpgradeError::NotSwitched { status })
    );
}

#[test]
fn spdy_without_a_version_in_the_answer_is_the_oldest_if_that_was_offered() {
    let all = Offer::spdy(&Subprotocol::SPDY);
    let accepted = Accepted::remote_command(&request(&all)).unwrap();
    let mut response: Response<()> = accepted.into_response();
    response.headers_mut().remove(STREAM_VERSION);
    assert_eq!(all.check(&response), Ok(Protocol::Spdy(Subprotocol::V1)));
    let newest = Offer::spdy(&[Subprotocol::V4]);
    assert_eq!(newest.check(&response), Err(UpgradeError::NotOffered));
}

#[test]
fn a_switch_to_another_protocol_is_no_spdy() {
    for offer in [Offer::spdy(&[Subprotocol::V4]), Offer::spdy_ports()] {
        let accepted = Accepted::remote_command(&request(&offer))
            .or_else(|_| Accepted::port_forward(&request(&offer)))
            .unwrap();
        let response: Response<()> = accepted.into_response();
        assert!(offer.check(&response).is_ok());
        for (name, value) in [
            (header::UPGRADE, Some("websocket")),
            (header::UPGRADE, None),
            (header::CONNECTION, Some("keep-alive")),
            (header::CONNECTION, None),
        ] {
            let mut other = response.clone();
            other.headers_mut().remove(&name);
            if let Some(value) = value {
                other
                    .headers_mut()
                    .insert(&name, HeaderValue::from_static(value));
            }
            assert_eq!(offer.check(&other), Err(UpgradeError::NotOffered), "{name}");
        }
    }
}

#[test]
fn a_tunnel_for_ports_is_accepted_over_a_websocket() {
    let mut headers = request(&Offer::websocket([7; 16], &[Subprotocol::V4]));
    let list = "v4.channel.k8s.io, SPDY/3.1+portforward.k8s.io";
    headers.insert(
        header::SEC_WEBSOCKET_PROTOCOL,
        HeaderValue::from_static(list),
    );
    let accepted = Accepted::port_forward(&headers).unwrap();
    assert_eq!(accepted.protocol(), Protocol::TunnelledPorts);
    let response: Response<()> = accepted.into_response();
    assert_eq!(
        response.headers().get(header::SEC_WEBSOCKET_PROTOCOL),
        Some(&HeaderValue::from_static("SPDY/3.1+portforward.k8s.io"))
    );
}

#[test]
fn a_server_of_ports_that_chooses_another_version_is_not_believed() {
    let offer = Offer::spdy_ports();
    let accepted = Accepted::port_forward(&request(&offer)).unwrap();
    let mut response: Response<()> = accepted.into_response();
    let other = HeaderValue::from_static("v2.portforward.k8s.io");
    response.headers_mut().insert(STREAM_VERSION, other);
    assert_eq!(offer.check(&response), Err(UpgradeError::NotOffered));
}

#[test]
fn a_protocol_gives_the_codecs_of_exec_and_none_of_ports() {
    let streams = StreamSet {
        stdout: true,
        ..StreamSet::default()
    };
    #[expect(clippy::disallowed_methods, reason = "time has to start somewhere")]
    let now = Instant::now();
    for protocol in [
        Protocol::WebSocket(Subprotocol::V5),
        Protocol::Spdy(Subprotocol::V4),
    ] {
        let mut server = protocol.server_codec(streams, now).unwrap();
        let mut client = protocol.client_codec(streams, 1).unwrap();
        // They understand each other.
        server.send(Event::Exit(ExitStatus::Exited(7)));
        let mut exits = Vec::new();
        for _ in 0..3 {
            let mut wire: BytesMut = std::iter::from_fn(|| client.poll_transmit())
                .flatten()
                .collect();
            server.handle_input(now, &mut wire).unwrap();
            let mut wire: BytesMut = std::iter::from_fn(|| server.poll_transmit())
                .flatten()
                .collect();
            client.handle_input(now, &mut wire).unwrap();
            exits.extend(std::iter::from_fn(|| client.poll_event()));
        }
        assert!(
            exits.contains(&Event::Exit(ExitStatus::Exited(7))),
            "{protocol:?}: {exits:?}"
        );
    }
    for protocol in [Protocol::SpdyPorts, Protocol::TunnelledPorts] {
        assert!(protocol.server_codec(streams, now).is_none());
        assert!(protocol.client_codec(streams, 1).is_none());
    }
}

/// Who reads the key can answer in the server's name.
#[test]
fn debug_text_of_an_offer_has_no_key() {
    let offer = Offer::websocket([7; 16], &[Subprotocol::V5]);
    let headers = request(&offer);
    let key = headers.get(header::SEC_WEBSOCKET_KEY).unwrap();
    let text = format!("{offer:?}");
    assert!(!text.contains(key.to_str().unwrap()), "{text}");
    assert!(text.contains("V5"), "{text}");
}
