//! What the packet threads tell the control task.

use std::net::{IpAddr, SocketAddr};

use causeway_model::ConnectionId;
use tokio::sync::mpsc;

/// An IKE message from the underlay.
#[derive(Clone, PartialEq, Eq)]
pub struct IkeDatagram {
    /// Our address and port (500 or 4500).
    pub local: SocketAddr,
    /// Who sent it.
    pub remote: SocketAddr,
    /// The message, from its IKE header on: the non-ESP marker is removed.
    pub payload: Vec<u8>,
}

impl std::fmt::Debug for IkeDatagram {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IkeDatagram")
            .field("local", &self.local)
            .field("remote", &self.remote)
            .field("octets", &self.payload.len())
            .finish()
    }
}

/// Where IKE messages come out. Bounded; what does not fit is dropped and counted, as if the network had lost it.
pub type IkeReceiver = mpsc::Receiver<IkeDatagram>;

/// Where events come out. Bounded.
pub type EventReceiver = mpsc::Receiver<Event>;

/// Something on the packet path that IKE has to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The first authentic packet on an inbound association. Reported once.
    FirstInbound {
        /// The connection.
        tunnel: ConnectionId,
        /// The association's SPI.
        spi: u32,
    },
    /// Authentic packets come from a new endpoint (a NAT changed its mapping). If the tunnel sends from the same local address,
    /// it sends to the new endpoint already.
    RemoteMoved {
        /// The connection.
        tunnel: ConnectionId,
        /// The association that the packet came on.
        spi: u32,
        /// The new endpoint.
        remote: SocketAddr,
    },
    /// An authentic packet has one of the source addresses that [`crate::Datapath::watch_sources`] asked for. Reported once for each call.
    SourceSeen {
        /// The connection.
        tunnel: ConnectionId,
        /// The source.
        source: IpAddr,
    },
    /// A router or the peer's host answered that it can't be reached (ICMP). Anyone can forge that: it is a hint to look, not a fact. Not
    /// reported while the queue is half full.
    Unreachable {
        /// Our address.
        local: IpAddr,
        /// The address that was sent to.
        remote: IpAddr,
    },
}
