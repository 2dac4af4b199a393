//! Webhooks: who is told what, signed how, and how often it is tried (wire-ext.md §1). Sending is another crate's business.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use causeway_crypto::hmac_sha256;
use causeway_model::command::{ListQuery, NewWebhook, Page, WebhookChange};
use causeway_model::error::ArgumentErrors;
use causeway_model::error::ArgumentReason::{Constraint, Format, Required, Unknown};
use causeway_model::resource::{Caller, Role, Webhook, WebhookDelivery, WebhookOwner};
use causeway_model::{Error, Timestamp, WebhookId};
use causeway_store::{DueDelivery, Reader, WebhookRecord, Writer};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;
use zeroize::{Zeroize, Zeroizing};

use crate::access::{denied, operator, paging};
use crate::audit::{changed, gone, made};
use crate::catalogue::pools;
use crate::{Controller, Result};

const WEBHOOK: &str = "webhook";
const RULES: &str = "webhook_rules";

/// What webhooks can be told.
pub const WEBHOOK_EVENTS: [&str; 14] = [
    "link.requested",
    "link.accepted",
    "link.refused",
    "link.expired",
    "link.failed",
    "link.active",
    "link.limited",
    "link.down",
    "link.up",
    "link.locked",
    "link.unlocked",
    "link.reminder",
    "link.deletion_waiting",
    "link.deleted",
];

/// Webhooks of one party at most.
const MAX_WEBHOOKS: usize = 20;
/// Octets of an address at most.
const MAX_URL: usize = 2000;
/// Networks that an operator can name at most.
const MAX_NETWORKS: usize = 100;
/// Characters of an error that is kept.
const MAX_ERROR: usize = 500;

/// Seconds from one attempt to the next; after the last one it is over, some three days after the event.
const BACK_OFF: [i64; 12] = [10, 30, 60, 300, 900, 3600, 7200, 14_400, 28_800, 43_200, 86_400, 86_400];

/// Where webhooks may lead. By default to https at public addresses only, so that nobody reaches into the operator's network with them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookRules {
    /// Whether plain http is allowed.
    pub allow_http: bool,
    /// Networks that are allowed although their addresses are not public.
    pub allowed_networks: Vec<IpNet>,
    /// Networks that are not, whatever else is said.
    #[serde(default)]
    pub denied_networks: Vec<IpNet>,
    /// The service's own pools: gateways have their addresses from there.
    #[serde(skip)]
    pub own_networks: Vec<IpNet>,
}

fn within(networks: &[IpNet], address: IpAddr) -> bool {
    let meant = stands_for(address).map_or(address, IpAddr::V4);
    networks.iter().any(|network| network.contains(&address) || network.contains(&meant))
}

impl WebhookRules {
    /// Whether a connection to `address` may be made, unless it is the machine's own. Names are judged by what they resolve to, at every
    /// attempt.
    #[must_use]
    pub fn allow(&self, address: IpAddr) -> bool {
        let usual = is_public(address) && !within(&self.own_networks, address);
        !within(&self.denied_networks, address) && (usual || self.name(address))
    }

    /// Whether the operator has allowed `address` by its network, the machine's own or not.
    #[must_use]
    pub fn name(&self, address: IpAddr) -> bool {
        self.allowed_networks.iter().any(|network| network.contains(&address))
    }
}

/// The IPv4 address that an IPv6 one stands for (RFC 4291 §2.5.5.2, RFC 6052, RFC 3056).
fn stands_for(address: IpAddr) -> Option<Ipv4Addr> {
    let IpAddr::V6(address) = address else { return None };
    match address.segments() {
        [0, 0, 0, 0, 0, 0xffff, a, b] | [0x64, 0xff9b, 0, 0, 0, 0, a, b] | [0x2002, a, b, ..] => {
            let [[a, b], [c, d]] = [a.to_be_bytes(), b.to_be_bytes()];
            Some(Ipv4Addr::new(a, b, c, d))
        }
        _ => None,
    }
}

/// Whether an address belongs to the Internet at large (the registries of RFC 6890).
fn is_public(address: IpAddr) -> bool {
    if let Some(meant) = stands_for(address) {
        return is_public_v4(meant);
    }
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => match address.segments() {
            // Of 2000::/3: not Teredo, benchmarks, ORCHID and documentation.
            [0x2001, 0..0x200, ..] | [0x2001, 0xdb8, ..] | [0x3fff, 0..0x1000, ..] => false,
            [first, ..] => first & 0xe000 == 0x2000,
        },
    }
}

