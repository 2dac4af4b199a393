//! Which node has a VPC's router in a zone (ADR 0039). It is written down, and moves in order only: off a node that was replaced or revoked, or off
//! one that has said that it has let go of it.

use std::collections::BTreeSet;

use causeway_model::observed::NodeReport;
use causeway_model::placement::Home;
use causeway_model::status::NodeState;
use causeway_model::{NodeId, Timestamp, VpcId};
use causeway_store::{NodeRecord, PlacedGateway, Reader, VpcRouter, Writer};

use crate::{Controller, Result, link};

/// A VPC in a zone.
pub(crate) type InZone = (VpcId, String);

/// Whether a node has an end of tunnels to others.
pub(crate) const fn meets(node: &NodeRecord) -> bool {
    node.enrolled_at.is_some() && node.revoked_at.is_none() && node.peering.is_some()
}

/// The node that takes over a VPC's router: one that has a gateway of the VPC already and is up, one that is not being drained first.
pub(crate) fn successor(placed: &[PlacedGateway], without: NodeId) -> Option<NodeId> {
    let can = |gateway: &&PlacedGateway| {
        let is_up = matches!(gateway.state, NodeState::Up | NodeState::ConfigFail);
        gateway.stays() && gateway.node != without && is_up
    };
    placed.iter().filter(can).min_by_key(|gateway| gateway.draining).map(|gateway| gateway.node)
}

impl Controller {
    /// The router of a VPC in a zone; `None`: the next gateway that is placed decides. Without failover that is also so where all gateways are past
    /// the deadline of their deletion: their node may never be heard again, and nobody else would ever say that it is lost.
    pub(crate) async fn router_of(&self, reader: &mut Reader, vpc: VpcId, zone: &str) -> Result<Option<VpcRouter>> {
        let Some(router) = reader.vpc_router(vpc, zone).await? else { return Ok(None) };
        if !self.fails_over(zone) {
            let placed = reader.placed_gateways(vpc, zone).await?;
            if !placed.is_empty() && placed.iter().all(|gateway| gateway.gone) {
                return Ok(None);
            }
        }
        Ok(Some(router))
    }

    /// Where a VPC's gateways may be, given its router.
    pub(crate) async fn home(&self, reader: &mut Reader, router: Option<&VpcRouter>) -> Result<Home> {
        let Some(router) = router else { return Ok(Home::Anywhere) };
        // One that cannot be told of the cable would leave the gateway hanging on nothing.
        let is_there = |node: &NodeRecord| meets(node) && matches!(node.state, NodeState::Up | NodeState::ConfigFail);
        let near = self.fails_over(&router.zone) && reader.node(router.node).await?.as_ref().is_some_and(is_there);
        Ok(if near { Home::Near(router.node) } else { Home::At(router.node) })
    }

    /// Has every node of a zone look that has to do with a VPC there.
    pub(crate) async fn vpc_changed(&self, writer: &mut Writer, vpc: VpcId, zone: &str) -> Result<()> {
        Ok(writer.advance_nodes_of_vpc(vpc, zone).await?)
    }

    /// Looks at the router of a VPC whose gateways in a zone have become fewer, or have lost their router. Without any that stays the node is told to
    /// let go of the router, unless it would have it then, too.
    pub(crate) async fn settle_router(
        &self,
        writer: &mut Writer,
        (vpc, zone): (VpcId, &str),
        now: Timestamp,
    ) -> Result<()> {
        let placed = writer.placed_gateways(vpc, zone).await?;
        let Some(router) = writer.vpc_router(vpc, zone).await? else {
            let next = placed.iter().filter(|gateway| gateway.stays());
            let lost = |gateway: &&PlacedGateway| !matches!(gateway.state, NodeState::Up | NodeState::ConfigFail);
            if let Some(next) = next.min_by_key(|gateway| (lost(gateway), gateway.draining)) {
                writer.set_vpc_router(vpc, zone, next.node).await?;
            }
            return link::vpcs_moved(writer, &[vpc], now).await;
        };
        if router.leaving_revision.is_some() || placed.iter().any(|gateway| !gateway.deleting) {
            return Ok(());
        }
        if writer.vpc_fallback(vpc, zone).await? == Some(router.node) {
            if placed.is_empty() {
                writer.delete_vpc_router(vpc, zone).await?;
            }
            return Ok(());
        }
        let revision = writer.bump_node(router.node).await?;
        writer.set_router_leaving(vpc, zone, Some(revision)).await?;
        Ok(())
    }

