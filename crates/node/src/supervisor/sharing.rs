//! What the nodes of a VPC tell each other (ADR 0039): the gateways' nodes what these learned, the router's node what became of it. Whoever is not told
//! anything of a gateway by its router's node is cut off from the VPC.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use causeway_model::desired::CableDesired;
use causeway_model::observed::RouteDecision;
use causeway_model::{NodeId, ReasonCode, VpcId, VpnGatewayId};

use super::{Entry, Node};
use crate::gateway::{Decisions, Uplink, not_in_kernel};
use crate::peering::Heard;
use crate::routes::{Chosen, Learned};

/// A gateway that its router's node has said nothing of for so long is cut off: a process that starts anew takes less.
const CUT_AFTER: Duration = Duration::from_secs(10);

/// Something of each of a node's gateways.
type Of<T> = BTreeMap<VpnGatewayId, Arc<T>>;

/// The word of a router's node on a gateway here.
struct Word {
    node: NodeId,
    /// Since when it does not hold any more.
    lost: Option<Instant>,
    /// What became of what the gateway has learned.
    decisions: Arc<Decisions>,
}

/// What is known of other nodes that share VPCs with this one.
#[derive(Default)]
pub(super) struct Shared {
    /// What gateways on other nodes have learned.
    learned: BTreeMap<(NodeId, VpnGatewayId), Arc<Vec<Learned>>>,
    /// What is known of gateways here that hang on routers of other nodes.
    words: BTreeMap<VpnGatewayId, Word>,
    /// When some gateway may have been without a word for long enough to be taken for cut off.
    pub(super) cut_at: Option<Instant>,
}

impl Shared {
    /// Whether nothing of its VPC is to be had at a gateway that hangs here.
    pub(super) fn is_cut(&self, gateway: VpnGatewayId, uplink: Uplink) -> bool {
        let Uplink::Cable(node, _) = uplink else { return false };
        let word = self.words.get(&gateway).filter(|word| word.node == node);
        word.is_none_or(|word| word.lost.is_some_and(|lost| lost.elapsed() >= CUT_AFTER))
    }

    /// What `node` has said of the gateways for which it `concerns` does not hold any more.
    fn lose(&mut self, concerns: impl Fn(VpnGatewayId, NodeId) -> bool) {
        let now = Instant::now();
        for (id, word) in &mut self.words {
            if concerns(*id, word.node) && word.lost.is_none() {
                word.lost = Some(now);
                self.cut_at = self.cut_at.or(Some(now + CUT_AFTER));
            }
        }
    }

    /// A running gateway hangs on another node from now on, which gets the time to say something. Where it was cut off it stays so until then.
    pub(super) fn hung(&mut self, gateway: VpnGatewayId, before: Uplink, node: NodeId) {
        if self.is_cut(gateway, before) {
            self.words.remove(&gateway);
            return;
        }
        let now = Instant::now();
        let lost = self.words.get(&gateway).and_then(|word| word.lost).or(Some(now));
        self.words.insert(gateway, Word { node, lost, decisions: Arc::default() });
        self.cut_at = self.cut_at.or(Some(now + CUT_AFTER));
    }
}

/// The last word on what an own choice says is installed: where the router is elsewhere, only its node knows.
fn decided(own: &Decisions, word: &Decisions) -> Decisions {
    let judge = |(key, decision): (&_, &RouteDecision)| {
        let decision = match (decision, word.get(key)) {
            (_, Some(word)) => word.clone(),
            (RouteDecision::Installed, None) => {
                RouteDecision::Withheld { because: ReasonCode::RouterUnreachable.as_str().to_owned() }
            }
            (other, None) => other.clone(),
        };
        (*key, decision)
    };
    own.iter().map(judge).collect()
}

impl Node {
    /// Takes over what another node said.
    pub(super) fn heard(&mut self, heard: Heard) {
        match heard {
            Heard::Learned { node, gateway, routes } => {
                self.shared.learned.insert((node, gateway), routes);
                self.route_again(|cable| cable.gateway == gateway);
            }
            Heard::Gone { node } => {
                self.shared.learned.retain(|(of, _), _| *of != node);
                self.route_again(|cable| cable.node == node);
            }
            Heard::Decided { node, gateway, decisions } => {
                let Some(entry) = self.gateways.get(&gateway) else { return };
                if !matches!(entry.uplink, Uplink::Cable(router, _) if router == node) {
                    return;
                }
                let (vpc, was_cut) = (entry.desired.vpc, self.shared.is_cut(gateway, entry.uplink));
                self.shared.words.insert(gateway, Word { node, lost: None, decisions });
                if was_cut {
                    self.push(gateway);
                }
                if let Some((vpc, chosen)) = vpc.and_then(|vpc| Some((vpc, self.chosen.get(&vpc)?.clone()))) {
                    self.hand_out(vpc, &chosen);
                }
            }
            Heard::Unhung { node, gateway } => self.shared.lose(|id, of| id == gateway && of == node),
            Heard::Silent { node } => self.shared.lose(|_, of| of == node),
        }
    }

