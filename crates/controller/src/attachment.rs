//! Bridges and interfaces of the operator's that Private Networks are mapped to.

use causeway_model::command::{ListQuery, Page};
use causeway_model::reason::Reason;
use causeway_model::resource::{Caller, Port, PortAttachment, VlanRange};
use causeway_model::status::owed_fault;
use causeway_model::{Error, PrivateNetworkId, ReasonCode, Timestamp};
use causeway_store::{Attachment, Reader};
use serde_json::json;

use crate::access::Intent::Write;
use crate::access::{operator, paging};
use crate::acl::{Owed, owed};
use crate::audit::{changed, gone};
use crate::network::find_network;
use crate::{Controller, Result};

/// A mapping, and why the Private Network is not where it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttachmentView {
    /// The mapping.
    pub attachment: Attachment,
    /// What the node that runs the VPC's router says or owes; nothing while there is no such node.
    pub reason: Option<Reason>,
}

const ATTACHMENT: &str = "private_network_attachment";

/// Octets of an interface's name at most: what Linux has room for.
const MAX_INTERFACE: usize = 15;

/// Whether Linux takes the name and it is none of the node's own; else what is wrong with it.
pub(crate) fn is_interface(name: &str) -> Result<(), String> {
    let plain = |octet: u8| octet.is_ascii_alphanumeric() || b"-_.@".contains(&octet);
    if name.is_empty() || name.len() > MAX_INTERFACE || !name.bytes().all(plain) || name == "." || name == ".." {
        return Err(format!("an interface's name has 1 to {MAX_INTERFACE} letters, digits, `-`, `_`, `.` or `@`"));
    }
    if ["cwbr-", "cwv-", "cwg-", "cw-"].iter().any(|own| name.starts_with(own)) || name == "lo" {
        return Err(format!("`{name}` is a name of the node's own; name a bridge or interface of yours"));
    }
    Ok(())
}

/// Frames of the node's machine: all of an interface, or those of some VLAN ids on it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wire<'a> {
    interface: &'a str,
    vlans: Option<VlanRange>,
}

impl<'a> Wire<'a> {
    pub(crate) const fn whole(interface: &'a str) -> Self {
        Self { interface, vlans: None }
    }

    /// What a port for links takes; `None`: none of an interface of the machine's.
    pub(crate) fn of_port(port: &'a Port) -> Option<Self> {
        match &port.attachment {
            PortAttachment::Vlan { interface } => Some(Self { interface, vlans: Some(port.vlan_range) }),
            PortAttachment::Interface { interface } => Some(Self::whole(interface)),
            PortAttachment::Vxlan { .. } => None,
        }
    }

    pub(crate) const fn interface(&self) -> &'a str {
        self.interface
    }

    /// Whether the two would be one.
    pub(crate) fn meets(&self, other: &Self) -> bool {
        self.interface == other.interface || self.holds(other) || other.holds(self)
    }

    /// Whether `other` is on an interface `eth1.1600` whose frames are among this one's on `eth1`, as VLANs are called everywhere.
    fn holds(&self, other: &Self) -> bool {
        let within = other.interface.strip_prefix(self.interface).and_then(|rest| rest.strip_prefix('.'));
        let tag = within.and_then(|rest| rest.split('.').next()).and_then(|tag| tag.parse().ok());
        tag.is_some_and(|tag: u16| self.vlans.is_none_or(|vlans| vlans.contains(tag)))
    }
}

fn check_interface(name: &str) -> Result<()> {
    is_interface(name).map_err(|help| Error::constraint("interface", help))
}

impl Controller {
    /// The Private Networks that the operator has mapped.
    ///
    /// # Errors
    /// [`Error::PermissionsDenied`].
    pub async fn list_attachments(&self, caller: &Caller, list: &ListQuery) -> Result<Page<AttachmentView>> {
        operator(caller, "read", ATTACHMENT)?;
        paging(list)?;
        let mut reader = self.read().await?;
        let mut all = reader.attachments().await?;
        if list.descending {
            all.reverse();
        }
        let total = all.len() as u64;
        let skipped = u64::from(list.page - 1) * u64::from(list.page_size);
        let skipped = usize::try_from(skipped).unwrap_or(usize::MAX);
        let mut items = Vec::new();
        for attachment in all.into_iter().skip(skipped).take(list.page_size as usize) {
            items.push(view(&mut reader, attachment, self.now()).await?);
        }
        Ok(Page { items, total })
    }