const fn is_public_v4(address: Ipv4Addr) -> bool {
    !matches!(
        address.octets(),
        [0 | 10 | 127, ..]
            | [100, 64..128, ..]
            | [169, 254, ..]
            | [172, 16..32, ..]
            | [192, 0, 0 | 2, _]
            | [192, 88, 99, _]
            | [192, 168, ..]
            | [198, 18 | 19, ..]
            | [198, 51, 100, _]
            | [203, 0, 113, _]
            | [224..=255, ..]
    )
}

/// Where a webhook leads, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookTarget {
    /// Whether over TLS.
    pub https: bool,
    /// A name or an address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Path and query, at least `/`.
    pub path: String,
}

impl WebhookTarget {
    /// Takes a webhook's address apart; `None`: it is none, or has parts that no webhook needs (a user, a fragment).
    #[must_use]
    pub fn parse(url: &str) -> Option<Self> {
        if url.len() > MAX_URL || !url.bytes().all(|octet| octet.is_ascii_graphic()) || url.contains('#') {
            return None;
        }
        let (https, rest) = match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
            (Some(rest), _) => (true, rest),
            (None, Some(rest)) => (false, rest),
            (None, None) => return None,
        };
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at_checked(end)?;
        if authority.contains('@') {
            return None;
        }
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => {
                let (host, port) = rest.split_once(']')?;
                host.parse::<Ipv6Addr>().ok()?;
                (host, port.strip_prefix(':').or_else(|| port.is_empty().then_some(""))?)
            }
            None => authority.split_once(':').unwrap_or((authority, "")),
        };
        let plain = |octet: u8| octet.is_ascii_alphanumeric() || b"-._:".contains(&octet);
        if host.is_empty() || host.len() > 253 || !host.bytes().all(plain) {
            return None;
        }
        let port = match port {
            "" if https => 443,
            "" => 80,
            port => port.parse().ok().filter(|port| *port > 0)?,
        };
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Some(Self { https, host: host.to_owned(), port, path })
    }
}

/// A webhook that was just made. The secret is shown this once.
pub struct MadeWebhook {
    /// The webhook.
    pub webhook: Webhook,
    /// What its deliveries are signed with.
    pub secret: Zeroizing<String>,
}

/// Deliveries of one owner that are under way at once.
const PER_OWNER: u32 = 4;

/// Due deliveries that are looked at for those to send.
const LOOK: u32 = 1024;

/// A delivery as it is to be sent now.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// Its id.
    pub id: Uuid,
    /// The webhook that it is for.
    pub webhook: WebhookId,
    /// Whose that is.
    pub owner: WebhookOwner,
    /// Where to.
    pub target: WebhookTarget,
    /// Which addresses that may resolve to.
    pub rules: WebhookRules,
    /// The header `causeway-signature`.
    pub signature: String,
    /// The body: JSON.
    pub body: String,
    delivery: WebhookDelivery,
}

/// What an event says, and for whom.
pub(crate) struct Event<'a> {
    pub(crate) kind: &'static str,
    /// Whose object it is.
    pub(crate) owners: &'a [WebhookOwner],
    pub(crate) data: Value,
}

/// Whose webhooks the caller manages.
fn owner_of(caller: &Caller, action: &str) -> Result<WebhookOwner> {
    match (caller.role, caller.partner_id) {
        (Role::Operator, _) => Ok(WebhookOwner::Operator),
        (Role::Tenant, _) => Ok(WebhookOwner::Tenant(caller.project_id)),
        (Role::Partner, Some(partner)) => Ok(WebhookOwner::Partner(partner)),
        _ => Err(denied(action, WEBHOOK)),
    }
}

pub(crate) fn context(id: WebhookId) -> String {
    format!("webhook {id}")
}

/// `t=SECONDS,v1=HEX`: the HMAC-SHA256 of the seconds, a full stop and the body.
fn signature(secret: &[u8], now: Timestamp, body: &str) -> String {
    let seconds = (now.0 / 1_000_000).to_string();
    let tag = hmac_sha256(secret, &[seconds.as_bytes(), b".", body.as_bytes()]);
    let hex: String = tag.iter().map(|octet| format!("{octet:02x}")).collect();
    format!("t={seconds},v1={hex}")
}

