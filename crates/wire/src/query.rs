//! Query strings (wire-api.md §1.4, §1.8): repeated keys for lists, booleans in any case, `unknown_*` and empty values mean no filter,
//! unknown parameters are ignored, and every bad one is named.

use std::net::IpAddr;

use causeway_model::command::{
    ConnectionFilter, IpFilter, ListQuery, OrderField, PrivateNetworkFilter, SecretFilter, SubnetFilter, VpcFilter,
    VpnGatewayFilter,
};
use causeway_model::error::ArgumentReason;
use causeway_model::resource::SecretVersionStatus;
use causeway_model::route::{RouteFilter, RouteKind};
use causeway_model::status::{ConnectionStatus, VpnGatewayStatus};
use causeway_model::{Error, Timestamp};
use ipnet::IpNet;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::errors::{Errors, excerpt, words};
use crate::record::Recorder;
use crate::request::ipam::mac;

mod explanation;
mod interlink;

pub use explanation::ReceivedRouteFilter;

/// Objects of a page when the caller does not say (real value unknown).
pub const DEFAULT_PAGE_SIZE: u32 = 50;
/// Objects of a page at most.
pub const MAX_PAGE_SIZE: u32 = 1000;
/// Objects of a page when a name is looked up: in the default order, and the caller does not say how many. Terraform and scw look for the
/// exact name in the first page of all that contain it, and must find it (wire-api.md §1.10, §11.10).
pub const LOOKUP_PAGE_SIZE: u32 = MAX_PAGE_SIZE;

/// What lists of VPCs and Private Networks call private access to object storage, which is not offered.
const OBJECT_STORAGE: [&str; 3] =
    ["s3_integration_enabled", "has_s3_integration", "object_storage_private_access_enabled"];

/// Next hops that production has.
const NEXT_HOPS: [&str; 5] = [
    "vpc_gateway_network",
    "instance_private_nic",
    "baremetal_private_nic",
    "apple_silicon_private_nic",
    "vpn_gateway",
];

/// A parsed query string. Field errors are collected until [`Query::finish`].
#[derive(Debug, Default)]
pub struct Query {
    pairs: Vec<(String, String)>,
    errors: Errors,
    recorder: Option<Recorder>,
}

