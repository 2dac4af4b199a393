//! What becomes of the VPC's own prefixes towards one connection: announced, or why not (system.md §2.1, §2.2 and §2.5).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;

use super::Way;
use crate::id::RoutingPolicyId;
use crate::net::{Family, whitelist_entry};

/// What a VPC may announce.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Own {
    /// The subnets of its Private Networks.
    pub subnets: Vec<IpNet>,
    /// Destinations of its custom routes.
    pub custom: Vec<IpNet>,
    /// Whether custom routes are announced at all.
    pub announce_custom: bool,
}

/// A prefix of the VPC's own and what becomes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnRoute {
    /// The prefix.
    pub prefix: IpNet,
    /// `local`: a subnet; `custom`: a custom route's destination; `None`: it is neither any more, and on its way out.
    pub origin: Option<&'static str>,
    /// What became of it.
    pub decision: OwnDecision,
    /// The policy of its family, and the entry of its `prefix_filter_out` that admits it.
    pub policy: Option<(RoutingPolicyId, Option<IpNet>)>,
    /// The next hop that the device is told: our inside address.
    pub next_hop: Option<IpAddr>,
}

/// What becomes of a prefix of the VPC's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnDecision {
    /// The device was told.
    Announced,
    /// By a rule: `no_policy`, `propagation_disabled`, `custom_routes_propagation_disabled`, `not_in_prefix_filter_out`.
    Filtered(&'static str),
    /// It may be announced, but is not at present: `locked`, `session_down`, `config_pending`.
    Withheld(&'static str),
}

/// Every prefix of the VPC's own, and whatever else the node says that it announces, in the order of prefixes.
#[must_use]
pub fn own_routes(way: &Way, own: &Own, announced: &[IpNet]) -> Vec<OwnRoute> {
    let announced: BTreeSet<IpNet> = announced.iter().map(IpNet::trunc).collect();
    let mut origins: BTreeMap<IpNet, Option<&'static str>> = announced.iter().map(|prefix| (*prefix, None)).collect();
    origins.extend(own.custom.iter().map(|prefix| (prefix.trunc(), Some("custom"))));
    // A subnet beats a custom route for the same prefix.
    origins.extend(own.subnets.iter().map(|prefix| (prefix.trunc(), Some("local"))));
    let judged = origins.into_iter().map(|(prefix, origin)| {
        let family = Family::of_net(&prefix);
        let policy = way.policy(family);
        let entry = policy.and_then(|(_, _, lists)| whitelist_entry(&lists.prefix_filter_out, &prefix).copied());
        let decision = if announced.contains(&prefix) {
            OwnDecision::Announced
        } else if policy.is_none() {
            OwnDecision::Filtered("no_policy")
        } else if !way.propagation {
            OwnDecision::Filtered("propagation_disabled")
        } else if origin == Some("custom") && !own.announce_custom {
            OwnDecision::Filtered("custom_routes_propagation_disabled")
        } else if entry.is_none() {
            OwnDecision::Filtered("not_in_prefix_filter_out")
        } else if way.locked {
            OwnDecision::Withheld("locked")
        } else if !way.sessions_up.contains(&family) {
            OwnDecision::Withheld("session_down")
        } else {
            OwnDecision::Withheld("config_pending")
        };
        let inside = way.inside.iter().find(|inside| Family::of_net(inside) == family).map(IpNet::addr);
        OwnRoute {
            prefix,
            origin,
            decision,
            policy: policy.map(|(_, id, _)| (*id, entry)),
            next_hop: inside.filter(|_| decision == OwnDecision::Announced),
        }
    });
    judged.collect()
}
