//! `route-explanation`: a prefix, or a packet.

use std::net::IpAddr;

use causeway_model::acl::{AclPacket, AclProtocol};
use causeway_model::error::ArgumentReason;
use causeway_model::explain::Question;
use causeway_model::{Family, VpcId};
use ipnet::IpNet;
use serde_json::json;

use super::Query;
use crate::errors::excerpt;

const PROTOCOLS: [(AclProtocol, &str); 4] =
    [(AclProtocol::Any, "any"), (AclProtocol::Tcp, "tcp"), (AclProtocol::Udp, "udp"), (AclProtocol::Icmp, "icmp")];

/// Which received routes are shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReceivedRouteFilter {
    /// Only those that this became of: `installed`, `beaten`, `filtered`, `withheld`. Empty: all.
    pub decisions: Vec<&'static str>,
    /// Only those equal to or inside this prefix.
    pub within: Option<IpNet>,
}

const DECISIONS: [(&str, &str); 5] = [
    ("installed", "installed"),
    ("beaten", "beaten"),
    ("filtered", "filtered"),
    ("withheld", "withheld"),
    ("announced", "announced"),
];

impl ReceivedRouteFilter {
    /// Whether a route of this prefix, of which this became, is shown.
    #[must_use]
    pub fn admits(&self, prefix: &IpNet, decision: &str) -> bool {
        (self.decisions.is_empty() || self.decisions.contains(&decision))
            && self.within.is_none_or(|within| {
                Family::of_net(&within) == Family::of_net(prefix) && within.trunc().contains(&prefix.trunc())
            })
    }
}

impl Query {
    /// Filters of a connection's routes.
    pub fn received_routes(&self) -> ReceivedRouteFilter {
        ReceivedRouteFilter { decisions: self.enumeration("decision", &DECISIONS), within: self.prefix("prefix") }
    }

    /// The VPC and what is asked: `prefix`, or `source` and `destination`, and for a packet `protocol` and `port` where they matter.
    /// `None` where the parameters are bad, which [`Query::finish`] then says.
    pub fn route_question(&self) -> Option<(VpcId, Question)> {
        let vpc = self.id::<VpcId>("vpc_id");
        if vpc.is_none() && !self.is_given("vpc_id") {
            self.push("vpc_id", ArgumentReason::Required, "name the VPC");
        }
        let prefix = self.prefix("prefix");
        let (source, destination) = (self.address("source"), self.address("destination"));
        let protocol = self.enumeration("protocol", &PROTOCOLS).pop().unwrap_or_default();
        let port = self.port();
        let asked = ["prefix", "source", "destination"].map(|name| self.is_given(name));
        let question = match asked {
            [true, false, false] => prefix.map(Question::Prefix),
            [false, true, true] => source.zip(destination).and_then(|(source, destination)| {
                self.packet(AclPacket { protocol, source, source_port: None, destination, destination_port: port })
            }),
            [true, ..] => {
                self.push("prefix", ArgumentReason::Constraint, "give either `prefix`, or `source` and `destination`");
                None
            }
            [false, false, false] => {
                self.push("prefix", ArgumentReason::Required, "give either `prefix`, or `source` and `destination`");
                None
            }
            [false, has_source, _] => {
                let missing = if has_source { "destination" } else { "source" };
                self.push(missing, ArgumentReason::Required, "a packet has a `source` and a `destination`");
                None
            }
        };
        vpc.zip(question)
    }

    fn packet(&self, packet: AclPacket) -> Option<Question> {
        if Family::of(packet.source) != Family::of(packet.destination) {
            self.push("destination", ArgumentReason::Constraint, "must be of the same family as `source`");
            return None;
        }
        if packet.destination_port.is_some() && !packet.protocol.has_ports() {
            self.push("port", ArgumentReason::Constraint, "needs `protocol=tcp` or `protocol=udp`");
            return None;
        }
        Some(Question::Packet(packet))
    }

