//! From octets to what the session understands, and back. The only file that speaks `rustbgpd-wire`.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use causeway_model::Family;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use rustbgpd_wire as wire;
use wire::notification::{self as note, extract_shutdown_communication};
use wire::{Afi, Capability, ErrorDisposition, Ipv4UnicastMode, NotificationCode, PathAttribute, Safi};

/// Longest message without RFC 8654, which is not offered.
pub(crate) const MAX_MESSAGE: usize = 4096;
/// Header: marker, length, type (RFC 4271 §4.1).
const HEADER: usize = 19;
/// Longest AS path and longest community list that is kept, but for communities that we act upon. Beyond any real path; it bounds what one peer
/// can make us hold.
const MAX_LIST: usize = 255;
/// The attribute flag that makes its length two octets long (RFC 4271 §4.3).
const EXTENDED: u8 = 0x10;
/// The 2-octet AS number that stands for a longer one (RFC 6793 §9).
const AS_TRANS: u16 = 23456;
/// The restart time that we offer, in seconds: how long the peer may keep our routes after TCP broke. A restart of the program takes
/// two or three seconds until its tunnels and sessions are back, and nothing is forwarded meanwhile. A peer that has another way to
/// the VPC should take it soon after that, which the default of most devices, two minutes, would prevent.
const RESTART_TIME: u16 = 10;
/// Octets of prefixes in one UPDATE that we send; leaves room for header and attributes.
const MAX_NLRI: usize = 3400;

/// A message of the peer.
#[derive(Debug)]
pub(crate) enum Message {
    Open(Open),
    Update(wire::UpdateMessage),
    Notification(Notification),
    Keepalive,
    /// A plain request for our Adj-RIB-Out of this family (RFC 2918).
    Refresh {
        afi: u16,
        safi: u8,
        plain: bool,
    },
}

/// The peer's OPEN.
#[derive(Clone, Debug)]
pub(crate) struct Open {
    pub(crate) asn: u32,
    pub(crate) hold_time: u16,
    pub(crate) router_id: Ipv4Addr,
    pub(crate) four_octet: bool,
    pub(crate) refresh: bool,
    /// Unicast families offered; none named means IPv4 (RFC 4760 §8).
    pub(crate) families: Vec<Family>,
    /// Graceful restart, if it is offered.
    pub(crate) restart: Option<Restart>,
}

/// The peer's graceful restart capability (RFC 4724 §3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Restart {
    /// How long the peer takes to be back, as it says: up to 4,095 s.
    pub(crate) time: Duration,
    /// The unicast families listed, each with its F bit: whether forwarding went on while the peer restarted.
    families: Vec<(Family, bool)>,
}

impl Restart {
    /// The F bit of `family`; `None` if the peer does not list it.
    pub(crate) fn forwarding(&self, family: Family) -> Option<bool> {
        self.families.iter().find(|(listed, _)| *listed == family).map(|(_, forwarding)| *forwarding)
    }
}

/// A NOTIFICATION in either direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Notification {
    pub(crate) code: u8,
    pub(crate) subcode: u8,
    pub(crate) data: Vec<u8>,
    /// RFC 9003 shutdown communication, printable characters only.
    pub(crate) text: Option<String>,
}

impl Notification {
    pub(crate) const HEADER_ERROR: u8 = 1;
    pub(crate) const OPEN_ERROR: u8 = 2;
    pub(crate) const UPDATE_ERROR: u8 = 3;
    pub(crate) const HOLD_TIMER: u8 = 4;
    pub(crate) const FSM_ERROR: u8 = 5;
    pub(crate) const CEASE: u8 = 6;
    pub(crate) const SEND_HOLD_TIMER: u8 = 8;

    pub(crate) const BAD_PEER_AS: u8 = note::open_subcode::BAD_PEER_AS;
    pub(crate) const BAD_IDENTIFIER: u8 = note::open_subcode::BAD_BGP_IDENTIFIER;
    pub(crate) const BAD_HOLD_TIME: u8 = note::open_subcode::UNACCEPTABLE_HOLD_TIME;
    pub(crate) const UNSUPPORTED_CAPABILITY: u8 = note::open_subcode::UNSUPPORTED_CAPABILITY;
    pub(crate) const SHUTDOWN: u8 = note::cease_subcode::ADMINISTRATIVE_SHUTDOWN;
    pub(crate) const TOO_MANY_PREFIXES: u8 = note::cease_subcode::MAX_PREFIXES;
    pub(crate) const REJECTED: u8 = note::cease_subcode::CONNECTION_REJECTED;
    pub(crate) const OUT_OF_RESOURCES: u8 = note::cease_subcode::OUT_OF_RESOURCES;
    pub(crate) const COLLISION: u8 = note::cease_subcode::CONNECTION_COLLISION_RESOLUTION;