async fn rules(reader: &mut Reader) -> Result<WebhookRules> {
    let text = reader.setting(RULES).await?;
    let corrupt = |error: serde_json::Error| Error::Internal(format!("setting `{RULES}`: {error}"));
    text.map_or(Ok(WebhookRules::default()), |text| serde_json::from_str(&text).map_err(corrupt))
}

/// The operator's rules, and what is never allowed unless they name it.
async fn rules_in_force(reader: &mut Reader) -> Result<WebhookRules> {
    let own_networks = pools(reader).await?.into_iter().map(|(_, prefix)| prefix).collect();
    Ok(WebhookRules { own_networks, ..rules(reader).await? })
}

fn check(new: &NewWebhook, rules: &WebhookRules) -> Result<()> {
    let mut errors = ArgumentErrors::new();
    match WebhookTarget::parse(&new.url) {
        _ if new.url.is_empty() => errors.push("url", Required, "where to: https://…"),
        None => errors.push("url", Format, format!("an address https://HOST[:PORT]/PATH of at most {MAX_URL} octets")),
        Some(target) if !target.https && !rules.allow_http => {
            errors.push("url", Constraint, "has to be https; an operator can allow http (webhook rules)");
        }
        Some(target) => {
            if let Ok(address) = target.host.parse::<IpAddr>()
                && !rules.allow(address)
            {
                let help = format!(
                    "{address} is not a public address, or is this service's own; an operator can allow its network (webhook rules)"
                );
                errors.push("url", Constraint, help);
            }
        }
    }
    if let Some(unknown) = new.events.iter().find(|event| !WEBHOOK_EVENTS.contains(&event.as_str())) {
        errors.push("events", Unknown, format!("`{unknown}` is none of {}", WEBHOOK_EVENTS.join(", ")));
    }
    errors.finish()
}

/// Puts an event into the queues of the webhooks that want it.
pub(crate) async fn tell(writer: &mut Writer, now: Timestamp, event: Event<'_>) -> Result<()> {
    for owner in event.owners {
        for record in writer.webhooks(owner).await? {
            let webhook = &record.webhook;
            if !webhook.events.is_empty() && !webhook.events.iter().any(|wanted| wanted == event.kind) {
                continue;
            }
            let id = Uuid::new_v4();
            let sequence = writer.newest_delivery(webhook.id).await?.saturating_add(1);
            let body = serde_json::json!({
                "id": id,
                "sequence": sequence,
                "type": event.kind,
                "created_at": now.to_string(),
                "data": event.data,
            });
            writer.insert_delivery(webhook.id, id, event.kind, &body.to_string(), now).await?;
        }
    }
    Ok(())
}

impl Controller {
    /// Where webhooks may lead; operators only.
    ///
    /// # Errors
    /// [`Error::PermissionsDenied`].
    pub async fn webhook_rules(&self, caller: &Caller) -> Result<WebhookRules> {
        operator(caller, "read", "settings")?;
        rules(&mut self.read().await?).await
    }

    /// Sets where webhooks may lead, those that exist included; operators only.
    ///
    /// # Errors
    /// [`Error::PermissionsDenied`], [`Error::InvalidArguments`].
    pub async fn set_webhook_rules(&self, caller: &Caller, wanted: WebhookRules) -> Result<WebhookRules> {
        operator(caller, "write", "settings")?;
        for (field, networks) in
            [("allowed_networks", &wanted.allowed_networks), ("denied_networks", &wanted.denied_networks)]
        {
            if networks.len() > MAX_NETWORKS {
                return Err(Error::constraint(field, format!("at most {MAX_NETWORKS} networks")));
            }
        }
        let mut unit = self.unit(caller, self.region()).await?;
        let before = rules(&mut unit).await?;
        let text = serde_json::to_string(&wanted).map_err(|error| Error::Internal(error.to_string()))?;
        unit.set_setting(RULES, &text).await?;
        unit.finish("update", "settings", RULES, &changed(&before, &wanted)).await?;
        Ok(wanted)
    }

