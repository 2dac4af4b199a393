//! A whole node in a namespace of its own with two gateways that are each other's device: what tests of a running node begin with.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use causeway_crypto::Entropy;
use causeway_datapath::{Datapath, DatapathConfig};
use causeway_fleet::{ControllerEnd, FromNode};
use causeway_model::desired::{
    BgpDesired, ConnectionDesired, GatewayDesired, NetworkDesired, NodeDesired, PolicyDesired, Timers, TunnelDesired,
    VpcDesired,
};
use causeway_model::observed::{ConnectionFacts, NodeReport, TunnelFacts};
use causeway_model::suite::Cipher;
use causeway_model::{ConnectionId, NodeId, PrivateNetworkId, Psk, ReasonCode, VpcId, VpnGatewayId};
use ipnet::IpNet;
use tokio_util::sync::CancellationToken;

use super::connection::bare_connection;
use crate::NodeConfig;
use crate::property::kernel::Room;
use crate::supervisor::run_on;

/// Attempts are seconds apart; this only ends a test that failed.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);
/// The kernel is looked at again after this long without news.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// BGP and dead peer detection wait for longer than any test: whatever a test sees, no silence has caused it.
const SILENCE: u16 = 3600;

/// The public address of gateway 0 or 1.
pub(super) fn outside(gateway: usize) -> IpAddr {
    IpAddr::from([192, 0, 2, if gateway == 0 { 1 } else { 2 }])
}

/// The subnet of its Private Network, which it announces.
pub(super) fn subnet(gateway: usize) -> IpNet {
    format!("10.{gateway}.0.0/24").parse().expect("a prefix")
}

/// Everything of gateway 0, which starts, or 1.
fn desired(number: usize) -> (VpcDesired, GatewayDesired) {
    let (vpc, network, other) = (VpcId::random(), PrivateNetworkId::random(), 1 - number);
    let net = |text: String| text.parse::<IpNet>().expect("a prefix");
    let inside = |number: usize| net(format!("169.254.0.{}/30", number + 1));
    let asn = |number: usize| if number == 0 { 64_512 } else { 64_513 };
    let lists = PolicyDesired { prefix_filter_in: vec![subnet(other)], prefix_filter_out: vec![subnet(number)] };
    let connection = ConnectionDesired {
        initiate: number == 0,
        ike_proposals: vec![Cipher::DEFAULT_IKE],
        esp_proposals: vec![Cipher::DEFAULT_ESP],
        psks: vec![Psk::new(b"only for this test".to_vec())],
        peer_asn: asn(other),
        bgp: vec![BgpDesired { local: inside(number), peer: inside(other), policy: Some(lists) }],
        timers: Timers { dpd_delay: SILENCE.into(), hold_time: SILENCE, ..Timers::default() },
        ..bare_connection(TunnelDesired { local: outside(number), peer: outside(other) })
    };
    let gateway = GatewayDesired {
        id: VpnGatewayId::random(),
        vpc,
        network,
        revision: 1,
        asn: asn(number),
        private_addresses: vec![net(format!("10.{number}.0.2/24"))],
        public_addresses: vec![outside(number)],
        bandwidth: 0,
        locked: false,
        connections: vec![connection],
    };
    let network = NetworkDesired { id: network, subnets: vec![subnet(number)], bridge: None };
    (VpcDesired::new(vpc, vec![network]), gateway)
}

/// The controller's side of the node.
pub(super) struct Controller {
    end: ControllerEnd,
    pub(super) desired: NodeDesired,
    report: NodeReport,
    /// Keepalives heard. The node says one whenever it has looked after everything, changed or not.
    pub(super) keepalives: u32,
}

impl Controller {
    /// Changes what the node shall run.
    pub(super) fn edit(&mut self, change: impl FnOnce(&mut NodeDesired)) {
        change(&mut self.desired);
        let NodeDesired { revision, vpcs, gateways, .. } = &mut self.desired;
        *revision += 1;
        vpcs.iter_mut().for_each(|vpc| vpc.revision = *revision);
        for gateway in gateways {
            gateway.revision = *revision;
            gateway.connections.iter_mut().for_each(|connection| connection.revision = *revision);
        }
        self.end.desired.send(Arc::new(self.desired.clone())).expect("the node runs");
    }

