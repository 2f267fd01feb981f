//! Effects: no more than so many connections at once. Who comes when all places are taken gets the place of whoever has waited
//! longest without having been let in: silent, slow and unknown clients push out each other, and nobody who is being served.

use std::collections::BTreeMap;
use std::future::{Ready, ready};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready as poll_ready};
use std::time::Duration;

use axum::http::Request;
use axum_server::accept::Accept;
use futures::future::BoxFuture;
use futures::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};
use tower_service::Service;

/// Lets so many connections in. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Limit(Arc<Places>);

#[derive(Debug)]
struct Places {
    most: usize,
    /// How long a client may take none of what is written to it.
    write_time: Duration,
    taken: Mutex<Taken>,
    /// Whether it is known already that there is no room: the log says it once, not once a connection.
    told: AtomicBool,
}

#[derive(Debug, Default)]
struct Taken {
    count: usize,
    /// Counts what ever began to wait.
    turn: u64,
    /// Those that may be asked to go, the longest first.
    waiting: BTreeMap<u64, Arc<Exit>>,
}

/// How a connection is told to go.
#[derive(Debug, Default)]
struct Exit {
    told: AtomicBool,
    waker: AtomicWaker,
}

/// The place of one connection: given back when all that hold it are dropped.
#[derive(Debug)]
struct Place {
    places: Arc<Places>,
    exit: Arc<Exit>,
    /// Its turn among those that wait; `None` while it is served.
    turn: Mutex<Option<u64>>,
}

impl Limit {
    /// `write_time` is how long a client may take none of what is written to it.
    pub(super) fn new(connections: usize, write_time: Duration) -> Self {
        let (taken, told) = (Mutex::default(), AtomicBool::new(false));
        Self(Arc::new(Places { most: connections, write_time, taken, told }))
    }

    /// A place for one more, if need be that of another.
    fn admit(&self) -> Option<Place> {
        let exit = Arc::new(Exit::default());
        let mut taken = lock(&self.0.taken);
        if taken.count >= self.0.most {
            if !self.0.told.swap(true, Ordering::Relaxed) {
                tracing::warn!("too many connections: those that have waited longest are closed for others");
            }
            let (_, longest) = taken.waiting.pop_first()?;
            taken.count -= 1;
            longest.told.store(true, Ordering::Release);
            longest.waker.wake();
        } else if taken.count < self.0.most / 2 {
            self.0.told.store(false, Ordering::Relaxed);
        }
        taken.count += 1;
        let turn = taken.wait(&exit);
        Some(Place { places: Arc::clone(&self.0), exit, turn: Mutex::new(Some(turn)) })
    }
}

impl Taken {
    fn wait(&mut self, exit: &Arc<Exit>) -> u64 {
        self.turn += 1;
        self.waiting.insert(self.turn, Arc::clone(exit));
        self.turn
    }
}

impl Place {
    /// Nobody else gets it now.
    fn hold(&self) {
        let (mut taken, mut turn) = (lock(&self.places.taken), lock(&self.turn));
        // One that was told to go has lost its place already.
        if turn.is_some_and(|turn| taken.waiting.remove(&turn).is_some()) {
            *turn = None;
        }
    }

    /// Others may get it from now on.
    fn release(&self) {
        let (mut taken, mut turn) = (lock(&self.places.taken), lock(&self.turn));
        if turn.is_none() {
            *turn = Some(taken.wait(&self.exit));
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let (mut taken, turn) = (lock(&self.places.taken), lock(&self.turn));
        // The place of one that was told to go is another's.
        if turn.is_none_or(|turn| taken.waiting.remove(&turn).is_some()) {
            taken.count -= 1;
        }
    }
}

/// With every request: its connection's place, to be held once its caller is let in.
#[derive(Debug, Clone)]
pub(super) struct Seat(Arc<Place>);

impl Seat {
    /// For as long as the request is served.
    pub(super) fn hold(&self) {
        self.0.hold();
    }
}

impl<S> Accept<TcpStream, S> for Limit {
    type Stream = Admitted;
    type Service = Seated<S>;
    type Future = Ready<io::Result<(Admitted, Seated<S>)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let Some(place) = self.admit() else { return ready(Err(io::Error::other("too many connections"))) };
        let place = Arc::new(place);
        let seated = Seated { service, seat: Seat(Arc::clone(&place)) };
        // An answer is written whole: waiting for more of it would only delay it.
        ready(stream.set_nodelay(true).map(|()| (Admitted { stream, stalled: None, place }, seated)))
    }
}