    /// Has routes chosen again, without the usual pause, where one of the cables concerns it.
    fn route_again(&mut self, concerns: impl Fn(&CableDesired) -> bool) {
        let concerned = self.desired.vpcs.iter().filter(|vpc| vpc.router.is_none() && vpc.cables.iter().any(&concerns));
        self.unrouted.extend(concerned.map(|vpc| vpc.id));
        self.routes_at = Instant::now();
    }

    /// Some gateway may be cut off by now.
    pub(super) fn look_for_cuts(&mut self) {
        let now = Instant::now();
        let waiting = self.shared.words.values().filter_map(|word| word.lost).map(|lost| lost + CUT_AFTER);
        self.shared.cut_at = waiting.filter(|at| *at > now).min();
        for (id, entry) in &self.gateways {
            if matches!(entry.uplink, Uplink::Cable(..)) {
                self.push(*id);
            }
        }
        // What was said of their routes does not hold any more either.
        for vpc in self.elsewhere().collect::<Vec<_>>() {
            if let Some(chosen) = self.chosen.get(&vpc).cloned() {
                self.hand_out(vpc, &chosen);
            }
        }
    }

    /// The gateways on other nodes that hang on a VPC's router here, as far as their cables are there.
    fn guests(&self, vpc: VpcId) -> impl Iterator<Item = (NodeId, VpnGatewayId)> {
        self.routers.get(&vpc).into_iter().flat_map(crate::vpc::VpcRouter::cables)
    }

    /// What gateways on other nodes have learned for a VPC that is routed here.
    pub(super) fn learned_elsewhere(&self, vpc: VpcId) -> Vec<Arc<Vec<Learned>>> {
        self.guests(vpc).filter_map(|guest| self.shared.learned.get(&guest).cloned()).collect()
    }

    /// What became of the routes of gateways here.
    pub(super) fn decisions_of(&self, vpc: VpcId, chosen: &Chosen) -> Arc<Decisions> {
        if !self.is_elsewhere(vpc) {
            return Arc::clone(&chosen.decisions);
        }
        let own = self.gateways.values().filter(|entry| entry.desired.vpc == Some(vpc));
        let words = own.filter_map(|entry| {
            let word = self.shared.words.get(&entry.desired.id)?;
            (!self.shared.is_cut(entry.desired.id, entry.uplink)).then_some(&word.decisions)
        });
        let mut word = Decisions::new();
        for decisions in words {
            word.extend(decisions.iter().map(|(key, decision)| (*key, decision.clone())));
        }
        Arc::new(decided(&chosen.decisions, &word))
    }

    /// Says to the nodes that route VPCs of gateways here what these have learned.
    pub(super) fn share_learned(&self) {
        let Some(sharing) = &self.sharing else { return };
        let mut learned: BTreeMap<NodeId, Of<Vec<Learned>>> = BTreeMap::new();
        for (id, entry) in &self.gateways {
            let Uplink::Cable(node, _) = entry.uplink else { continue };
            // Without a lease nothing gets through, whatever was learned before.
            let report = entry.report.as_ref().filter(|_| self.lapsed.is_none());
            let routes = report.map(|report| Arc::clone(&report.learned)).unwrap_or_default();
            learned.entry(node).or_default().insert(*id, routes);
        }
        sharing.say(|said| {
            let same = same_learned(&said.learned, &learned);
            said.learned = learned;
            !same
        });
    }

    /// Says to the nodes of gateways that hang on a router here what became of what they learned. Without a lease nothing gets through.
    pub(super) fn share_decided(&self, vpc: VpcId) {
        let (Some(sharing), Some(router)) = (&self.sharing, self.routers.get(&vpc)) else { return };
        let Some(chosen) = self.chosen.get(&vpc).filter(|_| self.lapsed.is_none()) else { return };
        let untaken = router.untaken();
        let told: Vec<(NodeId, VpnGatewayId, Arc<Decisions>)> = self
            .guests(vpc)
            .map(|(node, gateway)| {
                let routes = self.shared.learned.get(&(node, gateway)).cloned().unwrap_or_default();
                let own = routes.iter().filter_map(|route| {
                    let key = (route.connection, route.prefix);
                    let decision = chosen.decisions.get(&key)?.clone();
                    Some((key, not_in_kernel(decision, route.prefix, &untaken, "the VPC's router")))
                });
                (node, gateway, Arc::new(own.collect()))
            })
            .collect();
        sharing.say(|said| {
            let mut is_news = false;
            for (node, gateway, decisions) in told {
                let of_node = said.decided.entry(node).or_default();
                if of_node.get(&gateway).is_none_or(|before| *before != decisions) {
                    of_node.insert(gateway, decisions);
                    is_news = true;
                }
            }
            is_news
        });
    }

