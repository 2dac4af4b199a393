//! What the node says of itself: facts of its gateways and routers, and what was counted in the kernel.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use causeway_model::desired::VpcDesired;
use causeway_model::observed::{AclCounters, GatewayFacts, LinkFacts, NodeReport, ReceivedRoute, VpcFacts};
use causeway_model::reason::Fault;
use causeway_model::{LinkId, ReasonCode, Timestamp, VpcId};

use super::{COUNTER_DELAY, Entry, Node, REPORT_DELAY, REPORT_INTERVAL};
use crate::counting::{Counted, Read, Reader, Source, Whose};
use crate::gateway::{tun_name, withhold};
use crate::site::link_connection;
use crate::vpc::{Concern, VpcRouter};

impl Node {
    /// Everything that is counted in the kernel.
    pub(super) fn countable(&self) -> BTreeMap<Whose, Source> {
        let lists = |router: &VpcRouter| (router.incarnation(), Reader::Lists(router.acl_reader()));
        let routers = self.routers.iter().map(|(id, router)| (Whose::Router(*id), lists(router)));
        let gateways = self.gateways.iter().filter_map(|(id, entry)| {
            let reader = Reader::Filter(entry.namespace.clone());
            Some((Whose::Gateway(*id), (entry.handle.as_ref()?.incarnation, reader)))
        });
        routers.chain(gateways).collect()
    }

    pub(super) fn counted(&mut self, counted: Counted) {
        let changed = match (counted.whose, counted.read) {
            (Whose::Router(id), Some(Read::Lists(counters))) => {
                let router = self.routers.get_mut(&id).filter(|router| router.incarnation() == counted.incarnation);
                router.is_some_and(|router| router.acl_counted(counters))
            }
            (Whose::Gateway(id), Some(Read::Drops(drops))) => {
                let current = |entry: &&mut Entry| {
                    entry.handle.as_ref().is_some_and(|handle| handle.incarnation == counted.incarnation)
                };
                let entry = self.gateways.get_mut(&id).filter(current).filter(|entry| entry.drops != drops);
                entry.map(|entry| entry.drops = drops).is_some()
            }
            _ => false,
        };
        if changed {
            self.touch_within(COUNTER_DELAY);
        }
    }

    pub(super) fn report(&mut self) -> NodeReport {
        let mut report = NodeReport { revision: self.desired.revision, ..NodeReport::default() };
        let elsewhere: Vec<VpcId> = self.elsewhere().collect();
        for entry in self.gateways.values_mut() {
            let settled = entry.desired.vpc.is_none_or(|vpc| {
                elsewhere.contains(&vpc) || self.routers.get(&vpc).is_some_and(VpcRouter::is_settled)
            });
            let applied = entry.report.as_ref().map_or(0, |report| report.gateway.applied);
            if settled || applied < entry.acknowledged {
                entry.acknowledged = applied;
            }
        }
        for (id, entry) in &self.gateways {
            if let Some(link) = entry.desired.link() {
                report.links.push(self.link_facts(link, entry));
                continue;
            }
            let mut facts = GatewayFacts { id: *id, applied: 0, refused: entry.refused.clone() };
            if let Some(gateway) = &entry.report {
                facts = GatewayFacts { applied: entry.acknowledged, ..gateway.gateway.clone() };
                report.connections.extend(entry.desired.own(&gateway.connections).cloned().map(|mut connection| {
                    connection.received = self.held(entry, std::mem::take(&mut connection.received));
                    let dropped = entry.drops.get(&tun_name(connection.id)).into_iter().flatten();
                    // One packet filter for all tunnels of a connection: it counts with the first.
                    if let Some(tunnel) = connection.tunnels.first_mut() {
                        tunnel.counters.drops.extend(dropped.map(|(reason, packets)| (reason.clone(), *packets)));
                    }
                    connection
                }));
            }
            if facts.refused.is_none() {
                facts.refused = self.trouble(&entry.desired).map(|error| error.refusal(entry.desired.revision));
            }
            report.gateways.push(facts);
        }
        report.vpcs =
            self.desired.vpcs.iter().filter(|vpc| vpc.router.is_none()).map(|vpc| self.vpc_facts(vpc)).collect();
        if let Some(since) = self.lapsed {
            name_the_root(&mut report, since);
        }
        report
    }

