use super::{STREAM_TYPE, frame::StreamId, header_block::Headers};
use crate::{StreamSet, Subprotocol};

/// What a stream of an exec or attach connection is for: the `streamType` header.
///
/// Spec: Kubernetes `api/core/v1`, `StreamType*`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum StreamType {
    Error,
    Stdin,
    Stdout,
    Stderr,
    Resize,
}

impl StreamType {
    /// In the order in which clients open them.
    const ALL: [Self; 5] = [
        Self::Error,
        Self::Stdin,
        Self::Stdout,
        Self::Stderr,
        Self::Resize,
    ];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Stdin => "stdin",
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
            Self::Resize => "resize",
        }
    }

    pub(super) fn parse(name: &[u8]) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|stream_type| stream_type.as_str().as_bytes() == name)
    }

    pub(super) fn headers(self) -> Headers {
        Headers::new().with(STREAM_TYPE, self.as_str().as_bytes())
    }

    /// The streams that a session has, in the order in which clients open them.
    pub(super) fn expected(
        subprotocol: Subprotocol,
        streams: StreamSet,
    ) -> impl Iterator<Item = Self> {
        Self::ALL
            .into_iter()
            .filter(move |stream_type| match stream_type {
                Self::Error => true,
                Self::Stdin => streams.stdin,
                Self::Stdout => streams.stdout,
                Self::Stderr => streams.stderr,
                Self::Resize => streams.tty && subprotocol.has_resize(),
            })
    }
}

/// Which stream is which: five at most, so a scan is the fastest look-up.
#[derive(Debug, Default)]
pub(super) struct TypedStreams(Vec<(StreamType, StreamId)>);

impl TypedStreams {
    pub(super) fn insert(&mut self, stream_type: StreamType, stream: StreamId) {
        self.0.push((stream_type, stream));
    }

    pub(super) fn id(&self, stream_type: StreamType) -> Option<StreamId> {
        self.0
            .iter()
            .find(|(known, _)| *known == stream_type)
            .map(|&(_, stream)| stream)
    }

    pub(super) fn type_of(&self, stream: StreamId) -> Option<StreamType> {
        self.0
            .iter()
            .find(|(_, known)| *known == stream)
            .map(|&(stream_type, _)| stream_type)
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = StreamId> {
        self.0.iter().map(|&(_, stream)| stream)
    }
}
