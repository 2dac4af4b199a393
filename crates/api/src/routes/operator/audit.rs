//! Audit records and settings.

use causeway_controller::AuditFilter;
use causeway_wire::document::extension::AuditRecordDocument;
use causeway_wire::document::operator::SettingsDocument;
use causeway_wire::query::Order;

use super::O;
use crate::answer::{Answer, json};
use crate::call::Call;
use crate::routes::list;
use crate::routes::table::{Routes, get, many, one};

pub(super) fn routes() -> Routes {
    Routes::new("operator")
        .route(&format!("{O}/audit-records"), get(audit_records, many::<AuditRecordDocument>("audit_records")))
        .route(
            &format!("{O}/settings"),
            get(settings, one::<SettingsDocument>()).patch(update_settings, one::<SettingsDocument>()),
        )
}

async fn audit_records(call: Call) -> Answer {
    let query = call.query();
    let page = query.list(Order::CREATED_DESC);
    let filter = AuditFilter {
        access_key: query.text("access_key"),
        resource: query.text("resource"),
        resource_id: query.text("resource_id"),
        action: query.text("action"),
        request_id: query.id("request_id"),
        from: query.time("from"),
        to: query.time("to"),
    };
    query.finish()?;
    let records = call.controller.audit_records(&call.caller, &page, &filter).await?;
    json(&list::<_, AuditRecordDocument>("audit_records", records))
}

async fn settings(call: Call) -> Answer {
    let support_contact = call.controller.settings(&call.caller).await?;
    json(&SettingsDocument { support_contact })
}

async fn update_settings(call: Call) -> Answer {
    let update = call.body()?.update_settings()?;
    let support_contact = match update.support_contact {
        Some(contact) => call.controller.set_support_contact(&call.caller, contact).await?,
        None => call.controller.settings(&call.caller).await?,
    };
    json(&SettingsDocument { support_contact })
}
