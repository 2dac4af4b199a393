//! The node's own namespace: the underlay with the public addresses, and the bridges of Private Networks.

use std::net::IpAddr;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use causeway_linux::{AddressOptions, Namespace, Netlink, sysctl};
use causeway_model::Family;
use ipnet::IpNet;

use crate::error::SetupError;
use crate::ownership::{Ledger, Thing};

/// The bridge that the node makes when no underlay interface is named.
const OWN_UNDERLAY: &str = "cw-underlay";
/// A public address is announced at once and again after these delays: frames get lost, and a neighbour may be starting.
const ANNOUNCE_AGAIN: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(2)];

/// What is shared by everything that the node runs.
pub(crate) struct Host {
    /// Netlink in the node's own namespace.
    pub(crate) netlink: Netlink,
    /// The underlay interface.
    pub(crate) underlay: String,
    /// Its MTU, octets.
    pub(crate) underlay_mtu: u32,
    underlay_index: u32,
    namespace: Namespace,
    ledger: Mutex<Ledger>,
}

impl Host {
    /// Opens the host, and removes what a killed predecessor left behind: namespaces and public addresses. Bridges stay, since hosts
    /// may be attached to them; those that are not wanted any more go with the first configuration.
    pub(crate) async fn open(state_dir: &Path, underlay: &str) -> Result<Self, SetupError> {
        let step = |item: &str| SetupError::at::<causeway_linux::Error>(item);
        let netlink = Netlink::current().map_err(step("netlink"))?;
        let namespace = Namespace::current().map_err(step("the node's namespace"))?;
        let mut ledger = Ledger::open(state_dir).map_err(SetupError::at("the list of things made in the kernel"))?;
        sweep(&netlink, &mut ledger).await?;
        let name = if underlay.is_empty() { OWN_UNDERLAY } else { underlay };
        if underlay.is_empty() && netlink.find_link(name).await.map_err(step("underlay"))?.is_none() {
            ledger.add(Thing::Bridge(name.to_owned())).map_err(SetupError::at("underlay"))?;
            netlink.create_bridge(name).await.map_err(step("underlay"))?;
        }
        let item = format!("underlay interface {name}");
        let link = netlink.link(name).await.map_err(step(&item))?;
        netlink.set_up(link.index, true).await.map_err(step(&item))?;
        Ok(Self {
            netlink,
            underlay: name.to_owned(),
            underlay_mtu: link.mtu,
            underlay_index: link.index,
            namespace,
            ledger: Mutex::new(ledger),
        })
    }

