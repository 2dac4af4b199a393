//! InterLinks as their tenants order and use them. Partners' and operators' sides are in the modules below.

mod file;
mod life;
mod node;
mod offer;
mod options;
mod partner;
mod place;
mod policy;
mod put;
mod stock;
mod waits;

use std::sync::atomic::Ordering;

use causeway_model::command::{LinkChange, LinkFilter, LinkPolicyChange, ListQuery, NewLink, Page};
use causeway_model::error::ArgumentErrors;
use causeway_model::error::ArgumentReason::{Constraint, Required};
use causeway_model::link::{LinkEvent, LinkLife, LinkRefusal, REQUEST_DEADLINE};
use causeway_model::reason::{Reason, Turn};
use causeway_model::resource::{
    Caller, DedicatedConnection, Link, LinkHost, LinkPolicy, Partner, Pop, RoutingPolicy, Vpc,
};
use causeway_model::status::{BgpStatus, DedicatedConnectionStatus, LinkStatus};
use causeway_model::view::{LinkState, LinkStatuses};
use causeway_model::{Error, Family, LinkId, ProjectId, RoutingPolicyId, VpcId};
use causeway_store::{LinkOptions, LinkRecord, ObjectEvent, Reader};

use crate::access::Intent::{self, Read, Write};
use crate::access::{checked, operator, paging, referenced, scope};
use crate::audit::{and, changed, gone, made};
use crate::event::EventQuery;
use crate::gateway::may_lock;
use crate::quota::QuotaResource;
use crate::unit::Unit;
use crate::{Controller, Result};

pub use file::CatalogueDifference;
pub(crate) use life::{BATCH, elapse, uncarried};
pub(crate) use node::{leave, lists, place_unplaced, refresh_links, take_facts, vpcs_moved};
pub use partner::PartnerAction;
pub(crate) use waits::ClockSeen;

pub(crate) const LINK: &str = "link";
const POP: &str = "pop";
const PARTNER: &str = "partner";
const DEDICATED: &str = "dedicated_connection";
const PORT: &str = "port";

/// The other side's AS number of a self-hosted link whose tenant names none: the first that is not this service's own.
const DEFAULT_PEER_ASNS: [u32; 2] = [64512, 64513];

/// Characters of the reason of a lock or a refusal at most.
const MAX_REASON: usize = 1000;

/// A link that the caller may see, deleted ones for as long as they can be read (system.md §3).
pub(crate) async fn find(
    reader: &mut Reader,
    caller: &Caller,
    intent: Intent,
    id: LinkId,
    now: causeway_model::Timestamp,
) -> Result<LinkRecord> {
    let record = reader.link(id).await?.filter(|record| is_readable(record, now));
    checked(caller, intent, record, |record| record.link.meta.project_id, LINK, id)
}

fn is_readable(record: &LinkRecord, now: causeway_model::Timestamp) -> bool {
    record.link.life.readable_until().is_none_or(|until| until > now)
}

fn missing(resource: &'static str, id: impl ToString) -> Error {
    Error::NotFound { resource, id: id.to_string() }
}

fn unmet(help: impl Into<String>) -> Error {
    Error::PreconditionFailed { precondition: "unknown_precondition", help: help.into() }
}

fn in_use(help: impl Into<String>) -> Error {
    Error::PreconditionFailed { precondition: "resource_still_in_use", help: help.into() }
}

fn transient(id: LinkId, status: LinkStatus) -> Error {
    Error::TransientState { resource: LINK, id: id.to_string(), current_state: status.to_string() }
}

/// What the API answers to a step that the link's life refuses.
fn refused(id: LinkId, refusal: LinkRefusal) -> Error {
    match refusal {
        LinkRefusal::Deleted => missing(LINK, id),
        LinkRefusal::Locked => Error::Locked { resource: LINK, id: id.to_string() },
        LinkRefusal::BeingPlaced => transient(id, LinkStatus::Configuring),
        LinkRefusal::NoPartner | LinkRefusal::OutOfOrder(_) => unmet(refusal.to_string()),
    }
}

