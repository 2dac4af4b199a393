//! Running `nft` inside a namespace.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::process::{ExitStatus, Stdio};

use serde::Deserialize;
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};
use tokio::runtime::Handle;

use super::{Count, Counters, LinkDrops, Present, Ruleset, TABLE};
use crate::{Error, Namespace, Result};

/// Replaces the rules of the table in `namespace` by `ruleset` in one transaction: every packet meets either the old rules or the new. Counters
/// of the same name go on.
///
/// Where the kernel does not let go of a chain that is not wanted any more (something else in the table uses it, or the kernel is older than June
/// 2023 and counts a rule of the same transaction), the table is made anew: counters begin at zero, and a packet may be lost.
///
/// # Errors
/// [`Error::NftMissing`]; [`Error::Nft`] with its words when it refuses, after which the old rules are in force.
pub async fn apply(namespace: &Namespace, ruleset: &(impl Ruleset + ?Sized)) -> Result<()> {
    let present = present(namespace).await?;
    match load(namespace, ruleset.render(&present)?).await {
        Err(Error::Nft(_)) if present != Present::default() => load(namespace, ruleset.render_anew()?).await,
        done => done,
    }
}

/// What the table has; nothing while there is none.
async fn present(namespace: &Namespace) -> Result<Present> {
    let list = |what| run(namespace, what, String::new());
    let (counters, chains, maps) =
        tokio::try_join!(counts(namespace, TABLE), list(&["-j", "list", "chains"]), list(&["-j", "list", "maps"]))?;
    let chains = entries(&chains)?.filter_map(|entry| entry.chain);
    let chains = chains.filter(|chain| chain.family == "inet" && chain.table == TABLE).map(|chain| chain.name);
    Ok(Present { chains: chains.collect(), counters: counters.into_keys().collect(), links: links(&maps)? })
}

/// The links that each map of the table knows.
fn links(json: &str) -> Result<BTreeMap<String, BTreeSet<String>>> {
    let maps = entries(json)?.filter_map(|entry| entry.map);
    let ours = maps.filter(|map| map.family == "inet" && map.table == TABLE && map.key == "ifname");
    // Each element is a pair of the link and the verdict.
    let link = |element: &Value| element.get(0).and_then(Value::as_str).map(str::to_owned);
    Ok(ours.map(|map| (map.name, map.elem.as_array().into_iter().flatten().filter_map(link).collect())).collect())
}

/// Takes the table away: everything is accepted.
///
/// # Errors
/// As [`apply`].
pub async fn remove(namespace: &Namespace) -> Result<()> {
    load(namespace, format!("table inet {TABLE}\ndelete table inet {TABLE}\n")).await
}

/// The packets that each named counter of the table has seen, those of all links together; empty while there is no table.
///
/// # Errors
/// As [`apply`].
pub async fn read_counters(namespace: &Namespace) -> Result<BTreeMap<String, u64>> {
    let mut total = BTreeMap::new();
    for (name, count) in counts(namespace, TABLE).await? {
        let reason = name.split_once('.').map_or(name.as_str(), |(reason, _)| reason);
        *total.entry(reason.to_owned()).or_default() += count.packets;
    }
    Ok(total)
}

/// The packets that were dropped on the way from and to each link, by reason, as far as they are counted for single links; reasons without
/// `drop_`, and none that never occurred.
///
/// # Errors
/// As [`apply`].
pub async fn read_link_drops(namespace: &Namespace) -> Result<LinkDrops> {
    Ok(link_drops(counts(namespace, TABLE).await?))
}

fn link_drops(counts: Counters) -> LinkDrops {
    let mut drops = LinkDrops::new();
    for (name, count) in counts.into_iter().filter(|(_, count)| count.packets > 0) {
        if let Some((reason, link)) = name.strip_prefix("drop_").and_then(|name| name.split_once('.')) {
            drops.entry(link.to_owned()).or_default().insert(reason.to_owned(), count.packets);
        }
    }
    drops
}

/// Hands `text` to `nft`, as one transaction.
pub(super) async fn load(namespace: &Namespace, text: String) -> Result<()> {
    run(namespace, &["-f", "-"], text).await.map(drop)
}

