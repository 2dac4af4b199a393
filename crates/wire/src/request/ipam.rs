//! IPAM bodies (wire-api.md §6).

use std::net::IpAddr;
use std::str::FromStr;

use causeway_model::command::{NewIp, NewIpSource};
use causeway_model::error::ArgumentReason;
use causeway_model::{Error, Family, PrivateNetworkId};
use uuid::Uuid;

use super::{Body, Fields, MAX_NAME, excerpt, words};

const SOURCES: [&str; 3] = ["zonal", "private_network_id", "subnet_id"];

impl Body {
    /// Book an address.
    ///
    /// # Errors
    /// Every invalid field.
    pub fn new_ip(&self) -> Result<NewIp, Error> {
        self.read(|fields| {
            fields.not_offered("resource");
            let source = fields.object("source").and_then(|source| source_of(fields, &source));
            let source = fields.required("source", source, "say where the address shall come from");
            let is_ipv6 = fields.boolean("is_ipv6").unwrap_or(false);
            let address = fields.text("address").and_then(|text| {
                let address = IpAddr::from_str(text).ok();
                if address.is_none() {
                    fields.format("address", format!("`{}` is not an address (without a mask)", excerpt(text)));
                }
                address
            });
            if let Some(address) = address {
                if Family::of(address).is_ipv6() != is_ipv6 {
                    fields.constraint("address", format!("{address} is not of the family that `is_ipv6` says"));
                }
                if matches!(source, Some(NewIpSource::Zonal(_))) {
                    fields.constraint("address", "public addresses are allotted; leave it out");
                }
            }
            NewIp {
                project_id: fields.id("project_id"),
                source: source.unwrap_or(NewIpSource::PrivateNetwork(PrivateNetworkId(Uuid::nil()))),
                is_ipv6,
                address,
                tags: fields.tags().unwrap_or_default(),
            }
        })
    }

    /// Update an address: its tags.
    ///
    /// # Errors
    /// Every invalid field.
    pub fn update_ip(&self) -> Result<Option<Vec<String>>, Error> {
        self.read(|fields| {
            fields.not_offered("reverses");
            fields.tags()
        })
    }
}

fn source_of(fields: &Fields<'_>, source: &Fields<'_>) -> Option<NewIpSource> {
    source.not_offered("vpc_id");
    source.not_offered("regional");
    let given = SOURCES.into_iter().filter(|name| source.present(name)).count();
    if given != 1 && source.recorder.is_none() {
        let reason = if given == 0 { ArgumentReason::Required } else { ArgumentReason::Constraint };
        fields.push("source", reason, format!("give exactly one of {}", words(SOURCES)));
        return None;
    }
    let zonal = source.bounded_text("zonal", MAX_NAME).map(NewIpSource::Zonal);
    let network = source.id("private_network_id").map(NewIpSource::PrivateNetwork);
    let subnet = source.id("subnet_id").map(NewIpSource::Subnet);
    zonal.or(network).or(subnet)
}
