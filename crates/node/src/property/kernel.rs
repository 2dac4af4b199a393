//! Tables of the kernel: the router as the node runs it, with two Private Networks, and two gateways' namespaces behind it, in which pairs of
//! links stand for tunnels. Its access lists are compared, too, with the same lists in a namespace that has never had others.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use causeway_linux::filter::{AclFilter, AclTable};
use causeway_linux::route::MAIN_TABLE;
use causeway_linux::{AddressOptions, Namespace, Netlink, ROUTE_PROTOCOL, RouteTable, VethEnd, sysctl};
use causeway_model::desired::VpcDesired;
use causeway_model::{ConnectionId, Family, RouteId};
use ipnet::IpNet;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use tokio::sync::Notify;

use super::device::inside;
use super::world::{PRIVATE, Shown, World, nets, shown};
use super::{Stage, events, run};
use crate::host::{Host, host_net};
use crate::routes::Chosen;
use crate::table::{Installer, Wish};
use crate::vpc::{BARE, GATEWAY_LINK, GATEWAY_LINK_LOCAL, VpcRouter};

/// The kernel takes milliseconds; this only ends a test that failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// A namespace that is deleted when dropped.
pub(crate) struct Room(pub(crate) Namespace);

impl Room {
    pub(crate) fn new(name: &str) -> Self {
        Namespace::delete(name).expect("clear what an earlier run left");
        Self(Namespace::create(name).expect("a namespace"))
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let _ = Namespace::delete(self.0.name());
    }
}