    pub(crate) const fn new(code: u8, subcode: u8) -> Self {
        Self { code, subcode, data: Vec::new(), text: None }
    }

    pub(crate) fn with_data(mut self, data: &[u8]) -> Self {
        self.data = data.to_vec();
        self
    }

    /// Cease with RFC 9003 text (at most 128 octets go out).
    pub(crate) fn shutdown(reason: &str) -> Self {
        let mut cease = Self::new(Self::CEASE, Self::SHUTDOWN);
        cease.data = note::encode_shutdown_communication(reason).to_vec();
        cease
    }

    /// The names of RFC 4271 and its successors: `Cease: Administrative Shutdown`.
    pub(crate) fn name(&self) -> String {
        let code = NotificationCode::from_u8(self.code);
        format!("{code}: {}", note::description(code, self.subcode))
    }

    /// `6/2`.
    pub(crate) fn numbers(&self) -> String {
        format!("{}/{}", self.code, self.subcode)
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let data = self.data.get(..self.data.len().min(MAX_MESSAGE - HEADER - 2)).unwrap_or_default();
        let message = wire::NotificationMessage::new(
            NotificationCode::from_u8(self.code),
            self.subcode,
            Bytes::copy_from_slice(data),
        );
        encode(&wire::Message::Notification(message))
    }
}

/// What breaks the protocol, with the NOTIFICATION that answers it.
#[derive(Debug)]
pub(crate) struct ProtocolError {
    pub(crate) notification: Notification,
    pub(crate) detail: String,
}

impl From<wire::DecodeError> for ProtocolError {
    fn from(error: wire::DecodeError) -> Self {
        let (code, subcode, data) = error.to_notification();
        Self {
            notification: Notification::new(code.as_u8(), subcode).with_data(&data),
            detail: bounded(&error.to_string()),
        }
    }
}

/// Printable characters only and at most 255 of them: text that a peer can influence ends up in logs and documents.
pub(crate) fn bounded(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(255).collect()
}

/// The framing buffer of one connection; never holds more than one message.
#[derive(Debug, Default)]
pub(crate) struct Framer(Vec<u8>);

impl Framer {
    /// Takes what fits of `input`, leaving the rest in it.
    pub(crate) fn fill(&mut self, input: &mut &[u8]) {
        let room = MAX_MESSAGE.saturating_sub(self.0.len()).min(input.len());
        let (taken, rest) = input.split_at_checked(room).unwrap_or((input, &[]));
        self.0.extend_from_slice(taken);
        *input = rest;
    }

    /// The next complete message, if there is one.
    pub(crate) fn next(&mut self) -> Result<Option<Message>, ProtocolError> {
        let Some(length) = wire::peek_message_length(&self.0, 4096)? else { return Ok(None) };
        let length = usize::from(length);
        if self.0.len() < length {
            return Ok(None);
        }
        let mut message: Bytes = self.0.drain(..length).collect::<Vec<u8>>().into();
        let message = wire::decode_message(&mut message, 4096)?;
        Ok(Some(match message {
            wire::Message::Open(open) => Message::Open(understand_open(&open)),
            wire::Message::Update(update) => Message::Update(update),
            wire::Message::Notification(notification) => Message::Notification(Notification {
                code: notification.code.as_u8(),
                subcode: notification.subcode,
                text: extract_shutdown_communication(&notification).ok().flatten().map(bounded),
                data: notification.data.to_vec(),
            }),
            wire::Message::Keepalive => Message::Keepalive,
            wire::Message::RouteRefresh(refresh) => {
                Message::Refresh { afi: refresh.afi_raw, safi: refresh.safi_raw, plain: refresh.subtype_raw == 0 }
            }
            _ => {
                return Err(ProtocolError {
                    notification: Notification::new(Notification::HEADER_ERROR, 3),
                    detail: "a message type that is not offered".to_owned(),
                });
            }
        }))
    }
}

