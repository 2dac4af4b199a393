//! From the packet path to the gateways, and to whoever makes the tunnels between nodes: a task beside the node's main one, so that a gateway goes on answering its peers while the
//! node is busy with others' configuration. It never waits.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};

use causeway_datapath::{Event as PathEvent, EventReceiver, IkeDatagram, IkeReceiver};
use causeway_fleet::witness::PORT;
use causeway_model::{ConnectionId, VpnGatewayId};
use tokio::sync::mpsc;

/// Words waiting for a gateway.
pub(crate) const QUEUE: usize = 512;
/// Room that IKE messages leave to events, which are not sent again by anybody.
const KEPT_FOR_EVENTS: usize = QUEUE / 4;

/// To a gateway.
pub(crate) enum Word {
    /// An IKE message for one of its addresses.
    Ike(IkeDatagram),
    /// From the packet path.
    Path(PathEvent),
}

/// Who gets what.
#[derive(Default)]
pub(crate) struct Directory(RwLock<Entries>);

#[derive(Default)]
struct Entries {
    gateways: HashMap<VpnGatewayId, Known>,
    addresses: HashMap<IpAddr, VpnGatewayId>,
    connections: HashMap<ConnectionId, VpnGatewayId>,
    /// Whoever makes the tunnels to other nodes, and what these are called on the packet path.
    peering: Option<(mpsc::Sender<Word>, BTreeSet<ConnectionId>)>,
}

struct Known {
    words: mpsc::Sender<Word>,
    addresses: BTreeSet<IpAddr>,
    connections: BTreeSet<ConnectionId>,
}

impl Entries {
    fn remove(&mut self, id: VpnGatewayId) {
        let Some(known) = self.gateways.remove(&id) else { return };
        // What went over to another one meanwhile is that one's.
        for address in known.addresses {
            if self.addresses.get(&address) == Some(&id) {
                self.addresses.remove(&address);
            }
        }
        for connection in known.connections {
            if self.connections.get(&connection) == Some(&id) {
                self.connections.remove(&connection);
            }
        }
    }
}

impl Entries {
    fn of_address(&self, address: IpAddr) -> Option<&mpsc::Sender<Word>> {
        self.addresses.get(&address).and_then(|id| self.gateways.get(id)).map(|known| &known.words)
    }

    fn of_tunnel(&self, tunnel: ConnectionId) -> Option<&mpsc::Sender<Word>> {
        if let Some((words, _)) = self.peering.as_ref().filter(|(_, tunnels)| tunnels.contains(&tunnel)) {
            return Some(words);
        }
        self.connections.get(&tunnel).and_then(|id| self.gateways.get(id)).map(|known| &known.words)
    }
}

impl Directory {
    /// Enters a gateway, in place of what it had here before. There is no moment in which it is not here: events are not sent again.
    pub(crate) fn put(
        &self,
        id: VpnGatewayId,
        addresses: impl IntoIterator<Item = IpAddr>,
        connections: impl IntoIterator<Item = ConnectionId>,
        words: mpsc::Sender<Word>,
    ) {
        let known =
            Known { words, addresses: addresses.into_iter().collect(), connections: connections.into_iter().collect() };
        let same = |before: &Known| {
            before.words.same_channel(&known.words)
                && (&before.addresses, &before.connections) == (&known.addresses, &known.connections)
        };
        if self.0.read().unwrap_or_else(PoisonError::into_inner).gateways.get(&id).is_some_and(same) {
            return;
        }
        let mut entries = self.0.write().unwrap_or_else(PoisonError::into_inner);
        entries.remove(id);
        entries.addresses.extend(known.addresses.iter().map(|address| (*address, id)));
        entries.connections.extend(known.connections.iter().map(|connection| (*connection, id)));
        entries.gateways.insert(id, known);
    }

