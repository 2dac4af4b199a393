//! Custom routes, learned routes, access lists, attachments, and the addresses that routes lead through.

use causeway_controller::AuditFilter;
use causeway_model::acl::{Acl, AclAction, AclProtocol, AclRule, PortRange};
use causeway_model::command::{CustomResource, ListQuery, NewBgp, NewConnection, NewIp, NewIpSource, OrderField};
use causeway_model::explain::Question;
use causeway_model::observed::{AclCounters, Counter, ReceivedRoute, Refusal, RouteDecision};
use causeway_model::resource::{Caller, Ip, PrivateNetwork};
use causeway_model::route::{NewNextHop, NewRoute, Route, RouteChange, RouteFilter, RouteKind, RouteWithNextHop};
use causeway_model::status::VpnGatewayStatus;
use causeway_model::{Error, Family, Fault, IpId, PrivateNetworkId, ReasonCode, RouteId, VpcId};
use ipnet::IpNet;
use uuid::Uuid;

use crate::harness::{FakeNode, REGION, World, acknowledgement, kind, list, new_connection, until};

const MAC: &str = "BC:24:11:74:D0:5B";

fn net(text: &str) -> IpNet {
    text.parse().expect("a prefix")
}

fn resource(mac: &str) -> CustomResource {
    CustomResource { mac_address: mac.to_owned(), name: Some("router".to_owned()) }
}

fn to(destination: &str, vpc: VpcId, resource: Option<Uuid>, network: Option<PrivateNetworkId>) -> NewRoute {
    let next_hop = NewNextHop { resource, network };
    NewRoute {
        description: String::new(),
        tags: vec!["t".to_owned()],
        vpc_id: vpc,
        destination: net(destination),
        next_hop,
    }
}

fn rule(protocol: AclProtocol, source: &str, ports: (u16, u16)) -> AclRule {
    AclRule {
        protocol,
        source: net(source),
        source_ports: PortRange { low: 0, high: 0 },
        destination: net(if source.contains(':') { "::/0" } else { "0.0.0.0/0" }),
        destination_ports: PortRange { low: ports.0, high: ports.1 },
        action: AclAction::Drop,
        description: None,
    }
}

impl World {
    /// What an explanation of some prefix says that the node owes: the reason, of what, the revision in force and the newest.
    async fn caveats(&self, vpc: VpcId) -> Vec<(ReasonCode, String, String, String)> {
        let question = Question::Prefix(net("10.9.0.0/24"));
        let answer = self.controller.explain_route(&self.operator, REGION, vpc, &question).await.expect("there");
        let evidence = |fault: &Fault, key: &str| fault.evidence.get(key).cloned().unwrap_or_default();
        let told = |fault: Fault| {
            let [of, applied, desired] =
                ["of", "applied_revision", "desired_revision"].map(|key| evidence(&fault, key));
            (fault.code, of, applied, desired)
        };
        answer.caveats.into_iter().map(told).collect()
    }

    async fn attached(&self, caller: &Caller, network: &PrivateNetwork, is_ipv6: bool) -> Ip {
        let new = NewIp {
            project_id: None,
            source: NewIpSource::PrivateNetwork(network.id),
            is_ipv6,
            address: None,
            resource: Some(resource(MAC)),
            tags: Vec::new(),
        };
        self.controller.book_ip(caller, REGION, new).await.expect("booked")
    }

    async fn route(&self, new: NewRoute) -> Result<Route, Error> {
        self.controller.create_route(&self.operator, REGION, new).await
    }

    async fn routes(&self, query: &ListQuery, filter: &RouteFilter) -> Vec<RouteWithNextHop> {
        self.controller.list_routes(&self.operator, REGION, query, filter).await.expect("listed").items
    }

    async fn destinations(&self, query: &ListQuery, filter: &RouteFilter) -> Vec<String> {
        let routes = self.routes(query, filter).await;
        routes.iter().map(|shown| shown.route.destination.to_string()).collect()
    }
}

