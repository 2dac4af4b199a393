//! What projects are billed for.

use causeway_model::command::Page;
use causeway_model::resource::{Caller, Role};
use causeway_model::{Error, ProjectId, Timestamp};
use causeway_store::UsageRow;
use uuid::Uuid;

use crate::access::{denied, scope};
use crate::{Controller, Result};

const HOUR: i64 = 3600 * 1_000_000;

/// Which usage to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UsageQuery {
    /// From this time on.
    pub from: Timestamp,
    /// Before this time.
    pub to: Timestamp,
    /// Of one project.
    pub project_id: Option<ProjectId>,
    /// From 1.
    pub page: u32,
    /// 1 to 1000.
    pub page_size: u32,
}

/// What one object was used for within the time asked for. It stays when the object is deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageRecord {
    /// The object.
    pub resource_id: Uuid,
    /// The API's name of the kind: `vpn_gateway`.
    pub kind: String,
    /// Its last name.
    pub name: String,
    /// Its project.
    pub project_id: ProjectId,
    /// Region.
    pub region: String,
    /// Zone.
    pub zone: String,
    /// Its type in the catalogue.
    pub commercial_type: String,
    /// From the order.
    pub started_at: Timestamp,
    /// Until its deletion was asked for.
    pub ended_at: Option<Timestamp>,
    /// Hours that began within the time asked for.
    pub hours: u64,
    /// Millionths of the currency, as it was when the object was ordered.
    pub price_per_hour: u64,
    /// Millionths of the currency.
    pub amount: u64,
    /// ISO 4217.
    pub currency: &'static str,
}

/// Hours counted from `start` that begin within both [`start`, `end`) and [`from`, `to`). Every hour begins in exactly one of two adjacent
/// times, so that the months of a year add up to the year.
fn hours(start: i64, end: i64, from: i64, to: i64) -> u64 {
    let begun_before = |time: i64| {
        let past = time.saturating_sub(start).max(0);
        past / HOUR + i64::from(past % HOUR > 0)
    };
    u64::try_from(begun_before(end.min(to)) - begun_before(from)).unwrap_or(0)
}

impl Controller {
    /// From the start of this month until now: what is of interest when nothing else was asked for.
    #[must_use]
    pub fn this_month(&self) -> (Timestamp, Timestamp) {
        let now = self.now();
        // In the very first moment of a month there is nothing to show, but the time is not empty.
        (now.month_start(), now.plus_seconds(1))
    }

    /// What was used between two times: tenants see their own project's, operators everybody's.
    ///
    /// # Errors
    /// [`Error::InvalidArguments`], [`Error::PermissionsDenied`].
    pub async fn usage(&self, caller: &Caller, region: &str, query: &UsageQuery) -> Result<Page<UsageRecord>> {
        self.in_region(region)?;
        if query.to <= query.from {
            return Err(Error::constraint("to", "has to be after `from`"));
        }
        if query.page == 0 {
            return Err(Error::constraint("page", "pages count from 1"));
        }
        if query.page_size == 0 || query.page_size > 1000 {
            return Err(Error::constraint("page_size", "must be 1 to 1000"));
        }
        if !matches!(caller.role, Role::Operator | Role::Tenant) {
            return Err(denied("read", "usage"));
        }
        let now = self.now();
        let time = (query.from, query.to.min(now));
        let page = (query.page, query.page_size);
        let mut reader = self.read().await?;
        let (rows, total) = reader.usage_rows(region, scope(caller), query.project_id, time, page).await?;
        let currency = self.currency();
        let items = rows.into_iter().map(|row| {
            let UsageRow { started_at, ended_at, price_per_hour, .. } = row;
            let hours = hours(started_at.0, ended_at.unwrap_or(now).0, query.from.0, query.to.min(now).0);
            UsageRecord {
                resource_id: row.resource_id,
                kind: row.kind,
                name: row.name,
                project_id: row.project_id,
                region: row.region,
                zone: row.zone,
                commercial_type: row.commercial_type,
                started_at,
                ended_at,
                hours,
                price_per_hour,
                amount: hours.saturating_mul(price_per_hour),
                currency,
            }
        });
        Ok(Page { items: items.collect(), total })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_begun_hour_counts_once() {
        let hour = |count: i64| count * HOUR;
        assert_eq!(hours(0, 1, 0, hour(10)), 1);
        assert_eq!(hours(0, hour(1), 0, hour(10)), 1);
        assert_eq!(hours(0, hour(1) + 1, 0, hour(10)), 2);
        assert_eq!(hours(hour(2), hour(3), 0, hour(2)), 0, "not begun yet");
        assert_eq!(hours(0, hour(3), hour(5), hour(6)), 0, "over already");
    }

    #[test]
    fn adjacent_times_add_up() {
        let (start, end) = (HOUR / 3, 50 * HOUR);
        let whole = hours(start, end, 0, 60 * HOUR);
        for cut in [0, 1, HOUR / 3, HOUR / 3 + 1, 7 * HOUR, 20 * HOUR + 5, 50 * HOUR, 59 * HOUR] {
            assert_eq!(hours(start, end, 0, cut) + hours(start, end, cut, 60 * HOUR), whole, "{cut}");
        }
    }
}
