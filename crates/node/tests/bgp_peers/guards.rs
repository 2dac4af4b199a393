//! Signatures (RFC 2385) and hop limits (RFC 5082).

use std::io::{Read as _, Write as _};
use std::net::IpAddr;

use causeway_linux::tcp;
use causeway_model::{Family, Fault, Psk, ReasonCode};
use causeway_node::session::{self, Command as Order, Guard};
use tokio::net::TcpListener;

use crate::daemons::{Device, Setup};
use crate::hand::message;
use crate::site::{FIRST, SECOND, Site, everything_in, run};

crate::with_both! {
    signatures_and_hop_limits "guard";
    the_password_of_one_session_is_not_the_cause_of_another "cause";
}

/// What one end asks of the other.
#[derive(Clone, Copy)]
struct Ask {
    md5: Option<&'static str>,
    gtsm: bool,
}

impl Ask {
    const NOTHING: Self = Self { md5: None, gtsm: false };

    fn guard(self) -> Guard {
        Guard { md5: self.md5.map(|key| Psk::new(key.as_bytes().to_vec())), gtsm: self.gtsm }
    }
}

/// Ours, the device's, and part of the cause that keeps the session down; `None`: it comes up.
const CASES: [(Ask, Ask, Option<&str>); 7] = [
    (Ask { md5: Some("s3cret"), gtsm: false }, Ask { md5: Some("s3cret"), gtsm: false }, None),
    (Ask { md5: None, gtsm: true }, Ask { md5: None, gtsm: true }, None),
    (Ask { md5: Some("s3cret"), gtsm: true }, Ask { md5: Some("s3cret"), gtsm: true }, None),
    (Ask { md5: Some("s3cret"), gtsm: false }, Ask { md5: Some("other"), gtsm: false }, Some("another MD5 password")),
    (Ask { md5: Some("s3cret"), gtsm: false }, Ask::NOTHING, Some("does not sign")),
    (Ask::NOTHING, Ask { md5: Some("s3cret"), gtsm: false }, Some("has no `bgp.md5_secret_id`")),
    (Ask { md5: None, gtsm: true }, Ask::NOTHING, Some("hop limit 255")),
];

/// The kernel has to sign: where it cannot, nothing of this is tested, and a test that ran nothing must not pass.
fn require_signatures() {
    if let Err(error) = tcp::can_sign() {
        panic!("this kernel cannot sign TCP segments ({error}): run the tests on one with CONFIG_TCP_MD5SIG");
    }
}

async fn signatures_and_hop_limits<D: Device>(name: &str) {
    require_signatures();
    let site = Site::new(name);
    for (number, (ours, theirs, cause)) in CASES.into_iter().enumerate() {
        let _device = D::start(&site, &Setup { md5: theirs.md5, gtsm: theirs.gtsm, ..Setup::default() });
        let mut speakers = [site.speaker(Family::Ipv4, ours.guard()), site.speaker(Family::Ipv6, ours.guard())];
        for speaker in &mut speakers {
            speaker.enable(everything_in()).await;
        }
        for speaker in &mut speakers {
            let what = format!("{name}, case {number}");
            match cause {
                None => {
                    let update = speaker.until(&what, |update| update.facts.up && update.accepted().count() == 1).await;
                    assert!(
                        update.facts.flaps <= u32::from(D::LATE_COLLISION_IS_A_RESTART),
                        "{what}: {:?}",
                        update.facts
                    );
                    assert!(
                        update.facts.updates_in >= 1 && update.facts.updates_out >= 1,
                        "{what}: {:?}",
                        update.facts
                    );
                }
                Some(cause) => {
                    let update = speaker
                        .until(&what, |update| {
                            let fault = update.facts.fault.as_ref();
                            fault.and_then(|fault| fault.evidence.get("cause")).is_some_and(|text| text.contains(cause))
                        })
                        .await;
                    let fault = update.facts.fault.expect("the fault just seen");
                    assert!(!update.facts.up, "{what}");
                    // In which state the silence is met depends on who connects first.
                    let silence = [
                        ReasonCode::BgpTimeout,
                        ReasonCode::BgpConnecting,
                        ReasonCode::BgpConnectionLost,
                        ReasonCode::BgpHoldTimerExpired,
                    ];
                    assert!(silence.contains(&fault.code), "{what}: {fault:?}");
                }
            }
        }
        for speaker in speakers {
            speaker.end("the case is over").await;
        }
    }
}

