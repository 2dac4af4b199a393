//! IPAM bodies (wire-api.md §6).

use std::net::IpAddr;
use std::str::FromStr;

use causeway_model::command::{CustomResource, NewIp, NewIpSource};
use causeway_model::error::ArgumentReason;
use causeway_model::{Error, Family, IpId, PrivateNetworkId};
use serde_json::json;
use uuid::Uuid;

use super::{Body, Fields, MAX_NAME, excerpt, uuid, words};

const SOURCES: [&str; 3] = ["zonal", "private_network_id", "subnet_id"];

impl Body {
    /// Book an address.
    ///
    /// # Errors
    /// Every invalid field.
    pub fn new_ip(&self) -> Result<NewIp, Error> {
        self.read(|fields| {
            let resource = custom(fields, "resource");
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
                resource,
                tags: fields.tags().unwrap_or_default(),
            }
        })
    }

    /// Attach or detach an address: the resource.
    ///
    /// # Errors
    /// Every invalid field.
    pub fn ip_resource(&self) -> Result<CustomResource, Error> {
        self.read(|fields| required_custom(fields, "resource"))
    }

    /// Move an address: what uses it now, and what shall use it; `None`: nothing.
    ///
    /// # Errors
    /// Every invalid field.
    pub fn move_ip(&self) -> Result<(CustomResource, Option<CustomResource>), Error> {
        self.read(|fields| (required_custom(fields, "from_resource"), custom(fields, "to_resource")))
    }

    /// Release several addresses.
    ///
    /// # Errors
    /// Every invalid field.
    pub fn ip_ids(&self) -> Result<Vec<IpId>, Error> {
        self.read(|fields| {
            fields.is("ip_ids[0]", || json!({"type": "string", "format": "uuid"}));
            let items = fields.required("ip_ids", fields.array("ip_ids", MAX_IP_SET), "name the addresses");
            let mut ids = Vec::new();
            for (index, item) in items.unwrap_or_default().iter().enumerate() {
                match item.as_str().and_then(uuid) {
                    Some(id) => ids.push(id.into()),
                    None => fields.format(&format!("ip_ids[{index}]"), "is not a UUID"),
                }
            }
            if ids.is_empty() && fields.present("ip_ids") {
                fields.constraint("ip_ids", "name at least one address");
            }
            ids
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

/// Addresses that can be released in one call.
const MAX_IP_SET: usize = 1000;

/// Something of the tenant's with a MAC address. Absent, null and `{}` are the same.
fn custom(fields: &Fields<'_>, name: &str) -> Option<CustomResource> {
    let resource = fields.object(name)?;
    let recording = fields.recorder.is_some();
    if resource.map.values().all(serde_json::Value::is_null) && !recording {
        return None;
    }
    let mac = resource.required("mac_address", mac_address(&resource), "give the resource's MAC address");
    let label = resource.bounded_text("name", MAX_NAME);
    Some(CustomResource { mac_address: mac.unwrap_or_default(), name: label })
}

fn required_custom(fields: &Fields<'_>, name: &str) -> CustomResource {
    let resource = custom(fields, name);
    if resource.is_none() && (!fields.present(name) || fields.value(name).is_some_and(serde_json::Value::is_object)) {
        fields.push(name, ArgumentReason::Required, "give the resource with its `mac_address`");
    }
    resource.unwrap_or(CustomResource { mac_address: String::new(), name: None })
}

fn mac_address(fields: &Fields<'_>) -> Option<String> {
    let text = fields.text("mac_address")?;
    let mac = mac(text);
    if mac.is_none() {
        let help = format!("`{}` is not the MAC address of a host, as 02:00:00:12:34:56 is", excerpt(text));
        fields.format("mac_address", help);
    }
    mac
}

/// A MAC address of one host, with colons or hyphens, as the API writes it: upper case, with colons.
#[must_use]
pub fn mac(text: &str) -> Option<String> {
    let octets: Vec<u8> = text
        .split([':', '-'])
        .map(|pair| (pair.len() == 2).then(|| u8::from_str_radix(pair, 16).ok()).flatten())
        .collect::<Option<_>>()?;
    // The lowest bit of the first octet marks groups.
    let host = octets.len() == 6
        && octets.first().is_some_and(|first| first & 1 == 0)
        && octets.iter().any(|octet| *octet != 0);
    host.then(|| octets.iter().map(|octet| format!("{octet:02X}")).collect::<Vec<_>>().join(":"))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mac_addresses_of_hosts() {
        assert_eq!(mac("bc:24:11:74:d0:5b").as_deref(), Some("BC:24:11:74:D0:5B"));
        assert_eq!(mac("BC-24-11-74-D0-5B").as_deref(), Some("BC:24:11:74:D0:5B"));
        for text in [
            "",
            "bc:24:11:74:d0",
            "bc:24:11:74:d0:5b:00",
            "+c:24:11:74:d0:5b",
            "01:00:5e:00:00:01",
            "00:00:00:00:00:00",
            "b:c2:41:17:4d:05",
        ] {
            assert_eq!(mac(text), None, "{text}");
        }
    }
}
