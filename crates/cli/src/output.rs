//! What is printed, and where: results to standard output, everything else to standard error.

use std::io::{self, Write};

use clap::ValueEnum;
use serde_json::{Map, Value};

use crate::failure::Failure;
use crate::text::printable;
use crate::yaml::to_yaml;

/// How results are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    #[default]
    Table,
    /// The API's documents as they are
    Json,
    /// The same in YAML
    Yaml,
}

/// Both outputs.
pub(crate) struct Console<'a> {
    /// Results.
    pub(crate) out: &'a mut (dyn Write + Send),
    /// Progress, warnings, errors.
    pub(crate) err: &'a mut (dyn Write + Send),
    /// Whether `out` is a terminal.
    pub(crate) is_terminal: bool,
    /// Whether `err` is a terminal that shows colours, and nobody asked for none.
    pub(crate) colour: bool,
}

/// A word that begins a line on standard error.
#[derive(Clone, Copy)]
enum Lead {
    Error,
    Warning,
    Hint,
}

impl Lead {
    const fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Hint => "hint",
        }
    }

    /// Bold red, yellow, cyan.
    const fn colour(self) -> &'static str {
        match self {
            Self::Error => "\u{1b}[1;31m",
            Self::Warning => "\u{1b}[1;33m",
            Self::Hint => "\u{1b}[1;36m",
        }
    }
}

impl Console<'_> {
    /// A line of a result.
    pub(crate) fn line(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.out, "{text}")
    }

    /// A result as it is, whatever is in it.
    pub(crate) fn verbatim(&mut self, octets: &[u8]) -> io::Result<()> {
        self.out.write_all(octets)
    }

    /// A line that is no result. If nobody can read it any more, the work goes on.
    pub(crate) fn note(&mut self, text: &str) {
        // Where both go to the same place, what was printed first comes first.
        let _ = self.out.flush();
        let _ = writeln!(self.err, "{text}");
    }

    fn lead(&mut self, lead: Lead, text: &str) {
        let (on, off) = if self.colour { (lead.colour(), "\u{1b}[0m") } else { ("", "") };
        self.note(&format!("{on}{}:{off} {text}", lead.word()));
    }

    /// A warning.
    pub(crate) fn warn(&mut self, text: &str) {
        self.lead(Lead::Warning, text);
    }

    /// What could be done.
    pub(crate) fn hint(&mut self, text: &str) {
        self.lead(Lead::Hint, text);
    }

    /// Why it did not work.
    pub(crate) fn failure(&mut self, failure: &Failure) {
        self.lead(Lead::Error, &printable(&failure.to_string()));
        for detail in failure.details() {
            self.note(&format!("  {}", printable(&detail)));
        }
        if let Some(hint) = failure.hint() {
            self.hint(&printable(&hint));
        }
        if let Some(id) = failure.request_id() {
            self.note(&format!("request id: {id}"));
        }
    }

    /// A document for programs.
    pub(crate) fn document(&mut self, format: Format, document: &Value) -> io::Result<()> {
        if format == Format::Yaml {
            return self.out.write_all(to_yaml(document).as_bytes());
        }
        serde_json::to_writer_pretty(&mut *self.out, document)?;
        writeln!(self.out)
    }
}

/// A column of a table.
#[derive(Clone, Copy)]
pub(crate) struct Column {
    /// Its title, in capitals.
    pub(crate) title: &'static str,
    /// What an object has there; empty is shown as `-`.
    pub(crate) cell: fn(&Value) -> String,
}

/// Rows below titles, columns two spaces apart, nothing after the last.
pub(crate) fn table(columns: &[Column], rows: &[Value]) -> String {
    let titles = columns.iter().map(|column| column.title.to_owned()).collect();
    let cells = rows.iter().map(|row| {
        let cell = |column: &Column| {
            Some((column.cell)(row)).filter(|cell| !cell.is_empty()).unwrap_or_else(|| "-".to_owned())
        };
        columns.iter().map(|column| printable(&cell(column)).into_owned()).collect()
    });
    align(&std::iter::once(titles).chain(cells).collect::<Vec<Vec<String>>>())
}

/// Pads every column but the last to its widest cell.
pub(crate) fn align(rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = Vec::new();
    for row in rows {
        for (number, cell) in row.iter().enumerate() {
            let width = cell.chars().count();
            match widths.get_mut(number) {
                Some(widest) => *widest = width.max(*widest),
                None => widths.push(width),
            }
        }
    }
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.chars().count()) + 2));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// What people look for first in an object, and last.
const FIRST: [&str; 7] = ["name", "access_key", "secret_key", "id", "address", "status", "reason"];
const LAST: [&str; 6] = ["tags", "region", "project_id", "organization_id", "created_at", "updated_at"];

