//! What the extension API says of VPCs (wire-ext.md §1) and of the operator's bridges. Keys are alphabetical; what is not known is null.

use causeway_model::acl::{AclAction, AclProtocol, AclRule};
use causeway_model::observed::Counter;
use causeway_model::reason::Reason;
use causeway_model::view::{AclState, VpcState};
use causeway_model::{NodeId, PrivateNetworkId, Timestamp};
use ipnet::IpNet;
use serde::Serialize;

use super::Time;
use super::extension::{ReasonDocument, Reasons};
use crate::schema::documents;

documents! {
/// A rule and what it counted, since the node has it; null while other rules are in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CountedRuleDocument {
    action: AclAction,
    bytes: Option<u64>,
    description: Option<String>,
    destination: IpNet,
    dst_port_high: u16,
    dst_port_low: u16,
    packets: Option<u64>,
    protocol: AclProtocol,
    source: IpNet,
    src_port_high: u16,
    src_port_low: u16,
}

/// What no rule matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct CountedDefaultDocument {
    action: AclAction,
    bytes: Option<u64>,
    packets: Option<u64>,
}

/// An access list with its counters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CountedAclDocument {
    default: CountedDefaultDocument,
    rules: Vec<CountedRuleDocument>,
}

/// The gateway node that has a VPC's router in a zone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VpcRouterDocument {
    node: NodeId,
    zone: String,
}

/// `state` of a VPC: whether its routes and lists are in force, and what the lists counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VpcStateDocument {
    acl_ipv4: CountedAclDocument,
    acl_ipv6: CountedAclDocument,
    applied_revision: u64,
    custom_routes_propagation_enabled: bool,
    desired_revision: u64,
    observed_at: Option<Time>,
    reason: Option<ReasonDocument>,
    /// One in each zone in which VPN gateways of the VPC are placed; they may be on other nodes than the router.
    routers: Vec<VpcRouterDocument>,
}

/// What the extension API sets of a VPC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct VpcOptionsDocument {
    /// Whether VPN gateways announce the custom routes, as far as a routing policy lets them.
    pub custom_routes_propagation_enabled: bool,
}

/// A Private Network that is mapped to a bridge or interface of the node's machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AttachmentDocument {
    created_at: Time,
    interface: String,
    private_network_id: PrivateNetworkId,
    /// Why the Private Network is not on it; null if it is, and while no node runs the VPC.
    reason: Option<ReasonDocument>,
    updated_at: Time,
}
}

impl CountedRuleDocument {
    fn new(rule: AclRule, counter: Option<Counter>) -> Self {
        Self {
            action: rule.action,
            bytes: counter.map(|counter| counter.bytes),
            description: rule.description,
            destination: rule.destination,
            dst_port_high: rule.destination_ports.high,
            dst_port_low: rule.destination_ports.low,
            packets: counter.map(|counter| counter.packets),
            protocol: rule.protocol,
            source: rule.source,
            src_port_high: rule.source_ports.high,
            src_port_low: rule.source_ports.low,
        }
    }
}

impl From<AclState> for CountedAclDocument {
    fn from(state: AclState) -> Self {
        let counters = state.rules.unwrap_or_default();
        let counters = counters.into_iter().map(Some).chain(std::iter::repeat(None));
        Self {
            default: CountedDefaultDocument {
                action: state.acl.default_action,
                bytes: state.default.map(|counter| counter.bytes),
                packets: state.default.map(|counter| counter.packets),
            },
            rules: state
                .acl
                .rules
                .into_iter()
                .zip(counters)
                .map(|(rule, sum)| CountedRuleDocument::new(rule, sum))
                .collect(),
        }
    }
}

impl From<VpcState> for VpcStateDocument {
    fn from(state: VpcState) -> Self {
        Self {
            acl_ipv4: state.acl_ipv4.into(),
            acl_ipv6: state.acl_ipv6.into(),
            applied_revision: state.applied_revision,
            custom_routes_propagation_enabled: state.custom_routes_propagation_enabled,
            desired_revision: state.desired_revision,
            observed_at: state.observed_at.map(Into::into),
            reason: state.reason.map(Into::into),
            routers: state.routers.into_iter().map(|(zone, node)| VpcRouterDocument { node, zone }).collect(),
        }
    }
}

impl Reasons for VpcStateDocument {
    fn reasons(&mut self) -> Vec<&mut ReasonDocument> {
        self.reason.iter_mut().collect()
    }
}

impl AttachmentDocument {
    /// The mapping of `network` to `interface`.
    #[must_use]
    pub fn new(
        network: PrivateNetworkId,
        interface: String,
        reason: Option<Reason>,
        created_at: Timestamp,
        updated_at: Timestamp,
    ) -> Self {
        Self {
            created_at: created_at.into(),
            interface,
            private_network_id: network,
            reason: reason.map(Into::into),
            updated_at: updated_at.into(),
        }
    }
}

impl Reasons for AttachmentDocument {
    fn reasons(&mut self) -> Vec<&mut ReasonDocument> {
        self.reason.iter_mut().collect()
    }
}

#[cfg(test)]
mod tests {
    use causeway_model::acl::{Acl, PortRange};

    use super::*;

    fn state(rules: Option<Vec<Counter>>, default: Option<Counter>) -> AclState {
        let rule = AclRule {
            protocol: AclProtocol::Tcp,
            source: "0.0.0.0/0".parse().expect("a prefix"),
            source_ports: PortRange { low: 0, high: 0 },
            destination: "10.0.0.0/24".parse().expect("a prefix"),
            destination_ports: PortRange { low: 22, high: 22 },
            action: AclAction::Accept,
            description: None,
        };
        AclState { acl: Acl { default_action: AclAction::Drop, rules: vec![rule] }, rules, default }
    }

    #[test]
    fn a_rule_shows_what_it_counted() {
        let counter = Some(Counter { packets: 3, bytes: 180 });
        let text = serde_json::to_string(&CountedAclDocument::from(state(counter.map(|one| vec![one]), counter)));
        assert_eq!(
            text.expect("JSON"),
            r#"{"default":{"action":"drop","bytes":180,"packets":3},"rules":[{"action":"accept","bytes":180,"description":null,"destination":"10.0.0.0/24","dst_port_high":22,"dst_port_low":22,"packets":3,"protocol":"tcp","source":"0.0.0.0/0","src_port_high":0,"src_port_low":0}]}"#
        );
    }

    #[test]
    fn rules_that_are_not_in_force_count_nothing() {
        let json = serde_json::to_value(CountedAclDocument::from(state(None, None))).expect("JSON");
        assert_eq!((&json["rules"][0]["packets"], &json["default"]["bytes"]), (&().into(), &().into()));
        assert_eq!(json["rules"].as_array().map(Vec::len), Some(1));
    }
}
