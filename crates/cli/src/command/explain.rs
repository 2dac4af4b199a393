//! `vpc explain-route`: where a prefix or a packet goes, and why.

use std::net::IpAddr;

use clap::{ArgGroup, Args, ValueEnum};
use serde_json::Value;

use super::vpc::VPC;
use crate::failure::Failure;
use crate::output::{Column, table};
use crate::session::{Api, Session, reason, text};
use crate::text::printable;

/// `vpc explain-route`
#[derive(Args)]
#[command(group = ArgGroup::new("question").required(true).args(["prefix", "source"]))]
pub struct ExplainRoute {
    /// The VPC's id, or its exact name
    #[arg(value_name = "VPC")]
    vpc: String,
    /// Which routes there are for this prefix or address
    #[arg(long, value_name = "PREFIX", conflicts_with_all = ["source", "destination"])]
    prefix: Option<String>,
    /// What becomes of a packet from this address
    #[arg(long, value_name = "ADDRESS", requires = "destination")]
    source: Option<IpAddr>,
    /// The packet's destination
    #[arg(long, value_name = "ADDRESS", requires = "source")]
    destination: Option<IpAddr>,
    /// The packet's protocol
    #[arg(long, requires = "source")]
    protocol: Option<Protocol>,
    /// The packet's destination port
    #[arg(long, requires = "protocol", value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Protocol {
    Tcp,
    Udp,
    Icmp,
}

impl Protocol {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Icmp => "icmp",
        }
    }
}

const CANDIDATES: &[Column] = &[
    Column {
        title: "TAKEN",
        cell: |route| if route.get("taken") == Some(&Value::Bool(true)) { "*".into() } else { String::new() },
    },
    Column { title: "PREFIX", cell: |route| text(route, "/prefix") },
    Column { title: "FROM", cell: |route| text(route, "/origin") },
    Column { title: "THROUGH", cell: through },
    Column { title: "DECISION", cell: |route| text(route, "/decision") },
    Column { title: "WHY", cell: why },
];

const STEPS: &[Column] = &[
    Column { title: "AT", cell: |step| text(step, "/at") },
    Column {
        title: "PASSES",
        cell: |step| if step.get("passes") == Some(&Value::Bool(true)) { "yes".into() } else { "no".into() },
    },
    Column { title: "THROUGH", cell: through },
    Column { title: "WHAT", cell: |step| text(step, "/detail") },
];

fn through(route: &Value) -> String {
    let keys = ["/connection_id", "/link_id", "/custom_route_id", "/private_network_id"];
    keys.iter().map(|key| text(route, key)).find(|text| !text.is_empty()).unwrap_or_default()
}

fn why(route: &Value) -> String {
    let detail = text(route, "/detail");
    match route.get("reason").filter(|why| why.is_object()) {
        Some(why) if detail.is_empty() => reason(why),
        _ => detail,
    }
}

impl ExplainRoute {
    pub(crate) async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        let id = session.id(&VPC, &self.vpc).await?;
        let mut target = session.at(Api::Extension, ["route-explanation"]).with("vpc_id", &id);
        let parameters = [
            ("prefix", self.prefix),
            ("source", self.source.map(|address| address.to_string())),
            ("destination", self.destination.map(|address| address.to_string())),
            ("protocol", self.protocol.map(|protocol| protocol.as_str().to_owned())),
            ("port", self.port.map(|port| port.to_string())),
        ];
        for (name, value) in parameters {
            if let Some(value) = value {
                target = target.with(name, &value);
            }
        }
        let answer = session.get(&target).await?;
        session.show_as(&answer, people)
    }
}

/// The verdict, why, the packet's way, and the routes.
fn people(answer: &Value) -> String {
    let mut shown = format!("{}\n", printable(&text(answer, "/verdict")));
    if let Some(why) = answer.get("reason").filter(|why| why.is_object()) {
        shown.push_str(&format!("reason: {}\n", printable(&reason(why))));
        shown.push_str(&format!("remedy: {}\n", printable(&text(why, "/remedy"))));
    }
    for (key, columns) in [("steps", STEPS), ("candidates", CANDIDATES)] {
        let rows = answer.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        if !rows.is_empty() {
            shown.push('\n');
            shown.push_str(&table(columns, rows));
        }
    }
    let more = answer.get("more_candidates").and_then(Value::as_u64).unwrap_or_default();
    if more > 0 {
        shown.push_str(&format!("and {more} more\n"));
    }
    let back = text(answer, "/return_path");
    if !back.is_empty() {
        shown.push_str(&format!("\nanswers go by {}\n", printable(&back)));
    }
    for caveat in answer.get("caveats").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default() {
        let revisions = match (text(caveat, "/evidence/applied_revision"), text(caveat, "/evidence/desired_revision")) {
            (applied, desired) if applied.is_empty() || desired.is_empty() => String::new(),
            (applied, desired) => format!(" (revision {desired} is not in force, {applied} is)"),
        };
        let of = text(caveat, "/evidence/of");
        shown.push_str(&format!("\nbut {}: {}{}\n", printable(&of), printable(&reason(caveat)), printable(&revisions)));
    }
    shown
}