    /// What was received, with what the router's table does not hold withheld.
    fn held(&self, entry: &Entry, received: Vec<ReceivedRoute>) -> Vec<ReceivedRoute> {
        let router = entry.desired.vpc.and_then(|vpc| self.routers.get(&vpc));
        let untaken = router.map(VpcRouter::untaken).unwrap_or_default();
        if untaken.is_empty() {
            return received;
        }
        received.into_iter().map(|route| withhold(route, &untaken, "the VPC's router")).collect()
    }

    fn link_facts(&self, id: LinkId, entry: &Entry) -> LinkFacts {
        let revision = entry.desired.revision;
        let own = entry.report.as_ref().and_then(|report| report.connections.first());
        let carrier = entry.report.as_ref().and_then(|report| report.carrier);
        // What concerns the link itself comes before what is around it.
        let gateway = entry.report.as_ref().and_then(|report| report.gateway.refused.clone());
        let refused = own.and_then(|own| own.refused.clone()).or(gateway).or_else(|| entry.refused.clone());
        let around = || self.trouble(&entry.desired).map(|error| error.refusal(revision));
        let drops = entry.drops.get(&tun_name(link_connection(id)));
        LinkFacts {
            id,
            applied: own.map_or(0, |own| own.applied.min(entry.acknowledged)),
            refused: refused.or_else(around),
            carrier: carrier.is_some_and(|carrier| carrier.up),
            carrier_since: carrier.map(|carrier| carrier.since),
            mtu: carrier.map_or(0, |carrier| carrier.mtu),
            sessions: own.map(|own| own.sessions.clone()).unwrap_or_default(),
            received: self.held(entry, own.map(|own| own.received.clone()).unwrap_or_default()),
            announced: own.map(|own| own.announced.clone()).unwrap_or_default(),
            drops: drops.cloned().unwrap_or_default(),
        }
    }

    /// The first trouble stands for all: what it names comes before what follows from it. Private Networks have their own besides.
    fn vpc_facts(&self, vpc: &VpcDesired) -> VpcFacts {
        let router = self.routers.get(&vpc.id);
        let trouble = self.vpc_troubles(vpc.id).next();
        let networks = self.vpc_troubles(vpc.id).filter_map(|(concern, error)| match concern {
            Concern::Network(id) => Some((*id, error.refusal(vpc.revision))),
            Concern::Router | Concern::Lists | Concern::Custom | Concern::Cable => None,
        });
        VpcFacts {
            id: vpc.id,
            applied: router.map_or(0, VpcRouter::applied),
            refused: trouble.map(|(_, error)| error.refusal(vpc.revision)),
            networks: networks.collect(),
            acl: router.map_or_else(AclCounters::default, VpcRouter::acl_counters),
        }
    }

    pub(super) fn touch(&mut self) {
        self.touch_within(REPORT_DELAY);
    }

    pub(super) fn touch_within(&mut self, delay: Duration) {
        let at = (self.reported + REPORT_INTERVAL).max(Instant::now() + delay);
        if self.report_at.is_none_or(|other| at < other) {
            self.report_at = Some(at);
        }
    }
}

/// Whatever tunnels and sessions have met since then follows from the want of a lease.
fn name_the_root(report: &mut NodeReport, since: Timestamp) {
    let fault = || Some(Fault::new(ReasonCode::LeaseLost).with("since", since.to_string()));
    for connection in &mut report.connections {
        for tunnel in &mut connection.tunnels {
            tunnel.fault = fault();
        }
        for session in connection.sessions.iter_mut().filter(|session| !session.up) {
            session.fault = fault();
        }
    }
    let of_links = report.links.iter_mut().flat_map(|link| &mut link.sessions);
    for session in of_links.filter(|session| !session.up) {
        session.fault = fault();
    }
}
