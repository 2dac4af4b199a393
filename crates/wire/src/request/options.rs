//! A connection's and a link's options (wire-ext.md §1).

use causeway_model::command::OptionsChange;
use causeway_model::resource::Tunnels;
use causeway_model::{Error, SecretId};
use serde_json::json;

use super::{Body, Fields};

/// Characters of an identity at most, before it is looked at more closely.
const MAX_IDENTITY: usize = 1024;

/// The words for a connection's tunnels.
pub const TUNNELS: [(Tunnels, &str); 3] = [(Tunnels::Ipv4, "ipv4"), (Tunnels::Ipv6, "ipv6"), (Tunnels::Both, "both")];

impl Body {
    /// Update a connection's options.
    ///
    /// # Errors
    /// Every invalid field.
    pub fn update_options(&self) -> Result<OptionsChange, Error> {
        self.read(|fields| {
            let mut update = OptionsChange {
                tunnels: fields.word("tunnels", TUNNELS.into_iter()),
                peer_identity: fields.clearable("peer_identity", MAX_IDENTITY),
                psk_overlap: fields.seconds("psk_overlap"),
                ..OptionsChange::default()
            };
            if let Some(lifetimes) = fields.object("lifetimes") {
                update.ike_lifetime = lifetimes.seconds("ike");
                update.child_lifetime = lifetimes.seconds("child");
                update.child_packets = lifetimes.number("child_packets", 0, u32::MAX).map(u64::from);
            }
            if let Some(dpd) = fields.object("dpd") {
                update.dpd_delay = dpd.seconds("delay");
                update.dpd_timeout = dpd.seconds("timeout");
            }
            fields.bgp_options(&mut update);
            update
        })
    }

    /// Update a link's options: those of BGP.
    ///
    /// # Errors
    /// Every invalid field.
    pub fn update_link_options(&self) -> Result<OptionsChange, Error> {
        self.read(|fields| {
            let mut update = OptionsChange::default();
            fields.bgp_options(&mut update);
            update
        })
    }
}

impl Fields<'_> {
    /// An id that `null` or an empty text takes away.
    fn clearable_id(&self, name: &str) -> Option<Option<SecretId>> {
        self.is(name, || json!({"type": ["string", "null"], "format": "uuid"}));
        if self.map.contains_key(name) && !self.present(name) {
            return Some(None);
        }
        self.id(name).map(Some)
    }

    fn bgp_options(&self, update: &mut OptionsChange) {
        let Some(bgp) = self.object("bgp") else { return };
        let hold_time = bgp.number("hold_time", 0, u16::MAX.into());
        update.hold_time = hold_time.and_then(|seconds| u16::try_from(seconds).ok());
        update.max_prefixes = bgp.number("max_prefixes", 0, u32::MAX);
        update.md5_secret_id = bgp.clearable_id("md5_secret_id");
        update.gtsm = bgp.boolean("gtsm");
        update.bfd = bgp.object("bfd").is_some_and(|bfd| !bfd.map.is_empty());
    }

    fn seconds(&self, name: &str) -> Option<u32> {
        self.number(name, 0, u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn update(text: &str) -> Result<OptionsChange, Error> {
        Body::parse(text.as_bytes()).expect("a JSON object").update_options()
    }

    #[test]
    fn what_is_left_out_is_left_alone() {
        assert_eq!(update("{}"), Ok(OptionsChange::default()));
        assert_eq!(update(r#"{"lifetimes":null,"dpd":{},"bgp":{"bfd":{}}}"#), Ok(OptionsChange::default()));
        let changed = update(
            r#"{"tunnels":"both","peer_identity":null,"lifetimes":{"ike":900,"child_packets":1048576},"bgp":{"hold_time":0,"gtsm":true,"md5_secret_id":null}}"#,
        );
        let expected = OptionsChange {
            tunnels: Some(Tunnels::Both),
            peer_identity: Some(None),
            ike_lifetime: Some(900),
            child_packets: Some(1 << 20),
            hold_time: Some(0),
            gtsm: Some(true),
            md5_secret_id: Some(None),
            ..OptionsChange::default()
        };
        assert_eq!(changed, Ok(expected));
    }

    #[test]
    fn a_link_has_the_options_of_bgp() {
        let body = Body::parse(br#"{"tunnels":1,"dpd":{"delay":5},"bgp":{"hold_time":9,"gtsm":true}}"#).expect("JSON");
        let expected = OptionsChange { hold_time: Some(9), gtsm: Some(true), ..OptionsChange::default() };
        assert_eq!(body.update_link_options(), Ok(expected));
        let body = Body::parse(br#"{"bgp":{"hold_time":"9"}}"#).expect("JSON");
        let Err(Error::InvalidArguments(wrong)) = body.update_link_options() else { panic!("an error") };
        assert_eq!(wrong[0].name, "bgp.hold_time");
    }

    #[test]
    fn every_wrong_option_is_named_with_its_path() {
        let text = r#"{"tunnels":"three","peer_identity":1,"psk_overlap":-1,"lifetimes":[],"dpd":{"delay":"5"},"bgp":{"hold_time":65536,"md5_secret_id":"x"}}"#;
        let Err(Error::InvalidArguments(wrong)) = update(text) else { panic!("errors") };
        let names: Vec<_> = wrong.iter().map(|argument| argument.name.as_str()).collect();
        assert_eq!(
            names,
            ["tunnels", "peer_identity", "psk_overlap", "lifetimes", "dpd.delay", "bgp.hold_time", "bgp.md5_secret_id"]
        );
    }
}
