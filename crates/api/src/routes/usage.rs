//! What projects are billed for (wire-ext.md §1), as JSON in pages, or whole as CSV.

use causeway_controller::{Controller, UsageQuery, UsageRecord};
use causeway_model::command::Page;
use causeway_model::resource::Caller;
use causeway_wire::document::List;
use causeway_wire::document::usage::UsageDocument;
use causeway_wire::query::MAX_PAGE_SIZE;

use super::table::{Routes, get, many_or};
use crate::answer::{Answer, json, streamed, too_many_streams};
use crate::call::Call;
use crate::feed::{Feed, Place};

const CSV: &str = "text/csv; charset=utf-8";

pub(crate) fn routes() -> Routes {
    let path = "/causeway/v1/regions/{region}/usage";
    Routes::new("extension").route(path, get(usage, many_or::<UsageDocument>("usage", CSV)))
}

/// Without times: this month until now.
async fn usage(call: Call) -> Answer {
    let query = call.query();
    let (start, end) = call.controller.this_month();
    let (from, to) = (query.time("from").unwrap_or(start), query.time("to").unwrap_or(end));
    let project_id = query.id("project_id");
    let format = query.choice("format", &[(false, "json"), (true, "csv")]);
    let (page, page_size) = query.page();
    query.finish()?;
    let wanted = UsageQuery { from, to, project_id, page, page_size };
    if !format.unwrap_or_else(|| call.prefers("text/csv")) {
        let usage = call.controller.usage(&call.caller, &call.region, &wanted).await?;
        let items = usage.items.into_iter().map(document).collect();
        return json(&List::alphabetical("usage", items, usage.total));
    }
    let place = match call.followers.enter(&call.caller.access_key) {
        Ok(place) => place,
        Err(most) => return Ok(too_many_streams(most)),
    };
    // What is refused is refused before anything is sent.
    let first = UsageQuery { page: 1, page_size: MAX_PAGE_SIZE, ..wanted };
    let page = call.controller.usage(&call.caller, &call.region, &first).await?;
    let (feed, body) = Feed::new();
    tokio::spawn(table(call.controller, call.caller, call.region, first, page, (feed, place)));
    Ok(streamed(CSV, body))
}

/// Sends the table page by page. Records are never taken away and new ones come last, so that pages stay where they are.
async fn table(
    controller: Controller,
    caller: Caller,
    region: String,
    mut query: UsageQuery,
    mut page: Page<UsageRecord>,
    (feed, _place): (Feed, Place),
) {
    let mut text = UsageDocument::CSV_HEAD.to_owned();
    loop {
        let count = page.items.len();
        text.extend(page.items.into_iter().map(|record| document(record).csv()));
        if feed.send(std::mem::take(&mut text)).await.is_err() || count < MAX_PAGE_SIZE as usize {
            return;
        }
        query.page = query.page.saturating_add(1);
        page = match controller.usage(&caller, &region, &query).await {
            Ok(page) => page,
            Err(error) => {
                tracing::error!(%error, "a table of usage is incomplete");
                return feed.fail().await;
            }
        };
    }
}

fn document(record: UsageRecord) -> UsageDocument {
    UsageDocument {
        amount: record.amount,
        commercial_type: record.commercial_type,
        currency: record.currency,
        ended_at: record.ended_at.map(Into::into),
        hours: record.hours,
        kind: record.kind,
        name: record.name,
        price_per_hour: record.price_per_hour,
        project_id: record.project_id,
        region: record.region,
        resource_id: record.resource_id,
        started_at: record.started_at.into(),
        zone: record.zone,
    }
}
