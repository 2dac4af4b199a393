//! What happened to gateways and connections (wire-ext.md §1), as documents and as server-sent events.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use super::Time;
use super::extension::{ReasonDocument, Reasons};
use crate::schema::documents;

documents! {
/// Something that happened to an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EventDocument {
    /// The access key of whoever did it; `support` or `operator`: the operator's people; null: the platform, or the device.
    pub actor: Option<String>,
    /// When.
    pub at: Time,
    /// More of it. `changes_not_told` counts the changes before this one that it stands for, `reasons_not_told` how often each was the reason of them.
    pub details: BTreeMap<String, String>,
    /// `status`, `tunnel`, `session` or `change`.
    pub kind: String,
    /// Why.
    pub reason: Option<ReasonDocument>,
    /// Grows with every event of the service; gaps mean nothing.
    pub sequence: u64,
    /// The new status, `IPv4 up`, `IPv4 routes`, or what was done; `IPv4 routes flapping` of routes that change too often to be told each time.
    pub subject: String,
}
}

impl Reasons for EventDocument {
    fn reasons(&mut self) -> Vec<&mut ReasonDocument> {
        self.reason.iter_mut().collect()
    }
}

impl EventDocument {
    /// Appends the event as the HTML standard's event stream has it (§9.2.5). JSON has no line breaks, so that one `data` line holds it.
    ///
    /// # Errors
    /// If it has no JSON form.
    pub fn stream(&self, out: &mut String) -> Result<(), serde_json::Error> {
        let data = serde_json::to_string(self)?;
        // Writing to a string does not fail. The kind is one of our own words.
        let _ = write!(out, "id: {}\nevent: {}\ndata: {data}\n\n", self.sequence, self.kind);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use causeway_model::Timestamp;

    use super::*;

    #[test]
    fn an_event_is_one_line_of_data_whatever_is_in_it() {
        let event = EventDocument {
            actor: None,
            at: Time(Timestamp(1_785_241_748_356_342)),
            details: BTreeMap::from([("reason".to_owned(), "two\nlines\r\ndata: x".to_owned())]),
            kind: "change".to_owned(),
            reason: None,
            sequence: 7,
            subject: "lock".to_owned(),
        };
        let mut text = String::new();
        event.stream(&mut text).expect("JSON");
        assert_eq!(
            text,
            "id: 7\nevent: change\ndata: {\"actor\":null,\"at\":\"2026-07-28T12:29:08.356342Z\",\"details\":{\"reason\":\"two\\nlines\\r\\ndata: x\"},\
             \"kind\":\"change\",\"reason\":null,\"sequence\":7,\"subject\":\"lock\"}\n\n"
        );
    }
}
