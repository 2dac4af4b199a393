//! Random actions of tenants, partners, support, operators and whoever sets the clock, and the passing of time: no link leaves the diagram of system.md §3,
//! and what links take of the catalogue always adds up. One seed reproduces.

use std::collections::{BTreeMap, BTreeSet};

use causeway_controller::{PartnerAction, UsageQuery};
use causeway_model::command::{CatalogueFile, FiledPort, LinkFilter, LinkPolicyChange, NewVpc, PopFilter, PortChange};
use causeway_model::resource::{Caller, LinkHost, Port, PortOwner, Role};
use causeway_model::status::LinkStatus;
use causeway_model::view::LinkState;
use causeway_model::{Error, LinkId, RoutingPolicyId, Timestamp, VpcId};

use crate::harness::{FakeNode, REGION, World, kind, list, meta, until};
use crate::interlink::{Catalogue, DAY, SIZES};

/// A small generator (xorshift64*), so that a seed says everything.
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
        usize::try_from(number).expect("31 bits") % end
    }

    fn of<T: Clone>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())].clone()
    }
}

/// Steps from one stage to another; what is not here never happens, and every stage may stay.
const STAGES: [(&str, &[&str]); 7] = [
    ("configuring", &["requested", "in service", "failed"]),
    ("requested", &["provisioning", "refused", "expired"]),
    ("provisioning", &["in service"]),
    ("in service", &[]),
    ("refused", &[]),
    ("expired", &[]),
    ("failed", &["requested", "in service"]),
];

/// Steps from one status to another. A lock hides every status, so that what follows it is judged by the stage alone.
const STATUSES: [(LinkStatus, &[LinkStatus]); 11] = {
    use LinkStatus as S;
    [
        (S::Configuring, &[S::Requested, S::Ready, S::Failed]),
        (S::Requested, &[S::Provisioning, S::Refused, S::Expired, S::Deleted]),
        (S::Provisioning, &[S::Active, S::AllDown, S::Deprovisioning, S::Deleted]),
        (S::Active, &[S::AllDown, S::LimitedConnectivity, S::Deprovisioning]),
        (S::LimitedConnectivity, &[S::Active, S::AllDown, S::Deprovisioning]),
        (S::AllDown, &[S::Active, S::LimitedConnectivity, S::Deprovisioning]),
        (S::Ready, &[S::Deprovisioning, S::Deleted]),
        (S::Refused, &[S::Deleted]),
        (S::Expired, &[S::Deleted]),
        (S::Failed, &[S::Requested, S::Configuring, S::Ready, S::Deleted]),
        (S::Deprovisioning, &[S::Deleted]),
    ]
};

fn follows<T: PartialEq + Copy>(steps: &[(T, &[T])], from: T, to: T) -> bool {
    from == to || steps.iter().any(|(at, next)| *at == from && next.contains(&to))
}

/// What was seen of a link last.
#[derive(Clone, Debug)]
struct Seen {
    status: LinkStatus,
    stage: &'static str,
    deleted_by_tenant: Option<Timestamp>,
    /// Its tenant's DELETE was answered: from then on it may be gone.
    deleting: bool,
    /// When it was no longer billed.
    billed_until: Option<Timestamp>,
}

struct Walk<'a> {
    world: &'a World,
    catalogue: &'a Catalogue,
    tenant: Caller,
    /// A tenant and a partner to whom the links do not exist.
    strangers: [Caller; 2],
    numbers: Numbers,
    links: BTreeMap<LinkId, Seen>,
    vpcs: Vec<VpcId>,
    policies: Vec<RoutingPolicyId>,
    enabled: bool,
    /// Seconds by which the clock was set.
    ahead: i64,
    done: BTreeMap<&'static str, usize>,
}

