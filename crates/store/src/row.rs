//! Between columns and the model's types.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use causeway_model::Timestamp;
use causeway_model::resource::Meta;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use crate::{Result, StoreError};

/// An id as it is stored.
pub(crate) fn blob(id: Uuid) -> Vec<u8> {
    id.as_bytes().to_vec()
}

/// Ids as a statement takes any number of them: `unhex(value)` of each element of this JSON array.
pub(crate) fn id_array(ids: impl IntoIterator<Item = Uuid>) -> String {
    to_json(&ids.into_iter().map(|id| id.simple().to_string()).collect::<Vec<_>>())
}

/// Octets as a statement takes any number of them: as [`id_array`].
pub(crate) fn octet_array<T: AsRef<[u8]>>(values: impl IntoIterator<Item = T>) -> String {
    let hexadecimal = |value: T| value.as_ref().iter().map(|octet| format!("{octet:02x}")).collect::<String>();
    to_json(&values.into_iter().map(hexadecimal).collect::<Vec<_>>())
}

/// An address as it is stored.
pub(crate) fn address_blob(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// Text of a value whose type always has a JSON form.
pub(crate) fn to_json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("the model's types have string keys only")
}

/// The name filter's and the name order's forms of a name.
pub(crate) fn name_forms(name: &str) -> (String, String) {
    let folded = name.to_lowercase();
    let sort = folded.trim_start_matches(|c: char| !c.is_alphanumeric());
    let sort = if sort.is_empty() { folded.clone() } else { sort.to_owned() };
    (folded, sort)
}

/// Whether the name filter `part` finds `name`.
pub(crate) fn name_matches(name: &str, part: &str) -> bool {
    name.to_lowercase().contains(&part.to_lowercase())
}

fn corrupt(column: &'static str, problem: impl ToString) -> StoreError {
    StoreError::Corrupt { column, problem: problem.to_string() }
}