    /// Makes a webhook of the caller's: of its project, its partner, or the whole service for an operator.
    ///
    /// # Errors
    /// [`Error::PermissionsDenied`], [`Error::InvalidArguments`], [`Error::QuotasExceeded`].
    pub async fn create_webhook(&self, caller: &Caller, new: NewWebhook) -> Result<MadeWebhook> {
        let owner = owner_of(caller, "write")?;
        let mut unit = self.unit(caller, self.region()).await?;
        check(&new, &rules_in_force(&mut unit).await?)?;
        let known = unit.webhooks(&owner).await?.len();
        if known >= MAX_WEBHOOKS {
            let (quota, current) = (MAX_WEBHOOKS as u64, known as u64);
            return Err(Error::QuotasExceeded { resource: "webhooks".to_owned(), quota, current });
        }
        let mut octets = crate::random::<32>();
        let secret = Zeroizing::new(URL_SAFE_NO_PAD.encode(octets));
        octets.zeroize();
        let webhook =
            Webhook { id: WebhookId::random(), owner, url: new.url, events: new.events, created_at: unit.now };
        let sealed = self.inner.kek.seal(&context(webhook.id), secret.as_bytes());
        let record = WebhookRecord { webhook, secret: sealed };
        unit.insert_webhook(&record).await?;
        let webhook = record.webhook;
        unit.finish("create", WEBHOOK, webhook.id, &made(&webhook)).await?;
        Ok(MadeWebhook { webhook, secret })
    }

    /// The caller's webhooks, oldest first.
    ///
    /// # Errors
    /// [`Error::PermissionsDenied`].
    pub async fn list_webhooks(&self, caller: &Caller) -> Result<Vec<Webhook>> {
        let owner = owner_of(caller, "read")?;
        let records = self.read().await?.webhooks(&owner).await?;
        Ok(records.into_iter().map(|record| record.webhook).collect())
    }

    /// One of the caller's webhooks.
    ///
    /// # Errors
    /// [`Error::PermissionsDenied`], [`Error::NotFound`].
    pub async fn webhook(&self, caller: &Caller, id: WebhookId) -> Result<Webhook> {
        let owner = owner_of(caller, "read")?;
        own_webhook(&mut self.read().await?, &owner, id).await
    }

    /// Changes where one of the caller's webhooks leads, or what it is told. Its secret stays, and what waits goes to the new address.
    ///
    /// # Errors
    /// [`Error::PermissionsDenied`], [`Error::NotFound`], [`Error::InvalidArguments`].
    pub async fn update_webhook(&self, caller: &Caller, id: WebhookId, change: WebhookChange) -> Result<Webhook> {
        let owner = owner_of(caller, "write")?;
        let mut unit = self.unit(caller, self.region()).await?;
        let before = own_webhook(&mut unit, &owner, id).await?;
        let wanted = NewWebhook {
            url: change.url.unwrap_or_else(|| before.url.clone()),
            events: change.events.unwrap_or_else(|| before.events.clone()),
        };
        check(&wanted, &rules_in_force(&mut unit).await?)?;
        let webhook = Webhook { url: wanted.url, events: wanted.events, ..before.clone() };
        unit.set_webhook(&webhook).await?;
        unit.finish("update", WEBHOOK, id, &changed(&before, &webhook)).await?;
        Ok(webhook)
    }

    /// Removes one of the caller's webhooks; what was not delivered yet is not any more.
    ///
    /// # Errors
    /// [`Error::PermissionsDenied`], [`Error::NotFound`].
    pub async fn delete_webhook(&self, caller: &Caller, id: WebhookId) -> Result<()> {
        let owner = owner_of(caller, "write")?;
        let mut unit = self.unit(caller, self.region()).await?;
        let webhook = own_webhook(&mut unit, &owner, id).await?;
        unit.delete_webhook(id).await?;
        unit.finish("delete", WEBHOOK, id, &gone(&webhook)).await
    }

    /// What one of the caller's webhooks was told, newest first: the last thousand.
    ///
    /// # Errors
    /// [`Error::PermissionsDenied`], [`Error::NotFound`], or if the paging is out of bounds.
    pub async fn webhook_deliveries(
        &self,
        caller: &Caller,
        id: WebhookId,
        list: &ListQuery,
    ) -> Result<Page<WebhookDelivery>> {
        let owner = owner_of(caller, "read")?;
        paging(list)?;
        let mut reader = self.read().await?;
        own_webhook(&mut reader, &owner, id).await?;
        let (items, total) = reader.webhook_deliveries(id, list.page, list.page_size).await?;
        Ok(Page { items, total })
    }

