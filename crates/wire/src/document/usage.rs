//! What projects are billed for (wire-ext.md §1), as documents and as a table.

use causeway_model::ProjectId;
use serde::Serialize;
use uuid::Uuid;

use super::Time;
use crate::schema::documents;

documents! {
/// What one object was used for within the time asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UsageDocument {
    /// Millionths of the currency.
    pub amount: u64,
    /// Its type in the catalogue.
    pub commercial_type: String,
    /// ISO 4217.
    pub currency: &'static str,
    /// When its deletion was asked for.
    pub ended_at: Option<Time>,
    /// Hours that began within the time asked for.
    pub hours: u64,
    /// `vpn_gateway`.
    pub kind: String,
    /// Its last name.
    pub name: String,
    /// Millionths of the currency, as it was when the object was ordered.
    pub price_per_hour: u64,
    /// Its project.
    pub project_id: ProjectId,
    /// Region.
    pub region: String,
    /// The object.
    pub resource_id: Uuid,
    /// When it was ordered.
    pub started_at: Time,
    /// Zone.
    pub zone: String,
}
}

impl UsageDocument {
    /// The first line of the table.
    pub const CSV_HEAD: &'static str = "resource_id,kind,name,project_id,region,zone,commercial_type,started_at,ended_at,hours,price_per_hour,amount,currency\r\n";

    /// A line of the table (RFC 4180). A name that a spreadsheet would take for a formula is led by an apostrophe.
    #[must_use]
    pub fn csv(&self) -> String {
        let cells = [
            self.resource_id.to_string(),
            cell(&self.kind),
            cell(&self.name),
            self.project_id.to_string(),
            cell(&self.region),
            cell(&self.zone),
            cell(&self.commercial_type),
            self.started_at.0.to_string(),
            self.ended_at.map(|time| time.0.to_string()).unwrap_or_default(),
            self.hours.to_string(),
            self.price_per_hour.to_string(),
            self.amount.to_string(),
            self.currency.to_owned(),
        ];
        cells.join(",") + "\r\n"
    }
}

fn cell(text: &str) -> String {
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let text = if formula { format!("'{text}") } else { text.to_owned() };
    if text.contains(['"', ',', '\r', '\n']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

#[cfg(test)]
mod tests {
    use causeway_model::Timestamp;

    use super::*;

    #[test]
    fn cells_stay_cells() {
        for (text, expected) in [
            ("gw", "gw"),
            ("", ""),
            ("a, b", "\"a, b\""),
            ("say \"x\"", "\"say \"\"x\"\"\""),
            ("=1+1", "'=1+1"),
            ("@x,y", "\"'@x,y\""),
            ("two\nlines", "\"two\nlines\""),
        ] {
            assert_eq!(cell(text), expected, "{text}");
        }
    }

    #[test]
    fn a_line_has_as_many_cells_as_the_head() {
        let usage = UsageDocument {
            amount: 100_000,
            commercial_type: "VGW-S".to_owned(),
            currency: "EUR",
            ended_at: None,
            hours: 2,
            kind: "vpn_gateway".to_owned(),
            name: "gw".to_owned(),
            price_per_hour: 50_000,
            project_id: ProjectId(Uuid::nil()),
            region: "fr-par".to_owned(),
            resource_id: Uuid::nil(),
            started_at: Time(Timestamp(1_785_241_748_356_342)),
            zone: "fr-par-1".to_owned(),
        };
        let line = usage.csv();
        let nil = Uuid::nil();
        assert_eq!(
            line,
            format!(
                "{nil},vpn_gateway,gw,{nil},fr-par,fr-par-1,VGW-S,2026-07-28T12:29:08.356342Z,,2,50000,100000,EUR\r\n"
            )
        );
        assert_eq!(line.matches(',').count(), UsageDocument::CSV_HEAD.matches(',').count());
    }
}
