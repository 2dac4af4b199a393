//! Site-to-Site VPN bodies (wire-api.md §3.6, §3.8-§3.10).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use causeway_model::command::{
    ConnectionChange, NewBgp, NewConnection, NewCustomerGateway, NewPublicAddress, NewRoutingPolicy, NewVpnGateway,
    PolicyChange, Rename,
};
use causeway_model::error::ArgumentReason;
use causeway_model::resource::InitiationPolicy;
use causeway_model::suite::{Cipher, DhGroup, Encryption, Integrity};
use causeway_model::{ConnectionId, CustomerGatewayId, Error, Family, PrivateNetworkId, SecretId, VpnGatewayId};
use ipnet::IpNet;
use serde_json::Value;
use uuid::Uuid;

use super::{Body, Fields, excerpt, host, words};

/// Proposals of a list at most: an IKE_SA_INIT with more would not fit the packets that networks carry unfragmented.
pub const MAX_CIPHERS: usize = 16;
/// Entries of a policy's whitelist at most.
pub const MAX_PREFIXES: usize = 1000;

/// What an update of a VPN gateway asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpdateVpnGateway {
    /// Name and tags.
    pub rename: Rename,
    /// A gateway's network can't be changed: another one than it has is an error.
    pub private_network_id: Option<PrivateNetworkId>,
}

/// What an update of a customer gateway asks for; `None` = unchanged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpdateCustomerGateway {
    /// Name and tags.
    pub rename: Rename,
    /// AS number.
    pub asn: Option<u32>,
    /// Public IPv4 address.
    pub public_ipv4: Option<Ipv4Addr>,
    /// Public IPv6 address.
    pub public_ipv6: Option<Ipv6Addr>,
}

/// What an update of a routing policy asks for; `None` = unchanged. Prefixes of the wrong family are the use case's to refuse: it knows
/// the policy's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpdateRoutingPolicy {
    /// Name and tags.
    pub rename: Rename,
    /// Accepted from the customer.
    pub prefix_filter_in: Option<Vec<IpNet>>,
    /// Announced to the customer.
    pub prefix_filter_out: Option<Vec<IpNet>>,
}

impl Body {
    /// Create a VPN gateway.
    ///
    /// # Errors
    /// Every invalid field.
    pub fn new_vpn_gateway(&self) -> Result<NewVpnGateway, Error> {
        self.read(|fields| {
            let gateway_type = fields.bounded_text("gateway_type", super::MAX_NAME);
            let gateway_type = fields.required("gateway_type", gateway_type, "give a type of the catalogue: `VGW-S`");
            let network = fields.required_id("private_network_id", "the Private Network to attach the gateway to");
            let (public_ipv4, public_ipv6) = public_addresses(fields);
            NewVpnGateway {
                meta: fields.meta(),
                gateway_type: gateway_type.unwrap_or_default(),
                private_network_id: network.unwrap_or(PrivateNetworkId(Uuid::nil())),
                public_ipv4,
                public_ipv6,
                ipam_private_ipv4_id: fields.id("ipam_private_ipv4_id"),
                ipam_private_ipv6_id: fields.id("ipam_private_ipv6_id"),
                zone: fields.bounded_text("zone", super::MAX_NAME),
            }
        })
    }

    /// Update a VPN gateway.
    ///
    /// # Errors
    /// Every invalid field.
    pub fn update_vpn_gateway(&self) -> Result<UpdateVpnGateway, Error> {
        self.read(|fields| UpdateVpnGateway {
            rename: fields.rename(),
            private_network_id: fields.id("private_network_id"),
        })
    }

    /// Create a customer gateway.
    ///
    /// # Errors
    /// Every invalid field.
    pub fn new_customer_gateway(&self) -> Result<NewCustomerGateway, Error> {
        self.read(|fields| {
            if !fields.present("ipv4_public") && !fields.present("ipv6_public") {
                let help = "give the device's public address: `ipv4_public`, `ipv6_public` or both";
                fields.push("ipv4_public", ArgumentReason::Required, help);
            }
            let asn = fields.required("asn", asn(fields), "give the AS number of the customer's network");
            NewCustomerGateway {
                meta: fields.meta(),
                asn: asn.unwrap_or_default(),
                public_ipv4: public_ipv4(fields),
                public_ipv6: public_ipv6(fields),
            }
        })
    }

