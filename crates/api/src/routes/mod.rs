//! Routes, one file for each API.

pub(crate) mod account;
pub(crate) mod events;
pub(crate) mod explanation;
pub(crate) mod extension;
pub(crate) mod interlink;
pub(crate) mod ipam;
pub(crate) mod link;
pub(crate) mod metrics;
pub(crate) mod operator;
pub(crate) mod options;
pub(crate) mod partner;
pub(crate) mod routing;
pub(crate) mod s2s;
pub(crate) mod secret;
pub(crate) mod table;
pub(crate) mod usage;
pub(crate) mod vpc;
pub(crate) mod webhook;

use causeway_model::command::{ListQuery, Page};
use causeway_wire::document::List;

/// A page of objects as a list document with alphabetical keys.
fn list<T, D: From<T>>(key: &'static str, page: Page<T>) -> List<D> {
    List::alphabetical(key, page.items.into_iter().map(D::from).collect(), page.total)
}

/// The page of `all` that `wanted` asks for. For filters that the use cases do not have, on lists that are short by nature.
fn window<T>(all: Vec<T>, wanted: &ListQuery) -> Page<T> {
    let (page, size) = (u64::from(wanted.page), u64::from(wanted.page_size));
    let total = all.len() as u64;
    let skipped = usize::try_from(page.saturating_sub(1).saturating_mul(size)).unwrap_or(usize::MAX);
    let items = all.into_iter().skip(skipped).take(wanted.page_size as usize).collect();
    Page { items, total }
}

#[cfg(test)]
mod tests {
    use causeway_wire::query::{Order, Query};

    use super::*;

    #[test]
    fn a_filtered_list_is_paged_by_what_is_left() {
        let even: Vec<u32> = (0..2500).filter(|number| number % 2 == 0).collect();
        let wanted = Query::parse("page=2&page_size=3").list(Order::CREATED);
        assert_eq!(window(even.clone(), &wanted), Page { items: vec![6, 8, 10], total: 1250 });
        let beyond = Query::parse("page=4294967295&page_size=1000").list(Order::CREATED);
        assert_eq!(window(even, &beyond), Page { items: vec![], total: 1250 });
    }
}
