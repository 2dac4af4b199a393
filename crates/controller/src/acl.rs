//! What a VPC's router is told beside its networks and routes: access lists, and whether custom routes are announced.

use std::collections::HashSet;

use causeway_model::acl::{Acl, AclRule};
use causeway_model::observed::{AclCounters, Counter};
use causeway_model::resource::{Caller, Vpc};
use causeway_model::status::owed_fault;
use causeway_model::view::{AclState, VpcState};
use causeway_model::{Error, Family, Fault, ReasonCode, Timestamp, VpcId};
use causeway_store::{Kind, Reader, VpcConfig, VpcObserved};
use serde_json::{Value, json};

use crate::access::Intent::{Read, Write};
use crate::audit::{and, changed};
use crate::network::find_vpc;
use crate::unit::Unit;
use crate::{Controller, Result};

/// Rules of one list at most.
pub const MAX_ACL_RULES: usize = 1000;

impl Unit<'_> {
    /// What a VPC's router is told has changed: its nodes owe an acknowledgement, and no gateway is configuring for it.
    pub(crate) async fn bump_vpc_config(&mut self, id: VpcId) -> Result<()> {
        let now = self.now;
        self.bump_vpc(id, now).await?;
        Ok(self.bump_all_nodes().await?)
    }
}

/// Rules that an audit record shows of one list at most.
const AUDITED_RULES: usize = 50;

/// What an audit record says of a list: how long it is, and those of its rules that `other` does not have, without their descriptions.
/// Two whole lists would make a record of a megabyte.
fn audited(acl: &Acl, other: &Acl, word: &str) -> Value {
    let bare = |rule: &AclRule| AclRule { description: None, ..rule.clone() };
    let known: HashSet<AclRule> = other.rules.iter().map(bare).collect();
    let own = acl.rules.iter().map(bare).filter(|rule| !known.contains(rule)).take(AUDITED_RULES);
    let mut fields = json!({"default_action": acl.default_action, "rules": acl.rules.len()});
    fields[word] = own.map(|rule| json!(rule)).collect();
    fields
}

/// Checks a list of one family, whatever the caller of this crate has checked already.
fn check(acl: &Acl, family: Family) -> Result<()> {
    if acl.rules.len() > MAX_ACL_RULES {
        return Err(Error::constraint("rules", format!("at most {MAX_ACL_RULES} rules")));
    }
    for (index, rule) in acl.rules.iter().enumerate() {
        let of_family = [&rule.source, &rule.destination].into_iter().all(|net| Family::of_net(net) == family);
        if !of_family {
            return Err(Error::constraint(format!("rules[{index}]"), format!("its prefixes must be {family}")));
        }
        for range in [rule.source_ports, rule.destination_ports] {
            if !range.is_any() && (range.low > range.high || !rule.protocol.has_ports()) {
                let help = "ports are for tcp and udp, the lower one first";
                return Err(Error::constraint(format!("rules[{index}]"), help));
            }
        }
    }
    Ok(())
}

impl Controller {
    /// The access list of one family.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn vpc_acl(&self, caller: &Caller, region: &str, id: VpcId, family: Family) -> Result<Acl> {
        self.in_region(region)?;
        let mut reader = self.read().await?;
        find_vpc(&mut reader, caller, Read, id).await?;
        Ok(reader.vpc_acl(id, family).await?)
    }

    /// Replaces the access list of one family as a whole.
    ///
    /// # Errors
    /// [`Error::InvalidArguments`], [`Error::NotFound`].
    pub async fn set_vpc_acl(&self, caller: &Caller, region: &str, id: VpcId, family: Family, acl: Acl) -> Result<Acl> {
        check(&acl, family)?;
        let mut unit = self.unit(caller, region).await?;
        find_vpc(&mut unit, caller, Write, id).await?;
        let before = unit.vpc_acl(id, family).await?;
        if before != acl {
            let now = unit.now;
            unit.set_vpc_acl(id, family, &acl).await?;
            unit.touch(Kind::Vpc, id.0, now).await?;
            unit.bump_vpc_config(id).await?;
        }
        let (old, new) = (audited(&before, &acl, "removed"), audited(&acl, &before, "added"));
        let details = and(changed(&old, &new), [("family", family.to_string())]);
        unit.finish("set_acl", "vpc", id, &details).await?;
        Ok(acl)
    }

    /// Turns the routing of a VPC on, which it always is.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn enable_vpc_routing(&self, caller: &Caller, region: &str, id: VpcId) -> Result<Vpc> {
        let mut unit = self.unit(caller, region).await?;
        let vpc = find_vpc(&mut unit, caller, Write, id).await?;
        unit.finish("enable_routing", "vpc", id, &changed(&vpc, &vpc)).await?;
        Ok(vpc)
    }

    /// Lets VPN gateways announce a VPC's custom routes, or no longer.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn set_custom_routes_propagation(
        &self,
        caller: &Caller,
        region: &str,
        id: VpcId,
        enabled: bool,
    ) -> Result<Vpc> {
        let mut unit = self.unit(caller, region).await?;
        let before = find_vpc(&mut unit, caller, Write, id).await?;
        let mut vpc = before.clone();
        if vpc.custom_routes_propagation_enabled != enabled {
            let now = unit.now;
            unit.set_custom_routes_propagation(id, enabled).await?;
            unit.touch(Kind::Vpc, id.0, now).await?;
            unit.bump_vpc_config(id).await?;
            (vpc.custom_routes_propagation_enabled, vpc.meta.updated_at) = (enabled, now);
        }
        let action = if enabled { "enable_custom_routes_propagation" } else { "disable_custom_routes_propagation" };
        unit.finish(action, "vpc", id, &changed(&before, &vpc)).await?;
        Ok(vpc)
    }

    /// What a VPC's router does: its lists with what they counted, and whether the newest ones are in force.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn vpc_state(&self, caller: &Caller, region: &str, id: VpcId) -> Result<VpcState> {
        self.in_region(region)?;
        let mut reader = self.read().await?;
        let vpc = find_vpc(&mut reader, caller, Read, id).await?;
        let config = reader.vpc_config(id).await?;
        let Owed { observed, applied, fault, .. } = owed(&mut reader, id, &config, self.now()).await?;
        let routers = reader.routers_of_vpc(id).await?;
        let counters = (applied == config.revision).then(|| sum(&observed));
        let (ipv4, ipv6) = match counters {
            Some(sums) => (Some((sums.ipv4, sums.ipv4_default)), Some((sums.ipv6, sums.ipv6_default))),
            None => (None, None),
        };
        Ok(VpcState {
            reason: fault.map(|fault| fault.explain(config.pending_since)),
            desired_revision: config.revision,
            applied_revision: applied,
            observed_at: observed.iter().map(|observed| observed.observed_at).max(),
            custom_routes_propagation_enabled: vpc.custom_routes_propagation_enabled,
            routers: routers.into_iter().map(|router| (router.zone, router.node)).collect(),
            acl_ipv4: counted(config.acl_ipv4, ipv4),
            acl_ipv6: counted(config.acl_ipv6, ipv6),
        })
    }
}