    /// Update a customer gateway.
    ///
    /// # Errors
    /// Every invalid field.
    pub fn update_customer_gateway(&self) -> Result<UpdateCustomerGateway, Error> {
        self.read(|fields| UpdateCustomerGateway {
            rename: fields.rename(),
            asn: asn(fields),
            public_ipv4: public_ipv4(fields),
            public_ipv6: public_ipv6(fields),
        })
    }

    /// Create a routing policy.
    ///
    /// # Errors
    /// Every invalid field.
    pub fn new_routing_policy(&self) -> Result<NewRoutingPolicy, Error> {
        self.read(|fields| {
            let is_ipv6 = fields.boolean("is_ipv6");
            let is_ipv6 = fields.required("is_ipv6", is_ipv6, "say whether the policy is for IPv6 routes");
            let filter = |name: &str| {
                let prefixes = fields.networks(name, MAX_PREFIXES).unwrap_or_default();
                if let Some(is_ipv6) = is_ipv6 {
                    let family = Family::from_is_ipv6(is_ipv6);
                    for prefix in prefixes.iter().filter(|prefix| Family::of_net(prefix) != family) {
                        fields.constraint(
                            name,
                            format!("{prefix} is not an {family} prefix, but the policy is for {family}"),
                        );
                    }
                }
                prefixes
            };
            NewRoutingPolicy {
                prefix_filter_in: filter("prefix_filter_in"),
                prefix_filter_out: filter("prefix_filter_out"),
                meta: fields.meta(),
                is_ipv6: is_ipv6.unwrap_or_default(),
            }
        })
    }

    /// Update a routing policy.
    ///
    /// # Errors
    /// Every invalid field.
    pub fn update_routing_policy(&self) -> Result<UpdateRoutingPolicy, Error> {
        self.read(|fields| UpdateRoutingPolicy {
            rename: fields.rename(),
            prefix_filter_in: fields.networks("prefix_filter_in", MAX_PREFIXES),
            prefix_filter_out: fields.networks("prefix_filter_out", MAX_PREFIXES),
        })
    }

    /// Create a connection.
    ///
    /// # Errors
    /// Every invalid field.
    pub fn new_connection(&self) -> Result<NewConnection, Error> {
        self.read(|fields| {
            let vpn_gateway = fields.required_id("vpn_gateway_id", "the VPN gateway");
            let customer_gateway = fields.required_id("customer_gateway_id", "the customer gateway");
            NewConnection {
                meta: fields.meta(),
                is_ipv6: fields.boolean("is_ipv6"),
                initiation_policy: initiation_policy(fields).unwrap_or(InitiationPolicy::VpnGateway),
                ikev2_ciphers: ciphers(fields, "ikev2_ciphers", true).unwrap_or_default(),
                esp_ciphers: ciphers(fields, "esp_ciphers", false).unwrap_or_default(),
                enable_route_propagation: fields.boolean("enable_route_propagation").unwrap_or(false),
                secret: secret(fields),
                vpn_gateway_id: vpn_gateway.unwrap_or(VpnGatewayId(Uuid::nil())),
                customer_gateway_id: customer_gateway.unwrap_or(CustomerGatewayId(Uuid::nil())),
                bgp_ipv4: bgp(fields, Family::Ipv4),
                bgp_ipv6: bgp(fields, Family::Ipv6),
            }
        })
    }

    /// Update a connection. Lists of proposals that are empty count as absent (§3.8).
    ///
    /// # Errors
    /// Every invalid field.
    pub fn update_connection(&self) -> Result<ConnectionChange, Error> {
        self.read(|fields| ConnectionChange {
            rename: fields.rename(),
            initiation_policy: initiation_policy(fields),
            ikev2_ciphers: ciphers(fields, "ikev2_ciphers", true).filter(|list| !list.is_empty()),
            esp_ciphers: ciphers(fields, "esp_ciphers", false).filter(|list| !list.is_empty()),
            secret_id: fields.id("secret_id"),
            secret_revision: fields.number("secret_revision", 1, u32::MAX),
        })
    }

    /// renew-psk: whether a new revision is wanted.
    ///
    /// # Errors
    /// Every invalid field.
    pub fn renew_psk(&self) -> Result<bool, Error> {
        self.read(|fields| fields.boolean("generate_revision").unwrap_or(false))
    }

