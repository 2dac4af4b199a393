//! What is shared between control tasks and packet threads.
//!
//! Control changes a table under its lock (copying it only if a thread is using it at that moment); a thread takes a reference
//! to the tables once per batch and lets go of it before it sleeps, so nothing removed lives on in a sleeping thread.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use causeway_model::ConnectionId;
use tokio::sync::mpsc;

use crate::counters::{DropReason, Drops};
use crate::event::{Event, IkeDatagram};
use crate::socket::Socket;
use crate::tunnel::{Installed, Tunnel};

/// The token of a thread's wake-up descriptor; sockets and tunnels have greater ones.
pub(crate) const WAKE: u64 = 0;

#[derive(Clone, Default)]
pub(crate) struct Tables {
    pub(crate) sockets: HashMap<u64, Arc<Socket>>,
    pub(crate) by_address: HashMap<SocketAddr, Arc<Socket>>,
    pub(crate) tunnels: HashMap<u64, Arc<Tunnel>>,
    pub(crate) by_id: HashMap<ConnectionId, Arc<Tunnel>>,
    pub(crate) inbound: HashMap<(IpAddr, u32), Arc<Installed>>,
}

/// One packet thread as seen from outside.
pub(crate) struct Worker {
    pub(crate) name: &'static str,
    pub(crate) epoll: OwnedFd,
    pub(crate) wake: OwnedFd,
    pub(crate) beats: AtomicU64,
}

impl Worker {
    pub(crate) fn new(name: &'static str) -> std::io::Result<Self> {
        use rustix::event::{EventfdFlags, epoll, eventfd};
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        epoll::add(&epoll, &wake, epoll::EventData::new_u64(WAKE), epoll::EventFlags::IN)?;
        Ok(Self { name, epoll, wake, beats: AtomicU64::new(0) })
    }

    pub(crate) fn beat(&self) {
        self.beats.fetch_add(1, Ordering::Relaxed);
    }

    /// Makes the thread look at the tables and the stop flag.
    pub(crate) fn wake(&self) {
        // It fails only if the counter is at its end, and then the thread is awake anyway.
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }

    pub(crate) fn drain_wake(&self) {
        let _ = rustix::io::read(&self.wake, &mut [0_u8; 8]);
    }
}

pub(crate) struct Shared {
    tables: RwLock<Arc<Tables>>,
    next_token: AtomicU64,
    pub(crate) stop: AtomicBool,
    pub(crate) transmit: Worker,
    pub(crate) receive: Worker,
    /// Drops that belong to no tunnel.
    pub(crate) drops: Drops,
    ike: mpsc::Sender<IkeDatagram>,
    events: mpsc::Sender<Event>,
    /// Sleep of an idle thread at most.
    pub(crate) heartbeat: Duration,
}

impl Shared {
    pub(crate) fn new(
        ike: mpsc::Sender<IkeDatagram>,
        events: mpsc::Sender<Event>,
        heartbeat: Duration,
    ) -> std::io::Result<Self> {
        Ok(Self {
            tables: RwLock::default(),
            next_token: AtomicU64::new(WAKE + 1),
            stop: AtomicBool::new(false),
            transmit: Worker::new("tun-to-udp")?,
            receive: Worker::new("udp-to-tun")?,
            drops: Drops::default(),
            ike,
            events,
            heartbeat,
        })
    }

    pub(crate) fn token(&self) -> u64 {
        self.next_token.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn tables(&self) -> Arc<Tables> {
        Arc::clone(&self.tables.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes the tables. What `change` takes out it must return, so that descriptors are closed and keys wiped outside the lock.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut Tables) -> T) -> T {
        let mut tables = self.tables.write().unwrap_or_else(PoisonError::into_inner);
        change(Arc::make_mut(&mut tables))
    }

    /// Offers an event to the control task; `false` if its queue is full.
    pub(crate) fn report(&self, event: Event) -> bool {
        match self.events.try_send(event) {
            // Nobody listens any more: offering it again would be no use.
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => true,
            Err(mpsc::error::TrySendError::Full(_)) => {
                self.drops.count(DropReason::EventOverflow);
                false
            }
        }
    }

    /// Offers an event that is only a hint and that strangers can cause: it never takes the room of events that matter.
    pub(crate) fn hint(&self, event: Event) {
        if self.events.capacity() > self.events.max_capacity() / 2 {
            self.report(event);
        } else {
            self.drops.count(DropReason::EventOverflow);
        }
    }

    /// Hands an IKE message to the control task, or counts that it could not.
    pub(crate) fn deliver(&self, datagram: IkeDatagram) {
        if self.ike.try_send(datagram).is_err() {
            self.drops.count(DropReason::IkeOverflow);
        }
    }

    /// Whether the control task has room for an IKE message, so that none is copied for nothing.
    pub(crate) fn can_deliver(&self) -> bool {
        self.ike.capacity() > 0
    }
}