    /// Deliveries to send now beside those to the webhooks of `under_way`, each signed with the present time: at most `limit` altogether, one
    /// for each webhook, and four for each owner, so that one whose receivers are slow or gone holds up nobody else's.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn outgoing(&self, limit: usize, under_way: &BTreeMap<WebhookId, WebhookOwner>) -> Result<Vec<Outgoing>> {
        let mut room = limit.saturating_sub(under_way.len());
        if room == 0 {
            return Ok(Vec::new());
        }
        let mut reader = self.read().await?;
        let now = self.now();
        let rules = rules_in_force(&mut reader).await?;
        let except: Vec<WebhookId> = under_way.keys().copied().collect();
        // More than there is room for: some are of owners that have enough under way.
        let due = reader.due_deliveries(now, PER_OWNER, &except, LOOK).await?;
        drop(reader);
        let mut of_owner: BTreeMap<(bool, Uuid), u32> = BTreeMap::new();
        for owner in under_way.values() {
            *of_owner.entry(place(owner)).or_default() += 1;
        }
        let mut outgoing = Vec::with_capacity(room.min(due.len()));
        for DueDelivery { delivery, body, record } in due {
            let taken = of_owner.entry(place(&record.webhook.owner)).or_default();
            if room == 0 || *taken >= PER_OWNER {
                continue;
            }
            *taken += 1;
            room -= 1;
            let secret = self.inner.kek.open(&context(record.webhook.id), &record.secret);
            let parts = WebhookTarget::parse(&record.webhook.url)
                .filter(|target| target.https || rules.allow_http)
                .ok_or_else(|| "the address is not allowed any more".to_owned())
                .and_then(|target| Ok((target, secret.map_err(|error| error.to_string())?)));
            match parts {
                Ok((target, secret)) => outgoing.push(Outgoing {
                    id: delivery.id,
                    webhook: record.webhook.id,
                    owner: record.webhook.owner,
                    target,
                    rules: rules.clone(),
                    signature: signature(secret.slice(), now, &body),
                    body,
                    delivery,
                }),
                // What cannot be sent is tried again like what was refused.
                Err(error) => self.note_attempt(delivery, Err(error)).await?,
            }
        }
        Ok(outgoing)
    }

    /// When the next delivery is to be sent that was not due at `after`; `None`: none waits.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn next_outgoing(&self, after: Timestamp) -> Result<Option<Timestamp>> {
        Ok(self.read().await?.next_delivery(after).await?)
    }

    /// Notes what became of an attempt: the receiver took it, or why not.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn sent(&self, outgoing: Outgoing, result: Result<(), String>) -> Result<()> {
        self.note_attempt(outgoing.delivery, result).await
    }

    async fn note_attempt(&self, mut delivery: WebhookDelivery, result: Result<(), String>) -> Result<()> {
        let mut writer = self.inner.store.write().await?;
        let now = self.now();
        delivery.attempts = delivery.attempts.saturating_add(1);
        match result {
            Ok(()) => (delivery.delivered_at, delivery.next_at, delivery.last_error) = (Some(now), None, None),
            Err(error) => {
                let step = usize::try_from(delivery.attempts - 1).unwrap_or(usize::MAX);
                let [jitter] = crate::random::<1>();
                // Up to a quarter more, so that receivers that come back are not met by everything at once.
                let wait = |seconds: &i64| now.plus_seconds(seconds + seconds * i64::from(jitter) / 1024);
                delivery.next_at = BACK_OFF.get(step).map(wait);
                delivery.last_error = Some(error.chars().take(MAX_ERROR).collect());
            }
        }
        writer.set_delivery(&delivery).await?;
        Ok(writer.commit().await?)
    }
}

/// Tells owners apart.
const fn place(owner: &WebhookOwner) -> (bool, Uuid) {
    match owner {
        WebhookOwner::Operator => (false, Uuid::nil()),
        WebhookOwner::Tenant(project) => (false, project.0),
        WebhookOwner::Partner(partner) => (true, partner.0),
    }
}

