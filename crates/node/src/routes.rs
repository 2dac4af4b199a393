//! From what every session of a VPC accepted to what each namespace installs, and why (system.md §2.3 to §2.5). Pure.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use causeway_bgp::{Candidate, LinkKind, select};
use causeway_model::observed::RouteDecision;
use causeway_model::{ConnectionId, Family, RouteId, VpnGatewayId};
use ipnet::IpNet;

use crate::table::Learnt;

/// A route that passed its connection's policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Learned {
    /// The gateway that holds the session.
    pub(crate) gateway: VpnGatewayId,
    /// The connection.
    pub(crate) connection: ConnectionId,
    /// What that is: a connection, or the one that stands for a link.
    pub(crate) kind: LinkKind,
    /// The prefix.
    pub(crate) prefix: IpNet,
    /// See [`causeway_bgp::preference`].
    pub(crate) preference: u32,
    /// AS numbers in the path.
    pub(crate) as_path_length: usize,
    /// MED.
    pub(crate) med: Option<u32>,
    /// Since when it is held.
    pub(crate) received_at: Instant,
}

/// What to install where. Shared, because it may be large.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Chosen {
    /// In the VPC's router: prefix → gateways that share the load, each as often as it has connections that do.
    pub(crate) router: Arc<Learnt<VpnGatewayId>>,
    /// In each gateway: prefix → its own connections that share the load, and those that come next.
    pub(crate) gateways: BTreeMap<VpnGatewayId, Arc<Learnt<ConnectionId>>>,
    /// What became of each route.
    pub(crate) decisions: Arc<BTreeMap<(ConnectionId, IpNet), RouteDecision>>,
}

impl Chosen {
    /// The choice that `tables` is, sharing with the one before what did not change, so that whoever gets it sees that at a glance.
    pub(crate) fn after(before: &Self, tables: Tables) -> Self {
        let gateways = tables.gateways.into_iter();
        Self {
            router: shared(Some(&before.router), tables.router),
            gateways: gateways.map(|(id, table)| (id, shared(before.gateways.get(&id), table))).collect(),
            decisions: shared(Some(&before.decisions), tables.decisions),
        }
    }
}

fn shared<T: Eq>(before: Option<&Arc<T>>, now: T) -> Arc<T> {
    before.filter(|before| ***before == now).map_or_else(|| Arc::new(now), Arc::clone)
}

/// What to install where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tables {
    /// In the VPC's router: prefix → gateways that share the load, each as often as it has connections that do.
    pub(crate) router: Learnt<VpnGatewayId>,
    /// In each gateway: prefix → its own connections that share the load, and those that come next.
    pub(crate) gateways: BTreeMap<VpnGatewayId, Learnt<ConnectionId>>,
    /// What became of each route.
    pub(crate) decisions: BTreeMap<(ConnectionId, IpNet), RouteDecision>,
}

/// Chooses among the routes of one VPC. `local` are the VPC's subnets: a learned route equal to or inside one is withheld. `custom` are the
/// tenant's own routes, which beat what is learned for the same prefix everywhere.
pub(crate) fn compute<'a>(
    learned: impl IntoIterator<Item = &'a Learned>,
    local: &[IpNet],
    custom: &BTreeMap<IpNet, RouteId>,
) -> Tables {
    let mut tables = Tables::default();
    let mut by_prefix: BTreeMap<IpNet, Vec<&Learned>> = BTreeMap::new();
    for route in learned {
        let inside = local.iter().find(|subnet| {
            Family::of_net(subnet) == Family::of_net(&route.prefix) && subnet.trunc().contains(&route.prefix)
        });
        match inside {
            Some(subnet) => {
                let because = format!("overlaps_local {}", subnet.trunc());
                tables.decisions.insert((route.connection, route.prefix), RouteDecision::Withheld { because });
            }
            None => match custom.get(&route.prefix) {
                Some(id) => {
                    let by = format!("custom route {id}");
                    tables.decisions.insert((route.connection, route.prefix), RouteDecision::Beaten { by });
                }
                None => by_prefix.entry(route.prefix).or_default().push(route),
            },
        }
    }
    for (prefix, routes) in by_prefix {
        let candidates: Vec<Candidate> = routes
            .iter()
            .map(|route| Candidate {
                preference: route.preference,
                as_path_length: route.as_path_length,
                med: route.med,
                received_at: route.received_at,
            })
            .collect();
        let selection = select(&candidates);
        for route in selection.best.iter().filter_map(|index| routes.get(*index)) {
            tables.router.entry(prefix).or_default().best.push(route.gateway);
            tables.decisions.insert((route.connection, prefix), RouteDecision::Installed);
            tables.gateways.entry(route.gateway).or_default().entry(prefix).or_default().best.push(route.connection);
        }
        for lost in &selection.beaten {
            let (Some(loser), Some(winner)) = (routes.get(lost.index), routes.get(lost.by)) else { continue };
            let kind = match winner.kind {
                LinkKind::Vpn => "connection",
                LinkKind::InterLink => "link",
            };
            let by = format!("{kind} {}: {lost}", winner.connection);
            tables.decisions.insert((loser.connection, prefix), RouteDecision::Beaten { by });
        }
        install_own(&mut tables, prefix, &routes, &candidates);
    }
    tables
}