#[tokio::test]
async fn a_route_reaches_the_node_with_its_next_hops_address() {
    let world = World::new().await;
    let mut node = FakeNode::attach(&world.controller).await;
    let network = world.network(&world.operator).await;
    let vpc = network.vpc_id;
    let (four, six) =
        (world.attached(&world.operator, &network, false).await, world.attached(&world.operator, &network, true).await);
    let through = world.route(to("10.9.0.0/16", vpc, Some(four.id.0), None)).await.expect("made");
    assert_eq!((through.description.as_str(), through.network), ("Custom route", Some(network.id)));
    assert_eq!((through.kind, through.created_at), (RouteKind::Custom, through.updated_at));
    world.route(to("fd99::/16", vpc, Some(six.id.0), Some(network.id))).await.expect("made");
    world.route(to("0.0.0.0/0", vpc, None, Some(network.id))).await.expect("made");
    let desired = node.wait_for(|desired| desired.vpcs.iter().any(|vpc| vpc.custom_routes.len() == 3)).await;
    let router = desired.vpcs.iter().find(|router| router.id == vpc).expect("the VPC's router");
    assert!(router.announce_custom_routes);
    let hops: Vec<_> = router.custom_routes.iter().map(|route| (route.destination, route.next_hop)).collect();
    let expected = [
        (net("10.9.0.0/16"), Some(four.address.addr())),
        (net("fd99::/16"), Some(six.address.addr())),
        (net("0.0.0.0/0"), None),
    ];
    assert_eq!(hops, expected);
    assert!(router.custom_routes.iter().all(|route| route.network == network.id));
    let revision = router.revision;

    let id = through.id.expect("custom routes have ids");
    let words = RouteChange { description: Some("d".into()), tags: Some(vec!["u".into()]), ..RouteChange::default() };
    let changed = world.controller.update_route(&world.operator, REGION, id, words).await.expect("changed");
    assert_eq!((changed.description.as_str(), &changed.tags), ("d", &vec!["u".to_owned()]));
    assert_eq!(world.controller.route(&world.operator, REGION, id).await.expect("there"), changed);
    let moved = RouteChange { destination: Some(net("10.8.0.0/16")), ..RouteChange::default() };
    world.controller.update_route(&world.operator, REGION, id, moved).await.expect("changed");
    let desired = node.wait_for(|desired| desired.vpcs.iter().any(|router| router.revision > revision)).await;
    let router = desired.vpcs.iter().find(|router| router.id == vpc).expect("the VPC's router");
    assert_eq!(router.revision, revision + 1, "words are no business of the router's");
    assert_eq!(router.custom_routes[0].destination, net("10.8.0.0/16"));
    assert_eq!(router.custom_routes[0].next_hop, Some(four.address.addr()));

    world.controller.set_custom_routes_propagation(&world.operator, REGION, vpc, false).await.expect("set");
    world.controller.delete_route(&world.operator, REGION, id).await.expect("deleted");
    let gone = world.controller.route(&world.operator, REGION, id).await.expect_err("gone");
    assert_eq!(gone, Error::NotFound { resource: "unknown", id: String::new() });
    let desired = node.wait_for(|desired| desired.vpcs.iter().any(|vpc| vpc.custom_routes.len() == 2)).await;
    let router = desired.vpcs.iter().find(|router| router.id == vpc).expect("the VPC's router");
    assert!(!router.announce_custom_routes);
}

#[tokio::test]
async fn what_no_route_may_be() {
    let world = World::new().await;
    let network = world.network(&world.operator).await;
    let other = world.network(&world.operator).await;
    let vpc = network.vpc_id;
    let ip = world.attached(&world.operator, &network, false).await;
    let gateway = world.gateway(&world.operator, &network).await;
    let tenant = world.tenant().await;
    let foreign = world.network(&tenant).await;
    let foreign_ip = world.attached(&tenant, &foreign, false).await;
    let loose = NewIp {
        project_id: None,
        source: NewIpSource::PrivateNetwork(network.id),
        is_ipv6: false,
        address: None,
        resource: None,
        tags: Vec::new(),
    };
    let loose = world.controller.book_ip(&world.operator, REGION, loose).await.expect("booked");
    let first = world.route(to("10.0.0.0/8", vpc, Some(ip.id.0), None)).await.expect("made");
    let through = |destination: &str| to(destination, vpc, Some(ip.id.0), None);
    let subnet = network.subnets[0].subnet.to_string();
    let host = format!("{}/32", ip.address.addr());
    let cases = [
        (through("10.0.0.0/8"), "409 exists route"),
        (through(&subnet), "400 destination"),
        (through(&host), "400 destination"),
        (through("172.16.1.0/24"), "400 destination"),
        (through("10.0.0.1/16"), "400 destination"),
        (through("169.254.1.0/24"), "400 destination"),
        (through("fd99::/16"), "400 nexthop_resource_id"),
        (to("10.1.0.0/16", vpc, None, None), "400 nexthop_resource_id"),
        (to("10.1.0.0/16", vpc, Some(gateway.gateway.id.0), None), "400 nexthop_resource_id"),
        (to("10.1.0.0/16", vpc, Some(ip.id.0), Some(other.id)), "400 nexthop_private_network_id"),
        (to("10.1.0.0/16", vpc, Some(loose.id.0), None), "404 ip"),
        (to("10.1.0.0/16", vpc, Some(foreign_ip.id.0), None), "404 ip"),
        (to("10.1.0.0/16", vpc, None, Some(foreign.id)), "404 private_network"),
        (to("10.1.0.0/16", vpc, None, Some(PrivateNetworkId::random())), "404 private_network"),
        (to("10.1.0.0/16", foreign.vpc_id, Some(ip.id.0), None), "404 ip"),
        (to("10.1.0.0/16", VpcId::random(), Some(ip.id.0), None), "404 vpc"),
    ];
    for (new, expected) in cases {
        let text = format!("{new:?}");
        assert_eq!(kind(&world.route(new).await.expect_err(&text)), expected, "{text}");
    }
    let id = first.id.expect("an id");
    let controller = &world.controller;
    let error = controller.create_route(&tenant, REGION, through("10.2.0.0/16")).await.expect_err("not its VPC");
    assert_eq!(kind(&error), "404 vpc");
    assert_eq!(kind(&controller.route(&tenant, REGION, id).await.expect_err("not its route")), "404 unknown");
    assert_eq!(kind(&controller.delete_route(&tenant, REGION, id).await.expect_err("not its route")), "404 unknown");
    assert_eq!(
        kind(&controller.route(&world.operator, REGION, RouteId::random()).await.expect_err("none")),
        "404 unknown"
    );
    let second = world.route(through("10.3.0.0/16")).await.expect("made").id.expect("an id");
    let onto = RouteChange { destination: Some(net("10.0.0.0/8")), ..RouteChange::default() };
    let error = controller.update_route(&world.operator, REGION, second, onto).await.expect_err("taken");
    assert_eq!(kind(&error), "409 exists route");
    let family = RouteChange { destination: Some(net("fd99::/16")), ..RouteChange::default() };
    let error = controller.update_route(&world.operator, REGION, second, family).await.expect_err("no IPv6 next hop");
    assert_eq!(kind(&error), "400 nexthop_resource_id");
    // What a route needs stays: the address, what uses it, the network.
    let error = controller.move_ip(&world.operator, REGION, ip.id, ("resource", resource(MAC)), None).await;
    assert_eq!(kind(&error.expect_err("needed")), "412 resource_still_in_use");
    let error = controller.release_ip(&world.operator, REGION, ip.id).await.expect_err("needed");
    assert_eq!(kind(&error), "412 resource_still_in_use");
    world.route(to("10.4.0.0/16", vpc, None, Some(other.id))).await.expect("made");
    let error = controller.delete_private_network(&world.operator, REGION, other.id).await.expect_err("needed");
    assert_eq!(kind(&error), "412 resource_still_in_use");
    // A subnet beats every route into it, so that none is put over one unasked.
    let new = causeway_model::command::NewPrivateNetwork {
        meta: crate::harness::meta("network"),
        subnets: vec![net("10.4.0.0/16")],
        vpc_id: Some(vpc),
        default_route_propagation_enabled: false,
    };
    let error = controller.create_private_network(&world.operator, REGION, new).await.expect_err("covers a route");
    assert_eq!(kind(&error), "400 subnets");
}

