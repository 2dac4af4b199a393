//! What is answered. Each document is written as a struct whose fields stand in wire order.

pub mod account;
pub mod event;
pub mod explanation;
pub mod extension;
pub mod instance;
pub mod interlink;
pub mod ipam;
pub mod link;
pub mod node;
pub mod offer;
pub mod operator;
pub mod options;
pub mod routing;
pub mod s2s;
pub mod secret;
pub mod usage;
pub mod vpc;
pub mod webhook;

use causeway_model::Timestamp;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

/// An instant as the wire has it: RFC 3339, UTC, six fractional digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time(pub Timestamp);

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl From<Timestamp> for Time {
    fn from(time: Timestamp) -> Self {
        Self(time)
    }
}

/// One page of a list: `{"<key>":[…],"total_count":N}`, in the order that the API at hand has its keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List<T> {
    /// The key of the items.
    pub key: &'static str,
    /// The page.
    pub items: Vec<T>,
    /// Objects that match, before paging.
    pub total_count: u64,
    /// Whether `total_count` is written first: true where keys are alphabetical and the items' key comes after it.
    pub count_first: bool,
}

impl<T> List<T> {
    /// A list of an API whose keys are alphabetical.
    pub fn alphabetical(key: &'static str, items: Vec<T>, total_count: u64) -> Self {
        Self { key, items, total_count, count_first: key > "total_count" }
    }

    /// A list of an API that writes the items first (secret manager).
    pub const fn items_first(key: &'static str, items: Vec<T>, total_count: u64) -> Self {
        Self { key, items, total_count, count_first: false }
    }
}

impl<T: Serialize> Serialize for List<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        if self.count_first {
            map.serialize_entry("total_count", &self.total_count)?;
            map.serialize_entry(self.key, &self.items)?;
        } else {
            map.serialize_entry(self.key, &self.items)?;
            map.serialize_entry("total_count", &self.total_count)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_stands_where_the_alphabet_puts_it() {
        let gateways = List::alphabetical("gateways", vec![1], 7);
        assert_eq!(serde_json::to_string(&gateways).expect("JSON"), r#"{"gateways":[1],"total_count":7}"#);
        let vpcs = List::alphabetical("vpcs", Vec::<u8>::new(), 0);
        assert_eq!(serde_json::to_string(&vpcs).expect("JSON"), r#"{"total_count":0,"vpcs":[]}"#);
        let versions = List::items_first("versions", vec![1], 1);
        assert_eq!(serde_json::to_string(&versions).expect("JSON"), r#"{"versions":[1],"total_count":1}"#);
    }
}
