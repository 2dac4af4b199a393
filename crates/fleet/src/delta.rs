//! What changed from one revision of a node's desired state to a later one, object by object.

use causeway_model::desired::{GatewayDesired, LinkDesired, NodeDesired, VpcDesired};
use causeway_model::{LinkId, VpcId, VpnGatewayId};
use serde::{Deserialize, Serialize};

/// A change of desired state. Only valid for the revision that it starts from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delta {
    /// The revision that it changes.
    pub from: u64,
    /// The revision that it makes.
    pub to: u64,
    /// VPCs that are new or have changed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub vpcs: Vec<VpcDesired>,
    /// VPCs that are no longer there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gone_vpcs: Vec<VpcId>,
    /// Gateways that are new or have changed, with all their connections.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gateways: Vec<GatewayDesired>,
    /// Gateways that are no longer there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gone_gateways: Vec<VpnGatewayId>,
    /// InterLinks that are new or have changed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<LinkDesired>,
    /// InterLinks that are no longer there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gone_links: Vec<LinkId>,
}

/// A delta that starts from another revision than the one at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the change starts from revision {from}, and this is revision {at}")]
pub struct WrongBase {
    /// Where the delta starts.
    pub from: u64,
    /// What it was applied to.
    pub at: u64,
}

fn changed<T: Clone + PartialEq, I: PartialEq + Copy>(old: &[T], new: &[T], id: impl Fn(&T) -> I) -> (Vec<T>, Vec<I>) {
    let known = |item: &&T| !old.contains(item);
    let gone = |item: &&T| !new.iter().any(|other| id(other) == id(item));
    (new.iter().filter(known).cloned().collect(), old.iter().filter(gone).map(&id).collect())
}

fn merged<T: Clone, I: PartialEq>(old: &[T], news: Vec<T>, gone: &[I], id: impl Fn(&T) -> I) -> Vec<T> {
    let mut items: Vec<T> = old.iter().filter(|item| !gone.contains(&id(item))).cloned().collect();
    for new in news {
        match items.iter_mut().find(|item| id(item) == id(&new)) {
            Some(item) => *item = new,
            None => items.push(new),
        }
    }
    items
}

impl Delta {
    /// The change from `old` to `new`; `None` if only the whole document says it (an order, a mode, a lease or peers that differ).
    #[must_use]
    pub fn between(old: &NodeDesired, new: &NodeDesired) -> Option<Self> {
        let (vpcs, gone_vpcs) = changed(&old.vpcs, &new.vpcs, |vpc| vpc.id);
        let (gateways, gone_gateways) = changed(&old.gateways, &new.gateways, |gateway| gateway.id);
        let (links, gone_links) = changed(&old.links, &new.links, |link| link.id);
        let (from, to) = (old.revision, new.revision);
        let delta = Self { from, to, vpcs, gone_vpcs, gateways, gone_gateways, links, gone_links };
        let made = delta.clone().apply(old).ok()?;
        (made == *new).then_some(delta)
    }

    /// What `old` becomes.
    ///
    /// # Errors
    /// If the delta starts from another revision.
    pub fn apply(self, old: &NodeDesired) -> Result<NodeDesired, WrongBase> {
        if self.from != old.revision {
            return Err(WrongBase { from: self.from, at: old.revision });
        }
        Ok(NodeDesired {
            revision: self.to,
            vpcs: merged(&old.vpcs, self.vpcs, &self.gone_vpcs, |vpc| vpc.id),
            gateways: merged(&old.gateways, self.gateways, &self.gone_gateways, |gateway| gateway.id),
            failover: old.failover,
            links: merged(&old.links, self.links, &self.gone_links, |link| link.id),
            peers: old.peers.clone(),
            lease: old.lease.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    fn state(revision: u64, vpcs: &[(u8, u64)], gateways: &[(u8, u64)]) -> NodeDesired {
        let id = |number: u8| Uuid::from_u128(u128::from(number));
        let vpc = |(number, revision): &(u8, u64)| {
            let mut vpc = VpcDesired::new(VpcId(id(*number)), Vec::new());
            vpc.revision = *revision;
            vpc
        };
        let gateway = |(number, revision): &(u8, u64)| GatewayDesired {
            id: VpnGatewayId(id(*number)),
            vpc: VpcId(id(1)),
            network: causeway_model::PrivateNetworkId(id(2)),
            revision: *revision,
            asn: 12876,
            private_addresses: Vec::new(),
            public_addresses: Vec::new(),
            bandwidth: 0,
            locked: false,
            connections: Vec::new(),
        };
        let (vpcs, gateways) = (vpcs.iter().map(vpc).collect(), gateways.iter().map(gateway).collect());
        NodeDesired { revision, vpcs, gateways, failover: false, links: Vec::new(), peers: Vec::new(), lease: None }
    }

    fn objects() -> impl Strategy<Value = Vec<(u8, u64)>> {
        prop::collection::btree_map(0_u8..12, 0_u64..3, 0..10).prop_map(|map| map.into_iter().collect())
    }

    proptest! {
        #[test]
        fn a_delta_makes_the_new_state_from_the_old_one(
            old in (objects(), objects()),
            new in (objects(), objects()),
        ) {
            let (old, new) = (state(4, &old.0, &old.1), state(9, &new.0, &new.1));
            if let Some(delta) = Delta::between(&old, &new) {
                let sent: Delta = serde_json::from_str(&serde_json::to_string(&delta).expect("JSON")).expect("a delta");
                prop_assert_eq!(sent.clone().apply(&old).expect("the base"), new.clone());
                prop_assert_eq!(sent.apply(&new), Err(WrongBase { from: 4, at: 9 }));
            } else {
                // The new one's order is another: something old comes behind something new.
                let order = |state: &NodeDesired| -> Vec<Uuid> {
                    state.vpcs.iter().map(|vpc| vpc.id.0).chain(state.gateways.iter().map(|gateway| gateway.id.0)).collect()
                };
                prop_assert_ne!(order(&old), order(&new));
            }
        }
    }

    #[test]
    fn another_mode_travels_with_everything() {
        let old = state(1, &[(1, 1)], &[(1, 1)]);
        assert_eq!(Delta::between(&old, &NodeDesired { revision: 2, failover: true, ..old.clone() }), None);
        let terms = causeway_model::desired::LeaseTerms {
            number: 1,
            voters: Vec::new(),
            lease_ms: 6000,
            machines: std::collections::BTreeMap::new(),
        };
        let lease = Some(causeway_model::desired::LeaseDesired { epoch: 1, terms });
        assert_eq!(Delta::between(&old, &NodeDesired { revision: 2, lease, ..old.clone() }), None);
    }

    #[test]
    fn one_gateway_of_many_travels_alone() {
        let many: Vec<(u8, u64)> = (0..200).map(|number| (number, 1)).collect();
        let mut some = many.clone();
        some[17] = (17, 2);
        let delta = Delta::between(&state(1, &[], &many), &state(2, &[], &some)).expect("a delta");
        assert_eq!((delta.gateways.len(), delta.gone_gateways.len()), (1, 0));
    }
}
