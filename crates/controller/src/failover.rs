//! Gateways of a lost node are started on another one (system.md §3): at once if its machine is known not to run, and otherwise when a
//! majority says that its lease has run out ([`crate::lease`]), since a node that is only silent may forward still.

use std::collections::BTreeSet;
use std::sync::PoisonError;

use causeway_model::status::NodeState;
use causeway_model::{ReasonCode, Timestamp};
use causeway_store::{GatewayRecord, NodeLease, NodeRecord, NodeVerdict, Writer};

use crate::channel::connection_facts;
use crate::{Controller, Result, lease, status};

impl Controller {
    /// The zones with failover; in all others gateways stay where they are. Nodes are told, and only what a node has acknowledged counts.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn set_failover(&self, zones: BTreeSet<String>) -> Result<()> {
        *self.inner.failover.lock().unwrap_or_else(PoisonError::into_inner) = Some(zones);
        let mut writer = self.inner.store.write().await?;
        self.tell_failover(&mut writer).await?;
        writer.commit().await?;
        self.announce();
        Ok(())
    }

    /// The nodes of these zones whose machines' state is of interest.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn machines(&self, zones: &BTreeSet<String>) -> Result<Vec<NodeRecord>> {
        let nodes = self.read().await?.nodes().await?;
        let wanted =
            |node: &NodeRecord| zones.contains(&node.zone) && node.enrolled_at.is_some() && node.revoked_at.is_none();
        Ok(nodes.into_iter().filter(wanted).collect())
    }

    fn failover_zones(&self) -> Option<BTreeSet<String>> {
        self.inner.failover.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether what a lost node of this zone carries goes to others.
    pub(crate) fn fails_over(&self, zone: &str) -> bool {
        let zones = self.inner.failover.lock().unwrap_or_else(PoisonError::into_inner);
        zones.as_ref().is_some_and(|zones| zones.contains(zone))
    }

    /// Gives every node that does not have it yet the mode of its zone and the terms of its lease. A node inside this process starts with nothing
    /// anyway, and nobody replaces it while that goes on.
    pub(crate) async fn tell_failover(&self, writer: &mut Writer) -> Result<()> {
        let Some(zones) = self.failover_zones() else { return Ok(()) };
        let nodes = writer.nodes().await?;
        for node in &nodes {
            let wanted = node.enrolled_at.is_some() && node.revoked_at.is_none() && zones.contains(&node.zone);
            if wanted != node.failover_revision.is_some() {
                let revision = writer.bump_node(node.id).await?;
                writer.set_node_failover(node.id, wanted.then_some(revision)).await?;
            }
        }
        self.tell_leases(writer, &nodes, |node| zones.contains(&node.zone)).await
    }

    /// Takes a gateway off a node that does not run it any more, with all that was observed of it there.
    pub(crate) async fn take_off(&self, writer: &mut Writer, record: &GatewayRecord, now: Timestamp) -> Result<()> {
        let id = record.gateway.id;
        for connection in writer.connection_records(id).await? {
            connection_facts(writer, &connection, None, now).await?;
            writer.set_learned_routes(id, connection.connection.id, &BTreeSet::new(), now).await?;
        }
        writer.unplace_gateway(id, false).await?;
        Ok(writer.bump_gateway(id, now).await?)
    }

    /// What becomes of what a node carries after this verdict: it goes elsewhere at once if its machine does not run, nothing is heard of it, and
    /// when it comes back it will wait to be told what it has. If the node is lost for another reason, its replacement begins; when it is heard
    /// again, that is called off.
    pub(crate) async fn replace_if_lost(
        &self,
        writer: &mut Writer,
        node: &NodeRecord,
        verdict: &NodeVerdict,
        now: Timestamp,
    ) -> Result<()> {
        match verdict.state {
            NodeState::Up | NodeState::ConfigFail | NodeState::Waiting => {
                return self.call_off(writer, node, now).await;
            }
            // It cannot hear that it is called off, and its voters have been told by now: what was begun goes on, so that somebody forwards.
            NodeState::KeepaliveFail => return Ok(()),
            NodeState::Down => {}
        }
        if !self.fails_over(&node.zone) {
            return Ok(());
        }
        let stopped = verdict.fault.as_ref().is_some_and(|fault| fault.code == ReasonCode::MachineStopped);
        let knows = node.failover_revision.is_some_and(|revision| node.applied_revision >= revision);
        if stopped && verdict.silent && knows {
            tracing::warn!(node = %node.id, "the node's machine does not run; its gateways go to other nodes");
            return self.move_elsewhere(writer, node, true, now).await;
        }
        self.begin_replacement(writer, node, now).await
    }

    /// Places what a node carried elsewhere, which forwards nothing any more; if it was being replaced, that is over. `stopped`: by the operator's
    /// word, so that its voters may not know; they are told, and nobody waits for them.
    pub(crate) async fn move_elsewhere(
        &self,
        writer: &mut Writer,
        node: &NodeRecord,
        stopped: bool,
        now: Timestamp,
    ) -> Result<()> {
        let was_replaced = node.lease.replaced_since.is_some();
        if stopped {
            self.end_session(node.id);
        }
        if was_replaced || stopped && !node.lease.terms.is_empty() && !node.lease.free {
            let epoch = node.lease.epoch + u64::from(!was_replaced);
            // Whoever has a session may be told what is of this epoch at any time; everybody else says on which machine he is first.
            let free = !self.has_session(node.id);
            let settled = NodeLease { epoch, replaced_since: None, moving: false, free, ..node.lease.clone() };
            writer.set_node_lease(node.id, &settled).await?;
        }
        if was_replaced {
            lease::note(writer, node.id, "replaced", now).await?;
        }
        let (mut moved, mut vpcs) = (Vec::new(), BTreeSet::new());
        for record in writer.gateways_of_node(node.id).await? {
            let id = record.gateway.id;
            if record.gateway.deleting_since.is_some() {
                self.finish_deletion(writer, &record, now).await?;
                continue;
            }
            self.take_off(writer, &record, now).await?;
            writer.set_gateway_failover(id, Some(now)).await?;
            moved.push(id);
            vpcs.insert((record.vpc, record.gateway.zone));
        }
        vpcs.append(&mut self.move_routers(writer, node.id, now).await?);
        if vpcs.is_empty() && !was_replaced {
            return Ok(());
        }
        // When it is back, or should somebody answer for it after all, it is told at once what it has.
        writer.advance_node(node.id).await?;
        tracing::warn!(node = %node.id, gateways = moved.len(), "a node's gateways were taken off it");
        self.place_waiting(writer, &node.zone, now).await?;
        self.settle_routers(writer, &vpcs, now).await?;
        for id in moved {
            status::refresh(writer, id, now).await?;
        }
        // Its lease may get other terms now.
        self.tell_failover(writer).await
    }
}
