//! The gate of the node's forwarding lease ([`causeway_linux::filter::lease`]), as the node's parts share it: whoever keeps the lease drives it
//! ([`causeway_fleet::lease::Gate`]), the host has it concern each public address before that is anywhere, and reports say since when nothing passes.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use causeway_fleet::lease::{Gate, GateError};
use causeway_linux::filter::lease::LeaseGate as KernelGate;
use causeway_linux::{Error, Namespace};
use causeway_model::Timestamp;
use tokio::sync::Notify;

use crate::clock::wall_clock;
use crate::error::SetupError;
use crate::host::OWN_UNDERLAY;
use crate::vpc::ROUTER_PORTS;

/// A step of the lease: well below a third of the shortest one.
const QUICK: Duration = Duration::from_secs(1);
/// What the node sets up waits longer: `nft` takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);
/// What a refusal is about.
const ITEM: &str = "packet filter of the forwarding lease";

/// What passes, as far as this process knows: the kernel alone decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// Nobody has said anything yet.
    Unasked,
    /// Everything: no lease.
    Open,
    /// Nothing, since then.
    Closed(Instant),
    /// Everything until then.
    Until(Instant),
}

struct Book {
    standing: Standing,
    /// When the elements end that were armed.
    ends: BTreeMap<u64, Instant>,
    /// The node has ended in order, and nothing of it is in the kernel.
    ended: bool,
}

struct Shared {
    gate: Arc<tokio::sync::Mutex<KernelGate>>,
    underlay: String,
    book: Mutex<Book>,
    /// Notified when traffic passes again after it did not.
    opened: Notify,
}

/// The gate of this process's namespace. Clones are handles of the same one: one for [`crate::NodeConfig::lease`], one for whoever keeps the lease.
#[derive(Clone)]
pub struct LeaseGate(Arc<Shared>);

impl fmt::Debug for LeaseGate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeaseGate").field("standing", &self.book().standing).finish_non_exhaustive()
    }
}

/// What is done to the kernel.
enum Order {
    Close,
    Open,
    Arm(u64, Duration),
    Count(u64),
    Include(IpAddr, bool),
    Exclude(IpAddr),
    Underlay(Option<(String, u32)>),
}

impl LeaseGate {
    /// The gate of the calling thread's namespace, in which `underlay` carries public addresses; empty: the bridge that the node makes. Nothing is done
    /// yet.
    ///
    /// # Errors
    /// The namespace cannot be opened.
    pub fn new(underlay: &str) -> Result<Self, SetupError> {
        let step = || SetupError::at::<Error>(ITEM);
        let namespace = Namespace::current().map_err(step())?;
        let gate = Arc::new(tokio::sync::Mutex::new(KernelGate::new(namespace, ROUTER_PORTS).map_err(step())?));
        let underlay = if underlay.is_empty() { OWN_UNDERLAY } else { underlay }.to_owned();
        let book = Mutex::new(Book { standing: Standing::Unasked, ends: BTreeMap::new(), ended: false });
        Ok(Self(Arc::new(Shared { gate, underlay, book, opened: Notify::new() })))
    }

    /// An open gate, for a node that needs no lease: what an earlier process has left is taken away.
    pub(crate) async fn without(underlay: &str) -> Result<Self, SetupError> {
        let mut gate = Self::new(underlay)?;
        if let Err(error) = gate.open().await {
            // With the next address, and every few seconds, it is tried again.
            tracing::error!(%error, "what an earlier process left may stop gateways' traffic");
        }
        Ok(gate)
    }

    /// Since when nothing passes; `None`: it passes, or no lease is needed.
    #[must_use]
    pub fn lapsed(&self) -> Option<Timestamp> {
        let now = Instant::now();
        let since = match self.book().standing {
            Standing::Unasked | Standing::Open => return None,
            Standing::Closed(since) => since,
            Standing::Until(end) if end <= now => end,
            Standing::Until(_) => return None,
        };
        let micros = i64::try_from(now.saturating_duration_since(since).as_micros()).unwrap_or(i64::MAX);
        Some(Timestamp(wall_clock().0.saturating_sub(micros)))
    }

    /// Waits until traffic passes again after it did not: what was announced meanwhile was heard by nobody.
    pub(crate) async fn opened(&self) {
        self.0.opened.notified().await;
    }

