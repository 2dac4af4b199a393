//! The kernel's tables always equal those computed from sessions and policies, whatever happens in whatever order: real sessions with
//! devices made of octets, the choice among them, and the tasks that install it; once with tables in memory that fail and forget, once in
//! namespaces of the kernel with the real router.

pub(crate) mod device;
pub(crate) mod kernel;
mod memory;
pub(crate) mod world;

use std::sync::Arc;

use causeway_linux::NextHop;
use causeway_model::desired::VpcDesired;
use causeway_model::{ConnectionId, Family, RouteId};
use ipnet::IpNet;
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::BTreeMap;

use crate::gateway::own_routes;
use crate::routes::{self, Chosen};
use crate::table::Wish;
use device::{Attributes, inside};
use world::{CUSTOM, Event, LISTS, PREFIXES, PRIVATE, Shown, World, nets};

/// Where the tables are.
trait Stage {
    /// Brings the router to what is desired.
    async fn apply(&mut self, desired: &VpcDesired);
    /// The destinations of the custom routes in force.
    fn custom(&self) -> BTreeMap<IpNet, RouteId>;
    /// A gateway comes or goes.
    async fn attach(&mut self, world: &World, gateway: usize, on: bool);
    /// Indices of a gateway's links: the one to the router, and those of its connections.
    fn links(&self, gateway: usize) -> Option<(u32, [u32; 4])>;
    /// What was chosen, for the router and for each gateway that is there.
    fn install(&mut self, chosen: &Chosen, gateways: [Option<Wish<ConnectionId>>; 2]);
    /// Waits until everything that was asked for is done.
    async fn settle(&mut self, world: &World);
    /// What is there: the router's table and the gateways'.
    async fn look(&mut self, world: &World) -> (Shown, [Option<Shown>; 2]);
}

/// What the node does, step by step.
async fn run(stage: &mut impl Stage, events: &[Event]) {
    let mut world = World::new();
    let mut chosen = Chosen::default();
    stage.apply(&world.desired()).await;
    let start = [0, 1].map(|gateway| Event::Attachment { gateway, on: true });
    for event in start.iter().chain(events).chain([&Event::Rest]) {
        world.happen(event);
        match *event {
            Event::Attachment { gateway, on } => stage.attach(&world, gateway, on).await,
            Event::Custom { .. } | Event::Lists { .. } => stage.apply(&world.desired()).await,
            _ => {}
        }
        let tables = routes::compute(&world.learned(), &world.subnets(), &stage.custom());
        chosen = Chosen::after(&chosen, tables);
        let wishes = [0, 1].map(|gateway| {
            let (index, tunnels) = stage.links(gateway)?;
            let own = own_routes(&world.vpc_routes(), &nets(&PRIVATE[gateway]), index);
            let hops = world.carrying(gateway).map(|(number, id)| {
                let peer = |family| inside(family, u8::try_from(number).expect("one of four")).1;
                (id, Family::ALL.map(|family| Some(NextHop::onlink(peer(family), tunnels[number]))))
            });
            let learned = chosen.gateways.get(&world.gateways[gateway]).map(Arc::clone).unwrap_or_default();
            Some(Wish { own, learned, hops: hops.collect() })
        });
        stage.install(&chosen, wishes);
        if matches!(event, Event::Rest) {
            stage.settle(&world).await;
            let (router, gateways) = stage.look(&world).await;
            assert_eq!(router, world.router(), "the router's table after {events:?}");
            for (gateway, shown) in gateways.into_iter().enumerate() {
                assert_eq!(shown.is_some(), world.attached[gateway]);
                if let Some(shown) = shown {
                    assert_eq!(shown, world.gateway(gateway), "the table of gateway {gateway} after {events:?}");
                }
            }
        }
    }
}

fn event() -> impl Strategy<Value = Event> {
    let attributes = (0..4_u8, 0..3_u8, 0..2_u8).prop_map(|(tag, longer, med)| Attributes { tag, longer, med });
    let connection = 0..world::GATEWAY_OF.len();
    let prefix = 0..PREFIXES.len();
    prop_oneof![
        12 => (connection.clone(), prefix.clone(), attributes)
            .prop_map(|(connection, prefix, attributes)| Event::Announce { connection, prefix, attributes }),
        4 => (connection.clone(), prefix).prop_map(|(connection, prefix)| Event::Withdraw { connection, prefix }),
        2 => (connection.clone(), any::<bool>()).prop_map(|(connection, up)| Event::Tunnel { connection, up }),
        5 => (connection.clone(), 0..LISTS.len()).prop_map(|(connection, list)| Event::Policy { connection, list }),
        2 => (connection, any::<bool>()).prop_map(|(connection, on)| Event::Propagation { connection, on }),
        1 => (0..2_usize, any::<bool>()).prop_map(|(gateway, on)| Event::Lock { gateway, on }),
        1 => (0..2_usize, any::<bool>()).prop_map(|(gateway, on)| Event::Attachment { gateway, on }),
        3 => (0..CUSTOM.len(), any::<bool>()).prop_map(|(route, on)| Event::Custom { route, on }),
        1 => any::<(u8, u8)>().prop_map(|(ipv4, ipv6)| Event::Lists { ipv4, ipv6 }),
        4 => Just(Event::Rest),
    ]
}

/// Everything is admitted at first, else most sequences would see little.
fn events(length: usize) -> impl Strategy<Value = Vec<Event>> {
    vec(event(), 1..length).prop_map(|events| {
        let open = (0..world::GATEWAY_OF.len()).map(|connection| Event::Policy { connection, list: 1 });
        open.chain(events).collect()
    })
}