impl Query {
    /// Splits and decodes `raw` (without the question mark). Octets that are not UTF-8 become U+FFFD.
    #[must_use]
    pub fn parse(raw: &str) -> Self {
        let pairs = raw
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| {
                let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                (percent_decode(key, true), percent_decode(value, true))
            })
            .collect();
        Self { pairs, errors: Errors::default(), recorder: None }
    }

    /// An empty query that tells `recorder` what is asked of it.
    #[must_use]
    pub fn recording(recorder: Recorder) -> Self {
        Self { recorder: Some(recorder), ..Self::default() }
    }

    /// Tells the recorder, if there is one, what `name` is. The first to say so is the most exact.
    fn is(&self, name: &str, schema: impl FnOnce() -> Value) {
        if let Some(recorder) = &self.recorder {
            recorder.parameter(name, schema());
        }
    }

    /// Values of `name` that filter: neither empty nor `unknown_*`.
    fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> + 'a {
        self.pairs
            .iter()
            .filter(move |(key, value)| key == name && !value.is_empty() && !value.starts_with("unknown_"))
            .map(|(_, value)| value.as_str())
    }

    fn push(&self, name: &str, reason: ArgumentReason, help: impl Into<String>) {
        self.errors.push(name, reason, help);
    }

    /// The last value of free text; here `unknown_…` is a text as any other.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<String> {
        self.is(name, || json!({"type": "string"}));
        let mut values = self.pairs.iter().filter(|(key, value)| key == name && !value.is_empty());
        values.next_back().map(|(_, value)| value.clone())
    }

    /// The last value of free text that has to be there.
    #[must_use]
    pub fn required_text(&self, name: &str, help: &str) -> String {
        let text = self.text(name);
        if text.is_none() {
            self.push(name, ArgumentReason::Required, help);
        }
        text.unwrap_or_default()
    }

    /// Every value of a list of free texts.
    #[must_use]
    pub fn texts(&self, name: &str) -> Vec<String> {
        self.is(name, || json!({"type": "array", "items": {"type": "string"}}));
        self.pairs
            .iter()
            .filter(|(key, value)| key == name && !value.is_empty())
            .map(|(_, value)| value.clone())
            .collect()
    }

    /// Every value of a list of words; `unknown_*` is left out.
    #[must_use]
    pub fn words(&self, name: &str) -> Vec<String> {
        self.is(name, || json!({"type": "array", "items": {"type": "string"}}));
        self.values(name).map(str::to_owned).collect()
    }

    /// A boolean in any case.
    pub fn boolean(&self, name: &str) -> Option<bool> {
        self.is(name, || json!({"type": "boolean"}));
        let value = self.values(name).last()?;
        if value.eq_ignore_ascii_case("true") {
            Some(true)
        } else if value.eq_ignore_ascii_case("false") {
            Some(false)
        } else {
            self.push(name, ArgumentReason::Format, "must be `true` or `false`");
            None
        }
    }

    /// An id.
    pub fn id<T: From<Uuid>>(&self, name: &str) -> Option<T> {
        self.is(name, || json!({"type": "string", "format": "uuid"}));
        self.ids(name).pop()
    }

    /// A list of ids.
    pub fn ids<T: From<Uuid>>(&self, name: &str) -> Vec<T> {
        self.is(name, || json!({"type": "array", "items": {"type": "string", "format": "uuid"}}));
        let mut ids = Vec::new();
        for value in self.values(name) {
            match uuid(value) {
                Some(id) => ids.push(id.into()),
                None => self.push(name, ArgumentReason::Format, format!("`{}` is not a UUID", excerpt(value))),
            }
        }
        ids
    }

    /// A list of words out of `all`.
    fn enumeration<T: Copy>(&self, name: &str, all: &[(T, &str)]) -> Vec<T> {
        self.is(name, || {
            let all: Vec<_> = all.iter().map(|(_, word)| *word).collect();
            json!({"type": "array", "items": {"type": "string", "enum": all}})
        });
        let mut found = Vec::new();
        for value in self.values(name) {
            match all.iter().find(|(_, word)| *word == value) {
                Some((item, _)) => found.push(*item),
                None => {
                    let help = format!("`{}` is none of {}", excerpt(value), words(all.iter().map(|(_, word)| *word)));
                    self.push(name, ArgumentReason::Format, help);
                }
            }
        }
        found
    }

    fn number(&self, name: &str, default: u32, max: u32) -> u32 {
        self.is(name, || json!({"type": "integer", "minimum": 1, "maximum": max, "default": default}));
        let Some(value) = self.text(name) else { return default };
        match value.parse::<u64>() {
            Ok(number) if (1..=u64::from(max)).contains(&number) => u32::try_from(number).unwrap_or(max),
            Ok(_) => {
                self.push(name, ArgumentReason::Constraint, format!("must be from 1 to {max}"));
                default
            }
            Err(_) => {
                self.push(name, ArgumentReason::Format, format!("must be a number from 1 to {max}"));
                default
            }
        }
    }

    /// What every list takes, with the orders that the list at hand knows; the first is the default. A list without orders ignores `order_by`.
    pub fn list(&self, orders: &[Order]) -> ListQuery {
        let order = self.order(orders);
        let name = self.text("name");
        let lookup = name.is_some() && orders.first().is_none_or(|default| default.word == order.word);
        self.is("page_size", || {
            let words = format!("{LOOKUP_PAGE_SIZE} by default where `name` is given and the order is the default one.");
            json!({"type": "integer", "minimum": 1, "maximum": MAX_PAGE_SIZE, "default": DEFAULT_PAGE_SIZE, "description": words})
        });
        ListQuery {
            order: order.field,
            descending: order.descending,
            page: self.number("page", 1, u32::MAX),
            page_size: self.number(
                "page_size",
                if lookup { LOOKUP_PAGE_SIZE } else { DEFAULT_PAGE_SIZE },
                MAX_PAGE_SIZE,
            ),
            project_id: self.id("project_id"),
            organization_id: self.id("organization_id"),
            name,
            tags: self.texts("tags"),
        }
    }

    /// The page of a list that has no other conditions: number and size.
    pub fn page(&self) -> (u32, u32) {
        (self.number("page", 1, u32::MAX), self.number("page_size", DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE))
    }

    /// An instant.
    pub fn time(&self, name: &str) -> Option<Timestamp> {
        self.is(name, || json!({"type": "string", "description": "An instant (RFC 3339), or a day (UTC)."}));
        let value = self.text(name)?;
        let time = Timestamp::parse(&value);
        if time.is_none() {
            let help = format!(
                "`{}` is neither an instant like 2027-01-01T00:00:00Z nor a day like 2027-01-01",
                excerpt(&value)
            );
            self.push(name, ArgumentReason::Format, help);
        }
        time
    }

    /// A whole number without a default.
    pub fn count(&self, name: &str) -> Option<u64> {
        self.is(name, || json!({"type": "integer", "minimum": 0}));
        let value = self.text(name)?;
        let count = value.parse().ok();
        if count.is_none() {
            self.push(name, ArgumentReason::Format, "must be a whole number, 0 or more");
        }
        count
    }

    /// One of these words.
    pub fn choice<T: Copy>(&self, name: &str, all: &[(T, &str)]) -> Option<T> {
        self.is(name, || {
            let all: Vec<_> = all.iter().map(|(_, word)| *word).collect();
            json!({"type": "string", "enum": all})
        });
        self.enumeration(name, all).pop()
    }

    fn order(&self, orders: &[Order]) -> Order {
        let Some(default) = orders.first().copied() else { return Order::CREATED_AT_ASC };
        self.is("order_by", || {
            let all: Vec<_> = orders.iter().map(|order| order.word).collect();
            json!({"type": "string", "enum": all, "default": default.word})
        });
        let Some(value) = self.values("order_by").last() else { return default };
        if let Some(order) = orders.iter().find(|order| order.word == value) {
            return *order;
        }
        let help = format!("`{}` is none of {}", excerpt(value), words(orders.iter().map(|order| order.word)));
        self.push("order_by", ArgumentReason::Format, help);
        default
    }

    /// Filters of the VPN gateway list.
    pub fn vpn_gateways(&self) -> VpnGatewayFilter {
        let statuses: Vec<_> = VpnGatewayStatus::ALL.iter().map(|status| (*status, status.as_str())).collect();
        VpnGatewayFilter {
            statuses: self.enumeration("statuses", &statuses),
            gateway_types: self.texts("gateway_types"),
            private_network_ids: self.ids("private_network_ids"),
        }
    }

    /// Filters of the connection list.
    pub fn connections(&self) -> ConnectionFilter {
        let statuses: Vec<_> = ConnectionStatus::ALL.iter().map(|status| (*status, status.as_str())).collect();
        ConnectionFilter {
            statuses: self.enumeration("statuses", &statuses),
            is_ipv6: self.boolean("is_ipv6"),
            routing_policy_ids: self.ids("routing_policy_ids"),
            route_propagation_enabled: self.boolean("route_propagation_enabled"),
            vpn_gateway_ids: self.ids("vpn_gateway_ids"),
            customer_gateway_ids: self.ids("customer_gateway_ids"),
        }
    }

    /// Filters of the VPC list.
    pub fn vpcs(&self) -> VpcFilter {
        // Routing is always on.
        let routed = self.boolean("routing_enabled") != Some(false);
        VpcFilter { is_default: self.boolean("is_default"), impossible: !routed || self.asks_for_object_storage() }
    }

    /// Filters of the Private Network list.
    pub fn private_networks(&self) -> PrivateNetworkFilter {
        PrivateNetworkFilter {
            vpc_id: self.id("vpc_id"),
            private_network_ids: self.ids("private_network_ids"),
            dhcp_enabled: self.boolean("dhcp_enabled"),
            impossible: self.asks_for_object_storage(),
        }
    }

    /// Whether only what has private access to object storage is wanted: nothing here has.
    fn asks_for_object_storage(&self) -> bool {
        let asked = OBJECT_STORAGE.map(|name| self.boolean(name));
        asked.contains(&Some(true))
    }

    /// Filters of the subnet list.
    pub fn subnets(&self) -> SubnetFilter {
        SubnetFilter { vpc_id: self.id("vpc_id"), subnet_ids: self.ids("subnet_ids") }
    }

    /// Filters of the route list. The second value: whether nothing can match, since this service has no such next hops.
    pub fn routes(&self) -> (RouteFilter, bool) {
        let connector = self.id::<Uuid>("nexthop_vpc_connector_id").is_some();
        let hops = NEXT_HOPS.map(|word| (word, word));
        let hop = self.enumeration("nexthop_resource_type", &hops).pop();
        let kind = hop.filter(|hop| *hop == "vpn_gateway").map(|_| RouteKind::S2sVpn);
        let filter = RouteFilter {
            vpc_id: self.id("vpc_id"),
            resource: self.id("nexthop_resource_id"),
            network: self.id("nexthop_private_network_id"),
            kind,
            contains: self.prefix("contains"),
            is_ipv6: self.boolean("is_ipv6"),
        };
        (filter, connector || (hop.is_some() && kind.is_none()))
    }

    /// Statuses of the secret versions wanted. The second value: whether nothing can match.
    pub fn secret_version_statuses(&self) -> (Vec<SecretVersionStatus>, bool) {
        let all = [
            (Some(SecretVersionStatus::Enabled), "enabled"),
            (Some(SecretVersionStatus::Disabled), "disabled"),
            (Some(SecretVersionStatus::Deleted), "deleted"),
            // Versions are deleted at once here.
            (None, "scheduled_for_deletion"),
        ];
        let asked = self.enumeration("status", &all);
        let found: Vec<_> = asked.iter().copied().flatten().collect();
        let nothing = found.is_empty() && !asked.is_empty();
        (found, nothing)
    }

    /// An address or a prefix; host bits do not count.
    fn prefix(&self, name: &str) -> Option<IpNet> {
        self.is(name, || json!({"type": "string", "description": "An address or a prefix (CIDR)."}));
        let value = self.values(name).last()?;
        let parsed = value.parse::<IpNet>().or_else(|_| value.parse::<IpAddr>().map(IpNet::from));
        match parsed {
            Ok(prefix) => Some(prefix.trunc()),
            Err(_) => {
                self.push(
                    name,
                    ArgumentReason::Format,
                    format!("`{}` is neither an address nor a prefix", excerpt(value)),
                );
                None
            }
        }
    }

    fn mac_address(&self, name: &str) -> Option<String> {
        self.is(name, || json!({"type": "string"}));
        let value = self.values(name).last()?;
        let mac = mac(value);
        if mac.is_none() {
            self.push(name, ArgumentReason::Format, format!("`{}` is not a MAC address", excerpt(value)));
        }
        mac
    }

    /// Filters of the IPAM list.
    pub fn ips(&self) -> IpFilter {
        let mut resource_ids = self.ids("resource_ids");
        resource_ids.extend(self.id::<Uuid>("resource_id"));
        let mut resource_types = self.words("resource_types");
        resource_types.extend(self.words("resource_type").pop());
        let sources = ["zonal", "regional", "private_network_id", "subnet_id", "source_vpc_id"];
        let regional = self.boolean("regional") == Some(true);
        let of_vpc = self.id::<Uuid>("source_vpc_id").is_some();
        let given = |name: &&str| if *name == "regional" { regional } else { self.values(name).next().is_some() };
        let given: Vec<_> = sources.into_iter().filter(given).collect();
        if let [_, second, ..] = given.as_slice() {
            self.push(second, ArgumentReason::Constraint, format!("give at most one of {}", words(sources)));
        }
        IpFilter {
            vpc_id: self.id("vpc_id"),
            private_network_id: self.id("private_network_id"),
            subnet_id: self.id("subnet_id"),
            zonal: self.text("zonal"),
            attached: self.boolean("attached"),
            resource_ids,
            resource_types,
            resource_name: self.text("resource_name"),
            mac_address: self.mac_address("mac_address"),
            is_ipv6: self.boolean("is_ipv6"),
            ip_ids: self.ids("ip_ids"),
            // Addresses here come from subnets and zones.
            sourceless: regional || of_vpc,
        }
    }

    /// Filters of the secret list. Nothing here is ephemeral or scheduled for deletion, so asking for those finds nothing; the flag that
    /// says so is the second value.
    pub fn secrets(&self) -> (SecretFilter, bool) {
        let nothing = self.boolean("scheduled_for_deletion") == Some(true) || self.boolean("ephemeral") == Some(true);
        (SecretFilter { path: self.text("path"), kind: self.words("type").pop() }, nothing)
    }

    /// Ends the parsing.
    ///
    /// # Errors
    /// Every bad parameter.
    pub fn finish(self) -> Result<(), Error> {
        self.errors.finish()
    }
}