    /// change-psk: the secret, and its revision (`None`: the newest).
    ///
    /// # Errors
    /// Every invalid field.
    pub fn change_psk(&self) -> Result<(SecretId, Option<u32>), Error> {
        self.read(|fields| {
            let secret = fields.required("secret", secret(fields), "give the secret that holds the key: `{\"id\": …}`");
            secret.unwrap_or((SecretId(Uuid::nil()), None))
        })
    }

    /// set-routing-policy and detach-routing-policy of `connection`.
    ///
    /// # Errors
    /// Every invalid field.
    pub fn policy_change(&self, connection: ConnectionId) -> Result<PolicyChange, Error> {
        self.read(|fields| {
            let both = fields.present("routing_policy_v4") && fields.present("routing_policy_v6");
            if both {
                fields.constraint("routing_policy_v6", "give either `routing_policy_v4` or `routing_policy_v6`");
            }
            let (v4, v6) = (fields.id("routing_policy_v4"), fields.id("routing_policy_v6"));
            if fields.present("routing_policy_v6") {
                return PolicyChange { connection, family: Family::Ipv6, policy: v6.unwrap_or(Uuid::nil().into()) };
            }
            if !fields.present("routing_policy_v4") {
                let help = "give the id of a routing policy here or in `routing_policy_v6`";
                fields.push("routing_policy_v4", ArgumentReason::Required, help);
            }
            PolicyChange { connection, family: Family::Ipv4, policy: v4.unwrap_or(Uuid::nil().into()) }
        })
    }
}

/// `public_config` and `public_tunnel_config` say the same in two ways. Nothing said: an address of each family. Something said: that and
/// no more, with a family that is named without an id allotted.
fn public_addresses(fields: &Fields<'_>) -> (NewPublicAddress, NewPublicAddress) {
    let booked = |id: Option<_>, otherwise| id.map_or(otherwise, NewPublicAddress::Booked);
    let config = fields.object("public_config");
    let ids = config.as_ref().map(|config| (config.id("ipam_ipv4_id"), config.id("ipam_ipv6_id")));
    let tunnels =
        fields.object("public_tunnel_config").filter(|tunnels| !tunnels.map.is_empty() || tunnels.recorder.is_some());
    let Some(tunnels) = tunnels else {
        return match ids {
            None | Some((None, None)) => (NewPublicAddress::Allot, NewPublicAddress::Allot),
            Some((v4, v6)) => (booked(v4, NewPublicAddress::Absent), booked(v6, NewPublicAddress::Absent)),
        };
    };
    if ids.is_some() {
        fields.constraint("public_config", "give either `public_config` or `public_tunnel_config`");
    }
    const VARIANTS: [&str; 3] = ["single_ipv4_tunnel", "single_ipv6_tunnel", "dual_ipv4v6_tunnel"];
    let given = VARIANTS.into_iter().filter(|name| tunnels.present(name)).count();
    if given != 1 {
        fields.constraint("public_tunnel_config", format!("give exactly one of {}", words(VARIANTS)));
    }
    let single = |name: &str| {
        let tunnel = tunnels.object(name)?;
        Some(booked(tunnel.id("ipam_id"), NewPublicAddress::Allot))
    };
    let (v4, v6) = (single("single_ipv4_tunnel"), single("single_ipv6_tunnel"));
    let dual = tunnels.object("dual_ipv4v6_tunnel");
    let id = |name: &str| dual.as_ref().and_then(|dual| dual.id(name));
    let (id_v4, id_v6) = (id("ipam_ipv4_id"), id("ipam_ipv6_id"));
    match (v4, v6) {
        (Some(address), _) => (address, NewPublicAddress::Absent),
        (None, Some(address)) => (NewPublicAddress::Absent, address),
        (None, None) => (booked(id_v4, NewPublicAddress::Allot), booked(id_v6, NewPublicAddress::Allot)),
    }
}

/// An AS number that a neighbour can have: 0 and 4294967295 (RFC 7607, RFC 7300) and AS_TRANS (RFC 6793) are nobody's.
fn asn(fields: &Fields<'_>) -> Option<u32> {
    const AS_TRANS: u32 = 23456;
    let asn = fields.number("asn", 1, u32::MAX - 1)?;
    if asn == AS_TRANS {
        fields.constraint("asn", "23456 is reserved (AS_TRANS); a private AS number is from 64512 to 65534");
        return None;
    }
    Some(asn)
}