/// Both sessions are signed and down. The device has another password on the first link, and nothing comes by the second one.
async fn the_password_of_one_session_is_not_the_cause_of_another<D: Device>(name: &str) {
    require_signatures();
    let mut site = Site::with(name, &[FIRST, SECOND]);
    let theirs = format!("--net={}", site.theirs.path().display());
    let rules = "add table inet cwnb; add chain inet cwnb in { type filter hook input priority 0; }; add rule inet cwnb in iifname e1 drop";
    run(&["nsenter", &theirs, "nft", rules]);
    let second = site.links.pop().expect("two links");
    let _device = D::start(&site, &Setup { md5: Some("other"), ..Setup::default() });
    site.links.push(second);
    let guard = Guard { md5: Some(Psk::new(b"s3cret".to_vec())), gtsm: false };
    let mut wrong = site.speaker_as(0, Family::Ipv4, guard.clone(), |_| {});
    let mut silent = site.speaker_as(1, Family::Ipv4, guard, |_| {});
    wrong.enable(everything_in()).await;
    silent.enable(everything_in()).await;
    let named = |fault: &Fault| fault.evidence.get("cause").is_some_and(|text| text.contains("another MD5 password"));
    for _ in 0..3 {
        wrong.fails("the password is named", named).await;
        // An attempt of the other one has ended meanwhile, and another one has.
        let update = silent.fails("nothing answers", |fault| fault.code == ReasonCode::BgpTimeout).await;
        let fault = update.facts.fault.expect("the fault just seen");
        assert!(!named(&fault) && !fault.evidence.keys().any(|key| key.starts_with("dropped_")), "{fault:?}");
        for speaker in [&mut wrong, &mut silent] {
            speaker.order(Order::Enable(false)).await;
            speaker.enable(everything_in()).await;
        }
    }
}

/// What connected while the listener asked for nothing yet is asked by the session that gets it.
#[tokio::test]
#[ignore = "needs root and network namespaces"]
async fn a_connection_from_before_the_password_is_held_to_it() {
    require_signatures();
    let site = Site::new("race");
    let (local, peer, _) = site.links[0][0];
    let (local, peer): (IpAddr, IpAddr) = (local.parse().expect("an address"), peer.parse().expect("an address"));
    let (listener, accepting) = site
        .ours
        .run(|| session::listen(local, &[(peer, &Guard::default())]))
        .expect("the namespace")
        .expect("a listener");
    let accepting = TcpListener::from_std(accepting).expect("a listener");
    let mut stream = site
        .theirs
        .run(|| std::net::TcpStream::connect((local, 179)))
        .expect("the namespace")
        .expect("connected before there is a password");
    let (accepted, _) = accepting.accept().await.expect("accepted");
    drop((listener, accepting));
    let guard = Guard { md5: Some(Psk::new(b"s3cret".to_vec())), gtsm: false };
    let mut speaker = site.speaker(Family::Ipv4, guard);
    speaker.enable(everything_in()).await;
    speaker.order(Order::Incoming(accepted)).await;
    // It has the connection once it has answered to what came after it; the first answer may be an older one.
    for _ in 0..2 {
        speaker.snapshot().await;
    }
    // A peer that would bring the session up if it were heard: AS 65001, hold time 90 s, IPv4 unicast, 4-octet AS numbers.
    let open = [4, 0xfd, 0xe9, 0, 90, 192, 168, 7, 1, 14, 2, 12, 1, 4, 0, 1, 0, 1, 65, 4, 0, 0, 0xfd, 0xe9];
    stream.write_all(&[message(1, &open), message(4, &[])].concat()).expect("sent");
    let unsigned = |fault: &Fault| fault.evidence.get("cause").is_some_and(|text| text.contains("does not sign"));
    let update = speaker.fails("what it says unsigned is dropped", unsigned).await;
    assert!(!update.facts.up && update.facts.flaps == 0, "{:?}", update.facts);
    stream.set_nonblocking(true).expect("an option");
    let heard = stream.read(&mut [0; 64]);
    assert!(heard.is_err(), "it hears nothing that is not signed with its key: {heard:?}");
}