/// One object, a field in each line.
pub(crate) fn details(object: &Value) -> String {
    let mut rows = Vec::new();
    if let Some(fields) = object.as_object() {
        let rest = fields.keys().map(String::as_str).filter(|key| !FIRST.contains(key) && !LAST.contains(key));
        for key in FIRST.into_iter().chain(rest).chain(LAST) {
            if let Some(value) = fields.get(key) {
                flatten(&mut rows, key.to_owned(), value);
            }
        }
    }
    align(&rows)
}

fn flatten(rows: &mut Vec<Vec<String>>, key: String, value: &Value) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (inner, value) in fields {
                flatten(rows, format!("{key}.{inner}"), value);
            }
        }
        other => rows.push(vec![printable(&key).into_owned(), printable(&inline(other)).into_owned()]),
    }
}

/// A value within a line.
pub(crate) fn inline(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) if text.is_empty() => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) if items.is_empty() => "-".to_owned(),
        Value::Array(items) => items.iter().map(inline).collect::<Vec<_>>().join(", "),
        Value::Object(fields) if fields.is_empty() => "-".to_owned(),
        Value::Object(fields) if fields.contains_key("encryption") => cipher(fields),
        Value::Object(fields) => match fields.get("subnet") {
            Some(subnet) => inline(subnet),
            None => fields.iter().map(|(key, value)| format!("{key}={}", inline(value))).collect::<Vec<_>>().join(" "),
        },
        other => other.to_string(),
    }
}

/// Millionths of a currency, as an amount: `0.05`.
pub(crate) fn price(value: Option<&Value>) -> String {
    const MILLION: u64 = 1_000_000;
    let Some(millionths) = value.and_then(Value::as_u64) else { return String::new() };
    let places = format!("{:06}", millionths % MILLION);
    let places = places.trim_end_matches('0');
    format!("{}.{places:0<2}", millionths / MILLION)
}

/// How many entries a list of an object has.
pub(crate) fn count(object: &Value, key: &str) -> String {
    object.get(key).and_then(Value::as_array).map(|items| items.len().to_string()).unwrap_or_default()
}

/// As it is given on the command line: `aes256-sha256-modp2048`.
fn cipher(fields: &Map<String, Value>) -> String {
    ["encryption", "integrity", "dh_group"]
        .iter()
        .filter_map(|key| fields.get(*key)?.as_str())
        .collect::<Vec<_>>()
        .join("-")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn columns_are_as_wide_as_they_have_to_be() {
        let columns = [
            Column { title: "NAME", cell: |row| inline(&row["name"]) },
            Column { title: "ID", cell: |row| inline(&row["id"]) },
            Column { title: "N", cell: |_| String::new() },
        ];
        let rows = [json!({"name": "büro", "id": "1"}), json!({"name": "a\u{1b}[1m longer", "id": "22"})];
        let expected = "NAME               ID  N\nbüro               1   -\na\\u{1b}[1m longer  22  -\n";
        assert_eq!(table(&columns, &rows), expected);
    }

    #[test]
    fn amounts_have_two_places_or_as_many_as_they_need() {
        for (millionths, shown) in [(0_u64, "0.00"), (50_000, "0.05"), (1_500_000, "1.50"), (1, "0.000001")] {
            assert_eq!(price(Some(&json!(millionths))), shown);
        }
        assert_eq!(price(Some(&json!("x"))), "");
    }

    #[test]
    fn an_object_is_shown_field_by_field_with_what_matters_first() {
        let object = json!({
            "asn": 12876, "created_at": "2026", "id": "x", "name": "gw", "tags": [], "public_config": {"ipam_ipv4_id": "p"},
            "ikev2_ciphers": [{"dh_group": "modp2048", "encryption": "aes256", "integrity": "sha256"}, {"encryption": "aes256gcm"}],
            "status": "active", "zone": null,
        });
        let expected = "\
name                        gw
id                          x
status                      active
asn                         12876
ikev2_ciphers               aes256-sha256-modp2048, aes256gcm
public_config.ipam_ipv4_id  p
zone                        -
tags                        -
created_at                  2026
";
        assert_eq!(details(&object), expected);
    }
}
