//! What carries an InterLink: a device of ours on top of an interface, or a VXLAN, in the link's namespace. Its carrier is to the link what a
//! Child SA is to a connection.

use std::future::pending;

use causeway_linux::{Link, LinkWatch, sysctl};
use causeway_model::desired::AttachmentDesired;
use causeway_model::{ConnectionId, Timestamp};

use super::Gateway;
use super::connection::{Connection, tun_name};
use crate::clock::wall_clock;
use crate::error::SetupError;

/// The carrier of a link, as it was seen last.
#[derive(Clone, Copy, Debug)]
pub(super) struct Carrier {
    /// Whether the device is there and has a carrier.
    pub(super) up: bool,
    /// Since when.
    pub(super) since: Timestamp,
    /// Since when nothing crosses the VPC's router for want of a lease: the link's sessions end, so that its partner takes another way.
    pub(super) lapsed: Option<Timestamp>,
}

impl Connection {
    /// Whether something carries it: a Child SA, or a link's interface.
    pub(super) const fn is_carried(&self) -> bool {
        match &self.carrier {
            Some(carrier) => carrier.up && carrier.lapsed.is_none(),
            None => self.sending.is_some(),
        }
    }
}

/// Waits for news of the namespace's links, for ever if nobody watches them.
pub(super) async fn news(watch: &mut Option<LinkWatch>) -> Option<()> {
    match watch {
        Some(watch) => watch.changed().await,
        None => pending().await,
    }
}

impl Gateway {
    /// Makes the link's device if it is not there: at first, and when what it stands on went and came back. Answers what it is now.
    pub(super) async fn ensure_carrier(
        &self,
        id: ConnectionId,
        attachment: &AttachmentDesired,
    ) -> Result<Link, SetupError> {
        let name = tun_name(id);
        let item = format!("device {name} of the link");
        let step = || SetupError::at::<causeway_linux::Error>(&item);
        if self.netlink.find_link(&name).await.map_err(step())?.is_none() {
            self.around.host.make_carrier(&name, attachment, &self.namespace).await?;
            let settings = sysctl::forwarding_link(&name).map_err(step())?;
            sysctl::apply(&self.namespace, &settings).map_err(step())?;
        }
        let link = self.netlink.link(&name).await.map_err(step())?;
        if !link.up {
            self.netlink.set_up(link.index, true).await.map_err(step())?;
        }
        self.netlink.link(&name).await.map_err(step())
    }

    /// Brings a link's device to what it shall be.
    pub(super) async fn apply_carrier(&mut self, id: ConnectionId) -> Result<(), SetupError> {
        let Some(attachment) = self.desired.attachment.clone() else { return Ok(()) };
        let link = self.ensure_carrier(id, &attachment).await?;
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.tun_index = link.index;
            connection.mtu = link.mtu;
        }
        self.look_at_carriers().await;
        Ok(())
    }

    /// Takes over since when nothing is forwarded for want of a lease. A tunnel finds that out by itself.
    pub(super) async fn follow_lease(&mut self, lapsed: Option<Timestamp>) {
        if std::mem::replace(&mut self.lapsed, lapsed) == lapsed {
            return;
        }
        let carriers = self.connections.iter_mut().filter_map(|(id, known)| Some((*id, known.carrier.as_mut()?)));
        let followers: Vec<ConnectionId> = carriers
            .map(|(id, carrier)| {
                carrier.lapsed = lapsed;
                id
            })
            .collect();
        for id in followers {
            self.follow_tunnel().await;
            self.enable_sessions(id).await;
        }
        self.touch();
    }

    /// News of the namespace's links, or the end of the watch.
    pub(super) async fn links_changed(&mut self, news: Option<()>) {
        if news.is_none() {
            // The kernel had more to say than there was room for. What was missed is seen now, and the clock looks in any case.
            self.links = LinkWatch::open(&self.namespace).ok();
        }
        self.look_at_carriers().await;
    }

    /// The sessions and routes of a link follow its carrier at once, without waiting for any hold timer.
    pub(super) async fn look_at_carriers(&mut self) {
        let ids: Vec<ConnectionId> =
            self.connections.iter().filter(|(_, known)| known.carrier.is_some()).map(|(id, _)| *id).collect();
        for id in ids {
            // What cannot be seen is taken to be as it was.
            let Ok(link) = self.netlink.find_link(&tun_name(id)).await else { continue };
            let Some(connection) = self.connections.get_mut(&id) else { continue };
            let ours = link.filter(|link| link.index == connection.tun_index);
            let up = ours.as_ref().is_some_and(|link| link.up && link.carrier);
            let mtu = ours.as_ref().map_or(connection.mtu, |link| link.mtu);
            let resized = std::mem::replace(&mut connection.mtu, mtu) != mtu;
            let Some(carrier) = connection.carrier.as_mut().filter(|carrier| carrier.up != up) else {
                if resized || ours.is_none() {
                    self.retry_soon();
                }
                continue;
            };
            (carrier.up, carrier.since) = (up, wall_clock());
            tracing::info!(link = %id, up, "the carrier of a link changed");
            self.follow_tunnel().await;
            self.enable_sessions(id).await;
            if resized || ours.is_none() {
                self.retry_soon();
            }
        }
    }
}
