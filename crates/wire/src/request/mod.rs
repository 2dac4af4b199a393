//! Bodies of requests, read field by field from a JSON value, so that every error is found and named.
//!
//! What the clients send without meaning it counts as absent: `null`, `""`, and `unknown_*` for enumerations (wire-api.md §1.5).
//! Unknown fields are ignored.

pub mod extension;
mod filed;
pub mod interlink;
pub mod ipam;
pub mod node;
pub mod operator;
pub mod options;
pub mod s2s;
pub mod secret;
pub mod vpc;

use std::net::IpAddr;
use std::str::FromStr;

use causeway_model::Error;
use causeway_model::command::{NewMeta, Rename};
use causeway_model::error::{ArgumentError, ArgumentReason};
use ipnet::IpNet;
use serde_json::{Map, Value, json};
use uuid::Uuid;
use zeroize::Zeroize;

use crate::errors::{Errors, excerpt, words};
use crate::query::uuid;
use crate::record::Recorder;

/// Characters of a name at most.
pub const MAX_NAME: usize = 255;
/// Tags of an object at most.
pub const MAX_TAGS: usize = 100;
/// Characters of a tag at most.
pub const MAX_TAG: usize = 255;
/// Octets of all tags of an object at most: a page has up to a thousand objects.
pub const MAX_TAGS_OCTETS: usize = 4096;
/// Characters of a description at most.
pub const MAX_DESCRIPTION: usize = 4096;

/// A body: a JSON object. Strings in it are wiped when it is dropped, since some are secrets.
pub struct Body {
    map: Map<String, Value>,
    recorder: Option<Recorder>,
}

impl Body {
    /// Parses `text`; an empty body is an empty object.
    ///
    /// # Errors
    /// [`Error::InvalidArguments`] that names `body` if it is not a JSON object.
    pub fn parse(text: &[u8]) -> Result<Self, Error> {
        if text.trim_ascii().is_empty() {
            return Ok(Self { map: Map::new(), recorder: None });
        }
        match serde_json::from_slice(text) {
            Ok(Value::Object(map)) => Ok(Self { map, recorder: None }),
            Ok(_) => Err(Self::error("must be a JSON object")),
            // The position helps; the text around it could be a secret.
            Err(error) => {
                Err(Self::error(&format!("is not valid JSON (line {}, column {})", error.line(), error.column())))
            }
        }
    }

    /// A body that tells `recorder` what is asked of it. Whoever reads it gets an error in the end.
    #[must_use]
    pub fn recording(recorder: Recorder) -> Self {
        Self { map: Map::new(), recorder: Some(recorder) }
    }

    /// A format error of the whole body.
    #[must_use]
    pub fn error(help: &str) -> Error {
        let (name, reason) = ("body".to_owned(), ArgumentReason::Format);
        Error::InvalidArguments(vec![ArgumentError { name, reason, help: help.to_owned() }])
    }

    fn read<T>(&self, read: impl FnOnce(&Fields<'_>) -> T) -> Result<T, Error> {
        let errors = Errors::default();
        let recorder = self.recorder.as_ref();
        let value = read(&Fields { map: &self.map, prefix: String::new(), errors: &errors, recorder });
        if let Some(recorder) = recorder {
            return Err(recorder.finish_body());
        }
        errors.finish()?;
        Ok(value)
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        // Nested values hold no secrets in any request.
        for value in self.map.values_mut() {
            if let Value::String(text) = value {
                text.zeroize();
            }
        }
    }
}

/// The fields of one object within a body. Readers return `None` for what is absent and for what is wrong; the latter is recorded.
struct Fields<'a> {
    map: &'a Map<String, Value>,
    prefix: String,
    errors: &'a Errors,
    recorder: Option<&'a Recorder>,
}