    /// The same of several, whose gateways or routers have lost their node, once what could be placed again is: all nodes that have to do with them
    /// look.
    pub(crate) async fn settle_routers(
        &self,
        writer: &mut Writer,
        vpcs: &BTreeSet<InZone>,
        now: Timestamp,
    ) -> Result<()> {
        for (vpc, zone) in vpcs {
            self.settle_router(writer, (*vpc, zone), now).await?;
            self.vpc_changed(writer, *vpc, zone).await?;
        }
        Ok(())
    }

    /// Gives the routers of a node that forwards nothing any more to others that have gateways of their VPCs, or leaves them to the next gateways;
    /// which VPCs it were.
    pub(crate) async fn move_routers(
        &self,
        writer: &mut Writer,
        node: NodeId,
        now: Timestamp,
    ) -> Result<BTreeSet<InZone>> {
        let mut moved = BTreeSet::new();
        for VpcRouter { vpc, zone, .. } in writer.routers_of_node(node).await? {
            let placed = writer.placed_gateways(vpc, &zone).await?;
            self.give_router(writer, (vpc, &zone), successor(&placed, node), node).await?;
            moved.insert((vpc, zone));
        }
        if !moved.is_empty() {
            let vpcs: Vec<VpcId> = moved.iter().map(|(vpc, _)| *vpc).collect();
            link::vpcs_moved(writer, &vpcs, now).await?;
        }
        Ok(moved)
    }

    async fn give_router(
        &self,
        writer: &mut Writer,
        (vpc, zone): (VpcId, &str),
        next: Option<NodeId>,
        before: NodeId,
    ) -> Result<()> {
        if let Some(next) = next {
            tracing::info!(%vpc, zone, node = %next, "the VPC's router goes to another node");
            return Ok(writer.set_vpc_router(vpc, zone, next).await?);
        }
        writer.delete_vpc_router(vpc, zone).await?;
        Ok(writer.forget_vpc_observed(vpc, before).await?)
    }

    /// Gives away the routers that a node was to let go of and, as it says, has; which VPCs it were.
    pub(crate) async fn routers_left(
        &self,
        writer: &mut Writer,
        node: NodeId,
        report: &NodeReport,
        now: Timestamp,
    ) -> Result<BTreeSet<InZone>> {
        let mut left = BTreeSet::new();
        for VpcRouter { vpc, zone, leaving_revision, .. } in writer.leaving_routers(node).await? {
            let runs = report.vpcs.iter().any(|facts| facts.id == vpc);
            if runs || leaving_revision.is_none_or(|revision| report.revision < revision) {
                continue;
            }
            let placed = writer.placed_gateways(vpc, &zone).await?;
            let next = successor(&placed, node);
            // What leaves with it decides where it goes, once that has left.
            if next.is_none()
                && placed.iter().any(|gateway| gateway.leaving && !gateway.deleting && gateway.node == node)
            {
                continue;
            }
            self.give_router(writer, (vpc, &zone), next, node).await?;
            left.insert((vpc, zone));
        }
        if !left.is_empty() {
            let vpcs: Vec<VpcId> = left.iter().map(|(vpc, _)| *vpc).collect();
            link::vpcs_moved(writer, &vpcs, now).await?;
        }
        Ok(left)
    }
}
