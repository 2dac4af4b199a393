//! IPAM bodies (wire-api.md §6).

use std::net::IpAddr;
use std::str::FromStr;

use causeway_model::command::{CustomResource, IpChange, NewIp, NewIpSource};
use causeway_model::error::ArgumentReason;
use causeway_model::resource::Reverse;
use causeway_model::{Error, Family, IpId, PrivateNetworkId};
use serde_json::{Value, json};
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
            let address = address(fields);
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

    /// Update an address: its tags and its names.
    ///
    /// # Errors
    /// Every invalid field.
    pub fn update_ip(&self) -> Result<IpChange, Error> {
        self.read(|fields| IpChange { tags: fields.tags(), reverses: reverses(fields) })
    }
}

/// Names of one address at most.
const MAX_REVERSES: usize = 10;

/// `[]` takes all names away, null none.
fn reverses(fields: &Fields<'_>) -> Option<Vec<Reverse>> {
    let items = fields.array("reverses", MAX_REVERSES)?;
    let mut all: Vec<Reverse> = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        let name = format!("reverses[{index}]");
        let Value::Object(map) = item else {
            fields.format(&name, "must be a JSON object");
            continue;
        };
        let item = Fields { map, prefix: fields.path(&format!("{name}.")), ..*fields };
        let hostname = item.required("hostname", hostname(&item), "give the name");
        let address = address(&item);
        let Some(hostname) = hostname else { continue };
        if all.iter().any(|other| other.hostname == hostname) {
            item.constraint("hostname", format!("`{}` is there twice", excerpt(&hostname)));
        }
        all.push(Reverse { hostname, address });
    }
    Some(all)
}

/// A bare address.
fn address(fields: &Fields<'_>) -> Option<IpAddr> {
    let text = fields.text("address")?;
    let address = IpAddr::from_str(text).ok();
    if address.is_none() {
        fields.format("address", format!("`{}` is not an address (without a mask)", excerpt(text)));
    }
    address
}

/// A host's name: labels of letters, digits and hyphens (RFC 1123 §2.1), in lower case and without the final dot.
fn hostname(fields: &Fields<'_>) -> Option<String> {
    const LONGEST: usize = 253;
    let text = fields.bounded_text("hostname", LONGEST + 1)?;
    let name = text.strip_suffix('.').unwrap_or(&text).to_ascii_lowercase();
    let label = |label: &str| {
        let plain = |octet: u8| octet.is_ascii_alphanumeric() || octet == b'-';
        (1..=63).contains(&label.len()) && label.bytes().all(plain) && !label.starts_with('-') && !label.ends_with('-')
    };
    if name.len() > LONGEST || !name.contains('.') || !name.split('.').all(label) {
        let help = format!("`{}` is not the full name of a host, as `vpn.example.net` is", excerpt(&text));
        fields.format("hostname", help);
        return None;
    }
    Some(name)
}

/// Addresses that can be released in one call.
const MAX_IP_SET: usize = 1000;

/// Something of the tenant's with a MAC address. Absent, null and `{}` are the same.
fn custom(fields: &Fields<'_>, name: &str) -> Option<CustomResource> {
    let resource = fields.object(name)?;
    let recording = fields.recorder.is_some();
    if resource.map.values().all(Value::is_null) && !recording {
        return None;
    }
    let mac = resource.required("mac_address", mac_address(&resource), "give the resource's MAC address");
    let label = resource.bounded_text("name", MAX_NAME);
    Some(CustomResource { mac_address: mac.unwrap_or_default(), name: label })
}

fn required_custom(fields: &Fields<'_>, name: &str) -> CustomResource {
    let resource = custom(fields, name);
    if resource.is_none() && (!fields.present(name) || fields.value(name).is_some_and(Value::is_object)) {
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
        .map(|pair| {
            // Rust's parser takes a sign.
            let digits = pair.len() == 2 && pair.bytes().all(|octet| octet.is_ascii_hexdigit());
            digits.then(|| u8::from_str_radix(pair, 16).ok()).flatten()
        })
        .collect::<Option<_>>()?;
    // The lowest bit of the first octet marks groups.
    let host = octets.len() == 6
        && octets.first().is_some_and(|first| first & 1 == 0)
        && octets.iter().any(|octet| *octet != 0);
    host.then(|| octets.iter().map(|octet| format!("{octet:02X}")).collect::<Vec<_>>().join(":"))
}

fn source_of(fields: &Fields<'_>, source: &Fields<'_>) -> Option<NewIpSource> {
    if source.present("vpc_id") {
        let help = "a VPC has no addresses outside of its subnets; name a `private_network_id` or a `subnet_id`";
        source.constraint("vpc_id", help);
        return None;
    }
    if source.boolean("regional") == Some(true) {
        source.constraint("regional", "public addresses belong to a zone; name it as `zonal`");
        return None;
    }
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
    fn names_of_addresses() {
        let of = |json: &str| Body::parse(json.as_bytes()).expect("an object").update_ip();
        let update = of(
            r#"{"tags":["a"],"reverses":[{"hostname":"VPN.Example.net."},{"hostname":"b.example","address":"192.0.2.1"}]}"#,
        );
        let names = [("vpn.example.net", None), ("b.example", Some([192, 0, 2, 1].into()))]
            .map(|(hostname, address)| Reverse { hostname: hostname.to_owned(), address });
        assert_eq!(update, Ok(IpChange { tags: Some(vec!["a".to_owned()]), reverses: Some(names.to_vec()) }));
        assert_eq!(of(r#"{"reverses":null}"#), Ok(IpChange::default()));
        assert_eq!(of(r#"{"reverses":[]}"#), Ok(IpChange { tags: None, reverses: Some(Vec::new()) }));
        let label = "x".repeat(64);
        for name in ["", "host", "a..b", "-a.b", "a-.b", "a_b.c", "a.b/", "é.fr", &format!("{label}.fr"), ".", "a. b"]
        {
            assert!(of(&format!(r#"{{"reverses":[{{"hostname":"{name}"}}]}}"#)).is_err(), "{name}");
        }
        let Err(Error::InvalidArguments(errors)) =
            of(r#"{"reverses":[1,{"address":"x"},{"hostname":"a.b"},{"hostname":"A.b"}]}"#)
        else {
            panic!("four wrong names");
        };
        let found: Vec<_> = errors.iter().map(|error| error.name.as_str()).collect();
        let expected = ["reverses[0]", "reverses[1].hostname", "reverses[1].address", "reverses[3].hostname"];
        assert_eq!(found, expected);
    }

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
