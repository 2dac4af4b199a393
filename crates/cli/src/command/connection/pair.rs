//! Redundant pairs: two connections between the same two gateways, one for each outer family (system.md §1.1). The API knows nothing of
//! them; they are found in the list.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::failure::Failure;
use crate::output::Column;
use crate::session::{Session, set, text};

use super::CONNECTION;
use super::arguments::Pairs;

const COLUMNS: &[Column] = &[
    Column { title: "STATUS", cell: |pair| text(pair, "/status") },
    Column { title: "OVER IPV4", cell: |pair| member(pair, "ipv4") },
    Column { title: "OVER IPV6", cell: |pair| member(pair, "ipv6") },
    Column { title: "VPN GATEWAY", cell: |pair| text(pair, "/vpn_gateway_id") },
    Column { title: "CUSTOMER GATEWAY", cell: |pair| text(pair, "/customer_gateway_id") },
];

/// `name: down (dpd_timeout)`.
fn member(pair: &Value, family: &str) -> String {
    let part = |key: &str| text(pair, &format!("/{family}/{key}"));
    let (name, status, reason) = (part("name"), part("status"), part("reason"));
    if reason.is_empty() { format!("{name}: {status}") } else { format!("{name}: {status} ({reason})") }
}

/// What a pair is shown as (system.md §3, below the connection table).
pub(super) fn combined(a: &str, b: &str) -> &'static str {
    let both = |status: &str| a == status && b == status;
    let any = |status: &str| a == status || b == status;
    if any("locked") {
        "locked"
    } else if both("active") {
        "active"
    } else if any("active") || any("limited_connectivity") {
        "limited_connectivity"
    } else if both("ready") {
        "ready"
    } else {
        "down"
    }
}

/// The pairs among `connections`. Where more than one connection runs over a family, nobody can say which belongs to which.
pub(super) fn pairs(connections: &[Value]) -> Vec<Value> {
    let mut between: BTreeMap<(String, String), [Vec<&Value>; 2]> = BTreeMap::new();
    for connection in connections {
        let known =
            between.entry((text(connection, "/vpn_gateway_id"), text(connection, "/customer_gateway_id"))).or_default();
        let [ipv4, ipv6] = known;
        // One with a tunnel of each family says how each is doing; it is redundant by itself.
        let single = text(connection, "/tunnel_status_ipv4") == "unknown_tunnel_status";
        match connection.get("is_ipv6").and_then(Value::as_bool) {
            Some(false) if single => ipv4.push(connection),
            Some(true) if single => ipv6.push(connection),
            _ => {}
        }
    }
    let found = between.into_iter().filter_map(|((gateway, customer), [ipv4, ipv6])| match (&ipv4[..], &ipv6[..]) {
        ([ipv4], [ipv6]) => Some(json!({
            "status": combined(&text(ipv4, "/status"), &text(ipv6, "/status")),
            "vpn_gateway_id": gateway, "customer_gateway_id": customer, "ipv4": ipv4, "ipv6": ipv6,
        })),
        _ => None,
    });
    found.collect()
}

/// The columns of a list, with one more for the pair's status if `connections`, which get it, have any pair among them.
pub(super) fn with_pairs(columns: &[Column], connections: &mut [Value]) -> Vec<Column> {
    let mut columns = columns.to_vec();
    let pairs = pairs(connections);
    if pairs.is_empty() {
        return columns;
    }
    for connection in connections {
        let id = text(connection, "/id");
        let own = pairs.iter().find(|pair| [text(pair, "/ipv4/id"), text(pair, "/ipv6/id")].contains(&id));
        set(connection, "pair", json!(own.map(|pair| text(pair, "/status")).unwrap_or_default()));
    }
    let after = columns.iter().position(|column| column.title == "STATUS").map_or(columns.len(), |place| place + 1);
    columns.insert(after, Column { title: "PAIR", cell: |connection| text(connection, "/pair") });
    columns
}

/// `connection pairs`
pub(super) async fn list(session: &mut Session<'_>, wanted: Pairs) -> Result<(), Failure> {
    let found = session.list(&CONNECTION, &wanted.filters.query()).await?;
    let found = session.with_reasons(&CONNECTION, found).await;
    session.show_list("redundant pairs of connections", COLUMNS, pairs(&found))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_the_pairs_rule() {
        let rows = [
            ("locked", "locked", "locked"),
            ("locked", "active", "locked"),
            ("locked", "limited_connectivity", "locked"),
            ("locked", "ready", "locked"),
            ("locked", "down", "locked"),
            ("active", "active", "active"),
            ("active", "limited_connectivity", "limited_connectivity"),
            ("active", "ready", "limited_connectivity"),
            ("active", "down", "limited_connectivity"),
            ("limited_connectivity", "limited_connectivity", "limited_connectivity"),
            ("limited_connectivity", "ready", "limited_connectivity"),
            ("limited_connectivity", "down", "limited_connectivity"),
            ("ready", "ready", "ready"),
            ("ready", "down", "down"),
            ("down", "down", "down"),
        ];
        for (a, b, pair) in rows {
            assert_eq!((combined(a, b), combined(b, a)), (pair, pair), "{a} and {b}");
        }
    }

    fn connection(id: &str, customer: &str, is_ipv6: bool, tunnel: &str) -> Value {
        json!({"id": id, "name": id, "vpn_gateway_id": "g", "customer_gateway_id": customer, "is_ipv6": is_ipv6,
               "tunnel_status_ipv4": tunnel, "status": "active"})
    }

    #[test]
    fn a_pair_is_one_connection_of_each_family_between_the_same_gateways() {
        let single = "unknown_tunnel_status";
        let mut all = [
            connection("a4", "a", false, single),
            connection("a6", "a", true, single),
            connection("b4", "b", false, single),
            connection("c4", "c", false, "up"),
            connection("c6", "c", true, single),
            connection("d4", "d", false, single),
            connection("d4again", "d", false, single),
            connection("d6", "d", true, single),
        ];
        let found = pairs(&all);
        let members: Vec<_> = found.iter().map(|pair| (text(pair, "/ipv4/id"), text(pair, "/ipv6/id"))).collect();
        assert_eq!(members, [("a4".to_owned(), "a6".to_owned())]);
        assert_eq!(with_pairs(super::super::COLUMNS, &mut all)[3].title, "PAIR");
        assert_eq!((text(&all[1], "/pair").as_str(), text(&all[2], "/pair").as_str()), ("active", ""));
        let mut alone = [connection("b4", "b", false, single)];
        assert!(with_pairs(super::super::COLUMNS, &mut alone).iter().all(|column| column.title != "PAIR"));
    }
}
