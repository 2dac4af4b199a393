//! VPC bodies (wire-api.md §5).

use std::str::FromStr;

use causeway_model::acl::{Acl, AclAction, AclProtocol, AclRule, PortRange};
use causeway_model::command::{NewPrivateNetwork, NewVpc, Rename};
use causeway_model::error::ArgumentReason;
use causeway_model::route::{NewNextHop, NewRoute, RouteChange};
use causeway_model::{Error, Family, VpcId};
use ipnet::IpNet;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Body, Fields, MAX_DESCRIPTION, MAX_NAME, excerpt};

/// Rules of one ACL at most.
pub const MAX_ACL_RULES: usize = 1000;

const ACTIONS: [(AclAction, &str); 2] = [(AclAction::Accept, "accept"), (AclAction::Drop, "drop")];
const PROTOCOLS: [(AclProtocol, &str); 4] =
    [(AclProtocol::Any, "any"), (AclProtocol::Tcp, "tcp"), (AclProtocol::Udp, "udp"), (AclProtocol::Icmp, "icmp")];

impl Body {
    /// Create a VPC. Routing is always on; `enable_routing` is read for its form only.
    ///
    /// # Errors
    /// Every invalid field.
    pub fn new_vpc(&self) -> Result<NewVpc, Error> {
        self.read(|fields| {
            fields.boolean("enable_routing");
            fields.not_offered("enable_transitivity");
            NewVpc { meta: fields.meta() }
        })
    }

    /// Name and tags: the update of a VPC.
    ///
    /// # Errors
    /// Every invalid field.
    pub fn rename(&self) -> Result<Rename, Error> {
        self.read(|fields| fields.rename())
    }

    /// Create a Private Network.
    ///
    /// # Errors
    /// Every invalid field.
    pub fn new_private_network(&self) -> Result<NewPrivateNetwork, Error> {
        self.read(|fields| {
            let subnets = fields.networks("subnets", 2).unwrap_or_default();
            for (index, subnet) in subnets.iter().enumerate() {
                if subnet.trunc() != *subnet {
                    let help = format!("{subnet} has host bits set; the subnet is {}", subnet.trunc());
                    fields.constraint(&format!("subnets[{index}]"), help);
                }
                let same = |other: &&IpNet| Family::of_net(other) == Family::of_net(subnet);
                if subnets.iter().take(index).any(|other| same(&other)) {
                    fields.constraint(&format!("subnets[{index}]"), "give at most one subnet of each family");
                }
            }
            NewPrivateNetwork {
                meta: fields.meta(),
                subnets,
                vpc_id: fields.id("vpc_id"),
                default_route_propagation_enabled: fields.boolean("default_route_propagation_enabled").unwrap_or(false),
            }
        })
    }

    /// Update a Private Network: name, tags, and the propagation of the default route.
    ///
    /// # Errors
    /// Every invalid field.
    pub fn update_private_network(&self) -> Result<(Rename, Option<bool>), Error> {
        self.read(|fields| (fields.rename(), fields.boolean("default_route_propagation_enabled")))
    }
    /// Replace the ACL of one family.
    ///
    /// # Errors
    /// Every invalid field.
    pub fn acl(&self) -> Result<(Family, Acl), Error> {
        self.read(|fields| {
            let is_ipv6 = fields.required("is_ipv6", fields.boolean("is_ipv6"), "say which family the rules are for");
            let family = Family::from_is_ipv6(is_ipv6.unwrap_or(false));
            let default = action(fields, "default_policy");
            let items = fields.array("rules", MAX_ACL_RULES).unwrap_or_default();
            let rules = items.iter().enumerate().filter_map(|(index, item)| {
                let name = format!("rules[{index}]");
                let Value::Object(map) = item else {
                    fields.format(&name, "must be a JSON object");
                    return None;
                };
                rule(&Fields { map, prefix: fields.path(&format!("{name}.")), ..*fields }, family)
            });
            (family, Acl { default_action: default.unwrap_or_default(), rules: rules.collect() })
        })
    }

    /// Create a route.
    ///
    /// # Errors
    /// Every invalid field.
    pub fn new_route(&self) -> Result<NewRoute, Error> {
        self.read(|fields| {
            let destination =
                fields.required("destination", fields.network("destination"), "say where the route leads");
            NewRoute {
                description: fields.bounded_text("description", MAX_DESCRIPTION).unwrap_or_default(),
                tags: fields.tags().unwrap_or_default(),
                vpc_id: fields.required_id("vpc_id", "the VPC").unwrap_or(VpcId(Uuid::nil())),
                destination: destination.unwrap_or_default(),
                next_hop: next_hop(fields, true),
            }
        })
    }

    /// Update a route. An empty `nexthop_resource_id` takes the resource away, so that the Private Network itself is the next hop: Terraform
    /// writes so what its configuration has no more.
    ///
    /// # Errors
    /// Every invalid field.
    pub fn update_route(&self) -> Result<RouteChange, Error> {
        self.read(|fields| RouteChange {
            description: fields.bounded_text("description", MAX_DESCRIPTION),
            tags: fields.tags(),
            destination: fields.network("destination"),
            next_hop: next_hop(fields, false),
            no_resource: fields.cleared("nexthop_resource_id"),
        })
    }

