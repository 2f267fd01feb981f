//! Effects: a request's body, received and unpacked within bounds. Whatever a client sends, no more is held than the bounds say.

use std::io::{self, Write};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, header};
use bytes::Bytes;
use flate2::write::MultiGzDecoder;
use futures::{Stream, StreamExt as _};
use serde::de::DeserializeOwned;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::hub::ingest::MAX_BODY_BYTES;

/// How long a client may take.
#[derive(Debug, Clone, Copy)]
struct Patience {
    /// For a pause within a body.
    silence: Duration,
    /// For a body as a whole.
    whole: Duration,
}

const PATIENCE: Patience = Patience { silence: Duration::from_secs(15), whole: Duration::from_mins(2) };

/// How much of a refused body is still read, and how long, so that its sender reads the answer instead of a broken pipe.
const PASSED_OVER_BYTES: usize = MAX_BODY_BYTES;
const PASSED_OVER_TIME: Duration = Duration::from_secs(3);

/// How much a growing buffer takes at least.
const STEP: usize = 64 << 10;

/// Room for the bodies that are being received, over all connections. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Intake {
    room: Arc<Semaphore>,
}

impl Intake {
    /// Of so many bytes; a single body takes up to 16 MiB.
    pub fn new(bytes: usize) -> Self {
        Self { room: Arc::new(Semaphore::new(bytes.min(Semaphore::MAX_PERMITS))) }
    }
}

impl Default for Intake {
    /// 128 MiB.
    fn default() -> Self {
        Self::new(128 << 20)
    }
}

/// How a body is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packing {
    Plain,
    Gzip,
}

/// A body, unpacked, and the room that it takes.
pub(super) struct Received {
    pub(super) bytes: Bytes,
    _room: Option<OwnedSemaphorePermit>,
}

/// Why a body was not received. Nothing of it was used.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    #[error(
        "the body is over {MAX_BODY_BYTES} bytes (16 MiB), unpacked: send it in parts, each of whole lines; nothing of it was taken up"
    )]
    TooLarge,
    #[error("too many request bodies are being received: send this request again in a moment")]
    Busy,
    #[error("the body breaks off ({0}): send the whole request again; nothing of it was taken up")]
    CutOff(String),
    #[error(
        "the body is not valid gzip, or breaks off ({0}): pack it again, or send it without Content-Encoding; nothing of it was taken up"
    )]
    BrokenGzip(io::Error),
    #[error(
        "the body did not arrive in time (a pause of {silence} s, or {whole} s in all): send smaller parts; nothing of it was taken up",
        silence = PATIENCE.silence.as_secs(),
        whole = PATIENCE.whole.as_secs()
    )]
    TooSlow,
}

/// A JSON body of at most 2 MiB, received in time; or what is wrong with it.
pub(super) struct Prompt<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Prompt<T> {
    type Rejection = String;

    async fn from_request(request: Request, state: &S) -> Result<Self, String> {
        match timeout(PATIENCE.whole, Json::from_request(request, state)).await {
            Ok(Ok(Json(value))) => Ok(Self(value)),
            Ok(Err(rejection)) => Err(rejection.body_text()),
            Err(_) => Err(BodyError::TooSlow.to_string()),
        }
    }
}

/// Receives a body whole.
pub(super) async fn receive(body: Body, packing: Packing, intake: &Intake) -> Result<Received, BodyError> {
    let mut frames = body.into_data_stream();
    let received = receive_frames(&mut frames, packing, intake, PATIENCE).await;
    if matches!(received, Err(BodyError::TooLarge | BodyError::Busy | BodyError::BrokenGzip(_))) {
        pass_over_frames(frames).await;
    }
    received
}

async fn receive_frames(
    frames: &mut (impl Stream<Item = Result<Bytes, axum::Error>> + Unpin),
    packing: Packing,
    intake: &Intake,
    patience: Patience,
) -> Result<Received, BodyError> {
    let received = timeout(patience.whole, receive_each(frames, packing, intake, patience.silence)).await;
    received.unwrap_or(Err(BodyError::TooSlow))
}

