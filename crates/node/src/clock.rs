//! The wall clock, in one place: protocol machines never see it, only reports carry it.

use std::time::{SystemTime, UNIX_EPOCH};

use causeway_model::Timestamp;

/// Now, in microseconds; a clock before 1970 reads as 1970.
pub(crate) fn wall_clock() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
