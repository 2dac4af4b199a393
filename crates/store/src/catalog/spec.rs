//! What the catalogue knows of each kind of objects: the columns that lists filter and sort by.

use causeway_model::command::OrderField;

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// An id of 16 octets, or NULL.
    Id,
    /// A text, or NULL.
    Text,
    /// Ids in hexadecimal digits with commas between, or NULL for none: the object matches by any of them.
    Ids,
}

/// A column that lists filter by.
#[derive(Debug)]
pub(super) struct Column {
    /// The filter's name.
    pub(super) name: &'static str,
    /// Where its value comes from. What it depends on beyond the row itself has to change together with the row.
    pub(super) sql: &'static str,
    /// What it holds.
    pub(super) form: Form,
}

/// A kind of objects that lists show.
#[derive(Debug)]
pub(super) struct Spec {
    /// The table.
    pub(super) table: &'static str,
    /// Which rows lists show.
    pub(super) visible: &'static str,
    /// The folded name and the one to sort by.
    pub(super) names: (&'static str, &'static str),
    /// The filters.
    pub(super) columns: &'static [Column],
    /// The orders beside creation, change and name.
    pub(super) orders: &'static [(OrderField, &'static str)],
}

const NAMES: (&str, &str) = ("name_folded", "name_sort");

const fn id(name: &'static str) -> Column {
    Column { name, sql: name, form: Form::Id }
}

const fn text(name: &'static str) -> Column {
    Column { name, sql: name, form: Form::Text }
}

const fn computed(name: &'static str, sql: &'static str, form: Form) -> Column {
    Column { name, sql, form }
}

/// Every kind.
pub(super) static SPECS: [Spec; 10] = [
    Spec {
        table: "vpc",
        visible: "1",
        names: NAMES,
        columns: &[computed("is_default", "CAST(is_default AS TEXT)", Form::Text)],
        orders: &[],
    },
    Spec {
        table: "private_network",
        visible: "1",
        names: NAMES,
        columns: &[id("id"), id("vpc_id"), computed("dhcp_enabled", "CAST(dhcp_enabled AS TEXT)", Form::Text)],
        orders: &[],
    },
    Spec { table: "secret", visible: "1", names: NAMES, columns: &[text("path"), text("kind")], orders: &[] },
    Spec {
        table: "vpn_gateway",
        visible: "gone_at IS NULL",
        names: NAMES,
        columns: &[text("status"), text("gateway_type"), id("private_network_id")],
        orders: &[(OrderField::Status, "status"), (OrderField::Type, "gateway_type")],
    },
    Spec { table: "customer_gateway", visible: "1", names: NAMES, columns: &[], orders: &[] },
    Spec {
        table: "routing_policy",
        visible: "1",
        names: NAMES,
        columns: &[computed("is_ipv6", "CAST(is_ipv6 AS TEXT)", Form::Text)],
        orders: &[],
    },
    Spec {
        table: "connection",
        visible: "1",
        names: NAMES,
        columns: &[
            text("status"),
            text("tunnels"),
            computed("route_propagation_enabled", "CAST(route_propagation_enabled AS TEXT)", Form::Text),
            id("vpn_gateway_id"),
            id("customer_gateway_id"),
            computed(
                "routing_policy_id",
                "(SELECT group_concat(hex(routing_policy_id)) FROM bgp_session WHERE connection_id = connection.id \
                 AND routing_policy_id IS NOT NULL)",
                Form::Ids,
            ),
        ],
        orders: &[(OrderField::Status, "status")],
    },
    Spec {
        table: "link",
        visible: "deleted_at IS NULL",
        names: NAMES,
        columns: &[
            text("status"),
            text("bgp_v4_status"),
            text("bgp_v6_status"),
            text("kind"),
            computed("bandwidth_mbps", "CAST(bandwidth_mbps AS TEXT)", Form::Text),
            id("pop_id"),
            id("partner_id"),
            id("vpc_id"),
            id("connection_id"),
            id("pairing_key"),
            computed(
                "routing_policy_id",
                "(SELECT group_concat(hex(routing_policy_id)) FROM link_session WHERE link_id = link.id)",
                Form::Ids,
            ),
        ],
        orders: &[(OrderField::Status, "status")],
    },
    Spec {
        table: "link_routing_policy",
        visible: "1",
        names: NAMES,
        columns: &[computed("is_ipv6", "CAST(is_ipv6 AS TEXT)", Form::Text)],
        orders: &[],
    },
    Spec {
        table: "dedicated_connection",
        visible: "1",
        names: NAMES,
        columns: &[
            computed("status", "CASE locked WHEN 0 THEN state ELSE 'locked' END", Form::Text),
            computed("bandwidth_mbps", "CAST(bandwidth_mbps AS TEXT)", Form::Text),
            id("pop_id"),
        ],
        orders: &[(OrderField::Status, "status")],
    },
];