fn check_reason(reason: &str) -> Result<()> {
    let mut errors = ArgumentErrors::new();
    if reason.trim().is_empty() {
        errors.push("reason", Required, "say why: the tenant reads it");
    } else if reason.chars().count() > MAX_REASON {
        errors.push("reason", Constraint, format!("at most {MAX_REASON} characters"));
    }
    errors.finish()
}

/// AS numbers that the other side of a link cannot have (RFC 7607, RFC 6793 §9, RFC 7300).
fn check_peer_asn(field: &str, asn: u32, provider_asn: u32, errors: &mut ArgumentErrors) {
    if matches!(asn, 0 | 23456 | 65535 | u32::MAX) {
        let help = "reserved AS number; private ones are 64512 to 65534 and 4200000000 to 4294967294";
        errors.push(field, Constraint, help);
    } else if asn == provider_asn {
        errors.push(field, Constraint, format!("{asn} is this service's own AS number; use another one"));
    }
}

/// Says whom else to ask about a link over which nothing flows: its partner, and support.
fn turn_to(reason: &mut Reason, partner: Option<&Partner>) {
    if let Some(partner) = partner.filter(|_| reason.turn != Turn::Operator) {
        let ways = [partner.contact_email.as_str(), &partner.portal_url];
        let ways: Vec<&str> = ways.into_iter().filter(|way| !way.is_empty()).collect();
        reason.remedy.push_str(&format!("; ask the partner, {} ({})", partner.name, ways.join(", ")));
    }
    if !reason.remedy.contains("contact support") {
        reason.remedy.push_str("; if it stays so, contact support");
    }
}

/// What an order is on, and who owns it.
enum Carrier {
    Partner(Partner),
    Dedicated(DedicatedConnection),
}

