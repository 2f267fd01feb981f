//! Effects: no more than so many connections at once. One that is over is closed before a byte of it is read.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use axum_server::accept::Accept;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Lets so many connections in.
#[derive(Debug, Clone)]
pub(super) struct Limit {
    room: Arc<Semaphore>,
    /// Whether it is known already that there is no room: the log says it once, not once a connection.
    told: Arc<AtomicBool>,
}

impl Limit {
    pub(super) fn new(connections: usize) -> Self {
        Self { room: Arc::new(Semaphore::new(connections)), told: Arc::default() }
    }
}

impl<S> Accept<TcpStream, S> for Limit {
    type Stream = Admitted;
    type Service = S;
    type Future = std::future::Ready<io::Result<(Admitted, S)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let admitted = if let Ok(room) = Arc::clone(&self.room).try_acquire_owned() {
            self.told.store(false, Ordering::Relaxed);
            // An answer is written whole: waiting for more of it would only delay it.
            stream.set_nodelay(true).map(|()| (Admitted { stream, _room: room }, service))
        } else {
            if !self.told.swap(true, Ordering::Relaxed) {
                tracing::warn!("too many connections: further ones are closed until others end");
            }
            Err(io::Error::other("too many connections"))
        };
        std::future::ready(admitted)
    }
}

/// A connection that was let in; its place is free again when it is dropped.
#[derive(Debug)]
pub(super) struct Admitted {
    stream: TcpStream,
    _room: OwnedSemaphorePermit,
}

impl AsyncRead for Admitted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Admitted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
