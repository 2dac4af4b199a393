//! Links on their nodes: where they end, what is rendered of them, and what comes back.

use std::time::Duration;

use causeway_model::desired::{AttachmentDesired, BgpDesired, LinkDesired, PolicyDesired};
use causeway_model::link::{LinkEvent, LinkKind, Stage};
use causeway_model::observed::{LinkFacts, NodeReport};
use causeway_model::resource::{Link, PortAttachment};
use causeway_model::status::LinkStatus;
use causeway_model::{Error, Family, LinkId, NodeId, Psk, RoutingPolicyId, Timestamp, VpcId};
use causeway_store::{LinkNode, LinkObserved, LinkOptions, LinkRecord, Reader, Writer};

use super::life;
use super::place::node_of;
use crate::event::note_link_facts;
use crate::{Controller, Result};

/// Clients send one change after the other without looking, and a node acknowledges in milliseconds: what comes meanwhile waits for so long
/// before it is told that the link is `configuring`.
const ACKNOWLEDGED_SOON: Duration = Duration::from_secs(2);

/// Whether its node shall run it.
pub(super) fn runs(link: &Link) -> bool {
    matches!(link.life.stage, Stage::InService { .. })
        && link.life.tenant_deleted_at.is_none()
        && link.life.deleted_at().is_none()
}

/// Everything of a link that concerns its node and can change.
type Configuration = (Option<VpcId>, [Option<RoutingPolicyId>; 2], u32, bool, bool, LinkOptions);

fn configuration(record: &LinkRecord) -> Configuration {
    let link = &record.link;
    let policies = Family::ALL.map(|family| link.policy(family).map(|policy| policy.id));
    (link.vpc_id, policies, link.peer_asn, link.route_propagation_enabled, link.life.locked, record.options)
}

/// The lists of a link's policy.
pub(crate) async fn lists(reader: &mut Reader, link: &Link, family: Family) -> Result<Option<PolicyDesired>> {
    let Some(policy) = link.policy(family) else { return Ok(None) };
    Ok(reader.link_routing_policy(policy.id).await?.map(|policy| PolicyDesired {
        prefix_filter_in: policy.prefix_filter_in,
        prefix_filter_out: policy.prefix_filter_out,
    }))
}

/// Makes the node of a link owe what has changed of it since it was `stored`. Called before the link is written.
pub(super) async fn follow(
    writer: &mut Writer,
    record: &mut LinkRecord,
    stored: Option<&LinkRecord>,
    now: Timestamp,
) -> Result<()> {
    let was = stored.map(|stored| (stored.link.vpc_id, stored.node.map(|node| node.id)));
    if !runs(&record.link) {
        if let Some(node) = record.node.filter(|_| record.removing_revision.is_none()) {
            record.removing_revision = Some(writer.bump_node(node.id).await?);
            record.pending_since = None;
        }
        return route(writer, record, was).await;
    }
    let same = stored.is_some_and(|stored| {
        let on = |record: &LinkRecord| record.node.map(|node| node.id);
        let stays = stored.node.is_some() && on(stored) == on(record);
        stays && runs(&stored.link) && configuration(stored) == configuration(record)
    });
    if record.node.is_none() {
        let nodes = writer.nodes().await?;
        let port = writer.port(record.link.port_id).await?;
        let node = port.as_ref().and_then(|port| node_of(port, &nodes).ok().flatten());
        record.node =
            node.map(|node| LinkNode { id: node.id, state: node.state, silent: node.silent, overdue: node.overdue });
    }
    if !same {
        owe(writer, record, now).await?;
    }
    route(writer, record, was).await
}

/// Where a link ends and where it leads to may decide which node routes the VPC: has all nodes look, if that has changed.
async fn route(
    writer: &mut Writer,
    record: &mut LinkRecord,
    was: Option<(Option<VpcId>, Option<NodeId>)>,
) -> Result<()> {
    let (vpc, node) = (record.link.vpc_id, record.node.map(|node| node.id));
    let placed = |(vpc, node): (Option<VpcId>, Option<NodeId>)| Option::zip(vpc, node);
    if placed((vpc, node)) != was.and_then(placed) {
        writer.set_link(record).await?;
        record.vpc_node = writer.link(record.link.id).await?.and_then(|stored| stored.vpc_node);
        writer.bump_all_nodes().await?;
    }
    Ok(())
}