/// A value of an `order_by`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    word: &'static str,
    field: OrderField,
    descending: bool,
}

macro_rules! orders {
    ($($name:ident = $word:literal, $field:ident, $descending:literal;)+) => {
        impl Order {
            $(const $name: Self = Self { word: $word, field: OrderField::$field, descending: $descending };)+
        }
    };
}

orders! {
    CREATED_AT_ASC = "created_at_asc", CreatedAt, false;
    CREATED_AT_DESC = "created_at_desc", CreatedAt, true;
    UPDATED_AT_ASC = "updated_at_asc", UpdatedAt, false;
    UPDATED_AT_DESC = "updated_at_desc", UpdatedAt, true;
    NAME_ASC = "name_asc", Name, false;
    NAME_DESC = "name_desc", Name, true;
    TYPE_ASC = "type_asc", Type, false;
    TYPE_DESC = "type_desc", Type, true;
    ATTACHED_AT_ASC = "attached_at_asc", AttachedAt, false;
    ATTACHED_AT_DESC = "attached_at_desc", AttachedAt, true;
    IP_ADDRESS_ASC = "ip_address_asc", Address, false;
    IP_ADDRESS_DESC = "ip_address_desc", Address, true;
    MAC_ADDRESS_ASC = "mac_address_asc", MacAddress, false;
    MAC_ADDRESS_DESC = "mac_address_desc", MacAddress, true;
    DESTINATION_ASC = "destination_asc", Destination, false;
    DESTINATION_DESC = "destination_desc", Destination, true;
    PREFIX_LEN_ASC = "prefix_len_asc", PrefixLength, false;
    PREFIX_LEN_DESC = "prefix_len_desc", PrefixLength, true;
    STATUS_ASC = "status_asc", Status, false;
    STATUS_DESC = "status_desc", Status, true;
}