async fn receive_each(
    frames: &mut (impl Stream<Item = Result<Bytes, axum::Error>> + Unpin),
    packing: Packing,
    intake: &Intake,
    silence: Duration,
) -> Result<Received, BodyError> {
    let mut unpacker = Unpacker::new(packing, intake);
    let mut packed = 0;
    loop {
        let frame = timeout(silence, frames.next()).await;
        match frame {
            Err(_) => return Err(BodyError::TooSlow),
            Ok(None) => return unpacker.finish(),
            Ok(Some(Err(error))) => return Err(BodyError::CutOff(cause(&error))),
            Ok(Some(Ok(bytes))) => {
                packed += bytes.len();
                if packed > MAX_BODY_BYTES {
                    return Err(BodyError::TooLarge);
                }
                unpacker.push(&bytes)?;
            }
        }
    }
}

/// Reads a body that is refused unseen, for a while, and forgets what comes.
pub(super) async fn pass_over(headers: &HeaderMap, body: Body) {
    // Who asked first has sent nothing yet, and reading would ask for it.
    if !headers.contains_key(header::EXPECT) {
        pass_over_frames(body.into_data_stream()).await;
    }
}

async fn pass_over_frames(frames: impl Stream<Item = Result<Bytes, axum::Error>>) {
    let mut frames = pin!(frames);
    let mut left = PASSED_OVER_BYTES;
    let reading = async {
        while let Some(Ok(frame)) = frames.next().await {
            match left.checked_sub(frame.len()) {
                Some(rest) => left = rest,
                None => break,
            }
        }
    };
    // Whether it came to its end or was cut short, the answer goes out.
    let _ = timeout(PASSED_OVER_TIME, reading).await;
}

