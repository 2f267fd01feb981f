//! Effects: listens, serves, and drains when told to.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use axum::Router;
use axum_server::Handle;
use axum_server::tls_rustls::RustlsAcceptor;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use super::connections::Limit;
use super::tls::{Certificate, TlsError, TlsFiles};

/// How many connections there are at once at most.
const MAX_CONNECTIONS: usize = 1024;

/// How many may wait to be accepted: with the 128 of the standard library, those of a burst are put off by seconds.
const BACKLOG: i32 = 4096;

/// How large a request's head may be, in bytes, about: the read that crosses it counts. Also how much of a body is read at
/// once.
const MAX_HEAD_BYTES: usize = 64 << 10;

/// How long a head may take, and how long a connection may idle between two requests.
const HEAD_TIME: Duration = Duration::from_secs(30);

/// How long a client may take none of its answer.
const WRITE_TIME: Duration = Duration::from_secs(30);

/// How long requests in flight may take once the server is told to end.
const DRAIN_TIME: Duration = Duration::from_secs(10);

/// Why the server does not run.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// Somebody else listens there.
    #[error("port {port} on {ip} is in use by another process: stop that one, or give another --listen address", port = .0.port(), ip = .0.ip())]
    InUse(SocketAddr),
    /// It cannot listen there.
    #[error("cannot listen on {address}: {source}: give another --listen address")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// It ended by itself.
    #[error("the HTTP server failed: {0}")]
    Failed(#[from] io::Error),
}

/// Listens, without serving yet. Port 0 takes a free one.
pub fn bind(address: SocketAddr) -> Result<TcpListener, HttpError> {
    let refused = |source: io::Error| match source.kind() {
        io::ErrorKind::AddrInUse => HttpError::InUse(address),
        _ => HttpError::Listen { address, source },
    };
    let listener = TcpListener::bind(address).map_err(refused)?;
    rustix::net::listen(&listener, BACKLOG).map_err(|error| refused(error.into()))?;
    Ok(listener)
}

/// Serves until `shutdown`, then takes no new request and lets those in flight end, for ten seconds at most.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    tls: Option<TlsFiles>,
    shutdown: CancellationToken,
) -> Result<(), HttpError> {
    let handle = Handle::new();
    let mut server = axum_server::from_tcp(listener)?.http1_only().handle(handle.clone());
    server.http_builder().http1().header_read_timeout(HEAD_TIME).max_buf_size(MAX_HEAD_BYTES);
    let limit = Limit::new(MAX_CONNECTIONS, WRITE_TIME);
    let service = router.into_make_service();
    let (mut serving, watching): (BoxFuture<'_, io::Result<()>>, BoxFuture<'_, Infallible>) = match tls {
        None => (server.acceptor(limit).serve(service).boxed(), std::future::pending().boxed()),
        Some(files) => {
            let certificate = Certificate::load(files).await?;
            let acceptor = RustlsAcceptor::new(certificate.config()).acceptor(limit);
            (server.acceptor(acceptor).serve(service).boxed(), certificate.watch().boxed())
        }
    };
    tokio::select! {
        ended = &mut serving => return Ok(ended?),
        never = watching => match never {},
        () = shutdown.cancelled() => handle.graceful_shutdown(Some(DRAIN_TIME)),
    }
    Ok(serving.await?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_port_in_use_is_named_with_the_mend() {
        let first = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = first.local_addr().unwrap();
        let message = bind(address).unwrap_err().to_string();
        let expected = format!("port {} on 127.0.0.1 is in use by another process: stop that one,", address.port());
        assert!(message.starts_with(&expected), "{message}");
    }

    #[test]
    fn an_address_of_another_machine_is_named() {
        let message = bind("192.0.2.1:80".parse().unwrap()).unwrap_err().to_string();
        assert!(message.starts_with("cannot listen on 192.0.2.1:80: "), "{message}");
    }
}