fn understand_open(open: &wire::OpenMessage) -> Open {
    let multiprotocol = open
        .capabilities
        .iter()
        .any(|capability| matches!(capability, Capability::MultiProtocol { .. }) || capability.code() == 1);
    let mut families: Vec<Family> = Family::ALL
        .into_iter()
        .filter(|family| {
            open.capabilities.contains(&Capability::MultiProtocol { afi: afi(*family), safi: Safi::Unicast })
        })
        .collect();
    if !multiprotocol {
        families = vec![Family::Ipv4];
    }
    Open {
        asn: open.four_byte_as(),
        hold_time: open.hold_time,
        router_id: open.bgp_identifier,
        four_octet: open.capabilities.iter().any(|capability| matches!(capability, Capability::FourOctetAs { .. })),
        refresh: open.capabilities.contains(&Capability::RouteRefresh),
        families,
        restart: open.capabilities.iter().rev().find_map(understand_restart),
    }
}

/// The last one counts: of several capabilities, and of several entries for one family (RFC 4724 §3).
fn understand_restart(capability: &Capability) -> Option<Restart> {
    let Capability::GracefulRestart { restart_time, families: listed, .. } = capability else { return None };
    let entry = |family: Family| {
        let entry = listed.iter().rev().find(|entry| is_ours(entry.afi, entry.safi, family))?;
        Some((family, entry.forwarding_preserved))
    };
    Some(Restart {
        time: Duration::from_secs(u64::from(*restart_time)),
        families: Family::ALL.into_iter().filter_map(entry).collect(),
    })
}

const fn afi(family: Family) -> Afi {
    match family {
        Family::Ipv4 => Afi::Ipv4,
        Family::Ipv6 => Afi::Ipv6,
    }
}

/// The MP capability's value for `family` with its header: the data of an "unsupported capability" NOTIFICATION (RFC 5492 §5).
pub(crate) fn multiprotocol_capability(family: Family) -> [u8; 6] {
    let afi = (afi(family) as u16).to_be_bytes();
    [1, 4, afi[0], afi[1], 0, Safi::Unicast as u8]
}

/// Our OPEN. `restarted`: nothing was up since the program started (the R bit of RFC 4724 §3).
pub(crate) fn open(local_asn: u32, hold_time: u16, router_id: Ipv4Addr, family: Family, restarted: bool) -> Vec<u8> {
    encode(&wire::Message::Open(wire::OpenMessage {
        version: 4,
        my_as: u16::try_from(local_asn).unwrap_or(AS_TRANS),
        hold_time,
        bgp_identifier: router_id,
        capabilities: vec![
            Capability::MultiProtocol { afi: afi(family), safi: Safi::Unicast },
            Capability::RouteRefresh,
            Capability::GracefulRestart {
                restart_state: restarted,
                notification: false,
                restart_time: RESTART_TIME,
                // Our routes vanish from the kernel with the program, so the F bit stays clear.
                families: vec![wire::GracefulRestartFamily {
                    afi: afi(family),
                    safi: Safi::Unicast,
                    forwarding_preserved: false,
                }],
            },
            Capability::FourOctetAs { asn: local_asn },
        ],
    }))
}

/// KEEPALIVE.
pub(crate) fn keepalive() -> Vec<u8> {
    encode(&wire::Message::Keepalive)
}

/// ROUTE-REFRESH for `family`.
pub(crate) fn route_refresh(family: Family) -> Vec<u8> {
    encode(&wire::Message::RouteRefresh(wire::RouteRefreshMessage::new(afi(family), Safi::Unicast)))
}

/// Encoding fails only beyond 4,096 octets, which the callers' bounds exclude; nothing is sent then rather than something wrong.
fn encode(message: &wire::Message) -> Vec<u8> {
    wire::encode_message(message).map(|octets| octets.to_vec()).unwrap_or_default()
}

/// Attributes of an announcement, as far as anything here depends on them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Attributes {
    pub(crate) origin: u8,
    pub(crate) as_path: Arc<[u32]>,
    pub(crate) med: Option<u32>,
    pub(crate) communities: Arc<[u32]>,
}