    /// Whether VPN gateways announce a VPC's custom routes (extension API).
    ///
    /// # Errors
    /// Every invalid field.
    pub fn vpc_options(&self) -> Result<bool, Error> {
        const NAME: &str = "custom_routes_propagation_enabled";
        self.read(|fields| fields.required(NAME, fields.boolean(NAME), "say `true` or `false`").unwrap_or(true))
    }

    /// Map a Private Network: the bridge or interface (operator API). What a name may be, the use case checks.
    ///
    /// # Errors
    /// Every invalid field.
    pub fn attachment(&self) -> Result<String, Error> {
        self.read(|fields| {
            let interface = fields.bounded_text("interface", MAX_NAME);
            fields.required("interface", interface, "name the bridge or interface").unwrap_or_default()
        })
    }
}

fn next_hop(fields: &Fields<'_>, required: bool) -> NewNextHop {
    let hop =
        NewNextHop { resource: fields.id("nexthop_resource_id"), network: fields.id("nexthop_private_network_id") };
    let connector = fields.id::<Uuid>("nexthop_vpc_connector_id").is_some();
    if connector {
        fields.not_offered("nexthop_vpc_connector_id");
    }
    let given = fields.present("nexthop_resource_id") || fields.present("nexthop_private_network_id");
    if required && !given && !connector {
        let help = "say where the route leads to: this, `nexthop_private_network_id`, or both";
        fields.push("nexthop_resource_id", ArgumentReason::Required, help);
    }
    hop
}

/// One rule of an ACL of `family`; `None` if a field that decides is missing or wrong, which is recorded.
fn rule(fields: &Fields<'_>, family: Family) -> Option<AclRule> {
    let action = action(fields, "action");
    let protocol = protocol(fields);
    let (source, destination) = (prefix(fields, "source", family), prefix(fields, "destination", family));
    let source_ports = ports(fields, ("src_port_low", "src_port_high"), protocol);
    let destination_ports = ports(fields, ("dst_port_low", "dst_port_high"), protocol);
    Some(AclRule {
        protocol,
        source: source?,
        source_ports,
        destination: destination?,
        destination_ports,
        action: action?,
        description: fields.bounded_text("description", MAX_DESCRIPTION),
    })
}

/// Here `unknown_action` does not mean absent: what a packet meets is never guessed.
fn action(fields: &Fields<'_>, name: &str) -> Option<AclAction> {
    fields.required(name, fields.word(name, ACTIONS.into_iter()), "say `accept` or `drop`")
}

/// Some clients write protocols in capitals. Absent: any.
fn protocol(fields: &Fields<'_>) -> AclProtocol {
    fields.is("protocol", || json!({"type": "string", "enum": PROTOCOLS.map(|(_, word)| word)}));
    let Some(text) = fields.text("protocol").filter(|text| !text.starts_with("unknown_")) else {
        return AclProtocol::Any;
    };
    match PROTOCOLS.into_iter().find(|(_, word)| word.eq_ignore_ascii_case(text)) {
        Some((protocol, _)) => protocol,
        None => {
            let help = format!("`{}` is none of {}", excerpt(text), super::words(PROTOCOLS.map(|(_, word)| word)));
            fields.format("protocol", help);
            AclProtocol::Any
        }
    }
}

/// A prefix of the list's family, written without host bits; a bare address stands for itself.
fn prefix(fields: &Fields<'_>, name: &str, family: Family) -> Option<IpNet> {
    fields.is(name, || json!({"type": "string", "description": "A prefix (CIDR)."}));
    let text = fields.required(name, fields.text(name), "give a prefix; `0.0.0.0/0` or `::/0` for every address")?;
    let bare = || std::net::IpAddr::from_str(text).map(IpNet::from);
    let Ok(net) = IpNet::from_str(text).or_else(|_| bare()) else {
        fields.format(name, format!("`{}` is not a prefix in CIDR notation", excerpt(text)));
        return None;
    };
    if Family::of_net(&net) != family {
        fields.constraint(name, format!("{net} is not of the family that `is_ipv6` says"));
        return None;
    }
    if net.trunc() != net {
        fields.constraint(name, format!("{net} has host bits set; write {}", net.trunc()));
        return None;
    }
    Some(net)
}

/// 0 to 0 and 0 to 65535 mean every port, and are echoed as they came.
fn ports(fields: &Fields<'_>, (low_name, high_name): (&str, &str), protocol: AclProtocol) -> PortRange {
    let most = u32::from(u16::MAX);
    let port = |name: &str| fields.number(name, 0, most).and_then(|port| u16::try_from(port).ok()).unwrap_or(0);
    let range = PortRange { low: port(low_name), high: port(high_name) };
    if range.is_any() {
        return range;
    }
    if !protocol.has_ports() {
        fields.constraint(low_name, "only `tcp` and `udp` have ports; write 0 for both ends");
    } else if range.low > range.high {
        fields.constraint(low_name, format!("{} is above `{high_name}`, {}", range.low, range.high));
    }
    range
}
