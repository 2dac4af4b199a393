//! A route-netlink socket inside a namespace.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use rtnetlink::Handle;
use rtnetlink::packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::proto::Connection;
use tokio::runtime;
use tokio::sync::Mutex;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use crate::{Error, Namespace, Result};

/// The kernel answers in microseconds; this only ends waiting for an answer that was lost.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Attempts at reading a table that changes meanwhile.
const DUMP_ATTEMPTS: usize = 8;
/// Wait, times the attempt, for a dump that whoever asked for it no longer waits for: the socket reads it to its end.
const BUSY_WAIT: Duration = Duration::from_millis(10);

/// A route-netlink socket that was opened inside one namespace, driven by the tokio runtime it was made on. Clones share it;
/// with the last one the socket closes, so that it does not keep the namespace alive.
#[derive(Clone, Debug)]
pub struct Netlink {
    handle: Handle,
    driver: Arc<Driver>,
}

#[derive(Debug)]
struct Driver {
    task: AbortHandle,
    /// Held by whoever has asked for a dump: the kernel refuses a second one on the same socket.
    dump: Mutex<()>,
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Netlink {
    /// A socket in the calling thread's namespace: the node's own.
    ///
    /// # Errors
    /// The kernel's error.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn current() -> Result<Self> {
        Self::start(&runtime::Handle::current(), rtnetlink::new_connection_with_strict_check())
    }

    /// A socket in `namespace`.
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
            rtnetlink::new_connection_with_strict_check()
        })?;
        Self::start(&runtime, connection)
    }

    fn start<M>(
        runtime: &runtime::Handle,
        connection: io::Result<(Connection<RouteNetlinkMessage>, Handle, M)>,
    ) -> Result<Self> {
        // Nothing is subscribed to, so there are no unsolicited messages to receive.
        let (mut connection, handle, _) = connection.map_err(|error| Error::os("open a netlink socket", error))?;
        // Else the end of the answers would look the same as the end of the connection.
        connection.set_forward_ack(true);
        connection.set_forward_done(true);
        let task = runtime.spawn(connection);
        let driver = Arc::new(Driver { task: task.abort_handle(), dump: Mutex::default() });
        Ok(Self { handle, driver })
    }

    /// Sends a change and waits for the kernel's verdict.
    pub(crate) async fn change(
        &self,
        message: RouteNetlinkMessage,
        flags: u16,
        action: impl Fn() -> String,
    ) -> Result<()> {
        let mut request = NetlinkMessage::from(message);
        request.header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
        let mut answers = self.handle.clone().request(request).map_err(|_| Error::Closed { action: action() })?;
        loop {
            let answer =
                timeout(ANSWER_WITHIN, answers.next()).await.map_err(|_| Error::NoAnswer { action: action() })?;
            match answer.map(|answer| answer.payload) {
                None => return Err(Error::Closed { action: action() }),
                Some(NetlinkPayload::Error(error)) if error.code.is_none() => return Ok(()),
                Some(NetlinkPayload::Error(error)) => return Err(Error::os(action(), error.to_io())),
                Some(NetlinkPayload::Overrun(_)) => return Err(Error::NoAnswer { action: action() }),
                Some(_) => {}
            }
        }
    }

    /// Sends a query for one object or, with `dump`, for all of them. A dump that the kernel marks as torn by a concurrent change
    /// is made again.
    pub(crate) async fn query<T>(
        &self,
        message: RouteNetlinkMessage,
        dump: bool,
        action: impl Fn() -> String,
        pick: impl Fn(RouteNetlinkMessage) -> Option<T>,
    ) -> Result<Vec<T>> {
        let _turn = if dump { Some(self.driver.dump.lock().await) } else { None };
        for attempt in 1..=DUMP_ATTEMPTS {
            match self.query_once(message.clone(), dump, &action, &pick).await {
                Ok(Some(found)) => return Ok(found),
                Ok(None) | Err(Error::NoAnswer { .. }) => {}
                Err(error) if dump && attempt < DUMP_ATTEMPTS && error.errno() == Some(libc::EBUSY) => {
                    sleep(BUSY_WAIT.saturating_mul(u32::try_from(attempt).unwrap_or(1))).await;
                }
                Err(error) => return Err(error),
            }
        }
        Err(Error::Unstable { action: action() })
    }

    async fn query_once<T>(
        &self,
        message: RouteNetlinkMessage,
        dump: bool,
        action: &impl Fn() -> String,
        pick: &impl Fn(RouteNetlinkMessage) -> Option<T>,
    ) -> Result<Option<Vec<T>>> {
        let mut request = NetlinkMessage::from(message);
        request.header.flags = NLM_F_REQUEST | if dump { NLM_F_DUMP } else { 0 };
        let mut answers = self.handle.clone().request(request).map_err(|_| Error::Closed { action: action() })?;
        let mut found = Vec::new();
        let mut torn = false;
        loop {
            let answer =
                timeout(ANSWER_WITHIN, answers.next()).await.map_err(|_| Error::NoAnswer { action: action() })?;
            let Some(answer) = answer else {
                // The answer to a query for one object ends with itself; a dump ends with a message of its own.
                if dump || found.is_empty() {
                    return Err(Error::Closed { action: action() });
                }
                break;
            };
            torn |= answer.header.flags & NLM_F_DUMP_INTR != 0;
            match answer.payload {
                NetlinkPayload::Error(error) if error.code.is_some() => {
                    return Err(Error::os(action(), error.to_io()));
                }
                NetlinkPayload::Overrun(_) => return Err(Error::NoAnswer { action: action() }),
                NetlinkPayload::Done(done) if done.code != 0 => {
                    return Err(Error::os(action(), io::Error::from_raw_os_error(done.code.saturating_abs())));
                }
                NetlinkPayload::Done(_) => break,
                NetlinkPayload::InnerMessage(inner) => found.extend(pick(inner)),
                _ => {}
            }
        }
        Ok((!torn).then_some(found))
    }
}
