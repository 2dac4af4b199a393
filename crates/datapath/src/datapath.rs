//! The handle by which a node drives its packet path.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use causeway_model::observed::TunnelCounters;
use causeway_model::{ConnectionId, Family, VpnGatewayId};
use causeway_tun::Tun;
use rustix::event::epoll;
use tokio::sync::mpsc;

use crate::event::{EventReceiver, IkeReceiver};
use crate::shaper::Group;
use crate::socket::{ENCAPSULATION_PORT, IKE_PORT, Socket};
use crate::tables::Shared;
use crate::tunnel::{Inbound, Installed, Outbound, Tunnel};
use crate::{receive, transmit};

/// How long a removal waits for a packet thread to finish the batch that it is in.
const REMOVAL_PATIENCE: Duration = Duration::from_millis(100);
/// The sleep of an idle thread, unless the configuration says otherwise.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// Sizes of the queues towards the control task, and the threads' signs of life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DatapathConfig {
    /// IKE messages; at least 1.
    pub ike_queue: usize,
    /// Events; at least 1.
    pub event_queue: usize,
    /// An idle thread sleeps so long at most, and then says that it is there.
    pub heartbeat: Duration,
}

impl Default for DatapathConfig {
    fn default() -> Self {
        Self { ike_queue: 1024, event_queue: 1024, heartbeat: HEARTBEAT }
    }
}

