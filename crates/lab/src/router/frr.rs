//! FRR, with a configuration that says the same as the API's text for BIRD: sessions, timers, signatures, filters and own prefixes. A
//! person who has FRR would write it by hand. Two things stay FRR's own: it only helps with graceful restart, as it does by default, and
//! it takes no hold time from the peer that it refuses.

use std::fmt::Write as _;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::{BIRD, Files, Said, Seen, family};
use crate::machine::Running;

/// On the device, and of the user `frr` there.
const SOCKETS: &str = "/run/frr";
/// The daemons in the order of their start, each with its configuration: zebra needs none.
const DAEMONS: [(&str, &str); 2] = [("zebra", "/etc/frr/zebra.conf"), ("bgpd", BGPD)];
const BGPD: &str = "/etc/frr/bgpd.conf";
const LOG: &str = "frr.log";

/// The text ends what no route leads to by `unreachable` routes of a high metric. zebra prefers routes of others in the kernel to those of
/// BGP whatever their metric, except where its first octet says how far away they are: 0xfe is the farthest.
pub(super) const EDIT_OF_THE_SCRIPT: &str = "sed -i 's/ metric 9999$/ metric 4261422863/' /etc/causeway/*.up.sh; \
    ip route flush type unreachable; ip -6 route flush type unreachable";

/// A session, in BIRD's words.
#[derive(Debug, Default, PartialEq, Eq)]
struct Session {
    name: String,
    local: String,
    asn: String,
    neighbor: String,
    theirs: String,
    hold_time: Option<String>,
    keepalive: Option<String>,
    password: Option<String>,
    gtsm: bool,
    disabled: bool,
    role: Option<String>,
    /// The channel: `ipv4` or `ipv6`.
    channel: String,
    /// Names of the filters; none: nothing passes.
    import: Option<String>,
    export: Option<String>,
    limit: Option<String>,
}

/// The lines of the block that `head` opens, without the head and its end.
fn block<'a>(text: &'a str, head: &str) -> Vec<&'a str> {
    text.lines().skip_while(|line| *line != head).skip(1).take_while(|line| *line != "}").map(str::trim).collect()
}

fn sessions_of(text: &str, password: impl Fn(&str) -> Option<String>) -> Result<Vec<Session>> {
    let names = text.lines().filter_map(|line| line.strip_prefix("protocol bgp ")?.strip_suffix(" {"));
    names.map(|name| session(text, name, &password)).collect()
}

fn session(text: &str, name: &str, password: &impl Fn(&str) -> Option<String>) -> Result<Session> {
    let mut session = Session { name: name.to_owned(), ..Session::default() };
    let lines = block(text, &format!("protocol bgp {name} {{"));
    let statements = lines.iter().filter(|line| !line.starts_with('#')).flat_map(|line| line.split(['{', ';', '}']));
    for statement in statements {
        let words: Vec<&str> = statement.split_whitespace().collect();
        let some = |word: &str| Some(word.trim_matches('"').to_owned());
        match words.as_slice() {
            ["local", "role", role] => session.role = some(role),
            ["local", address, "as", asn] => {
                (session.local, session.asn) = ((*address).to_owned(), (*asn).to_owned());
            }
            ["neighbor", address, "as", asn] => {
                (session.neighbor, session.theirs) = ((*address).to_owned(), (*asn).to_owned());
            }
            ["hold", "time", seconds] => session.hold_time = some(seconds),
            ["keepalive", "time", seconds] => session.keepalive = some(seconds),
            ["password", word] => session.password = some(word),
            ["include", path] => session.password = password(path.trim_matches('"')),
            ["ttl", "security", "on"] => session.gtsm = true,
            ["disabled"] => session.disabled = true,
            [channel @ ("ipv4" | "ipv6")] => session.channel = (*channel).to_owned(),
            ["import", "filter", filter] => session.import = some(filter),
            ["export", "filter", filter] => session.export = some(filter),
            ["import", "limit", limit, ..] => session.limit = some(limit),
            _ => {}
        }
    }
    let complete = [&session.local, &session.asn, &session.neighbor, &session.theirs, &session.channel];
    ensure!(complete.iter().all(|word| !word.is_empty()), "session {name} is not complete: {session:?}");
    Ok(session)
}