/// What nodes say of a VPC's router.
pub(crate) struct Owed {
    /// Each of them.
    pub(crate) observed: Vec<VpcObserved>,
    /// Whether every node that has a router because of gateways says something.
    pub(crate) complete: bool,
    /// The revision that is in force on all of them.
    pub(crate) applied: u64,
    /// Why that is not the newest, or what of the newest is not in force.
    pub(crate) fault: Option<Fault>,
}

pub(crate) async fn owed(reader: &mut Reader, id: VpcId, config: &VpcConfig, now: Timestamp) -> Result<Owed> {
    let (observed, complete) = reader.vpc_observed(id).await?;
    let has_nodes = !reader.nodes().await?.is_empty();
    let oldest = observed.iter().map(|observed| observed.applied_revision).min();
    let applied = oldest.filter(|_| complete).unwrap_or(0);
    let fault = fault(config, applied, &observed, has_nodes, now);
    Ok(Owed { observed, complete, applied, fault })
}

/// Why the newest revision is not in force as a whole.
fn fault(config: &VpcConfig, applied: u64, observed: &[VpcObserved], has_nodes: bool, now: Timestamp) -> Option<Fault> {
    let mut refusals = observed.iter().filter_map(|observed| observed.refusal.as_ref());
    // A part that is refused alone, as an attachment, does not keep the rest from being in force.
    let refusal = refusals.find(|refusal| refusal.revision == config.revision);
    if applied >= config.revision && refusal.is_none() {
        return None;
    }
    if !has_nodes {
        return Some(ReasonCode::NoNode.into());
    }
    // A VPC begins with open lists at revision 0: where a node has it at all, lists are in force.
    Some(owed_fault(config.pending_since.map_or(0.0, |since| now.seconds_since(since)), refusal, !observed.is_empty()))
}

/// The counters of all nodes together.
fn sum(observed: &[VpcObserved]) -> AclCounters {
    let add = |to: &mut Counter, more: &Counter| {
        to.packets = to.packets.saturating_add(more.packets);
        to.bytes = to.bytes.saturating_add(more.bytes);
    };
    let add_all = |to: &mut Vec<Counter>, more: &[Counter]| {
        if to.len() < more.len() {
            to.resize(more.len(), Counter::default());
        }
        to.iter_mut().zip(more).for_each(|(to, more)| add(to, more));
    };
    let mut sums = AclCounters::default();
    for node in observed {
        add_all(&mut sums.ipv4, &node.acl.ipv4);
        add_all(&mut sums.ipv6, &node.acl.ipv6);
        add(&mut sums.ipv4_default, &node.acl.ipv4_default);
        add(&mut sums.ipv6_default, &node.acl.ipv6_default);
    }
    sums
}

/// A list with its counters, if those are of this very list.
fn counted(acl: Acl, counters: Option<(Vec<Counter>, Counter)>) -> AclState {
    match counters.filter(|(rules, _)| rules.len() == acl.rules.len()) {
        Some((rules, default)) => AclState { acl, rules: Some(rules), default: Some(default) },
        None => AclState { acl, rules: None, default: None },
    }
}