#[tokio::test]
async fn no_subnet_is_allotted_over_a_route_where_all_usual_ones_are_taken() {
    let world = World::new().await;
    let network = world.network(&world.operator).await;
    let vpc = crate::harness::meta("elsewhere");
    let vpc = causeway_model::command::NewVpc { meta: vpc };
    let elsewhere = world.controller.create_vpc(&world.operator, REGION, vpc).await.expect("made").id;
    let new = |vpc, subnets| causeway_model::command::NewPrivateNetwork {
        meta: crate::harness::meta("network"),
        subnets,
        vpc_id: Some(vpc),
        default_route_propagation_enabled: false,
    };
    let create = async |new| world.controller.create_private_network(&world.operator, REGION, new).await;
    create(new(elsewhere, vec![net("172.16.0.0/12")])).await.expect("another VPC may have the same ranges");
    assert_eq!(network.subnets[0].subnet, net("172.16.0.0/22"));
    world.route(to("172.16.5.0/24", network.vpc_id, None, Some(network.id))).await.expect("made");
    let allotted = create(new(network.vpc_id, Vec::new())).await.expect("made");
    assert_eq!(allotted.subnets[0].subnet, net("172.16.8.0/22"), "neither the other network's nor the route's");
}

#[tokio::test]
async fn a_next_hop_can_become_the_private_network_itself() {
    let world = World::new().await;
    let network = world.network(&world.operator).await;
    let ip = world.attached(&world.operator, &network, false).await;
    let through = to("10.0.0.0/8", network.vpc_id, Some(ip.id.0), None);
    let made = world.route(through).await.expect("made");
    let id = made.id.expect("an id");
    assert_eq!((made.resource, made.network), (Some(ip.id.0), Some(network.id)));
    let update = async |change| world.controller.update_route(&world.operator, REGION, id, change).await;
    let hop = NewNextHop { resource: None, network: Some(network.id) };
    let kept = update(RouteChange { next_hop: hop, ..RouteChange::default() }).await.expect("changed");
    assert_eq!((kept.resource, kept.network), (Some(ip.id.0), Some(network.id)), "a network alone takes nothing away");
    let change = RouteChange { next_hop: hop, no_resource: true, ..RouteChange::default() };
    let changed = update(change).await.expect("changed");
    assert_eq!((changed.resource, changed.network), (None, Some(network.id)));
    let free = world.controller.move_ip(&world.operator, REGION, ip.id, ("resource", resource(MAC)), None).await;
    assert_eq!(free.expect("no route needs it any more").resource, None);
    let again = update(RouteChange { no_resource: true, ..RouteChange::default() }).await.expect("it is so already");
    assert_eq!((again.resource, again.network), (None, Some(network.id)));
}