/// The service of one connection.
#[derive(Debug, Clone)]
pub(super) struct Seated<S> {
    service: S,
    seat: Seat,
}

/// Lets go when the request is answered, or given up.
struct Served(Seat);

impl Drop for Served {
    fn drop(&mut self) {
        self.0.0.release();
    }
}

impl<S, B> Service<Request<B>> for Seated<S>
where
    S: Service<Request<B>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        request.extensions_mut().insert(self.seat.clone());
        let served = Served(self.seat.clone());
        let answering = self.service.call(request);
        Box::pin(async move {
            let _served = served;
            answering.await
        })
    }
}

/// A connection that was let in; its place is free again when it is dropped.
#[derive(Debug)]
pub(super) struct Admitted {
    stream: TcpStream,
    /// Since when the client takes nothing, as the time that is left.
    stalled: Option<Pin<Box<Sleep>>>,
    place: Arc<Place>,
}

impl Admitted {
    /// Fails once it was told to go.
    fn check(&self, cx: &Context<'_>) -> io::Result<()> {
        let exit = &self.place.exit;
        exit.waker.register(cx.waker());
        if exit.told.load(Ordering::Acquire) {
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "its place was given to another"));
        }
        Ok(())
    }

    /// Fails once a write was put off for too long.
    fn written<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(self.place.places.write_time)));
        poll_ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes nothing of its answer")))
    }
}

impl AsyncRead for Admitted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Admitted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.written(cx, written)
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
        self.check(cx)?;
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.written(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// What is guarded is whole after every statement.
fn lock<T>(guarded: &Mutex<T>) -> MutexGuard<'_, T> {
    guarded.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpListener;

    use super::*;

    const LONG: Duration = Duration::from_mins(1);

    fn told(place: &Place) -> bool {
        place.exit.told.load(Ordering::Acquire)
    }

    #[test]
    fn whoever_waits_longest_makes_room_and_nobody_who_is_served() {
        let limit = Limit::new(3, LONG);
        let (first, second, third) = (limit.admit().unwrap(), limit.admit().unwrap(), limit.admit().unwrap());
        first.hold();
        let fourth = limit.admit().unwrap();
        assert_eq!([&first, &second, &third, &fourth].map(told), [false, true, false, false]);
        // What was served waits behind everybody who came before it was done.
        first.release();
        let fifth = limit.admit().unwrap();
        assert_eq!([&first, &third, &fourth, &fifth].map(told), [false, true, false, false]);
        for place in [&first, &fourth, &fifth] {
            place.hold();
        }
        assert!(limit.admit().is_none());
        drop(first);
        assert!(limit.admit().is_some());
    }

    #[test]
    fn a_place_is_counted_once_however_it_ends() {
        let limit = Limit::new(2, LONG);
        for round in 0..100 {
            let (first, second, third) = (limit.admit().unwrap(), limit.admit().unwrap(), limit.admit().unwrap());
            assert!(told(&first));
            // Too late: its place is gone, and it cannot have it twice.
            first.hold();
            first.release();
            second.hold();
            if round % 2 == 0 {
                second.release();
            }
            drop((first, second, third));
            let taken = lock(&limit.0.taken);
            assert_eq!((taken.count, taken.waiting.len()), (0, 0));
        }
    }

    /// A server's connection with this patience, and the client's end of it.
    async fn connected(write_time: Duration) -> (Admitted, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let (admitted, _) = Limit::new(1, write_time).accept(stream, ()).await.unwrap();
        (admitted, client)
    }

    #[tokio::test]
    async fn a_client_that_takes_nothing_of_its_answer_is_given_up() {
        let (mut admitted, client) = connected(Duration::from_millis(50)).await;
        let error = admitted.write_all(&vec![0; 64 << 20]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(client);
    }

    #[tokio::test]
    async fn a_connection_that_waits_to_read_hears_that_it_is_to_go() {
        use tokio::io::AsyncReadExt as _;
        let (mut admitted, _client) = connected(LONG).await;
        let limit = Limit(Arc::clone(&admitted.place.places));
        let reading = tokio::spawn(async move { admitted.read_u8().await });
        tokio::task::yield_now().await;
        let other = limit.admit();
        assert_eq!(reading.await.unwrap().unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
        assert!(other.is_some());
    }
}