impl Walk<'_> {
    async fn step(&mut self) -> (String, Option<Error>) {
        let (world, catalogue) = (self.world, self.catalogue);
        let (c, operator, tenant) = (&world.controller, &world.operator, &self.tenant);
        let ids: Vec<LinkId> = self.links.keys().copied().collect();
        if ids.is_empty() || self.numbers.below(5) == 0 {
            let size = self.numbers.of(&SIZES).0;
            let new = if self.numbers.below(3) == 0 { catalogue.self_hosted(size) } else { catalogue.hosted(size) };
            let result = c.create_link(tenant, REGION, new).await;
            if let Ok(made) = &result {
                let stage = if made.link.partner_id().is_some() { "requested" } else { "in service" };
                let stage = if made.status == LinkStatus::Configuring { "configuring" } else { stage };
                let seen =
                    Seen { status: made.status, stage, deleted_by_tenant: None, deleting: false, billed_until: None };
                self.links.insert(made.link.id, seen);
            }
            return ("order".to_owned(), result.err());
        }
        let what = self.numbers.below(21);
        // Half of the time somebody acts whose turn it is: else few links would get anywhere.
        let turn = match what {
            0..=2 => "requested",
            4..=6 => "provisioning",
            7 | 8 | 16 => "in service",
            13 => "failed",
            _ => "",
        };
        let fitting: Vec<LinkId> =
            self.links.iter().filter(|(_, seen)| seen.stage == turn).map(|(id, _)| *id).collect();
        let id = if fitting.is_empty() || self.numbers.below(2) == 0 {
            self.numbers.of(&ids)
        } else {
            self.numbers.of(&fitting)
        };
        let partner = &catalogue.as_partner;
        let error = match what {
            0..=2 => c.act_as_partner(partner, id, PartnerAction::Accept).await.err(),
            3 => c.act_as_partner(partner, id, PartnerAction::Refuse("no".to_owned())).await.err(),
            4..=6 => c.act_as_partner(partner, id, PartnerAction::Provisioned).await.err(),
            7 => c.act_as_partner(partner, id, PartnerAction::StartDeprovisioning).await.err(),
            8 => c.act_as_partner(partner, id, PartnerAction::Deprovisioned).await.err(),
            9 | 10 => {
                let result = c.delete_link(tenant, REGION, id).await;
                if let Some(seen) = self.links.get_mut(&id) {
                    seen.deleting |= result.is_ok();
                }
                result.err()
            }
            11 if self.numbers.below(4) == 0 => {
                self.strangers_meet_nothing(id).await;
                None
            }
            11 => c.set_link_propagation(tenant, REGION, id, self.numbers.below(3) == 0).await.err(),
            12 => {
                let reason = (self.numbers.below(3) == 0).then(|| "because".to_owned());
                c.set_link_locked(operator, REGION, id, reason).await.err()
            }
            13 => c.repair_link(operator, REGION, id).await.err(),
            14 => {
                self.enabled = !self.enabled;
                if self.numbers.below(2) == 0 {
                    let error = c.apply_catalogue(operator, &self.file(), false).await.err();
                    return ("a catalogue file".to_owned(), error);
                }
                let change = PortChange { enabled: Some(self.enabled), ..PortChange::default() };
                c.update_port(operator, catalogue.port.id, change).await.err()
            }
            15 => match self.numbers.below(2) {
                0 => c.attach_link_vpc(tenant, REGION, id, self.numbers.of(&self.vpcs.clone())).await.err(),
                _ => c.detach_link_vpc(tenant, REGION, id).await.err(),
            },
            16 => {
                let change = LinkPolicyChange { link: id, policy: self.numbers.of(&self.policies.clone()) };
                match self.numbers.below(3) {
                    0 => c.attach_link_policy(tenant, REGION, change).await.err(),
                    1 => c.set_link_policy(tenant, REGION, change).await.err(),
                    _ => c.detach_link_policy(tenant, REGION, change).await.err(),
                }
            }
            20 => {
                self.set_clock().await;
                None
            }
            17 | 18 => {
                world.pass_heard(self.numbers.of(&[1, 31, 61, 3600])).await;
                None
            }
            _ => {
                world.pass_heard(self.numbers.of(&[3600, DAY, DAY, 3 * DAY, 10 * DAY])).await;
                None
            }
        };
        (format!("{what} on {id}"), error)
    }

    /// Nothing that is waited for ends because somebody sets the clock; what was set forward is set back the next time.
    async fn set_clock(&mut self) {
        let c = &self.world.controller;
        let by = if self.ahead == 0 { self.numbers.of(&[3600, DAY, 11 * DAY, 400 * DAY]) } else { -self.ahead };
        let mut before = BTreeMap::new();
        for id in self.links.keys() {
            let state = c.link_state(&self.world.operator, REGION, *id).await;
            before.insert(*id, state.map(|state| (state.statuses.status, state.lifecycle)).ok());
        }
        self.world.set_clock(by).await;
        self.ahead += by;
        for (id, seen) in &mut self.links {
            let state = c.link_state(&self.world.operator, REGION, *id).await;
            let after = state.map(|state| (state.statuses.status, state.lifecycle)).ok();
            assert_eq!(before.get(id), Some(&after), "{id}: the clock was set by {by} s");
            if let Some(at) = &mut seen.deleted_by_tenant {
                *at = at.plus_seconds(by);
            }
        }
        *self.done.entry(if by > 0 { "set forward" } else { "set back" }).or_default() += 1;
    }

    /// Waits until the node owes nothing: for moments in between, every link in service is `configuring`.
    async fn settle(&self) {
        let (c, operator) = (&self.world.controller, &self.world.operator);
        until(c, async || {
            for (id, seen) in &self.links {
                let Ok(state) = c.link_state(operator, REGION, *id).await else { continue };
                let own = matches!(state.statuses.link.host, LinkHost::Dedicated { .. });
                let life = &state.statuses.link.life;
                let removing = own && life.tenant_deleted_at.is_some() && life.removed_at.is_none();
                let running = state.lifecycle == "in service" && life.tenant_deleted_at.is_none();
                if removing || (running && state.applied_revision != state.desired_revision) {
                    assert_ne!(seen.status, LinkStatus::Deleted);
                    return false;
                }
            }
            true
        })
        .await;
    }

    /// The ports as they are to be, as the operator's file says it.
    fn file(&self) -> CatalogueFile {
        let ports = [(&self.catalogue.port, self.enabled), (&self.catalogue.dedicated_port, true)];
        let filed = |(port, enabled): (&Port, bool)| {
            let (partner, dedicated) = match port.owner {
                PortOwner::Partner(id) => (Some(id.to_string()), None),
                PortOwner::DedicatedConnection(id) => (None, Some(id.to_string())),
            };
            FiledPort {
                id: Some(port.id),
                name: port.name.clone(),
                pop: port.pop_id.to_string(),
                partner,
                dedicated_connection: dedicated,
                node: port.node_id.map(|id| id.to_string()),
                attachment: port.attachment.clone(),
                vlan_range: Some(port.vlan_range),
                capacity_mbps: port.capacity_mbps,
                enabled,
            }
        };
        CatalogueFile { ports: Some(ports.map(filed).to_vec()), ..CatalogueFile::default() }
    }

    /// Nobody acts on a link that is neither his nor addressed to him.
    async fn strangers_meet_nothing(&mut self, id: LinkId) {
        let c = &self.world.controller;
        let [tenant, partner] = &self.strangers;
        let mut errors = vec![
            c.link_state(tenant, REGION, id).await.map(drop).expect_err("another project's"),
            c.delete_link(tenant, REGION, id).await.map(drop).expect_err("another project's"),
            c.set_link_propagation(tenant, REGION, id, true).await.map(drop).expect_err("another project's"),
        ];
        let refused = PartnerAction::Refuse("no".to_owned());
        for action in [PartnerAction::Accept, refused, PartnerAction::Provisioned, PartnerAction::Deprovisioned] {
            errors.push(c.act_as_partner(partner, id, action).await.map(drop).expect_err("another partner's"));
        }
        assert!(errors.iter().all(|error| kind(error) == "404 link"), "{errors:?}");
        *self.done.entry("stranger").or_default() += 1;
    }

    /// Every link has stayed where it was or made a step of the diagram.
    async fn follow(&mut self, step: &str) {
        let (c, operator) = (&self.world.controller, &self.world.operator);
        for (id, seen) in self.links.clone() {
            let state: LinkState = match c.link_state(operator, REGION, id).await {
                Ok(state) => state,
                Err(error) => {
                    assert_eq!(kind(&error), "404 link");
                    assert!(seen.deleting, "{step}: {id} was {seen:?} and is gone");
                    self.links.remove(&id);
                    *self.done.entry("gone").or_default() += 1;
                    continue;
                }
            };
            let (status, stage) = (state.statuses.status, state.lifecycle);
            *self.done.entry(status.as_str()).or_default() += 1;
            assert!(follows(&STAGES, seen.stage, stage), "{step}: {id} from {} to {stage}", seen.stage);
            let locked = [status, seen.status].contains(&LinkStatus::Locked);
            assert!(locked || follows(&STATUSES, seen.status, status), "{step}: {id} from {} to {status}", seen.status);
            if [status, seen.status] == [LinkStatus::Locked; 2] && seen.stage != stage {
                *self.done.entry("moved under a lock").or_default() += 1;
            }
            let deleted_by_tenant = state.statuses.link.life.tenant_deleted_at;
            assert_eq!(deleted_by_tenant.is_some(), seen.deleting, "{step}: {id} is deleted by whoever owns it");
            assert!(seen.deleted_by_tenant.is_none() || deleted_by_tenant == seen.deleted_by_tenant);
            let billed_until = seen.billed_until.or(deleted_by_tenant);
            self.links.insert(id, Seen { status, stage, deleted_by_tenant, deleting: seen.deleting, billed_until });
        }
    }

    /// What links take of ports, PoPs and address blocks is theirs alone and no more than there is.
    async fn add_up(&self, step: &str) {
        let (c, operator) = (&self.world.controller, &self.world.operator);
        let page = c.list_links(operator, REGION, &list(), &LinkFilter::default()).await.expect("listed");
        let live = self.links.values().filter(|seen| seen.status != LinkStatus::Deleted).count();
        assert_eq!(page.total as usize, live, "{step}");
        let (mut vlans, mut addresses, mut keys) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        let mut used: BTreeMap<_, u64> = BTreeMap::new();
        for statuses in &page.items {
            let link = &statuses.link;
            assert!(vlans.insert((link.port_id, link.vlan)), "{step}: VLAN id {} twice", link.vlan);
            for pair in [link.ipv4, link.ipv6] {
                assert!(addresses.insert(pair.ours) && addresses.insert(pair.theirs), "{step}: {pair:?} twice");
            }
            if let LinkHost::Partner { pairing_key, .. } = link.host {
                assert!(keys.insert(pairing_key), "{step}: a pairing key twice");
            }
            *used.entry(link.port_id).or_default() += link.bandwidth_mbps;
            let filter = LinkFilter { status: Some(statuses.status), ..LinkFilter::default() };
            let same = c.list_links(operator, REGION, &list(), &filter).await.expect("listed");
            assert!(same.items.iter().any(|other| other.link.id == link.id), "{step}: the filter's copy is another");
        }
        for port in [&self.catalogue.port, &self.catalogue.dedicated_port] {
            let most = if port.id == self.catalogue.port.id { 1000 } else { self.catalogue.dedicated.bandwidth_mbps };
            assert!(used.get(&port.id).copied().unwrap_or(0) <= most, "{step}: {} is overbooked", port.name);
        }
        let pops = c.list_pops(operator, REGION, &list(), &PopFilter::default()).await.expect("listed");
        let here = pops.items.iter().find(|view| view.pop.id == self.catalogue.pop.id).expect("there");
        let free = if self.enabled { 1000 - used.get(&self.catalogue.port.id).copied().unwrap_or(0) } else { 0 };
        let expected: Vec<u64> = SIZES.map(|(size, _)| size).into_iter().filter(|size| *size <= free).collect();
        assert_eq!(here.available_link_bandwidths_mbps, expected, "{step}");
    }

    /// Every order is billed, from itself to its tenant's deletion.
    async fn billed(&self) {
        let (c, operator) = (&self.world.controller, &self.world.operator);
        // What happened while the clock was ahead is billed there.
        self.world.set_clock(1000 * DAY).await;
        let (from, to) = (Timestamp(0), self.world.time().plus_seconds(1));
        let query = UsageQuery { from, to, project_id: None, page: 1, page_size: 1000 };
        let page = c.usage(operator, REGION, &query).await.expect("usage");
        for (id, seen) in &self.links {
            let record = page.items.iter().find(|record| record.resource_id == id.0).expect("billed");
            assert_eq!(record.ended_at, seen.billed_until, "{id}");
        }
    }
}