    /// Enters whoever makes the tunnels to other nodes, in place of what was here before.
    pub(crate) fn put_peering(&self, words: mpsc::Sender<Word>, tunnels: BTreeSet<ConnectionId>) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).peering = Some((words, tunnels));
    }

    /// Forgets a gateway.
    pub(crate) fn remove(&self, id: VpnGatewayId) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(id);
    }

    /// Hands over until the packet path is gone.
    pub(crate) async fn serve(self: Arc<Self>, mut ike: IkeReceiver, mut events: EventReceiver) {
        loop {
            tokio::select! {
                datagram = ike.recv() => match datagram {
                    Some(datagram) => self.ike(datagram),
                    None => return,
                },
                event = events.recv() => match event {
                    Some(event) => self.path(event),
                    None => return,
                },
            }
        }
    }

    fn ike(&self, datagram: IkeDatagram) {
        let entries = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let words = match datagram.local.port() {
            PORT => entries.peering.as_ref().map(|(words, _)| words),
            _ => entries.of_address(datagram.local.ip()),
        };
        // A full queue loses it, as the network might: IKE retransmits.
        if let Some(words) = words.filter(|words| words.capacity() > KEPT_FOR_EVENTS) {
            let _ = words.try_send(Word::Ike(datagram));
        }
    }

    fn path(&self, event: PathEvent) {
        let entries = self.0.read().unwrap_or_else(PoisonError::into_inner);
        // Hints are what peers and strangers can cause.
        let (words, room) = match &event {
            PathEvent::FirstInbound { tunnel, .. } | PathEvent::RemoteMoved { tunnel, .. } => {
                (entries.of_tunnel(*tunnel), 0)
            }
            PathEvent::SourceSeen { tunnel, .. } => (entries.of_tunnel(*tunnel), QUEUE / 2),
            PathEvent::Unreachable { local, .. } => {
                // The address may be the node's own, too.
                if let Some((words, _)) = entries.peering.as_ref().filter(|(words, _)| words.capacity() > QUEUE / 2) {
                    let _ = words.try_send(Word::Path(event.clone()));
                }
                (entries.of_address(*local), QUEUE / 2)
            }
        };
        if let Some(words) = words.filter(|words| words.capacity() > room) {
            let _ = words.try_send(Word::Path(event));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn datagram(local: &str) -> IkeDatagram {
        IkeDatagram {
            local: local.parse().expect("an address"),
            remote: "203.0.113.1:500".parse().expect("an address"),
            payload: vec![0; 28],
        }
    }

    #[tokio::test]
    async fn a_flood_of_ike_leaves_room_for_events_and_other_gateways() {
        let directory = Directory::default();
        let (flooded, other) = (VpnGatewayId::random(), VpnGatewayId::random());
        let connection = ConnectionId::random();
        let (flooded_words, mut flooded_queue) = mpsc::channel(QUEUE);
        let (other_words, mut other_queue) = mpsc::channel(QUEUE);
        directory.put(flooded, [IpAddr::from([192, 0, 2, 1])], [connection], flooded_words);
        directory.put(other, [IpAddr::from([192, 0, 2, 2])], [], other_words);
        for _ in 0..2 * QUEUE {
            directory.ike(datagram("192.0.2.1:500"));
        }
        directory.path(PathEvent::FirstInbound { tunnel: connection, spi: 256 });
        directory.ike(datagram("192.0.2.2:500"));
        directory.ike(datagram("192.0.2.3:500"));
        let mut words = Vec::new();
        while let Ok(word) = flooded_queue.try_recv() {
            words.push(word);
        }
        assert_eq!(words.len(), QUEUE - KEPT_FOR_EVENTS + 1);
        assert!(matches!(words.last(), Some(Word::Path(PathEvent::FirstInbound { spi: 256, .. }))));
        assert!(matches!(other_queue.try_recv(), Ok(Word::Ike(_))));

        directory.remove(other);
        directory.ike(datagram("192.0.2.2:500"));
        assert!(other_queue.try_recv().is_err());
    }

    #[tokio::test]
    async fn what_comes_for_tunnels_between_nodes_is_theirs_on_a_gateways_address_too() {
        let directory = Directory::default();
        let [customers, peers] = [(); 2].map(|()| ConnectionId::random());
        let (gateway, mut gateways_queue) = mpsc::channel(QUEUE);
        let (peering, mut peering_queue) = mpsc::channel(QUEUE);
        directory.ike(datagram("192.0.2.1:4431"));
        directory.put(VpnGatewayId::random(), [IpAddr::from([192, 0, 2, 1])], [customers], gateway);
        directory.put_peering(peering, BTreeSet::from([peers]));
        directory.ike(datagram("192.0.2.1:4431"));
        directory.ike(datagram("192.0.2.1:4500"));
        for tunnel in [customers, peers] {
            directory.path(PathEvent::FirstInbound { tunnel, spi: 256 });
        }
        for (queue, port, tunnel) in [(&mut gateways_queue, 4500, customers), (&mut peering_queue, 4431, peers)] {
            assert!(matches!(queue.try_recv(), Ok(Word::Ike(datagram)) if datagram.local.port() == port));
            let event = queue.try_recv();
            assert!(matches!(event, Ok(Word::Path(PathEvent::FirstInbound { tunnel: of, .. })) if of == tunnel));
            assert!(queue.try_recv().is_err());
        }
    }

    #[tokio::test]
    async fn a_gateway_is_never_away_while_it_is_entered_again() {
        let directory = Arc::new(Directory::default());
        let id = VpnGatewayId::random();
        let [kept, other] = [(); 2].map(|()| ConnectionId::random());
        let (words, mut queue) = mpsc::channel(QUEUE);
        let enter = {
            let directory = Arc::clone(&directory);
            move |connections: &[ConnectionId]| {
                directory.put(id, [IpAddr::from([192, 0, 2, 1])], connections.iter().copied(), words.clone());
            }
        };
        enter(&[kept]);
        let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let entering = std::thread::spawn(move || {
            let mut times = 0_u32;
            while !stopped.load(std::sync::atomic::Ordering::Relaxed) || times < 2 {
                for connections in [&[kept][..], &[kept, other], &[kept, other]] {
                    enter(connections);
                }
                times += 1;
            }
        });
        for spi in 256..20_256 {
            directory.path(PathEvent::FirstInbound { tunnel: kept, spi });
            assert!(
                matches!(queue.try_recv(), Ok(Word::Path(PathEvent::FirstInbound { spi: came, .. })) if came == spi)
            );
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        entering.join().expect("it ends");
        directory.path(PathEvent::FirstInbound { tunnel: other, spi: 256 });
        assert!(queue.try_recv().is_ok());
        directory.put(id, [], [kept], mpsc::channel(1).0);
        directory.path(PathEvent::FirstInbound { tunnel: other, spi: 256 });
        assert!(queue.try_recv().is_err(), "what it does not have any more does not lead to it");
    }
}