/// Why a request was refused.
#[derive(Debug, thiserror::Error)]
pub enum DatapathError {
    /// The threads or what they wait on could not be made.
    #[error("cannot start the packet threads")]
    Start(#[source] io::Error),
    /// The address can't be used: it is not on this machine, or the port is taken.
    #[error("cannot bind UDP {address} port {port}")]
    Bind {
        /// The address.
        address: IpAddr,
        /// The port.
        port: u16,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// The address is bound already.
    #[error("{0} is bound already")]
    AlreadyBound(IpAddr),
    /// The address is not bound.
    #[error("{0} is not bound")]
    NotBound(IpAddr),
    /// The connection has a tunnel already.
    #[error("connection {0} has a tunnel already")]
    TunnelExists(ConnectionId),
    /// The connection has no tunnel.
    #[error("connection {0} has no tunnel")]
    NoTunnel(ConnectionId),
    /// The SPI is in use on the address.
    #[error("SPI {spi:#010x} is in use on {local}")]
    SpiInUse {
        /// The address.
        local: IpAddr,
        /// The SPI.
        spi: u32,
    },
    /// The kernel refused to watch a descriptor.
    #[error("cannot watch a descriptor")]
    Watch(#[source] io::Error),
}

/// Signs of life of one packet thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// The thread's name.
    pub thread: &'static str,
    /// Grows at least once a second while the thread is well.
    pub beats: u64,
    /// Whether the thread runs at all.
    pub running: bool,
}

/// A node's packet path. See the crate's documentation. Dropping it stops the threads and closes every socket and TUN device.
pub struct Datapath {
    pub(crate) shared: Arc<Shared>,
    groups: Mutex<HashMap<VpnGatewayId, Arc<Group>>>,
    events: Mutex<Option<EventReceiver>>,
    transmit: Option<JoinHandle<()>>,
    receive: Option<JoinHandle<()>>,
}

impl Datapath {
    /// Starts the threads. Nothing is bound yet.
    ///
    /// # Errors
    /// [`DatapathError::Start`].
    pub fn start(config: DatapathConfig) -> Result<(Self, IkeReceiver), DatapathError> {
        let (ike, ike_receiver) = mpsc::channel(config.ike_queue.max(1));
        let (events, event_receiver) = mpsc::channel(config.event_queue.max(1));
        let shared = Arc::new(Shared::new(ike, events, config.heartbeat).map_err(DatapathError::Start)?);
        // Built first, so that its drop ends the first thread if the second one can't be made.
        let mut datapath = Self {
            shared: Arc::clone(&shared),
            groups: Mutex::default(),
            events: Mutex::new(Some(event_receiver)),
            transmit: None,
            receive: None,
        };
        datapath.transmit = Some(spawn(&shared, shared.transmit.name, transmit::run)?);
        datapath.receive = Some(spawn(&shared, shared.receive.name, receive::run)?);
        Ok((datapath, ike_receiver))
    }

    /// Where events come out. The first call gets it.
    #[must_use]
    pub fn events(&self) -> Option<EventReceiver> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Opens UDP 500 and 4500 on a public address, in the calling thread's network namespace.
    ///
    /// # Errors
    /// [`DatapathError::AlreadyBound`], [`DatapathError::Bind`], [`DatapathError::Watch`].
    pub fn bind(&self, address: IpAddr) -> Result<(), DatapathError> {
        self.bind_ports(address, IKE_PORT, ENCAPSULATION_PORT)
    }

    /// [`Datapath::bind`] with other ports, which tests need; 0 lets the kernel choose.
    pub(crate) fn bind_ports(&self, address: IpAddr, ike: u16, encapsulation: u16) -> Result<(), DatapathError> {
        let of_pair = |socket: &Arc<Socket>| socket.paired && socket.local.ip() == address;
        if self.shared.tables().by_address.values().any(of_pair) {
            return Err(DatapathError::AlreadyBound(address));
        }
        let mut sockets = Vec::with_capacity(2);
        for (port, encapsulates) in [(ike, false), (encapsulation, true)] {
            let socket = Socket::bind(address, port, encapsulates, self.shared.token());
            sockets.push(Arc::new(socket.map_err(|source| DatapathError::Bind { address, port, source })?));
        }
        self.hear(&sockets)
    }

    /// Opens one UDP port, in the calling thread's network namespace, where all of IKE has the non-ESP marker and ESP is, as on port 4500 (RFC 3948):
    /// for tunnels that are no customer's. Answers the address with its port. It is independent of [`Datapath::bind`] for the same address, but for SPIs:
    /// those of an address are all different.
    ///
    /// # Errors
    /// [`DatapathError::Bind`], [`DatapathError::Watch`].
    pub fn bind_alone(&self, local: SocketAddr) -> Result<SocketAddr, DatapathError> {
        let socket = Socket::bind_alone(local, self.shared.token()).map_err(|source| DatapathError::Bind {
            address: local.ip(),
            port: local.port(),
            source,
        })?;
        let bound = socket.local;
        self.hear(&[Arc::new(socket)])?;
        Ok(bound)
    }

    /// Puts sockets into the tables before the thread can hear of them, and has it listen. Both or neither.
    fn hear(&self, sockets: &[Arc<Socket>]) -> Result<(), DatapathError> {
        self.shared.change(|tables| {
            for socket in sockets {
                tables.sockets.insert(socket.token, Arc::clone(socket));
                tables.by_address.insert(socket.local, Arc::clone(socket));
            }
        });
        for socket in sockets {
            let data = epoll::EventData::new_u64(socket.token);
            if let Err(error) = epoll::add(&self.shared.receive.epoll, socket.as_fd(), data, epoll::EventFlags::IN) {
                self.close(|other| sockets.iter().any(|socket| socket.token == other.token));
                return Err(DatapathError::Watch(error.into()));
            }
        }
        Ok(())
    }

    /// Closes both ports of an address. Inbound associations on it stay installed and hear nothing.
    ///
    /// # Errors
    /// [`DatapathError::NotBound`].
    pub fn unbind(&self, address: IpAddr) -> Result<(), DatapathError> {
        if self.close(|socket| socket.paired && socket.local.ip() == address) {
            Ok(())
        } else {
            Err(DatapathError::NotBound(address))
        }
    }

    /// Closes what [`Datapath::bind_alone`] opened, as [`Datapath::unbind`] does.
    ///
    /// # Errors
    /// [`DatapathError::NotBound`].
    pub fn unbind_alone(&self, local: SocketAddr) -> Result<(), DatapathError> {
        if self.close(|socket| !socket.paired && socket.local == local) {
            Ok(())
        } else {
            Err(DatapathError::NotBound(local.ip()))
        }
    }

    /// Closes sockets. Whether there were any.
    fn close(&self, which: impl Fn(&Socket) -> bool) -> bool {
        let removed = self.shared.change(|tables| {
            tables.by_address.retain(|_, socket| !which(socket));
            let removed: Vec<_> =
                tables.sockets.extract_if(|_, socket| which(socket)).map(|(_, socket)| socket).collect();
            removed
        });
        for socket in &removed {
            let _ = epoll::delete(&self.shared.receive.epoll, socket.as_fd());
        }
        let any = !removed.is_empty();
        for socket in removed {
            await_last(&socket);
        }
        any
    }

    /// Sends an IKE message from a bound address and port, adding the non-ESP marker on port 4500. Never blocks.
    ///
    /// # Errors
    /// `NotConnected` if `local` is not bound; otherwise the kernel's, `WouldBlock` if the socket is full.
    pub fn send_ike(&self, local: SocketAddr, remote: SocketAddr, message: &[u8]) -> io::Result<()> {
        let tables = self.shared.tables();
        let socket = tables.by_address.get(&local).ok_or(io::ErrorKind::NotConnected)?;
        socket.send_ike(remote, message)
    }

    /// Adds a connection's TUN device. `group` is the gateway whose bandwidth it shares. Until [`Datapath::set_outbound`], what
    /// comes out of the device is dropped and counted.
    ///
    /// # Errors
    /// [`DatapathError::TunnelExists`], [`DatapathError::Watch`].
    pub fn add_tunnel(&self, id: ConnectionId, group: VpnGatewayId, tun: Tun) -> Result<(), DatapathError> {
        let tunnel = Arc::new(Tunnel::new(id, self.shared.token(), tun, group, self.group(group)));
        let added = self.shared.change(|tables| {
            let free = !tables.by_id.contains_key(&id);
            if free {
                tables.tunnels.insert(tunnel.token, Arc::clone(&tunnel));
                tables.by_id.insert(id, Arc::clone(&tunnel));
            }
            free
        });
        if !added {
            return Err(DatapathError::TunnelExists(id));
        }
        let data = epoll::EventData::new_u64(tunnel.token);
        if let Err(error) = epoll::add(&self.shared.transmit.epoll, &tunnel.tun, data, epoll::EventFlags::IN) {
            drop(tunnel);
            drop(self.remove_tunnel(id));
            return Err(DatapathError::Watch(error.into()));
        }
        Ok(())
    }

    /// Removes a tunnel with all its associations and closes its TUN device, which the kernel then deletes.
    ///
    /// # Errors
    /// [`DatapathError::NoTunnel`].
    pub fn remove_tunnel(&self, id: ConnectionId) -> Result<(), DatapathError> {
        let (tunnel, associations) = self.shared.change(|tables| {
            let Some(tunnel) = tables.by_id.remove(&id) else { return Err(DatapathError::NoTunnel(id)) };
            tables.tunnels.remove(&tunnel.token);
            let associations: Vec<_> =
                tables.inbound.extract_if(|_, installed| installed.tunnel.id == id).map(|(_, entry)| entry).collect();
            Ok((tunnel, associations))
        })?;
        let _ = epoll::delete(&self.shared.transmit.epoll, &tunnel.tun);
        for installed in associations {
            await_last(&installed);
        }
        await_last(&tunnel);
        Ok(())
    }

    /// Installs an association to receive with.
    ///
    /// # Errors
    /// [`DatapathError::NoTunnel`], [`DatapathError::SpiInUse`].
    pub fn install_inbound(&self, tunnel: ConnectionId, inbound: Inbound) -> Result<(), DatapathError> {
        self.shared.change(|tables| {
            let Some(tunnel) = tables.by_id.get(&tunnel) else { return Err(DatapathError::NoTunnel(tunnel)) };
            let (local, spi) = (inbound.local, inbound.spi);
            if tables.inbound.contains_key(&(local, spi)) {
                return Err(DatapathError::SpiInUse { local, spi });
            }
            tables.inbound.insert((local, spi), Arc::new(Installed::new(inbound, Arc::clone(tunnel))));
            Ok(())
        })
    }

    /// Removes an inbound association. Whether there was one.
    pub fn remove_inbound(&self, local: IpAddr, spi: u32) -> bool {
        let removed = self.shared.change(|tables| tables.inbound.remove(&(local, spi)));
        removed.is_some()
    }

    /// Sets what the tunnel sends with, replacing what it had between two packets; `None` drops what it would send.
    ///
    /// # Errors
    /// [`DatapathError::NoTunnel`].
    pub fn set_outbound(&self, tunnel: ConnectionId, outbound: Option<Outbound>) -> Result<(), DatapathError> {
        self.tunnel(tunnel)?.set_outbound(outbound);
        Ok(())
    }

    /// Reports the next packet out of the tunnel that has one of these inner source addresses; none: reports nothing. What becomes of
    /// the packet is the packet filter's business.
    ///
    /// # Errors
    /// [`DatapathError::NoTunnel`].
    pub fn watch_sources(&self, tunnel: ConnectionId, sources: Vec<IpAddr>) -> Result<(), DatapathError> {
        self.tunnel(tunnel)?.watch_sources(sources);
        Ok(())
    }

    /// Points what the tunnel sends from `local` to a new endpoint of the peer. Without effect while it sends from elsewhere.
    ///
    /// # Errors
    /// [`DatapathError::NoTunnel`].
    pub fn set_remote(&self, tunnel: ConnectionId, local: IpAddr, remote: SocketAddr) -> Result<(), DatapathError> {
        self.tunnel(tunnel)?.move_remote(local, remote);
        Ok(())
    }

    /// Where the tunnel sends to now, moves included.
    #[must_use]
    pub fn remote(&self, tunnel: ConnectionId) -> Option<SocketAddr> {
        Some(self.tunnel(tunnel).ok()?.outbound()?.remote)
    }

    /// Limits the gateway's tunnels together to `bits_per_second` of inner packets in each direction; 0 lifts the limit. It may be
    /// set before the first tunnel is added, and outlives the last one: see [`Datapath::remove_group`].
    pub fn set_limits(&self, group: VpnGatewayId, bits_per_second: u64) {
        let limits = self.group(group);
        let now = Instant::now();
        limits.inbound.set(bits_per_second, now);
        limits.outbound.set(bits_per_second, now);
    }

    /// Forgets a gateway's limit. Tunnels that it still has keep theirs.
    pub fn remove_group(&self, group: VpnGatewayId) {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner).remove(&group);
    }

    /// The tunnel's counters, both outer families together; `None` if there is no such tunnel.
    #[must_use]
    pub fn counters(&self, tunnel: ConnectionId) -> Option<TunnelCounters> {
        Some(self.tunnel(tunnel).ok()?.counters.snapshot(None))
    }

    /// The tunnel's counters of one outer family. Drops that happen before a family is chosen (`no_sa`, …) are in
    /// [`Datapath::counters`] only.
    #[must_use]
    pub fn family_counters(&self, tunnel: ConnectionId, family: Family) -> Option<TunnelCounters> {
        Some(self.tunnel(tunnel).ok()?.counters.snapshot(Some(family)))
    }

    /// Drops that belong to no tunnel, by [`DropReason`](crate::DropReason) label.
    #[must_use]
    pub fn drops(&self) -> BTreeMap<String, u64> {
        let mut sums = BTreeMap::new();
        self.shared.drops.add_to(&mut sums);
        sums
    }

    /// Authentic packets that an inbound association has received.
    #[must_use]
    pub fn inbound_packets(&self, local: IpAddr, spi: u32) -> Option<u64> {
        Some(self.shared.tables().inbound.get(&(local, spi))?.packets())
    }

    /// Packets that the tunnel's present outbound association has sealed.
    #[must_use]
    pub fn sent_packets(&self, tunnel: ConnectionId) -> Option<u64> {
        Some(self.tunnel(tunnel).ok()?.outbound()?.sa.packets_sent())
    }

    /// Signs of life of the threads, for a supervisor.
    #[must_use]
    pub fn heartbeats(&self) -> [Heartbeat; 2] {
        [(&self.shared.transmit, &self.transmit), (&self.shared.receive, &self.receive)].map(|(worker, thread)| {
            Heartbeat {
                thread: worker.name,
                beats: worker.beats.load(Ordering::Relaxed),
                running: thread.as_ref().is_some_and(|thread| !thread.is_finished()),
            }
        })
    }

    fn tunnel(&self, id: ConnectionId) -> Result<Arc<Tunnel>, DatapathError> {
        self.shared.tables().by_id.get(&id).cloned().ok_or(DatapathError::NoTunnel(id))
    }

    fn group(&self, id: VpnGatewayId) -> Arc<Group> {
        Arc::clone(self.groups.lock().unwrap_or_else(PoisonError::into_inner).entry(id).or_default())
    }
}

impl Drop for Datapath {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        for (worker, thread) in
            [(&self.shared.transmit, self.transmit.take()), (&self.shared.receive, self.receive.take())]
        {
            worker.wake();
            if thread.is_some_and(|thread| thread.join().is_err()) {
                tracing::error!(thread = worker.name, "a packet thread panicked");
            }
        }
    }
}

fn spawn(
    shared: &Arc<Shared>,
    name: &'static str,
    run: fn(&Shared) -> io::Result<()>,
) -> Result<JoinHandle<()>, DatapathError> {
    let shared = Arc::clone(shared);
    let body = move || {
        if let Err(error) = run(&shared) {
            tracing::error!(thread = name, %error, "a packet thread ended");
        }
    };
    std::thread::Builder::new().name(name.to_owned()).spawn(body).map_err(DatapathError::Start)
}

/// Waits until nobody else holds `last`, so that dropping it frees what it owns. A packet thread holds on to a thing only during
/// one batch; if that takes longer than the patience, the thing is freed by the thread.
fn await_last<T>(last: &Arc<T>) {
    let deadline = Instant::now() + REMOVAL_PATIENCE;
    while Arc::strong_count(last) > 1 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_micros(50));
    }
}
