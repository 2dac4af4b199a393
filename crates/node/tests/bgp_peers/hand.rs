//! A peer made of octets: it does what no daemon can be talked into.

use std::net::SocketAddr;
use std::time::Duration;

use causeway_bgp::Policy;
use causeway_model::{Family, ReasonCode};
use causeway_node::session::Guard;
use ipnet::IpNet;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpSocket;

use crate::site::{Site, both_ways, net};

/// So many that neither side's kernel can hold the UPDATEs for a peer that does not read.
const MANY: u32 = 200_000;

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(19 + body.len()).expect("short enough");
    [&[0xff; 16][..], &length.to_be_bytes(), &[kind], body].concat()
}

/// It is alive, says so, and takes nothing: the hold timer never runs out, the send-hold timer does (RFC 9687).
#[tokio::test]
#[ignore = "needs root and network namespaces"]
async fn a_peer_that_never_reads_is_given_up() {
    let site = Site::new("mute");
    let (local, peer, _) = site.links[0][1];
    let mut speaker = site.speaker_as(0, Family::Ipv6, Guard::default(), |config| {
        config.hold_time = 3;
        config.send_hold = 1;
    });
    let networks = (0..MANY).map(|n| net(&format!("fd10:{:x}:{:x}::/64", n >> 16, n & 0xffff)));
    let local_subnets: Vec<IpNet> = networks.collect();
    speaker.enable(Policy { local_subnets, ..both_ways(&[]) }).await;

    let socket = site
        .theirs
        .run(|| {
            let socket = TcpSocket::new_v6()?;
            socket.set_recv_buffer_size(4096)?;
            socket.bind(SocketAddr::new(peer.parse().expect("an address"), 0))?;
            Ok::<_, std::io::Error>(socket)
        })
        .expect("the namespace")
        .expect("a socket");
    let mut stream = socket.connect(SocketAddr::new(local.parse().expect("an address"), 179)).await.expect("connected");
    // AS 65001, hold time 3 s, IPv6 unicast, 4-octet AS numbers.
    let open = [4, 0xfd, 0xe9, 0, 3, 192, 168, 7, 1, 14, 2, 12, 1, 4, 0, 2, 0, 1, 65, 4, 0, 0, 0xfd, 0xe9];
    stream.write_all(&message(1, &open)).await.expect("sent");
    let speaks = tokio::spawn(async move {
        while stream.write_all(&message(4, &[])).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    });
    let update = speaker.until("up", |update| update.facts.up).await;
    assert_eq!(update.facts.announced, MANY);
    let update = speaker.until("given up", |update| !update.facts.up).await;
    let fault = update.facts.fault.expect("a fault");
    assert_eq!(fault.code, ReasonCode::BgpHoldTimerExpired, "{fault:?}");
    assert_eq!(fault.evidence["timer"], "send_hold", "{fault:?}");
    assert!(fault.evidence["unsent"].parse::<u64>().expect("octets") > 0);
    assert_eq!(update.announced, []);
    speaks.abort();
}