#[tokio::test]
async fn lists_have_every_kind_of_route_in_order_and_filtered() {
    let world = World::new().await;
    let (mut node, gateway, connection) = world.connected().await;
    let network = gateway.gateway.private_network_id;
    let network = world.controller.private_network(&world.operator, REGION, network).await.expect("there");
    let vpc = network.vpc_id;
    let ip = world.attached(&world.operator, &network, false).await;
    world.route(to("10.50.0.0/16", vpc, Some(ip.id.0), None)).await.expect("made");
    world.route(to("10.50.7.0/24", vpc, None, Some(network.id))).await.expect("made");
    let received = |prefix: &str, decision| ReceivedRoute {
        prefix: net(prefix),
        next_hop: "169.254.0.2".parse().expect("an address"),
        as_path: vec![65000],
        med: None,
        communities: Vec::new(),
        decision,
        stale: false,
    };
    let desired = node.wait_for(|desired| desired.vpcs.iter().any(|vpc| vpc.custom_routes.len() == 2)).await;
    let mut report = acknowledgement(&desired, Some((true, true)));
    report.connections[0].received = vec![
        received("10.0.1.0/24", RouteDecision::Installed),
        received("10.0.1.128/25", RouteDecision::Installed),
        received("10.50.0.0/16", RouteDecision::Beaten { by: "custom".into() }),
        received("192.168.0.0/16", RouteDecision::Filtered { by: "not_in_prefix_filter_in".into() }),
    ];
    node.report(report.clone()).await;
    let in_vpc = RouteFilter { vpc_id: Some(vpc), ..RouteFilter::default() };
    until(&world.controller, async || world.routes(&list(), &in_vpc).await.len() == 6).await;

    let by_destination = ListQuery { order: OrderField::Destination, ..list() };
    let (four, six) = (network.subnets[0].subnet.to_string(), network.subnets[1].subnet.to_string());
    let all = ["10.0.1.0/24", "10.0.1.128/25", "10.50.0.0/16", "10.50.7.0/24", &four, &six];
    assert_eq!(world.destinations(&by_destination, &in_vpc).await, all);
    let reversed = ListQuery { descending: true, ..by_destination.clone() };
    let mut expected = all.to_vec();
    expected.reverse();
    assert_eq!(world.destinations(&reversed, &in_vpc).await, expected);
    let shortest = ListQuery { order: OrderField::PrefixLength, page_size: 2, ..list() };
    assert_eq!(world.destinations(&shortest, &in_vpc).await, ["10.50.0.0/16", &four]);
    let second = ListQuery { page: 2, page_size: 4, ..by_destination.clone() };
    assert_eq!(world.destinations(&second, &in_vpc).await, [four.as_str(), six.as_str()]);

    let filtered = async |filter: RouteFilter| {
        world.destinations(&by_destination, &RouteFilter { vpc_id: Some(vpc), ..filter }).await
    };
    let resource = Some(gateway.gateway.id.0);
    assert_eq!(filtered(RouteFilter { resource, ..RouteFilter::default() }).await, all[..2]);
    assert_eq!(filtered(RouteFilter { resource: Some(ip.id.0), ..RouteFilter::default() }).await, [all[2]]);
    assert_eq!(filtered(RouteFilter { kind: Some(RouteKind::S2sVpn), ..RouteFilter::default() }).await, all[..2]);
    assert_eq!(filtered(RouteFilter { is_ipv6: Some(true), ..RouteFilter::default() }).await, [all[5]]);
    let contains = |text: &str| RouteFilter { contains: Some(net(text)), ..RouteFilter::default() };
    assert_eq!(filtered(contains("10.0.1.130/32")).await, all[..2]);
    assert_eq!(filtered(contains("10.50.7.0/24")).await, all[2..4]);
    assert_eq!(filtered(contains("10.50.0.0/15")).await, [""; 0]);
    assert_eq!(
        filtered(RouteFilter { network: Some(PrivateNetworkId::random()), ..RouteFilter::default() }).await,
        [""; 0]
    );
    let tagged = |tag: &str| ListQuery { tags: vec![tag.to_owned()], ..by_destination.clone() };
    assert_eq!(world.destinations(&tagged("t"), &in_vpc).await, all[2..4]);
    assert_eq!(world.destinations(&tagged("MANAGED"), &in_vpc).await.len(), 4);

    let shown = world.routes(&by_destination, &in_vpc).await;
    let learned = &shown[0];
    assert_eq!((learned.route.id, learned.route.kind), (None, RouteKind::S2sVpn));
    assert_eq!((learned.route.resource, learned.name.as_deref()), (resource, Some("gateway")));
    let private =
        world.controller.ip(&world.operator, REGION, gateway.gateway.ipam_private_ipv4_id).await.expect("there");
    assert_eq!(learned.address, Some(private.address.addr()));
    assert_eq!((shown[2].address, shown[2].name.as_deref()), (Some(ip.address.addr()), Some("router")));
    assert_eq!((shown[3].address, &shown[3].name), (None, &None));
    assert_eq!(shown[4].route.description, "Local Private Network route");
    let tenant = world.tenant().await;
    let theirs = world.controller.list_routes(&tenant, REGION, &list(), &in_vpc).await.expect("listed");
    assert_eq!(theirs.total, 0);

    // What stays keeps its time; what goes is gone; what only passes through the facts changes nothing.
    let since = shown[1].route.created_at;
    report.connections[0].received.remove(0);
    node.report(report.clone()).await;
    until(&world.controller, async || world.routes(&list(), &in_vpc).await.len() == 5).await;
    let left = world.routes(&by_destination, &in_vpc).await;
    assert_eq!((left[0].route.destination, left[0].route.created_at), (net("10.0.1.128/25"), since));
    // The routes of a lost node are not there to be used.
    drop(node);
    until(&world.controller, async || world.routes(&list(), &in_vpc).await.len() == 4).await;
    world.controller.delete_connection(&world.operator, REGION, connection.connection.id).await.expect("deleted");
}

#[tokio::test]
async fn two_connections_of_a_gateway_share_a_learned_route() {
    let world = World::new().await;
    let (mut node, gateway, first) = world.connected().await;
    let customer = world.customer(&world.operator, 2).await;
    let new = new_connection(&gateway, &customer, None);
    let second = world.controller.create_connection(&world.operator, REGION, new).await.expect("made");
    let desired = node.wait_for(|desired| desired.gateways.iter().any(|gateway| gateway.connections.len() == 2)).await;
    let mut report = acknowledgement(&desired, Some((true, true)));
    for connection in &mut report.connections {
        connection.received = vec![ReceivedRoute {
            prefix: net("10.0.1.0/24"),
            next_hop: "169.254.0.2".parse().expect("an address"),
            as_path: vec![65000],
            med: None,
            communities: Vec::new(),
            decision: RouteDecision::Installed,
            stale: false,
        }];
    }
    node.report(report).await;
    let learned = RouteFilter { kind: Some(RouteKind::S2sVpn), ..RouteFilter::default() };
    until(&world.controller, async || world.routes(&list(), &learned).await.len() == 1).await;
    world.controller.delete_connection(&world.operator, REGION, first.connection.id).await.expect("deleted");
    assert_eq!(world.routes(&list(), &learned).await.len(), 1, "the other connection brings it too");
    world.controller.delete_connection(&world.operator, REGION, second.connection.id).await.expect("deleted");
    assert_eq!(world.routes(&list(), &learned).await.len(), 0);
}

