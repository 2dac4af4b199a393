//! The strongSwan part: daemon settings, the connection, the inside interface.

use causeway_model::desired::TunnelDesired;
use causeway_model::net::Family;

use crate::text::{file, interface_script, line, quoted};
use crate::words::{effective_esp, effective_ike, esp_proposal, ike_proposal};
use crate::{DeviceInput, Engine};

/// Retransmissions of a request before the peer counts as gone.
const RETRANSMIT_TRIES: i32 = 4;
/// Each wait is this much longer than the one before.
const RETRANSMIT_BASE: f64 = 1.4;

/// Path of the file that holds the key.
pub(crate) fn key_file(input: &DeviceInput) -> String {
    format!("/etc/swanctl/conf.d/{}.key.conf", input.connection.id)
}

/// `/etc/strongswan.conf`.
pub(crate) fn daemon(out: &mut String, engine: Engine, input: &DeviceInput) {
    file(out, "/etc/strongswan.conf");
    line(out, "charon-systemd {");
    line(
        out,
        "  # Without hmac and kdf the daemon cannot derive keys: IKE_SA_INIT would succeed and IKE_AUTH never come.",
    );
    if engine == Engine::Libipsec {
        line(out, "  # kernel-libipsec has to come before kernel-netlink, which stays for addresses and routes.");
    }
    line(out, "  load_modular = no");
    let kernel = match engine {
        Engine::Kernel => "kernel-netlink",
        Engine::Libipsec => "kernel-libipsec kernel-netlink",
    };
    line(
        out,
        &format!("  load = random nonce openssl hmac kdf ccm chapoly {kernel} socket-default vici updown counters"),
    );
    line(out, "");
    line(out, "  # Routes come from BGP.");
    line(out, "  install_routes = no");
    line(out, "  install_virtual_ip = no");
    line(out, &format!("  interfaces_ignore = {},lo", input.interface(engine)));
    if engine == Engine::Libipsec {
        line(
            out,
            "  # kernel-libipsec installs a default route into its interface all the same: here it comes after all others.",
        );
        line(out, "  routing_table = 220");
        line(out, "  routing_table_prio = 40000");
    }
    line(out, "");
    line(
        out,
        &format!("  # An unanswered request counts as lost after {} s, as on the gateway.", input.timers.dpd_timeout),
    );
    let waits: f64 = (0..=RETRANSMIT_TRIES).map(|n| RETRANSMIT_BASE.powi(n)).sum();
    let first = f64::from(input.timers.dpd_timeout.max(1)) / waits;
    line(out, &format!("  retransmit_tries = {RETRANSMIT_TRIES}"));
    line(out, &format!("  retransmit_timeout = {first:.2}"));
    line(out, &format!("  retransmit_base = {RETRANSMIT_BASE}"));
    line(out, "");
    line(out, "  filelog {");
    line(out, "    charon {");
    line(out, "      path = /var/log/charon.log");
    line(out, "      time_format = %b %e %T");
    line(out, "      time_add_ms = yes");
    line(out, "      ike_name = yes");
    line(out, "      flush_line = yes");
    line(out, "      default = 1");
    line(out, "    }");
    line(out, "  }");
    line(out, "}");
}

/// `/etc/swanctl/conf.d/<id>.conf`.
pub(crate) fn connection(out: &mut String, engine: Engine, input: &DeviceInput) {
    let short = input.short();
    file(out, &format!("/etc/swanctl/conf.d/{}.conf", input.connection.id));
    line(out, "# Debian's swanctl.conf includes conf.d/*.conf; add that line if yours does not.");
    line(out, "connections {");
    for tunnel in &input.tunnels {
        tunnel_section(out, engine, input, tunnel);
    }
    line(out, "}");
    line(out, "secrets {");
    line(out, &format!("  ike-{short} {{"));
    let mut identities: Vec<String> = Vec::new();
    for tunnel in &input.tunnels {
        for identity in [input.device_identity(tunnel), tunnel.local.to_string()] {
            if !identities.contains(&identity) {
                identities.push(identity);
            }
        }
    }
    for (number, identity) in identities.iter().enumerate() {
        line(out, &format!("    id-{} = {}", number + 1, quoted(identity)));
    }
    line(out, "  }");
    line(out, "}");
    line(out, "# The key (step 3).");
    line(out, &format!("include {}.key.conf", input.connection.id));
}

