//! The two halves of an open connection, each with a task of its own.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

/// Messages written together.
const WRITE_BATCH: usize = 64;
/// A write that takes longer is given up with its connection; the machine has given up on the peer by then (RFC 9687).
const WRITE_PATIENCE: Duration = Duration::from_secs(600);
/// So long a connection that we have ended with a NOTIFICATION goes on taking what the peer sends. A socket that is gone answers it with a
/// reset, for which the peer may forget what it has not read yet: our NOTIFICATION.
const LINGER: Duration = Duration::from_secs(3);

/// Writes what comes over `queue`, taking it from `unsent`; at the queue's end it says that nothing follows.
pub(super) async fn write(
    mut half: OwnedWriteHalf,
    mut queue: mpsc::UnboundedReceiver<Vec<u8>>,
    unsent: Arc<AtomicUsize>,
) {
    let mut batch = Vec::with_capacity(WRITE_BATCH);
    while queue.recv_many(&mut batch, WRITE_BATCH).await > 0 {
        let bytes = batch.concat();
        batch.clear();
        match timeout(WRITE_PATIENCE, half.write_all(&bytes)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => return,
        }
        unsent.fetch_sub(bytes.len(), Ordering::Relaxed);
    }
    let _ = half.shutdown().await;
}

/// Hands what the peer says to `hear`, and at the end nothing. Once the other end of `wanted` is gone nobody listens any more; see [`LINGER`].
pub(super) async fn read(
    mut half: OwnedReadHalf,
    wanted: oneshot::Receiver<Infallible>,
    hear: impl AsyncFn(&[u8]) -> bool,
) {
    let mut buffer = vec![0; 8192];
    let listen = async {
        loop {
            let length = half.read(&mut buffer).await.unwrap_or(0);
            if !hear(buffer.get(..length).unwrap_or_default()).await || length == 0 {
                return;
            }
        }
    };
    tokio::select! {
        () = listen => {}
        _ = wanted => {
            let closed = async { while half.read(&mut buffer).await.is_ok_and(|length| length > 0) {} };
            if timeout(LINGER, closed).await.is_err() {
                // Nothing of it is left to the kernel, which would wait for the peer's end for a minute.
                let _ = SockRef::from(half.as_ref()).set_linger(Some(Duration::ZERO));
            }
        }
    }
}
