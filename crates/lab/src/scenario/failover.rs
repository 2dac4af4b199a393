//! How long a failover takes, step by step: from what the product itself has written down, and of several in a row.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use hyper::Method;
use jiff::Timestamp;
use serde_json::Value;

use super::fleet::{JUDGED, Vpn, marks, order, well};
use crate::api::text;
use crate::console::{Console, seconds};
use crate::topology::{Fleet, Lab};
use crate::wait::eventually;

/// The steps of a failover, in the order in which they follow from each other.
pub const FAILOVER_STEPS: [&str; 6] = ["verdict", "lease", "start", "IKE", "BGP", "traffic"];

/// One failover.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failover {
    /// After how long each of [`FAILOVER_STEPS`] was done, all counted from the loss of the node: the node was `down`; its lease had run out, so
    /// that the gateway was placed on another one; that one had it in force; the first tunnel was up; the first BGP session was up; the traffic
    /// of both directions arrived again.
    pub done: [Duration; 6],
}

impl Failover {
    /// What each step took after the one before it; nothing if it was done before that one.
    #[must_use]
    pub fn shares(&self) -> [Duration; 6] {
        let mut before = Duration::ZERO;
        self.done.map(|done| {
            let share = done.saturating_sub(before);
            before = before.max(done);
            share
        })
    }

    /// A line for each step.
    pub(super) fn table(&self) -> String {
        let lines = FAILOVER_STEPS.iter().zip(self.done).zip(self.shares());
        let lines = lines.map(|((step, done), share)| {
            format!("{step:<8} done after {:>9}, took {:>9}\n", seconds(done), seconds(share))
        });
        lines.collect()
    }
}

/// When a node was lost, and which one.
pub(super) struct Loss<'a> {
    pub(super) node: &'a str,
    pub(super) at: Timestamp,
}

/// The times of events of this kind and subject since the loss, the first one first.
fn times(events: &[Value], kind: &str, subject: &str, since: Timestamp) -> Vec<Timestamp> {
    let is_it = |event: &&Value| {
        text(event, "/kind").is_ok_and(|found| found == kind)
            && text(event, "/subject").is_ok_and(|found| found == subject)
    };
    let mut times: Vec<Timestamp> =
        events.iter().filter(is_it).filter_map(|event| text(event, "/at").ok()?.parse().ok()).collect();
    times.retain(|time| *time >= since);
    times.sort_unstable();
    times
}

/// Since when the first of these has been up again.
fn first_up(items: &[Value], since: Timestamp) -> Option<Timestamp> {
    let up = items.iter().filter(|item| text(item, "/status").is_ok_and(|status| status == "up"));
    up.filter_map(|item| text(item, "/since").ok()?.parse().ok()).filter(|time| *time >= since).min()
}

fn list<'a>(document: &'a Value, key: &str) -> &'a [Value] {
    document.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Reads the steps of a failover that is over. `traffic`: after how long that was back.
pub(super) async fn read(lab: &Lab, fleet: &Fleet, vpn: &Vpn, loss: &Loss<'_>, traffic: Duration) -> Result<Failover> {
    let api = lab.api()?;
    let node = fleet.node(&lab.service, loss.node).await?;
    let history = list(&node, "history");
    let first = |events: &[Value], kind, subject, since| {
        let found = times(events, kind, subject, since).first().copied();
        found.with_context(|| format!("no {subject} of {} since {since}", loss.node))
    };
    let verdict = first(history, "status", "down", loss.at)?;
    // What a machine that is known not to run had goes elsewhere with the verdict, whatever its lease.
    let lease = first(history, "change", "replaced", loss.at).unwrap_or(verdict);
    let path = format!("{}/vpn-gateways/{}/events?page_size=100", api.prefix("causeway/v1"), vpn.site.gateway);
    let events = api.must(Method::GET, &path, None).await?;
    let start = first(list(&events, "events"), "status", "active", lease)?;
    let state = api.state("connections", &vpn.connection).await?;
    let ike = first_up(list(&state, "tunnels"), loss.at).with_context(|| format!("no tunnel is up: {state}"))?;
    let bgp = first_up(list(&state, "bgp_sessions"), loss.at).with_context(|| format!("no session is up: {state}"))?;
    let after = |at: Timestamp| Duration::try_from(at.duration_since(loss.at)).context("before the loss");
    let [verdict, lease, start, ike, bgp] = [verdict, lease, start, ike, bgp].map(after);
    Ok(Failover { done: [verdict?, lease?, start?, ike?, bgp?, traffic] })
}

