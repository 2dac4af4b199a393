//! Where an order goes: port, VLAN id, addresses. Everything is looked at and taken in one transaction.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use causeway_model::resource::{
    DedicatedConnection, Link, LinkAddresses, LinkHost, Partner, Pop, Port, PortAttachment, PortOwner,
};
use causeway_model::status::DedicatedConnectionStatus;
use causeway_model::{Error, PopId};
use causeway_store::{LinkUnits, NodeRecord, Reader};
use ipnet::IpNet;

use super::{Carrier, missing, unmet};
use crate::Result;
use crate::unit::Unit;

/// /31s of 169.254.0.0/16, and those of 169.254.169.0/24 among them, where cloud metadata services live.
const IPV4_UNITS: u32 = 1 << 15;
const METADATA_UNITS: (u32, u32) = (169 << 7, 170 << 7);

/// How often a random /127 is drawn: the block has 2^63, so that one is enough.
const DRAWS: usize = 8;

/// What an order gets.
pub(super) struct Place {
    pub(super) port: Port,
    pub(super) vlan: u16,
    pub(super) ipv4: LinkAddresses,
    pub(super) ipv6: LinkAddresses,
    pub(super) units: LinkUnits,
}

fn pair(ours: IpAddr, theirs: IpAddr, length: u8) -> LinkAddresses {
    LinkAddresses { ours: IpNet::new_assert(ours, length), theirs: IpNet::new_assert(theirs, length) }
}

fn ipv4_pair(unit: u32) -> LinkAddresses {
    let first = u32::from(Ipv4Addr::new(169, 254, 0, 0)) + 2 * unit;
    pair(Ipv4Addr::from(first).into(), Ipv4Addr::from(first + 1).into(), 31)
}

/// Of the service's /64 beside the one that VPN connections have their subnets from.
fn ipv6_pair(service_ula: [u8; 6], unit: u64) -> LinkAddresses {
    let [a, b, c, d, e, f] = service_ula;
    let network = u128::from(Ipv6Addr::from([a, b, c, d, e, f, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]));
    let first = network + (u128::from(unit) << 1);
    pair(Ipv6Addr::from(first).into(), Ipv6Addr::from(first + 1).into(), 127)
}

/// A free VLAN id of a port: the one after a random one, round the range.
fn free_vlan(port: &Port, taken: &[u16], random: u32) -> Option<u16> {
    let range = port.vlan_range;
    let size = u32::from(range.end.checked_sub(range.start)?) + 1;
    (0..size).find_map(|step| {
        let vlan = u32::from(range.start) + (random % size + step) % size;
        u16::try_from(vlan).ok().filter(|vlan| taken.binary_search(vlan).is_err())
    })
}

/// The node on which the links of a port end: the one that the port names, or else the one that came first; none while there is none.
///
/// # Errors
/// The node that the port names, which was revoked.
pub(super) fn node_of<'a>(port: &Port, nodes: &'a [NodeRecord]) -> Result<Option<&'a NodeRecord>, &'a NodeRecord> {
    let Some(id) = port.node_id else { return Ok(nodes.iter().find(|node| node.revoked_at.is_none())) };
    match nodes.iter().find(|node| node.id == id) {
        Some(revoked) if revoked.revoked_at.is_some() => Err(revoked),
        known => Ok(known),
    }
}

/// How much of the catalogue is in use.
pub(super) struct Loads {
    /// Mbit/s and links.
    ports: Vec<(causeway_model::PortId, u64, u64)>,
    pops: Vec<(PopId, u64)>,
}

impl Loads {
    pub(super) async fn read(reader: &mut Reader) -> Result<Self> {
        let (ports, pops) = reader.link_loads().await?;
        Ok(Self { ports, pops })
    }

    fn of_port(&self, port: &Port) -> (u64, u64) {
        self.ports.iter().find(|(id, ..)| *id == port.id).map_or((0, 0), |(_, used, links)| (*used, *links))
    }

