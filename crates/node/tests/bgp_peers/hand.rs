//! A peer made of octets: it does what no daemon can be talked into.

use std::net::SocketAddr;
use std::time::Duration;

use causeway_bgp::Policy;
use causeway_model::{Family, ReasonCode};
use causeway_node::session::Guard;
use ipnet::IpNet;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
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

/// An OPEN with IPv6 unicast and 4-octet AS numbers.
fn open(asn: u16, hold_time: u8) -> Vec<u8> {
    let [high, low] = asn.to_be_bytes();
    message(1, &[4, high, low, 0, hold_time, 192, 168, 7, 1, 14, 2, 12, 1, 4, 0, 2, 0, 1, 65, 4, 0, 0, high, low])
}

/// From the device's inside address to our port.
async fn connect(site: &Site, local: &str, peer: &str, receive: Option<u32>) -> TcpStream {
    let socket = site
        .theirs
        .run(|| {
            let socket = TcpSocket::new_v6()?;
            if let Some(size) = receive {
                socket.set_recv_buffer_size(size)?;
            }
            socket.bind(SocketAddr::new(peer.parse().expect("an address"), 0))?;
            Ok::<_, std::io::Error>(socket)
        })
        .expect("the namespace")
        .expect("a socket");
    socket.connect(SocketAddr::new(local.parse().expect("an address"), 179)).await.expect("connected")
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

    let mut stream = connect(&site, local, peer, Some(4096)).await;
    stream.write_all(&open(65001, hold_time)).await.expect("sent");
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

/// A session that is up with a peer that opened the connection itself and has nothing to say.
async fn spoken(name: &str) -> (Site, Speaker, TcpStream) {
    let site = Site::new(name);
    let (local, peer, _) = site.links[0][1];
    let mut speaker = site.speaker_as(0, Family::Ipv6, Guard::default(), |config| config.hold_time = 0);
    speaker.enable(both_ways(&[])).await;
    let mut device = connect(&site, local, peer, None).await;
    device.write_all(&[open(65001, 0), message(4, &[])].concat()).await.expect("sent");
    speaker.until("up", |update| update.facts.up).await;
    (site, speaker, device)
}

/// A monitor, a port scan or a host behind the device connects from its inside address: RFC 4271 §6.8 lets none of them end the session.
#[tokio::test]
#[ignore = "needs root and network namespaces"]
async fn strangers_on_the_port_leave_the_session_alone() {
    let (site, mut speaker, mut device) = spoken("strange").await;
    let (local, peer, _) = site.links[0][1];

    let silent = connect(&site, local, peer, None).await;
    let says = [b"GET / HTTP/1.1\r\n\r\n\r\n".to_vec(), open(65002, 0), message(4, &[]), open(65001, 0)];
    for words in says {
        let mut stranger = connect(&site, local, peer, None).await;
        stranger.write_all(&words).await.expect("sent");
        let closed = async {
            let mut answer = Vec::new();
            // A reset is as good as an end.
            let _ = stranger.read_to_end(&mut answer).await;
            answer
        };
        let answer = tokio::select! {
            answer = closed => answer,
            _ = speaker.until("never", |_| false) => unreachable!("it waits for nothing"),
        };
        assert_eq!(answer, Vec::<u8>::new(), "nothing is said to {words:?}");
        let facts = speaker.snapshot().await.facts;
        assert_eq!((facts.up, facts.flaps), (true, 0), "{words:?}");
    }
    drop(silent);
    // The peer itself was asked each time whether it knows the session, and the session goes on: an UPDATE arrives.
    // ORIGIN, AS_PATH, MP_REACH_NLRI.
    let attributes = [0x40, 1, 1, 0, 0x40, 2, 6, 2, 1, 0, 0, 0xfd, 0xe9, 0x80, 14, 24, 0, 2, 1, 16];
    let hop: std::net::Ipv6Addr = peer.parse().expect("an address");
    let attributes = [&attributes[..], &hop.octets(), &[0, 16, 0x20, 0x01]].concat();
    let length = u16::try_from(attributes.len()).expect("short").to_be_bytes();
    let update = [&[0, 0][..], &length, &attributes].concat();
    device.write_all(&message(2, &update)).await.expect("sent");
    speaker.accepts("a route", &["2001::/16"]).await;
}

/// It has written more by the time it looks at what it was told, and TCP would answer that with a reset if our socket were gone.
#[tokio::test]
#[ignore = "needs root and network namespaces"]
async fn a_peer_that_still_writes_hears_our_last_word() {
    let (_site, mut speaker, mut device) = spoken("words").await;

    // There is no message of this type.
    device.write_all(&message(77, &[])).await.expect("sent");
    speaker.until("ended", |update| !update.facts.up).await;
    for _ in 0..3 {
        device.write_all(&message(4, &[])).await.expect("sent");
        // A reset would be back by then.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut heard = Vec::new();
    device.read_to_end(&mut heard).await.expect("read to the end");
    assert!(heard.ends_with(&message(3, &[1, 3, 77])), "{heard:?}");
}
