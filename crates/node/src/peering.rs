//! Tunnels to other nodes of the zone (ADR 0037): the node's own IKE and ESP, over the packet threads that carry customers' packets, on one UDP port
//! of the management address. What is inside is a namespace of its own with the exchange of [`causeway_fleet::witness`], so that an answered question
//! proves sockets, packet threads, IKE and TUN devices of both nodes; and what VPCs with gateways on several nodes need (ADR 0039): cables and [`share`].

mod actor;
mod place;
mod share;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use causeway_fleet::listener::Board;
use causeway_fleet::witness::{PORT, Tunnels};
use causeway_model::NodeId;
use causeway_model::desired::Peer;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;

pub(crate) use actor::{Around, start};
use place::inside_address;
pub(crate) use place::{CABLE_MACS, CABLE_MTU, Inside, namespace_name};
pub(crate) use share::{Exchange, Heard, Sharing};

/// The numbers of the cables to each node.
pub(crate) type Cables = BTreeMap<NodeId, BTreeSet<u32>>;

/// Connections that wait to be accepted: no more are open at once.
const BACKLOG: u32 = 32;

struct Shared {
    /// Host and port of the controller: the address that is used on the way there is the management address.
    controller: (String, u16),
    /// To which nodes tunnels shall lead.
    wanted: watch::Sender<Vec<Peer>>,
    /// Where they end here.
    end: watch::Sender<Option<SocketAddr>>,
    /// What is inside, once it is there.
    inside: watch::Sender<Option<Inside>>,
    /// The numbers of the cables to each node.
    cables: watch::Sender<Cables>,
    /// To whom a tunnel is up.
    up: watch::Sender<BTreeSet<NodeId>>,
    board: Option<Board>,
}

/// A node's tunnels to others of its zone. Clones are handles of the same ones: one for [`crate::NodeConfig::peering`], which makes them, one for
/// whoever asks and answers through them.
#[derive(Clone)]
pub struct Peering(Arc<Shared>);

impl fmt::Debug for Peering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peering").field("end", &*self.0.end.borrow()).finish_non_exhaustive()
    }
}

impl Peering {
    /// Tunnels of a node that reaches its controller at this host and port. How they are goes onto the board. Nothing is done before the node
    /// runs.
    #[must_use]
    pub fn new(controller: (String, u16), board: Option<Board>) -> Self {
        Self(Arc::new(Shared {
            controller,
            wanted: watch::Sender::default(),
            end: watch::Sender::default(),
            inside: watch::Sender::default(),
            cables: watch::Sender::default(),
            up: watch::Sender::default(),
            board,
        }))
    }

    /// Lets in what comes by these cables, and by no others.
    pub(crate) fn admit(&self, cables: Cables) {
        self.0.cables.send_if_modified(|known| {
            let is_news = *known != cables;
            *known = cables;
            is_news
        });
    }

    /// The inside, if there is one by now.
    pub(crate) fn inside_now(&self) -> Option<Inside> {
        self.0.inside.borrow().clone()
    }

    /// Waits until there is an inside.
    pub(crate) async fn inside(&self) -> Inside {
        let mut inside = self.0.inside.subscribe();
        loop {
            if let Some(inside) = inside.borrow_and_update().clone() {
                return inside;
            }
            // The sender lives as long as this handle.
            let _ = inside.changed().await;
        }
    }
}

impl Tunnels for Peering {
    fn lead_to(&self, peers: &[Peer]) {
        self.0.wanted.send_if_modified(|wanted| {
            let is_news = wanted != peers;
            if is_news {
                *wanted = peers.to_vec();
            }
            is_news
        });
    }

    fn end(&self) -> Option<SocketAddr> {
        *self.0.end.borrow()
    }

    async fn listen(&self) -> io::Result<TcpListener> {
        self.listen_on(PORT).await
    }

    async fn connect(&self, node: NodeId, patience: Duration) -> io::Result<TcpStream> {
        self.connect_to(node, PORT, patience).await
    }
}

impl Peering {
    async fn listen_on(&self, port: u16) -> io::Result<TcpListener> {
        let inside = self.inside().await;
        let socket = inside.socket()?;
        socket.set_reuseaddr(true)?;
        socket.bind(SocketAddr::new(IpAddr::V6(inside.own), port))?;
        socket.listen(BACKLOG)
    }

    async fn connect_to(&self, node: NodeId, port: u16, patience: Duration) -> io::Result<TcpStream> {
        let inside = self.inside().await;
        let mut up = self.0.up.subscribe();
        let is_up = |up: &BTreeSet<NodeId>| up.contains(&node);
        up.wait_for(is_up).await.map_err(io::Error::other)?;
        let socket = inside.socket()?;
        socket.bind(SocketAddr::new(IpAddr::V6(inside.own), 0))?;
        let connecting = socket.connect(SocketAddr::new(IpAddr::V6(inside_address(node)), port));
        tokio::select! {
            connected = timeout(patience, connecting) => connected.map_err(|_| io::ErrorKind::TimedOut)?,
            // What it says reaches nobody, and the next tunnel need not wait for its repetition.
            _ = up.wait_for(|up| !is_up(up)) => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}
