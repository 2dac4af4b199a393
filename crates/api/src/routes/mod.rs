//! Routes, one file for each API.

pub(crate) mod account;
pub(crate) mod events;
pub(crate) mod explanation;
pub(crate) mod extension;
pub(crate) mod ipam;
pub(crate) mod operator;
pub(crate) mod options;
pub(crate) mod routing;
pub(crate) mod s2s;
pub(crate) mod secret;
pub(crate) mod table;
pub(crate) mod usage;
pub(crate) mod vpc;

use std::future::Future;

use causeway_model::Error;
use causeway_model::command::{ListQuery, Page};
use causeway_wire::document::List;
use causeway_wire::query::MAX_PAGE_SIZE;

/// A page of objects as a list document with alphabetical keys.
fn list<T, D: From<T>>(key: &'static str, page: Page<T>) -> List<D> {
    List::alphabetical(key, page.items.into_iter().map(D::from).collect(), page.total)
}

/// Everything that `fetch` has for `wanted`, whatever page that asks for.
async fn everything<T, F>(wanted: &ListQuery, mut fetch: impl FnMut(ListQuery) -> F) -> Result<Vec<T>, Error>
where
    F: Future<Output = Result<Page<T>, Error>>,
{
    let mut query = ListQuery { page: 1, page_size: MAX_PAGE_SIZE, ..wanted.clone() };
    let mut all = Vec::new();
    loop {
        let page = fetch(query.clone()).await?;
        let read = page.items.len();
        all.extend(page.items);
        if read < MAX_PAGE_SIZE as usize {
            return Ok(all);
        }
        query.page = query.page.saturating_add(1);
    }
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

    #[tokio::test]
    async fn a_filtered_list_is_read_whole_and_then_paged() {
        let wanted = Query::parse("page=2&page_size=3").list(Order::CREATED);
        let mut asked = Vec::new();
        let all = everything(&wanted, |query| {
            asked.push((query.page, query.page_size));
            let items: Vec<u32> = (0..2500).skip((query.page as usize - 1) * 1000).take(1000).collect();
            async move { Ok(Page { items, total: 2500 }) }
        });
        let all = all.await.expect("pages");
        assert_eq!(asked, [(1, 1000), (2, 1000), (3, 1000)]);
        assert_eq!(all.len(), 2500);
        let even: Vec<u32> = all.into_iter().filter(|number| number % 2 == 0).collect();
        assert_eq!(window(even.clone(), &wanted), Page { items: vec![6, 8, 10], total: 1250 });
        let beyond = Query::parse("page=4294967295&page_size=1000").list(Order::CREATED);
        assert_eq!(window(even, &beyond), Page { items: vec![], total: 1250 });
    }
}