/// Typed columns.
pub(crate) trait RowExt {
    /// A text.
    fn text(&self, column: &'static str) -> Result<String>;
    /// A text or NULL.
    fn opt_text(&self, column: &'static str) -> Result<Option<String>>;
    /// Octets or NULL.
    fn opt_bytes(&self, column: &'static str) -> Result<Option<Vec<u8>>>;
    /// An integer or NULL.
    fn opt_integer(&self, column: &'static str) -> Result<Option<i64>>;

    /// Octets.
    fn bytes(&self, column: &'static str) -> Result<Vec<u8>> {
        self.opt_bytes(column)?.ok_or_else(|| corrupt(column, "is NULL"))
    }

    /// A number of the width that the caller wants.
    fn number<T: TryFrom<i64>>(&self, column: &'static str) -> Result<T> {
        self.opt_number(column)?.ok_or_else(|| corrupt(column, "is NULL"))
    }

    /// A number or NULL.
    fn opt_number<T: TryFrom<i64>>(&self, column: &'static str) -> Result<Option<T>> {
        let Some(value) = self.opt_integer(column)? else { return Ok(None) };
        T::try_from(value).map(Some).map_err(|_| corrupt(column, "is out of range"))
    }

    /// A truth value.
    fn flag(&self, column: &'static str) -> Result<bool> {
        Ok(self.number::<i64>(column)? != 0)
    }

    /// A time.
    fn time(&self, column: &'static str) -> Result<Timestamp> {
        self.number(column).map(Timestamp)
    }

    /// A time or NULL.
    fn opt_time(&self, column: &'static str) -> Result<Option<Timestamp>> {
        Ok(self.opt_integer(column)?.map(Timestamp))
    }

    /// An id.
    fn id<T: From<Uuid>>(&self, column: &'static str) -> Result<T> {
        self.opt_id(column)?.ok_or_else(|| corrupt(column, "is NULL"))
    }

    /// An id or NULL.
    fn opt_id<T: From<Uuid>>(&self, column: &'static str) -> Result<Option<T>> {
        let Some(bytes) = self.opt_bytes(column)? else { return Ok(None) };
        Uuid::from_slice(&bytes).map(|id| Some(T::from(id))).map_err(|error| corrupt(column, error))
    }

    /// Ids in hexadecimal digits, one behind the other; NULL is none.
    fn ids<T: From<Uuid>>(&self, column: &'static str) -> Result<Vec<T>> {
        let text = self.opt_text(column)?.unwrap_or_default();
        let ids = text.as_bytes().chunks(2 * size_of::<Uuid>());
        ids.map(|id| Uuid::try_parse_ascii(id).map(T::from).map_err(|error| corrupt(column, error))).collect()
    }

    /// An address or NULL.
    fn opt_address(&self, column: &'static str) -> Result<Option<IpAddr>> {
        let Some(bytes) = self.opt_bytes(column)? else { return Ok(None) };
        address(&bytes).map(Some).ok_or_else(|| corrupt(column, "has neither 4 nor 16 octets"))
    }

    /// An address.
    fn address(&self, column: &'static str) -> Result<IpAddr> {
        self.opt_address(column)?.ok_or_else(|| corrupt(column, "is NULL"))
    }

    /// A value with a text form.
    fn parse<T: FromStr<Err: ToString>>(&self, column: &'static str) -> Result<T> {
        self.text(column)?.parse().map_err(|error: T::Err| corrupt(column, error.to_string()))
    }

    /// A JSON column.
    fn json<T: DeserializeOwned>(&self, column: &'static str) -> Result<T> {
        serde_json::from_str(&self.text(column)?).map_err(|error| corrupt(column, error))
    }

    /// A JSON column or NULL.
    fn opt_json<T: DeserializeOwned>(&self, column: &'static str) -> Result<Option<T>> {
        let Some(text) = self.opt_text(column)? else { return Ok(None) };
        serde_json::from_str(&text).map(Some).map_err(|error| corrupt(column, error))
    }

    /// A word of an enumeration that serde spells.
    fn word<T: DeserializeOwned>(&self, column: &'static str) -> Result<T> {
        serde_json::from_value(serde_json::Value::String(self.text(column)?)).map_err(|error| corrupt(column, error))
    }

    /// The common fields.
    fn meta(&self) -> Result<Meta> {
        Ok(Meta {
            organization_id: self.id("organization_id")?,
            project_id: self.id("project_id")?,
            region: self.text("region")?,
            name: self.text("name")?,
            tags: self.json("tags")?,
            created_at: self.time("created_at")?,
            updated_at: self.time("updated_at")?,
        })
    }
}

impl RowExt for SqliteRow {
    fn text(&self, column: &'static str) -> Result<String> {
        Ok(self.try_get(column)?)
    }

    fn opt_text(&self, column: &'static str) -> Result<Option<String>> {
        Ok(self.try_get(column)?)
    }

    fn opt_bytes(&self, column: &'static str) -> Result<Option<Vec<u8>>> {
        Ok(self.try_get(column)?)
    }

    fn opt_integer(&self, column: &'static str) -> Result<Option<i64>> {
        Ok(self.try_get(column)?)
    }
}

/// The word of an enumeration that serde spells.
pub(crate) fn word<T: Serialize>(value: T) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        _ => unreachable!("only unit variants are stored as words"),
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(octets) = <[u8; 4]>::try_from(bytes) {
        return Some(IpAddr::V4(Ipv4Addr::from(octets)));
    }
    <[u8; 16]>::try_from(bytes).ok().map(|octets| IpAddr::V6(Ipv6Addr::from(octets)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_sort_without_their_leading_punctuation() {
        assert_eq!(name_forms("- Telehouse TH2"), ("- telehouse th2".to_owned(), "telehouse th2".to_owned()));
        assert_eq!(name_forms("--"), ("--".to_owned(), "--".to_owned()));
        assert_eq!(name_forms("Élan"), ("élan".to_owned(), "élan".to_owned()));
    }
}
