//! The BIRD 2 part: one session per family, with filters that mirror the routing policy.

use std::net::{IpAddr, Ipv4Addr};

use causeway_model::desired::PolicyDesired;
use causeway_model::net::Family;
use causeway_model::resource::BgpSession;
use ipnet::IpNet;

use crate::text::{file, line};
use crate::{DeviceInput, Engine};

/// `/etc/bird/bird.conf`.
pub(crate) fn configuration(out: &mut String, engine: Engine, input: &DeviceInput) {
    file(out, "/etc/bird/bird.conf");
    line(out, "log stderr all;");
    line(out, "timeformat log iso short ms;");
    line(out, &format!("router id {};", router_id(input)));
    line(out, "");
    line(out, "protocol device { }");
    for (family, session, policy) in input.sessions() {
        line(out, "");
        match policy {
            Some(policy) => session_section(out, engine, input, family, session, policy),
            None => line(
                out,
                &format!("# {family}: no routing policy is attached to the connection, so there is no session."),
            ),
        }
    }
}

/// BGP wants 32 bits that no other router of the AS has; they need not be an address.
fn router_id(input: &DeviceInput) -> Ipv4Addr {
    let inside = input.connection.bgp_ipv4.as_ref().map(|session| session.peer_private_ip.addr());
    let outside = input.tunnels.iter().map(|tunnel| tunnel.peer).find(IpAddr::is_ipv4);
    match inside.or(outside) {
        Some(IpAddr::V4(address)) => address,
        _ => Ipv4Addr::from(input.if_id()),
    }
}

fn session_section(
    out: &mut String,
    engine: Engine,
    input: &DeviceInput,
    family: Family,
    session: &BgpSession,
    policy: &PolicyDesired,
) {
    let channel = match family {
        Family::Ipv4 => "ipv4",
        Family::Ipv6 => "ipv6",
    };
    let timers = &input.timers;
    let mut add = |text: &str| line(out, text);

    add("# >>> Your own networks: lines like `route 10.20.0.0/24 unreachable;` in the files that are included here.");
    add(
        "# `unreachable` only says where the announcement comes from; packets follow the kernel's more specific routes.",
    );
    add(&format!("protocol static own_{channel} {{"));
    add(&format!("  {channel};"));
    add(&format!("  include \"/etc/bird/own-prefixes.d/*.{channel}.conf\";"));
    add("}");
    add("# <<<");
    add("");
    add(&format!("protocol kernel kernel_{channel} {{"));
    add(&format!("  {channel} {{"));
    add("    import none;");
    add("    export filter {");
    add("      if source != RTS_BGP then reject;");
    add("      # For connections that this device itself opens: an address of its own inside the networks above.");
    add("      # krt_prefsrc = ...;");
    add("      accept;");
    add("    };");
    add("  };");
    add("}");
    add("");
    add("# What the gateway may announce (the policy's prefix_filter_out), longer prefixes included.");
    add(&format!("filter from_gateway_{channel} {{"));
    for tunnel in input.tunnels.iter().filter(|tunnel| tunnel.family() == family) {
        add("  # Would lead the tunnel into itself. To take such a route, give the gateway a route of its own first.");
        add(&format!("  if {} ~ net then reject;", tunnel.local));
    }
    add(&admit(&policy.prefix_filter_out, family));
    add("}");
    add("");
    add("# What the gateway accepts (the policy's prefix_filter_in), longer prefixes included.");
    add(&format!("filter to_gateway_{channel} {{"));
    add(&format!("  if proto != \"own_{channel}\" then reject;"));
    add(&admit(&policy.prefix_filter_in, family));
    add("}");
    add("");
    add(&format!("protocol bgp gateway_{channel} {{"));
    add(&format!("  description \"connection {}\";", input.connection.id));
    add(&format!("  local {} as {};", session.peer_private_ip.addr(), input.customer_asn));
    add(&format!("  neighbor {} as {};", session.private_ip.addr(), input.provider_asn));
    add(&format!("  interface \"{}\";", input.interface(engine)));
    add("  direct;");
    if input.md5.is_some() {
        add("  # The password (step 3).");
        add(&format!("  include \"{}\";", md5_file(input)));
    }
    if input.gtsm {
        add("  # Both sides send with a hop limit of 255 and take nothing less (RFC 5082).");
        add("  ttl security on;");
    }
    add(&format!("  hold time {};", timers.hold_time));
    if timers.hold_time > 0 {
        add("  # Shorter than the hold time asks for: a gateway that restarted is noticed when it refuses one.");
        add(&format!("  keepalive time {};", (timers.hold_time / 3).clamp(1, 5)));
    }
    add("  connect delay time 1;");
    add("  connect retry time 2;");
    add("  error wait time 1, 10;");
    add(
        "  # After a restart of either side's daemon, connect anew at once instead of waiting for the old session's end.",
    );
    add(
        "  # The gateway keeps this device's routes for this time while BIRD is away, as long as the tunnel is up. BIRD keeps the",
    );
    add(
        "  # gateway's for the time that the gateway says (10 s), and not at all once the hold time has run out: neither hides a",
    );
    add("  # dead tunnel for long.");
    add("  graceful restart on;");
    add("  graceful restart time 30;");
    add(&format!("  {channel} {{"));
    add(&format!("    import filter from_gateway_{channel};"));
    add("    import keep filtered;");
    add(&format!("    export filter to_gateway_{channel};"));
    add("    next hop self;");
    add("  };");
    add("}");
}

/// The file with the password of the sessions.
pub(crate) fn md5_file(input: &DeviceInput) -> String {
    format!("/etc/bird/causeway-{}.md5.conf", input.short())
}

/// The end of a filter that accepts what lies within `ranges`.
fn admit(ranges: &[IpNet], family: Family) -> String {
    let patterns: Vec<_> = ranges
        .iter()
        .filter(|range| Family::of_net(range) == family)
        .map(|range| format!("{}+", range.trunc()))
        .collect();
    if patterns.is_empty() {
        "  reject;".to_owned()
    } else {
        format!("  if net ~ [ {} ] then accept;\n  reject;", patterns.join(", "))
    }
}
