//! InterLink's catalogue as one document, and webhooks.

use causeway_model::Error;
use causeway_model::command::{
    CatalogueFile, FiledConnection, FiledPort, NewPartner, NewPop, NewWebhook, WebhookChange,
};
use causeway_model::error::ArgumentReason;
use causeway_model::resource::{LinkBandwidth, PortAttachment};
use causeway_model::status::DedicatedConnectionStatus;
use ipnet::IpNet;
use serde_json::Value;

use super::interlink::{attachment, megabits, new_partner, new_pop, size, state, vlan_range};
use super::{Body, Fields, MAX_DESCRIPTION, MAX_NAME};
use crate::errors::excerpt;

/// Objects of one kind in a file at most.
const MAX_OBJECTS: usize = 1000;
/// Kinds of events of a webhook at most.
const MAX_EVENTS: usize = 100;
/// Octets of a webhook's address at most.
const MAX_URL: usize = 2000;
/// Networks of the webhooks' rules at most.
const MAX_NETWORKS: usize = 100;

impl Body {
    /// A whole catalogue. What is missing stays as it is.
    ///
    /// # Errors
    /// Every invalid field.
    pub fn catalogue_file(&self) -> Result<CatalogueFile, Error> {
        self.read(|fields| {
            fields.only(&["link_bandwidths", "pops", "partners", "dedicated_connections", "ports"]);
            CatalogueFile {
                link_bandwidths: objects(fields, "link_bandwidths", filed_size),
                pops: objects(fields, "pops", filed_pop),
                partners: objects(fields, "partners", filed_partner),
                dedicated_connections: objects(fields, "dedicated_connections", filed_connection),
                ports: objects(fields, "ports", filed_port),
            }
        })
    }

    /// Make a webhook.
    ///
    /// # Errors
    /// Every invalid field.
    pub fn new_webhook(&self) -> Result<NewWebhook, Error> {
        self.read(|fields| NewWebhook {
            url: fields.required("url", fields.bounded_text("url", MAX_URL), "where to: https://…").unwrap_or_default(),
            events: fields.texts("events", MAX_EVENTS).unwrap_or_default(),
        })
    }

    /// Change a webhook.
    ///
    /// # Errors
    /// Every invalid field.
    pub fn update_webhook(&self) -> Result<WebhookChange, Error> {
        self.read(|fields| WebhookChange {
            url: fields.bounded_text("url", MAX_URL),
            events: fields.texts("events", MAX_EVENTS),
        })
    }

    /// Where webhooks may lead: whether over plain http, networks that are allowed although they are not public, and those that are not
    /// although they are.
    ///
    /// # Errors
    /// Every invalid field.
    pub fn webhook_rules(&self) -> Result<(bool, Vec<IpNet>, Vec<IpNet>), Error> {
        self.read(|fields| {
            let networks = |name: &str| fields.networks(name, MAX_NETWORKS).unwrap_or_default();
            (fields.boolean("allow_http").unwrap_or(false), networks("allowed_networks"), networks("denied_networks"))
        })
    }
}

impl Fields<'_> {
    /// Refuses every field that is none of `known`: in a file that is kept and applied again and again, a typing error would go unnoticed.
    fn only(&self, known: &[&str]) {
        if self.recorder.is_some() {
            return;
        }
        for name in self.map.keys().filter(|name| !known.contains(&name.as_str())) {
            let help = format!("there is no such field; there are {}", known.join(", "));
            self.push(&excerpt(name), ArgumentReason::Unknown, help);
        }
    }

    /// As [`Self::only`], of an object within.
    fn only_within(&self, name: &str, known: &[&str]) {
        if let Some(Value::Object(map)) = self.map.get(name) {
            Fields { map, prefix: self.path(&format!("{name}.")), ..*self }.only(known);
        }
    }

    /// An array of texts.
    fn texts(&self, name: &str, most: usize) -> Option<Vec<String>> {
        self.is(&format!("{name}[0]"), || serde_json::json!({"type": "string"}));
        let items = self.array(name, most)?;
        let mut texts = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            match item.as_str() {
                Some(text) => texts.push(text.to_owned()),
                None => self.format(&format!("{name}[{index}]"), "must be a string"),
            }
        }
        Some(texts)
    }
}