/// The ranges that a filter of the API's text admits; `None`: everything.
fn admitted(text: &str, filter: &str) -> Option<Vec<String>> {
    let mut ranges = Vec::new();
    for line in block(text, &format!("filter {filter} {{")) {
        if line == "accept;" {
            return None;
        }
        let list = line.strip_prefix("if net ~ [ ").and_then(|rest| rest.strip_suffix(" ] then accept;"));
        ranges.extend(
            list.into_iter().flat_map(|list| list.split(", ")).map(|range| range.trim_end_matches('+').to_owned()),
        );
    }
    Some(ranges)
}

fn list_word(family: &str) -> &'static str {
    if family == "ipv6" { "ipv6" } else { "ip" }
}

/// A prefix list with what a filter admits, longer prefixes included.
fn prefix_list(out: &mut String, text: &str, filter: &str, channel: &str) {
    let (word, longest) = (list_word(channel), if channel == "ipv6" { "128" } else { "32" });
    let Some(ranges) = admitted(text, filter) else {
        let _ = writeln!(out, "{word} prefix-list {filter} seq 1 permit any");
        return;
    };
    for (index, range) in ranges.iter().enumerate() {
        let longer = if range.ends_with(&format!("/{longest}")) { String::new() } else { format!(" le {longest}") };
        let _ = writeln!(out, "{word} prefix-list {filter} seq {} permit {range}{longer}", index + 1);
    }
    let _ = writeln!(out, "{word} prefix-list {filter} seq {} deny any", ranges.len() + 1);
}

/// FRR's configuration for what `bird` says. `own` are the device's prefixes of a family.
fn configuration(bird: &str, sessions: &[Session], own: impl Fn(&str) -> Result<Vec<String>>) -> Result<String> {
    let first = sessions.first().context("the device has no session")?;
    let asn = &first.asn;
    ensure!(sessions.iter().all(|session| session.asn == *asn), "one bgpd has one AS number");
    let router_id = bird.lines().find_map(|line| line.strip_prefix("router id ")?.strip_suffix(';'));
    let mut text = String::from("bgp as-path access-list own permit ^$\n");
    for session in sessions {
        for filter in [&session.import, &session.export].into_iter().flatten() {
            prefix_list(&mut text, bird, filter, &session.channel);
        }
        if let Some(filter) = &session.export {
            // Nothing of what it learns goes out again. Entries before this one are for what is said of single prefixes.
            let _ = writeln!(text, "route-map {filter} permit 65535\n match as-path own\nexit");
        }
    }
    let _ = writeln!(text, "router bgp {asn}\n bgp router-id {}", router_id.context("no router id")?);
    text += " no bgp ebgp-requires-policy\n no bgp network import-check\n no bgp default ipv4-unicast\n bgp log-neighbor-changes\n";
    for session in sessions {
        let mut say = |words: &str| text += &format!(" neighbor {} {words}\n", session.neighbor);
        say(&format!("remote-as {}", session.theirs));
        say(&format!("update-source {}", session.local));
        say("timers connect 2");
        say("advertisement-interval 0");
        if let Some(hold) = &session.hold_time {
            say(&format!("timers {} {hold}", session.keepalive.as_deref().unwrap_or("0")));
        }
        if let Some(password) = &session.password {
            say(&format!("password {password}"));
        }
        if session.gtsm {
            say("ttl-security hops 1");
        }
        if session.disabled {
            say("shutdown");
        }
        if let Some(role) = &session.role {
            say(&format!("local-role {role} strict-mode"));
        }
    }
    for family in ["ipv4", "ipv6"] {
        let _ = writeln!(text, " address-family {family} unicast");
        for prefix in own(family)? {
            let _ = writeln!(text, "  network {prefix}");
        }
        for session in sessions.iter().filter(|session| session.channel == family) {
            let mut say = |words: &str| text += &format!("  neighbor {} {words}\n", session.neighbor);
            say("activate");
            say("soft-reconfiguration inbound");
            if let Some(filter) = &session.import {
                say(&format!("prefix-list {filter} in"));
            }
            if let Some(filter) = &session.export {
                say(&format!("prefix-list {filter} out"));
                say(&format!("route-map {filter} out"));
            }
            if let Some(limit) = &session.limit {
                say(&format!("maximum-prefix {limit}"));
            }
        }
        text += " exit-address-family\n";
    }
    Ok(text + "exit\n")
}

