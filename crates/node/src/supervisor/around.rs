//! What the node watches around its gateways: the underlay, and whether the lease lets traffic pass.

use std::net::IpAddr;
use std::time::Instant;

use super::Node;

impl Node {
    /// The underlay may come, go and change: gateways follow its MTU, and addresses that were lost are put back.
    pub(super) async fn watch_underlay(&mut self) {
        let had_trouble = self.underlay_trouble.take();
        let mtu = self.host.underlay_mtu();
        match self.host.watch_underlay().await {
            Ok(_) => self.restore_addresses().await,
            Err(error) => self.underlay_trouble = Some(error),
        }
        if self.underlay_trouble != had_trouble {
            match &self.underlay_trouble {
                Some(error) => tracing::error!(%error, "the underlay is not in order"),
                None => {
                    tracing::info!("the underlay is in order again");
                    // What was refused for it need not wait.
                    self.retry_at = Some(Instant::now());
                }
            }
            self.touch();
        }
        if self.host.underlay_mtu() != mtu {
            for id in self.gateways.keys() {
                self.push(*id);
            }
        }
    }

    /// Whether the kernel lets gateways' traffic pass. It does not ask the process: this is for reports, and for what need not go on meanwhile.
    pub(super) fn watch_lease(&mut self) {
        let lapsed = self.host.gate().lapsed();
        if lapsed.is_some() == self.lapsed.is_some() {
            return;
        }
        self.lapsed = lapsed;
        match lapsed {
            Some(since) => {
                tracing::warn!(%since, "no majority of the zone is heard: nothing is forwarded for gateways")
            }
            None => tracing::info!("gateways' traffic passes"),
        }
        for id in self.gateways.keys() {
            self.push(*id);
        }
        self.share();
        self.touch();
    }

    /// What was announced while nothing passed was heard by nobody.
    pub(super) async fn gate_opened(&mut self) {
        self.watch_lease();
        let bound = self.gateways.values().flat_map(|entry| entry.bound.iter().copied()).collect();
        self.host.announce(bound).await;
        for router in self.routers.values() {
            router.announce().await;
        }
    }

    async fn restore_addresses(&mut self) {
        let bound: Vec<IpAddr> = self.gateways.values().flat_map(|entry| entry.bound.iter().copied()).collect();
        let lost = match self.host.missing(bound).await {
            Ok(lost) => lost,
            Err(error) => {
                self.underlay_trouble = Some(error);
                return;
            }
        };
        let mut restored = Vec::new();
        for address in lost {
            match self.host.add_public_address(address).await {
                Ok(()) => restored.push(address),
                Err(error) => self.underlay_trouble = Some(error),
            }
        }
        if !restored.is_empty() {
            tracing::warn!(?restored, "public addresses had been taken from the underlay and are back");
            self.host.announce(restored).await;
        }
    }
}