#[tokio::test]
async fn no_action_of_any_party_leaves_the_diagram() {
    let mut done: BTreeMap<&'static str, usize> = BTreeMap::new();
    for seed in 1..=8_u64 {
        let world = World::new().await;
        let catalogue = world.catalogue().await;
        let new = || NewVpc { meta: meta("vpc") };
        let mut vpcs = Vec::new();
        for _ in 0..2 {
            vpcs.push(world.controller.create_vpc(&world.operator, REGION, new()).await.expect("made").id);
        }
        FakeNode::attach(&world.controller).await.run();
        let policies = vec![world.link_policy(false).await.id, world.link_policy(true).await.id];
        let other = world.partner("FreePro").await.id;
        let rival = world.caller_for(Role::Partner, world.operator.project_id, Some(other)).await;
        let numbers = Numbers(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let mut walk = Walk {
            world: &world,
            catalogue: &catalogue,
            tenant: world.caller(Role::Tenant, world.operator.project_id).await,
            strangers: [world.tenant().await, rival],
            numbers,
            links: BTreeMap::new(),
            vpcs,
            policies,
            enabled: true,
            ahead: 0,
            done: BTreeMap::new(),
        };
        for number in 0..200 {
            let (step, error) = walk.step().await;
            let step = format!("seed {seed}, step {number}: {step}, {error:?}");
            if let Some(error) = &error {
                let expected = ["400", "404", "409", "412", "423", "503"];
                assert!(expected.iter().any(|code| kind(error).starts_with(code)), "{step}");
            }
            walk.settle().await;
            walk.follow(&step).await;
            walk.add_up(&step).await;
        }
        walk.billed().await;
        for (what, count) in walk.done {
            *done.entry(what).or_default() += count;
        }
    }
    // A walk that goes nowhere proves nothing.
    let everything = [
        "configuring",
        "failed",
        "requested",
        "refused",
        "expired",
        "provisioning",
        "active",
        "all_down",
        "deprovisioning",
        "deleted",
        "locked",
        "ready",
        "gone",
        "stranger",
        "moved under a lock",
        "set forward",
        "set back",
    ];
    for what in everything {
        assert!(done.contains_key(what), "no link was ever {what}: {done:?}");
    }
}
