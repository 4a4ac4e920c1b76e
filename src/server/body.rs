//! The body of a request: its pieces as they arrive, or all of it, and what is done with one that nobody wants.

use std::pin::Pin;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use futures_util::{Stream, StreamExt};

use super::error::ApiError;

/// How long a body that is read whole may take in all: one that drips is never silent for long, and yet has no end.
const WHOLE_TIME_MAX: Duration = Duration::from_secs(60);
/// How much of an unwanted body is read and thrown away, so that the client gets to read the answer.
const DRAIN_BYTES_MAX: usize = 32 << 20;
/// How long that may take.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(3);

/// The body of a request, as it arrives.
pub(crate) struct Body {
    stream: Pin<Box<dyn Stream<Item = Result<Bytes, warp::Error>> + Send>>,
    ended: bool,
    /// How long it may stay silent before it is given up.
    silence_max: Duration,
}

impl Body {
    /// Wraps warp's stream.
    pub(crate) fn new(
        stream: impl Stream<Item = Result<impl Buf, warp::Error>> + Send + 'static,
        silence_max: Duration,
    ) -> Self {
        let stream = stream.map(|piece| piece.map(|mut piece| piece.copy_to_bytes(piece.remaining())));
        Self { stream: Box::pin(stream), ended: false, silence_max }
    }

    /// Says whether nothing more is to be read of it.
    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Takes the body away, to be read elsewhere.
    pub(crate) fn take(&mut self) -> Self {
        let silence_max = self.silence_max;
        std::mem::replace(self, Self { stream: Box::pin(futures_util::stream::empty()), ended: true, silence_max })
    }

    /// Gives the next piece; `None` at the end.
    ///
    /// # Errors
    /// 400 when the client hung up or was silent for too long.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, ApiError> {
        let piece = tokio::time::timeout(self.silence_max, self.stream.next()).await;
        match piece {
            Ok(Some(Ok(piece))) => Ok(Some(piece)),
            Ok(None) => {
                self.ended = true;
                Ok(None)
            }
            Ok(Some(Err(_))) | Err(_) => Err(self.broke_off()),
        }
    }

    /// Gives up what may still come.
    fn broke_off(&mut self) -> ApiError {
        self.ended = true;
        ApiError::bad_request("incomplete_body", "The body broke off.")
    }

    /// Gives the whole body, if it is not larger than `bytes_max`.
    ///
    /// # Errors
    /// 413 when it is larger; 400 when it broke off, or took longer than [`WHOLE_TIME_MAX`].
    pub(crate) async fn whole(&mut self, bytes_max: usize) -> Result<Bytes, ApiError> {
        self.whole_within(bytes_max, WHOLE_TIME_MAX).await
    }

    async fn whole_within(&mut self, bytes_max: usize, time_max: Duration) -> Result<Bytes, ApiError> {
        match tokio::time::timeout(time_max, self.collected(bytes_max)).await {
            Ok(whole) => whole,
            Err(_) => Err(self.broke_off()),
        }
    }

    async fn collected(&mut self, bytes_max: usize) -> Result<Bytes, ApiError> {
        let mut first = None;
        let mut rest = BytesMut::new();
        while let Some(piece) = self.next().await? {
            let held = first.as_ref().map_or(0, Bytes::len) + rest.len();
            if held + piece.len() > bytes_max {
                return Err(ApiError::too_large(bytes_max as u64));
            }
            // Most bodies come in one piece, which then is not copied.
            match first {
                None => first = Some(piece),
                Some(_) => rest.extend_from_slice(&piece),
            }
        }
        let first = first.unwrap_or_default();
        if rest.is_empty() {
            return Ok(first);
        }
        let mut whole = BytesMut::with_capacity(first.len() + rest.len());
        whole.extend_from_slice(&first);
        whole.extend_from_slice(&rest);
        Ok(whole.freeze())
    }

    /// Reads on for a while without keeping anything. A server that answers and closes while the client still
    /// sends would reset the connection, and the client would never see why it was refused.
    pub(crate) async fn drain(&mut self) {
        let read_on = async {
            let mut read = 0;
            while !self.ended && read < DRAIN_BYTES_MAX {
                match self.next().await {
                    Ok(Some(piece)) => read += piece.len(),
                    Ok(None) | Err(_) => return,
                }
            }
        };
        drop(tokio::time::timeout(DRAIN_TIME_MAX, read_on).await);
    }
}

#[cfg(test)]
mod tests {
    use warp::http::StatusCode;

    use super::*;

    #[tokio::test]
    async fn a_body_that_is_too_large_is_refused_however_it_is_cut() {
        let sent = |piece: usize, count: usize| {
            let pieces = (0..count).map(move |_| Ok::<_, warp::Error>(Bytes::from(vec![b'x'; piece])));
            Body::new(futures_util::stream::iter(pieces), Duration::from_secs(60))
        };
        for piece in [1, 7, 100] {
            let (fits, whole) = (100 / piece, 100 / piece * piece);
            assert_eq!(sent(piece, fits).whole(100).await.unwrap().len(), whole);
            let refused = sent(piece, fits + 1).whole(100).await.unwrap_err();
            assert_eq!(refused.status(), StatusCode::PAYLOAD_TOO_LARGE);
        }
    }

    #[tokio::test]
    async fn a_body_that_drips_without_an_end_is_given_up() {
        let pieces = futures_util::stream::repeat_with(|| Ok::<_, warp::Error>(Bytes::new()));
        let dripping = pieces.then(|piece| async {
            tokio::task::yield_now().await;
            piece
        });
        let mut body = Body::new(dripping, Duration::from_secs(60));
        let refused = body.whole_within(100, Duration::from_millis(10)).await.unwrap_err();
        assert!(refused.is("incomplete_body"), "{refused:?}");
        assert!(body.ended, "what still comes is not waited for");
    }
}