fn read_sessions(files: &Files) -> Result<(String, Vec<Session>)> {
    let bird = files.read(BIRD)?;
    let password = |path: &str| {
        let text = files.read(path).ok()?;
        Some(text.split('"').nth(1)?.to_owned())
    };
    let sessions = sessions_of(&bird, password)?;
    Ok((bird, sessions))
}

/// The session of a name.
fn named(files: &Files, name: &str) -> Result<Session> {
    let (_, sessions) = read_sessions(files)?;
    sessions.into_iter().find(|session| session.name == name).with_context(|| format!("the device has no {name}"))
}

pub(super) async fn start(files: &Files) -> Result<Vec<Running>> {
    let (bird, sessions) = read_sessions(files)?;
    let text = configuration(&bird, &sessions, |family| files.own_prefixes(family, None))?;
    // vtysh asks PAM who may use it, and the device's /etc says nothing of that.
    let may = "printf 'auth sufficient pam_permit.so\\naccount sufficient pam_permit.so\\n' > /etc/pam.d/frr";
    let folders = format!("rm -rf {SOCKETS} && mkdir -p {SOCKETS} /etc/frr /etc/pam.d && chown frr:frr {SOCKETS}");
    files.machine.shell(&format!("{folders} && touch /etc/frr/vtysh.conf /etc/frr/zebra.conf && {may}")).await?;
    files.write(BGPD, &text)?;
    let socket = format!("{SOCKETS}/zserv.api");
    let mut running = Vec::new();
    for (name, file) in DAEMONS {
        let (program, pid) = (format!("/usr/lib/frr/{name}"), format!("{SOCKETS}/{name}.pid"));
        let users = ["-u", "frr", "-g", "frr", "-A", "127.0.0.1", "-P", "0", "--log", "stdout"];
        let places = ["--vty_socket", SOCKETS, "-z", &socket, "-i", &pid, "-f", file];
        running.push(files.start(&program, &[users.as_slice(), &places].concat(), LOG)?);
        let asked = format!("vtysh --vty_socket {SOCKETS} -d {name} -c 'show version'");
        files.answers(name, &asked).await?;
    }
    // It goes on without the lines that it does not understand.
    let log = files.read(LOG)?;
    let refused = log.lines().find(|line| line.contains("on config line"));
    ensure!(refused.is_none(), "{refused:?} in\n{text}");
    Ok(running)
}

pub(super) async fn vtysh(files: &Files, commands: &[&str]) -> Result<String> {
    let mut arguments = vec!["--vty_socket", SOCKETS];
    for command in commands {
        arguments.extend(["-c", *command]);
    }
    let answer = files.machine.run("vtysh", &arguments).await?.text()?;
    // It says so of a command that it does not know, and ends well all the same.
    ensure!(!answer.lines().any(|line| line.starts_with('%')), "{commands:?}: {answer}");
    Ok(answer)
}