/// The access lists that are in force.
fn lists(namespace: &Namespace) -> String {
    let output = namespace.command(&["nft", "-s", "list", "table", "inet", "causeway_acl"]).expect("nft starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    anonymous(&String::from_utf8_lossy(&output.stdout))
}

/// A listing of rules without the counters' declarations and numbers.
fn anonymous(listing: &str) -> String {
    let mut lines = Vec::new();
    let mut inside = false;
    for line in listing.lines() {
        inside = inside || line.trim_start().starts_with("chain ");
        if inside {
            let words = line.split(' ').map(|word| if word.contains("rule_") { "rule" } else { word });
            lines.push(words.collect::<Vec<_>>().join(" "));
        }
    }
    assert!(inside, "no chain in {listing}");
    lines.join("\n")
}

struct Gateway {
    room: Room,
    netlink: Netlink,
    installer: Installer<ConnectionId>,
    newest: Wish<ConnectionId>,
    links: (u32, [u32; 4]),
}

/// The test's own namespace is that of a machine: bridges are made in it.
struct Machine {
    host: Host,
    directory: PathBuf,
    router: Option<VpcRouter>,
    desired: Option<VpcDesired>,
    /// Whether some of that was.
    refused: bool,
    gateways: [Option<Gateway>; 2],
    other: Room,
}

impl Machine {
    async fn new() -> Self {
        let directory = std::env::temp_dir().join(format!("cwrp-{}", std::process::id()));
        let host = Host::open(&directory, "cwrp-none", crate::LeaseGate::new("cwrp-none").expect("a gate"))
            .await
            .expect("a host");
        Self {
            host,
            directory,
            router: None,
            desired: None,
            refused: false,
            gateways: [None, None],
            other: Room::new("cwrp-acl"),
        }
    }

    fn router(&mut self) -> &mut VpcRouter {
        self.router.as_mut().expect("a router")
    }

    async fn close(mut self) {
        if let Some(router) = self.router.take() {
            router.remove(&self.host).await;
        }
        self.host.close().await;
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// Names of links by index, those of gateways and networks by their number.
async fn names(netlink: &Netlink, world: &World) -> BTreeMap<u32, String> {
    let links = netlink.links().await.expect("links");
    let named = links.into_iter().map(|link| {
        let gateway = world.gateways.iter().position(|id| link.name == format!("g-{}", id.short()));
        let network = world.networks.iter().position(|id| link.name == format!("p-{}", id.short()));
        let name = match (gateway, network) {
            (Some(number), _) => format!("g-{number}"),
            (_, Some(number)) => format!("p-{number}"),
            _ => link.name,
        };
        (link.index, name)
    });
    named.collect()
}

async fn table(netlink: &Netlink, world: &World) -> Shown {
    let names = names(netlink, world).await;
    let routes = netlink.routes(MAIN_TABLE).await.expect("routes");
    let ours = routes.iter().filter(|route| route.protocol == ROUTE_PROTOCOL);
    ours.map(|route| shown(&route.spec, |index| names[&index].clone())).collect()
}

impl Stage for Machine {
    async fn apply(&mut self, desired: &VpcDesired) {
        if self.router.is_none() {
            let router = VpcRouter::create(&self.host, desired.id, 1, Arc::<Notify>::default()).await;
            self.router = Some(router.expect("a router"));
        }
        let host = &self.host;
        let troubles = self.router.as_mut().expect("a router").apply(host, None, desired).await;
        assert!(troubles.iter().all(|(_, error)| error.item.starts_with("custom route ")), "{troubles:?}");
        self.desired = Some(desired.clone());
        self.refused = !troubles.is_empty();
    }

    fn custom(&self) -> BTreeMap<IpNet, RouteId> {
        self.router.as_ref().map(VpcRouter::custom_routes).unwrap_or_default()
    }

    async fn attach(&mut self, world: &World, gateway: usize, on: bool) {
        let id = world.gateways[gateway];
        if on == self.gateways[gateway].is_some() {
            return;
        }
        if !on {
            self.router().detach(id).await.expect("detached");
            self.gateways[gateway] = None;
            return;
        }
        let room = Room::new(&format!("cwrp-g{gateway}"));
        sysctl::apply(&room.0, &sysctl::forwarding()).expect("settings");
        let addresses = nets(&PRIVATE[gateway]);
        self.router().attach(id, &room.0, Some(world.networks[gateway]), &addresses).await.expect("attached");
        let netlink = Netlink::open(&room.0).expect("netlink");
        let router = netlink.index(GATEWAY_LINK).await.expect("the link to the router");
        netlink.set_up(router, true).await.expect("up");
        let hosts: Vec<IpNet> = addresses.iter().map(|net| host_net(net.addr())).collect();
        netlink.apply_addresses(router, &hosts, BARE).await.expect("addresses");
        let local = IpNet::new_assert(GATEWAY_LINK_LOCAL.into(), 64);
        let options = AddressOptions { no_prefix_route: false, no_dad: true, never_chosen: false };
        netlink.ensure_address(router, local, options).await.expect("an address");
        let mut tunnels = [0; 4];
        for (number, tunnel) in tunnels.iter_mut().enumerate() {
            let (name, far) = (format!("cw-{number}"), format!("far-{number}"));
            netlink.create_veth(&VethEnd::new(&name), &VethEnd::new(&far)).await.expect("a pair");
            for link in [&far, &name] {
                *tunnel = netlink.index(link).await.expect("the link");
                netlink.set_up(*tunnel, true).await.expect("up");
            }
            // Without their own subnets, the kernel would look for the devices behind whatever wider prefix was learned.
            let subnets = Family::ALL.map(|family| {
                let (ours, _) = inside(family, u8::try_from(number).expect("one of four"));
                IpNet::new_assert(ours, if family.is_ipv6() { 126 } else { 30 })
            });
            netlink.apply_addresses(*tunnel, &subnets, options).await.expect("addresses");
        }
        let held = RouteTable::new(netlink.clone(), ROUTE_PROTOCOL, MAIN_TABLE);
        let installer = Installer::start(format!("gateway {gateway}"), held, Arc::<Notify>::default());
        let links = (router, tunnels);
        self.gateways[gateway] = Some(Gateway { room, netlink, installer, newest: Wish::default(), links });
    }

    fn links(&self, gateway: usize) -> Option<(u32, [u32; 4])> {
        self.gateways[gateway].as_ref().map(|gateway| gateway.links)
    }

    fn install(&mut self, chosen: &Chosen, gateways: [Option<Wish<ConnectionId>>; 2]) {
        self.router().set_learned(Arc::clone(&chosen.router));
        for (gateway, wish) in self.gateways.iter_mut().zip(gateways) {
            if let (Some(gateway), Some(wish)) = (gateway, wish) {
                gateway.newest = wish.clone();
                gateway.installer.wish(wish, false);
            }
        }
    }

    async fn settle(&mut self, world: &World) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.router().settle();
            let done =
                self.router().is_done() && self.gateways.iter().flatten().all(|gateway| gateway.installer.is_done());
            if done {
                break;
            }
            assert!(Instant::now() < deadline, "tables are not done");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(!self.router().has_failed(), "{:?}", self.router().unrouted());
        for gateway in self.gateways.iter().flatten() {
            assert!(!gateway.installer.has_failed(), "{:?}: {:?}", gateway.room.0.name(), gateway.installer.trouble());
        }
        // What cannot be is refused, and holds back nothing else.
        assert_eq!(self.router().applied(), world.desired().revision);
        assert_eq!(self.refused, !world.is_possible());
    }

    async fn look(&mut self, world: &World) -> (Shown, [Option<Shown>; 2]) {
        let namespace = Namespace::open(self.router().namespace()).expect("the router's namespace");
        let router = table(&Netlink::open(&namespace).expect("netlink"), world).await;
        let in_force = lists(&namespace);
        let desired = self.desired.as_ref().expect("desired");
        let (ipv4, ipv6) = (desired.acl_ipv4.clone(), desired.acl_ipv6.clone());
        let filter = AclFilter { ipv4, ipv6, vpc_subnets: world.subnets() };
        self.other.0.command(&["nft", "flush", "ruleset"]).expect("nft starts");
        let mut fresh = AclTable::create(self.other.0.clone()).await.expect("a table");
        fresh.apply(&filter).await.expect("lists");
        assert_eq!(in_force, lists(&self.other.0));
        let mut gateways = [None, None];
        for (shown, gateway) in gateways.iter_mut().zip(&self.gateways) {
            if let Some(gateway) = gateway {
                *shown = Some(table(&gateway.netlink, world).await);
            }
        }
        (router, gateways)
    }
}

#[test]
#[ignore = "needs root and nft"]
fn the_kernels_tables_equal_what_is_computed_from_sessions_and_policies() {
    let machine = Room::new("cwrp-m");
    let config =
        ProptestConfig { cases: 12, failure_persistence: None, max_shrink_iters: 20, ..ProptestConfig::default() };
    machine
        .0
        .run(|| {
            TestRunner::new(config).run(&events(60), |events| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
                runtime.block_on(async {
                    let mut stage = Machine::new().await;
                    run(&mut stage, &events).await;
                    stage.close().await;
                });
                Ok(())
            })
        })
        .expect("the machine's namespace")
        .expect("tables that equal what was computed");
}
