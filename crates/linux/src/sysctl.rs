//! Kernel settings of a namespace.

use std::fs;
use std::num::NonZeroU32;
use std::path::PathBuf;

use crate::error::{check_link_name, is_plain};
use crate::{Error, Namespace, Result};

/// One setting: its path below `/proc/sys/net` and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// `ipv4/ip_forward`, `ipv6/conf/eth0.100/accept_ra`; slashes, since names of links may hold dots.
    pub path: String,
    /// What to write.
    pub value: String,
}

impl Setting {
    /// A setting.
    #[must_use]
    pub fn new(path: impl Into<String>, value: impl Into<String>) -> Self {
        Self { path: path.into(), value: value.into() }
    }
}

/// Settings of a namespace that forwards: both families on; no redirects, no router advertisements, no reverse path filter (paths may be
/// asymmetric; the packet filter guards sources), no duplicate address detection (the controller allots addresses), ARP only for the
/// addresses of the link asked on, and old subnets' further addresses survive the removal of the first. For links that exist and links to come, so
/// it comes before the settings of single links.
#[must_use]
pub fn forwarding() -> Vec<Setting> {
    let mut settings = vec![
        Setting::new("ipv4/ip_forward", "1"),
        Setting::new("ipv4/icmp_errors_use_inbound_ifaddr", "0"),
        Setting::new("ipv4/icmp_echo_ignore_broadcasts", "1"),
        // Flows spread by addresses and ports, not by addresses alone.
        Setting::new("ipv4/fib_multipath_hash_policy", "1"),
        Setting::new("ipv6/fib_multipath_hash_policy", "1"),
    ];
    for conf in ["all", "default"] {
        settings.extend(conf_settings(conf));
    }
    settings
}

/// Settings of a namespace that never forwards and takes no configuration from any network.
#[must_use]
pub fn closed() -> Vec<Setting> {
    let mut settings = vec![Setting::new("ipv4/ip_forward", "0")];
    for conf in ["all", "default"] {
        let v6 = ["forwarding", "accept_ra", "autoconf", "accept_redirects", "accept_dad", "router_solicitations"];
        settings.extend(v6.map(|key| Setting::new(format!("ipv6/conf/{conf}/{key}"), "0")));
        settings.push(Setting::new(format!("ipv6/conf/{conf}/disable_ipv6"), "0"));
    }
    settings
}

/// Gives a namespace a seed of its own for spreading flows over equal routes. By default all namespaces of a machine share one: a gateway would
/// hash alike what the VPC's router has sorted by the same hash already, and some of its tunnels would carry nothing. Kernels before 6.11 have
/// no such setting; that is not an error.
///
/// # Errors
/// The kernel's error.
pub fn spread_independently(namespace: &Namespace, seed: NonZeroU32) -> Result<()> {
    match apply(namespace, &[Setting::new("ipv4/fib_multipath_hash_seed", seed.to_string())]) {
        Err(error) if error.is_not_found() => Ok(()),
        result => result,
    }
}

/// The settings of [`forwarding`] for one link: the kernel copies `default` when a link appears, but one that was there earlier has
/// its own values.
///
/// # Errors
/// [`Error::Name`].
pub fn forwarding_link(link: &str) -> Result<Vec<Setting>> {
    check_link_name(link)?;
    Ok(conf_settings(link))
}

fn conf_settings(conf: &str) -> Vec<Setting> {
    let v4 = [
        ("forwarding", "1"),
        ("rp_filter", "0"),
        ("send_redirects", "0"),
        ("accept_redirects", "0"),
        ("secure_redirects", "0"),
        ("accept_source_route", "0"),
        ("arp_ignore", "1"),
        ("arp_announce", "2"),
        ("promote_secondaries", "1"),
    ];
    let v6 = [
        ("disable_ipv6", "0"),
        ("forwarding", "1"),
        ("accept_ra", "0"),
        ("autoconf", "0"),
        ("accept_redirects", "0"),
        ("accept_source_route", "0"),
        ("accept_dad", "0"),
        ("dad_transmits", "0"),
        ("router_solicitations", "0"),
    ];
    let v4 = v4.into_iter().map(|(key, value)| Setting::new(format!("ipv4/conf/{conf}/{key}"), value));
    let v6 = v6.into_iter().map(|(key, value)| Setting::new(format!("ipv6/conf/{conf}/{key}"), value));
    v4.chain(v6).collect()
}