/// An array of objects.
fn objects<T>(fields: &Fields<'_>, name: &str, read: impl Fn(&Fields<'_>) -> T) -> Option<Vec<T>> {
    let items = fields.array(name, MAX_OBJECTS)?;
    let mut objects = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        let Value::Object(map) = item else {
            fields.format(&format!("{name}[{index}]"), "must be a JSON object");
            continue;
        };
        let prefix = fields.path(&format!("{name}[{index}]."));
        objects.push(read(&Fields { map, prefix, ..*fields }));
    }
    Some(objects)
}

fn filed_pop(fields: &Fields<'_>) -> NewPop {
    let texts = ["id", "name", "display_name", "city", "address", "hosting_provider_name", "logo_url"];
    fields.only(&[&texts[..], &["link_bandwidths_mbps", "capacity_mbps"]].concat());
    new_pop(fields)
}

fn filed_partner(fields: &Fields<'_>) -> NewPartner {
    fields.only(&["id", "name", "contact_email", "logo_url", "portal_url", "asn", "l3_connectivity", "notify"]);
    new_partner(fields)
}

fn filed_size(fields: &Fields<'_>) -> LinkBandwidth {
    fields.only(&["bandwidth_mbps", "price_per_hour"]);
    let bandwidth = fields.required("bandwidth_mbps", size(fields), "give the size in megabits per second");
    LinkBandwidth {
        bandwidth_mbps: bandwidth.unwrap_or_default(),
        price_per_hour: fields.large("price_per_hour", 0).unwrap_or_default(),
    }
}

fn filed_connection(fields: &Fields<'_>) -> FiledConnection {
    let own = ["pop", "bandwidth_mbps", "demarcation_info", "vlan_range", "status"];
    fields.only(&[&["id", "name", "project_id", "tags"], &own[..]].concat());
    fields.only_within("vlan_range", &["start", "end"]);
    let bandwidth = fields.required("bandwidth_mbps", size(fields), "say how much its links may have together");
    let pop =
        fields.required("pop", fields.bounded_text("pop", MAX_NAME), "give the name or id of the PoP where it ends");
    FiledConnection {
        id: fields.id("id"),
        meta: fields.meta(),
        pop: pop.unwrap_or_default(),
        bandwidth_mbps: bandwidth.unwrap_or_default(),
        demarcation_info: fields.bounded_text("demarcation_info", MAX_DESCRIPTION),
        vlan_range: vlan_range(fields),
        state: state(fields).unwrap_or(DedicatedConnectionStatus::Active),
    }
}

fn filed_port(fields: &Fields<'_>) -> FiledPort {
    let own =
        ["pop", "partner", "dedicated_connection", "node", "attachment", "vlan_range", "capacity_mbps", "enabled"];
    fields.only(&[&["id", "name"], &own[..]].concat());
    fields.only_within("vlan_range", &["start", "end"]);
    fields.only_within("attachment", &["kind", "interface", "remote", "vni_base"]);
    let name = fields.required("name", fields.name(), "give a name of 1 to 255 characters");
    let pop = fields.required("pop", fields.bounded_text("pop", MAX_NAME), "give the name or id of the PoP");
    let capacity = megabits(fields, "capacity_mbps");
    let capacity = fields.required("capacity_mbps", capacity, "say how much its links may have together");
    let help = "say what the port is on its node: `{\"kind\": \"vlan\", \"interface\": \"eth1\"}`";
    let attachment = fields.required("attachment", attachment(fields), help);
    FiledPort {
        id: fields.id("id"),
        name: name.unwrap_or_default(),
        pop: pop.unwrap_or_default(),
        partner: fields.bounded_text("partner", MAX_NAME),
        dedicated_connection: fields.bounded_text("dedicated_connection", MAX_NAME),
        node: fields.bounded_text("node", MAX_NAME),
        attachment: attachment.unwrap_or(PortAttachment::Vlan { interface: String::new() }),
        vlan_range: vlan_range(fields),
        capacity_mbps: capacity.unwrap_or_default(),
        enabled: fields.boolean("enabled").unwrap_or(true),
    }
}
