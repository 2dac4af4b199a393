//! Tables in memory whose changes fail now and then, or are made without an answer.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use causeway_linux::{Applied, Change, Error, RouteSpec};
use causeway_model::desired::VpcDesired;
use causeway_model::{ConnectionId, Family, PrivateNetworkId, RouteId, VpnGatewayId};
use ipnet::IpNet;
use proptest::prelude::*;
use tokio::sync::Notify;

use super::world::{PRIVATE, SUBNETS, Shown, World, nets, shown};
use super::{Stage, events, run};
use crate::routes::Chosen;
use crate::table::{Installer, Leaders, Learnt, Table, Wish};
use crate::vpc::custom::{self, Attached, Custom};
use crate::vpc::router_wish;

/// A change in so many fails.
const ODDS: u64 = 40;
/// A link by which the kernel takes no route.
const REFUSED: u32 = 99;

type Content = Arc<Mutex<BTreeMap<IpNet, RouteSpec>>>;

/// A table of a kernel that is not there.
struct Memory {
    content: Content,
    remembered: Option<BTreeMap<IpNet, RouteSpec>>,
    /// State of a generator of chances.
    chance: u64,
    /// A change in so many fails; 0: none.
    odds: u64,
}

impl Memory {
    /// Yes, once in `of` times.
    fn chance(&mut self, of: u64) -> bool {
        self.chance = self.chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        of > 0 && (self.chance >> 33).is_multiple_of(of)
    }
}

impl Table for Memory {
    fn forget(&mut self) {
        self.remembered = None;
    }

    fn set_thorough(&mut self, _: bool) {}

    async fn plan(&mut self, routes: &BTreeMap<IpNet, RouteSpec>) -> Result<Vec<Change>, Error> {
        tokio::task::yield_now().await;
        let content = || self.content.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let present = self.remembered.get_or_insert_with(content);
        let mut changes = Vec::new();
        for (destination, wanted) in routes {
            match present.get(destination) {
                Some(there) if there == wanted => {}
                Some(_) => changes.push(Change::Replace(wanted.clone())),
                None => changes.push(Change::Add(wanted.clone())),
            }
        }
        let surplus = present.iter().filter(|(destination, _)| !routes.contains_key(*destination));
        changes.extend(surplus.map(|(_, spec)| Change::Delete(spec.clone())));
        Ok(changes)
    }

    async fn carry_out(&mut self, changes: Vec<Change>) -> Result<Applied, Error> {
        let mut applied = Applied::default();
        for change in changes {
            if self.chance(4) {
                tokio::task::yield_now().await;
            }
            let destination = change.spec().destination;
            let refused = !matches!(change, Change::Delete(_))
                && shown(change.spec(), |dev| dev.to_string()).1.keys().any(|(_, dev)| *dev == REFUSED.to_string());
            let (fails, answered) = (self.chance(self.odds) || refused, !self.chance(self.odds));
            if !fails {
                let mut content = self.content.lock().unwrap_or_else(PoisonError::into_inner);
                match change.clone() {
                    Change::Add(spec) => {
                        assert!(content.insert(destination, spec).is_none(), "{destination} was there");
                    }
                    Change::Replace(spec) => drop(content.insert(destination, spec)),
                    Change::Delete(_) => drop(content.remove(&destination)),
                }
            }
            if fails || !answered {
                applied.failed.push((destination, "no luck".to_owned()));
                applied.lost |= !answered;
                self.remembered = None;
                continue;
            }
            if let Some(remembered) = &mut self.remembered {
                match change {
                    Change::Add(spec) | Change::Replace(spec) => drop(remembered.insert(destination, spec)),
                    Change::Delete(_) => drop(remembered.remove(&destination)),
                }
            }
        }
        Ok(applied)
    }
}

struct Hung<Id> {
    installer: Installer<Id>,
    content: Content,
    newest: Wish<Id>,
}

impl<Id: Copy + Ord + Send + Sync + std::fmt::Debug + 'static> Hung<Id> {
    fn new(chance: u64, odds: u64) -> Self {
        let content = Content::default();
        let memory = Memory { content: Arc::clone(&content), remembered: None, chance, odds };
        let installer = Installer::start("a table".to_owned(), memory, Arc::<Notify>::default());
        Self { installer, content, newest: Wish::default() }
    }

    fn wish(&mut self, wish: Wish<Id>, fresh: bool) {
        self.newest = wish.clone();
        self.installer.wish(wish, fresh);
    }

    /// Tries again what failed, as the node does.
    async fn settle(&self) {
        loop {
            if self.installer.has_failed() {
                self.installer.wish(self.newest.clone(), true);
            } else if self.installer.is_done() {
                assert!(self.installer.own_is_done());
                return;
            }
            tokio::task::yield_now().await;
        }
    }

    /// The link with this index is gone, and what led by it.
    fn lose(&self, index: u32) {
        let by =
            |spec: &RouteSpec| shown(spec, |dev| dev.to_string()).1.keys().any(|(_, dev)| *dev == index.to_string());
        self.content.lock().unwrap_or_else(PoisonError::into_inner).retain(|_, spec| !by(spec));
    }

    fn look(&self, name: impl Fn(u32) -> String + Copy) -> Shown {
        self.content.lock().unwrap_or_else(PoisonError::into_inner).values().map(|spec| shown(spec, name)).collect()
    }
}

