//! The head of the file, its markers, and the quoting of other people's words.

use causeway_model::net::Family;

use crate::bird::md5_file;
use crate::strongswan::key_file;
use crate::{DeviceInput, Engine};

/// Splits the text into its files below `$ROOT` (empty on a device). It is printed in the head of every text, so that nobody has to trust
/// anything but awk.
pub const SPLIT_COMMAND: &str = r##"awk -v root="$ROOT" '/^# ---- file: /{f=root $4; d=f; sub("/[^/]*$","",d); system("mkdir -p " d); printf "" > f; next} f{print > f}' device.conf"##;

/// Starts a file of the text.
pub(crate) fn file(out: &mut String, path: &str) {
    line(out, "");
    line(out, &format!("# ---- file: {path}"));
}

/// Adds a line.
pub(crate) fn line(out: &mut String, text: &str) {
    out.push_str(text);
    out.push('\n');
}

/// Somebody else's words for a comment: one line, no control characters, of bounded length.
pub(crate) fn comment(words: &str) -> String {
    words.chars().map(|c| if c.is_control() { ' ' } else { c }).take(255).collect()
}

/// A value for strongSwan's configuration. Control characters cannot be written there at all, so they are left out.
pub(crate) fn quoted(value: &str) -> String {
    let mut text = String::from("\"");
    for c in value.chars().filter(|c| !c.is_control()) {
        if matches!(c, '"' | '\\') {
            text.push('\\');
        }
        text.push(c);
    }
    text.push('"');
    text
}

/// The instructions at the top.
pub(crate) fn head(format: &str, engine: Engine, input: &DeviceInput) -> String {
    let connection = &input.connection;
    let short = input.short();
    let mut out = String::new();
    let mut add = |text: String| line(&mut out, text.trim_end());
    add(format!("# Configuration of a customer's device: {format}"));
    add("#".to_owned());
    add(format!("# Connection        {} {}", connection.id, comment(&connection.meta.name)));
    add(format!(
        "# VPN gateway       {} {}, AS {}",
        connection.vpn_gateway_id,
        comment(&input.generated_for.vpn_gateway),
        input.provider_asn
    ));
    add(format!(
        "# Customer gateway  {} {}, AS {} (this device)",
        connection.customer_gateway_id,
        comment(&input.generated_for.customer_gateway),
        input.customer_asn
    ));
    for tunnel in &input.tunnels {
        add(format!("# Tunnel over {}  this device {} <-> gateway {}", tunnel.family(), tunnel.peer, tunnel.local));
    }
    for (family, session, _) in input.sessions() {
        add(format!(
            "# Inside {}       this device {} <-> gateway {}",
            family, session.peer_private_ip, session.private_ip
        ));
    }
    for subnet in &input.vpc_subnets {
        add(format!("# Subnet of the VPC {subnet}"));
    }
    add(format!("# Started by        {}", if input.device_initiates() { "this device" } else { "the VPN gateway" }));
    add("#".to_owned());
    add("# 1. Install (Debian 12 or newer; other systems have the same programs under similar names):".to_owned());
    add("#      apt-get install charon-systemd strongswan-swanctl libcharon-extra-plugins libstrongswan-extra-plugins bird2".to_owned());
    add("# 2. Save this text as device.conf and split it into its files. They replace /etc/strongswan.conf and /etc/bird/bird.conf: if this".to_owned());
    add("#    device has other tunnels or BGP sessions, set ROOT to a folder first and merge by hand.".to_owned());
    add(format!("#      {SPLIT_COMMAND}"));
    add(
        "# 3. Put the pre-shared key into its file. It is the field `data` (base64) that the secret manager answers to"
            .to_owned(),
    );
    add(format!(
        "#      GET /secret-manager/v1beta1/regions/{}/secrets/{}/versions/{}/access",
        comment(&connection.meta.region),
        connection.secret_id,
        connection.secret_revision
    ));
    add(format!("#    and the file {} (mode 0600) has these five lines, the key after the `0s`:", key_file(input)));
    add("#      secrets {".to_owned());
    add(format!("#        ike-{short} {{"));
    add("#          secret = 0s<data>".to_owned());
    add("#        }".to_owned());
    add("#      }".to_owned());
    if let Some((secret, revision)) = input.md5 {
        add("#    The BGP sessions are signed (TCP MD5). Their password is the decoded field `data` of".to_owned());
        add(format!(
            "#      GET /secret-manager/v1beta1/regions/{}/secrets/{secret}/versions/{revision}/access",
            comment(&connection.meta.region),
        ));
        add(format!("#    and the file {} (mode 0640, group bird) has this line:", md5_file(input)));
        add("#      password \"<decoded data>\";".to_owned());
    }
    add("# 4. Announce your own networks: one line each (`route 10.20.0.0/24 unreachable;`) in a file".to_owned());
    for (family, _, policy) in input.sessions() {
        let Some(policy) = policy else { continue };
        let digit = if family == Family::Ipv4 { 4 } else { 6 };
        let ranges: Vec<_> = policy.prefix_filter_in.iter().map(ToString::to_string).collect();
        let ranges = if ranges.is_empty() { "nothing".to_owned() } else { ranges.join(", ") };
        add(format!("#      /etc/bird/own-prefixes.d/*.ipv{digit}.conf   (the gateway accepts {ranges})"));
    }
    add("# 5. Start:".to_owned());
    add("#      systemctl restart strongswan".to_owned());
    add(format!("#      sh {}", interface_script(input)));
    add("#      systemctl restart bird".to_owned());
    add("#      swanctl --load-all".to_owned());
    add(format!(
        "#    After a reboot the same; a unit that runs {} after strongswan.service does it.",
        interface_script(input)
    ));
    add(format!(
        "# 6. Look: swanctl --list-sas; birdc show protocols; birdc show route; ip route show dev {}",
        input.interface(engine)
    ));
    out
}

/// Path of the script that gives the interface its addresses.
pub(crate) fn interface_script(input: &DeviceInput) -> String {
    format!("/etc/causeway/{}.up.sh", input.short())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_words_stay_in_their_place() {
        assert_eq!(comment("a\n# ---- file: /etc/passwd"), "a # ---- file: /etc/passwd");
        assert_eq!(quoted("a\"b\\c\n"), r#""a\"b\\c""#);
    }
}