/// The nodes that route these VPCs may be others than before: has all nodes look, and says so of the VPCs' links.
pub(crate) async fn vpcs_moved(writer: &mut Writer, vpcs: &[VpcId], now: Timestamp) -> Result<()> {
    writer.bump_all_nodes().await?;
    for vpc in vpcs {
        for mut record in writer.links_of_vpc(*vpc).await? {
            life::save(writer, &mut record, now).await?;
        }
    }
    Ok(())
}

/// The next revision of a link.
async fn owe(writer: &mut Writer, record: &mut LinkRecord, now: Timestamp) -> Result<()> {
    let Some(node) = record.node else { return Ok(()) };
    let refused = record.observed.as_ref().and_then(|observed| observed.facts.refused.as_ref());
    if record.pending_since.is_none() || refused.is_some_and(|refused| refused.revision == record.config_revision) {
        record.pending_since = Some(now);
    }
    record.config_revision += 1;
    record.removing_revision = None;
    Ok(writer.advance_node(node.id).await?)
}

/// Something that links share has changed: a policy, a key.
pub(crate) async fn shared_changed(writer: &mut Writer, links: Vec<LinkId>, now: Timestamp) -> Result<()> {
    for id in links {
        let Some(mut record) = writer.link(id).await? else { continue };
        if runs(&record.link) {
            owe(writer, &mut record, now).await?;
            life::save(writer, &mut record, now).await?;
        }
    }
    Ok(())
}

/// A node is there: it gets the links that are on none.
pub(crate) async fn place_unplaced(writer: &mut Writer, now: Timestamp) -> Result<()> {
    for mut record in writer.links_without_node().await? {
        life::save(writer, &mut record, now).await?;
    }
    Ok(())
}

/// A node is none any more: its links go to another one, and what it had still to remove is gone with it.
pub(crate) async fn leave(writer: &mut Writer, node: NodeId, now: Timestamp) -> Result<()> {
    for mut record in writer.links_of_node(node).await? {
        record.node = None;
        record.removing_revision = None;
        if let Some(old) = record.observed.clone() {
            let facts = gone(old.facts);
            note_link_facts(writer, &record, &facts, now).await?;
            record.observed = Some(LinkObserved { facts, ..old });
        }
        life::save(writer, &mut record, now).await?;
    }
    Ok(())
}

/// What is not there any more was once, so that its sessions are known to have been up.
fn gone(facts: LinkFacts) -> LinkFacts {
    LinkFacts {
        applied: 0,
        refused: None,
        carrier: false,
        sessions: Vec::new(),
        received: Vec::new(),
        announced: Vec::new(),
        ..facts
    }
}

/// Refreshes the copies of the statuses of a node's links.
pub(crate) async fn refresh_links(writer: &mut Writer, node: NodeId, now: Timestamp) -> Result<()> {
    for mut record in writer.links_of_node(node).await? {
        life::save(writer, &mut record, now).await?;
    }
    Ok(())
}

/// Turns what a node says of its links into facts. `heard_again`: what was known of the node itself has changed.
pub(crate) async fn take_facts(
    writer: &mut Writer,
    node: NodeId,
    report: &NodeReport,
    heard_again: bool,
    now: Timestamp,
) -> Result<()> {
    for mut record in writer.links_of_node(node).await? {
        let facts = report.links.iter().find(|facts| facts.id == record.link.id);
        if let Some(revision) = record.removing_revision {
            if facts.is_none() && report.revision >= revision {
                record.node = None;
                record.removing_revision = None;
                record.observed = None;
                if record.link.life.kind == LinkKind::SelfHosted && record.link.life.tenant_deleted_at.is_some() {
                    // Refused only if it happened already.
                    let _ = record.link.life.apply(LinkEvent::Removed, now);
                }
                life::save(writer, &mut record, now).await?;
            }
            continue;
        }
        let old = record.observed.as_ref();
        let applied = facts.map_or(0, |facts| facts.applied);
        let pending = if applied >= record.config_revision { None } else { record.pending_since.or(Some(now)) };
        let changed = old.map(|old| &old.facts) != facts || pending != record.pending_since;
        if !changed && !heard_again {
            continue;
        }
        let up = |family: Family| {
            facts.is_some_and(|facts| facts.sessions.iter().any(|session| session.family == family && session.up))
        };
        let ever = old.map_or([false; 2], |old| old.ever_up);
        let ever_up = [ever[0] || up(Family::Ipv4), ever[1] || up(Family::Ipv6)];
        let facts = facts.cloned().or_else(|| old.map(|old| gone(old.facts.clone())));
        if let Some(facts) = &facts {
            note_link_facts(writer, &record, facts, now).await?;
        }
        record.observed = facts.map(|facts| LinkObserved { facts, ever_up, observed_at: now });
        record.pending_since = pending;
        life::save(writer, &mut record, now).await?;
    }
    Ok(())
}