/// What an UPDATE says of the session's family.
#[derive(Debug)]
pub(crate) struct Update {
    pub(crate) withdrawn: Vec<IpNet>,
    /// Each with its next hop.
    pub(crate) announced: Vec<(IpNet, IpAddr)>,
    pub(crate) attributes: Attributes,
    /// Some attribute was malformed and these announcements were turned into withdrawals (RFC 7606 §2), with what was wrong.
    pub(crate) treated_as_withdraw: Option<(Vec<IpNet>, String)>,
    /// Some attribute was malformed and left out (RFC 7606 §2).
    pub(crate) discarded: bool,
    /// The peer has now sent everything that it had when the session came up (RFC 4724 §2).
    pub(crate) end_of_rib: bool,
}

/// Parses with the revised error handling of RFC 7606. `Err` only for what must reset the session. `acted_upon`: communities that are kept however
/// many come before them.
pub(crate) fn parse_update(
    original: &wire::UpdateMessage,
    family: Family,
    four_octet: bool,
    acted_upon: &[u32],
) -> Result<Update, ProtocolError> {
    let message = wire::UpdateMessage {
        withdrawn_routes: original.withdrawn_routes.clone(),
        path_attributes: without_foreign_families(&original.path_attributes, family),
        nlri: original.nlri.clone(),
    };
    let parsed = message.parse_revised(four_octet, false, false, &[])?;
    let mut disposition = parsed.malformed.iter().map(|attribute| attribute.disposition).max();
    let mut detail = parsed
        .malformed
        .iter()
        .max_by_key(|attribute| attribute.disposition)
        .map(|attribute| format!("attribute {}: {}", attribute.type_code, attribute.error));

    let update = parsed.update;
    let reach = update.attributes.iter().find_map(|attribute| match attribute {
        PathAttribute::MpReachNlri(reach) => Some(reach),
        _ => None,
    });
    let has_body = !update.announced.is_empty();
    let has_nlri = has_body || reach.is_some_and(|reach| !reach.announced.is_empty());
    if let Err(error) = wire::validate::validate_update_attributes_with_context(
        &update.attributes,
        has_nlri,
        has_body,
        true,
        wire::UpdateValidationOptions::default(),
    ) {
        // A link-local next hop alone is what some devices send on a point-to-point link; the route leads into the tunnel anyway.
        let link_local = error.error.subcode == note::update_subcode::INVALID_NEXT_HOP
            && reach.is_some_and(|reach| matches!(reach.next_hop, IpAddr::V6(hop) if hop.is_unicast_link_local()));
        if !link_local {
            disposition = disposition.max(Some(error.error.disposition));
            detail
                .get_or_insert_with(|| format!("attribute {}: error subcode {}", error.type_code, error.error.subcode));
        }
    }
    let nothing: Arc<[u32]> = Arc::from([]);
    let mut attributes = Attributes { origin: 2, as_path: Arc::clone(&nothing), med: None, communities: nothing };
    let mut body_next_hop = None;
    for attribute in &update.attributes {
        match attribute {
            PathAttribute::Origin(origin) => attributes.origin = *origin as u8,
            PathAttribute::AsPath(path) => attributes.as_path = path.asns().take(MAX_LIST + 1).collect(),
            PathAttribute::NextHop(hop) => body_next_hop = Some(IpAddr::V4(*hop)),
            PathAttribute::Med(med) => attributes.med = Some(*med),
            PathAttribute::Communities(list) | PathAttribute::CommunitiesPartial(list) => {
                let (kept, rest) = list.split_at_checked(MAX_LIST).unwrap_or((list, &[]));
                let acted_upon = acted_upon.iter().filter(|community| rest.contains(community));
                attributes.communities = kept.iter().chain(acted_upon).copied().collect();
            }
            _ => {}
        }
    }
    if attributes.as_path.len() > MAX_LIST {
        disposition = disposition.max(Some(ErrorDisposition::TreatAsWithdraw));
        detail.get_or_insert_with(|| format!("AS path longer than {MAX_LIST}"));
    }
    let detail = detail.map_or_else(String::new, |detail| bounded(&detail));
    if disposition == Some(ErrorDisposition::SessionReset) {
        return Err(ProtocolError { notification: Notification::new(Notification::UPDATE_ERROR, 1), detail });
    }

    let mut withdrawn = Vec::new();
    let mut announced = Vec::new();
    if family == Family::Ipv4 {
        withdrawn.extend(update.withdrawn.iter().filter_map(|entry| v4(&entry.prefix)));
        let hop = body_next_hop.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        announced.extend(update.announced.iter().filter_map(|entry| Some((v4(&entry.prefix)?, hop))));
    }
    for attribute in &update.attributes {
        match attribute {
            PathAttribute::MpUnreachNlri(unreach) if is_ours(unreach.afi, unreach.safi, family) => {
                withdrawn.extend(unreach.withdrawn.iter().filter_map(|entry| net(&entry.prefix)));
            }
            PathAttribute::MpReachNlri(reach) if is_ours(reach.afi, reach.safi, family) => {
                announced
                    .extend(reach.announced.iter().filter_map(|entry| Some((net(&entry.prefix)?, reach.next_hop))));
            }
            _ => {}
        }
    }
    let end_of_rib = disposition.is_none() && is_end_of_rib(original, family);
    let treated_as_withdraw = (disposition == Some(ErrorDisposition::TreatAsWithdraw)).then(|| {
        let treated: Vec<IpNet> = announced.drain(..).map(|(prefix, _)| prefix).collect();
        withdrawn.extend_from_slice(&treated);
        (treated, detail)
    });
    let discarded = disposition == Some(ErrorDisposition::AttributeDiscard);
    Ok(Update { withdrawn, announced, attributes, treated_as_withdraw, discarded, end_of_rib })
}