/// A gateway none of whose routes won still knows the way by its own best, for packets that reach it while tables change. And each knows who of
/// its own comes next, so that the loss of the best waits for nobody's choice.
fn install_own(tables: &mut Tables, prefix: IpNet, routes: &[&Learned], candidates: &[Candidate]) {
    let mut by_gateway: BTreeMap<VpnGatewayId, Vec<usize>> = BTreeMap::new();
    for (index, route) in routes.iter().enumerate() {
        by_gateway.entry(route.gateway).or_default().push(index);
    }
    for (gateway, mut indices) in by_gateway {
        let leaders = tables.gateways.entry(gateway).or_default().entry(prefix).or_default();
        let connection = |index: &usize| routes.get(*index).map(|route| route.connection);
        let best_of = |indices: &[usize]| -> Vec<ConnectionId> {
            let own: Vec<Candidate> = indices.iter().filter_map(|index| candidates.get(*index).copied()).collect();
            select(&own).best.iter().filter_map(|index| indices.get(*index).and_then(connection)).collect()
        };
        if leaders.best.is_empty() {
            leaders.best = best_of(&indices);
        }
        indices.retain(|index| connection(index).is_some_and(|connection| !leaders.best.contains(&connection)));
        leaders.spare = best_of(&indices);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn learned(gateway: VpnGatewayId, connection: ConnectionId, prefix: &str, preference: u32) -> Learned {
        Learned {
            gateway,
            connection,
            kind: LinkKind::Vpn,
            prefix: prefix.parse().expect("a prefix"),
            preference,
            as_path_length: 1,
            med: None,
            received_at: Instant::now(),
        }
    }

    #[test]
    fn equal_routes_share_and_worse_ones_say_what_beat_them() {
        let (g1, g2) = (VpnGatewayId::random(), VpnGatewayId::random());
        let (c1, c2, c3) = (ConnectionId::random(), ConnectionId::random(), ConnectionId::random());
        let net: IpNet = "10.9.0.0/16".parse().expect("a prefix");
        let routes = [
            learned(g1, c1, "10.9.0.0/16", 90),
            learned(g1, c2, "10.9.0.0/16", 90),
            learned(g2, c3, "10.9.0.0/16", 50),
        ];
        let tables = compute(&routes, &[], &BTreeMap::new());
        assert_eq!(tables.router[&net].best, vec![g1, g1], "a share for each of its connections");
        assert_eq!((tables.gateways[&g1][&net].best.len(), tables.gateways[&g1][&net].spare.len()), (2, 0));
        assert_eq!(tables.gateways[&g2][&net].best, vec![c3]);
        assert_eq!(tables.decisions[&(c1, net)], RouteDecision::Installed);
        let RouteDecision::Beaten { by } = &tables.decisions[&(c3, net)] else { panic!("c3 lost") };
        assert!(by.contains("preference 50 is lower than 90"), "{by}");
    }

    #[test]
    fn who_comes_next_stands_ready() {
        let gateway = VpnGatewayId::random();
        let [c1, c2, c3, c4] = [(); 4].map(|()| ConnectionId::random());
        let net: IpNet = "10.9.0.0/16".parse().expect("a prefix");
        let routes = [(c1, 50), (c2, 200), (c3, 90), (c4, 90)]
            .map(|(connection, preference)| learned(gateway, connection, "10.9.0.0/16", preference));
        let tables = compute(&routes, &[], &BTreeMap::new());
        let leaders = &tables.gateways[&gateway][&net];
        assert_eq!((leaders.best.as_slice(), leaders.spare.as_slice()), (&[c2][..], &[c3, c4][..]));

        let hop = |index| [Some(causeway_linux::NextHop::dev(index)), None];
        let mut wish = crate::table::Wish {
            learned: Arc::new(tables.gateways[&gateway].clone()),
            hops: [(c1, hop(1)), (c2, hop(2)), (c3, hop(3)), (c4, hop(4))].into(),
            ..Default::default()
        };
        let by = |wish: &crate::table::Wish<ConnectionId>| match &wish.routes()[&net].kind {
            causeway_linux::RouteKind::Unicast { nexthops } => nexthops.iter().map(|hop| hop.dev).collect::<Vec<_>>(),
            other => panic!("{other:?}"),
        };
        assert_eq!(by(&wish), [2]);
        wish.hops.remove(&c2);
        assert_eq!(by(&wish), [3, 4], "without a new choice");
    }

    #[test]
    fn what_did_not_change_is_the_same_object() {
        let (gateway, connection) = (VpnGatewayId::random(), ConnectionId::random());
        let mut routes = vec![learned(gateway, connection, "10.9.0.0/16", 90)];
        let first = Chosen::after(&Chosen::default(), compute(&routes, &[], &BTreeMap::new()));
        let second = Chosen::after(&first, compute(&routes, &[], &BTreeMap::new()));
        assert!(Arc::ptr_eq(&first.router, &second.router) && Arc::ptr_eq(&first.decisions, &second.decisions));
        assert!(Arc::ptr_eq(&first.gateways[&gateway], &second.gateways[&gateway]));
        routes.push(learned(gateway, connection, "10.8.0.0/16", 90));
        let third = Chosen::after(&second, compute(&routes, &[], &BTreeMap::new()));
        assert!(!Arc::ptr_eq(&second.router, &third.router) && third.router.len() == 2);
    }

    #[test]
    fn routes_inside_the_vpc_are_withheld_and_wider_ones_are_not() {
        let (gateway, connection) = (VpnGatewayId::random(), ConnectionId::random());
        let local: IpNet = "10.0.0.0/24".parse().expect("a prefix");
        let routes = [
            learned(gateway, connection, "10.0.0.0/24", 90),
            learned(gateway, connection, "10.0.0.128/25", 90),
            learned(gateway, connection, "10.0.0.0/16", 90),
        ];
        let tables = compute(&routes, &[local], &BTreeMap::new());
        assert_eq!(tables.router.len(), 1);
        assert!(matches!(tables.decisions[&(connection, local)], RouteDecision::Withheld { .. }));
        assert_eq!(tables.decisions[&(connection, "10.0.0.0/16".parse().expect("a prefix"))], RouteDecision::Installed);
    }
    #[test]
    fn a_custom_route_beats_what_is_learned_for_the_same_prefix() {
        let (gateway, connection, id) = (VpnGatewayId::random(), ConnectionId::random(), RouteId::random());
        let net = |text: &str| -> IpNet { text.parse().expect("a prefix") };
        let routes = [
            learned(gateway, connection, "10.9.0.0/16", 200),
            learned(gateway, connection, "10.9.1.0/24", 50),
            learned(gateway, connection, "10.0.0.0/24", 50),
        ];
        let custom = BTreeMap::from([(net("10.9.0.0/16"), id), (net("10.0.0.0/24"), id)]);
        let tables = compute(&routes, &[net("10.0.0.0/24")], &custom);
        assert_eq!(tables.router.keys().collect::<Vec<_>>(), [&net("10.9.1.0/24")], "the longer prefix stays");
        assert_eq!(tables.gateways[&gateway].keys().collect::<Vec<_>>(), [&net("10.9.1.0/24")]);
        let beaten = RouteDecision::Beaten { by: format!("custom route {id}") };
        assert_eq!(tables.decisions[&(connection, net("10.9.0.0/16"))], beaten);
        let local = &tables.decisions[&(connection, net("10.0.0.0/24"))];
        assert!(matches!(local, RouteDecision::Withheld { .. }), "local comes before custom");
    }
}