impl<'a> Fields<'a> {
    fn path(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    fn push(&self, name: &str, reason: ArgumentReason, help: impl Into<String>) {
        self.errors.push(&self.path(name), reason, help);
    }

    fn format(&self, name: &str, help: impl Into<String>) {
        self.push(name, ArgumentReason::Format, help);
    }

    fn constraint(&self, name: &str, help: impl Into<String>) {
        self.push(name, ArgumentReason::Constraint, help);
    }

    /// Tells the recorder, if there is one, what `name` is. The first to say so is the most exact.
    fn is(&self, name: &str, schema: impl FnOnce() -> Value) {
        if let Some(recorder) = self.recorder {
            recorder.field(self.path(name), schema());
        }
    }

    /// A value that is neither missing, null nor empty text.
    fn value(&self, name: &str) -> Option<&'a Value> {
        match self.map.get(name) {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) if text.is_empty() => None,
            Some(value) => Some(value),
        }
    }

    /// Whether it is given as empty text, where that is something else than not to give it.
    fn cleared(&self, name: &str) -> bool {
        self.map.get(name).and_then(Value::as_str) == Some("")
    }

    fn present(&self, name: &str) -> bool {
        self.value(name).is_some()
    }

    /// `value`, or the error that it is missing unless another error says that it is wrong.
    fn required<T>(&self, name: &str, value: Option<T>, help: &str) -> Option<T> {
        if let Some(recorder) = self.recorder {
            recorder.require(self.path(name));
        }
        // One client writes what it does not give as `unknown_…`.
        let given =
            self.value(name).is_some_and(|value| value.as_str().is_none_or(|text| !text.starts_with("unknown_")));
        if value.is_none() && !given {
            self.push(name, ArgumentReason::Required, help);
        }
        value
    }

    fn text(&self, name: &str) -> Option<&'a str> {
        self.is(name, || json!({"type": "string"}));
        let text = self.value(name)?.as_str();
        if text.is_none() {
            self.format(name, "must be a string");
        }
        text
    }

    fn bounded_text(&self, name: &str, most: usize) -> Option<String> {
        self.is(name, || json!({"type": "string", "maxLength": most}));
        let text = self.text(name)?;
        if text.chars().nth(most).is_some() {
            self.constraint(name, format!("must not be longer than {most} characters"));
            return None;
        }
        Some(text.to_owned())
    }

    fn boolean(&self, name: &str) -> Option<bool> {
        self.is(name, || json!({"type": "boolean"}));
        let value = self.value(name)?.as_bool();
        if value.is_none() {
            self.format(name, "must be `true` or `false`");
        }
        value
    }

    /// An integer of `least..=most`.
    fn number(&self, name: &str, least: u32, most: u32) -> Option<u32> {
        self.is(name, || json!({"type": "integer", "minimum": least, "maximum": most}));
        let value = self.value(name)?;
        let range = || format!("must be an integer from {least} to {most}");
        match value {
            Value::Number(number) if number.is_i64() || number.is_u64() => {
                let number = number.as_u64().and_then(|number| u32::try_from(number).ok());
                let inside = number.filter(|number| (least..=most).contains(number));
                if inside.is_none() {
                    self.constraint(name, range());
                }
                inside
            }
            _ => {
                self.format(name, range());
                None
            }
        }
    }

    fn id<T: From<Uuid>>(&self, name: &str) -> Option<T> {
        self.is(name, || json!({"type": "string", "format": "uuid"}));
        let text = self.text(name)?;
        let id = uuid(text);
        if id.is_none() {
            self.format(name, format!("`{}` is not a UUID", excerpt(text)));
        }
        id.map(T::from)
    }

    fn required_id<T: From<Uuid>>(&self, name: &str, what: &str) -> Option<T> {
        self.required(name, self.id(name), &format!("give the id of {what}"))
    }

    /// An address with its mask; host bits are kept.
    fn network(&self, name: &str) -> Option<IpNet> {
        self.is(name, || json!({"type": "string", "description": "An address with a prefix length (CIDR)."}));
        let text = self.text(name)?;
        let network = IpNet::from_str(text).ok();
        if network.is_none() {
            self.format(name, format!("`{}` is not an address with a prefix length (CIDR)", excerpt(text)));
        }
        network
    }

    /// One word of an enumeration; `unknown_*` is absent.
    fn word<T: Copy>(&self, name: &str, all: impl Iterator<Item = (T, &'static str)> + Clone) -> Option<T> {
        self.is(name, || json!({"type": "string", "enum": all.clone().map(|(_, word)| word).collect::<Vec<_>>()}));
        let text = self.text(name).filter(|text| !text.starts_with("unknown_"))?;
        let found = all.clone().find(|(_, word)| *word == text).map(|(item, _)| item);
        if found.is_none() {
            self.format(name, format!("`{}` is none of {}", excerpt(text), words(all.map(|(_, word)| word))));
        }
        found
    }

    fn object(&self, name: &str) -> Option<Fields<'a>> {
        self.is(name, || json!({"type": "object"}));
        if self.recorder.is_some() {
            return Some(Fields { prefix: self.path(&format!("{name}.")), ..*self });
        }
        match self.value(name)? {
            Value::Object(map) => Some(Fields { map, prefix: self.path(&format!("{name}.")), ..*self }),
            _ => {
                self.format(name, "must be a JSON object");
                None
            }
        }
    }

    /// An array of at most `most` items.
    fn array(&self, name: &str, most: usize) -> Option<&'a [Value]> {
        self.is(name, || json!({"type": "array", "maxItems": most}));
        if let Some(recorder) = self.recorder {
            return Some(recorder.one_item());
        }
        match self.value(name)? {
            Value::Array(items) if items.len() <= most => Some(items),
            Value::Array(_) => {
                self.constraint(name, format!("must not have more than {most} items"));
                None
            }
            _ => {
                self.format(name, "must be a JSON array");
                None
            }
        }
    }

    /// An array of CIDR strings, host bits kept. Wrong items are named by their index.
    fn networks(&self, name: &str, most: usize) -> Option<Vec<IpNet>> {
        self.is(&format!("{name}[0]"), || json!({"type": "string", "description": "A prefix (CIDR)."}));
        let items = self.array(name, most)?;
        let mut networks = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            match item.as_str().map(|text| (text, IpNet::from_str(text))) {
                Some((_, Ok(network))) => networks.push(network),
                Some((text, Err(_))) => self.format(
                    &format!("{name}[{index}]"),
                    format!("`{}` is not a prefix in CIDR notation", excerpt(text)),
                ),
                None => self.format(&format!("{name}[{index}]"), "must be a string"),
            }
        }
        Some(networks)
    }

    fn tags(&self) -> Option<Vec<String>> {
        self.is("tags[0]", || json!({"type": "string", "maxLength": MAX_TAG}));
        let items = self.array("tags", MAX_TAGS)?;
        let mut tags = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            let name = format!("tags[{index}]");
            match item.as_str() {
                Some(tag) if tag.chars().nth(MAX_TAG).is_some() => {
                    self.constraint(&name, format!("must not be longer than {MAX_TAG} characters"));
                }
                Some(tag) => tags.push(tag.to_owned()),
                None => self.format(&name, "must be a string"),
            }
        }
        if tags.iter().map(String::len).sum::<usize>() > MAX_TAGS_OCTETS {
            self.constraint("tags", format!("all tags together must not be longer than {MAX_TAGS_OCTETS} octets"));
        }
        Some(tags)
    }

    fn name(&self) -> Option<String> {
        let name = self.bounded_text("name", MAX_NAME)?;
        if name.chars().any(char::is_control) {
            self.constraint("name", "must not contain control characters");
            return None;
        }
        Some(name)
    }

    fn meta(&self) -> NewMeta {
        let name = self.required("name", self.name(), "give a name of 1 to 255 characters");
        NewMeta {
            project_id: self.id("project_id"),
            name: name.unwrap_or_default(),
            tags: self.tags().unwrap_or_default(),
        }
    }

    fn rename(&self) -> Rename {
        Rename { name: self.name(), tags: self.tags() }
    }

    /// Records that this server does not offer `name`, if the request uses it: ignoring it would do something else than what was asked.
    fn not_offered(&self, name: &str) {
        let used = match self.value(name) {
            None | Some(Value::Bool(false)) => false,
            Some(Value::Array(items)) => !items.is_empty(),
            Some(Value::Object(map)) => !map.is_empty(),
            Some(_) => true,
        };
        if used {
            self.errors.not_offered(&self.path(name));
        }
    }
}

/// A bare address, or one with the mask of a single host, which some clients append.
fn host(text: &str) -> Option<IpAddr> {
    match IpAddr::from_str(text) {
        Ok(address) => Some(address),
        Err(_) => IpNet::from_str(text)
            .ok()
            .filter(|network| network.prefix_len() == network.max_prefix_len())
            .map(|network| network.addr()),
    }
}

#[cfg(test)]
mod tests;
