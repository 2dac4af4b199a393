//! Waits when the clock is set (ADR 0019): those of links, of the windows in which earlier keys are accepted, of webhooks' deliveries, and the
//! platform's own deadlines: what nodes owe, gateways that are being deleted or moved, join tokens.
//!
//! Waits are stored as instants of the wall clock, so that they go on while the service does not run. Whoever sets the clock would
//! shorten or lengthen them: therefore every look at the deadlines compares the clock with one that nobody sets, and moves the instants
//! of what is waited for by the difference. Across a stop of the service nothing tells a set clock from time that has passed, unless it
//! went back: then the stop counts as no time at all.

use std::sync::PoisonError;
use std::time::Duration;

use causeway_model::Timestamp;
use causeway_model::link::Stage;
use causeway_store::{LinkRecord, Writer};
use tokio::sync::Mutex;

use super::life;
use crate::{Clock, Controller, Result};

/// The setting that says when the service last ran.
const SEEN: &str = "clock_seen";

/// Microseconds by which the clocks may disagree: slewing and a slow start are no setting of the clock.
const TOLERANCE: i64 = 60 * 1_000_000;

/// Microseconds between two notes of the time.
const NOTE: i64 = 60 * 1_000_000;

/// What a clock says, and for how long one has run that nobody sets.
type Reading = (Timestamp, Option<Duration>);

/// What the clock said last.
#[derive(Debug, Default)]
pub(crate) struct ClockSeen {
    /// When it was noted last; held while the clock is looked at, so that nothing is moved twice.
    noted: Mutex<Option<Timestamp>>,
    /// The reading by which everything that waits was moved. Until the next look the time goes on from here, whoever sets the clock.
    moved: std::sync::Mutex<Option<Reading>>,
}

impl ClockSeen {
    /// Now, as what is waited for counts it.
    pub(crate) fn now(&self, clock: &dyn Clock) -> Timestamp {
        let reading = clock.reading();
        let by = self.moved().map_or(0, |moved| set_by(moved, reading));
        Timestamp(reading.0.0.saturating_sub(by))
    }

    fn moved(&self) -> Option<Reading> {
        *self.moved.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_moved(&self, reading: Option<Reading>) {
        *self.moved.lock().unwrap_or_else(PoisonError::into_inner) = reading;
    }
}

/// By how much the clock was set between two readings, in microseconds.
fn set_by(before: Reading, now: Reading) -> i64 {
    let (Some(from), Some(to)) = (before.1, now.1) else { return 0 };
    let passed = i64::try_from(to.saturating_sub(from).as_micros()).unwrap_or(i64::MAX);
    let by = now.0.0.saturating_sub(before.0.0).saturating_sub(passed);
    if by.saturating_abs() > TOLERANCE { by } else { 0 }
}

/// Moves everything of a link that time decides about.
fn shift(record: &mut LinkRecord, by: i64) {
    let link = &mut record.link;
    link.life.clock_set(by);
    if let Stage::InService { since } = &mut link.life.stage {
        since.0 = since.0.saturating_add(by);
    }
    for policy in [&mut link.routing_policy_v4, &mut link.routing_policy_v6].into_iter().flatten() {
        policy.since.0 = policy.since.0.saturating_add(by);
    }
    record.reminded_at.0 = record.reminded_at.0.saturating_add(by);
    for since in [&mut record.settled_since, &mut record.pending_since].into_iter().flatten() {
        since.0 = since.0.saturating_add(by);
    }
}

impl Controller {
    /// Looks whether the clock was set since the last look, and lets everything that waits do so for as long as before.
    pub(crate) async fn follow_clock(&self) -> Result<()> {
        let seen = &self.inner.clock_seen;
        let mut noted_at = seen.noted.lock().await;
        let (now, before) = (self.inner.clock.reading(), seen.moved());
        let by = match before {
            Some(last) => set_by(last, now),
            None => {
                let noted = self.read().await?.setting(SEEN).await?.and_then(|text| text.parse().ok());
                let back = noted.map_or(0, |noted: i64| now.0.0.saturating_sub(noted));
                if back < -TOLERANCE { back } else { 0 }
            }
        };
        let due = noted_at.is_none_or(|noted| now.0.0.saturating_sub(noted.0).saturating_abs() >= NOTE);
        // Nothing waits: nothing is worth a write.
        if by != 0 || due && self.anything_waits().await? {
            let mut writer = self.inner.store.write().await?;
            if by != 0 {
                move_waits(&mut writer, by, now.0).await?;
            }
            // In the same transaction: what was moved and not noted would be moved again.
            writer.set_setting(SEEN, &now.0.0.to_string()).await?;
            // Whoever has the next turn counts by the clock that everything was moved by.
            seen.set_moved(Some(now));
            if let Err(error) = writer.commit().await {
                seen.set_moved(before);
                return Err(error.into());
            }
            if by != 0 {
                self.inner.marks.clock_set(by);
                self.announce();
            }
            *noted_at = Some(now.0);
        }
        seen.set_moved(Some(now));
        Ok(())
    }

    async fn anything_waits(&self) -> Result<bool> {
        let mut reader = self.read().await?;
        Ok(reader.anything_waits().await? || reader.any_deadline().await?)
    }
}

async fn move_waits(writer: &mut Writer, by: i64, now: Timestamp) -> Result<()> {
    tracing::warn!(seconds = by / 1_000_000, "the clock was set; everything that waits does so for as long as before");
    for mut record in writer.links_kept().await? {
        shift(&mut record, by);
        life::save(writer, &mut record, now).await?;
    }
    writer.move_key_windows(by).await?;
    writer.move_deadlines(by).await?;
    Ok(writer.move_deliveries(by).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_runs_is_not_one_that_is_set() {
        let at = |seconds: i64, up: u64| (Timestamp(seconds * 1_000_000), Some(Duration::from_secs(up)));
        assert_eq!(set_by(at(100, 1), at(101, 2)), 0);
        assert_eq!(set_by(at(100, 1), at(150, 2)), 0, "slewed");
        assert_eq!(set_by(at(100, 1), at(86_500, 86_401)), 0, "a long sleep between two looks");
        assert_eq!(set_by(at(100, 1), at(86_501, 2)), 86_400_000_000);
        assert_eq!(set_by(at(86_500, 1), at(101, 2)), -86_400_000_000);
        assert_eq!(set_by((Timestamp(0), None), (Timestamp(i64::MAX), None)), 0);
    }
}