impl Order {
    /// Subnets.
    pub const CREATED: &'static [Self] = &[Self::CREATED_AT_ASC, Self::CREATED_AT_DESC];
    /// Audit records: the newest first.
    pub const CREATED_DESC: &'static [Self] = &[Self::CREATED_AT_DESC, Self::CREATED_AT_ASC];
    /// VPCs, Private Networks, customer gateways, routing policies.
    pub const CREATED_NAME: &'static [Self] =
        &[Self::CREATED_AT_ASC, Self::CREATED_AT_DESC, Self::NAME_ASC, Self::NAME_DESC];
    /// Connections.
    pub const CONNECTIONS: &'static [Self] = &[
        Self::CREATED_AT_ASC,
        Self::CREATED_AT_DESC,
        Self::NAME_ASC,
        Self::NAME_DESC,
        Self::STATUS_ASC,
        Self::STATUS_DESC,
    ];
    /// VPN gateways.
    pub const VPN_GATEWAYS: &'static [Self] = &[
        Self::CREATED_AT_ASC,
        Self::CREATED_AT_DESC,
        Self::NAME_ASC,
        Self::NAME_DESC,
        Self::TYPE_ASC,
        Self::TYPE_DESC,
        Self::STATUS_ASC,
        Self::STATUS_DESC,
    ];
    /// IPAM addresses.
    pub const IPS: &'static [Self] = &[
        Self::CREATED_AT_DESC,
        Self::CREATED_AT_ASC,
        Self::UPDATED_AT_ASC,
        Self::UPDATED_AT_DESC,
        Self::ATTACHED_AT_ASC,
        Self::ATTACHED_AT_DESC,
        Self::IP_ADDRESS_ASC,
        Self::IP_ADDRESS_DESC,
        Self::MAC_ADDRESS_ASC,
        Self::MAC_ADDRESS_DESC,
    ];
    /// Routes of VPCs.
    pub const ROUTES: &'static [Self] = &[
        Self::CREATED_AT_ASC,
        Self::CREATED_AT_DESC,
        Self::DESTINATION_ASC,
        Self::DESTINATION_DESC,
        Self::PREFIX_LEN_ASC,
        Self::PREFIX_LEN_DESC,
    ];
    /// Secrets.
    pub const SECRETS: &'static [Self] = &[
        Self::NAME_ASC,
        Self::NAME_DESC,
        Self::CREATED_AT_ASC,
        Self::CREATED_AT_DESC,
        Self::UPDATED_AT_ASC,
        Self::UPDATED_AT_DESC,
    ];
}

