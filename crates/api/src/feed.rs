//! Answers that are sent piece by piece: tables that are long, and streams that end when somebody ends them.

use std::collections::HashMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use http_body_util::BodyExt as _;
use hyper::body::Frame;
use tokio::sync::{mpsc, watch};

/// Pieces on their way at once. A client that does not read holds up whoever makes them.
const PIECES: usize = 4;
/// Streams of one key at most.
pub(crate) const MAX_OF_KEY: u32 = 16;
/// Streams of all keys at most: far fewer than there may be connections, so that calls always get through.
pub(crate) const MAX_STREAMS: u32 = 256;

/// A piece, or that what follows cannot be had: the client sees an answer that was cut off.
type Piece = Result<Bytes, Broken>;

/// The rest of an answer cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("the answer could not be completed")]
pub(crate) struct Broken;

/// Where the pieces go in.
pub(crate) struct Feed(mpsc::Sender<Piece>);

/// The client has gone.
#[derive(Debug)]
pub(crate) struct Gone;

impl Feed {
    /// A feed, and the body that its pieces make.
    pub(crate) fn new() -> (Self, Body) {
        let (sender, receiver) = mpsc::channel(PIECES);
        (Self(sender), Body::new(Pieces(receiver).map_err(axum::Error::new)))
    }

    /// Sends a piece, as soon as there is room for it.
    pub(crate) async fn send(&self, piece: impl Into<Bytes>) -> Result<(), Gone> {
        self.0.send(Ok(piece.into())).await.map_err(|_| Gone)
    }

    /// Ends the answer so that the client sees that something is missing.
    pub(crate) async fn fail(self) {
        // A client that has gone sees nothing at all.
        let _ = self.0.send(Err(Broken)).await;
    }

    /// Completes when the client has gone.
    pub(crate) async fn gone(&self) {
        self.0.closed().await;
    }
}

struct Pieces(mpsc::Receiver<Piece>);

impl hyper::body::Body for Pieces {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        self.0.poll_recv(context).map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }
}

/// Counts streams.
#[derive(Debug, Default)]
pub(crate) struct Followers(Mutex<HashMap<String, u32>>);

/// The place of one stream; free again when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    followers: Arc<Followers>,
    access_key: String,
}

impl Followers {
    /// A place for a stream of this key; `Err`: what there may be, and is.
    pub(crate) fn enter(self: &Arc<Self>, access_key: &str) -> Result<Place, u32> {
        // Counters stay usable whatever panicked.
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.values().sum::<u32>() >= MAX_STREAMS {
            return Err(MAX_STREAMS);
        }
        let count = counts.entry(access_key.to_owned()).or_insert(0);
        if *count >= MAX_OF_KEY {
            return Err(MAX_OF_KEY);
        }
        *count += 1;
        Ok(Place { followers: Arc::clone(self), access_key: access_key.to_owned() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.followers.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.access_key) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.access_key);
            }
        }
    }
}

/// Whether the service is about to end; goes with every request that came by a socket.
#[derive(Clone, Debug)]
pub(crate) struct Closing(watch::Receiver<bool>);

impl Closing {
    /// What is told, and who listens.
    pub(crate) fn new() -> (watch::Sender<bool>, Self) {
        let (sender, receiver) = watch::channel(false);
        (sender, Self(receiver))
    }

    /// Completes when the service is about to end.
    pub(crate) async fn wait(&mut self) {
        // A sender that has gone ends the service, too.
        let _ = self.0.wait_for(|closing| *closing).await;
    }
}

/// Completes when the service is about to end, if anybody can know.
pub(crate) async fn closed(closing: &mut Option<Closing>) -> Result<(), Infallible> {
    match closing {
        Some(closing) => closing.wait().await,
        None => std::future::pending().await,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_so_many_streams_and_all_have_so_many() {
        let followers = Arc::new(Followers::default());
        let places: Vec<_> = (0..MAX_OF_KEY).map(|_| followers.enter("a").expect("a place")).collect();
        assert_eq!(followers.enter("a").err(), Some(MAX_OF_KEY));
        let mut others = Vec::new();
        for number in 0..MAX_STREAMS - MAX_OF_KEY {
            others.push(followers.enter(&format!("key {number}")).expect("a place"));
        }
        assert_eq!(followers.enter("b").err(), Some(MAX_STREAMS));
        drop((places, others));
        assert!(followers.0.lock().expect("no panic").is_empty(), "nothing is kept of who has gone");
        followers.enter("a").expect("a place again");
    }

    #[tokio::test]
    async fn what_breaks_off_is_seen_to_break_off() {
        let (feed, body) = Feed::new();
        feed.send("head").await.expect("there");
        feed.fail().await;
        body.collect().await.map(|_| ()).expect_err("cut off");
        let (feed, body) = Feed::new();
        drop(body);
        feed.gone().await;
        feed.send("x").await.expect_err("gone");
    }
}