/// Links: of Private Networks 1 and 2, of gateways from 10 on, in a gateway 1 and tunnels from 20 on.
struct Stand {
    router: Hung<VpnGatewayId>,
    custom: BTreeMap<IpNet, Custom>,
    learned: Arc<Learnt<VpnGatewayId>>,
    attached: BTreeMap<VpnGatewayId, (u32, Vec<IpAddr>)>,
    gateways: [Option<Hung<ConnectionId>>; 2],
    networks: BTreeMap<PrivateNetworkId, (u32, Vec<IpNet>)>,
    next_link: u32,
    names: BTreeMap<u32, String>,
    seed: u64,
}

impl Stand {
    fn new(seed: u64) -> Self {
        Self {
            router: Hung::new(seed, ODDS),
            custom: BTreeMap::new(),
            learned: Arc::default(),
            attached: BTreeMap::new(),
            gateways: [None, None],
            networks: BTreeMap::new(),
            next_link: 10,
            names: [(1, "p-0".to_owned()), (2, "p-1".to_owned())].into(),
            seed,
        }
    }

    fn wish(&mut self, fresh: bool) {
        let gateways = self.attached.iter().map(|(id, (index, addresses))| (*id, *index, addresses.as_slice()));
        let wish = router_wish(gateways, &self.custom, Arc::clone(&self.learned));
        self.router.wish(wish, fresh);
    }
}

impl Stage for Stand {
    async fn apply(&mut self, desired: &VpcDesired) {
        for (network, index) in desired.networks.iter().zip(1..) {
            self.networks.insert(network.id, (index, network.subnets.clone()));
        }
        let attached = self.networks.iter().map(|(id, (index, subnets))| (*id, Attached { index: *index, subnets }));
        let local: Vec<IpNet> = SUBNETS.iter().flat_map(|subnets| nets(subnets)).collect();
        self.custom = custom::resolve(&desired.custom_routes, &attached.collect(), &local).0;
        self.wish(false);
    }

    fn custom(&self) -> BTreeMap<IpNet, RouteId> {
        self.custom.iter().map(|(destination, custom)| (*destination, custom.id)).collect()
    }

    async fn attach(&mut self, world: &World, gateway: usize, on: bool) {
        let id = world.gateways[gateway];
        if on == self.attached.contains_key(&id) {
            return;
        }
        if on {
            self.names.insert(self.next_link, format!("g-{gateway}"));
            let addresses = nets(&PRIVATE[gateway]).iter().map(IpNet::addr).collect();
            self.attached.insert(id, (self.next_link, addresses));
            self.next_link += 1;
            self.seed += 1;
            self.gateways[gateway] = Some(Hung::new(self.seed, ODDS));
        } else {
            let (index, _) = self.attached.remove(&id).expect("attached");
            self.router.lose(index);
            self.gateways[gateway] = None;
        }
        self.wish(true);
    }

    fn links(&self, gateway: usize) -> Option<(u32, [u32; 4])> {
        self.gateways[gateway].as_ref().map(|_| (1, [20, 21, 22, 23]))
    }

    fn install(&mut self, chosen: &Chosen, gateways: [Option<Wish<ConnectionId>>; 2]) {
        self.learned = Arc::clone(&chosen.router);
        self.wish(false);
        for (gateway, wish) in self.gateways.iter_mut().zip(gateways) {
            if let (Some(gateway), Some(wish)) = (gateway, wish) {
                gateway.wish(wish, false);
            }
        }
    }

    async fn settle(&mut self, _: &World) {
        self.router.settle().await;
        for gateway in self.gateways.iter().flatten() {
            gateway.settle().await;
        }
    }

    async fn look(&mut self, _: &World) -> (Shown, [Option<Shown>; 2]) {
        let name = |index| self.names[&index].clone();
        let inner = |index| if index == 1 { "vpc0".to_owned() } else { format!("cw-{}", index - 20) };
        let gateways = self.gateways.each_ref().map(|gateway| gateway.as_ref().map(|gateway| gateway.look(inner)));
        (self.router.look(name), gateways)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn tables_equal_what_is_computed_from_sessions_and_policies(events in events(80), seed in any::<u32>()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async { run(&mut Stand::new(u64::from(seed)), &events).await });
    }
}

