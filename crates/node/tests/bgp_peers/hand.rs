//! A peer made of octets: it does what no daemon can be talked into.

use std::net::SocketAddr;
use std::time::Duration;

use causeway_bgp::Policy;
use causeway_model::{Family, ReasonCode};
use causeway_node::session::Guard;
use ipnet::IpNet;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpSocket;
use tokio::task::AbortHandle;

use crate::site::{Site, Speaker, both_ways, net};

/// So many that neither side's kernel can hold the UPDATEs for a peer that does not read.
const MANY: u32 = 200_000;

pub(crate) fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(19 + body.len()).expect("short enough");
    [&[0xff; 16][..], &length.to_be_bytes(), &[kind], body].concat()
}

fn many() -> Vec<IpNet> {
    (0..MANY).map(|n| net(&format!("fd10:{:x}:{:x}::/64", n >> 16, n & 0xffff))).collect()
}

/// Ends the task when dropped.
struct Mute(AbortHandle);

impl Drop for Mute {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A session that is up with a peer that says that it is alive and reads nothing. See [`causeway_bgp::SessionConfig`] for both times.
async fn mute(name: &str, hold_time: u8, send_hold: u16) -> (Site, Speaker, Mute) {
    let site = Site::new(name);
    let (local, peer, _) = site.links[0][1];
    let mut speaker = site.speaker_as(0, Family::Ipv6, Guard::default(), |config| {
        config.hold_time = hold_time.into();
        config.send_hold = send_hold;
    });
    speaker.enable(Policy { local_subnets: many(), ..both_ways(&[]) }).await;

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
    // AS 65001, the hold time, IPv6 unicast, 4-octet AS numbers.
    let open = [4, 0xfd, 0xe9, 0, hold_time, 192, 168, 7, 1, 14, 2, 12, 1, 4, 0, 2, 0, 1, 65, 4, 0, 0, 0xfd, 0xe9];
    stream.write_all(&message(1, &open)).await.expect("sent");
    let speaks = tokio::spawn(async move {
        while stream.write_all(&message(4, &[])).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    });
    let update = speaker.until("up", |update| update.facts.up).await;
    assert_eq!(update.facts.announced, MANY);
    let abort = speaks.abort_handle();
    (site, speaker, Mute(abort))
}

/// It is alive, says so, and takes nothing: the hold timer never runs out, the send-hold timer does (RFC 9687).
#[tokio::test]
#[ignore = "needs root and network namespaces"]
async fn a_peer_that_never_reads_is_given_up() {
    let (_site, mut speaker, _mute) = mute("mute", 3, 1).await;
    let update = speaker.until("given up", |update| !update.facts.up).await;
    let fault = update.facts.fault.expect("a fault");
    assert_eq!(fault.code, ReasonCode::BgpHoldTimerExpired, "{fault:?}");
    assert_eq!(fault.evidence["timer"], "send_hold", "{fault:?}");
    assert!(fault.evidence["unsent"].parse::<u64>().expect("octets") > 0);
    assert_eq!(update.announced, []);
}

/// Edits pile up faster than a peer takes them, long before its time is over.
#[tokio::test]
#[ignore = "needs root and network namespaces"]
async fn a_peer_that_is_told_more_than_it_takes_is_given_up_for_that() {
    let (_site, mut speaker, _mute) = mute("full", 240, 600).await;
    let all = many();
    // Each edit is most of two megabytes.
    for round in 0..100 {
        let some = if round % 2 == 0 { Vec::new() } else { all.clone() };
        speaker.set_policy(Policy { local_subnets: some, ..both_ways(&[]) }).await;
    }
    let update = speaker.until("given up", |update| !update.facts.up && update.facts.flaps == 1).await;
    let fault = update.facts.fault.expect("a fault");
    assert_eq!(fault.code, ReasonCode::BgpConnectionLost, "{fault:?}");
    assert!(fault.evidence["cause"].contains("does not read fast enough"), "{fault:?}");
    assert!(fault.evidence["unsent"].parse::<u64>().expect("octets") > 32 << 20, "{fault:?}");
}
