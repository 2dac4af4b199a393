//! What time alone changes: deadlines, overlap windows, and the copies of statuses that depend on them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use causeway_model::status::PLATFORM_DEADLINE;
use causeway_model::{ConnectionId, LinkId, NodeId, Timestamp, VpnGatewayId};
use causeway_store::{GatewayRecord, OwedMark};
use tokio::time::MissedTickBehavior;

use crate::{Controller, Result, flap, link, status};

/// How often deadlines are looked at.
const TICK: Duration = Duration::from_secs(1);

/// Objects of each kind looked at in one tick; the rest has its turn in the next.
const BATCH: u32 = 1000;

/// Gateways refreshed in one transaction: other writers have their turn in between.
const SHARE: usize = 50;

/// Seconds until a gateway that is being deleted goes, whatever its node says (system.md §4).
const DEPROVISIONING_DEADLINE: f64 = 60.0;

/// Outbox events that are kept, and after how many ticks the rest is dropped.
const OUTBOX: u32 = 100_000;
const OUTBOX_TICKS: u64 = 600;

/// Runs until the last clone of the controller is dropped.
pub(crate) fn spawn(controller: &Controller) {
    let weak = Arc::downgrade(&controller.inner);
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for tick in 1_u64.. {
            ticks.tick().await;
            let Some(inner) = weak.upgrade() else { return };
            let controller = Controller { inner };
            let done = controller.run_deadlines().await;
            if let Err(error) = controller.or_doubt(done) {
                // Whoever closed the store means to end.
                if controller.inner.store.is_closed() {
                    return;
                }
                tracing::error!(%error, "deadlines could not be looked at");
            }
            if tick.is_multiple_of(OUTBOX_TICKS)
                && let Err(error) = controller.trim_outbox().await
            {
                tracing::error!(%error, "old events could not be dropped");
            }
        }
    });
}

/// What is due.
#[derive(Default)]
struct Due {
    judged: Vec<NodeId>,
    deleted: Vec<GatewayRecord>,
    hidden: Vec<GatewayRecord>,
    stale: BTreeMap<VpnGatewayId, Vec<ConnectionId>>,
    expired: Vec<ConnectionId>,
    links: Vec<LinkId>,
    calmed: bool,
    /// How far what nodes owe was looked at, once this is done.
    marks: Owed,
}

/// Gateways and connections.
type Owed = [OwedMark; 2];

/// How far what nodes owe was looked at, kind by kind. A status that was judged after its deadline stays right until something is written,
/// and whoever writes judges it anew: so each configuration that is owed is looked at once. After a start each is once more.
#[derive(Debug, Default)]
pub(crate) struct Marks(Mutex<Owed>);

impl Marks {
    fn lock(&self) -> MutexGuard<'_, Owed> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The clock was set by so many microseconds, and what is owed moved with it.
    pub(crate) fn clock_set(&self, by: i64) {
        let mut marks = self.lock();
        *marks = marks.map(|mark| mark.moved(by));
    }
}

fn before(now: Timestamp, seconds: f64) -> Timestamp {
    let duration = Duration::from_secs_f64(seconds);
    Timestamp(now.0.saturating_sub(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)))
}

impl Due {
    fn is_empty(&self) -> bool {
        self.judged.is_empty()
            && self.deleted.is_empty()
            && self.hidden.is_empty()
            && self.stale.is_empty()
            && self.expired.is_empty()
            && self.links.is_empty()
            && !self.calmed
    }
}

