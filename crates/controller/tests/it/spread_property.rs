//! Whatever is created, deleted, drained, lost, revoked and started anew in whatever order: of each VPC at most one node of a zone is told to have the
//! router, and nobody is told before the one that had it has let go, or is lost. One seed reproduces.

use std::collections::{BTreeMap, BTreeSet};

use causeway_controller::{Controller, NodeChange};
use causeway_model::command::VpnGatewayFilter;
use causeway_model::desired::NodeDesired;
use causeway_model::observed::NodeReport;
use causeway_model::resource::PrivateNetwork;
use causeway_model::status::NodeState;
use causeway_model::watch::MachineState;
use causeway_model::{NodeId, VpcId, VpnGatewayId};

use crate::harness::{FakeNode, REGION, World, ZONE, acknowledgement, new_gateway, open, until};
use crate::links_property::Numbers;
use crate::spread::{end, routes, vpc_of};

const NODES: usize = 4;
const STEPS: usize = 30;
const SEEDS: u64 = 6;

struct Member {
    id: NodeId,
    /// `None`: its machine does not run, or it was revoked.
    node: Option<FakeNode>,
    revoked: bool,
    /// The VPCs whose router it runs: what it has acknowledged last.
    runs: BTreeSet<VpcId>,
    /// What that was.
    last: Option<NodeReport>,
}

struct Game {
    world: World,
    controller: Controller,
    numbers: Numbers,
    members: Vec<Member>,
    networks: Vec<PrivateNetwork>,
    /// The node that had the router of each VPC before the step.
    routers: BTreeMap<VpcId, NodeId>,
    said: Vec<String>,
}