#[tokio::test]
async fn lists_are_owed_by_the_node_until_it_says_so() {
    let world = World::new().await;
    let (mut node, gateway, connection) = world.connected().await;
    let network = gateway.gateway.private_network_id;
    let vpc = world.controller.private_network(&world.operator, REGION, network).await.expect("there").vpc_id;
    let (controller, operator) = (&world.controller, &world.operator);
    node.report_tunnels(true, true).await;
    let reason = async || {
        let state = controller.connection_state(operator, REGION, connection.connection.id).await.expect("there");
        state.reason.map(|reason| reason.code)
    };
    until(controller, async || reason().await.is_none()).await;
    let acl = Acl { default_action: AclAction::Accept, rules: vec![rule(AclProtocol::Tcp, "10.0.0.0/8", (22, 22))] };
    let set = controller.set_vpc_acl(operator, REGION, vpc, Family::Ipv4, acl.clone()).await.expect("set");
    assert_eq!(set, acl);
    assert_eq!(controller.vpc_acl(operator, REGION, vpc, Family::Ipv4).await.expect("there"), acl);
    assert_eq!(controller.vpc_acl(operator, REGION, vpc, Family::Ipv6).await.expect("there"), Acl::default());
    assert_eq!(reason().await, Some(ReasonCode::ConfigPending));
    let router = format!("router of VPC {vpc}");
    let told = |code, desired: &str| vec![(code, router.clone(), "0".to_owned(), desired.to_owned())];
    assert_eq!(world.caveats(vpc).await, told(ReasonCode::ConfigPending, "1"));
    let view = controller.vpn_gateway(operator, REGION, gateway.gateway.id).await.expect("there");
    assert_eq!(view.status, VpnGatewayStatus::Active, "lists do not make gateways configuring");
    let state = controller.vpc_state(operator, REGION, vpc).await.expect("there");
    assert_eq!((state.desired_revision, state.applied_revision), (1, 0));
    assert_eq!(state.reason.map(|reason| reason.code), Some(ReasonCode::ConfigPending));
    assert_eq!(state.acl_ipv4.rules, None);
    world.clock_forward(31);
    assert_eq!(reason().await, Some(ReasonCode::ConfigOverdue));
    assert_eq!(world.caveats(vpc).await, told(ReasonCode::ConfigOverdue, "1"));

    let desired = node.wait_for(|desired| desired.vpcs.iter().any(|vpc| vpc.revision == 1)).await;
    let mut report = acknowledgement(&desired, Some((true, true)));
    let of_vpc = report.vpcs.iter_mut().find(|facts| facts.id == vpc).expect("the VPC");
    of_vpc.applied = 0;
    let (item, error) = ("access list".to_owned(), "no nft".to_owned());
    of_vpc.refused = Some(Refusal { revision: 1, item, error });
    node.report(report.clone()).await;
    until(controller, async || reason().await == Some(ReasonCode::ConfigRefused)).await;
    let state = controller.vpc_state(operator, REGION, vpc).await.expect("there");
    let refused = state.reason.expect("a reason");
    assert_eq!((refused.code, refused.evidence["item"].as_str()), (ReasonCode::ConfigRefused, "access list"));
    assert_eq!(world.caveats(vpc).await, told(ReasonCode::ConfigRefused, "1"));

    let counter = Counter { packets: 7, bytes: 420 };
    let of_vpc = report.vpcs.iter_mut().find(|facts| facts.id == vpc).expect("the VPC");
    (of_vpc.applied, of_vpc.refused) = (1, None);
    of_vpc.acl = AclCounters { ipv4: vec![counter], ipv4_default: counter, ..AclCounters::default() };
    node.report(report.clone()).await;
    until(controller, async || reason().await.is_none()).await;
    let state = controller.vpc_state(operator, REGION, vpc).await.expect("there");
    assert_eq!((state.applied_revision, state.reason), (1, None));
    assert_eq!(world.caveats(vpc).await, []);
    assert_eq!((state.acl_ipv4.rules, state.acl_ipv4.default), (Some(vec![counter]), Some(counter)));
    assert_eq!(state.acl_ipv6.rules, Some(Vec::new()));

    // What is refused alone does not keep the rest from being in force: it is told of the VPC, with what its lists counted, and is nothing that
    // the connections have.
    let of_vpc = report.vpcs.iter_mut().find(|facts| facts.id == vpc).expect("the VPC");
    let (item, error) = ("custom route 1".to_owned(), "somebody else's route is in its place".to_owned());
    of_vpc.refused = Some(Refusal { revision: 1, item, error });
    node.report(report.clone()).await;
    let of_vpc = async || controller.vpc_state(operator, REGION, vpc).await.expect("there");
    until(controller, async || of_vpc().await.reason.is_some()).await;
    let state = of_vpc().await;
    assert_eq!((state.applied_revision, state.acl_ipv4.rules), (1, Some(vec![counter])));
    let refused = state.reason.expect("a reason");
    assert_eq!((refused.code, refused.evidence["item"].as_str()), (ReasonCode::ConfigRefused, "custom route 1"));
    let alone = vec![(ReasonCode::ConfigRefused, router.clone(), "1".to_owned(), "1".to_owned())];
    assert_eq!(world.caveats(vpc).await, alone, "explanations have it");
    assert_eq!(reason().await, None);
    let of_vpc = report.vpcs.iter_mut().find(|facts| facts.id == vpc).expect("the VPC");
    of_vpc.refused = None;
    node.report(report.clone()).await;
    until(controller, async || controller.vpc_state(operator, REGION, vpc).await.expect("there").reason.is_none())
        .await;

    // The same list again is no change.
    controller.set_vpc_acl(operator, REGION, vpc, Family::Ipv4, acl).await.expect("set");
    assert_eq!(controller.vpc_state(operator, REGION, vpc).await.expect("there").desired_revision, 1);
    // A node that does not name the VPC does not run it.
    report.vpcs.clear();
    node.report(report).await;
    until(controller, async || reason().await == Some(ReasonCode::ConfigPending)).await;
}