/// How a node is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    /// Nobody knows what became of its machine.
    Nothing,
    /// The operator's means say that its machine does not run.
    Stopped,
}

/// Loses the node that carries the VPN, `runs` times without anybody knowing why, and as often with its machine known not to run.
pub(crate) async fn measure(lab: &mut Lab, console: &Console, runs: u32) -> Result<[Vec<Failover>; 2]> {
    let (_, mut fleet) = lab.start_fleet(true).await?;
    let mut vpn = order(lab, console, &fleet).await?;
    let mut met = [Vec::new(), Vec::new()];
    for run in 1..=runs {
        for (met, known) in met.iter_mut().zip([Known::Nothing, Known::Stopped]) {
            console.line(&format!("run {run} of {runs}, {known:?} is known of the machine"));
            let failover = lose(lab, &mut fleet, &mut vpn, known).await?;
            console.quote(&failover.table());
            met.push(failover);
        }
    }
    Ok(met)
}

async fn lose(lab: &Lab, fleet: &mut Fleet, vpn: &mut Vpn, known: Known) -> Result<Failover> {
    let lost = vpn.carrier;
    let since = marks(vpn);
    let loss = Loss { node: lost, at: Timestamp::now() };
    match known {
        Known::Nothing => {
            fleet.set_machine_state(lost, "unknown")?;
            fleet.lose_power(lost).await?;
        }
        Known::Stopped => fleet.power_off(lost).await?,
    }
    vpn.carrier = eventually("another node carries the gateway", JUDGED, || async {
        let carrier = fleet.carrier(&lab.service, &vpn.site.gateway).await?;
        ensure!(carrier != lost, "{lost} does");
        Ok(carrier)
    })
    .await?;
    lab.api()?.wait_status("vpn-gateways", &vpn.site.gateway, "active", JUDGED).await?;
    for stream in &vpn.streams {
        stream.steady(JUDGED).await?;
    }
    let gaps = vpn.streams.iter().zip(since).map(|(stream, mark)| stream.since(mark).gap);
    let traffic = gaps.max().unwrap_or_default();
    well(lab, &vpn.connection).await?;
    let failover = read(lab, fleet, vpn, &loss, traffic).await?;
    fleet.power_on(lost).await?;
    fleet.wait_state(&lab.service, lost, "up").await?;
    Ok(failover)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_step_that_was_done_before_its_turn_took_nothing() {
        let failover = Failover { done: [2, 8, 11, 10, 13, 13].map(Duration::from_secs) };
        assert_eq!(failover.shares(), [2, 6, 3, 0, 2, 0].map(Duration::from_secs));
    }

    #[test]
    fn what_was_before_the_loss_does_not_count() {
        let at = |seconds: i64| Timestamp::from_second(seconds).expect("a time");
        let event = |seconds, kind: &str, subject: &str| json!({"at": at(seconds).to_string(), "kind": kind, "subject": subject});
        let events = [event(30, "status", "down"), event(20, "status", "down"), event(5, "status", "down")];
        assert_eq!(times(&events, "status", "down", at(10)), [at(20), at(30)]);
        assert_eq!(times(&events, "change", "down", at(10)), []);
        let tunnel = |seconds, status: &str| json!({"since": at(seconds).to_string(), "status": status});
        let tunnels = [tunnel(40, "up"), tunnel(12, "down"), tunnel(35, "up"), tunnel(9, "up")];
        assert_eq!(first_up(&tunnels, at(10)), Some(at(35)));
    }
}
