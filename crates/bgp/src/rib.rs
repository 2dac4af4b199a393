//! What the peer announced (Adj-RIB-In, kept before policy) and what we announced (Adj-RIB-Out).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use causeway_model::Family;
use causeway_model::net::whitelist_admits;
use causeway_model::observed::{ReceivedRoute, RouteDecision};
use ipnet::IpNet;

use crate::codec::Update;

/// Announcements beyond the limit that are remembered, so that `received` can name them and they can move up when others go.
const OVERFLOW: usize = 1000;

/// What a session may accept and announce. The default admits nothing in either direction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Whether routes are exchanged at all.
    pub propagate: bool,
    /// `prefix_filter_in`: what may be accepted.
    pub accept: Vec<IpNet>,
    /// `prefix_filter_out`: what may be announced.
    pub announce: Vec<IpNet>,
    /// The VPC's subnets: announced as far as `announce` admits them; announcements equal to or inside one are withheld.
    pub local_subnets: Vec<IpNet>,
    /// Destinations of the VPC's custom routes: announced as far as `announce` admits them.
    pub custom_routes: Vec<IpNet>,
    /// The interconnection subnets of all sessions that share a gateway: announcements equal to or inside one are refused, since they would
    /// take another session's peer away from it. The session's own need not be among them.
    pub interconnections: Vec<IpNet>,
}

/// A policy, prepared for judging many routes.
#[derive(Clone, Debug)]
pub(crate) struct Filter {
    policy: Policy,
    subnets: Holders,
    interconnections: Holders,
}

/// Prefixes, to be asked which of them holds another.
#[derive(Clone, Debug)]
struct Holders {
    /// As they were given, by their networks.
    prefixes: BTreeMap<IpNet, IpNet>,
    /// The lengths among them, so that a route is looked up once for each.
    lengths: BTreeSet<(Family, u8)>,
}

impl Holders {
    fn new(prefixes: &[IpNet]) -> Self {
        let prefixes: BTreeMap<IpNet, IpNet> = prefixes.iter().map(|prefix| (prefix.trunc(), *prefix)).collect();
        let lengths = prefixes.keys().map(|prefix| (Family::of_net(prefix), prefix.prefix_len())).collect();
        Self { prefixes, lengths }
    }

    /// The shortest that is equal to `prefix` or holds it.
    fn holder(&self, prefix: &IpNet) -> Option<IpNet> {
        let family = Family::of_net(prefix);
        self.lengths.range((family, 0)..=(family, prefix.prefix_len())).find_map(|(_, length)| {
            let outer = IpNet::new(prefix.addr(), *length).ok()?.trunc();
            self.prefixes.get(&outer).copied()
        })
    }
}

impl Filter {
    pub(crate) fn new(policy: Policy) -> Self {
        let (subnets, interconnections) = (Holders::new(&policy.local_subnets), Holders::new(&policy.interconnections));
        Self { policy, subnets, interconnections }
    }

    pub(crate) const fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The shortest subnet of the VPC that is equal to `prefix` or holds it.
    fn local_subnet(&self, prefix: &IpNet) -> Option<IpNet> {
        self.subnets.holder(prefix)
    }

    /// Whether `prefix` is equal to or inside an interconnection subnet of the gateway.
    fn is_interconnection(&self, prefix: &IpNet) -> bool {
        self.interconnections.holder(prefix).is_some()
    }
}

/// One announcement of the peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The prefix, host bits zero.
    pub prefix: IpNet,
    /// As announced; packets go to the peer in any case.
    pub next_hop: IpAddr,
    /// AS numbers, the neighbour's first.
    pub as_path: Arc<[u32]>,
    /// ORIGIN: 0 IGP, 1 EGP, 2 incomplete (RFC 4271 §4.3).
    pub origin: u8,
    /// MULTI_EXIT_DISC, if there was one.
    pub med: Option<u32>,
    /// Standard communities (RFC 1997), AS number in the upper half.
    pub communities: Arc<[u32]>,
    /// Since when it is held with these attributes.
    pub received_at: Instant,
}

