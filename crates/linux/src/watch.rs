//! News of links: a carrier that comes or goes is known at once, not at the next look.

use std::pin::Pin;

use futures_util::{Stream, StreamExt};
use rtnetlink::MulticastGroup;
use tokio::runtime;
use tokio::task::AbortHandle;

use crate::{Error, Namespace, Result};

/// Tells that some link of a namespace changed, came or went.
pub struct LinkWatch {
    news: Pin<Box<dyn Stream<Item = ()> + Send + Sync>>,
    driver: AbortHandle,
}

impl LinkWatch {
    /// Begins to watch. What happened before is not told.
    ///
    /// # Errors
    /// The kernel's error.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn open(namespace: &Namespace) -> Result<Self> {
        let runtime = runtime::Handle::current();
        let connection = namespace.run(|| {
            let _context = runtime.enter();
            rtnetlink::new_multicast_connection(&[MulticastGroup::Link])
        })?;
        let (connection, _, messages) = connection.map_err(|error| Error::os("watch links", error))?;
        let driver = runtime.spawn(connection).abort_handle();
        Ok(Self { news: Box::pin(messages.map(drop)), driver })
    }

    /// Waits for news, of one link or of several. Ends only with an error of the socket: look at once, and open another watch.
    pub async fn changed(&mut self) -> Option<()> {
        self.news.next().await
    }
}

impl Drop for LinkWatch {
    fn drop(&mut self) {
        self.driver.abort();
    }
}
