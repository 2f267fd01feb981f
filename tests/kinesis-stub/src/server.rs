//! Effect: the port. Accepts connections, reads bodies, routes to the service or to the control paths, and breaks a
//! connection the way a fault wants it broken.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as _, Incoming};
use hyper::http::request::Parts;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::control;
use crate::faults::Break;
use crate::service::{Answer, Ending, Service};
use crate::stats::add;

/// The largest body that is read: ten MiB of records in base64, and room for their keys and names.
const MAX_BODY_BYTES: usize = 32 << 20;
/// How often the log is handed to the operating system.
const FLUSH_EVERY: Duration = Duration::from_millis(50);

/// Accepts until told to stop.
pub(crate) async fn accept(listener: TcpListener, service: Arc<Service>, tasks: TaskTracker, stop: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else {
            // Out of file descriptors, say: trying again at once would only spin.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        add(&service.stats.connections, 1);
        tasks.spawn(connection(stream, service.clone(), stop.clone()));
    }
}

/// Flushes the log until told to stop.
pub(crate) async fn flush(service: Arc<Service>, stop: CancellationToken) {
    let mut every = tokio::time::interval(FLUSH_EVERY);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = every.tick() => {}
        }
        if let Err(error) = service.log.flush() {
            eprintln!("the log does not take what was committed: {error}");
        }
    }
}

async fn connection(stream: TcpStream, service: Arc<Service>, stop: CancellationToken) {
    // Best effort: without it answers are only slower.
    let _ = stream.set_nodelay(true);
    let reset = Arc::new(AtomicBool::new(false));
    let line = TokioIo::new(Line { stream, reset: reset.clone() });
    let spare = Arc::new(Mutex::new(Vec::new()));
    let respond = service_fn(move |request| respond(service.clone(), request, reset.clone(), spare.clone()));
    let serving = http1::Builder::new().max_buf_size(1 << 20).serve_connection(line, respond);
    tokio::select! {
        () = stop.cancelled() => {}
        // A client that goes away, or a fault that breaks the line, ends here; both are what was asked for.
        _ = serving => {}
    }
}

/// The connection is to break without an answer.
#[derive(Debug, thiserror::Error)]
enum NoAnswer {
    #[error("a fault breaks the connection")]
    Broken,
    #[error("the client broke off")]
    Body(#[from] hyper::Error),
}

async fn respond(
    service: Arc<Service>,
    request: Request<Incoming>,
    reset: Arc<AtomicBool>,
    spare: Arc<Mutex<Vec<u8>>>,
) -> Result<Response<Full<Bytes>>, NoAnswer> {
    let (parts, body) = request.into_parts();
    // A connection's requests come one after the other and share a buffer: fresh pages for each cost a third of the speed.
    let mut buffer = std::mem::take(&mut *spare.lock());
    if !read(body, &mut buffer).await? {
        return Ok(plain(413, "The body is too large."));
    }
    let answered = answer(&service, &parts, &buffer, &reset).await;
    *spare.lock() = buffer;
    answered
}

async fn answer(
    service: &Service,
    parts: &Parts,
    body: &[u8],
    reset: &AtomicBool,
) -> Result<Response<Full<Bytes>>, NoAnswer> {
    if parts.uri.path().starts_with("/_stub/") {
        return Ok(response(control::answer(service, parts, body)));
    }
    if parts.method != Method::POST || parts.uri.path() != "/" {
        return Ok(plain(404, "Only POST / and /_stub/ are here."));
    }
    match service.exchange(parts, body).await {
        Ending::Answered(answer) => Ok(response(answer)),
        Ending::Broken(how) => {
            reset.store(how == Break::Rst, Ordering::Release);
            Err(NoAnswer::Broken)
        }
        Ending::Silent => std::future::pending().await,
    }
}

/// Reads the whole body into `whole`, in place of what is there; false where it is larger than any request may be.
async fn read(mut body: Incoming, whole: &mut Vec<u8>) -> Result<bool, hyper::Error> {
    whole.clear();
    let expected = body.size_hint().lower() as usize;
    if expected > MAX_BODY_BYTES {
        return Ok(false);
    }
    whole.reserve(expected);
    while let Some(frame) = body.frame().await {
        if let Some(bytes) = frame?.data_ref() {
            if whole.len() + bytes.len() > MAX_BODY_BYTES {
                return Ok(false);
            }
            whole.extend_from_slice(bytes);
        }
    }
    Ok(true)
}

fn plain(status: u16, text: &str) -> Response<Full<Bytes>> {
    response(Answer { status, content_type: "text/plain", body: text.as_bytes().to_vec(), request: 0 })
}

fn response(answer: Answer) -> Response<Full<Bytes>> {
    let request = answer.request;
    let built = Response::builder()
        .status(answer.status)
        .header("content-type", answer.content_type)
        .header("x-amzn-requestid", format!("00000000-0000-4000-8000-{request:012x}"));
    built.body(Full::from(answer.body)).unwrap_or_else(|_| {
        // The parts are ours and valid; a status out of range can only come from a fault, and must not look like success.
        let mut failed = Response::new(Full::default());
        *failed.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        failed
    })
}

/// A connection that, when told, goes with a reset instead of a goodbye.
struct Line {
    stream: TcpStream,
    reset: Arc<AtomicBool>,
}

impl Drop for Line {
    fn drop(&mut self) {
        if self.reset.load(Ordering::Acquire) {
            // Best effort: where it fails, the line still closes.
            let _ = self.stream.set_zero_linger();
        }
    }
}

impl AsyncRead for Line {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Line {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.reset.load(Ordering::Acquire) {
            // A goodbye first would make the reset a plain close.
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
