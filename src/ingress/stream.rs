//! The socket of a connection, which also records received bytes and closes without losing the response.
//!
//! A connection that is closed while the client still sends is reset, and a reset may discard the response before the
//! client has read it. After a rejection that left something unread, the write side is therefore closed first, and
//! incoming bytes are discarded for a bounded time (RFC 9112 section 9.6).

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Instant, Sleep, sleep_until},
};

use crate::{
    connections::Activity,
    ingress::limits::{LINGER_BYTES, LINGER_TIMEOUT},
};

/// Bytes discarded per read.
const SCRATCH: usize = 8 * 1024;

pub(super) struct LingeringStream {
    socket: TcpStream,
    activity: Arc<Activity>,
    linger: Option<Linger>,
}

/// A connection that is being closed.
struct Linger {
    timeout: Pin<Box<Sleep>>,
    left: usize,
}

impl LingeringStream {
    pub(super) fn new(socket: TcpStream, activity: Arc<Activity>) -> Self {
        Self { socket, activity, linger: None }
    }
}

impl AsyncRead for LingeringStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = ready!(Pin::new(&mut self.socket).poll_read(cx, buf));
        if buf.filled().len() > before {
            self.activity.read(Instant::now);
        }
        Poll::Ready(read)
    }
}

impl AsyncWrite for LingeringStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { socket, activity, linger } = self.get_mut();
        let linger = match linger {
            Some(linger) => linger,
            None => {
                ready!(Pin::new(&mut *socket).poll_shutdown(cx))?;
                if !activity.left_unread() {
                    return Poll::Ready(Ok(()));
                }
                let timeout = Box::pin(sleep_until(Instant::now() + LINGER_TIMEOUT));
                linger.insert(Linger { timeout, left: LINGER_BYTES })
            }
        };
        let mut scratch = [0; SCRATCH];
        while linger.left > 0 && linger.timeout.as_mut().poll(cx).is_pending() {
            let mut buf = ReadBuf::new(&mut scratch);
            // No need to wait for a client that has disconnected.
            if ready!(Pin::new(&mut *socket).poll_read(cx, &mut buf)).is_err() || buf.filled().is_empty() {
                break;
            }
            linger.left = linger.left.saturating_sub(buf.filled().len());
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }
}
