//! The operator's API (wire-ext.md §2). Its paths have no region: a service has one.

mod audit;
mod catalogue;
mod interlink;
mod keys;
mod nodes;
mod projects;
mod quotas;

use causeway_wire::document::List;

use super::table::Routes;

/// The path in front of all of them.
const O: &str = "/causeway/v1/operator";

pub(crate) fn routes() -> Routes {
    Routes::new("operator")
        .merge(projects::routes())
        .merge(keys::routes())
        .merge(quotas::routes())
        .merge(catalogue::routes())
        .merge(interlink::routes())
        .merge(audit::routes())
        .merge(nodes::routes())
}

/// The page `(number, size)` of a list that is short by nature.
fn paged<T, D>(key: &'static str, all: Vec<T>, (page, size): (u32, u32), document: impl Fn(T) -> D) -> List<D> {
    let total = all.len() as u64;
    let skipped = usize::try_from(u64::from(page.saturating_sub(1)) * u64::from(size)).unwrap_or(usize::MAX);
    let items = all.into_iter().skip(skipped).take(size as usize).map(document).collect();
    List::alphabetical(key, items, total)
}