    /// Mbit/s that one more link on `port` may have; `connection` is the port's, if it has one.
    pub(super) fn free(&self, pop: &Pop, port: &Port, connection: Option<&DedicatedConnection>) -> u64 {
        let (used, links) = self.of_port(port);
        let most = match port.attachment {
            // Without tags there is no telling two links apart.
            PortAttachment::Interface { .. } => 1,
            PortAttachment::Vlan { .. } | PortAttachment::Vxlan { .. } => {
                u64::from(port.vlan_range.end.saturating_sub(port.vlan_range.start)) + 1
            }
        };
        if links >= most || connection.is_some_and(|own| own.status() != DedicatedConnectionStatus::Active) {
            return 0;
        }
        let whole = connection.map_or(port.capacity_mbps, |own| own.bandwidth_mbps.min(port.capacity_mbps));
        let of_pop = self.pops.iter().find(|(id, _)| *id == pop.id).map_or(0, |(_, used)| *used);
        let pop_free = pop.capacity_mbps.map_or(u64::MAX, |capacity| capacity.saturating_sub(of_pop));
        whole.saturating_sub(used).min(pop_free)
    }
}

impl Unit<'_> {
    /// A port with room, and everything else that a link needs of its own.
    pub(super) async fn find_place(
        &mut self,
        pop: &Pop,
        carrier: &Carrier,
        bandwidth_mbps: u64,
        wished: Option<u16>,
    ) -> Result<Place> {
        let (owner, connection) = match carrier {
            Carrier::Partner(partner) => (PortOwner::Partner(partner.id), None),
            Carrier::Dedicated(connection) => (PortOwner::DedicatedConnection(connection.id), Some(connection)),
        };
        let mut ports = self.ports().await?;
        ports.retain(|port| port.owner == owner);
        let elsewhere: Vec<PopId> = ports.iter().map(|port| port.pop_id).collect();
        ports.retain(|port| port.pop_id == pop.id);
        if ports.is_empty() {
            return Err(match carrier {
                Carrier::Partner(partner) => self.not_here(partner, &elsewhere).await?,
                Carrier::Dedicated(_) => {
                    unmet("the dedicated connection is not connected to a port yet; contact support")
                }
            });
        }
        // A port that is out of service is waited for only where there is no other: it may be so for weeks, and the order waits for seconds.
        let nodes = self.nodes().await?;
        let in_service = |port: &Port| port.enabled && node_of(port, &nodes).is_ok();
        let any_in_service = ports.iter().any(in_service);
        ports.retain(|port| in_service(port) || !any_in_service);
        let loads = Loads::read(self).await?;
        let mut taken_vlan = false;
        for port in ports {
            if loads.free(pop, &port, connection) < bandwidth_mbps {
                continue;
            }
            let taken = self.vlans_of_port(port.id).await?;
            let vlan = match wished {
                Some(vlan) if !port.vlan_range.contains(vlan) => None,
                Some(vlan) if taken.binary_search(&vlan).is_ok() => {
                    taken_vlan = true;
                    None
                }
                Some(vlan) => Some(vlan),
                None => free_vlan(&port, &taken, u32::from_be_bytes(crate::random())),
            };
            if let Some(vlan) = vlan {
                let (units, ipv4, ipv6) = self.free_addresses().await?;
                return Ok(Place { port, vlan, ipv4, ipv6, units });
            }
        }
        if taken_vlan {
            return Err(Error::constraint(
                "vlan",
                "taken by another link of the dedicated connection; choose another one",
            ));
        }
        Err(Error::OutOfStock { resource: format!("links of {bandwidth_mbps} Mbit/s at {}", pop.name) })
    }

    /// The error that a partner is not at a PoP.
    async fn not_here(&mut self, partner: &Partner, elsewhere: &[PopId]) -> Result<Error> {
        let pops = self.pops().await?;
        let names = pops.into_iter().filter(|pop| elsewhere.contains(&pop.id)).map(|pop| pop.name);
        let names: Vec<String> = names.collect();
        let help = if names.is_empty() {
            format!("{} is not connected anywhere yet", partner.name)
        } else {
            format!("{} is not at this PoP; it is at: {}", partner.name, names.join(", "))
        };
        Ok(Error::constraint("partner_id", help))
    }

    async fn free_addresses(&mut self) -> Result<(LinkUnits, LinkAddresses, LinkAddresses)> {
        let stock = |family: &str| Error::OutOfStock { resource: format!("{family} interconnection subnets") };
        let ipv4 = self.free_ipv4_unit(IPV4_UNITS, METADATA_UNITS).await?.ok_or_else(|| stock("IPv4"))?;
        for _ in 0..DRAWS {
            let ipv6 = u64::from_be_bytes(crate::random()) >> 1;
            if !self.is_ipv6_unit_taken(ipv6).await? {
                let ula = self.controller.inner.service.ula;
                return Ok((LinkUnits { ipv4, ipv6 }, ipv4_pair(ipv4), ipv6_pair(ula, ipv6)));
            }
        }
        Err(stock("IPv6"))
    }

    /// What keeps an order from being placed; `None`: nothing.
    pub(crate) async fn obstacle(&mut self, link: &Link) -> Result<Option<String>> {
        let port = self.port(link.port_id).await?.ok_or_else(|| missing(super::PORT, link.port_id))?;
        if !port.enabled {
            return Ok(Some(format!("the port {} is not in service", port.name)));
        }
        if let Err(revoked) = node_of(&port, &self.nodes().await?) {
            return Ok(Some(format!("the node {} of the port {} was revoked", revoked.name, port.name)));
        }
        if let LinkHost::Dedicated { connection_id } = link.host {
            let connection = self.dedicated_connection(connection_id).await?;
            let status = connection.map_or(DedicatedConnectionStatus::Deleted, |connection| connection.status());
            if status != DedicatedConnectionStatus::Active {
                return Ok(Some(format!("the dedicated connection is {status}")));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use causeway_model::resource::VlanRange;
    use causeway_model::{PartnerId, PortId, Timestamp};

    use super::*;

    #[test]
    fn pairs_are_even_and_odd() {
        let first = ipv4_pair(0);
        assert_eq!(first.ours.to_string(), "169.254.0.0/31");
        assert_eq!(first.theirs.to_string(), "169.254.0.1/31");
        assert_eq!(ipv4_pair(49).ours.to_string(), "169.254.0.98/31");
        assert_eq!(ipv4_pair(METADATA_UNITS.0 - 1).theirs.to_string(), "169.254.168.255/31");
        assert_eq!(ipv4_pair(METADATA_UNITS.1).ours.to_string(), "169.254.170.0/31");
        assert_eq!(ipv4_pair(IPV4_UNITS - 1).theirs.to_string(), "169.254.255.255/31");
        let pair = ipv6_pair([0xfd, 1, 2, 3, 4, 5], u64::MAX >> 1);
        assert_eq!(pair.ours.to_string(), "fd01:203:405:1:ffff:ffff:ffff:fffe/127");
        assert_eq!(pair.theirs.to_string(), "fd01:203:405:1:ffff:ffff:ffff:ffff/127");
    }

    #[test]
    fn every_vlan_of_a_range_is_found_before_none_is() {
        let port = Port {
            id: PortId::random(),
            region: String::new(),
            name: String::new(),
            pop_id: PopId::random(),
            node_id: None,
            owner: PortOwner::Partner(PartnerId::random()),
            attachment: PortAttachment::Vlan { interface: "eth0".to_owned() },
            vlan_range: VlanRange { start: 1500, end: 1509 },
            capacity_mbps: 1,
            enabled: true,
            created_at: Timestamp(0),
            updated_at: Timestamp(0),
        };
        let mut taken = Vec::new();
        for random in [u32::MAX, 0, 7, 1 << 31, 9, 3, 3, 3, 12345, 8] {
            let vlan = free_vlan(&port, &taken, random).expect("one is free");
            assert!(port.vlan_range.contains(vlan) && !taken.contains(&vlan));
            taken.push(vlan);
            taken.sort_unstable();
        }
        assert_eq!(free_vlan(&port, &taken, 5), None);
    }
}