#[tokio::test]
async fn an_attachment_says_why_it_is_not_there() {
    let world = World::new().await;
    let (mut node, gateway, _) = world.connected().await;
    let network = gateway.gateway.private_network_id;
    let (controller, operator) = (&world.controller, &world.operator);
    let shown = async || {
        let mut page = controller.list_attachments(operator, &list()).await.expect("a list");
        page.items.pop().expect("the only one").reason
    };
    let code = async || shown().await.map(|reason| reason.code);
    let set = controller.set_attachment(operator, network, "lan9".to_owned()).await.expect("set");
    assert_eq!(set.reason.map(|reason| reason.code), Some(ReasonCode::ConfigPending));
    assert_eq!(code().await, Some(ReasonCode::ConfigPending));
    world.clock_forward(31);
    assert_eq!(code().await, Some(ReasonCode::ConfigOverdue));

    let desired = node.wait_for(|desired| desired.vpcs.iter().any(|vpc| vpc.revision == 1)).await;
    let mut report = acknowledgement(&desired, Some((true, true)));
    let refusal = |item: &str| {
        let (item, error) = (item.to_owned(), "it is not there".to_owned());
        Refusal { revision: 1, item, error }
    };
    // Something else of the VPC is refused first.
    report.vpcs[0].refused = Some(refusal("access lists"));
    report.vpcs[0].networks = [(network, refusal("bridge or interface lan9"))].into();
    node.report(report.clone()).await;
    until(controller, async || code().await == Some(ReasonCode::ConfigRefused)).await;
    let evidence = shown().await.expect("a reason").evidence;
    assert_eq!(
        (evidence["item"].as_str(), evidence["error"].as_str()),
        ("bridge or interface lan9", "it is not there")
    );
    // The bridge came; the rest is no matter of the attachment's.
    report.vpcs[0].networks.clear();
    node.report(report.clone()).await;
    until(controller, async || code().await.is_none()).await;
    // What was refused of an older configuration says nothing of the newest.
    report.vpcs[0].networks = [(network, refusal("bridge or interface lan9"))].into();
    node.report(report).await;
    until(controller, async || code().await == Some(ReasonCode::ConfigRefused)).await;
    let set = controller.set_attachment(operator, network, "lan8".to_owned()).await.expect("set");
    assert_eq!(set.reason.map(|reason| reason.code), Some(ReasonCode::ConfigPending));

    // Without a gateway in its VPC, no node has a use for it.
    let alone = world.network(&world.tenant().await).await;
    let set = controller.set_attachment(operator, alone.id, "lan7".to_owned()).await.expect("set");
    assert_eq!(set.reason, None);
}

#[tokio::test]
async fn an_explanation_says_what_its_connections_node_has_not_put_in_force() {
    let world = World::new().await;
    let (mut node, gateway, connection) = world.connected().await;
    let (controller, operator, id) = (&world.controller, &world.operator, connection.connection.id);
    let network = gateway.gateway.private_network_id;
    let vpc = controller.private_network(operator, REGION, network).await.expect("there").vpc_id;
    node.report_tunnels(true, true).await;
    until(controller, async || world.caveats(vpc).await.is_empty()).await;
    let applied = controller.connection_state(operator, REGION, id).await.expect("there").applied_revision;

    controller.set_route_propagation(operator, REGION, id, false).await.expect("set");
    let newest = (applied + 1).to_string();
    let owed = vec![(ReasonCode::ConfigPending, format!("connection {id}"), applied.to_string(), newest)];
    assert_eq!(world.caveats(vpc).await, owed);
    node.wait_for(|desired| desired.gateways[0].connections.iter().all(|connection| !connection.propagate)).await;
    node.report_tunnels(true, true).await;
    until(controller, async || world.caveats(vpc).await.is_empty()).await;

    drop(node);
    until(controller, async || !world.caveats(vpc).await.is_empty()).await;
    let of = format!("VPN gateway {}", gateway.gateway.id);
    assert_eq!(world.caveats(vpc).await, [(ReasonCode::NodeUnreachable, of, String::new(), String::new())]);
}