impl Game {
    async fn new(seed: u64) -> Self {
        let (world, nodes) = World::meshed(NODES).await;
        let mut networks = vec![world.network(&world.operator).await];
        networks.push(world.apart().await);
        let member = |node: FakeNode| Member {
            id: node.id,
            node: Some(node),
            revoked: false,
            runs: BTreeSet::new(),
            last: None,
        };
        let members = nodes.into_iter().map(member).collect();
        let controller = world.controller.clone();
        let numbers = Numbers(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let (routers, said) = (BTreeMap::new(), Vec::new());
        let mut game = Self { world, controller, numbers, members, networks, routers, said };
        for network in [0, 1, 0] {
            game.world.gateway(&game.world.operator, &game.networks[network]).await;
        }
        for at in 0..NODES {
            game.acknowledge(at).await;
        }
        game
    }

    fn vpcs(&self) -> Vec<VpcId> {
        self.networks.iter().map(|network| network.vpc_id).collect()
    }

    async fn gateways(&self) -> Vec<VpnGatewayId> {
        let (list, all) = (crate::harness::list(), VpnGatewayFilter::default());
        let listed = self.controller.list_vpn_gateways(&self.world.operator, REGION, &list, &all).await;
        listed.expect("listed").items.iter().map(|view| view.gateway.id).collect()
    }

    async fn info(&self, id: NodeId) -> causeway_store::NodeRecord {
        self.controller.node(&self.world.operator, id).await.expect("there").node
    }

    /// What a node is told now, once it is.
    async fn told(&mut self, at: usize) -> Option<std::sync::Arc<NodeDesired>> {
        let id = self.members[at].id;
        let revision = self.info(id).await.revision;
        let node = self.members[at].node.as_mut()?;
        Some(node.wait_for(|desired| desired.revision >= revision).await)
    }

    async fn acknowledge(&mut self, at: usize) {
        let Some(told) = self.told(at).await else { return };
        let vpcs = self.vpcs();
        let member = &mut self.members[at];
        member.runs = vpcs.into_iter().filter(|vpc| routes(&told, *vpc)).collect();
        let node = member.node.as_ref().expect("it is there");
        let report = acknowledgement(&told, None);
        member.last = Some(report.clone());
        node.report(report).await;
        let (controller, operator) = (self.controller.clone(), self.world.operator.clone());
        let id = self.members[at].id;
        until(&controller, async || {
            let info = controller.node(&operator, id).await.expect("there");
            info.node.applied_revision >= told.revision
        })
        .await;
    }

    /// A node says once more what it said last, which may be of an earlier document.
    async fn repeat(&mut self, at: usize) {
        let member = &self.members[at];
        let (Some(node), Some(last)) = (&member.node, &member.last) else { return };
        let reported =
            async || self.controller.node(&self.world.operator, member.id).await.expect("there").node.reported_at;
        let before = reported().await;
        node.report(last.clone()).await;
        until(&self.controller, async || reported().await != before).await;
    }

    async fn step(&mut self) {
        let at = self.numbers.below(NODES);
        let id = self.members[at].id;
        let choice = self.numbers.below(20);
        let name = match choice {
            0..=3 => {
                let network = self.numbers.below(self.networks.len());
                let new = new_gateway(&self.networks[network]);
                let made = self.controller.create_vpn_gateway(&self.world.operator, REGION, new).await;
                format!("create in {network}: {}", made.is_ok())
            }
            4 | 5 => {
                let all = self.gateways().await;
                let Some(id) = all.get(self.numbers.below(all.len().max(1))) else { return };
                let gone = self.controller.delete_vpn_gateway(&self.world.operator, REGION, *id).await;
                format!("delete {id}: {}", gone.is_ok())
            }
            6..=8 if !self.members[at].revoked => {
                self.controller.drain_node(&self.world.operator, id).await.expect("drained");
                format!("drain {at}")
            }
            9 | 10 if !self.members[at].revoked => {
                let change = NodeChange { cordoned: Some(false), ..NodeChange::default() };
                self.controller.change_node(&self.world.operator, id, change).await.expect("changed");
                format!("uncordon {at}")
            }
            11 | 12 => self.lose_or_return(at).await,
            13 if self.numbers.below(3) == 0 && self.members.iter().filter(|member| !member.revoked).count() > 2 => {
                if !self.members[at].revoked {
                    self.controller.revoke_node(&self.world.operator, id).await.expect("revoked");
                    let member = &mut self.members[at];
                    (member.node, member.revoked) = (None, true);
                    (member.runs, member.last) = (BTreeSet::new(), None);
                }
                format!("revoke {at}")
            }
            14 if self.numbers.below(2) == 0 => {
                self.restart().await;
                "restart".to_owned()
            }
            15 | 16 => {
                for at in 0..NODES {
                    self.repeat(at).await;
                }
                "repeat".to_owned()
            }
            _ => {
                self.acknowledge(at).await;
                format!("acknowledge {at}")
            }
        };
        self.said.push(name);
        self.check().await;
    }

    /// A machine stops, and is noticed; one that has stopped starts again.
    async fn lose_or_return(&mut self, at: usize) -> String {
        let id = self.members[at].id;
        if self.members[at].revoked {
            return "nothing".to_owned();
        }
        if self.members[at].node.is_none() {
            let node = FakeNode::attach_remote(&self.controller, id).await;
            node.peering(Some(end(at + 1)), &[]).await;
            self.members[at].node = Some(node);
            self.acknowledge(at).await;
            self.is_up(at).await;
            return format!("return {at}");
        }
        // What is acknowledged is what counts: nothing moves off a node that does not know.
        self.acknowledge(at).await;
        self.members[at].node = None;
        (self.members[at].runs, self.members[at].last) = (BTreeSet::new(), None);
        self.controller.node_machine(id, MachineState::Stopped).await.expect("noted");
        self.world.clock_forward(25);
        self.controller.run_deadlines().await.expect("deadlines");
        for at in 0..NODES {
            self.is_up(at).await;
        }
        format!("lose {at}")
    }

    async fn is_up(&mut self, at: usize) {
        let Some(node) = &self.members[at].node else { return };
        node.keepalive().await;
        node.keepalive().await;
        let (controller, operator, id) = (self.controller.clone(), self.world.operator.clone(), self.members[at].id);
        until(&controller, async || {
            let node = controller.node(&operator, id).await.expect("there").node;
            node.state == NodeState::Up && !node.silent
        })
        .await;
    }

    async fn restart(&mut self) {
        self.controller.close().await;
        self.controller = open(&self.world.directory.path().join("causeway.db"), self.world.clock.clone()).await;
        self.controller.set_failover([ZONE.to_owned()].into()).await.expect("set");
        for at in 0..NODES {
            if self.members[at].node.is_some() {
                let node = FakeNode::attach_remote(&self.controller, self.members[at].id).await;
                node.peering(Some(end(at + 1)), &[]).await;
                self.members[at].node = Some(node);
                self.acknowledge(at).await;
                self.is_up(at).await;
            }
        }
    }

    async fn check(&mut self) {
        let mut told = Vec::with_capacity(NODES);
        for at in 0..NODES {
            told.push(self.told(at).await);
        }
        for vpc in self.vpcs() {
            let having: Vec<usize> =
                (0..NODES).filter(|at| told[*at].as_ref().is_some_and(|desired| routes(desired, vpc))).collect();
            assert!(having.len() <= 1, "{having:?} have the router of {vpc}: {:#?}", self.said);
            let state = self.controller.vpc_state(&self.world.operator, REGION, vpc).await.expect("there");
            let router = state.routers.first().map(|(_, node)| *node);
            let before = match router {
                Some(router) => self.routers.insert(vpc, router),
                None => self.routers.remove(&vpc),
            };
            if let Some(before) = before.filter(|before| Some(*before) != router) {
                let had = self.members.iter().find(|member| member.id == before).expect("known");
                // Without a gateway it may be the one that has the router anyway.
                let keeps = router.is_none() && having.iter().any(|at| self.members[*at].id == before);
                assert!(keeps || !had.runs.contains(&vpc), "it has left {before} too early: {:#?}", self.said);
            }
            // Whoever hangs on a router hangs on that one, and both ends agree.
            for (at, desired) in told.iter().enumerate() {
                let Some(desired) = desired.as_ref().and_then(|desired| vpc_of(desired, vpc)) else { continue };
                if let Some(of) = desired.router {
                    assert_eq!(Some(of), router, "{:#?}", self.said);
                    assert!(!desired.cables.is_empty(), "{:#?}", self.said);
                    continue;
                }
                for cable in &desired.cables {
                    let other = self.members.iter().position(|member| member.id == cable.node).expect("known");
                    let Some(there) = told[other].as_ref() else { continue };
                    let mine = vpc_of(there, vpc).expect("it has a gateway of it");
                    let back = mine.cables.iter().find(|back| back.gateway == cable.gateway).expect("its end");
                    assert_eq!((back.node, back.number), (self.members[at].id, cable.number));
                    assert!(there.gateways.iter().any(|gateway| gateway.id == cable.gateway));
                }
            }
        }
    }
}

#[tokio::test]
async fn at_most_one_node_has_a_vpcs_router_whatever_happens() {
    for seed in 1..=SEEDS {
        let mut game = Game::new(seed).await;
        game.check().await;
        for _ in 0..STEPS {
            game.step().await;
        }
        // In the end everybody does what he is told, and every gateway that is left reaches its VPC.
        for at in 0..NODES {
            let change = NodeChange { cordoned: Some(false), ..NodeChange::default() };
            let id = game.members[at].id;
            if !game.members[at].revoked {
                game.controller.change_node(&game.world.operator, id, change).await.expect("changed");
            }
        }
        for _ in 0..4 {
            for at in 0..NODES {
                game.acknowledge(at).await;
            }
        }
        game.check().await;
        for vpc in game.vpcs() {
            let mut placed = false;
            for at in 0..NODES {
                let told = game.told(at).await;
                placed |= told.is_some_and(|desired| desired.gateways.iter().any(|gateway| gateway.vpc == vpc));
            }
            let router = game.routers.get(&vpc);
            let reached = game.members.iter().any(|member| Some(&member.id) == router && member.runs.contains(&vpc));
            assert!(!placed || reached, "seed {seed}: nobody runs the router of {vpc}: {:#?}", game.said);
        }
    }
}
