//! `route-explanation` (wire-ext.md §1).

use causeway_model::Error;
use causeway_wire::document::explanation::RouteExplanationDocument;

use super::table::{Routes, get, one};
use crate::answer::{Answer, Failure, explained};
use crate::call::Call;

pub(crate) fn routes() -> Routes {
    Routes::new("extension").route(
        "/causeway/v1/regions/{region}/route-explanation",
        get(route_explanation, one::<RouteExplanationDocument>()),
    )
}

async fn route_explanation(call: Call) -> Answer {
    let query = call.query();
    let asked = query.route_question();
    query.finish()?;
    let unasked = || Failure(Error::Internal("a question without an error is none".to_owned()));
    let (vpc, question) = asked.ok_or_else(unasked)?;
    let explanation = call.controller.explain_route(&call.caller, &call.region, vpc, &question).await?;
    explained(&call.controller, RouteExplanationDocument::new(vpc, &question, explanation)).await
}