/// Changes the configuration of the router.
async fn change(files: &Files, before: &[String], lines: &[String]) -> Result<()> {
    let (_, sessions) = read_sessions(files)?;
    let asn = sessions.first().map(|session| session.asn.clone()).context("the device has no session")?;
    let open = ["configure terminal".to_owned()];
    let router = [format!("router bgp {asn}")];
    let commands = [open.as_slice(), before, &router, lines].concat();
    vtysh(files, &commands.iter().map(String::as_str).collect::<Vec<_>>()).await.map(drop)
}

async fn json(files: &Files, command: &str) -> Result<Value> {
    let shown = vtysh(files, &[command]).await?;
    serde_json::from_str(&shown).with_context(|| format!("{command}: {shown}"))
}

pub(super) async fn sessions(files: &Files) -> Result<Vec<Seen>> {
    let shown = json(files, "show bgp neighbors json").await?;
    let (_, sessions) = read_sessions(files)?;
    let seen = |session: Session| {
        let neighbor = shown.get(&session.neighbor)?;
        let (state, count) = (neighbor.get("bgpState")?.as_str()?, neighbor.get("connectionsEstablished")?);
        Some(Seen {
            established: state == "Established",
            mark: format!("{} {state}, {count} times", session.name),
            name: session.name,
        })
    };
    Ok(sessions.into_iter().filter_map(seen).collect())
}

pub(super) async fn routes(files: &Files) -> Result<Vec<String>> {
    let (_, sessions) = read_sessions(files)?;
    let mut prefixes = Vec::new();
    for session in sessions {
        let command = format!("show bgp {} unicast neighbors {} routes json", session.channel, session.neighbor);
        let shown = json(files, &command).await?;
        let routes = shown.get("routes").and_then(Value::as_object);
        prefixes.extend(routes.into_iter().flat_map(|routes| routes.keys().cloned()));
    }
    Ok(prefixes)
}

pub(super) async fn announce(files: &Files, family: &str, announced: bool) -> Result<()> {
    let no = if announced { "" } else { "no " };
    let networks = files.own_prefixes(family, Some("lab"))?.into_iter().map(|prefix| format!("{no}network {prefix}"));
    let lines: Vec<String> = std::iter::once(format!("address-family {family} unicast")).chain(networks).collect();
    change(files, &[], &lines).await
}

pub(super) async fn add(files: &Files, prefix: &str, said: Said<'_>) -> Result<()> {
    let family = family(prefix);
    let word = list_word(family);
    let set = match said {
        Said::Plainly => None,
        Said::Through(asn) => Some(format!("set as-path prepend {asn}")),
        Said::At(address) if family == "ipv6" => Some(format!("set ipv6 next-hop global {address}")),
        Said::At(address) => Some(format!("set ip next-hop {address}")),
    };
    let mut before = Vec::new();
    if let Some(set) = set {
        let map = named(files, &format!("gateway_{family}"))?.export.context("nothing is announced")?;
        // One more than there are, so that each has a number of its own.
        let number = files.own_prefixes(family, Some("more"))?.len();
        before.push(format!("{word} prefix-list said{number} seq 1 permit {prefix}"));
        before.push(format!("route-map {map} permit {number}"));
        before.push(format!("match {word} address prefix-list said{number}"));
        before.extend([set, "exit".to_owned()]);
    }
    change(files, &before, &[format!("address-family {family} unicast"), format!("network {prefix}")]).await
}

pub(super) async fn shut(files: &Files, session: &str, words: &str) -> Result<()> {
    let neighbor = named(files, session)?.neighbor;
    let message = if words.is_empty() { String::new() } else { format!(" message {words}") };
    change(files, &[], &[format!("neighbor {neighbor} shutdown{message}")]).await
}

pub(super) async fn open(files: &Files, session: &str) -> Result<()> {
    let neighbor = named(files, session)?.neighbor;
    change(files, &[], &[format!("no neighbor {neighbor} shutdown")]).await
}