async fn own_webhook(reader: &mut Reader, owner: &WebhookOwner, id: WebhookId) -> Result<Webhook> {
    let found = reader.webhook(id).await?.filter(|record| record.webhook.owner == *owner);
    let missing = || Error::NotFound { resource: WEBHOOK, id: id.to_string() };
    Ok(found.ok_or_else(missing)?.webhook)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_internet_at_large_is_public() {
        let refused = [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.2.1",
            "192.168.1.1",
            "198.18.0.1",
            "203.0.113.5",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b::a00:1",
            "64:ff9b:1::1",
            "2002:7f00:1::",
            "2002:c0a8:101::1",
            "2001::1",
            "2001:db8::1",
            "3fff::1",
            "fc00::1",
            "fd00::1",
            "fe80::1",
            "ff02::1",
            "100::1",
            "4000::1",
        ];
        let allowed = [
            "1.1.1.1",
            "100.63.0.1",
            "100.128.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "198.20.0.1",
            "223.255.255.255",
            "2606:4700::1111",
            "2001:200::1",
            "2a00::1",
            "::ffff:1.1.1.1",
            "64:ff9b::101:101",
        ];
        let rules = WebhookRules::default();
        for text in refused {
            assert!(!rules.allow(text.parse().expect("an address")), "{text}");
        }
        for text in allowed {
            assert!(rules.allow(text.parse().expect("an address")), "{text}");
        }
        let networks = |text: &str| vec![text.parse().expect("a network")];
        let mine = WebhookRules {
            allow_http: false,
            allowed_networks: networks("10.0.0.0/8"),
            denied_networks: networks("10.9.0.0/16"),
            own_networks: networks("1.1.1.0/24"),
        };
        let cases = [
            ("10.1.2.3", true),
            ("192.168.1.1", false),
            ("10.9.0.1", false),
            ("1.1.1.1", false),
            ("::ffff:1.1.1.1", false),
            ("64:ff9b::101:101", false),
            ("1.1.2.1", true),
        ];
        for (text, expected) in cases {
            assert_eq!(mine.allow(text.parse().expect("an address")), expected, "{text}");
        }
    }

    #[test]
    fn addresses_are_taken_apart() {
        let target = |https, host: &str, port, path: &str| {
            Some(WebhookTarget { https, host: host.to_owned(), port, path: path.to_owned() })
        };
        let cases = [
            ("https://example.net", target(true, "example.net", 443, "/")),
            ("https://example.net/a/b?c=d", target(true, "example.net", 443, "/a/b?c=d")),
            ("https://example.net?c=d", target(true, "example.net", 443, "/?c=d")),
            ("http://192.0.2.1:8080/", target(false, "192.0.2.1", 8080, "/")),
            ("https://[2001:db8::1]:8443/x", target(true, "2001:db8::1", 8443, "/x")),
            ("https://[2001:db8::1]", target(true, "2001:db8::1", 443, "/")),
            ("ftp://example.net", None),
            ("https://", None),
            ("https:///x", None),
            ("https://user@example.net/", None),
            ("https://example.net:0/", None),
            ("https://example.net:70000/", None),
            ("https://[::1", None),
            ("https://[nothing]/", None),
            ("https://[::1]x/", None),
            ("https://exa mple.net/", None),
            ("https://example.net/#x", None),
            ("https://example.net\r\n/", None),
        ];
        for (url, expected) in cases {
            assert_eq!(WebhookTarget::parse(url), expected, "{url}");
        }
    }

    #[test]
    fn a_signature_covers_time_and_body() {
        // printf '1700000000.{}' | openssl dgst -sha256 -hmac key
        let signed = signature(b"key", Timestamp(1_700_000_000_000_000), "{}");
        assert_eq!(signed, format!("t=1700000000,v1={}", EXPECTED));
        assert_ne!(signed, signature(b"key", Timestamp(1_700_000_001_000_000), "{}"));
        assert_ne!(signed, signature(b"key", Timestamp(1_700_000_000_000_000), "{ }"));
    }

    const EXPECTED: &str = "9d713ed406bb7076d4123f0dc2c39d2df5c654ed4b0cd56b52c8b4c940bd63ae";
}
