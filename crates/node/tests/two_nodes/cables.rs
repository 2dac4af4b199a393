//! A gateway on one node, its VPC's router on another (ADR 0039).
//!
//! ```text
//! host a ── bridge [machine c: router] up0 ──── mg0 [machine a: gateway] up0 ──── up0 [machine b] bridge ── host b
//! ```

use causeway_linux::Namespace;
use causeway_model::NodeId;
use causeway_model::desired::{CableDesired, Peer};
use causeway_model::observed::RouteDecision;

use crate::world::{Outside, Side, World, sh, wait_for, within};

/// Both networks of the tests, as they are announced.
const OURS: &str = "10.1.0.0/24";
const THEIRS: &str = "10.2.0.0/24";

/// The usual world, but for the place of a's router, and the node that has it.
struct Stage {
    world: World,
    c: Side,
    ids: [NodeId; 2],
}

impl Stage {
    fn new(test: &str) -> Self {
        let (mut a, b) = (Side::new(test, 1, Outside::Ipv4), Side::new(test, 2, Outside::Ipv4));
        let mut c = Side::new(test, 3, Outside::Ipv4);
        let path = |side: &Side| side.machine.0.path().display().to_string();
        sh(&a.machine.0, &format!("ip link add up0 type veth peer name up0 netns {}", path(&b)));
        sh(&a.machine.0, &format!("ip link add mg0 type veth peer name up0 netns {}", path(&c)));
        a.address_underlay();
        b.address_underlay();
        sh(&a.machine.0, "ip link set mg0 up");
        sh(&a.machine.0, "ip addr add 198.51.100.1/24 dev mg0");
        sh(&c.machine.0, "ip link set up0 up");
        sh(&c.machine.0, "ip addr add 198.51.100.3/24 dev up0");
        let ids = [(); 2].map(|()| NodeId::random());
        for (side, me, other, host) in [(&mut a, 0, 1, 3_u8), (&mut c, 1, 0, 1)] {
            side.peering = Some(format!("{} 198.51.100.{host}", ids[me]));
            let address = format!("198.51.100.{host}:4431").parse().expect("an address");
            let key = serde_json::from_value(serde_json::json!(b"only between these two".to_vec())).expect("a key");
            side.desired.peers = vec![Peer { node: ids[other], address, key: Some(key), asks: true }];
        }
        c.desired.gateways.clear();
        c.desired.vpcs.clear();
        let mut stage = Self { world: World { a, b }, c, ids };
        stage.route_at_c();
        for side in [&mut stage.world.a, &mut stage.world.b, &mut stage.c] {
            side.start();
        }
        stage.world.b.connect_host();
        stage.world.a.connect_host_on(&stage.c.machine.0);
        stage
    }

    /// The router of a's VPC is on the other node.
    fn route_at_c(&mut self) {
        let [here, there] = self.ids;
        let gateway = &self.world.a.desired.gateways[0];
        let cable = CableDesired {
            gateway: gateway.id,
            node: there,
            number: 7,
            network: gateway.network,
            addresses: gateway.private_addresses.clone(),
        };
        let mut vpc = self.world.a.desired.vpcs[0].clone();
        (vpc.router, vpc.cables) = (None, vec![CableDesired { node: here, ..cable.clone() }]);
        self.c.edit(|desired| desired.vpcs = vec![vpc]);
        self.world.a.edit(|desired| {
            (desired.vpcs[0].router, desired.vpcs[0].cables) = (Some(there), vec![cable]);
        });
    }

    fn flaps(&self) -> u32 {
        let facts = self.world.a.connection().expect("facts");
        facts.sessions.iter().map(|session| session.flaps).sum()
    }

    /// The router's route to the other site.
    fn routed(&self) -> String {
        let router = Namespace::open(&self.world.a.router_namespace()).expect("the router's namespace");
        sh(&router, &format!("ip route show {THEIRS}"))
    }
}

#[test]
#[ignore = "needs root, /dev/net/tun and nft"]
fn a_gateway_hangs_on_the_router_of_another_node() {
    let mut stage = Stage::new("cable");
    stage.world.wait_up();
    stage.world.wait_flow();
    let hops = stage.world.a.host.hops("10.2.0.10");
    assert_eq!(hops, ["10.1.0.1", "10.1.0.2", "169.254.0.2", "10.2.0.1", "10.2.0.10"], "as on one node");
    stage.world.fits_exactly(1280);
    wait_for("c's word of the route", || stage.world.a.received(THEIRS) == Some(RouteDecision::Installed));

    // Whoever has no cable is not let in, and neither is what says that it has another node's address.
    let inside = Namespace::open(&format!("cwp-{}", &stage.ids[1].to_string()[..8])).expect("inside of c's tunnels");
    let rules = sh(&inside, "nft list ruleset");
    assert!(rules.contains("udp dport 4789 @th,96,24 0x7 accept") && rules.contains("ip6 saddr !="), "{rules}");

    // The router goes to the gateway's node. Tunnels and sessions go on.
    stage.c.edit(|desired| desired.vpcs.clear());
    stage.c.wait_applied();
    stage.world.a.edit(|desired| (desired.vpcs[0].router, desired.vpcs[0].cables) = (None, Vec::new()));
    sh(&stage.world.a.host.0, "ip link delete eth0");
    stage.world.a.connect_host();
    stage.world.a.wait_applied();
    stage.world.wait_flow();
    assert_eq!(stage.flaps(), 0, "the sessions went on");
}

#[test]
#[ignore = "needs root, /dev/net/tun and nft"]
fn what_is_cut_off_is_not_announced_and_what_is_gone_is_not_routed() {
    let mut stage = Stage::new("cut");
    stage.world.wait_up();
    stage.world.wait_flow();
    assert!(!stage.routed().is_empty());

    // Without its router the gateway has nothing to announce. Its sessions go on.
    stage.c.kill();
    wait_for("the announcement is withdrawn", || stage.world.b.received(OURS).is_none());
    let cut = RouteDecision::Withheld { because: "router_unreachable".to_owned() };
    wait_for("no route is in force", || stage.world.a.received(THEIRS).as_ref() == Some(&cut));
    assert_eq!((stage.world.a.sessions_up(), stage.flaps()), (2, 0));
    stage.c.start();
    wait_for("it is announced again", || stage.world.b.received(OURS) == Some(RouteDecision::Installed));
    let bridge = stage.world.a.bridge();
    assert!(within(&stage.c.machine.0, &format!("ip link show {bridge}")).is_some(), "hosts stay attached");
    stage.world.wait_flow();

    // What a node has learned that is not heard any more leads nowhere.
    stage.world.a.kill();
    wait_for("the route goes", || stage.routed().is_empty());
    stage.world.a.start();
    stage.world.wait_up();
    wait_for("the route is back", || !stage.routed().is_empty());
    stage.world.wait_flow();
}
