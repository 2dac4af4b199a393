//! The rule in a node's own namespace that admits its controllers to its listener and nobody else, and what other tables do with that port.
//!
//! A table of its own: the operator's tables are never touched. What one of them drops stays dropped, whatever this one accepts, so that
//! such filters are found and named.

use std::fmt::Write as _;
use std::net::IpAddr;

use serde_json::Value;

use super::apply::{load, run};
use crate::{Error, Namespace, Result};

/// The table, of family `inet`.
const DOOR: &str = "causeway_node";
/// Filters that are named at most.
const MAX_NAMED: usize = 8;

/// Who may come to the node's listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DoorRule {
    /// The listener's port (TCP).
    pub port: u16,
    /// The controllers' addresses.
    pub admitted: Vec<IpAddr>,
}

impl DoorRule {
    fn render(&self) -> String {
        let port = self.port;
        let mut text = format!("table inet {DOOR}\ndelete table inet {DOOR}\ntable inet {DOOR} {{\n\tchain input {{\n");
        text.push_str("\t\ttype filter hook input priority filter - 5; policy accept;\n");
        let _ = writeln!(text, "\t\ttcp dport {port} iif lo accept");
        for address in &self.admitted {
            let family = if address.is_ipv6() { "ip6" } else { "ip" };
            let _ = writeln!(text, "\t\ttcp dport {port} {family} saddr {address} accept");
        }
        let _ = writeln!(text, "\t\ttcp dport {port} drop\n\t}}\n}}");
        text
    }
}

/// Puts the rule in place, and answers what the kernel has of it then: what [`door_in_force`] answers while nobody changes it.
///
/// # Errors
/// [`Error::NftMissing`]; [`Error::Nft`] with its words.
pub async fn close_door(namespace: &Namespace, rule: &DoorRule) -> Result<Option<String>> {
    load(namespace, rule.render()).await?;
    door_in_force(namespace).await
}

/// The rule as the kernel has it; `None`: there is none.
///
/// # Errors
/// [`Error::NftMissing`]; [`Error::Nft`] with its words.
pub async fn door_in_force(namespace: &Namespace) -> Result<Option<String>> {
    // Not restricted to the table, which would be an error while there is none.
    let all = run(namespace, &["list", "ruleset", "inet"], String::new()).await?;
    Ok(table(&all))
}

/// Takes the table away.
///
/// # Errors
/// As [`close_door`].
pub async fn open_door(namespace: &Namespace) -> Result<()> {
    load(namespace, format!("table inet {DOOR}\ndelete table inet {DOOR}\n")).await
}

/// The text of the table in a listing.
fn table(listing: &str) -> Option<String> {
    let start = listing.find(&format!("table inet {DOOR} {{"))?;
    let rest = listing.get(start..)?;
    let end = rest.find("\n}")?;
    rest.get(..end).map(str::to_owned)
}

/// Filters of other tables that may drop what comes to TCP `port` of this machine: base chains of the input hook that drop by default,
/// and rules in them that drop or reject this port, or whatever comes. What depends on more than that is not looked into.
///
/// # Errors
/// As [`close_door`].
pub async fn filters_of(namespace: &Namespace, port: u16) -> Result<Vec<String>> {
    let listing = run(namespace, &["-j", "list", "ruleset"], String::new()).await?;
    let listing: Value = serde_json::from_str(&listing).map_err(|error| Error::Nft(format!("its listing: {error}")))?;
    Ok(droppers(&listing, port))
}

fn text<'a>(object: &'a Value, key: &str) -> &'a str {
    object.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn droppers(listing: &Value, port: u16) -> Vec<String> {
    let entries = listing.get("nftables").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let name = |of: &Value, chain: &str| format!("table {} {}, chain {chain}", text(of, "family"), text(of, "table"));
    let mut found = Vec::new();
    let chains = entries.iter().filter_map(|entry| entry.get("chain"));
    for chain in chains.filter(|chain| text(chain, "hook") == "input" && text(chain, "table") != DOOR) {
        let is_here = |rule: &&Value| {
            ["family", "table"].iter().all(|key| text(rule, key) == text(chain, key))
                && text(rule, "chain") == text(chain, "name")
        };
        let rules: Vec<&Value> = entries.iter().filter_map(|entry| entry.get("rule")).filter(is_here).collect();
        let expressions = |rule: &'_ Value| rule.get("expr").and_then(Value::as_array).cloned().unwrap_or_default();
        let has = |rule: &Value, verdicts: &[&str]| {
            expressions(rule).iter().any(|part| verdicts.iter().any(|verdict| part.get(verdict).is_some()))
        };
        let named = name(chain, text(chain, "name"));
        if let Some(rule) =
            rules.iter().find(|rule| has(rule, &["drop", "reject"]) && concerns(&expressions(rule), port))
        {
            found.push(format!("{named}: a rule (handle {}) drops it", rule.get("handle").unwrap_or(&Value::Null)));
        } else if text(chain, "policy") == "drop"
            && !rules.iter().any(|rule| has(rule, &["accept", "jump", "goto"]) && concerns(&expressions(rule), port))
        {
            found.push(format!("{named}: drops by default, and no rule lets the port pass"));
        }
    }
    found.truncate(MAX_NAMED);
    found
}

