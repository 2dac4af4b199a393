//! Routes, one file for each API.

pub(crate) mod account;
pub(crate) mod extension;
pub(crate) mod ipam;
pub(crate) mod s2s;
pub(crate) mod secret;
pub(crate) mod vpc;

use causeway_model::command::Page;
use causeway_wire::document::List;

/// A page of objects as a list document with alphabetical keys.
fn list<T, D: From<T>>(key: &'static str, page: Page<T>) -> List<D> {
    List::alphabetical(key, page.items.into_iter().map(D::from).collect(), page.total)
}