/// The innermost cause, which says what happened on the connection.
fn cause(error: &axum::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

enum Unpacker {
    Plain(Sink),
    Gzip(Box<MultiGzDecoder<Sink>>),
}

impl Unpacker {
    fn new(packing: Packing, intake: &Intake) -> Self {
        let sink = Sink { bytes: Vec::new(), taken: None, room: Arc::clone(&intake.room), refused: None };
        match packing {
            Packing::Plain => Self::Plain(sink),
            Packing::Gzip => Self::Gzip(Box::new(MultiGzDecoder::new(sink))),
        }
    }

    fn push(&mut self, bytes: &[u8]) -> Result<(), BodyError> {
        let (written, sink) = match self {
            Self::Plain(sink) => (sink.write_all(bytes), sink),
            Self::Gzip(decoder) => (decoder.write_all(bytes), decoder.get_mut()),
        };
        written.map_err(|error| sink.refused.take().unwrap_or(BodyError::BrokenGzip(error)))
    }

    fn finish(self) -> Result<Received, BodyError> {
        let sink = match self {
            Self::Plain(sink) => sink,
            Self::Gzip(mut decoder) => {
                if let Err(error) = decoder.try_finish() {
                    return Err(decoder.get_mut().refused.take().unwrap_or(BodyError::BrokenGzip(error)));
                }
                decoder.finish().map_err(BodyError::BrokenGzip)?
            }
        };
        Ok(Received { bytes: Bytes::from(sink.bytes), _room: sink.taken })
    }
}

/// Where unpacked bytes go: refuses what is over the bound before it is there.
struct Sink {
    bytes: Vec<u8>,
    /// The room of what `bytes` can hold.
    taken: Option<OwnedSemaphorePermit>,
    room: Arc<Semaphore>,
    refused: Option<BodyError>,
}

impl Sink {
    fn make_room(&mut self, more: usize) -> Result<(), BodyError> {
        let needed = self.bytes.len() + more;
        if needed > MAX_BODY_BYTES {
            return Err(BodyError::TooLarge);
        }
        let held = self.bytes.capacity();
        if needed > held {
            let wanted = needed.max(held * 2).clamp(STEP, MAX_BODY_BYTES);
            let permit =
                Arc::clone(&self.room).try_acquire_many_owned((wanted - held) as u32).map_err(|_| BodyError::Busy)?;
            match &mut self.taken {
                Some(taken) => taken.merge(permit),
                None => self.taken = Some(permit),
            }
            self.bytes.reserve_exact(wanted - self.bytes.len());
        }
        Ok(())
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.refused.is_none()
            && let Err(error) = self.make_room(bytes.len())
        {
            self.refused = Some(error);
        }
        if self.refused.is_some() {
            return Err(io::Error::other("refused"));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn packed(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    async fn unpack(bytes: &[u8], intake: &Intake) -> Result<Received, BodyError> {
        let frames: Vec<_> = bytes.chunks(1000).map(|chunk| Ok(Bytes::copy_from_slice(chunk))).collect();
        receive_frames(&mut futures::stream::iter(frames), Packing::Gzip, intake, PATIENCE).await
    }

    #[tokio::test]
    async fn gzip_of_one_or_several_members_is_unpacked() {
        let intake = Intake::default();
        let both = [packed(b"one\n"), packed(b"two\n")].concat();
        assert_eq!(unpack(&both, &intake).await.unwrap().bytes, "one\ntwo\n");
    }

    #[tokio::test]
    async fn gzip_cut_off_anywhere_is_broken() {
        let (intake, whole) = (Intake::default(), packed(b"a line\nanother line\n"));
        for length in 0..whole.len() {
            let outcome = unpack(&whole[..length], &intake).await;
            assert!(matches!(outcome, Err(BodyError::BrokenGzip(_))), "cut at {length}");
        }
    }

    #[tokio::test]
    async fn a_flipped_bit_anywhere_in_the_packed_text_is_broken_or_the_text_is_the_same() {
        let (intake, whole) = (Intake::default(), packed(b"a line\nanother line\n"));
        let mut broken = 0;
        for position in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[position] ^= 0x10;
            match unpack(&bytes, &intake).await {
                Ok(received) => assert_eq!(received.bytes, "a line\nanother line\n", "flipped at {position}"),
                Err(BodyError::BrokenGzip(_)) => broken += 1,
                Err(other) => unreachable!("{other}"),
            }
        }
        assert!(broken > whole.len() / 2, "{broken}");
    }

    #[tokio::test]
    async fn a_bomb_is_cut_at_the_bound_and_its_room_given_back() {
        let intake = Intake::new(32 << 20);
        let bomb = packed(&vec![b'x'; 200 << 20]);
        assert!(bomb.len() < 1 << 20);
        assert!(matches!(unpack(&bomb, &intake).await, Err(BodyError::TooLarge)));
        assert_eq!(intake.room.available_permits(), 32 << 20);
    }

    #[tokio::test]
    async fn a_body_of_exactly_the_bound_is_received_and_one_byte_more_is_not() {
        let intake = Intake::default();
        let body = vec![b'x'; MAX_BODY_BYTES];
        assert_eq!(unpack(&packed(&body), &intake).await.unwrap().bytes.len(), MAX_BODY_BYTES);
        let body = vec![b'x'; MAX_BODY_BYTES + 1];
        assert!(matches!(unpack(&packed(&body), &intake).await, Err(BodyError::TooLarge)));
    }

    #[tokio::test]
    async fn bodies_that_do_not_fit_together_are_refused_until_one_is_done() {
        let intake = Intake::new(1 << 20);
        let body = packed(&vec![b'x'; 700 << 10]);
        let first = unpack(&body, &intake).await.unwrap();
        assert!(matches!(unpack(&body, &intake).await, Err(BodyError::Busy)));
        drop(first);
        assert!(unpack(&body, &intake).await.is_ok());
    }

    #[tokio::test]
    async fn a_silent_sender_is_given_up() {
        let patience = Patience { silence: Duration::from_millis(20), whole: Duration::from_mins(1) };
        let first = futures::stream::once(async { Ok(Bytes::from_static(b"{")) });
        let mut frames = Box::pin(first.chain(futures::stream::pending()));
        let outcome = receive_frames(&mut frames, Packing::Plain, &Intake::default(), patience).await;
        assert!(matches!(outcome, Err(BodyError::TooSlow)));
    }

    #[tokio::test]
    async fn a_sender_that_trickles_is_given_up_too() {
        let patience = Patience { silence: Duration::from_mins(1), whole: Duration::from_millis(50) };
        let mut trickle = Box::pin(futures::stream::repeat(()).then(|()| async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            Ok(Bytes::from_static(b" "))
        }));
        let outcome = receive_frames(&mut trickle, Packing::Plain, &Intake::default(), patience).await;
        assert!(matches!(outcome, Err(BodyError::TooSlow)));
    }
}