    /// Brings everything that is said to what is desired now.
    pub(super) fn share(&mut self) {
        self.share_learned();
        let mut guests: BTreeMap<NodeId, BTreeSet<VpnGatewayId>> = BTreeMap::new();
        for vpc in self.routers.keys() {
            for (node, gateway) in self.guests(*vpc) {
                guests.entry(node).or_default().insert(gateway);
            }
        }
        let is_guest = |node: &NodeId, gateway: &VpnGatewayId| guests.get(node).is_some_and(|of| of.contains(gateway));
        self.shared.learned.retain(|(node, _), _| guests.contains_key(node));
        let hangs = |entry: &Entry| matches!(entry.uplink, Uplink::Cable(..));
        self.shared.words.retain(|id, _| self.gateways.get(id).is_some_and(hangs));
        let lapsed = self.lapsed.is_some();
        if let Some(sharing) = &self.sharing {
            sharing.say(|said| {
                let before = said.decided.clone();
                said.decided.retain(|node, _| guests.contains_key(node));
                for node in guests.keys() {
                    let of_node = said.decided.entry(*node).or_default();
                    of_node.retain(|gateway, _| !lapsed && is_guest(node, gateway));
                }
                said.decided != before
            });
        }
        let routed: Vec<VpcId> = self.routers.keys().copied().collect();
        for vpc in routed {
            self.share_decided(vpc);
        }
        self.admit_cables();
    }

    /// Lets in what comes by the cables that end here, and by no others.
    fn admit_cables(&self) {
        let Some(peering) = &self.peering else { return };
        let mut numbers: BTreeMap<NodeId, BTreeSet<u32>> = BTreeMap::new();
        for cable in self.desired.vpcs.iter().flat_map(|vpc| &vpc.cables) {
            numbers.entry(cable.node).or_default().insert(cable.number);
        }
        peering.admit(numbers);
    }
}

fn same_learned(before: &BTreeMap<NodeId, Of<Vec<Learned>>>, now: &BTreeMap<NodeId, Of<Vec<Learned>>>) -> bool {
    // By identity, since equal ones are kept; nothing is nothing.
    let is_same = |before: &Arc<Vec<Learned>>, now: &Arc<Vec<Learned>>| {
        Arc::ptr_eq(before, now) || (before.is_empty() && now.is_empty())
    };
    let same_of = |before: &Of<Vec<Learned>>, now: &Of<Vec<Learned>>| {
        before.len() == now.len()
            && now.iter().all(|(id, routes)| before.get(id).is_some_and(|before| is_same(before, routes)))
    };
    before.len() == now.len()
        && now.iter().all(|(node, now)| before.get(node).is_some_and(|before| same_of(before, now)))
}

#[cfg(test)]
mod tests {
    use causeway_model::ConnectionId;

    use super::*;

    #[test]
    fn only_the_routers_node_says_that_a_route_is_installed() {
        let [first, second, third] = [(); 3].map(|()| ConnectionId::random());
        let prefix = "10.9.0.0/16".parse().expect("a prefix");
        let beaten = |by: &str| RouteDecision::Beaten { by: by.to_owned() };
        let own: Decisions = [
            ((first, prefix), RouteDecision::Installed),
            ((second, prefix), RouteDecision::Installed),
            ((third, prefix), beaten("here")),
        ]
        .into();
        let word: Decisions = [((first, prefix), beaten("elsewhere"))].into();
        let judged = decided(&own, &word);
        assert_eq!(judged[&(first, prefix)], beaten("elsewhere"));
        let unsaid = RouteDecision::Withheld { because: "router_unreachable".to_owned() };
        assert_eq!((&judged[&(second, prefix)], &judged[&(third, prefix)]), (&unsaid, &beaten("here")));
    }

    #[test]
    fn a_gateway_without_a_word_is_cut_off_after_a_while_and_one_that_moves_gets_that_time() {
        let (gateway, [one, other]) = (VpnGatewayId::random(), [(); 2].map(|()| NodeId::random()));
        let (at_one, at_other) = (Uplink::Cable(one, 1), Uplink::Cable(other, 1));
        let mut shared = Shared::default();
        assert!(shared.is_cut(gateway, at_one) && !shared.is_cut(gateway, Uplink::Router));
        shared.words.insert(gateway, Word { node: one, lost: None, decisions: Arc::default() });
        assert!(!shared.is_cut(gateway, at_one) && shared.is_cut(gateway, at_other));
        shared.hung(gateway, at_one, other);
        assert!(!shared.is_cut(gateway, at_other) && shared.cut_at.is_some());
        let long_ago = Instant::now().checked_sub(CUT_AFTER).expect("the machine runs for longer");
        shared.words.get_mut(&gateway).expect("known").lost = Some(long_ago);
        assert!(shared.is_cut(gateway, at_other));
        shared.hung(gateway, at_other, one);
        assert!(shared.is_cut(gateway, at_one), "who was cut off waits for a word");
    }
}