pub(super) async fn forget(files: &Files, session: &str) -> Result<()> {
    let neighbor = named(files, session)?.neighbor;
    change(files, &[], &[format!("no neighbor {neighbor}")]).await
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "router id 169.254.0.2;
filter from_gateway_ipv4 {
  if 192.0.2.1 ~ net then reject;
  if net ~ [ 172.16.0.0/22+, 172.20.0.1/32+ ] then accept;
  reject;
}
filter to_gateway_ipv4 {
  if proto != \"own_ipv4\" then reject;
   accept;
  reject;
}
protocol bgp gateway_ipv4 {
  description \"connection\";
  local 169.254.0.2 as 65001;
  neighbor 169.254.0.1 as 12876;
  include \"/etc/bird/causeway-1.md5.conf\";
  # The password.
  ttl security on;
  hold time 9;
  keepalive time 3;
  ipv4 {
    import filter from_gateway_ipv4;
    export filter to_gateway_ipv4;
    next hop self;
  };
}
protocol bgp gateway_ipv6 {
  disabled;
  local fd00:c0de::2 as 65001;
  neighbor fd00:c0de::1 as 12876;
  ipv6 { import none; export none; };
}
";

    #[test]
    fn frr_says_what_bird_says() {
        let sessions = sessions_of(TEXT, |path| Some(format!("word-of-{}", path.len()))).expect("sessions");
        let own = |family: &str| Ok(if family == "ipv4" { vec!["10.20.0.0/24".to_owned()] } else { Vec::new() });
        let expected = "bgp as-path access-list own permit ^$
ip prefix-list from_gateway_ipv4 seq 1 permit 172.16.0.0/22 le 32
ip prefix-list from_gateway_ipv4 seq 2 permit 172.20.0.1/32
ip prefix-list from_gateway_ipv4 seq 3 deny any
ip prefix-list to_gateway_ipv4 seq 1 permit any
route-map to_gateway_ipv4 permit 65535
 match as-path own
exit
router bgp 65001
 bgp router-id 169.254.0.2
 no bgp ebgp-requires-policy
 no bgp network import-check
 no bgp default ipv4-unicast
 bgp log-neighbor-changes
 neighbor 169.254.0.1 remote-as 12876
 neighbor 169.254.0.1 update-source 169.254.0.2
 neighbor 169.254.0.1 timers connect 2
 neighbor 169.254.0.1 advertisement-interval 0
 neighbor 169.254.0.1 timers 3 9
 neighbor 169.254.0.1 password word-of-29
 neighbor 169.254.0.1 ttl-security hops 1
 neighbor fd00:c0de::1 remote-as 12876
 neighbor fd00:c0de::1 update-source fd00:c0de::2
 neighbor fd00:c0de::1 timers connect 2
 neighbor fd00:c0de::1 advertisement-interval 0
 neighbor fd00:c0de::1 shutdown
 address-family ipv4 unicast
  network 10.20.0.0/24
  neighbor 169.254.0.1 activate
  neighbor 169.254.0.1 soft-reconfiguration inbound
  neighbor 169.254.0.1 prefix-list from_gateway_ipv4 in
  neighbor 169.254.0.1 prefix-list to_gateway_ipv4 out
  neighbor 169.254.0.1 route-map to_gateway_ipv4 out
 exit-address-family
 address-family ipv6 unicast
  neighbor fd00:c0de::1 activate
  neighbor fd00:c0de::1 soft-reconfiguration inbound
 exit-address-family
exit
";
        assert_eq!(configuration(TEXT, &sessions, own).expect("a configuration"), expected);
    }

    #[test]
    fn a_session_that_lacks_something_is_refused() {
        let text = TEXT.replace("  neighbor fd00:c0de::1 as 12876;\n", "");
        let error = sessions_of(&text, |_| None).expect_err("no neighbour");
        assert!(error.to_string().contains("gateway_ipv6"), "{error}");
    }
}