    /// Whether there is a value; one client writes none as `unknown_…`.
    fn is_given(&self, name: &str) -> bool {
        self.values(name).next().is_some()
    }

    fn address(&self, name: &str) -> Option<IpAddr> {
        let text = self.text(name)?;
        let address = text.parse().ok();
        if address.is_none() {
            self.push(name, ArgumentReason::Format, format!("`{}` is not an IP address", excerpt(&text)));
        }
        address
    }

    fn port(&self) -> Option<u16> {
        self.is("port", || json!({"type": "integer", "minimum": 1, "maximum": 65535}));
        let text = self.text("port")?;
        let port = text.parse::<u16>().ok().filter(|port| *port > 0);
        if port.is_none() {
            self.push("port", ArgumentReason::Format, "must be a number from 1 to 65535");
        }
        port
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VPC: &str = "vpc_id=5b2f2f0e-6d0e-4b4f-8a53-111111111111";

    #[test]
    fn questions_are_understood() {
        let asked =
            |query: &str| Query::parse(&format!("{VPC}&{query}")).route_question().map(|(_, question)| question);
        assert_eq!(asked("prefix=10.0.0.0%2F24"), Some(Question::Prefix("10.0.0.0/24".parse().expect("a prefix"))));
        assert_eq!(asked("prefix=fd00::1"), Some(Question::Prefix("fd00::1/128".parse().expect("a prefix"))));
        let Some(Question::Packet(packet)) = asked("source=10.0.0.1&destination=10.1.0.1&protocol=tcp&port=443") else {
            panic!("a packet");
        };
        assert_eq!((packet.protocol, packet.destination_port), (AclProtocol::Tcp, Some(443)));
    }

    #[test]
    fn routes_are_filtered_by_what_became_of_them_and_by_prefix() {
        let filter = Query::parse("decision=filtered&decision=beaten&prefix=10.0.0.0/8").received_routes();
        let net = |text: &str| text.parse::<IpNet>().expect("a prefix");
        assert!(filter.admits(&net("10.2.0.0/16"), "beaten") && filter.admits(&net("10.0.0.0/8"), "filtered"));
        assert!(!filter.admits(&net("10.2.0.0/16"), "installed") && !filter.admits(&net("11.0.0.0/8"), "beaten"));
        assert!(!filter.admits(&net("fd00::/8"), "beaten"));
        assert!(ReceivedRouteFilter::default().admits(&net("fd00::/8"), "withheld"));
    }

    #[test]
    fn every_bad_parameter_is_named() {
        let cases = [
            ("", "prefix"),
            ("prefix=10.0.0.0/24&source=10.0.0.1", "prefix"),
            ("prefix=ten", "prefix"),
            ("prefix=unknown_prefix", "prefix"),
            ("source=10.0.0.1", "destination"),
            ("destination=10.0.0.1", "source"),
            ("source=10.0.0.1&destination=fd00::1", "destination"),
            ("source=10.0.0.1&destination=there", "destination"),
            ("source=10.0.0.1&destination=10.1.0.1&port=443", "port"),
            ("source=10.0.0.1&destination=10.1.0.1&protocol=tcp&port=0", "port"),
            ("source=10.0.0.1&destination=10.1.0.1&protocol=sctp", "protocol"),
        ];
        for (query, field) in cases {
            let query = Query::parse(&format!("{VPC}&{query}"));
            let question = query.route_question();
            let Err(causeway_model::Error::InvalidArguments(fields)) = query.finish() else {
                panic!("{field}: {question:?}");
            };
            assert_eq!(fields.iter().map(|field| field.name.as_str()).collect::<Vec<_>>(), [field]);
        }
        for query in ["prefix=10.0.0.0/24", "vpc_id=unknown_vpc&prefix=10.0.0.0/24"] {
            let query = Query::parse(query);
            assert!(query.route_question().is_none() && query.finish().is_err());
        }
    }
}