#[tokio::test]
async fn what_no_list_may_be() {
    let world = World::new().await;
    let network = world.network(&world.operator).await;
    let of = |rule: AclRule| Acl { default_action: AclAction::Drop, rules: vec![rule] };
    let many = |count: usize| Acl {
        default_action: AclAction::Drop,
        rules: vec![rule(AclProtocol::Any, "10.0.0.0/8", (0, 0)); count],
    };
    let cases = [
        (Family::Ipv6, of(rule(AclProtocol::Any, "10.0.0.0/8", (0, 0))), "400 rules[0]"),
        (Family::Ipv4, of(rule(AclProtocol::Any, "fd00::/8", (0, 0))), "400 rules[0]"),
        (Family::Ipv4, of(rule(AclProtocol::Icmp, "10.0.0.0/8", (1, 2))), "400 rules[0]"),
        (Family::Ipv4, of(rule(AclProtocol::Udp, "10.0.0.0/8", (2, 1))), "400 rules[0]"),
        (Family::Ipv4, many(1001), "400 rules"),
    ];
    for (family, acl, expected) in cases {
        let error = world.controller.set_vpc_acl(&world.operator, REGION, network.vpc_id, family, acl).await;
        assert_eq!(kind(&error.expect_err(expected)), expected);
    }
    let most = world.controller.set_vpc_acl(&world.operator, REGION, network.vpc_id, Family::Ipv4, many(1000)).await;
    assert_eq!(most.expect("set").rules.len(), 1000);
    let tenant = world.tenant().await;
    let error = world.controller.set_vpc_acl(&tenant, REGION, network.vpc_id, Family::Ipv4, Acl::default()).await;
    assert_eq!(kind(&error.expect_err("not its VPC")), "404 vpc");
    let error = world.controller.vpc_state(&tenant, REGION, network.vpc_id).await.expect_err("not its VPC");
    assert_eq!(kind(&error), "404 vpc");
}

#[tokio::test]
async fn addresses_are_attached_moved_and_detached() {
    let world = World::new().await;
    let (controller, operator) = (&world.controller, &world.operator);
    let network = world.network(operator).await;
    let ip = world.attached(operator, &network, false).await;
    let user = ip.resource.as_ref().expect("attached");
    assert_eq!((user.kind.as_str(), user.id, user.mac_address.as_deref()), ("custom", ip.id.0, Some(MAC)));
    let other = "02:00:00:00:00:01";
    let attach = async |id: IpId, mac: &str| controller.attach_ip(operator, REGION, id, resource(mac)).await;
    let transfer = async |from: &str, to: Option<&str>| {
        controller.move_ip(operator, REGION, ip.id, ("from_resource", resource(from)), to.map(resource)).await
    };
    assert_eq!(kind(&attach(ip.id, other).await.expect_err("in use")), "412 resource_still_in_use");
    assert_eq!(kind(&transfer(other, None).await.expect_err("not that one")), "400 from_resource.mac_address");
    world.route(to("10.9.0.0/16", network.vpc_id, Some(ip.id.0), None)).await.expect("made");
    assert_eq!(attach(ip.id, MAC).await.expect("the answer was lost"), ip);
    let moved = transfer(MAC, Some(other)).await.expect("moved, since the route leads to the address all the same");
    assert_eq!(moved.resource.as_ref().expect("attached").mac_address.as_deref(), Some(other));
    assert_eq!(transfer(MAC, Some(other)).await.expect("the answer was lost"), moved);
    assert_eq!(kind(&transfer(other, None).await.expect_err("a route needs it")), "412 resource_still_in_use");
    let routes = world.routes(&list(), &RouteFilter { resource: Some(ip.id.0), ..RouteFilter::default() }).await;
    let id = routes[0].route.id.expect("a custom route");
    controller.delete_route(operator, REGION, id).await.expect("deleted");
    let loose = transfer(other, None).await.expect("detached");
    assert_eq!(loose.resource, None);
    assert_eq!(transfer(other, None).await.expect("the answer was lost").updated_at, loose.updated_at);
    assert_eq!(kind(&transfer(other, Some(MAC)).await.expect_err("attached to nothing")), "400 from_resource");
    assert_eq!(attach(ip.id, MAC).await.expect("attached").resource.expect("attached").id, ip.id.0);

    let gateway = world.gateway(operator, &network).await;
    let theirs = gateway.gateway.ipam_private_ipv4_id;
    let error = controller.move_ip(operator, REGION, theirs, ("resource", resource(MAC)), None).await;
    assert_eq!(kind(&error.expect_err("the gateway keeps it")), "412 resource_still_in_use");
    let public = |resource| NewIp {
        project_id: None,
        source: NewIpSource::Zonal("fr-par-2".into()),
        is_ipv6: false,
        address: None,
        resource,
        tags: Vec::new(),
    };
    let error = controller.book_ip(operator, REGION, public(Some(resource(MAC)))).await.expect_err("public");
    assert_eq!(kind(&error), "400 resource");
    let outside = controller.book_ip(operator, REGION, public(None)).await.expect("booked");
    assert_eq!(kind(&attach(outside.id, MAC).await.expect_err("public")), "400 resource");
    let tenant = world.tenant().await;
    let error = controller.attach_ip(&tenant, REGION, outside.id, resource(MAC)).await.expect_err("not its address");
    assert_eq!(kind(&error), "404 ip");

    // A set is released as a whole or not at all.
    let error = controller.release_ips(operator, REGION, &[outside.id, ip.id]).await.expect_err("one is attached");
    assert_eq!(kind(&error), "412 resource_still_in_use");
    controller.ip(operator, REGION, outside.id).await.expect("still booked");
    assert_eq!(kind(&controller.release_ips(operator, REGION, &[]).await.expect_err("none")), "400 ip_ids");
    let error = controller.release_ips(operator, REGION, &[outside.id, IpId::random()]).await.expect_err("unknown");
    assert_eq!(kind(&error), "404 ip");
    controller.move_ip(operator, REGION, ip.id, ("resource", resource(MAC)), None).await.expect("detached");
    controller.release_ips(operator, REGION, &[outside.id, ip.id, ip.id]).await.expect("released");
    for id in [outside.id, ip.id] {
        assert_eq!(kind(&controller.ip(operator, REGION, id).await.expect_err("released")), "404 ip");
    }
    let records = controller
        .audit_records(operator, &ListQuery { descending: true, ..list() }, &Default::default())
        .await
        .expect("there")
        .items;
    let released = records.iter().filter(|record| record.action == "delete" && record.resource == "ip").count();
    assert_eq!(released, 2, "each has its own audit record");
}

