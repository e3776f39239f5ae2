use std::{
    cell::RefCell,
    future::Future,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Instant,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Sleep,
};

use crate::link::{Arrived, Link, Side, Written};

/// One end of a simulated connection as tokio sees a socket. Dropping it closes it as a kernel
/// does.
pub(crate) struct Socket {
    link: Rc<RefCell<Link>>,
    side: Side,
    arrival: Option<Pin<Box<Sleep>>>,
}

impl Socket {
    pub(crate) fn pair(link: &Rc<RefCell<Link>>) -> (Self, Self) {
        let end = |side| Self {
            link: Rc::clone(link),
            side,
            arrival: None,
        };
        (end(Side::Near), end(Side::Far))
    }

    /// Where this socket is.
    pub(crate) fn place(&self) -> (Rc<RefCell<Link>>, Side) {
        (Rc::clone(&self.link), self.side)
    }
}

/// The time that tokio keeps.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let arrived = self
                .link
                .borrow_mut()
                .read(self.side, now(), buffer.remaining());
            let at = match arrived {
                Arrived::Bytes(bytes) => {
                    buffer.put_slice(&bytes);
                    return Poll::Ready(Ok(()));
                }
                Arrived::End => return Poll::Ready(Ok(())),
                Arrived::Reset => return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
                Arrived::Nothing(at) => at,
            };
            self.link.borrow_mut().wake_later(cx.waker());
            let Some(at) = at else {
                self.arrival = None;
                return Poll::Pending;
            };
            let mut sleep = Box::pin(tokio::time::sleep_until(at.into()));
            if sleep.as_mut().poll(cx).is_pending() {
                self.arrival = Some(sleep);
                return Poll::Pending;
            }
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut link = self.link.borrow_mut();
        match link.write(self.side, now(), bytes) {
            Written::Bytes(count) => Poll::Ready(Ok(count)),
            Written::Broken => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            Written::Full => {
                link.wake_later(cx.waker());
                Poll::Pending
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.link.borrow_mut().shutdown(self.side, now());
        Poll::Ready(Ok(()))
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.link.borrow_mut().close(self.side, now());
    }
}