fn many(count: u32, way: u32) -> Arc<Learnt<u32>> {
    let prefix = |number: u32| IpNet::new_assert(IpAddr::from((0x0b00_0000 + (number << 8)).to_be_bytes()), 24);
    Arc::new((0..count).map(|number| (prefix(number), Leaders { best: vec![way], spare: Vec::new() })).collect())
}

/// The newest wish is what comes into being, its own routes before anything else, and what nobody wants any more is not finished first.
#[tokio::test]
async fn a_large_table_under_way_makes_room_for_what_is_newer() {
    let hop = |dev: u32, family: Family| {
        let peer: IpAddr = if family.is_ipv6() { "fd99::2" } else { "169.254.0.2" }.parse().expect("an address");
        causeway_linux::NextHop::onlink(peer, dev)
    };
    let hops = |dev: u32| BTreeMap::from([(7, Family::ALL.map(|family| Some(hop(dev, family))))]);
    let mut table = Hung::<u32>::new(1, 0);
    table.wish(Wish { own: BTreeMap::new(), learned: many(50_000, 7), hops: hops(3) }, false);
    let size = |table: &Hung<u32>| table.content.lock().unwrap_or_else(PoisonError::into_inner).len();
    while size(&table) < 2000 {
        tokio::task::yield_now().await;
    }
    let own = "10.1.0.0/16".parse::<IpNet>().expect("a prefix");
    let spec = RouteSpec::unicast(own, vec![hop(4, Family::Ipv4)]);
    table.wish(Wish { own: [(own, spec)].into(), learned: many(10, 7), hops: hops(3) }, false);
    assert!(!table.installer.own_is_done());
    while !table.installer.own_is_done() {
        assert!(size(&table) < 10_000, "it went on with what is not wanted any more");
        tokio::task::yield_now().await;
    }
    assert!(table.content.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&own));
    table.settle().await;
    assert_eq!(size(&table), 11);
    // Nobody is there any more: everything goes but the own one.
    table.wish(Wish { hops: BTreeMap::new(), ..table.newest.clone() }, false);
    table.settle().await;
    assert_eq!(size(&table), 1);
}

/// What the kernel does not take of the tenant's own routes stands in no learned one's way, and what it takes does.
#[tokio::test]
async fn what_was_learned_takes_the_place_of_an_own_route_that_is_refused() {
    let via = |text: &str, dev: u32| causeway_linux::NextHop::onlink(text.parse().expect("an address"), dev);
    let [shared, alone] = ["10.1.0.0/16", "10.2.0.0/16"].map(|text| text.parse::<IpNet>().expect("a prefix"));
    let own = |dev: u32| -> BTreeMap<IpNet, RouteSpec> {
        [shared, alone].map(|net| (net, RouteSpec::unicast(net, vec![via("10.0.0.9", dev)]))).into()
    };
    let learned = Arc::new(BTreeMap::from([(shared, Leaders { best: vec![7], spare: Vec::new() })]));
    let hops = BTreeMap::from([(7, [Some(via("169.254.0.2", 3)), None])]);
    let mut table = Hung::<u32>::new(1, 0);
    let done = async |table: &Hung<u32>| {
        while !table.installer.is_done() {
            tokio::task::yield_now().await;
        }
        let trouble: Vec<IpNet> = table.installer.trouble().iter().map(|(prefix, _)| *prefix).collect();
        let ways = table.look(|dev| dev.to_string()).into_iter();
        let ways: Vec<(IpNet, String)> =
            ways.flat_map(|(net, ways)| ways.into_keys().map(move |way| (net, way.1))).collect();
        (trouble, ways)
    };
    let refused = Wish { own: own(REFUSED), learned: Arc::clone(&learned), hops };
    for fresh in [false, true] {
        table.wish(refused.clone(), fresh);
        while fresh && !table.installer.is_done() {
            assert!(table.installer.untaken().keys().eq([&alone]), "still so while it is tried again");
            tokio::task::yield_now().await;
        }
        let (trouble, ways) = done(&table).await;
        assert_eq!(trouble, [shared, alone], "both are named");
        assert_eq!(ways, [(shared, "3".to_owned())]);
        assert!(table.installer.untaken().keys().eq([&alone]), "where the learned one is, something of ours is");
        assert!(table.installer.has_failed() && table.installer.own_is_done());
    }
    table.wish(Wish { own: own(4), ..refused.clone() }, false);
    let four = "4".to_owned();
    assert_eq!(done(&table).await, (vec![], vec![(shared, four.clone()), (alone, four)]));
    assert!(table.installer.untaken().is_empty());
    // And back: what is there does not go before the other one is.
    table.wish(refused, false);
    assert_eq!(done(&table).await.1.first(), Some(&(shared, "3".to_owned())));
}