    /// Maps a Private Network to a bridge or interface of the node's machine.
    ///
    /// # Errors
    /// [`Error::PermissionsDenied`], [`Error::NotFound`], [`Error::InvalidArguments`], [`Error::AlreadyExists`].
    pub async fn set_attachment(
        &self,
        caller: &Caller,
        id: PrivateNetworkId,
        interface: String,
    ) -> Result<AttachmentView> {
        operator(caller, "write", ATTACHMENT)?;
        check_interface(&interface)?;
        let mut unit = self.unit(caller, self.region()).await?;
        let network = find_network(&mut unit, caller, Write, id).await?;
        let all = unit.attachments().await?;
        if let Some(other) = all.iter().find(|other| other.interface == interface && other.network != id) {
            return Err(Error::AlreadyExists {
                resource: ATTACHMENT,
                id: other.network.to_string(),
                help: format!(
                    "`{interface}` belongs to the Private Network {}: two on one would be one",
                    other.network
                ),
            });
        }
        for port in unit.ports().await? {
            if Wire::of_port(&port).is_some_and(|taken| taken.meets(&Wire::whole(&interface))) {
                let help = format!("the port {} for InterLinks is on it; name another interface", port.name);
                return Err(Error::AlreadyExists { resource: "port", id: port.id.to_string(), help });
            }
        }
        let now = unit.now;
        let before = all.into_iter().find(|known| known.network == id);
        unit.set_attachment(id, &interface, now).await?;
        if before.as_ref().map(|before| &before.interface) != Some(&interface) {
            unit.bump_vpc_config(network.vpc_id).await?;
        }
        let old = json!({"interface": before.as_ref().map(|before| &before.interface)});
        let details = changed(&old, &json!({"interface": interface}));
        let created_at = before.map_or(now, |before| before.created_at);
        let shown = view(&mut unit, Attachment { network: id, interface, created_at, updated_at: now }, now).await?;
        unit.finish("set_attachment", "private_network", id, &details).await?;
        Ok(shown)
    }

    /// Lets the node make the Private Network's bridge itself again.
    ///
    /// # Errors
    /// [`Error::PermissionsDenied`], [`Error::NotFound`].
    pub async fn delete_attachment(&self, caller: &Caller, id: PrivateNetworkId) -> Result<()> {
        operator(caller, "write", ATTACHMENT)?;
        let mut unit = self.unit(caller, self.region()).await?;
        let network = find_network(&mut unit, caller, Write, id).await?;
        let all = unit.attachments().await?;
        let missing = || Error::NotFound { resource: ATTACHMENT, id: id.to_string() };
        let old = all.into_iter().find(|known| known.network == id).ok_or_else(missing)?;
        unit.delete_attachment(id).await?;
        unit.bump_vpc_config(network.vpc_id).await?;
        unit.finish("delete_attachment", "private_network", id, &gone(&json!({"interface": old.interface}))).await
    }
}

/// The mapping with what the nodes say of it. That something else of the VPC is refused does not concern it.
async fn view(reader: &mut Reader, attachment: Attachment, now: Timestamp) -> Result<AttachmentView> {
    let Some(network) = reader.private_network(attachment.network).await? else {
        return Ok(AttachmentView { attachment, reason: None });
    };
    let config = reader.vpc_config(network.vpc_id).await?;
    let Owed { observed, complete, fault, .. } = owed(reader, network.vpc_id, &config, now).await?;
    let mut refusals = observed.iter().filter_map(|observed| observed.networks.get(&attachment.network));
    let fault = match refusals.find(|refusal| refusal.revision == config.revision) {
        Some(refusal) => Some(owed_fault(0.0, Some(refusal), true)),
        None if observed.is_empty() && complete => None,
        None => fault.filter(|fault| fault.code != ReasonCode::ConfigRefused),
    };
    Ok(AttachmentView { attachment, reason: fault.map(|fault| fault.explain(config.pending_since)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wires_meet_where_they_have_frames_in_common() {
        let some = |interface, start, end| Wire { interface, vlans: Some(VlanRange { start, end }) };
        let whole = Wire::whole;
        let cases = [
            (whole("eth1"), whole("eth1"), true),
            (whole("eth1"), whole("eth10"), false),
            (whole("eth1"), whole("eth1.1600"), true),
            (whole("eth1"), whole("eth1.x"), false),
            (whole("eth1.1600"), whole("eth1.1601"), false),
            (some("eth1", 1500, 1599), whole("eth1"), true),
            (some("eth1", 1500, 1599), some("eth1", 1600, 1700), true),
            (some("eth1", 1500, 1600), whole("eth1.1600"), true),
            (some("eth1", 1500, 1599), whole("eth1.1600"), false),
            (some("eth1", 1500, 1600), some("eth1.1600.20", 1, 2), true),
        ];
        for (one, other, expected) in cases {
            assert_eq!(one.meets(&other), expected, "{one:?} and {other:?}");
            assert_eq!(other.meets(&one), expected, "{other:?} and {one:?}");
        }
    }

    #[test]
    fn interface_names() {
        for name in ["br0", "vlan.100", "eth0@x", "a", "fifteen-octets1"] {
            assert!(check_interface(name).is_ok(), "{name}");
        }
        for name in ["", ".", "..", "sixteen-octets-1", "a/b", "a b", "é", "lo", "cwbr-01234567", "cw-1"] {
            assert!(check_interface(name).is_err(), "{name}");
        }
    }
}
