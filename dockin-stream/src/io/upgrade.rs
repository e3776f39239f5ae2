use std::time::Duration;

use bytes::Bytes;
use hyper::{
    rt::{Read, Write},
    upgrade::Upgraded,
};
use hyper_util::rt::TokioIo;

use super::{Endpoint, Machine, PortForward};
use crate::portforward::PortForwardCodec;

/// The socket below an upgrade, and the bytes that came right behind the HTTP head: past hyper's
/// own wrapper, one layer less on the data path. `T` is what hyper was given in a [`TokioIo`].
///
/// # Errors
///
/// The upgrade, when it is over another kind of socket.
pub fn into_socket<T>(upgraded: Upgraded) -> Result<(T, Bytes), Upgraded>
where
    TokioIo<T>: Read + Write + Unpin + 'static,
{
    let parts = upgraded.downcast::<TokioIo<T>>()?;
    Ok((parts.io.into_inner(), parts.read_buf))
}

impl<C: Machine + Unpin> Endpoint<TokioIo<Upgraded>, C> {
    /// Runs `codec` over a connection that hyper has upgraded, of whatever kind. Bytes behind the
    /// HTTP head come first.
    #[must_use]
    pub fn from_upgrade(upgraded: Upgraded, codec: C) -> Self {
        Self::new(TokioIo::new(upgraded), codec, Bytes::new())
    }
}

impl<P: PortForwardCodec + Unpin> PortForward<TokioIo<Upgraded>, P> {
    /// Runs `codec` over a connection that hyper has upgraded, of whatever kind. Bytes behind the
    /// HTTP head come first.
    #[must_use]
    pub fn from_upgrade(upgraded: Upgraded, codec: P, keepalive: Duration) -> Self {
        Self::new(TokioIo::new(upgraded), codec, Bytes::new(), keepalive)
    }
}