/// Whether a rule is about TCP `port` as a destination, or about everything: whether each of its matches can be met by it.
fn concerns(expressions: &[Value], port: u16) -> bool {
    let matches = expressions.iter().filter_map(|part| part.get("match"));
    matches.into_iter().all(|of| {
        let payload = of.pointer("/left/payload");
        let is = |protocol: &str, field: &str| {
            payload.is_some_and(|payload| text(payload, "protocol") == protocol && text(payload, "field") == field)
        };
        let negated = text(of, "op") == "!=";
        if is("tcp", "dport") || is("th", "dport") {
            return of.get("right").is_some_and(|right| includes(right, port)) != negated;
        }
        let is_protocol = is("ip", "protocol") || of.pointer("/left/meta/key").is_some_and(|key| key == "l4proto");
        // Of a source nothing is known here; what is about another protocol, an interface or a state is not looked into.
        (is_protocol && of.get("right").is_some_and(|right| right == "tcp") && !negated)
            || is("ip", "saddr")
            || is("ip6", "saddr")
    })
}

/// Whether a value, a range or a set of them includes a port.
fn includes(right: &Value, port: u16) -> bool {
    let number = |value: &Value| value.as_u64().or_else(|| (value == "https").then_some(443));
    if let Some(set) = right.get("set").and_then(Value::as_array) {
        return set.iter().any(|element| includes(element, port));
    }
    if let Some([low, high]) = right.get("range").and_then(Value::as_array).map(Vec::as_slice) {
        let (low, high) = (number(low).unwrap_or(u64::MAX), number(high).unwrap_or_default());
        return (low..=high).contains(&u64::from(port));
    }
    number(right) == Some(u64::from(port))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_rule_admits_controllers_and_this_machine_only() {
        let admitted = ["192.0.2.1", "2001:db8::1"].map(|address| address.parse().expect("an address")).to_vec();
        let text = DoorRule { port: 443, admitted }.render();
        let rules: Vec<&str> = text.lines().map(str::trim).filter(|line| line.starts_with("tcp")).collect();
        let expected = [
            "tcp dport 443 iif lo accept",
            "tcp dport 443 ip saddr 192.0.2.1 accept",
            "tcp dport 443 ip6 saddr 2001:db8::1 accept",
            "tcp dport 443 drop",
        ];
        assert_eq!(rules, expected);
        let listing = format!("table inet other {{\n}}\n{}", text.split_once('\n').expect("lines").1);
        let listing = listing.replace(&format!("delete table inet {DOOR}\n"), "");
        assert!(table(&listing).is_some_and(|table| table.contains("2001:db8::1") && !table.contains("other")));
        assert_eq!(table("table inet other {\n}\n"), None);
    }

    fn chain(policy: &str) -> Value {
        json!({"chain": {"family": "inet", "table": "filter", "name": "in", "hook": "input", "policy": policy}})
    }

    fn rule(expr: Value) -> Value {
        json!({"rule": {"family": "inet", "table": "filter", "chain": "in", "handle": 4, "expr": expr}})
    }

    fn port(right: Value, op: &str) -> Value {
        json!({"match": {"op": op, "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": right}})
    }

    #[test]
    fn what_drops_the_port_is_found_and_nothing_else() {
        let (drop, accept) = (json!({"drop": null}), json!({"accept": null}));
        let state = json!({"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": "established"}});
        let saddr = json!({"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "saddr"}}, "right": "192.0.2.1"}});
        for (policy, rules, expected) in [
            ("accept", vec![], 0),
            ("drop", vec![], 1),
            ("drop", vec![json!([port(json!(443), "=="), accept])], 0),
            ("drop", vec![json!([port(json!(22), "=="), accept])], 1),
            ("drop", vec![json!([state, accept])], 1),
            ("accept", vec![json!([port(json!(443), "=="), drop])], 1),
            ("accept", vec![json!([port(json!({"set": [80, {"range": [400, 500]}]}), "=="), drop])], 1),
            ("accept", vec![json!([port(json!({"set": [80, 444]}), "=="), drop])], 0),
            ("accept", vec![json!([port(json!(22), "!="), drop])], 1),
            ("accept", vec![json!([saddr, port(json!(443), "=="), {"reject": null}])], 1),
            ("accept", vec![json!([{"counter": {}}, drop])], 1),
        ] {
            let mut all = vec![json!({"metainfo": {}}), chain(policy)];
            all.extend(rules.iter().cloned().map(rule));
            let found = droppers(&json!({"nftables": all}), 443);
            assert_eq!(found.len(), expected, "{policy} {rules:?}: {found:?}");
        }
        let ours =
            json!({"chain": {"family": "inet", "table": DOOR, "name": "input", "hook": "input", "policy": "drop"}});
        assert!(droppers(&json!({"nftables": [ours]}), 443).is_empty());
    }
}
