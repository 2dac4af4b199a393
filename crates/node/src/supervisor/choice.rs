//! The choice of routes for the VPCs of gateways here, made beside everything else, and what becomes of it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use causeway_model::VpcId;

use super::{Entry, Node, ROUTES_INTERVAL};
use crate::routes::{self, Chosen};
use crate::vpc::VpcRouter;

impl Node {
    /// Whether routes can be chosen for a VPC: its router is here, or on another node.
    pub(super) fn has_tables(&self, vpc: VpcId) -> bool {
        self.routers.contains_key(&vpc) || self.is_elsewhere(vpc)
    }

    /// Whether there is a VPC whose routes have to be chosen, and can be.
    pub(super) fn may_choose(&self) -> bool {
        self.unrouted.iter().any(|vpc| !self.choosing.contains(vpc) && self.has_tables(*vpc))
    }

    /// Has routes chosen for the VPCs where something changed, from everything that their gateways learned, beside everything else: with
    /// large tables it takes a while.
    pub(super) fn choose_routes(&mut self) {
        self.routes_at = Instant::now() + ROUTES_INTERVAL;
        let ready: Vec<VpcId> = self.unrouted.difference(&self.choosing).copied().collect();
        for vpc in ready {
            self.unrouted.remove(&vpc);
            // While its configuration changes, it waits.
            if !self.has_tables(vpc) {
                self.unrouted.insert(vpc);
                continue;
            }
            self.choosing.insert(vpc);
            let entries = self.gateways.values().filter(|entry| entry.desired.vpc == Some(vpc));
            let reports = entries.filter_map(|entry| entry.report.as_ref());
            let mut learned: Vec<_> = reports.map(|report| Arc::clone(&report.learned)).collect();
            learned.extend(self.learned_elsewhere(vpc));
            let (custom, local) = (self.custom_routes(vpc), self.subnets(vpc));
            let before = self.chosen.get(&vpc).cloned().unwrap_or_default();
            let choices = self.choices.clone();
            tokio::task::spawn_blocking(move || {
                let tables = routes::compute(learned.iter().flat_map(|learned| learned.iter()), &local, &custom);
                // Fails only if the node is gone.
                let _ = choices.send((vpc, Chosen::after(&before, tables)));
            });
        }
    }

    /// Takes over a choice.
    pub(super) fn routes_chosen(&mut self, vpc: VpcId, chosen: Chosen) {
        self.choosing.remove(&vpc);
        if !self.has_tables(vpc) {
            return;
        }
        self.hand_out(vpc, &chosen);
        self.chosen.insert(vpc, chosen);
        self.share_decided(vpc);
    }

    /// Hands a choice to those whom it concerns.
    pub(super) fn hand_out(&mut self, vpc: VpcId, chosen: &Chosen) {
        if let Some(router) = self.routers.get_mut(&vpc) {
            router.set_learned(Arc::clone(&chosen.router));
        }
        let decisions = self.decisions_of(vpc, chosen);
        for (id, entry) in self.gateways.iter().filter(|(_, entry)| entry.desired.vpc == Some(vpc)) {
            let Some(handle) = &entry.handle else { continue };
            let routes = chosen.gateways.get(id).cloned().unwrap_or_default();
            handle.wanted.send_if_modified(|wanted| {
                let none = wanted.routes.is_empty() && routes.is_empty();
                let same = (none || Arc::ptr_eq(&wanted.routes, &routes)) && wanted.decisions == decisions;
                if !same {
                    wanted.routes = routes;
                    wanted.decisions = Arc::clone(&decisions);
                }
                !same
            });
        }
    }

    /// Routes came into place, or could not.
    pub(super) fn tables_changed(&mut self) {
        let mut changed = false;
        let (mut moved, mut retold) = (BTreeSet::new(), Vec::new());
        for (vpc, router) in &mut self.routers {
            let custom = router.custom_routes();
            let untaken = router.untaken();
            changed |= router.settle();
            if !Arc::ptr_eq(&untaken, &router.untaken()) {
                retold.push(*vpc);
            }
            if router.custom_routes() != custom {
                moved.insert(*vpc);
            }
        }
        for (id, _) in
            self.gateways.iter().filter(|(_, entry)| entry.desired.vpc.is_some_and(|vpc| moved.contains(&vpc)))
        {
            self.push(*id);
        }
        self.unrouted.extend(moved);
        for vpc in retold {
            self.share_decided(vpc);
        }
        if self.routers.values().any(VpcRouter::has_failed) {
            self.retry_soon();
        }
        let applied = |entry: &Entry| entry.report.as_ref().map_or(0, |report| report.gateway.applied);
        if changed || self.gateways.values().any(|entry| entry.acknowledged != applied(entry)) {
            self.touch();
        }
    }
}