/// The public address of a device in `name`, of the family that `pick` takes.
fn public<T>(fields: &Fields<'_>, name: &str, pick: impl FnOnce(IpAddr) -> Option<T>, form: &str) -> Option<T> {
    let text = fields.text(name)?;
    let Some(address) = host(text) else {
        fields.format(name, format!("`{}` is not an address; give one as {form}", excerpt(text)));
        return None;
    };
    let Some(picked) = pick(address) else {
        fields.format(name, format!("{address} is of the other family; give one as {form}"));
        return None;
    };
    let unusable = address.is_unspecified() || address.is_loopback() || address.is_multicast() || {
        match address {
            IpAddr::V4(address) => address.is_broadcast() || address.is_link_local() || address.octets()[0] == 0,
            IpAddr::V6(address) => address.is_unicast_link_local() || address.to_ipv4_mapped().is_some(),
        }
    };
    if unusable {
        fields.constraint(name, format!("{address} can't be the address of a device on the Internet"));
        return None;
    }
    Some(picked)
}

fn public_ipv4(fields: &Fields<'_>) -> Option<Ipv4Addr> {
    let pick = |address| match address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    };
    public(fields, "ipv4_public", pick, "`198.51.100.7` or `198.51.100.7/32`")
}

fn public_ipv6(fields: &Fields<'_>) -> Option<Ipv6Addr> {
    let pick = |address| match address {
        IpAddr::V6(address) => Some(address),
        IpAddr::V4(_) => None,
    };
    public(fields, "ipv6_public", pick, "`2001:db8::7` or `2001:db8::7/128`")
}

fn initiation_policy(fields: &Fields<'_>) -> Option<InitiationPolicy> {
    let all = [(InitiationPolicy::VpnGateway, "vpn_gateway"), (InitiationPolicy::CustomerGateway, "customer_gateway")];
    fields.word("initiation_policy", all.into_iter())
}

/// `{"id": …, "revision": …}` in `secret`.
fn secret(fields: &Fields<'_>) -> Option<(SecretId, Option<u32>)> {
    let secret = fields.object("secret")?;
    let id = secret.required_id("id", "the secret that holds the key");
    let revision = secret.number("revision", 1, u32::MAX);
    id.map(|id| (id, revision))
}

fn ciphers(fields: &Fields<'_>, name: &str, ike: bool) -> Option<Vec<Cipher>> {
    let items = fields.array(name, MAX_CIPHERS)?;
    let mut ciphers = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        let Value::Object(map) = item else {
            fields.format(&format!("{name}[{index}]"), "must be a JSON object");
            continue;
        };
        let prefix = fields.path(&format!("{name}[{index}]."));
        ciphers.extend(cipher(&Fields { map, prefix, ..*fields }, ike));
    }
    Some(ciphers)
}

fn cipher(fields: &Fields<'_>, ike: bool) -> Option<Cipher> {
    let encryption = fields.word("encryption", Encryption::ALL.iter().map(|word| (*word, word.as_str())));
    let unknown = fields.text("encryption").is_some_and(|text| text.starts_with("unknown_"));
    if encryption.is_none() && (unknown || !fields.present("encryption")) {
        let help = format!("give one of {}", words(Encryption::ALL.iter().map(|word| word.as_str())));
        fields.push("encryption", ArgumentReason::Required, help);
    }
    let integrity = fields.word("integrity", Integrity::ALL.iter().map(|word| (*word, word.as_str())));
    let dh_group = fields.word("dh_group", DhGroup::ALL.iter().map(|word| (*word, word.as_str())));
    if let Some(recorder) = fields.recorder {
        recorder.require(fields.path("encryption"));
    }
    let encryption = encryption?;
    if !ike && encryption.is_aead() && integrity.is_some() {
        let help = format!("{encryption} authenticates by itself; leave `integrity` out");
        fields.constraint("integrity", help);
    }
    Some(Cipher { encryption, integrity, dh_group })
}

fn bgp(fields: &Fields<'_>, family: Family) -> Option<NewBgp> {
    let config = fields.object(match family {
        Family::Ipv4 => "bgp_config_ipv4",
        Family::Ipv6 => "bgp_config_ipv6",
    })?;
    let inside = |name: &str| {
        let address = config.network(name)?;
        if Family::of_net(&address) != family {
            config.constraint(name, format!("{address} is not an {family} address"));
            return None;
        }
        Some(address)
    };
    let (private_ip, peer_private_ip) = (inside("private_ip"), inside("peer_private_ip"));
    Some(NewBgp { routing_policy_id: config.id("routing_policy_id"), private_ip, peer_private_ip })
}
