//! Access lists of VPCs: one for each family, replaced as a whole.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use hyper::Method;
use serde_json::{Value, json};

use super::Object;
use super::vpc::VPC;
use crate::failure::Failure;
use crate::output::Column;
use crate::session::{Api, Session, text};

/// Octets of a file of rules at most: what the API takes.
const MAX_FILE: u64 = 1 << 20;

const COLUMNS: &[Column] = &[
    Column { title: "ACTION", cell: |rule| text(rule, "/action") },
    Column { title: "PROTOCOL", cell: |rule| text(rule, "/protocol") },
    Column { title: "SOURCE", cell: |rule| side(rule, "source", "src") },
    Column { title: "DESTINATION", cell: |rule| side(rule, "destination", "dst") },
    Column { title: "PACKETS", cell: |rule| text(rule, "/packets") },
    Column { title: "OCTETS", cell: |rule| text(rule, "/bytes") },
    Column { title: "DESCRIPTION", cell: |rule| text(rule, "/description") },
];

/// `10.0.0.0/24 port 22-23`.
fn side(rule: &Value, prefix: &str, port: &str) -> String {
    let prefix = text(rule, &format!("/{prefix}"));
    let (low, high) = (text(rule, &format!("/{port}_port_low")), text(rule, &format!("/{port}_port_high")));
    match (low.as_str(), high.as_str()) {
        ("0" | "", "0" | "65535" | "") => prefix,
        (low, high) if low == high => format!("{prefix} port {low}"),
        (low, high) => format!("{prefix} port {low}-{high}"),
    }
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Policy {
    /// It passes
    Accept,
    /// It is dropped
    Drop,
}

impl Policy {
    const fn word(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::Drop => "drop",
        }
    }
}

/// What can be done with access lists.
#[derive(Subcommand)]
pub enum Action {
    /// Show a VPC's list with what its rules have counted
    Get(Get),
    /// Replace a VPC's list
    Set(Set),
}

/// `acl get`
#[derive(Args)]
pub struct Get {
    #[command(flatten)]
    vpc: Object,
    /// The list for IPv6
    #[arg(long)]
    ipv6: bool,
}

/// `acl set`
#[derive(Args)]
pub struct Set {
    #[command(flatten)]
    vpc: Object,
    /// The list for IPv6
    #[arg(long)]
    ipv6: bool,
    /// What becomes of a packet that no rule matches
    #[arg(long, value_enum, value_name = "ACTION")]
    default: Policy,
    /// A rule, in order: `ACTION PROTOCOL SOURCE DESTINATION [sport PORT[-PORT]] [dport PORT[-PORT]]`, for example
    /// `drop tcp 0.0.0.0/0 10.0.0.0/24 dport 23`; may be given several times
    #[arg(long = "rule", value_name = "RULE")]
    rules: Vec<String>,
    /// A file with the rules as a JSON array, as `acl get -o json` has them
    #[arg(long, value_name = "FILE", conflicts_with = "rules")]
    file: Option<PathBuf>,
}

/// A port, or two with a hyphen.
fn ports(words: &str) -> Option<(u16, u16)> {
    let (low, high) = words.split_once('-').unwrap_or((words, words));
    Some((low.parse().ok()?, high.parse().ok()?))
}

/// A rule's document. Prefixes and words are the API's to check.
fn rule(line: &str) -> Result<Value, Failure> {
    let bad = || Failure::Usage(format!("{line:?} is not a rule; an example: drop tcp 0.0.0.0/0 10.0.0.0/24 dport 23"));
    let mut words = line.split_whitespace();
    let mut next = || words.next().ok_or_else(bad);
    let (action, protocol, source, destination) = (next()?, next()?, next()?, next()?);
    let (mut from, mut to) = ((0, 0), (0, 0));
    while let Some(word) = words.next() {
        let range = words.next().and_then(ports).ok_or_else(bad)?;
        match word {
            "sport" => from = range,
            "dport" => to = range,
            _ => return Err(bad()),
        }
    }
    Ok(json!({
        "action": action, "protocol": protocol, "source": source, "destination": destination,
        "src_port_low": from.0, "src_port_high": from.1, "dst_port_low": to.0, "dst_port_high": to.1,
    }))
}

/// The rules of a file.
fn read(path: &PathBuf) -> Result<Value, Failure> {
    use std::io::Read as _;
    let failed = |error| Failure::File { verb: "read", path: path.display().to_string(), error };
    let mut content = String::new();
    std::fs::File::open(path).map_err(failed)?.take(MAX_FILE).read_to_string(&mut content).map_err(failed)?;
    let rules = serde_json::from_str(&content).map_err(|error| failed(std::io::Error::from(error)))?;
    match rules {
        Value::Array(_) => Ok(rules),
        Value::Object(mut list) if list.get("rules").is_some_and(Value::is_array) => {
            Ok(list.remove("rules").unwrap_or_default())
        }
        _ => Err(Failure::Usage(format!("{} holds no array of rules", path.display()))),
    }
}

impl Action {
    pub(crate) async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        match self {
            Self::Get(wanted) => {
                let id = session.id(&VPC, &wanted.vpc.object).await?;
                if !session.is_table() {
                    let target = session.at(Api::Vpc, ["vpcs", &id, "acl-rules"]);
                    let acl = session.get(&target.with("is_ipv6", if wanted.ipv6 { "true" } else { "false" })).await?;
                    return session.show(&acl);
                }
                let state = session.get(&session.at(Api::Extension, ["vpcs", &id, "state"])).await?;
                let acl = state.get(if wanted.ipv6 { "acl_ipv6" } else { "acl_ipv4" }).cloned().unwrap_or_default();
                let mut rules = acl.get("rules").and_then(Value::as_array).cloned().unwrap_or_default();
                let mut default = acl.get("default").cloned().unwrap_or_default();
                crate::session::set(&mut default, "protocol", json!("else"));
                rules.push(default);
                let reason = state.get("reason").map(crate::session::reason).unwrap_or_default();
                if !reason.is_empty() {
                    session.console.note(&reason);
                }
                session.show_list("rules", COLUMNS, rules)
            }
            Self::Set(change) => {
                let rules = match &change.file {
                    Some(path) => read(path)?,
                    None => Value::Array(change.rules.iter().map(|line| rule(line)).collect::<Result<_, _>>()?),
                };
                let id = session.id(&VPC, &change.vpc.object).await?;
                let body = json!({"rules": rules, "is_ipv6": change.ipv6, "default_policy": change.default.word()});
                let target = session.at(Api::Vpc, ["vpcs", &id, "acl-rules"]);
                let acl = session.send(Method::PUT, &target, &body).await?;
                let count = acl.get("rules").and_then(Value::as_array).map_or(0, Vec::len);
                let message = format!("{count} rules, else {}", text(&acl, "/default_policy"));
                session.done(&message, &acl)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_in_words() {
        let read = rule("drop tcp 0.0.0.0/0 10.0.0.0/24 dport 22-23 sport 1024-65535").expect("a rule");
        assert_eq!((text(&read, "/dst_port_low"), text(&read, "/dst_port_high")), ("22".into(), "23".into()));
        assert_eq!(side(&read, "source", "src"), "0.0.0.0/0 port 1024-65535");
        assert_eq!(side(&rule("accept any ::/0 fd00::/8").expect("a rule"), "destination", "dst"), "fd00::/8");
        for text in ["", "drop tcp 0.0.0.0/0", "drop tcp a b dport", "drop tcp a b port 1", "drop tcp a b dport 1-x"] {
            assert!(rule(text).is_err(), "{text}");
        }
    }
}
