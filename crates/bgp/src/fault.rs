//! Causes of a session that is down, in the catalogue's words.

use std::time::Duration;

use causeway_model::{Fault, ReasonCode};

use crate::codec::{Notification, ProtocolError};
use crate::types::SessionConfig;

/// A cause that says more than "it does not answer" stands this long against the vaguer ones that follow from it: after a wrong AS
/// number many devices refuse or drop connections for a while.
pub(crate) const STANDS_FOR: Duration = Duration::from_secs(60);

/// Whether the cause names what is wrong, not just that nothing works.
pub(crate) const fn is_specific(code: ReasonCode) -> bool {
    matches!(
        code,
        ReasonCode::BgpAsnMismatch
            | ReasonCode::BgpNoCommonFamily
            | ReasonCode::BgpPeerNotification
            | ReasonCode::BgpRouterId
            | ReasonCode::BgpHoldTimeRefused
            | ReasonCode::BgpPeerShutdown
            | ReasonCode::BgpPeerRejected
            | ReasonCode::BgpPeerPrefixLimit
            | ReasonCode::BgpMessageError
            | ReasonCode::BgpAddressesSwapped
    )
}

/// The peer's OPEN names another AS number than the customer gateway's.
pub(crate) fn wrong_asn(expected: u32, theirs: u32) -> Fault {
    Fault::new(ReasonCode::BgpAsnMismatch)
        .values(expected.to_string(), theirs.to_string())
        .with("expected_peer_asn", expected.to_string())
        .with("peer_asn", theirs.to_string())
}

/// The peer's BGP identifier is 0.0.0.0.
pub(crate) fn no_router_id(ours: std::net::Ipv4Addr) -> Fault {
    Fault::new(ReasonCode::BgpRouterId).values(ours.to_string(), "0.0.0.0")
}

/// The peer's hold time is neither 0 nor at least 3 (RFC 4271 §6.2).
pub(crate) fn hold_time(ours: u16, theirs: u16) -> Fault {
    Fault::new(ReasonCode::BgpHoldTimeRefused)
        .values(format!("{ours} s"), format!("{theirs} s"))
        .with("detail", "a hold time is 0 or at least 3 s")
}

/// What a NOTIFICATION that is not about AS numbers or collisions is about.
const fn meaning(notification: &Notification) -> ReasonCode {
    match (notification.code, notification.subcode) {
        (Notification::OPEN_ERROR, Notification::BAD_IDENTIFIER) => ReasonCode::BgpRouterId,
        (Notification::OPEN_ERROR, Notification::BAD_HOLD_TIME) => ReasonCode::BgpHoldTimeRefused,
        (Notification::OPEN_ERROR, Notification::UNSUPPORTED_CAPABILITY) => ReasonCode::BgpNoCommonFamily,
        (Notification::HOLD_TIMER, _) => ReasonCode::BgpHoldTimerExpired,
        (Notification::CEASE, Notification::TOO_MANY_PREFIXES) => ReasonCode::BgpPeerPrefixLimit,
        // Administrative shutdown and reset.
        (Notification::CEASE, Notification::SHUTDOWN | 4) => ReasonCode::BgpPeerShutdown,
        // Peer deconfigured, connection rejected, out of resources.
        (Notification::CEASE, 3 | Notification::REJECTED | 8) => ReasonCode::BgpPeerRejected,
        _ => ReasonCode::BgpPeerNotification,
    }
}

/// What we offered of that which the peer refused.
fn offered(code: ReasonCode, config: &SessionConfig) -> Option<String> {
    match code {
        ReasonCode::BgpHoldTimeRefused => Some(format!("{} s", config.hold_time)),
        ReasonCode::BgpNoCommonFamily => Some(config.family.to_string()),
        ReasonCode::BgpRouterId => Some(config.router_id.to_string()),
        _ => None,
    }
}

/// The peer sent `notification`. `peer_asn`: what its OPEN said, if it came.
pub(crate) fn notified(notification: &Notification, config: &SessionConfig, peer_asn: Option<u32>) -> Fault {
    let (local_asn, expected) = (config.local_asn, config.peer_asn);
    let fault = match (notification.code, notification.subcode) {
        (Notification::OPEN_ERROR, Notification::BAD_PEER_AS) => match peer_asn {
            Some(theirs) if theirs != expected => wrong_asn(expected, theirs),
            // It is our number that the peer does not expect.
            _ => {
                let mut fault = Fault::new(ReasonCode::BgpAsnMismatch).with("rejected", "our AS number");
                fault.ours = Some(local_asn.to_string());
                fault.with("local_asn", local_asn.to_string())
            }
        }
        .with("rejected_by", "peer"),
        (Notification::CEASE, Notification::COLLISION) => Fault::new(ReasonCode::BgpCollision),
        _ => {
            let mut fault = Fault::new(meaning(notification)).with("rejected_by", "peer");
            fault.ours = offered(fault.code, config);
            fault.theirs = Some(match &notification.text {
                Some(text) if !text.is_empty() => format!("{}: {text}", notification.name()),
                _ => notification.name(),
            });
            fault
        }
    };
    with_notification(fault, notification)
}

/// We closed the session with `error`.
pub(crate) fn protocol(error: &ProtocolError) -> Fault {
    with_notification(Fault::new(ReasonCode::BgpMessageError).with("detail", &error.detail), &error.notification)
}

fn with_notification(fault: Fault, notification: &Notification) -> Fault {
    let fault = fault
        .with("code", notification.code.to_string())
        .with("subcode", notification.subcode.to_string())
        .with("notification", format!("{} {}", notification.numbers(), notification.name()));
    match &notification.text {
        Some(text) => fault.with("text", text),
        None => fault,
    }
}