/// A UUID as the API writes it: 36 characters with hyphens, in either case.
#[must_use]
pub fn uuid(text: &str) -> Option<Uuid> {
    if text.len() == uuid::fmt::Hyphenated::LENGTH { Uuid::try_parse(text).ok() } else { None }
}

/// Undoes percent-encoding; in query strings `plus` means space. A `%` that no two hexadecimal digits follow stands for itself.
#[must_use]
pub fn percent_decode(text: &str, plus: bool) -> String {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(octet) = rest.next() {
        let decoded = match octet {
            b'+' if plus => Some(b' '),
            b'%' => {
                let mut ahead = rest.clone();
                let pair = ahead.next().and_then(hex_digit).zip(ahead.next().and_then(hex_digit));
                pair.map(|(high, low)| {
                    rest = ahead;
                    high << 4 | low
                })
            }
            _ => None,
        };
        octets.push(decoded.unwrap_or(octet));
    }
    String::from_utf8(octets).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

const fn hex_digit(octet: u8) -> Option<u8> {
    match octet {
        b'0'..=b'9' => Some(octet - b'0'),
        b'a'..=b'f' => Some(octet - b'a' + 10),
        b'A'..=b'F' => Some(octet - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use causeway_model::error::ArgumentError;

    use super::*;

    const ID: &str = "88eb1423-3671-41c0-b9a8-b39c706de059";

    fn errors(query: Query) -> Vec<(String, ArgumentReason)> {
        match query.finish() {
            Err(Error::InvalidArguments(arguments)) => {
                arguments.into_iter().map(|ArgumentError { name, reason, .. }| (name, reason)).collect()
            }
            other => panic!("expected field errors, got {other:?}"),
        }
    }

    #[test]
    fn the_three_sdks_spellings() {
        let query = Query::parse(
            "is_ipv6=True&tags=a+b&tags=c%26d&route_propagation_enabled=false&x=1&statuses=unknown_status",
        );
        let filter = query.connections();
        assert_eq!(filter.is_ipv6, Some(true));
        assert_eq!(filter.route_propagation_enabled, Some(false));
        assert_eq!(filter.statuses, []);
        assert_eq!(query.list(Order::CONNECTIONS).tags, ["a b", "c&d"]);
        query.finish().expect("no errors");
    }

    #[test]
    fn an_empty_query_is_the_first_page_in_the_default_order() {
        let query = Query::parse("");
        let list = query.list(Order::SECRETS);
        assert_eq!((list.order, list.descending, list.page, list.page_size), (OrderField::Name, false, 1, 50));
        assert_eq!(query.list(Order::IPS).order, OrderField::CreatedAt);
        assert!(query.list(Order::IPS).descending);
        query.finish().expect("no errors");
    }

    #[test]
    fn a_lookup_by_name_has_a_long_first_page() {
        let size = |raw: &str| Query::parse(raw).list(Order::CONNECTIONS).page_size;
        // As Terraform and as scw send it.
        assert_eq!(size("name=gw&order_by=created_at_asc"), LOOKUP_PAGE_SIZE);
        assert_eq!(size("name=gw"), LOOKUP_PAGE_SIZE);
        assert_eq!(size("name=gw&order_by=name_asc"), 50);
        assert_eq!(size("name=gw&page_size=20"), 20);
        assert_eq!(size("name=&order_by=created_at_asc"), 50);
        assert_eq!(Query::parse("name=a").list(&[]).page_size, LOOKUP_PAGE_SIZE);
    }

    #[test]
    fn every_bad_parameter_is_named_at_once() {
        let query = Query::parse(
            "page=0&page_size=1001&order_by=colour_asc&project_id=x&statuses=active&statuses=broken&is_ipv6=perhaps&vpn_gateway_ids=1",
        );
        let _ = query.list(Order::CONNECTIONS);
        let filter = query.connections();
        assert_eq!(filter.statuses, [ConnectionStatus::Active]);
        use ArgumentReason::{Constraint, Format};
        let names: Vec<_> = errors(query);
        let expected = [
            ("order_by", Format),
            ("page", Constraint),
            ("page_size", Constraint),
            ("project_id", Format),
            ("statuses", Format),
            ("is_ipv6", Format),
            ("vpn_gateway_ids", Format),
        ];
        assert_eq!(names, expected.map(|(name, reason)| (name.to_owned(), reason)));
    }

    #[test]
    fn page_numbers_that_are_no_numbers_are_a_matter_of_format() {
        for value in ["-1", "one", "1.5", "99999999999999999999"] {
            let query = Query::parse(&format!("page={value}"));
            let _ = query.list(Order::CREATED);
            assert_eq!(errors(query), [("page".to_owned(), ArgumentReason::Format)], "{value}");
        }
        let query = Query::parse("page_size=1000&page=4294967295");
        assert_eq!(query.list(Order::CREATED).page, u32::MAX);
        query.finish().expect("no errors");
    }

    #[test]
    fn ip_filters_take_single_and_repeated_resources() {
        let query = Query::parse(&format!(
            "resource_id={ID}&resource_type=unknown_type&resource_types=vpn_gateway&zonal=fr-par-1"
        ));
        let filter = query.ips();
        assert_eq!(filter.resource_ids, [ID.parse::<Uuid>().expect("a UUID")]);
        assert_eq!(filter.resource_types, ["vpn_gateway"]);
        assert_eq!(filter.zonal.as_deref(), Some("fr-par-1"));
        query.finish().expect("no errors");

        let query = Query::parse(&format!("zonal=fr-par-1&subnet_id={ID}&mac_address=x"));
        let _ = query.ips();
        let names: Vec<_> = errors(query).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["subnet_id", "mac_address"]);

        let query = Query::parse("mac_address=bc%3A24%3A11%3A74%3Ad0%3A5b&resource_name=rout&regional=True");
        let filter = query.ips();
        assert_eq!(filter.mac_address.as_deref(), Some("BC:24:11:74:D0:5B"));
        assert_eq!((filter.resource_name.as_deref(), filter.sourceless), (Some("rout"), true));
        query.finish().expect("no errors");
    }

    #[test]
    fn route_filters() {
        let query = Query::parse(
            "nexthop_resource_type=unknown_type&contains=10.0.1.7%2F24&is_ipv6=False&order_by=prefix_len_desc",
        );
        let (filter, nothing) = query.routes();
        let expected = RouteFilter {
            contains: Some("10.0.1.0/24".parse().expect("a prefix")),
            is_ipv6: Some(false),
            ..RouteFilter::default()
        };
        assert_eq!((filter, nothing), (expected, false));
        assert_eq!(query.list(Order::ROUTES).order, OrderField::PrefixLength);
        query.finish().expect("no errors");
        let (filter, nothing) = Query::parse("nexthop_resource_type=vpn_gateway&contains=fd00::1").routes();
        assert_eq!((filter.kind, nothing), (Some(RouteKind::S2sVpn), false));
        assert_eq!(filter.contains, Some("fd00::1/128".parse().expect("a prefix")));
        assert!(Query::parse("nexthop_resource_type=instance_private_nic").routes().1);
        assert!(Query::parse(&format!("nexthop_vpc_connector_id={ID}")).routes().1);
        let query = Query::parse("contains=x&nexthop_resource_type=y");
        let _ = query.routes();
        let names: Vec<_> = errors(query).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["nexthop_resource_type", "contains"]);
    }

    #[test]
    fn percent_signs_that_encode_nothing_stand_for_themselves() {
        assert_eq!(percent_decode("100%+%41%4", true), "100% A%4");
        assert_eq!(percent_decode("a+b%zz", false), "a+b%zz");
        assert_eq!(percent_decode("%ff", true), "\u{fffd}");
        assert_eq!(percent_decode("%C3%A9", true), "é");
    }

    #[test]
    fn a_uuid_has_its_hyphens() {
        assert!(uuid(ID).is_some());
        assert!(uuid(&ID.to_uppercase()).is_some());
        for text in ["", "x", &ID.replace('-', ""), &format!("{{{ID}}}"), &format!("urn:uuid:{ID}")] {
            assert_eq!(uuid(text), None, "{text}");
        }
    }

    #[test]
    fn a_list_without_orders_ignores_what_is_asked_for() {
        let query = Query::parse("order_by=name_asc");
        assert_eq!(query.list(&[]).order, OrderField::CreatedAt);
        query.finish().expect("no errors");
    }

    #[test]
    fn a_long_bad_value_is_quoted_shortened() {
        let query = Query::parse(&format!("project_id={}", "x".repeat(5000)));
        let _ = query.list(Order::CREATED);
        let Err(Error::InvalidArguments(arguments)) = query.finish() else { panic!("an error") };
        assert!(arguments[0].help.len() < 100, "{}", arguments[0].help);
    }
}
