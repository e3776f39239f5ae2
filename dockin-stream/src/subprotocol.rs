/// A version of the remotecommand protocol, as named in `X-Stream-Protocol-Version` and
/// `Sec-WebSocket-Protocol`.
///
/// Spec: Kubernetes `remotecommand/constants.go`.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum Subprotocol {
    /// `channel.k8s.io`: no exit code, no end of standard input. Over SPDY no status at all: its
    /// error stream is reset before the command begins, and whatever ends the outputs in order
    /// reads as success.
    V1,
    /// `v2.channel.k8s.io`: standard input ends. SPDY only.
    V2,
    /// `v3.channel.k8s.io`: and resize. SPDY only.
    V3,
    /// `v4.channel.k8s.io`: and the exit code.
    V4,
    /// `v5.channel.k8s.io`: and the close signal. WebSocket in practice.
    V5,
    /// `base64.channel.k8s.io`: V1 in text messages. WebSocket only.
    V1Base64,
    /// `v4.base64.channel.k8s.io`: V4 in text messages. WebSocket only.
    V4Base64,
}

impl Subprotocol {
    /// What SPDY servers of the field know, best first. v5 over SPDY never happens.
    pub const SPDY: [Self; 4] = [Self::V4, Self::V3, Self::V2, Self::V1];
    /// What a WebSocket server of ours knows, best first.
    pub const WEBSOCKET: [Self; 5] = [Self::V5, Self::V4, Self::V4Base64, Self::V1, Self::V1Base64];

    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V1 => "channel.k8s.io",
            Self::V2 => "v2.channel.k8s.io",
            Self::V3 => "v3.channel.k8s.io",
            Self::V4 => "v4.channel.k8s.io",
            Self::V5 => "v5.channel.k8s.io",
            Self::V1Base64 => "base64.channel.k8s.io",
            Self::V4Base64 => "v4.base64.channel.k8s.io",
        }
    }

    /// The subprotocol of that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [
            Self::V1,
            Self::V2,
            Self::V3,
            Self::V4,
            Self::V5,
            Self::V1Base64,
            Self::V4Base64,
        ]
        .into_iter()
        .find(|subprotocol| subprotocol.as_str() == name)
    }

    /// Whether messages are text with a base64 body.
    #[must_use]
    pub const fn is_base64(self) -> bool {
        matches!(self, Self::V1Base64 | Self::V4Base64)
    }

    /// Whether the error channel carries a JSON `Status` with the exit code.
    #[must_use]
    pub const fn has_exit_code(self) -> bool {
        matches!(self, Self::V4 | Self::V5 | Self::V4Base64)
    }

    /// Whether there is a resize stream or channel.
    #[must_use]
    pub const fn has_resize(self) -> bool {
        !matches!(self, Self::V1 | Self::V2)
    }
}

/// The names in a header's values: several headers and comma lists are both legal.
///
/// ```
/// let names: Vec<&str> = dockin_stream::offers(["v5.channel.k8s.io, v4.channel.k8s.io"]).collect();
/// assert_eq!(names, ["v5.channel.k8s.io", "v4.channel.k8s.io"]);
/// ```
pub fn offers<'a>(values: impl IntoIterator<Item = &'a str>) -> impl Iterator<Item = &'a str> {
    values
        .into_iter()
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|name| !name.is_empty())
}

/// The first name the client offers that `known` has: the client's order decides.
///
/// Spec: Kubernetes `httpstream.Handshake`.
pub fn choose<'a>(
    offered: impl IntoIterator<Item = &'a str>,
    known: &[Subprotocol],
) -> Option<Subprotocol> {
    offers(offered)
        .filter_map(Subprotocol::parse)
        .find(|subprotocol| known.contains(subprotocol))
}

#[cfg(test)]
mod tests {
    use super::{Subprotocol, choose};

    #[test]
    fn the_clients_order_decides() {
        assert_eq!(
            choose(
                ["v3.channel.k8s.io", "v4.channel.k8s.io"],
                &Subprotocol::SPDY
            ),
            Some(Subprotocol::V3)
        );
        assert_eq!(choose(["v9.channel.k8s.io"], &Subprotocol::SPDY), None);
    }
}