    /// A connection, as it was reported last.
    pub(super) fn connection(&self, id: ConnectionId) -> Option<&ConnectionFacts> {
        self.report.connections.iter().find(|facts| facts.id == id)
    }

    /// The tunnel of a connection.
    pub(super) fn tunnel(&self, id: ConnectionId) -> Option<&TunnelFacts> {
        self.connection(id)?.tunnels.first()
    }

    /// Waits until things are as `look` wants them, in the reports or in the kernel.
    pub(super) async fn wait(&mut self, what: &str, mut look: impl FnMut(&Self) -> bool) {
        let begun = tokio::time::Instant::now();
        while !look(self) {
            assert!(begun.elapsed() < PATIENCE, "{what}: {:#?}", self.report);
            match tokio::time::timeout(LOOK_AGAIN, self.end.reports.recv()).await {
                Ok(Some(FromNode::Report(report))) => self.report = report,
                Ok(Some(FromNode::Keepalive { .. })) => self.keepalives += 1,
                Ok(Some(_)) | Err(_) => {}
                Ok(None) => panic!("{what}: the node has ended"),
            }
        }
    }

    pub(super) fn is_up(&self, connection: ConnectionId) -> bool {
        self.tunnel(connection).is_some_and(|tunnel| tunnel.up && tunnel.ike.is_some() && tunnel.fault.is_none())
    }

    pub(super) fn is_down(&self, connection: ConnectionId, code: ReasonCode) -> bool {
        let fault = self.tunnel(connection).filter(|tunnel| !tunnel.up).and_then(|tunnel| tunnel.fault.as_ref());
        fault.is_some_and(|fault| fault.code == code)
    }
}

/// Runs a node on a machine of its own, and `scenario` once the tunnel between its two gateways is up. Gets the connections of gateway 0 and 1.
pub(super) fn play(
    name: &str,
    entropy: fn() -> Box<dyn Entropy>,
    scenario: impl AsyncFnOnce(&mut Controller, &Datapath, [ConnectionDesired; 2]) + Send,
) {
    let machine = Room::new(name);
    for line in
        ["ip link set lo up", "ip link add up0 type veth peer name up1", "ip link set up0 up", "ip link set up1 up"]
    {
        let words: Vec<&str> = line.split(' ').collect();
        assert!(machine.0.command(&words).expect("ip starts").status.success(), "{line}");
    }
    let state_dir = std::env::temp_dir().join(format!("{name}-{}", std::process::id()));
    let config = NodeConfig {
        id: NodeId::random(),
        zone: "fr-par-1".to_owned(),
        underlay: "up0".to_owned(),
        state_dir: state_dir.clone(),
        version: String::new(),
        lease: None,
        peering: None,
    };
    let test = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let (end, node_end) = causeway_fleet::in_process();
            let (datapath, ike) = Datapath::start(DatapathConfig::default()).expect("packet threads");
            let (datapath, shutdown) = (Arc::new(datapath), CancellationToken::new());
            let path = (Arc::clone(&datapath), ike);
            let node = tokio::spawn(run_on(path, entropy, config, node_end, shutdown.clone()));
            let (desired, report) = (NodeDesired::default(), NodeReport::default());
            let mut controller = Controller { end, desired, report, keepalives: 0 };
            let [(first_vpc, first), (second_vpc, second)] = [0, 1].map(self::desired);
            let connections = [&first, &second].map(|gateway| gateway.connections[0].clone());
            controller.edit(|desired| {
                (desired.vpcs, desired.gateways) = (vec![first_vpc, second_vpc], vec![first, second]);
            });
            let ids = connections.each_ref().map(|connection| connection.id);
            controller.wait("a tunnel", |it| ids.iter().all(|id| it.is_up(*id))).await;
            scenario(&mut controller, &datapath, connections).await;
            shutdown.cancel();
            node.await.expect("no panic").expect("an orderly end");
        });
    };
    machine.0.run(test).expect("the machine's namespace");
    std::fs::remove_dir_all(&state_dir).expect("removed");
}