/// RFC 4724 §2: an UPDATE without anything ends IPv4, one with nothing but an empty MP_UNREACH_NLRI ends the family that it names.
fn is_end_of_rib(message: &wire::UpdateMessage, family: Family) -> bool {
    let [_, _, high, low, _, safi] = multiprotocol_capability(family);
    message.withdrawn_routes.is_empty()
        && message.nlri.is_empty()
        && match *message.path_attributes {
            [] => family == Family::Ipv4,
            [flags, 15, 3, ref value @ ..] if flags & EXTENDED == 0 => value == [high, low, safi],
            [flags, 15, 0, 3, ref value @ ..] if flags & EXTENDED != 0 => value == [high, low, safi],
            _ => false,
        }
}

fn is_ours(theirs: Afi, safi: Safi, family: Family) -> bool {
    theirs == afi(family) && safi == Safi::Unicast
}

/// Leaves out MP_REACH_NLRI and MP_UNREACH_NLRI of families that were not negotiated, so that the decoders of EVPN, FlowSpec and the
/// like never see what this peer sends. Stops at the first attribute that is not framed well: the parser judges it.
fn without_foreign_families(attributes: &Bytes, family: Family) -> Bytes {
    let ours = [(afi(family) as u16).to_be_bytes()[0], (afi(family) as u16).to_be_bytes()[1], Safi::Unicast as u8];
    let mut kept = Vec::with_capacity(attributes.len());
    let mut rest: &[u8] = attributes;
    while let [flags, kind, tail @ ..] = rest {
        let (header, length) = match tail {
            [high, low, ..] if flags & EXTENDED != 0 => (4, usize::from(u16::from_be_bytes([*high, *low]))),
            [length, ..] if flags & EXTENDED == 0 => (3, usize::from(*length)),
            _ => break,
        };
        let Some((attribute, after)) = rest.split_at_checked(header + length) else { break };
        let foreign = matches!(kind, 14 | 15) && attribute.get(header..header + 3).is_some_and(|family| family != ours);
        if !foreign {
            kept.extend_from_slice(attribute);
        }
        rest = after;
    }
    kept.extend_from_slice(rest);
    kept.into()
}

fn v4(prefix: &wire::Ipv4Prefix) -> Option<IpNet> {
    Ipv4Net::new(prefix.addr, prefix.len).ok().map(|net| IpNet::V4(net.trunc()))
}

fn net(prefix: &wire::Prefix) -> Option<IpNet> {
    match prefix {
        wire::Prefix::V4(prefix) => v4(prefix),
        wire::Prefix::V6(prefix) => Ipv6Net::new(prefix.addr, prefix.len).ok().map(|net| IpNet::V6(net.trunc())),
    }
}

fn wire_prefix(net: &IpNet) -> wire::Prefix {
    match net {
        IpNet::V4(net) => wire::Prefix::V4(wire::Ipv4Prefix::new(net.network(), net.prefix_len())),
        IpNet::V6(net) => wire::Prefix::V6(wire::Ipv6Prefix::new(net.network(), net.prefix_len())),
    }
}