/// What the named counters of `table` have seen; empty while there is no table.
pub(super) async fn counts(namespace: &Namespace, table: &'static str) -> Result<Counters> {
    // Not restricted to the table, which would be an error while there is none.
    parse(&run(namespace, &["-j", "list", "counters"], String::new()).await?, table)
}

#[derive(Deserialize)]
struct Listing {
    nftables: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    counter: Option<Counter>,
    chain: Option<Chain>,
    map: Option<Map>,
}

#[derive(Deserialize)]
struct Chain {
    family: String,
    table: String,
    name: String,
}

#[derive(Deserialize)]
struct Map {
    family: String,
    table: String,
    name: String,
    #[serde(rename = "type", default)]
    key: Value,
    #[serde(default)]
    elem: Value,
}

#[derive(Deserialize)]
struct Counter {
    family: String,
    table: String,
    name: String,
    packets: u64,
    bytes: u64,
}

fn parse(json: &str, table: &str) -> Result<Counters> {
    let ours = listed(json, table)?.filter(|counter| counter.family == "inet");
    Ok(ours.map(|counter| (counter.name, Count { packets: counter.packets, bytes: counter.bytes })).collect())
}

/// The packets that a counter has seen in all tables of one name together, of whatever families; none while there is no such table.
pub(super) async fn packets(namespace: &Namespace, table: &'static str, counter: &str) -> Result<u64> {
    let listing = run(namespace, &["-j", "list", "counters"], String::new()).await?;
    Ok(listed(&listing, table)?.filter(|found| found.name == counter).map(|found| found.packets).sum())
}

/// The named counters of the tables of that name in a listing.
fn listed(json: &str, table: &str) -> Result<impl Iterator<Item = Counter>> {
    let counters = entries(json)?.filter_map(|entry| entry.counter);
    Ok(counters.filter(move |counter| counter.table == table))
}

fn entries(json: &str) -> Result<impl Iterator<Item = Entry>> {
    let listing: Listing = serde_json::from_str(json).map_err(|error| Error::Nft(format!("its listing: {error}")))?;
    Ok(listing.nftables.into_iter())
}

/// Whoever stops waiting takes the program along, so that it can not put an older list in the place of a newer one.
pub(super) async fn run(namespace: &Namespace, arguments: &'static [&'static str], input: String) -> Result<String> {
    let child = start_in(namespace, arguments, || Ok([Stdio::piped(), Stdio::piped(), Stdio::piped()])).await?;
    finish(child, input).await
}

/// Starts `nft` in `namespace` with standard input, output and error as `streams` makes them.
pub(super) async fn start_in(
    namespace: &Namespace,
    arguments: &'static [&'static str],
    streams: impl Fn() -> io::Result<[Stdio; 3]> + Send + Sync + 'static,
) -> Result<Child> {
    let (namespace, runtime) = (namespace.clone(), Handle::current());
    let task = tokio::task::spawn_blocking(move || {
        namespace.run(|| {
            let _context = runtime.enter();
            start(&["nft", "/usr/sbin/nft"], arguments, &streams)
        })?
    });
    task.await.unwrap_or_else(|error| match error.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(_) => Err(Error::Nft("the runtime is shutting down".to_owned())),
    })
}

/// Starts the first of `programs` that there is: a service's PATH may lack the directory that Debian puts it into.
fn start(programs: &[&str], arguments: &[&str], streams: &dyn Fn() -> io::Result<[Stdio; 3]>) -> Result<Child> {
    for program in programs {
        let [input, output, errors] = streams().map_err(|error| Error::os("start nft", error))?;
        let child = Command::new(program)
            .args(arguments)
            .env("LC_ALL", "C")
            .stdin(input)
            .stdout(output)
            .stderr(errors)
            .kill_on_drop(true)
            .spawn();
        match child {
            // A directory of PATH that this user may not read denies permission for whatever is in none of the others.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) => {}
            other => return other.map_err(|error| Error::os("start nft", error)),
        }
    }
    Err(Error::NftMissing)
}

