//! What to do after a connection was created (system.md §3).

use serde_json::Value;

use super::{PROPAGATION, on_off};
use crate::command::customer::addresses;
use crate::command::gateway::GATEWAY;
use crate::command::policy::prefixes;
use crate::session::{Api, Session, text};
use crate::text::{printable, shell_word};

/// Says it on standard error. What cannot be looked up is left out: the connection is there all the same.
pub(super) async fn next_steps(
    session: &mut Session<'_>,
    connection: &Value,
    gateway: &Value,
    customer: &Value,
    policies: &[Option<Value>; 2],
) {
    let state = session.at(Api::Extension, [GATEWAY.collection, &text(gateway, "/id"), "state"]);
    let state = session.get(&state).await.unwrap_or_default();
    session.console.note("");
    for line in steps(connection, gateway, customer, policies, &state) {
        session.console.note(&printable(&line));
    }
}

fn steps(
    connection: &Value,
    gateway: &Value,
    customer: &Value,
    policies: &[Option<Value>; 2],
    gateway_state: &Value,
) -> Vec<String> {
    let name = shell_word(&text(connection, "/name")).into_owned();
    let is_ipv6 = connection.get("is_ipv6").and_then(Value::as_bool).unwrap_or(false);
    let of_family = |addresses: Vec<String>| {
        let chosen: Vec<String> = addresses.into_iter().filter(|address| address.contains(':') == is_ipv6).collect();
        if chosen.is_empty() { "?".to_owned() } else { chosen.join(", ") }
    };
    let ours = gateway_state.get("public_addresses").and_then(Value::as_array).into_iter().flatten();
    let ours = of_family(ours.filter_map(Value::as_str).map(str::to_owned).collect());
    let theirs = of_family(addresses(customer));
    let (our_asn, their_asn) = (text(gateway, "/asn"), text(customer, "/asn"));
    let mut lines = vec![
        "Next steps".to_owned(),
        "  1. Write the device's configuration; its head says how to install it:".to_owned(),
        format!("       causeway connection device-configuration {name} -O device.conf"),
        format!(
            "  2. Put the pre-shared key on the device. It is revision {} of secret {}; to print it:",
            text(connection, "/secret_revision"),
            text(connection, "/secret_id")
        ),
        format!("       causeway connection psk {name}"),
        format!("  3. Open UDP 500 and 4500 between the device ({theirs}) and the gateway ({ours}), both ways"),
    ];
    lines.push("  4. Announce your prefixes from the device with BGP inside the tunnel:".to_owned());
    let before = lines.len();
    for (policy, pointer, family) in
        [(&policies[0], "/bgp_session_ipv4", "IPv4"), (&policies[1], "/bgp_session_ipv6", "IPv6")]
    {
        let (Some(policy), Some(session)) = (policy, connection.pointer(pointer)) else { continue };
        let (ours, theirs) = (text(session, "/private_ip"), text(session, "/peer_private_ip"));
        let some = |prefixes: String| if prefixes.is_empty() { "nothing".to_owned() } else { prefixes };
        lines.push(format!("       {family}: device {theirs} AS {their_asn}, gateway {ours} AS {our_asn}"));
        lines.push(format!(
            "             accepted from the device: {}; announced to it: {}",
            some(prefixes(policy, "prefix_filter_in")),
            some(prefixes(policy, "prefix_filter_out"))
        ));
    }
    if lines.len() == before {
        lines.push(format!(
            "       not yet: no routing policy is attached; causeway connection set-policy {name} POLICY"
        ));
    }
    if on_off(connection, PROPAGATION) == "off" {
        lines.push("  5. Let routes be exchanged, so that traffic flows:".to_owned());
        lines.push(format!("       causeway connection enable-route-propagation {name}"));
    }
    lines.push("  Watch it come up, with the reason while it does not:".to_owned());
    lines.push(format!("       causeway connection state {name} --wait"));
    lines
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_steps_name_everything_that_is_needed_on_the_device() {
        let connection = json!({
            "name": "my office", "is_ipv6": false, "secret_id": "s", "secret_revision": 1, "route_propagation_enabled": false,
            "bgp_session_ipv4": {"private_ip": "169.254.0.1/30", "peer_private_ip": "169.254.0.2/30"},
        });
        let gateway = json!({"asn": 12876});
        let customer = json!({"asn": 65000, "public_ipv4": "203.0.113.9", "public_ipv6": "2001:db8:9::1"});
        let policy = json!({"prefix_filter_in": ["10.9.0.0/24"], "prefix_filter_out": []});
        let state = json!({"public_addresses": ["192.0.2.1", "2001:db8::1"]});
        let expected = "\
Next steps
  1. Write the device's configuration; its head says how to install it:
       causeway connection device-configuration 'my office' -O device.conf
  2. Put the pre-shared key on the device. It is revision 1 of secret s; to print it:
       causeway connection psk 'my office'
  3. Open UDP 500 and 4500 between the device (203.0.113.9) and the gateway (192.0.2.1), both ways
  4. Announce your prefixes from the device with BGP inside the tunnel:
       IPv4: device 169.254.0.2/30 AS 65000, gateway 169.254.0.1/30 AS 12876
             accepted from the device: 10.9.0.0/24; announced to it: nothing
  5. Let routes be exchanged, so that traffic flows:
       causeway connection enable-route-propagation 'my office'
  Watch it come up, with the reason while it does not:
       causeway connection state 'my office' --wait";
        let lines = steps(&connection, &gateway, &customer, &[Some(policy), None], &state);
        assert_eq!(lines.join("\n"), expected);
    }

    #[test]
    fn without_a_policy_the_next_step_is_to_attach_one() {
        let connection = json!({"name": "a", "is_ipv6": true, "route_propagation_enabled": true});
        let lines = steps(&connection, &json!({}), &json!({"public_ipv4": "203.0.113.9"}), &[None, None], &json!(null));
        assert!(lines.iter().any(|line| line.contains("set-policy a POLICY")), "{lines:?}");
        assert!(lines.iter().any(|line| line.contains("device (?) and the gateway (?)")), "{lines:?}");
        assert!(!lines.iter().any(|line| line.contains("enable-route-propagation")), "{lines:?}");
    }
}
