//! Signatures (RFC 2385) and hop limits (RFC 5082).

use causeway_linux::tcp;
use causeway_model::{Family, Psk, ReasonCode};
use causeway_node::session::Guard;

use crate::daemons::{Device, Setup};
use crate::site::{Site, everything_in};

crate::with_both! {
    signatures_and_hop_limits "guard";
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

/// Whether the kernel can sign; says so if it cannot, as nothing can be tested then.
#[expect(clippy::print_stdout, reason = "a test that cannot run says so")]
fn kernel_signs(test: &str) -> bool {
    match tcp::can_sign() {
        Ok(()) => true,
        Err(error) => {
            println!("{test}: SKIPPED, this kernel cannot sign TCP segments: {error}");
            false
        }
    }
}

async fn signatures_and_hop_limits<D: Device>(name: &str) {
    if !kernel_signs(name) {
        return;
    }
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
                    assert_eq!(update.facts.flaps, 0, "{what}");
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
