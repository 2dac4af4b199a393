//! What IKE negotiated for ESP, made ready for the packet path.

use std::sync::Arc;

use causeway_crypto::Secret;
use causeway_datapath::{Inbound, Outbound};
use causeway_esp::{EspKeys, EspSuite, InboundSa, OutboundSa};
use causeway_ike::ChildSa;

use crate::error::SetupError;

/// Both directions of a Child SA.
pub(crate) struct Associations {
    /// To receive with.
    pub(crate) inbound: Inbound,
    /// To send with.
    pub(crate) outbound: Outbound,
    /// Their ciphers.
    pub(crate) suite: EspSuite,
}

impl Associations {
    /// Those of `child`. A refusal is about `item`.
    pub(crate) fn of(child: &ChildSa, item: &str) -> Result<Self, SetupError> {
        let suite = EspSuite::new(child.suite.0, child.suite.1);
        let inbound = InboundSa::new(child.inbound_spi, suite, &keys(suite, &child.inbound_keymat));
        let outbound = OutboundSa::new(child.outbound_spi, suite, &keys(suite, &child.outbound_keymat));
        let inbound = Arc::new(inbound.map_err(SetupError::at(item))?);
        let outbound = Arc::new(outbound.map_err(SetupError::at(item))?);
        Ok(Self {
            inbound: Inbound { spi: child.inbound_spi, local: child.local.ip(), sa: inbound },
            outbound: Outbound { sa: outbound, local: child.local, remote: child.remote },
            suite,
        })
    }
}

/// One direction's keys out of its key material: encryption, with the salt, before integrity (RFC 7296 §2.17). Material that is too
/// short gives keys that the association refuses.
fn keys(suite: EspSuite, keymat: &Secret) -> EspKeys {
    let material = keymat.as_ref();
    let at = suite.crypto().encryption_key_len().min(material.len());
    let (encryption, integrity) = material.split_at(at);
    EspKeys::new(Secret::from(encryption), Secret::from(integrity))
}