    /// Puts `thing` on the list of what a later start may have to remove.
    pub(crate) fn record(&self, thing: Thing) -> std::io::Result<()> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner).add(thing)
    }

    /// Takes `thing` off that list. A failure to write is logged: the list then names something that is gone, which does no harm.
    pub(crate) fn forget(&self, thing: &Thing) {
        if let Err(error) = self.ledger.lock().unwrap_or_else(PoisonError::into_inner).remove(thing) {
            tracing::warn!(%error, "cannot write the list of things made in the kernel");
        }
    }

    /// Makes a namespace that forwards, on the list.
    pub(crate) fn make_namespace(&self, name: &str) -> Result<Namespace, SetupError> {
        let item = format!("namespace {name}");
        self.record(Thing::Namespace(name.to_owned())).map_err(SetupError::at(&item))?;
        let namespace = Namespace::create(name).map_err(SetupError::at(&item))?;
        sysctl::apply(&namespace, &sysctl::forwarding()).map_err(SetupError::at(&item))?;
        Ok(namespace)
    }

    /// Removes a namespace and takes it off the list.
    pub(crate) fn remove_namespace(&self, name: &str) {
        match Namespace::delete(name) {
            Ok(()) => self.forget(&Thing::Namespace(name.to_owned())),
            Err(error) => {
                tracing::warn!(%error, namespace = name, "cannot remove a namespace; the next start tries again")
            }
        }
    }

    /// Puts a public address on the underlay.
    pub(crate) async fn add_public_address(&self, address: IpAddr) -> Result<(), SetupError> {
        let item = format!("underlay address {address}");
        let net = host_net(address);
        self.record(Thing::Address { interface: self.underlay.clone(), address: net })
            .map_err(SetupError::at(&item))?;
        let options = AddressOptions { no_prefix_route: true, no_dad: true };
        self.netlink.ensure_address(self.underlay_index, net, options).await.map_err(SetupError::at(&item))
    }

    /// Takes a public address away.
    pub(crate) async fn remove_public_address(&self, address: IpAddr) {
        let net = host_net(address);
        match self.netlink.remove_address(self.underlay_index, net).await {
            Ok(()) => self.forget(&Thing::Address { interface: self.underlay.clone(), address: net }),
            Err(error) => tracing::warn!(%error, "cannot remove a public address; the next start tries again"),
        }
    }

    /// Tells the underlay where `addresses` are, now and twice more.
    pub(crate) async fn announce(&self, addresses: Vec<IpAddr>) {
        let link = match self.netlink.link(&self.underlay).await {
            Ok(link) => link,
            Err(error) => {
                tracing::warn!(%error, "cannot announce public addresses");
                return;
            }
        };
        let namespace = self.namespace.clone();
        tokio::spawn(async move {
            for delay in [Duration::ZERO].into_iter().chain(ANNOUNCE_AGAIN) {
                tokio::time::sleep(delay).await;
                if let Err(error) = causeway_linux::announce(&namespace, &link, &addresses) {
                    tracing::debug!(%error, "cannot announce public addresses");
                }
            }
        });
    }

    /// Makes the bridge of a Private Network if it is not there.
    pub(crate) async fn ensure_bridge(&self, name: &str) -> Result<u32, SetupError> {
        let item = format!("bridge {name}");
        let step = || SetupError::at::<causeway_linux::Error>(&item);
        if self.netlink.find_link(name).await.map_err(step())?.is_none() {
            self.record(Thing::Bridge(name.to_owned())).map_err(SetupError::at(&item))?;
            self.netlink.create_bridge(name).await.map_err(step())?;
            sysctl::layer_two_only(name).and_then(|settings| sysctl::apply_here(&settings)).map_err(step())?;
        }
        let index = self.netlink.index(name).await.map_err(step())?;
        self.netlink.set_up(index, true).await.map_err(step())?;
        Ok(index)
    }

    /// Removes the bridges on the list that are not among `wanted`.
    pub(crate) async fn keep_bridges(&self, wanted: &[String]) {
        let surplus: Vec<Thing> = {
            let ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
            ledger
                .things()
                .filter(|thing| match thing {
                    Thing::Bridge(name) => name != &self.underlay && !wanted.contains(name),
                    Thing::Namespace(_) | Thing::Address { .. } => false,
                })
                .cloned()
                .collect()
        };
        for thing in surplus {
            let Thing::Bridge(name) = &thing else { continue };
            match self.netlink.delete_link_by_name(name).await {
                Ok(_) => self.forget(&thing),
                Err(error) => tracing::warn!(%error, bridge = %name, "cannot remove a bridge"),
            }
        }
    }

    /// Removes everything on the list that is still there: the orderly end.
    pub(crate) async fn close(&self) {
        self.keep_bridges(&[]).await;
        if self.underlay == OWN_UNDERLAY && self.netlink.delete_link_by_name(OWN_UNDERLAY).await.is_ok() {
            self.forget(&Thing::Bridge(OWN_UNDERLAY.to_owned()));
        }
    }
}

/// Removes namespaces and addresses of a predecessor.
async fn sweep(netlink: &Netlink, ledger: &mut Ledger) -> Result<(), SetupError> {
    let left: Vec<Thing> = ledger.things().cloned().collect();
    for thing in left {
        match &thing {
            Thing::Namespace(name) => {
                Namespace::delete(name).map_err(SetupError::at(&format!("namespace {name} of an earlier run")))?;
            }
            Thing::Address { interface, address } => {
                if let Ok(Some(link)) = netlink.find_link(interface).await {
                    netlink
                        .remove_address(link.index, *address)
                        .await
                        .map_err(SetupError::at(&format!("address {address} of an earlier run")))?;
                }
            }
            Thing::Bridge(_) => continue,
        }
        tracing::info!(?thing, "removed what an earlier run left behind");
        ledger.remove(&thing).map_err(SetupError::at("the list of things made in the kernel"))?;
    }
    Ok(())
}

/// `address` as a /32 or /128.
pub(crate) fn host_net(address: IpAddr) -> IpNet {
    IpNet::new_assert(address, Family::of(address).max_prefix_len())
}
