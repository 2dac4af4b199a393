//! `state` documents for people.

use serde_json::Value;

use crate::output::{Column, inline, table};
use crate::session::{reason, text};
use crate::text::printable;

/// `1 Gbit/s`; the API gives bits per second.
pub(crate) fn bandwidth(value: Option<&Value>) -> String {
    const UNITS: [(u64, &str); 3] = [(1_000_000_000, "Gbit/s"), (1_000_000, "Mbit/s"), (1_000, "kbit/s")];
    let Some(bits) = value.and_then(Value::as_u64) else { return String::new() };
    UNITS.iter().find(|(unit, _)| bits >= *unit && bits % (unit / 10) == 0).map_or_else(
        || format!("{bits} bit/s"),
        |(unit, word)| match (bits / unit, bits % unit / (unit / 10)) {
            (whole, 0) => format!("{whole} {word}"),
            (whole, tenth) => format!("{whole}.{tenth} {word}"),
        },
    )
}

/// `1.5 MiB`.
fn octets(value: u64) -> String {
    const UNITS: [(u64, &str); 4] = [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match UNITS.iter().find(|(unit, _)| value >= *unit) {
        Some((unit, word)) => format!("{}.{} {word}", value / unit, value % unit * 10 / unit),
        None => format!("{value} B"),
    }
}

/// What the states of all objects begin with.
pub(crate) fn head(object: &Value, state: &Value) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    let mut row = |title: &str, value: String| {
        if !value.is_empty() {
            rows.push(vec![title.to_owned(), printable(&value).into_owned()]);
        }
    };
    row("name", text(object, "/name"));
    row("id", text(object, "/id"));
    row("status", text(state, "/status"));
    if let Some(why) = state.get("reason").filter(|why| why.is_object()) {
        row("reason", reason(why));
        row("since", text(why, "/since"));
        row("turn", text(why, "/turn"));
        row("remedy", text(why, "/remedy"));
        for (key, value) in why.get("evidence").and_then(Value::as_object).into_iter().flatten() {
            row(&format!("evidence: {}", printable(key)), inline(value));
        }
    }
    match (text(state, "/applied_revision"), text(state, "/desired_revision")) {
        (applied, desired) if !desired.is_empty() && applied != desired => {
            row("revision", format!("{desired} (the node has {applied})"));
        }
        (_, desired) => row("revision", desired),
    }
    row("observed", text(state, "/observed_at"));
    rows
}

const TUNNELS: &[Column] = &[
    Column { title: "TUNNEL", cell: |tunnel| text(tunnel, "/family") },
    Column { title: "STATUS", cell: |tunnel| text(tunnel, "/status") },
    Column { title: "SINCE", cell: |tunnel| text(tunnel, "/since") },
    Column { title: "LOCAL", cell: |tunnel| text(tunnel, "/local") },
    Column { title: "PEER", cell: |tunnel| text(tunnel, "/peer") },
    Column { title: "IKE", cell: |tunnel| text(tunnel, "/ike/suite") },
    Column { title: "ESP", cell: |tunnel| text(tunnel, "/child/suite") },
    Column { title: "MTU", cell: |tunnel| text(tunnel, "/mtu") },
    Column { title: "IN", cell: |tunnel| traffic(tunnel, "/bytes/in") },
    Column { title: "OUT", cell: |tunnel| traffic(tunnel, "/bytes/out") },
    Column { title: "DROPS", cell: |tunnel| drops(tunnel) },
    Column { title: "REASON", cell: |tunnel| tunnel.get("reason").map(reason).unwrap_or_default() },
];

const SESSIONS: &[Column] = &[
    Column { title: "BGP", cell: |session| text(session, "/family") },
    Column { title: "STATUS", cell: |session| text(session, "/status") },
    Column { title: "SINCE", cell: |session| text(session, "/since") },
    Column { title: "RECEIVED", cell: |session| text(session, "/received") },
    Column { title: "ACCEPTED", cell: |session| text(session, "/accepted") },
    Column { title: "ANNOUNCED", cell: |session| text(session, "/announced") },
    Column { title: "UPDATES", cell: updates },
    Column { title: "FLAPS", cell: |session| text(session, "/flaps") },
    Column { title: "REASON", cell: |session| session.get("reason").map(reason).unwrap_or_default() },
];

/// UPDATE messages received and sent.
fn updates(session: &Value) -> String {
    let count = |pointer: &str| session.pointer(pointer).and_then(Value::as_u64);
    match (count("/updates/in"), count("/updates/out")) {
        (Some(received), Some(sent)) => format!("{received} in, {sent} out"),
        _ => String::new(),
    }
}

fn traffic(tunnel: &Value, pointer: &str) -> String {
    tunnel.pointer(pointer).and_then(Value::as_u64).map(octets).unwrap_or_default()
}

/// `replay 2, auth 1`.
fn drops(tunnel: &Value) -> String {
    let drops = tunnel.get("drops").and_then(Value::as_object).into_iter().flatten();
    drops
        .filter(|(_, count)| count.as_u64() != Some(0))
        .map(|(why, count)| format!("{why} {count}"))
        .collect::<Vec<_>>()
        .join(", ")
}

/// The tunnels and sessions of a connection's state.
pub(crate) fn tunnels_and_sessions(state: &Value) -> String {
    let mut shown = String::new();
    for (key, columns) in [("tunnels", TUNNELS), ("bgp_sessions", SESSIONS)] {
        let rows = state.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        if !rows.is_empty() {
            shown.push('\n');
            shown.push_str(&table(columns, rows));
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn quantities_are_exact_or_rounded_down() {
        for (bits, shown) in [
            (1_000_000_000_u64, "1 Gbit/s"),
            (2_500_000_000, "2.5 Gbit/s"),
            (1_250_000_000, "1250 Mbit/s"),
            (100_000_000, "100 Mbit/s"),
            (1_234, "1234 bit/s"),
            (0, "0 bit/s"),
        ] {
            assert_eq!(bandwidth(Some(&json!(bits))), shown);
        }
        assert_eq!(bandwidth(None), "");
        assert_eq!(
            [octets(0), octets(1023), octets(1536), octets(u64::MAX)],
            ["0 B", "1023 B", "1.5 KiB", "16777215.9 TiB"]
        );
    }
}