impl Unit<'_> {
    /// A link that its tenant may change now; `taking_away`: the change makes it do less than before.
    async fn changeable_link(&mut self, id: LinkId, taking_away: bool) -> Result<LinkRecord> {
        let (caller, now) = (self.caller, self.now);
        let mut record = find(self, caller, Write, id, now).await?;
        record.link.life.elapse(now);
        let life = &record.link.life;
        if life.deleted_at().is_some() {
            return Err(missing(LINK, id));
        }
        if life.locked {
            return Err(Error::Locked { resource: LINK, id: id.to_string() });
        }
        let (status, _) = life::status(&record, now);
        if status == LinkStatus::Configuring || life.tenant_deleted_at.is_some() {
            return Err(transient(id, status));
        }
        let over = matches!(status, LinkStatus::Refused | LinkStatus::Expired | LinkStatus::Deprovisioning);
        if over && !taking_away {
            return Err(unmet(format!("the link is {status}: delete it and order another one")));
        }
        Ok(record)
    }

    /// A routing policy of InterLinks in a project.
    async fn link_policy(&mut self, project: ProjectId, id: RoutingPolicyId) -> Result<RoutingPolicy> {
        let policy = self.link_routing_policy(id).await?;
        referenced(project, policy, |policy| policy.meta.project_id, policy::POLICY, id)
    }

    /// Whom the order is on: exactly one has to be named.
    async fn carrier(&mut self, project: ProjectId, new: &NewLink, pop: &Pop) -> Result<Carrier> {
        let mut errors = ArgumentErrors::new();
        let carrier = match (new.partner_id, new.connection_id) {
            (Some(id), None) => Carrier::Partner(self.partner(id).await?.ok_or_else(|| missing(PARTNER, id))?),
            (None, Some(id)) => {
                let connection = self.dedicated_connection(id).await?;
                let of = |connection: &DedicatedConnection| connection.meta.project_id;
                Carrier::Dedicated(referenced(project, connection, of, DEDICATED, id)?)
            }
            (Some(_), Some(_)) => {
                let help = "a link is hosted (`partner_id`) or self-hosted (`connection_id`), not both; leave one out";
                return Err(Error::constraint("partner_id", help));
            }
            (None, None) => {
                let help = "give `partner_id` for a hosted link or `connection_id` for a self-hosted one";
                return Err(Error::constraint("partner_id", help));
            }
        };
        match &carrier {
            Carrier::Partner(partner) => {
                if partner.asn == self.controller.provider_asn() {
                    return Err(unmet(
                        "the partner has this service's own AS number in the catalogue; contact support",
                    ));
                }
                for (field, given) in [("peer_asn", new.peer_asn.is_some()), ("vlan", new.vlan.is_some())] {
                    if given {
                        errors.push(
                            field,
                            Constraint,
                            "chosen by the partner and the service on a hosted link; leave it out",
                        );
                    }
                }
            }
            Carrier::Dedicated(connection) => {
                if connection.locked {
                    return Err(Error::Locked { resource: DEDICATED, id: connection.id.to_string() });
                }
                // Setting one up takes weeks, and an order that is not placed within seconds fails.
                if connection.state != DedicatedConnectionStatus::Active {
                    let help = "order when it is active; support knows how far it is";
                    return Err(unmet(format!("the dedicated connection is {}; {help}", connection.state)));
                }
                if connection.pop_id != pop.id {
                    let help = format!("the dedicated connection ends at the PoP {}", connection.pop_id);
                    errors.push("pop_id", Constraint, help);
                }
                if let Some(asn) = new.peer_asn {
                    check_peer_asn("peer_asn", asn, self.controller.provider_asn(), &mut errors);
                }
                if let Some(vlan) = new.vlan
                    && !u16::try_from(vlan).is_ok_and(|vlan| connection.vlan_range.contains(vlan))
                {
                    let range = connection.vlan_range;
                    let help = format!("the dedicated connection has VLAN ids {} to {}", range.start, range.end);
                    errors.push("vlan", Constraint, help);
                }
            }
        }
        errors.finish()?;
        Ok(carrier)
    }

    /// Refuses sizes that are not on offer.
    async fn offered(&mut self, pop: &Pop, bandwidth_mbps: u64) -> Result<()> {
        let priced = self.link_bandwidths().await?;
        let offered = |size: &u64| priced.iter().any(|priced| priced.bandwidth_mbps == *size);
        let sizes: Vec<u64> = pop.link_bandwidths_mbps.iter().copied().filter(offered).collect();
        if sizes.contains(&bandwidth_mbps) {
            return Ok(());
        }
        let sizes: Vec<String> = sizes.iter().map(ToString::to_string).collect();
        let help = if sizes.is_empty() {
            "no size is on offer at this PoP".to_owned()
        } else {
            format!("on offer at this PoP: {} Mbit/s", sizes.join(", "))
        };
        Err(Error::constraint("bandwidth_mbps", help))
    }

    /// Ends a use case that has changed a link, and answers what has become of it.
    async fn finish_link(mut self, action: &str, before: &Link, mut record: LinkRecord) -> Result<LinkStatuses> {
        let now = self.now;
        record.link.meta.updated_at = now;
        life::save(&mut self, &mut record, now).await?;
        let details = changed(before, &record.link);
        self.finish(action, LINK, record.link.id, &details).await?;
        Ok(life::statuses(record))
    }

    /// Makes something happen to a link.
    fn happens(&self, record: &mut LinkRecord, event: LinkEvent) -> Result<()> {
        let id = record.link.id;
        record.link.life.apply(event, self.now).map_err(|refusal| refused(id, refusal))
    }
}

impl Controller {
    /// Sets how many seconds partners have to answer requests that are made from now on; [`REQUEST_DEADLINE`] unless it is called.
    pub fn set_answer_time(&self, seconds: u32) {
        self.inner.answer_seconds.store(seconds, Ordering::Relaxed);
    }

