//! What an audit record says of a change: the object's fields before and after it, those that did not change left out.

use std::collections::HashSet;

use causeway_model::resource::RoutingPolicy;
use ipnet::IpNet;
use serde::Serialize;
use serde_json::{Map, Value, json};

/// Fields that no record has: when it was changed says the record itself, and a checksum tells of a secret's data.
const LEFT_OUT: [&str; 2] = ["updated_at", "data_crc32"];

/// Details of one record.
pub(crate) type Details = Vec<(&'static str, String)>;

/// The fields of an object, those that all objects have in common among them.
fn fields<T: Serialize>(object: &T) -> Map<String, Value> {
    let Ok(Value::Object(mut fields)) = serde_json::to_value(object) else { return Map::new() };
    if let Some(Value::Object(meta)) = fields.remove("meta") {
        fields.extend(meta);
    }
    fields.retain(|name, _| !LEFT_OUT.contains(&name.as_str()));
    fields
}

fn text(fields: Map<String, Value>) -> String {
    Value::Object(fields).to_string()
}

/// Of an object that was made.
pub(crate) fn made<T: Serialize>(object: &T) -> Details {
    vec![("after", text(fields(object)))]
}

/// Of an object that is gone.
pub(crate) fn gone<T: Serialize>(object: &T) -> Details {
    vec![("before", text(fields(object)))]
}

/// Of an object that was changed: only the fields that differ, so that both are empty where nothing did.
pub(crate) fn changed<T: Serialize>(before: &T, after: &T) -> Details {
    let (old, new) = difference(Some(before), Some(after));
    vec![("before", text(old)), ("after", text(new))]
}

/// The fields that differ, as they were and as they are; of what was not or is not there, none.
pub(crate) fn difference<T: Serialize>(
    before: Option<&T>,
    after: Option<&T>,
) -> (Map<String, Value>, Map<String, Value>) {
    let mut old = before.map(fields).unwrap_or_default();
    let mut new = after.map(fields).unwrap_or_default();
    old.retain(|name, value| {
        let same = new.get(name) == Some(&*value);
        if same {
            new.remove(name);
        }
        !same
    });
    (old, new)
}

/// Prefixes of one whitelist that a record shows at most.
const AUDITED_PREFIXES: usize = 50;

/// Of a routing policy that was made, changed or deleted. Of a long whitelist: how long it is, and the first of those of its prefixes that
/// the other side does not have. Whole ones would make records of a hundred thousand octets, and anybody may change a list again and again.
pub(crate) fn policy_change(before: Option<&RoutingPolicy>, after: Option<&RoutingPolicy>) -> Details {
    let (mut old, mut new) = difference(before, after);
    type Whitelist = fn(&RoutingPolicy) -> &Vec<IpNet>;
    let lists: [(&str, Whitelist); 2] = [
        ("prefix_filter_in", |policy| &policy.prefix_filter_in),
        ("prefix_filter_out", |policy| &policy.prefix_filter_out),
    ];
    for (name, list) in lists {
        let (own, other) = (before.map(list), after.map(list));
        let longest = [own, other].into_iter().flatten().map(Vec::len).max().unwrap_or(0);
        if longest > AUDITED_PREFIXES {
            for (fields, list, other) in [(&mut old, own, other), (&mut new, other, own)] {
                if let (Some(shown), Some(list)) = (fields.get_mut(name), list) {
                    *shown = short(list, other.map_or(&[], Vec::as_slice));
                }
            }
        }
    }
    let (old, new) = (before.map(|_| ("before", text(old))), after.map(|_| ("after", text(new))));
    old.into_iter().chain(new).collect()
}

fn short(list: &[IpNet], other: &[IpNet]) -> Value {
    let known: HashSet<&IpNet> = other.iter().collect();
    let own: Vec<_> = list.iter().filter(|prefix| !known.contains(prefix)).take(AUDITED_PREFIXES).collect();
    json!({"prefixes": list.len(), "only_here": own})
}

/// `details`, and more that the objects themselves do not say.
pub(crate) fn and(mut details: Details, more: impl IntoIterator<Item = (&'static str, String)>) -> Details {
    details.extend(more);
    details
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_differs_is_recorded() {
        let before = json!({"meta": {"name": "a", "updated_at": 1}, "tags": ["x"], "gone": 1, "data_crc32": 7});
        let after = json!({"meta": {"name": "b", "updated_at": 2}, "tags": ["x"], "new": 2, "data_crc32": 8});
        let expected = [("before", r#"{"gone":1,"name":"a"}"#), ("after", r#"{"name":"b","new":2}"#)];
        assert_eq!(changed(&before, &after), expected.map(|(name, text)| (name, text.to_owned())));
        assert_eq!(made(&before), [("after", r#"{"gone":1,"name":"a","tags":["x"]}"#.to_owned())]);
        assert_eq!(gone(&after), [("before", r#"{"name":"b","new":2,"tags":["x"]}"#.to_owned())]);
        let nothing = [("before", "{}".to_owned()), ("after", "{}".to_owned())];
        assert_eq!(changed(&before, &before), nothing);
    }
}