async fn finish(mut child: Child, input: String) -> Result<String> {
    let stdin = child.stdin.take();
    let write = async move {
        // A broken pipe means that `nft` gave up early; it says why.
        if let Some(mut stdin) = stdin {
            let _ = stdin.write_all(input.as_bytes()).await;
        }
    };
    let ((), output) = tokio::join!(write, child.wait_with_output());
    let output = output.map_err(|error| Error::os("wait for nft", error))?;
    judge(output.status, &output.stderr)?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// What the end of `nft` means, with its words where it refused.
pub(super) fn judge(status: ExitStatus, errors: &[u8]) -> Result<()> {
    if status.success() {
        return Ok(());
    }
    let words: String = String::from_utf8_lossy(errors).chars().take(2000).collect();
    Err(Error::Nft(format!("{status}: {}", words.trim_end())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_are_told_apart_by_link() {
        let count = |packets| Count { packets, bytes: 0 };
        let counts = [
            ("drop_source_policy.cw-1", count(3)),
            ("drop_source_vpc.cw-1", count(1)),
            ("drop_source_policy.cw-2", count(0)),
            ("drop_redirect", count(4)),
            ("forwarded_in", count(5)),
        ];
        let drops = link_drops(counts.map(|(name, count)| (name.to_owned(), count)).into());
        let one = [("source_policy".to_owned(), 3), ("source_vpc".to_owned(), 1)];
        assert_eq!(drops, LinkDrops::from([("cw-1".to_owned(), one.into())]));
    }

    #[tokio::test]
    async fn a_program_ends_with_whoever_waits_for_it() {
        let piped: &dyn Fn() -> io::Result<[Stdio; 3]> = &|| Ok([Stdio::piped(), Stdio::piped(), Stdio::piped()]);
        assert!(matches!(start(&["causeway-no-such-program"], &[], piped), Err(Error::NftMissing)));
        let child = start(&["causeway-no-such-program", "sleep"], &["3600"], piped).expect("the second is there");
        let process = format!("/proc/{}/stat", child.id().expect("it runs"));
        let waiting = tokio::spawn(finish(child, String::new()));
        waiting.abort();
        assert!(waiting.await.is_err_and(|error| error.is_cancelled()));
        // Dead, whether or not it was reaped.
        let runs = || std::fs::read_to_string(&process).is_ok_and(|stat| !stat.contains(") Z"));
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
        while runs() {
            assert!(std::time::Instant::now() < deadline, "it goes on");
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        let child = start(&["cat"], &[], piped).expect("starts");
        assert_eq!(finish(child, "echoed".to_owned()).await.expect("ends"), "echoed");
    }

    #[test]
    fn only_our_counters_are_read() {
        let json = r#"{"nftables": [{"metainfo": {"version": "1.0.6", "json_schema_version": 1}},
            {"counter": {"family": "inet", "name": "drop_closed", "table": "causeway", "handle": 4, "packets": 5, "bytes": 300}},
            {"counter": {"family": "ip", "name": "drop_closed", "table": "causeway", "handle": 4, "packets": 6, "bytes": 1}},
            {"counter": {"family": "inet", "name": "x", "table": "other", "handle": 4, "packets": 7, "bytes": 1}}]}"#;
        let counters = parse(json, TABLE).expect("a listing");
        assert_eq!(counters, Counters::from([("drop_closed".to_owned(), Count { packets: 5, bytes: 300 })]));
        assert!(matches!(parse("nonsense", TABLE), Err(Error::Nft(_))));
    }

    #[test]
    fn the_links_of_our_maps_are_read() {
        let json = r#"{"nftables": [{"metainfo": {"version": "1.0.6", "json_schema_version": 1}},
            {"map": {"family": "inet", "name": "from", "table": "causeway", "type": "ifname", "handle": 3, "map": "verdict",
                "elem": [["tun-a", {"goto": {"target": "from_tun-a"}}], ["tun-b", {"goto": {"target": "from_tun-b"}}]]}},
            {"map": {"family": "inet", "name": "to", "table": "causeway", "type": "ifname", "handle": 4, "map": "verdict"}},
            {"map": {"family": "inet", "name": "theirs", "table": "causeway", "type": ["ipv4_addr", "mark"], "handle": 5, "map": "verdict",
                "elem": [[{"concat": ["192.0.2.1", 1]}, {"accept": null}]]}},
            {"map": {"family": "inet", "name": "from", "table": "other", "type": "ifname", "handle": 3, "map": "verdict"}}]}"#;
        let links = links(json).expect("a listing");
        let of = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
        assert_eq!(links, [("from".to_owned(), of(&["tun-a", "tun-b"])), ("to".to_owned(), of(&[]))].into());
    }
}