impl Route {
    /// As reports show it, with what became of it.
    #[must_use]
    pub fn report(&self, decision: RouteDecision) -> ReceivedRoute {
        ReceivedRoute {
            prefix: self.prefix,
            next_hop: self.next_hop,
            as_path: self.as_path.to_vec(),
            med: self.med,
            communities: self.communities.iter().map(|tag| format!("{}:{}", tag >> 16, tag & 0xffff)).collect(),
            decision,
            stale: false,
        }
    }
}

/// What became of an announcement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Passed everything.
    Accepted,
    /// Refused by the rule of this name.
    Filtered(&'static str),
    /// Admitted, but equal to or inside this subnet of the VPC.
    OverlapsLocal(IpNet),
}

impl Verdict {
    /// Whether the route may be used.
    #[must_use]
    pub const fn is_accepted(&self) -> bool {
        matches!(self, Self::Accepted)
    }

    /// In the words of reports. An accepted route reads `installed`; only the table knows whether another one beat it.
    #[must_use]
    pub fn decision(&self) -> RouteDecision {
        match self {
            Self::Accepted => RouteDecision::Installed,
            Self::Filtered(rule) => RouteDecision::Filtered { by: (*rule).to_owned() },
            Self::OverlapsLocal(subnet) => RouteDecision::Withheld { because: format!("overlaps_local {subnet}") },
        }
    }
}

/// The unchanging facts that announcements are judged by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Judge {
    pub(crate) local_asn: u32,
    pub(crate) local: IpAddr,
    pub(crate) peer: IpAddr,
}

impl Judge {
    /// Rules in order of how little a policy edit could change them.
    fn verdict(&self, route: &Route, over_limit: bool, filter: Option<&Filter>) -> Verdict {
        if route.as_path.contains(&self.local_asn) {
            return Verdict::Filtered("own_asn_in_path");
        }
        if is_martian(&route.prefix) {
            return Verdict::Filtered("martian");
        }
        if self.interconnection().is_some_and(|subnet| subnet.contains(&route.prefix))
            || filter.is_some_and(|filter| filter.is_interconnection(&route.prefix))
        {
            return Verdict::Filtered("interconnection_subnet");
        }
        let link_local = matches!(route.next_hop, IpAddr::V6(hop) if hop.is_unicast_link_local());
        if route.next_hop != self.peer && !link_local {
            return Verdict::Filtered("third_party_next_hop");
        }
        if over_limit {
            return Verdict::Filtered("max_prefixes");
        }
        let Some(filter) = filter else { return Verdict::Filtered("no_policy") };
        let policy = filter.policy();
        if !policy.propagate {
            return Verdict::Filtered("propagation_disabled");
        }
        if !whitelist_admits(&policy.accept, &route.prefix) {
            return Verdict::Filtered("not_in_prefix_filter_in");
        }
        match filter.local_subnet(&route.prefix) {
            Some(subnet) => Verdict::OverlapsLocal(subnet),
            None => Verdict::Accepted,
        }
    }