impl Controller {
    /// Everything that a node shall run of links. `vpcs`: those whose router it has itself.
    pub(crate) async fn render_links(
        &self,
        reader: &mut Reader,
        node: NodeId,
        vpcs: &[VpcId],
    ) -> Result<Vec<LinkDesired>> {
        let mut links = Vec::new();
        for record in reader.links_of_node(node).await? {
            if runs(&record.link) {
                links.push(self.render_link(reader, &record, vpcs).await?);
            }
        }
        Ok(links)
    }

    async fn render_link(&self, reader: &mut Reader, record: &LinkRecord, vpcs: &[VpcId]) -> Result<LinkDesired> {
        let link = &record.link;
        let missing = || Error::Internal(format!("the port {} of link {} is missing", link.port_id, link.id));
        let port = reader.port(link.port_id).await?.ok_or_else(missing)?;
        let attachment = match port.attachment {
            PortAttachment::Vlan { interface } => AttachmentDesired::Vlan { interface, vlan: link.vlan },
            PortAttachment::Interface { interface } => AttachmentDesired::Interface { interface },
            PortAttachment::Vxlan { remote, vni_base } => {
                AttachmentDesired::Vxlan { remote, vni: vni_base.saturating_add(u32::from(link.vlan)) }
            }
        };
        let mut bgp = Vec::with_capacity(2);
        for family in Family::ALL {
            let addresses = link.addresses(family);
            let policy = lists(reader, link, family).await?;
            bgp.push(BgpDesired { local: addresses.ours, peer: addresses.theirs, policy });
        }
        Ok(LinkDesired {
            id: link.id,
            revision: record.config_revision,
            // A VPC without a network has no router: there is nothing in it to reach.
            vpc: link.vpc_id.filter(|vpc| vpcs.contains(vpc)),
            attachment,
            bandwidth: link.bandwidth_mbps.saturating_mul(1_000_000),
            asn: link.provider_asn,
            peer_asn: link.peer_asn,
            bgp,
            propagate: link.route_propagation_enabled,
            locked: link.life.locked,
            hold_time: record.options.hold_time,
            max_prefixes: record.options.max_prefixes,
            bgp_md5: self.link_key(reader, record).await,
            bgp_gtsm: record.options.gtsm,
        })
    }

    async fn link_key(&self, reader: &mut Reader, record: &LinkRecord) -> Option<Psk> {
        let (id, revision) = record.options.md5?;
        Some(self.signing_key(reader, id, revision, &format!("link {}", record.link.id)).await)
    }

    /// Waits a moment for the acknowledgement of what was changed of a link just before.
    pub(super) async fn settle_link(&self, id: LinkId) -> Result<()> {
        let mut changed = self.subscribe();
        let settled = async {
            loop {
                changed.borrow_and_update();
                let record = self.read().await?.link(id).await?;
                let waits = record.is_some_and(|record| {
                    record.pending_since.is_some() && life::status(&record, self.now()).0 == LinkStatus::Configuring
                });
                if !waits || changed.changed().await.is_err() {
                    return Ok(());
                }
            }
        };
        tokio::time::timeout(ACKNOWLEDGED_SOON, settled).await.unwrap_or(Ok(()))
    }
}
