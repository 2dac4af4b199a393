//! A tunnel as the packet threads see it: its TUN device, the association to send with, those to receive with.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use causeway_esp::{InboundSa, OutboundSa};
use causeway_model::{ConnectionId, Family, VpnGatewayId};
use causeway_tun::Tun;

use crate::counters::{Counters, DropReason};
use crate::shaper::Group;

/// An association to receive with.
#[derive(Clone)]
pub struct Inbound {
    /// Our SPI, as in the packets.
    pub spi: u32,
    /// Our public address that the packets come to.
    pub local: IpAddr,
    /// Keys and replay window.
    pub sa: Arc<InboundSa>,
}

/// The association to send with.
#[derive(Clone)]
pub struct Outbound {
    /// Keys and sequence number.
    pub sa: Arc<OutboundSa>,
    /// Our address and port 4500, which must be bound.
    pub local: SocketAddr,
    /// The peer's endpoint.
    pub remote: SocketAddr,
}

/// A connection: one TUN device, whichever of its one or two outer families is in use.
pub(crate) struct Tunnel {
    pub(crate) id: ConnectionId,
    pub(crate) token: u64,
    pub(crate) tun: Tun,
    /// The gateway.
    pub(crate) group: VpnGatewayId,
    pub(crate) limits: Arc<Group>,
    pub(crate) counters: Counters,
    outbound: RwLock<Option<Arc<Outbound>>>,
    /// Whether anybody waits for a source address.
    watching: AtomicBool,
    watched: Mutex<Vec<IpAddr>>,
}

impl Tunnel {
    pub(crate) fn new(id: ConnectionId, token: u64, tun: Tun, group: VpnGatewayId, limits: Arc<Group>) -> Self {
        Self {
            id,
            token,
            tun,
            group,
            limits,
            counters: Counters::default(),
            outbound: RwLock::new(None),
            watching: AtomicBool::new(false),
            watched: Mutex::default(),
        }
    }

    /// Waits for a packet from one of `sources`.
    pub(crate) fn watch_sources(&self, sources: Vec<IpAddr>) {
        let any = !sources.is_empty();
        *self.watched.lock().unwrap_or_else(PoisonError::into_inner) = sources;
        self.watching.store(any, Ordering::Release);
    }

    /// The source address of an inner packet, if it is waited for. Answers once.
    pub(crate) fn source_seen(&self, packet: &[u8]) -> Option<IpAddr> {
        if !self.watching.load(Ordering::Acquire) {
            return None;
        }
        let source = match packet.first()? >> 4 {
            4 => IpAddr::from(*packet.get(12..)?.first_chunk::<4>()?),
            6 => IpAddr::from(*packet.get(8..)?.first_chunk::<16>()?),
            _ => return None,
        };
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        if !watched.contains(&source) {
            return None;
        }
        watched.clear();
        self.watching.store(false, Ordering::Release);
        Some(source)
    }

    /// Hands an inner packet to the kernel, and counts what becomes of it.
    pub(crate) fn deliver(&self, family: Family, packet: &[u8]) {
        let counters = self.counters.family(family);
        match self.tun.write(packet) {
            Ok(()) => counters.received(1, packet.len() as u64),
            Err(error) => counters.drops.count(match error.raw_os_error() {
                Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM) => DropReason::TunFull,
                Some(libc::EINVAL) => DropReason::BadPacket,
                _ => DropReason::TunDown,
            }),
        }
    }

    pub(crate) fn outbound(&self) -> Option<Arc<Outbound>> {
        self.outbound.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Where the tunnel sends to, if it sends from `local`.
    fn remote_from(&self, local: IpAddr) -> Option<SocketAddr> {
        self.outbound().filter(|outbound| outbound.local.ip() == local).map(|outbound| outbound.remote)
    }

    pub(crate) fn set_outbound(&self, outbound: Option<Outbound>) {
        let outbound = outbound.map(Arc::new);
        let before = {
            let mut slot = self.outbound.write().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *slot, outbound)
        };
        // Keys are wiped, if this was the last owner, outside the lock.
        drop(before);
    }

    /// Points what is sent from `local` to `remote`. Whether that was a change.
    pub(crate) fn move_remote(&self, local: IpAddr, remote: SocketAddr) -> bool {
        let mut slot = self.outbound.write().unwrap_or_else(PoisonError::into_inner);
        match slot.as_mut() {
            Some(outbound) if outbound.local.ip() == local && outbound.remote != remote => {
                Arc::make_mut(outbound).remote = remote;
                true
            }
            _ => false,
        }
    }
}

/// Where packets of an association come from.
#[derive(Default)]
struct Peer {
    endpoint: Option<SocketAddr>,
    /// A move that the control task has not been told of, because its queue was full.
    untold: bool,
}

/// An installed [`Inbound`].
pub(crate) struct Installed {
    pub(crate) spi: u32,
    pub(crate) local: IpAddr,
    pub(crate) family: Family,
    pub(crate) sa: Arc<InboundSa>,
    pub(crate) tunnel: Arc<Tunnel>,
    highest: AtomicU32,
    announced: AtomicBool,
    peer: Mutex<Peer>,
}

impl Installed {
    pub(crate) fn new(inbound: Inbound, tunnel: Arc<Tunnel>) -> Self {
        Self {
            spi: inbound.spi,
            local: inbound.local,
            family: Family::of(inbound.local),
            sa: inbound.sa,
            tunnel,
            highest: AtomicU32::new(0),
            announced: AtomicBool::new(false),
            peer: Mutex::new(Peer::default()),
        }
    }

    /// Authenticated packets so far.
    pub(crate) fn packets(&self) -> u64 {
        self.sa.packets_received()
    }

    /// Notes an authenticated packet. `first` is called until it returns `true`: the association's first packet was reported.
    /// `moved` is called when the peer's endpoint changed, and again with the next packet if it returns `false`.
    pub(crate) fn authenticated(
        &self,
        sequence: u32,
        source: SocketAddr,
        first: impl FnOnce() -> bool,
        moved: impl FnOnce() -> bool,
    ) {
        if !self.announced.load(Ordering::Relaxed) && first() {
            self.announced.store(true, Ordering::Relaxed);
        }
        // A packet that was overtaken tells where the peer was, not where it is.
        if self.highest.fetch_max(sequence, Ordering::Relaxed) >= sequence {
            return;
        }
        let mut peer = self.peer.lock().unwrap_or_else(PoisonError::into_inner);
        if peer.endpoint == Some(source) && !peer.untold {
            return;
        }
        // A NAT changes the port. Another address is not followed: whoever captures an authentic packet and delivers it first from elsewhere
        // would turn the tunnel there. A device that moves negotiates anew.
        let known = self.tunnel.remote_from(self.local).or(peer.endpoint);
        if known.is_some_and(|known| known.ip() != source.ip()) {
            return;
        }
        let switched = self.tunnel.move_remote(self.local, source);
        let before = peer.endpoint.replace(source);
        if switched || peer.untold || before.is_some_and(|before| before != source) {
            peer.untold = !moved();
        }
    }
}