/// Settings of a link on which the kernel answers for single proxied neighbours (ARP entries need no switch, neighbour discovery
/// does), and at once: by default an answer waits up to 0.8 s.
///
/// # Errors
/// [`Error::Name`].
pub fn proxy_neighbours(link: &str) -> Result<Vec<Setting>> {
    check_link_name(link)?;
    Ok(vec![
        Setting::new(format!("ipv6/conf/{link}/proxy_ndp"), "1"),
        Setting::new(format!("ipv4/neigh/{link}/proxy_delay"), "0"),
        Setting::new(format!("ipv6/neigh/{link}/proxy_delay"), "0"),
    ])
}

/// A link that answers ARP for everything it has a route to elsewhere: the gateway's only neighbour on a point-to-point veth.
///
/// # Errors
/// [`Error::Name`].
pub fn proxy_all_ipv4(link: &str) -> Result<Vec<Setting>> {
    check_link_name(link)?;
    Ok(vec![
        Setting::new(format!("ipv4/conf/{link}/proxy_arp"), "1"),
        Setting::new(format!("ipv4/neigh/{link}/proxy_delay"), "0"),
    ])
}

/// A link on which the node itself takes no part in IP: a bridge of a Private Network, a bridge's port.
///
/// # Errors
/// [`Error::Name`].
pub fn layer_two_only(link: &str) -> Result<Vec<Setting>> {
    check_link_name(link)?;
    Ok(vec![
        Setting::new(format!("ipv6/conf/{link}/disable_ipv6"), "1"),
        Setting::new(format!("ipv4/conf/{link}/arp_ignore"), "8"),
        Setting::new(format!("ipv4/conf/{link}/forwarding"), "0"),
    ])
}

/// Writes the settings in order inside `namespace`.
///
/// # Errors
/// The first that the kernel refuses, named.
pub fn apply(namespace: &Namespace, settings: &[Setting]) -> Result<()> {
    namespace.run(|| apply_here(settings))?
}

/// Writes the settings in order in the calling thread's namespace.
///
/// # Errors
/// The first that the kernel refuses, named.
pub fn apply_here(settings: &[Setting]) -> Result<()> {
    settings.iter().try_for_each(|setting| {
        fs::write(path_of(&setting.path)?, &setting.value)
            .map_err(|error| Error::os(format!("set net/{} to {}", setting.path, setting.value), error))
    })
}

/// Reads a setting inside `namespace`.
///
/// # Errors
/// The kernel's error.
pub fn read(namespace: &Namespace, path: &str) -> Result<String> {
    let file = path_of(path)?;
    namespace
        .run(|| fs::read_to_string(file))?
        .map(|value| value.trim_end().to_owned())
        .map_err(|error| Error::os(format!("read net/{path}"), error))
}

fn path_of(path: &str) -> Result<PathBuf> {
    if !path.is_empty() && path.split('/').all(|part| !part.is_empty() && is_plain(part)) {
        // `/proc/sys/net` shows the namespace of the thread that opens it.
        Ok(PathBuf::from("/proc/sys/net").join(path))
    } else {
        Err(Error::Name { what: "setting", name: path.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_below_the_directory() {
        assert_eq!(path_of("ipv4/ip_forward").expect("a path"), PathBuf::from("/proc/sys/net/ipv4/ip_forward"));
        for bad in ["", "/etc/passwd", "ipv4/../../kernel/panic", "ipv4//x", "ipv4/"] {
            assert!(path_of(bad).is_err(), "{bad}");
        }
        assert!(proxy_neighbours("../all").is_err());
    }
}
