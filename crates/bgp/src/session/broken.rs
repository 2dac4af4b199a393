//! Announcements that came with broken attributes (RFC 7606): what is missing because of them, for whoever looks for it.

use std::collections::BTreeSet;

use causeway_model::{Fault, ReasonCode};
use ipnet::IpNet;

use crate::codec::Update;

/// Prefixes remembered at most.
const MOST: usize = 100;
/// Prefixes named in the evidence at most.
const NAMED: usize = 5;

/// The prefixes whose last announcement was taken for a withdrawal.
#[derive(Debug, Default)]
pub(super) struct Broken {
    prefixes: BTreeSet<IpNet>,
    /// What was wrong with the last one.
    detail: String,
}

impl Broken {
    /// The peer has sent `update`: what it says of a prefix replaces what it said before.
    pub(super) fn note(&mut self, update: &Update) {
        if !self.prefixes.is_empty() {
            for prefix in update.withdrawn.iter().chain(update.announced.iter().map(|(prefix, _)| prefix)) {
                self.prefixes.remove(prefix);
            }
        }
        if let Some((treated, detail)) = &update.treated_as_withdraw {
            for prefix in treated {
                if self.prefixes.len() < MOST {
                    self.prefixes.insert(*prefix);
                }
            }
            self.detail.clone_from(detail);
        }
    }

    /// The reason while the session is up, if a prefix is missing.
    pub(super) fn fault(&self) -> Option<Fault> {
        if self.prefixes.is_empty() {
            return None;
        }
        let named: Vec<String> = self.prefixes.iter().take(NAMED).map(IpNet::to_string).collect();
        let count = match self.prefixes.len() {
            MOST => format!("at least {MOST}"),
            count => count.to_string(),
        };
        let fault = Fault::new(ReasonCode::BgpMessageError).with("detail", &self.detail);
        Some(fault.with("treated_as_withdraw", count).with("prefixes", named.join(", ")))
    }
}