#[tokio::test]
async fn operators_map_networks_to_bridges() {
    let world = World::new().await;
    let (controller, operator) = (&world.controller, &world.operator);
    let mut node = FakeNode::attach(controller).await;
    let (network, other) = (world.network(operator).await, world.network(operator).await);
    controller.set_attachment(operator, network.id, "br-lan".into()).await.expect("set");
    let bridge = |desired: &causeway_model::desired::NodeDesired| {
        let mut networks = desired.vpcs.iter().flat_map(|vpc| &vpc.networks);
        networks.find(|known| known.id == network.id).and_then(|known| known.bridge.clone())
    };
    let desired = node.wait_for(|desired| bridge(desired).is_some()).await;
    assert_eq!(bridge(&desired).as_deref(), Some("br-lan"));
    assert!(desired.vpcs.iter().any(|vpc| vpc.id == network.vpc_id && vpc.revision == 1), "it is acknowledged");
    let error = controller.set_attachment(operator, other.id, "br-lan".into()).await.expect_err("taken");
    assert_eq!(kind(&error), "409 exists private_network_attachment");
    let error = controller.set_attachment(operator, other.id, "cwbr-1".into()).await.expect_err("the node's own");
    assert_eq!(kind(&error), "400 interface");
    let error = controller.set_attachment(operator, PrivateNetworkId::random(), "br1".into()).await.expect_err("none");
    assert_eq!(kind(&error), "404 private_network");
    let tenant = world.tenant().await;
    let error = controller.list_attachments(&tenant, &list()).await.expect_err("operators only");
    assert_eq!(kind(&error), "403 private_network_attachment");
    let error = controller.set_attachment(&tenant, network.id, "br2".into()).await.expect_err("operators only");
    assert_eq!(kind(&error), "403 private_network_attachment");
    assert_eq!(controller.list_attachments(operator, &list()).await.expect("listed").total, 1);
    controller.delete_attachment(operator, network.id).await.expect("deleted");
    node.wait_for(|desired| bridge(desired).is_none()).await;
    assert_eq!(
        kind(&controller.delete_attachment(operator, network.id).await.expect_err("gone")),
        "404 private_network_attachment"
    );
}

#[tokio::test]
async fn no_route_leads_into_the_inside_of_a_connection() {
    let world = World::new().await;
    let (controller, operator) = (&world.controller, &world.operator);
    let (_node, gateway, _) = world.connected().await;
    let network =
        controller.private_network(operator, REGION, gateway.gateway.private_network_id).await.expect("there");
    let policy = world.policy(operator, true).await;
    let connect = async |host: u8, ours: Option<&str>| {
        let customer = world.customer(operator, host).await;
        let bgp = NewBgp { routing_policy_id: Some(policy.id), private_ip: ours.map(net), peer_private_ip: None };
        let new = NewConnection { bgp_ipv6: Some(bgp), ..new_connection(&gateway, &customer, None) };
        let made = controller.create_connection(operator, REGION, new).await;
        made.map(|made| made.connection.bgp_ipv6.expect("a session").peer_private_ip.addr())
    };
    let chosen = connect(11, Some("fd77::1/126")).await.expect("made");
    let allotted = connect(12, None).await.expect("made");
    let through = |destination: &str| to(destination, network.vpc_id, None, Some(network.id));
    for destination in [format!("{chosen}/128"), "fd77::/126".to_owned(), format!("{allotted}/128")] {
        let refused = world.route(through(&destination)).await.expect_err(&destination);
        assert_eq!(kind(&refused), "400 destination", "{refused}");
    }
    // The inside is the longer way: a wider route leaves it alone.
    let wide = world.route(through("fd77::/64")).await.expect("made");
    let narrower = RouteChange { destination: Some(net("fd77::2/128")), ..RouteChange::default() };
    let refused = controller.update_route(operator, REGION, wide.id.expect("an id"), narrower).await;
    assert_eq!(kind(&refused.expect_err("refused")), "400 destination");

    world.route(through("fd78::2/128")).await.expect("made");
    let refused = connect(13, Some("fd78::1/126")).await.expect_err("a route leads there");
    assert_eq!(kind(&refused), "400 bgp_config_ipv6.private_ip", "{refused}");
}

#[tokio::test]
async fn an_address_that_goes_with_its_network_has_a_record() {
    let world = World::new().await;
    let (controller, operator) = (&world.controller, &world.operator);
    let network = world.network(operator).await;
    let new = NewIp {
        project_id: None,
        source: NewIpSource::PrivateNetwork(network.id),
        is_ipv6: false,
        address: None,
        resource: None,
        tags: Vec::new(),
    };
    let ip = controller.book_ip(operator, REGION, new).await.expect("booked");
    controller.delete_private_network(operator, REGION, network.id).await.expect("deleted");
    let filter = AuditFilter {
        resource_id: Some(ip.id.to_string()),
        action: Some("delete".to_owned()),
        ..AuditFilter::default()
    };
    let records = controller.audit_records(operator, &list(), &filter).await.expect("listed").items;
    let [record] = &records[..] else { panic!("one record: {}", records.len()) };
    assert_eq!(record.details["with"], format!("private_network {}", network.id));
    assert_eq!(record.project_id, Some(network.meta.project_id));
}