    /// Has the gate concern `address`, before it is anywhere. `own`: it is there for gateways alone.
    pub(crate) async fn include(&self, address: IpAddr, own: bool) -> Result<(), SetupError> {
        self.obey(Order::Include(address, own), PATIENCE).await.map_err(SetupError::at(ITEM))
    }

    /// The opposite, when it has gone. A failure is logged: the gate then stops what nobody sends.
    pub(crate) async fn exclude(&self, address: IpAddr) {
        if let Err(error) = self.obey(Order::Exclude(address), PATIENCE).await {
            tracing::warn!(%error, %address, "the gate of the lease still concerns an address that has gone");
        }
    }

    /// The underlay has this index now; `None`: it is not there.
    pub(crate) async fn underlay(&self, index: Option<u32>) -> Result<(), SetupError> {
        let underlay = index.map(|index| (self.0.underlay.clone(), index));
        self.obey(Order::Underlay(underlay), PATIENCE).await.map_err(SetupError::at(ITEM))
    }

    /// Takes the gate away for good: the node has ended in order and left nothing that could forward.
    pub(crate) async fn end(&self) {
        self.book().ended = true;
        if let Err(error) = self.obey(Order::Open, PATIENCE).await {
            tracing::warn!(%error, "the gate of the lease stays in the packet filter");
        }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For whoever keeps the lease.
    async fn step(&self, order: Order) -> Result<(), GateError> {
        if self.book().ended {
            return Err(GateError("the node has ended".to_owned()));
        }
        self.obey(order, QUICK).await.map_err(|error| GateError(error.to_string()))
    }

    /// On a task of its own: whoever stops waiting leaves nothing half-done.
    async fn obey(&self, order: Order, patience: Duration) -> Result<(), Error> {
        let gate = Arc::clone(&self.0.gate);
        let task = tokio::spawn(async move {
            let locked = tokio::time::timeout(patience, gate.lock_owned()).await;
            let mut gate = locked.map_err(|_| Error::NftHangs)?;
            match order {
                Order::Close => gate.close(patience).await,
                Order::Open => gate.open(patience).await,
                Order::Arm(number, lease) => gate.arm(number, lease, patience).await,
                Order::Count(number) => gate.count(number, patience).await,
                Order::Include(address, own) => gate.include(address, own, patience).await,
                Order::Exclude(address) => gate.exclude(address, patience).await,
                Order::Underlay(underlay) => {
                    let underlay = underlay.as_ref().map(|(name, index)| (name.as_str(), *index));
                    gate.set_underlay(underlay, patience).await
                }
            }
        });
        task.await.unwrap_or_else(|error| match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(Error::Nft("the runtime is shutting down".to_owned())),
        })
    }
}

impl Gate for LeaseGate {
    async fn close(&mut self) -> Result<(), GateError> {
        {
            let mut book = self.book();
            book.ends.clear();
            if !matches!(book.standing, Standing::Closed(_)) {
                book.standing = Standing::Closed(Instant::now());
            }
        }
        self.step(Order::Close).await
    }

    async fn open(&mut self) -> Result<(), GateError> {
        let shut = self.lapsed().is_some();
        self.step(Order::Open).await?;
        let mut book = self.book();
        book.ends.clear();
        book.standing = Standing::Open;
        drop(book);
        if shut {
            self.0.opened.notify_one();
        }
        Ok(())
    }

    async fn arm(&mut self, number: u64, lease: Duration) -> Result<(), GateError> {
        // Before the kernel begins to count: what is said of it is never too much.
        let now = Instant::now();
        self.step(Order::Arm(number, lease)).await?;
        let mut book = self.book();
        book.ends.retain(|_, end| *end > now);
        book.ends.insert(number, now + lease);
        Ok(())
    }

    async fn count(&mut self, number: u64) -> Result<(), GateError> {
        self.step(Order::Count(number)).await?;
        let now = Instant::now();
        let shut = self.lapsed().is_some();
        let mut book = self.book();
        book.standing = match (book.ends.get(&number), book.standing) {
            (Some(end), _) => Standing::Until(*end),
            // Not armed, or dead long ago: closed, and since before if it was.
            (None, standing @ Standing::Closed(_)) => standing,
            (None, Standing::Until(end)) => Standing::Closed(end.min(now)),
            (None, Standing::Unasked | Standing::Open) => Standing::Closed(now),
        };
        drop(book);
        if shut && self.lapsed().is_none() {
            self.0.opened.notify_one();
        }
        Ok(())
    }
}