/// How our announcements look to one peer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Announcer {
    pub(crate) family: Family,
    pub(crate) local_asn: u32,
    pub(crate) next_hop: IpAddr,
    pub(crate) four_octet: bool,
}

impl Announcer {
    /// UPDATEs that announce `prefixes`, as many as it takes.
    pub(crate) fn announce(&self, prefixes: &[IpNet]) -> Vec<Vec<u8>> {
        let common = [
            PathAttribute::Origin(wire::Origin::Igp),
            PathAttribute::AsPath(wire::AsPath {
                segments: vec![wire::AsPathSegment::AsSequence(vec![self.local_asn])],
            }),
        ];
        self.chunks(prefixes)
            .map(|chunk| match (self.family, self.next_hop) {
                (Family::Ipv4, IpAddr::V4(hop)) => {
                    self.build(&body(chunk), &[], [common.as_slice(), &[PathAttribute::NextHop(hop)]].concat())
                }
                _ => {
                    let reach = wire::MpReachNlri {
                        afi: afi(self.family),
                        safi: Safi::Unicast,
                        next_hop: self.next_hop,
                        link_local_next_hop: None,
                        announced: entries(chunk),
                        flowspec_announced: Vec::new(),
                        evpn_announced: Vec::new(),
                        bgpls_announced: Vec::new(),
                        vpn_announced: Vec::new(),
                        labeled_announced: Vec::new(),
                        rtc_announced: Vec::new(),
                    };
                    let reach = PathAttribute::MpReachNlri(Box::new(reach));
                    self.build(&[], &[], [common.as_slice(), &[reach]].concat())
                }
            })
            .collect()
    }

    /// UPDATEs that withdraw `prefixes`.
    pub(crate) fn withdraw(&self, prefixes: &[IpNet]) -> Vec<Vec<u8>> {
        self.chunks(prefixes)
            .map(|chunk| match self.family {
                Family::Ipv4 => self.build(&[], &body(chunk), Vec::new()),
                Family::Ipv6 => self.build(&[], &[], vec![self.unreach(entries(chunk))]),
            })
            .collect()
    }

    /// End-of-RIB (RFC 4724 §2).
    pub(crate) fn end_of_rib(&self) -> Vec<u8> {
        match self.family {
            Family::Ipv4 => self.build(&[], &[], Vec::new()),
            Family::Ipv6 => self.build(&[], &[], vec![self.unreach(Vec::new())]),
        }
    }

    fn unreach(&self, withdrawn: Vec<wire::NlriEntry>) -> PathAttribute {
        PathAttribute::MpUnreachNlri(Box::new(wire::MpUnreachNlri {
            afi: afi(self.family),
            safi: Safi::Unicast,
            withdrawn,
            flowspec_withdrawn: Vec::new(),
            evpn_withdrawn: Vec::new(),
            bgpls_withdrawn: Vec::new(),
            vpn_withdrawn: Vec::new(),
            labeled_withdrawn: Vec::new(),
            rtc_withdrawn: Vec::new(),
        }))
    }

    fn chunks<'a>(&self, prefixes: &'a [IpNet]) -> std::slice::Chunks<'a, IpNet> {
        prefixes.chunks(MAX_NLRI / (usize::from(self.family.max_prefix_len()) / 8 + 1))
    }

    fn build(
        &self,
        announced: &[wire::Ipv4NlriEntry],
        withdrawn: &[wire::Ipv4NlriEntry],
        attributes: Vec<PathAttribute>,
    ) -> Vec<u8> {
        wire::UpdateMessage::try_build(announced, withdrawn, &attributes, self.four_octet, false, Ipv4UnicastMode::Body)
            .map(|update| encode(&wire::Message::Update(update)))
            .unwrap_or_default()
    }
}

fn body(prefixes: &[IpNet]) -> Vec<wire::Ipv4NlriEntry> {
    prefixes
        .iter()
        .filter_map(|prefix| match wire_prefix(prefix) {
            wire::Prefix::V4(prefix) => Some(wire::Ipv4NlriEntry { path_id: 0, prefix }),
            wire::Prefix::V6(_) => None,
        })
        .collect()
}

fn entries(prefixes: &[IpNet]) -> Vec<wire::NlriEntry> {
    prefixes.iter().map(|prefix| wire::NlriEntry { path_id: 0, prefix: wire_prefix(prefix) }).collect()
}