    /// Orders a link. If it can be placed at once, the answer says so: `requested` for a hosted one.
    ///
    /// # Errors
    /// [`Error::InvalidArguments`], [`Error::PermissionsDenied`], [`Error::NotFound`], [`Error::PreconditionFailed`],
    /// [`Error::QuotasExceeded`], [`Error::Locked`], [`Error::OutOfStock`].
    pub async fn create_link(&self, caller: &Caller, region: &str, new: NewLink) -> Result<LinkStatuses> {
        let mut unit = self.unit(caller, region).await?;
        let project = unit.project(new.meta.project_id, LINK).await?;
        let pop = unit.pop(new.pop_id).await?.ok_or_else(|| missing(POP, new.pop_id))?;
        let carrier = unit.carrier(project.id, &new, &pop).await?;
        unit.offered(&pop, new.bandwidth_mbps).await?;
        let mut policies = [None, None];
        let wishes = [
            (Family::Ipv4, "routing_policy_v4_id", new.routing_policy_v4_id),
            (Family::Ipv6, "routing_policy_v6_id", new.routing_policy_v6_id),
        ];
        for ((family, field, wish), policy) in wishes.into_iter().zip(&mut policies) {
            let Some(id) = wish else { continue };
            if Family::from_is_ipv6(unit.link_policy(project.id, id).await?.is_ipv6) != family {
                return Err(Error::constraint(field, format!("this policy is not for {family}")));
            }
            *policy = Some(LinkPolicy { id, since: unit.now });
        }
        unit.within_quota(project.id, QuotaResource::Links).await?;
        let (host, peer_asn) = match &carrier {
            Carrier::Partner(partner) => {
                let host = LinkHost::Partner {
                    partner_id: partner.id,
                    // 122 random bits, which nobody guesses.
                    pairing_key: uuid::Uuid::new_v4(),
                    l3_connectivity: partner.l3_connectivity,
                };
                (host, partner.asn)
            }
            Carrier::Dedicated(connection) => {
                let foreign = DEFAULT_PEER_ASNS.into_iter().find(|asn| *asn != self.provider_asn());
                let peer_asn = new.peer_asn.or(foreign).unwrap_or(DEFAULT_PEER_ASNS[0]);
                (LinkHost::Dedicated { connection_id: connection.id }, peer_asn)
            }
        };
        let wished = new.vlan.and_then(|vlan| u16::try_from(vlan).ok());
        let place = unit.find_place(&pop, &carrier, new.bandwidth_mbps, wished).await?;
        let [routing_policy_v4, routing_policy_v6] = policies;
        let mut link = Link {
            id: LinkId::random(),
            meta: unit.meta(&project, new.meta),
            pop_id: pop.id,
            port_id: place.port.id,
            host,
            bandwidth_mbps: new.bandwidth_mbps,
            vlan: place.vlan,
            provider_asn: self.provider_asn(),
            peer_asn,
            ipv4: place.ipv4,
            ipv6: place.ipv6,
            vpc_id: None,
            routing_policy_v4,
            routing_policy_v6,
            route_propagation_enabled: false,
            life: LinkLife::ordered(host_kind(&host), unit.now),
        };
        let answer_seconds = self.inner.answer_seconds.load(Ordering::Relaxed);
        link.life.answer_seconds = (answer_seconds != REQUEST_DEADLINE).then_some(answer_seconds);
        match unit.obstacle(&link).await? {
            Some(obstacle) => link.life.hindered(obstacle),
            None => {
                let id = link.id;
                link.life.apply(LinkEvent::Placed, unit.now).map_err(|refusal| refused(id, refusal))?;
            }
        }
        let now = unit.now;
        let mut record = LinkRecord {
            lock_reason: None,
            status: LinkStatus::Configuring,
            bgp_v4_status: BgpStatus::Disabled,
            bgp_v6_status: BgpStatus::Disabled,
            reminded_at: now,
            due_at: None,
            node: None,
            vpc_node: None,
            config_revision: 0,
            pending_since: None,
            removing_revision: None,
            settled_status: LinkStatus::Configuring,
            settled_reason: None,
            settled_since: None,
            observed: None,
            options: LinkOptions::default(),
            link,
        };
        unit.insert_link(&record, place.units).await?;
        life::save(&mut unit, &mut record, now).await?;
        unit.finish("create", LINK, record.link.id, &made(&record.link)).await?;
        Ok(life::statuses(record))
    }