fn tunnel_section(out: &mut String, engine: Engine, input: &DeviceInput, tunnel: &TunnelDesired) {
    let timers = &input.timers;
    let name = match tunnel.family() {
        Family::Ipv4 => format!("causeway-{}-ipv4", input.short()),
        Family::Ipv6 => format!("causeway-{}-ipv6", input.short()),
    };
    let ike: Vec<_> = effective_ike(&input.connection.ikev2_ciphers).into_iter().map(ike_proposal).collect();
    let esp: Vec<_> = effective_esp(&input.connection.esp_ciphers).into_iter().map(esp_proposal).collect();
    let mut add = |text: &str| line(out, text);
    add(&format!("  {name} {{"));
    add("    version = 2");
    if input.peer_identity.is_some() {
        add("    # This device proves a name, so it may be behind a NAT and need not own its public address.");
        add("    local_addrs = %any");
    } else {
        add(&format!("    local_addrs = {}", tunnel.peer));
    }
    add(&format!("    remote_addrs = {}", tunnel.local));
    add(&format!("    proposals = {}", ike.join(",")));
    add("    encap = yes");
    add("    mobike = no");
    add("    fragmentation = yes");
    add("    unique = replace");
    add("    keyingtries = 0");
    add(&format!("    dpd_delay = {}s", timers.dpd_delay));
    add("    # The gateway rekeys first; these are the times by which this device does if it has not.");
    add(&format!("    rekey_time = {}s", scaled(timers.ike_lifetime, 12)));
    add(&format!("    rand_time = {}s", scaled(timers.ike_lifetime, 1)));
    add(&format!("    over_time = {}s", scaled(timers.ike_lifetime, 2)));
    add("    local {");
    add("      auth = psk");
    add(&format!("      id = {}", quoted(&input.device_identity(tunnel))));
    add("    }");
    add("    remote {");
    add("      auth = psk");
    add(&format!("      id = {}", quoted(&tunnel.local.to_string())));
    add("    }");
    add("    children {");
    add(&format!("      {name} {{"));
    add("        local_ts = 0.0.0.0/0,::/0");
    add("        remote_ts = 0.0.0.0/0,::/0");
    add(&format!("        esp_proposals = {}", esp.join(",")));
    if engine == Engine::Kernel {
        add(&format!("        if_id_in = {}", input.if_id()));
        add(&format!("        if_id_out = {}", input.if_id()));
    }
    if input.device_initiates() {
        add("        start_action = start");
        add("        close_action = start");
        add("        dpd_action = restart");
    } else {
        add("        # The gateway starts the tunnel, and starts it again.");
        add("        start_action = none");
        add("        close_action = none");
        add("        dpd_action = clear");
    }
    add(&format!("        rekey_time = {}s", scaled(timers.child_lifetime, 12)));
    add(&format!("        rand_time = {}s", scaled(timers.child_lifetime, 1)));
    add(&format!("        life_time = {}s", scaled(timers.child_lifetime, 15)));
    let packets = |tenths: u64| (timers.child_packets / 10).saturating_mul(tenths).max(1);
    add(&format!("        rekey_packets = {}", packets(12)));
    add(&format!("        rand_packets = {}", packets(1)));
    add(&format!("        life_packets = {}", packets(15)));
    add("      }");
    add("    }");
    add("  }");
}

/// `tenths` tenths of `seconds`, at least one second.
fn scaled(seconds: u32, tenths: u64) -> u64 {
    (u64::from(seconds) * tenths / 10).max(1)
}

/// The sysctl file and the script that gives the inside interface its addresses.
pub(crate) fn interface(out: &mut String, engine: Engine, input: &DeviceInput) {
    let interface = input.interface(engine);
    let sysctl = format!("/etc/sysctl.d/60-causeway-{}.conf", input.short());
    file(out, &sysctl);
    line(
        out,
        "# This device routes between its own networks and the tunnel. Reverse-path filtering would drop packets of asymmetric paths.",
    );
    line(out, "net.ipv4.ip_forward = 1");
    line(out, "net.ipv6.conf.all.forwarding = 1");
    line(out, "net.ipv4.conf.all.rp_filter = 0");
    line(out, "net.ipv4.conf.default.rp_filter = 0");

    file(out, &interface_script(input));
    line(out, "#!/bin/sh");
    line(out, "# Inside addresses and MTU. May be run again at any time.");
    line(out, "set -eu");
    line(out, &format!("sysctl -q -p {sysctl}"));
    match engine {
        Engine::Kernel => {
            line(out, &format!("ip link show dev {interface} >/dev/null 2>&1 ||"));
            line(out, &format!("  ip link add {interface} type xfrm dev lo if_id {}", input.if_id()));
        }
        Engine::Libipsec => {
            line(out, "# strongSwan makes the device when it starts.");
            line(out, "tries=0");
            line(out, &format!("until ip link show dev {interface} >/dev/null 2>&1; do"));
            line(out, "  tries=$((tries + 1))");
            line(
                out,
                &format!("  [ $tries -lt 200 ] || {{ echo 'no {interface}: is strongSwan running?' >&2; exit 1; }}"),
            );
            line(out, "  sleep 0.05");
            line(out, "done");
        }
    }
    line(out, &format!("ip link set dev {interface} mtu {} up", input.mtu(engine)));
    for (family, session, _) in input.sessions() {
        let nodad = if family == Family::Ipv6 { " nodad" } else { "" };
        line(out, &format!("ip addr replace {} dev {interface}{nodad}", session.peer_private_ip));
    }
    if !input.vpc_subnets.is_empty() {
        line(
            out,
            "# Without a route from BGP, packets for the VPC stop here instead of leaving in the clear by the default route.",
        );
    }
    for subnet in &input.vpc_subnets {
        let family = if Family::of_net(subnet) == Family::Ipv6 { " -6" } else { "" };
        line(out, &format!("ip{family} route replace unreachable {} metric 9999", subnet.trunc()));
    }
}
