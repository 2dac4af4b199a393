//! Child SAs that the packet path refuses to install: a packet path on which every SPI that one of two gateways may choose is taken.

use std::net::IpAddr;
use std::sync::Arc;

use causeway_crypto::{Entropy, Secret, SystemEntropy};
use causeway_datapath::{Datapath, Inbound};
use causeway_esp::{EspKeys, EspSuite, InboundSa};
use causeway_model::desired::ConnectionDesired;
use causeway_model::suite::Encryption;
use causeway_model::{ConnectionId, ReasonCode};

use super::twins::{Controller, outside, play};

/// The SPIs that there are: the kernel's randomness decides the last octet only.
const SPIS: std::ops::Range<u32> = 0x0100_0000..0x0100_0040;

/// Chooses ESP SPIs from [`SPIS`], everything else as always.
struct FewSpis(SystemEntropy);

impl Entropy for FewSpis {
    fn fill(&mut self, out: &mut [u8]) {
        self.0.fill(out);
        if let [a, b, c, d] = out {
            [*a, *b, *c] = [1, 0, 0];
            *d &= 0x3f;
        }
    }
}

/// Takes all SPIs of an address, by a connection that has a tunnel.
fn occupy(datapath: &Datapath, local: IpAddr, by: ConnectionId) {
    let suite = EspSuite::new(Encryption::Aes256Gcm, None);
    for spi in SPIS {
        let keys = EspKeys::new(Secret::from(&[1; 36][..]), Secret::from(&[][..]));
        let sa = Arc::new(InboundSa::new(spi, suite, &keys).expect("an association"));
        datapath.install_inbound(by, Inbound { spi, local, sa }).expect("free");
    }
}

async fn scenario(it: &mut Controller, datapath: &Datapath, all: [ConnectionDesired; 2], code: ReasonCode) {
    let ids = all.each_ref().map(|connection| connection.id);
    // Who refuses first began the exchange, then answers it. The other one is where its SPIs are kept from it.
    for refusing in 0..2 {
        let (refused, other) = (ids[refusing], ids[1 - refusing]);
        it.edit(|desired| desired.gateways[refusing].connections.clear());
        it.wait("no connection", |it| it.tunnel(refused).is_none() && !it.is_up(other)).await;
        occupy(datapath, outside(refusing), other);
        it.edit(|desired| desired.gateways[refusing].connections = vec![all[refusing].clone()]);

        it.wait("the refusal", |it| it.is_down(refused, code)).await;
        let tunnel = it.tunnel(refused).expect("facts");
        let evidence = &tunnel.fault.as_ref().expect("why").evidence;
        assert!(evidence["item"].starts_with("Child SA 0x010000"), "{evidence:?}");
        assert!(evidence["error"].ends_with(&format!("is in use on {}", outside(refusing))), "{evidence:?}");
        assert!(tunnel.child.is_none());
        // Nobody is left to send into nothing.
        it.wait("the other one hears of it", |it| it.is_down(other, ReasonCode::PeerDeletedChild)).await;

        for spi in SPIS {
            datapath.remove_inbound(outside(refusing), spi);
        }
        it.wait("it heals by itself", |it| ids.iter().all(|id| it.is_up(*id))).await;
    }
}

#[test]
#[ignore = "needs root, /dev/net/tun and nft"]
fn a_child_sa_that_cannot_be_installed_is_no_black_hole_and_heals() {
    play(
        "cwun-m",
        || Box::new(FewSpis(SystemEntropy::new())),
        async |it, datapath, all| {
            scenario(it, datapath, all, ReasonCode::ChildInstallFailed).await;
        },
    );
}