impl Controller {
    /// Does what is due by the clock. Runs every second by itself; nothing is written when nothing is due.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn run_deadlines(&self) -> Result<()> {
        let _turn = self.inner.deadlines.lock().await;
        self.follow_clock().await?;
        self.follow_replacements().await?;
        let due = self.due().await?;
        if due.is_empty() {
            *self.inner.marks.lock() = due.marks;
            return Ok(());
        }
        let mut writer = self.inner.store.write().await?;
        let now = self.now();
        for node in due.judged {
            self.judge(&mut writer, node, now).await?;
        }
        for record in due.deleted {
            self.finish_deletion(&mut writer, &record, now).await?;
        }
        for record in due.hidden {
            writer.hide_gateway(record.gateway.id, now).await?;
            writer.emit(now, "vpn_gateway", "deleted", &record.gateway.id.to_string()).await?;
        }
        for id in due.expired {
            // Since it was looked at, they may have been revoked.
            if !writer.delete_previous_keys(id, Some(now)).await? {
                continue;
            }
            // What the earlier key authenticated goes on; the current one is proven beside it.
            writer.count_reauthentication(id).await?;
            writer.bump_connection(id, now).await?;
            let Some(connection) = writer.connection_by_id(id).await? else { continue };
            let Some(gateway) = writer.vpn_gateway(connection.connection.vpn_gateway_id).await? else { continue };
            if let Some(node) = gateway.node {
                writer.advance_node(node).await?;
            }
            status::refresh(&mut writer, gateway.gateway.id, now).await?;
        }
        for id in due.links {
            link::elapse(&mut writer, id, now).await?;
        }
        self.tell_calmed(&mut writer, now).await?;
        writer.commit().await?;
        let stale: Vec<(VpnGatewayId, Vec<ConnectionId>)> = due.stale.into_iter().collect();
        for share in stale.chunks(SHARE) {
            let mut writer = self.inner.store.write().await?.gathering();
            let now = self.now();
            for (gateway, connections) in share {
                status::refresh_some(&mut writer, *gateway, connections, now).await?;
            }
            writer.commit().await?;
        }
        *self.inner.marks.lock() = due.marks;
        self.announce();
        Ok(())
    }

    async fn due(&self) -> Result<Due> {
        let mut reader = self.read().await?;
        let now = self.now();
        let expired = reader.expired_previous_keys(now).await?;
        let calmed = flap::has_calmed(&mut reader, now).await?;
        let mut due = Due { expired, calmed, judged: self.judged_anew(), ..Due::default() };
        due.links = reader.links_due(now, link::BATCH).await?;
        for record in reader.gateways_to_end(before(now, DEPROVISIONING_DEADLINE), BATCH).await? {
            if record.node.is_none() {
                due.deleted.push(record);
            } else {
                due.hidden.push(record);
            }
        }
        due.marks = *self.inner.marks.lock();
        let until = before(now, PLATFORM_DEADLINE);
        let [of_gateways, of_connections] = &mut due.marks;
        let (gateways, next) = reader.gateways_owing(*of_gateways, until, BATCH).await?;
        *of_gateways = next;
        let (connections, next) = reader.connections_owing(*of_connections, until, BATCH).await?;
        *of_connections = next;
        if !gateways.is_empty() || !connections.is_empty() {
            due.stale = status::stale(&mut reader, gateways, &connections, now).await?;
        }
        Ok(due)
    }

    /// Drops audit records that are older than so many days, from now on once an hour; 0: none.
    pub fn keep_audit(&self, days: u32) {
        if days == 0 {
            return;
        }
        let keep = f64::from(days) * 86_400.0;
        let weak = Arc::downgrade(&self.inner);
        tokio::spawn(async move {
            let mut hours = tokio::time::interval(Duration::from_secs(3600));
            loop {
                hours.tick().await;
                let Some(inner) = weak.upgrade() else { return };
                let controller = Controller { inner };
                if let Err(error) = controller.trim_audit(before(controller.now(), keep)).await
                    && !controller.inner.store.is_closed()
                {
                    tracing::error!(%error, "old audit records could not be dropped");
                }
            }
        });
    }

    /// Drops audit records from before `time`; how many it were.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn trim_audit(&self, time: Timestamp) -> Result<u64> {
        let mut dropped = 0;
        loop {
            // Others have their turn in between.
            let mut writer = self.inner.store.write().await?;
            let some = writer.trim_audit(time, BATCH).await?;
            writer.commit().await?;
            dropped += some;
            if some < u64::from(BATCH) {
                return Ok(dropped);
            }
        }
    }

    async fn trim_outbox(&self) -> Result<()> {
        let mut writer = self.inner.store.write().await?;
        writer.trim_outbox(OUTBOX).await?;
        Ok(writer.commit().await?)
    }
}
