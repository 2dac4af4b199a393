//! The body of an answer, with which its request ends: it goes out in pieces, so that the service sees whether its client takes them.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use crate::guests::{UnderWay, Waiting};
use crate::shares::Held;

/// Octets of a piece at most. Whoever takes one in the time that is left for it is slow, not stuck.
const PIECE: usize = 16 * 1024;

/// A body whose request ends when all of it has gone to the kernel.
#[derive(Debug)]
pub(crate) struct Last<B> {
    body: B,
    rest: Bytes,
    request: Arc<UnderWay>,
    held: Option<Held>,
}

/// A piece that waits for the client until it is dropped. It keeps all of the answer in memory.
struct Piece {
    octets: Bytes,
    _waiting: Waiting,
    _held: Option<Held>,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.octets
    }
}

impl<B> Last<B> {
    pub(crate) fn new(body: B, request: Arc<UnderWay>, held: Option<Held>) -> Self {
        Self { body, rest: Bytes::new(), request, held }
    }

    /// The next piece of what has been had from the body.
    fn piece(&mut self) -> Option<Bytes> {
        if self.rest.is_empty() {
            return None;
        }
        let octets = self.rest.split_to(self.rest.len().min(PIECE));
        Some(Bytes::from_owner(Piece { octets, _waiting: self.request.wait(), _held: self.held.clone() }))
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Last<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        loop {
            if let Some(piece) = self.piece() {
                return Poll::Ready(Some(Ok(Frame::data(piece))));
            }
            match Pin::new(&mut self.body).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(octets) => self.rest = octets,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                other => return other,
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (rest, hint) = (self.rest.len() as u64, self.body.size_hint());
        let mut whole = SizeHint::new();
        if let Some(upper) = hint.upper().and_then(|upper| upper.checked_add(rest)) {
            whole.set_upper(upper);
        }
        whole.set_lower(hint.lower().saturating_add(rest));
        whole
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt as _, Full};

    use super::*;
    use crate::guests::Guests;
    use crate::shares::{Memory, Shares};

    #[tokio::test]
    async fn a_long_answer_comes_in_pieces_and_as_a_whole() {
        let guests = Guests::new(1, 1);
        let guest = guests.enter([192, 0, 2, 1].into()).expect("a place");
        let text: Vec<u8> = (0..PIECE * 2 + 7).map(|number| (number % 251) as u8).collect();
        let shares = Arc::new(Shares::new(Memory { of_key: text.len(), of_all: usize::MAX }));
        let held = || shares.hold("a", text.len()).map(Held::new);
        let mut body = Last::new(Full::new(Bytes::from(text.clone())), guest.ask(), Some(held().expect("room")));
        assert_eq!(body.size_hint().exact(), Some(text.len() as u64));
        let (mut pieces, mut left) = (Vec::new(), text.len());
        while let Some(frame) = body.frame().await {
            let piece = frame.expect("infallible").into_data().expect("data");
            assert!(piece.len() <= PIECE);
            left -= piece.len();
            assert_eq!((body.size_hint().exact(), body.is_end_stream()), (Some(left as u64), left == 0));
            pieces.push(piece);
        }
        assert_eq!(pieces.len(), 3);
        assert_eq!(pieces.concat(), text);
        drop(body);
        assert!(held().is_err(), "a piece keeps the whole");
        drop(pieces);
        held().expect("room again");
        assert!(Last::new(Full::new(Bytes::new()), guest.ask(), None).is_end_stream());
    }
}
