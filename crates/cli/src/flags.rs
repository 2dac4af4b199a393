//! Which flag sets which argument of the API: an error has to name what the person typed.

/// Arguments, and the flags that set them. What has no flag is called as the API calls it.
const FLAGS: &[(&str, &str)] = &[
    ("access_key", "--access-key"),
    ("address", "--address"),
    ("allowed_connections", "--connections"),
    ("asn", "--asn"),
    ("attachment", "--attachment"),
    ("bandwidth", "--bandwidth"),
    ("bandwidth_mbps", "--bandwidth"),
    ("bgp.gtsm", "--gtsm"),
    ("bgp.hold_time", "--hold-time"),
    ("bgp.max_prefixes", "--max-prefixes"),
    ("bgp.md5_secret_id", "--md5-secret"),
    ("bgp_config_ipv4.peer_private_ip", "--inside-ipv4"),
    ("bgp_config_ipv4.private_ip", "--inside-ipv4"),
    ("bgp_config_ipv4.routing_policy_id", "--policy"),
    ("bgp_config_ipv6.peer_private_ip", "--inside-ipv6"),
    ("bgp_config_ipv6.private_ip", "--inside-ipv6"),
    ("bgp_config_ipv6.routing_policy_id", "--policy"),
    ("capacity_mbps", "--capacity"),
    ("connection_id", "--connection"),
    ("contact_email", "--contact-email"),
    ("contains", "--contains"),
    ("customer_gateway_id", "--customer-gateway"),
    ("decision", "--decision"),
    ("default_policy", "--default"),
    ("demarcation_info", "--demarcation"),
    ("description", "--description"),
    ("dpd.delay", "--dpd-delay"),
    ("dpd.timeout", "--dpd-timeout"),
    ("esp_ciphers", "--esp"),
    ("expires_at", "--expires-at"),
    ("from", "--from"),
    ("gateway_type", "--type"),
    ("ikev2_ciphers", "--ike"),
    ("initiation_policy", "--initiator"),
    ("interface", "--interface"),
    ("ipam_private_ipv4_id", "--private-ipv4"),
    ("ipam_private_ipv6_id", "--private-ipv6"),
    ("ipv4_public", "--ipv4"),
    ("ipv6_public", "--ipv6"),
    ("lifetimes.child", "--child-lifetime"),
    ("lifetimes.child_packets", "--child-packets"),
    ("lifetimes.ike", "--ike-lifetime"),
    ("link_bandwidths_mbps", "--bandwidth"),
    ("nexthop_private_network_id", "--private-network"),
    ("nexthop_resource_id", "--via"),
    ("organization_id", "--organization"),
    ("pairing_key", "--pairing-key"),
    ("partner_id", "--partner"),
    ("peer_asn", "--asn"),
    ("peer_identity", "--peer-identity"),
    ("pop_id", "--pop"),
    ("prefix_filter_in", "--accept"),
    ("prefix_filter_out", "--announce"),
    ("price_per_hour", "--price-per-hour"),
    ("private_network_id", "--private-network"),
    ("project_id", "--project-id"),
    ("psk_overlap", "--psk-overlap"),
    ("public_tunnel_config", "--public"),
    ("reason", "--reason"),
    ("region", "--region"),
    ("request_id", "--request-id"),
    ("role", "--role"),
    ("routing_policy_v4_id", "--policy"),
    ("routing_policy_v6_id", "--policy"),
    ("rules", "--rule"),
    ("secret.id", "--secret"),
    ("source.private_network_id", "--private-network"),
    ("source.zonal", "--public"),
    ("status", "--status"),
    ("statuses", "--status"),
    ("subnets", "--subnet"),
    ("support_contact", "--support-contact"),
    ("tags", "--tag"),
    ("to", "--to"),
    ("tunnels", "--tunnels"),
    ("vlan", "--vlan"),
    ("vlan_range", "--vlans"),
    ("vpc_id", "--vpc"),
    ("vpn_gateway_id", "--gateway"),
    ("zone", "--zone"),
    ("zones", "--zone"),
];

/// What people call an argument: `prefix_filter_in[1]` is `--accept, number 2`.
pub(crate) fn flag_of(argument: &str) -> String {
    let found = FLAGS.iter().find_map(|(name, flag)| {
        let rest = argument.strip_prefix(name)?;
        (rest.is_empty() || rest.starts_with(['[', '.'])).then_some((flag, rest))
    });
    let Some((flag, rest)) = found else { return argument.to_owned() };
    let mut shown = (*flag).to_owned();
    for part in rest.split(['[', ']', '.']).filter(|part| !part.is_empty()) {
        match part.parse::<usize>() {
            Ok(index) => shown.push_str(&format!(", number {}", index.saturating_add(1))),
            Err(_) => shown.push_str(&format!(", {part}")),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flag_exists() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/tests/help.txt");
        let help = std::fs::read_to_string(path).expect("a file");
        for (argument, flag) in FLAGS {
            let exists = help.lines().any(|line| line.split([' ', ',', '=', '[']).any(|word| word == *flag));
            assert!(exists, "{argument}: no command has {flag}");
        }
    }

    #[test]
    fn arguments_are_called_what_was_typed() {
        for (argument, shown) in [
            ("asn", "--asn"),
            ("prefix_filter_in[1]", "--accept, number 2"),
            ("ikev2_ciphers[0].dh_group", "--ike, number 1, dh_group"),
            ("lifetimes.child_packets", "--child-packets"),
            ("lifetimes.child", "--child-lifetime"),
            ("name", "name"),
            ("asn_of_nobody", "asn_of_nobody"),
        ] {
            assert_eq!(flag_of(argument), shown);
        }
    }
}