    /// A link.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn link(&self, caller: &Caller, region: &str, id: LinkId) -> Result<LinkStatuses> {
        self.in_region(region)?;
        let now = self.now();
        let record = find(&mut self.read().await?, caller, Read, id, now).await?;
        Ok(life::now(record, now))
    }

    /// A page of links, without those that are deleted.
    ///
    /// # Errors
    /// If the paging is out of bounds.
    pub async fn list_links(
        &self,
        caller: &Caller,
        region: &str,
        list: &ListQuery,
        filter: &LinkFilter,
    ) -> Result<Page<LinkStatuses>> {
        self.in_region(region)?;
        paging(list)?;
        let now = self.now();
        let (records, total) = self.read().await?.links(region, scope(caller), list, filter).await?;
        Ok(Page { items: records.into_iter().map(|record| life::now(record, now)).collect(), total })
    }

    /// What is the matter with a link, and whose turn it is (wire-ext.md §1).
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn link_state(&self, caller: &Caller, region: &str, id: LinkId) -> Result<LinkState> {
        self.in_region(region)?;
        let now = self.now();
        let mut reader = self.read().await?;
        let record = find(&mut reader, caller, Read, id, now).await?;
        let mut state = life::state(record, now);
        if let Some(reason) = state.reason.as_mut().filter(|_| state.statuses.status == LinkStatus::AllDown) {
            let partner = match state.statuses.link.partner_id() {
                Some(partner) => reader.partner(partner).await?,
                None => None,
            };
            turn_to(reason, partner.as_ref());
        }
        Ok(state)
    }

    /// What happened to a link, newest first unless followed.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::InvalidArguments`].
    pub async fn link_events(
        &self,
        caller: &Caller,
        region: &str,
        id: LinkId,
        query: &EventQuery,
    ) -> Result<Vec<ObjectEvent>> {
        self.in_region(region)?;
        crate::event::check(query)?;
        let mut reader = self.read().await?;
        find(&mut reader, caller, Read, id, self.now()).await?;
        Ok(reader.object_events(id.0, query.after, query.before, query.limit).await?)
    }

    /// Changes a link's name, tags, or the AS number of the other side of a self-hosted one.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::InvalidArguments`], [`Error::Locked`], [`Error::TransientState`].
    pub async fn update_link(
        &self,
        caller: &Caller,
        region: &str,
        id: LinkId,
        change: LinkChange,
    ) -> Result<LinkStatuses> {
        self.settle_link(id).await?;
        let mut unit = self.unit(caller, region).await?;
        let mut record = unit.changeable_link(id, true).await?;
        let before = record.link.clone();
        if let Some(asn) = change.peer_asn.filter(|asn| *asn != before.peer_asn) {
            let mut errors = ArgumentErrors::new();
            if before.partner_id().is_some() {
                errors.push("peer_asn", Constraint, format!("a hosted link has its partner's: {}", before.peer_asn));
            } else {
                check_peer_asn("peer_asn", asn, before.provider_asn, &mut errors);
            }
            errors.finish()?;
            record.link.peer_asn = asn;
        }
        if let Some(name) = change.rename.name {
            record.link.meta.name = name;
        }
        if let Some(tags) = change.rename.tags {
            record.link.meta.tags = tags;
        }
        unit.finish_link("update", &before, record).await
    }

    /// Deletes a link on the tenant's side. It is `deleted` at once if nobody else has anything to take down, `deprovisioning` otherwise.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Locked`], [`Error::TransientState`], [`Error::PreconditionFailed`] while propagation is on.
    pub async fn delete_link(&self, caller: &Caller, region: &str, id: LinkId) -> Result<LinkStatuses> {
        self.settle_link(id).await?;
        let mut unit = self.unit(caller, region).await?;
        let mut record = unit.changeable_link(id, true).await?;
        if record.link.route_propagation_enabled {
            return Err(unmet("switch route propagation off first (disable-route-propagation)"));
        }
        let details = gone(&record.link);
        unit.happens(&mut record, LinkEvent::TenantDeleted)?;
        let now = unit.now;
        life::save(&mut unit, &mut record, now).await?;
        unit.finish("delete", LINK, id, &details).await?;
        Ok(life::statuses(record))
    }

    /// Leads a link to a VPC of its project.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Locked`], [`Error::TransientState`], [`Error::PreconditionFailed`] if it leads to another one.
    pub async fn attach_link_vpc(&self, caller: &Caller, region: &str, id: LinkId, vpc: VpcId) -> Result<LinkStatuses> {
        self.settle_link(id).await?;
        let mut unit = self.unit(caller, region).await?;
        let mut record = unit.changeable_link(id, false).await?;
        let before = record.link.clone();
        let found = unit.vpc(vpc).await?;
        referenced(before.meta.project_id, found, |vpc: &Vpc| vpc.meta.project_id, "vpc", vpc)?;
        if let Some(other) = before.vpc_id.filter(|other| *other != vpc) {
            return Err(in_use(format!("the link leads to the VPC {other}; detach that first (detach-vpc)")));
        }
        record.link.vpc_id = Some(vpc);
        unit.finish_link("attach_vpc", &before, record).await
    }

    /// Leads a link nowhere.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Locked`], [`Error::TransientState`], [`Error::PreconditionFailed`] if it leads to no VPC.
    pub async fn detach_link_vpc(&self, caller: &Caller, region: &str, id: LinkId) -> Result<LinkStatuses> {
        self.settle_link(id).await?;
        let mut unit = self.unit(caller, region).await?;
        let mut record = unit.changeable_link(id, true).await?;
        let before = record.link.clone();
        if record.link.vpc_id.take().is_none() {
            let help = "no VPC is attached".to_owned();
            return Err(Error::PreconditionFailed { precondition: "attribute_must_be_set", help });
        }
        unit.finish_link("detach_vpc", &before, record).await
    }

    /// Gives a link a policy for a family that has none, and with it a BGP session.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Locked`], [`Error::TransientState`], [`Error::PreconditionFailed`] if the family has another one.
    pub async fn attach_link_policy(
        &self,
        caller: &Caller,
        region: &str,
        change: LinkPolicyChange,
    ) -> Result<LinkStatuses> {
        self.change_link_policy(caller, region, change, "attach_routing_policy").await
    }

    /// Gives a link a policy in place of the one that its family has, without touching the session.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Locked`], [`Error::TransientState`], [`Error::PreconditionFailed`].
    pub async fn set_link_policy(
        &self,
        caller: &Caller,
        region: &str,
        change: LinkPolicyChange,
    ) -> Result<LinkStatuses> {
        self.change_link_policy(caller, region, change, "set_routing_policy").await
    }

    async fn change_link_policy(
        &self,
        caller: &Caller,
        region: &str,
        change: LinkPolicyChange,
        action: &str,
    ) -> Result<LinkStatuses> {
        self.settle_link(change.link).await?;
        let mut unit = self.unit(caller, region).await?;
        let mut record = unit.changeable_link(change.link, false).await?;
        let before = record.link.clone();
        let policy = unit.link_policy(before.meta.project_id, change.policy).await?;
        let family = Family::from_is_ipv6(policy.is_ipv6);
        let now = unit.now;
        let old = before.policy(family);
        if let Some(old) = old.filter(|old| old.id != change.policy && action == "attach_routing_policy") {
            let help = format!("the link has the {family} policy {}; replace it with set-routing-policy", old.id);
            return Err(in_use(help));
        }
        let since = old.map_or(now, |old| old.since);
        *session(&mut record.link, family) = Some(LinkPolicy { id: change.policy, since });
        unit.finish_link(action, &before, record).await
    }

    /// Takes a policy from a link: its session ends, the addresses stay.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::InvalidArguments`] if it is not attached, [`Error::Locked`], [`Error::TransientState`].
    pub async fn detach_link_policy(
        &self,
        caller: &Caller,
        region: &str,
        change: LinkPolicyChange,
    ) -> Result<LinkStatuses> {
        self.settle_link(change.link).await?;
        let mut unit = self.unit(caller, region).await?;
        let mut record = unit.changeable_link(change.link, true).await?;
        let before = record.link.clone();
        let policy = unit.link_policy(before.meta.project_id, change.policy).await?;
        let family = Family::from_is_ipv6(policy.is_ipv6);
        let attached = before.policy(family).map(|policy| policy.id);
        if attached != Some(change.policy) {
            let help = attached.map_or_else(
                || format!("no policy is attached for {family}"),
                |attached| format!("the policy attached for {family} is {attached}"),
            );
            return Err(Error::constraint("routing_policy_id", help));
        }
        *session(&mut record.link, family) = None;
        unit.finish_link("detach_routing_policy", &before, record).await
    }

    /// Switches route propagation.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Locked`], [`Error::TransientState`], [`Error::PreconditionFailed`].
    pub async fn set_link_propagation(
        &self,
        caller: &Caller,
        region: &str,
        id: LinkId,
        enabled: bool,
    ) -> Result<LinkStatuses> {
        self.settle_link(id).await?;
        let mut unit = self.unit(caller, region).await?;
        let mut record = unit.changeable_link(id, !enabled).await?;
        let before = record.link.clone();
        record.link.route_propagation_enabled = enabled;
        let action = if enabled { "enable_route_propagation" } else { "disable_route_propagation" };
        unit.finish_link(action, &before, record).await
    }

    /// Locks a link for a reason, or unlocks it: support and operators. The partner may go on, and so do its ten days.
    ///
    /// # Errors
    /// [`Error::PermissionsDenied`], [`Error::NotFound`], [`Error::InvalidArguments`].
    pub async fn set_link_locked(
        &self,
        caller: &Caller,
        region: &str,
        id: LinkId,
        reason: Option<String>,
    ) -> Result<LinkStatuses> {
        may_lock(caller, LINK)?;
        if let Some(reason) = &reason {
            check_reason(reason)?;
        }
        let mut unit = self.unit(caller, region).await?;
        let now = unit.now;
        let mut record = find(&mut unit, caller, Read, id, now).await?;
        let before = record.link.clone();
        let event = if reason.is_some() { LinkEvent::Locked } else { LinkEvent::Unlocked };
        unit.happens(&mut record, event)?;
        record.lock_reason.clone_from(&reason);
        let action = if reason.is_some() { "lock" } else { "unlock" };
        life::save(&mut unit, &mut record, now).await?;
        let details = and(changed(&before, &record.link), [("reason", reason.unwrap_or_default())]);
        unit.finish(action, LINK, id, &details).await?;
        Ok(life::statuses(record))
    }

    /// Takes a failed link up again: a hosted one is `requested` anew, a self-hosted one placed anew. Operators only.
    ///
    /// # Errors
    /// [`Error::PermissionsDenied`], [`Error::NotFound`], [`Error::PreconditionFailed`] if it has not failed, or what stopped it still does.
    pub async fn repair_link(&self, caller: &Caller, region: &str, id: LinkId) -> Result<LinkStatuses> {
        operator(caller, "write", LINK)?;
        let mut unit = self.unit(caller, region).await?;
        let now = unit.now;
        let mut record = find(&mut unit, caller, Write, id, now).await?;
        let before = record.link.clone();
        unit.happens(&mut record, LinkEvent::Repaired)?;
        if let Some(obstacle) = unit.obstacle(&record.link).await? {
            return Err(unmet(format!("{obstacle}; mend that first")));
        }
        if before.partner_id().is_none() {
            unit.happens(&mut record, LinkEvent::Placed)?;
        }
        unit.finish_link("repair", &before, record).await
    }
}

fn session(link: &mut Link, family: Family) -> &mut Option<LinkPolicy> {
    match family {
        Family::Ipv4 => &mut link.routing_policy_v4,
        Family::Ipv6 => &mut link.routing_policy_v6,
    }
}

const fn host_kind(host: &LinkHost) -> causeway_model::link::LinkKind {
    match host {
        LinkHost::Partner { .. } => causeway_model::link::LinkKind::Hosted,
        LinkHost::Dedicated { .. } => causeway_model::link::LinkKind::SelfHosted,
    }
}