    /// The longest prefix that holds both inside addresses: the /30 or /126 of the connection, or less.
    fn interconnection(&self) -> Option<IpNet> {
        let length = match (self.local, self.peer) {
            (IpAddr::V4(a), IpAddr::V4(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
            (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
            _ => return None,
        };
        IpNet::new(self.local, u8::try_from(length).ok()?).ok().map(|net| net.trunc())
    }
}

/// Prefixes that are nobody's to announce (RFC 6890): this network, loopback, link-local, multicast, reserved. Shorter prefixes that
/// cover them, the default route included, are not concerned.
fn is_martian(prefix: &IpNet) -> bool {
    match prefix {
        IpNet::V4(net) => {
            let first = net.network().octets();
            let long_enough = |length: u8| net.prefix_len() >= length;
            (long_enough(8) && matches!(first[0], 0 | 127))
                || (long_enough(16) && first[0] == 169 && first[1] == 254)
                || (long_enough(4) && first[0] >= 224)
        }
        IpNet::V6(net) => {
            let first = net.network().segments()[0];
            let long_enough = |length: u8| net.prefix_len() >= length;
            // ::/8 holds the unspecified, loopback and IPv4-mapped addresses.
            (long_enough(8) && first & 0xff00 == 0)
                || (long_enough(10) && first & 0xffc0 == 0xfe80)
                || (long_enough(8) && first & 0xff00 == 0xff00)
        }
    }
}

#[derive(Debug)]
struct Entry {
    /// Shared with whoever was told of it.
    route: Arc<Route>,
    /// Order of arrival of the prefix; decides who moves up when there is room.
    sequence: u64,
    over_limit: bool,
    verdict: Verdict,
    /// From a session that broke off; the peer has not said yet whether it still holds (RFC 4724 §4.2).
    stale: bool,
}

/// The peer's announcements before policy, each with its verdict.
#[derive(Debug)]
pub(crate) struct AdjRibIn {
    judge: Judge,
    limit: usize,
    routes: BTreeMap<IpNet, Entry>,
    /// Those over the limit, oldest first.
    over: BTreeMap<u64, IpNet>,
    sequence: u64,
    accepted: usize,
    /// Announcements were not even remembered.
    lost: bool,
}

impl AdjRibIn {
    pub(crate) fn new(judge: Judge, limit: u32) -> Self {
        Self {
            judge,
            limit: usize::try_from(limit).unwrap_or(usize::MAX),
            routes: BTreeMap::new(),
            over: BTreeMap::new(),
            sequence: 0,
            accepted: 0,
            lost: false,
        }
    }

    /// Takes an UPDATE over; withdrawals first (RFC 4271 §3.1). Whether anything changed.
    pub(crate) fn apply(&mut self, now: Instant, update: &Update, filter: Option<&Filter>) -> bool {
        let mut changed = false;
        // A prefix that is in both is announced (RFC 4271 §4.3), and stays what it was if its attributes are the same.
        let announced: BTreeSet<&IpNet> = match update.withdrawn.as_slice() {
            [] => BTreeSet::new(),
            _ => update.announced.iter().map(|(prefix, _)| prefix).collect(),
        };
        for prefix in update.withdrawn.iter().filter(|prefix| !announced.contains(prefix)) {
            changed |= self.remove(prefix, filter);
        }
        for (prefix, next_hop) in &update.announced {
            let route = Route {
                prefix: *prefix,
                next_hop: *next_hop,
                as_path: Arc::clone(&update.attributes.as_path),
                origin: update.attributes.origin,
                med: update.attributes.med,
                communities: Arc::clone(&update.attributes.communities),
                received_at: now,
            };
            changed |= self.insert(route, filter);
        }
        changed
    }

    fn insert(&mut self, mut route: Route, filter: Option<&Filter>) -> bool {
        let prefix = route.prefix;
        let (sequence, over_limit) = if let Some(held) = self.routes.get_mut(&prefix) {
            held.stale = false;
            let received_at = std::mem::replace(&mut route.received_at, held.route.received_at);
            if route == *held.route {
                return false;
            }
            route.received_at = received_at;
            (held.sequence, held.over_limit)
        } else {
            if self.routes.len() >= self.limit.saturating_add(OVERFLOW) {
                self.lost = true;
                return false;
            }
            self.sequence += 1;
            (self.sequence, self.routes.len() - self.over.len() >= self.limit)
        };
        if over_limit {
            self.over.insert(sequence, prefix);
        }
        let verdict = self.judge.verdict(&route, over_limit, filter);
        self.accepted += usize::from(verdict.is_accepted());
        let entry = Entry { route: Arc::new(route), sequence, over_limit, verdict, stale: false };
        if let Some(old) = self.routes.insert(prefix, entry) {
            self.accepted -= usize::from(old.verdict.is_accepted());
        }
        true
    }

    fn remove(&mut self, prefix: &IpNet, filter: Option<&Filter>) -> bool {
        let Some(gone) = self.routes.remove(prefix) else { return false };
        self.accepted -= usize::from(gone.verdict.is_accepted());
        if gone.over_limit {
            self.over.remove(&gone.sequence);
        } else if let Some((_, next)) = self.over.pop_first()
            && let Some(entry) = self.routes.get_mut(&next)
        {
            entry.over_limit = false;
            entry.verdict = self.judge.verdict(&entry.route, false, filter);
            self.accepted += usize::from(entry.verdict.is_accepted());
        }
        true
    }

    /// Sets the limit: what is over it moves up, oldest first, or what came last goes over it. Whether any verdict changed.
    pub(crate) fn set_limit(&mut self, limit: u32, filter: Option<&Filter>) -> bool {
        self.limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let mut order: Vec<(u64, IpNet)> =
            self.routes.iter().map(|(prefix, entry)| (entry.sequence, *prefix)).collect();
        order.sort_unstable();
        self.over = order.into_iter().skip(self.limit).collect();
        for (prefix, entry) in &mut self.routes {
            entry.over_limit = self.over.get(&entry.sequence) == Some(prefix);
        }
        self.reevaluate(filter)
    }

    /// Judges everything anew. Whether any verdict changed.
    pub(crate) fn reevaluate(&mut self, filter: Option<&Filter>) -> bool {
        let mut changed = false;
        self.accepted = 0;
        for entry in self.routes.values_mut() {
            let verdict = self.judge.verdict(&entry.route, entry.over_limit, filter);
            changed |= verdict != entry.verdict;
            entry.verdict = verdict;
            self.accepted += usize::from(entry.verdict.is_accepted());
        }
        changed
    }

    /// The session broke off: what it held is stale now. What was stale already goes, so that nothing outlives two restarts in a row
    /// (RFC 4724 §4.2). Whether anything went.
    pub(crate) fn make_stale(&mut self, filter: Option<&Filter>) -> bool {
        let changed = self.remove_stale(filter);
        for entry in self.routes.values_mut() {
            entry.stale = true;
        }
        self.lost = false;
        changed
    }

    /// Forgets what is stale. Whether there was anything.
    pub(crate) fn remove_stale(&mut self, filter: Option<&Filter>) -> bool {
        let stale: Vec<IpNet> = self.stale_prefixes().collect();
        for prefix in &stale {
            self.remove(prefix, filter);
        }
        !stale.is_empty()
    }

    /// How many are stale.
    pub(crate) fn stale(&self) -> usize {
        self.stale_prefixes().count()
    }

    /// Those that are stale.
    pub(crate) fn stale_prefixes(&self) -> impl Iterator<Item = IpNet> {
        self.routes.iter().filter(|(_, entry)| entry.stale).map(|(prefix, _)| *prefix)
    }

    /// Forgets everything. Whether there was anything.
    pub(crate) fn clear(&mut self) -> bool {
        let any = !self.routes.is_empty();
        self.routes.clear();
        self.over.clear();
        self.accepted = 0;
        self.lost = false;
        any
    }

    /// Whether announcements that were not remembered should be asked for again, because there is room now. Answers once.
    pub(crate) fn take_room_for_lost(&mut self) -> bool {
        let ask = self.lost && self.routes.len() < self.limit;
        self.lost &= !ask;
        ask
    }

    pub(crate) fn exceeded(&self) -> bool {
        self.lost || !self.over.is_empty()
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    pub(crate) fn received(&self) -> usize {
        self.routes.len()
    }

    /// Announcements over the limit are counted by this alone, once nothing more is remembered.
    pub(crate) fn at_least(&self) -> String {
        if self.lost { format!("more than {}", self.routes.len()) } else { self.routes.len().to_string() }
    }

    pub(crate) fn accepted(&self) -> usize {
        self.accepted
    }

    pub(crate) fn accepted_routes(&self) -> impl Iterator<Item = &Route> {
        self.routes.values().filter(|entry| entry.verdict.is_accepted()).map(|entry| entry.route.as_ref())
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = (&Arc<Route>, &Verdict)> {
        self.routes.values().map(|entry| (&entry.route, &entry.verdict))
    }
}

/// What should be announced: the VPC's subnets and custom routes of the family that the policy lets out. Nothing learned is ever among it, so the
/// gateway is no transit between two customers (system.md §2.6).
pub(crate) fn to_announce(filter: Option<&Filter>, family: Family) -> BTreeSet<IpNet> {
    filter
        .map(Filter::policy)
        .filter(|policy| policy.propagate)
        .into_iter()
        .flat_map(|policy| {
            let routes = policy.local_subnets.iter().chain(&policy.custom_routes);
            routes.filter(|route| whitelist_admits(&policy.announce, route))
        })
        .filter(|route| Family::of_net(route) == family)
        .map(IpNet::trunc)
        .collect()
}
