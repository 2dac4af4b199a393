//! What every command works with: the client, the place (region, project), and the console.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use futures_util::{StreamExt as _, stream};
use hyper::Method;
use serde_json::{Value, json};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::client::{Client, Reply, Stream, Target};
use crate::connect::AUTHORITIES_VARIABLE;
use crate::failure::Failure;
use crate::output::{Column, Console, Format, details, table};

/// Objects asked for at once.
const PAGE: usize = 500;
/// Pages that a list is read to; who has more objects wants filters.
const MAX_PAGES: usize = 400;
/// Rows for which a list looks the reasons up.
const MAX_REASONS: usize = 100;

/// Flags that every resource command has.
#[derive(Args, Clone, Debug, Default)]
pub struct Common {
    /// How results are printed
    #[arg(
        short,
        long,
        value_enum,
        value_name = "FORMAT",
        default_value_t,
        global = true,
        help_heading = "Common options"
    )]
    pub(crate) output: Format,
    /// The project: where objects are created, and what lists and names are narrowed to [default for creating: $SCW_DEFAULT_PROJECT_ID]
    #[arg(long, value_name = "ID", global = true, help_heading = "Common options")]
    pub(crate) project_id: Option<String>,
    /// The region [default: $SCW_DEFAULT_REGION]
    #[arg(long, value_name = "REGION", global = true, help_heading = "Common options")]
    pub(crate) region: Option<String>,
}

/// A sort of object and where it lives.
pub(crate) struct Kind {
    /// What people call it.
    pub(crate) noun: &'static str,
    /// Its API.
    pub(crate) api: Api,
    /// The collection in the path.
    pub(crate) collection: &'static str,
    /// The key of the list in the answer.
    pub(crate) list_key: &'static str,
}

/// An API and where its paths begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Api {
    S2s,
    Interlink,
    Vpc,
    Ipam,
    Secret,
    /// Not regional.
    Account,
    /// `/causeway/v1/regions/{region}`.
    Extension,
    /// `/causeway/v1`, not regional.
    Causeway,
    /// `/causeway/v1/operator`.
    Operator,
    /// `/causeway/v1/partner`.
    Partner,
}

/// One command's surroundings.
pub(crate) struct Session<'a> {
    client: Client,
    region: String,
    /// The default zone, if it is one of the region.
    zone: Option<String>,
    default_project: Option<String>,
    organization: Option<String>,
    chosen_project: Option<String>,
    /// How results are printed.
    pub(crate) format: Format,
    /// Where.
    pub(crate) console: Console<'a>,
}

impl<'a> Session<'a> {
    pub(crate) fn new(
        common: &Common,
        environment: &dyn Fn(&str) -> Option<String>,
        console: Console<'a>,
    ) -> Result<Self, (Failure, Console<'a>)> {
        let variable = |name: &str| environment(name).filter(|value| !value.is_empty());
        let url = variable("SCW_API_URL");
        let key = variable("SCW_SECRET_KEY").map(Zeroizing::new);
        let region = common.region.clone().or_else(|| variable("SCW_DEFAULT_REGION"));
        let (Some(url), Some(key), Some(region)) = (&url, &key, &region) else {
            let present = [
                ("SCW_API_URL", url.is_some()),
                ("SCW_SECRET_KEY", key.is_some()),
                ("SCW_DEFAULT_REGION", region.is_some()),
            ];
            let missing = present.into_iter().filter(|(_, there)| !there).map(|(name, _)| name).collect();
            return Err((Failure::Environment(missing), console));
        };
        let authorities = variable(AUTHORITIES_VARIABLE).map(PathBuf::from);
        let client = match Client::new(url, key, authorities.as_deref()) {
            Ok(client) => client,
            Err(failure) => return Err((failure, console)),
        };
        Ok(Self {
            client,
            region: region.clone(),
            zone: variable("SCW_DEFAULT_ZONE")
                .filter(|zone| zone.strip_prefix(region.as_str()).is_some_and(|rest| rest.starts_with('-'))),
            default_project: variable("SCW_DEFAULT_PROJECT_ID"),
            organization: variable("SCW_DEFAULT_ORGANIZATION_ID"),
            chosen_project: common.project_id.clone(),
            format: common.output,
            console,
        })
    }

    /// Whether a person reads the results.
    pub(crate) fn is_table(&self) -> bool {
        self.format == Format::Table
    }

    /// The project in which objects are created.
    pub(crate) fn project(&self) -> Result<&str, Failure> {
        let project = self.chosen_project.as_deref().or(self.default_project.as_deref());
        project.ok_or_else(|| Failure::Environment(vec!["SCW_DEFAULT_PROJECT_ID (and there is no --project-id)"]))
    }

    /// The project given on the command line.
    pub(crate) fn chosen_project(&self) -> Option<&str> {
        self.chosen_project.as_deref()
    }

    /// The organization, where it is known.
    pub(crate) fn organization(&self) -> Option<&str> {
        self.organization.as_deref()
    }

    /// The default zone.
    pub(crate) fn zone(&self) -> Option<&str> {
        self.zone.as_deref()
    }

    /// The path of an API with these segments below it.
    pub(crate) fn at<'s>(&'s self, api: Api, segments: impl IntoIterator<Item = &'s str>) -> Target {
        let region = self.region.as_str();
        let prefix: &[&str] = match api {
            Api::S2s => &["s2s-vpn", "v1alpha1", "regions", region],
            Api::Interlink => &["interlink", "v1beta1", "regions", region],
            Api::Vpc => &["vpc", "v2", "regions", region],
            Api::Ipam => &["ipam", "v1", "regions", region],
            Api::Secret => &["secret-manager", "v1beta1", "regions", region],
            Api::Account => &["account", "v3"],
            Api::Extension => &["causeway", "v1", "regions", region],
            Api::Causeway => &["causeway", "v1"],
            Api::Operator => &["causeway", "v1", "operator"],
            Api::Partner => &["causeway", "v1", "partner"],
        };
        Target::new(prefix.iter().copied().chain(segments))
    }

    /// The path of an object.
    pub(crate) fn object(&self, kind: &Kind, id: &str) -> Target {
        self.at(kind.api, [kind.collection, id])
    }

    /// GET.
    pub(crate) async fn get(&self, target: &Target) -> Result<Value, Failure> {
        self.fetch(target).await?.json()
    }

    /// GET of something that is no document, or should not be kept as one.
    pub(crate) async fn fetch(&self, target: &Target) -> Result<Reply, Failure> {
        self.client.call(Method::GET, target, None).await
    }

    /// GET of something that comes piece by piece; see [`Client::open`].
    pub(crate) async fn open(&self, target: &Target, accept: &str, last: Option<u64>) -> Result<Stream, Failure> {
        self.client.open(target, accept, last).await
    }

    /// A call with a body.
    pub(crate) async fn send(&self, method: Method, target: &Target, body: &Value) -> Result<Value, Failure> {
        self.send_octets(method, target, Zeroizing::new(body.to_string().into_bytes())).await
    }

    /// A call with a body that may be a secret. An empty answer is null.
    pub(crate) async fn send_octets(
        &self,
        method: Method,
        target: &Target,
        body: Zeroizing<Vec<u8>>,
    ) -> Result<Value, Failure> {
        let reply = self.client.call(method, target, Some(body)).await?;
        if reply.body.is_empty() { Ok(Value::Null) } else { reply.json() }
    }

    /// An action without parameters.
    pub(crate) async fn act(&self, target: &Target) -> Result<Value, Failure> {
        self.send(Method::POST, target, &json!({})).await
    }

    /// Creates an object in the project.
    pub(crate) async fn create(&self, kind: &Kind, mut body: Value) -> Result<Value, Failure> {
        set(&mut body, "project_id", json!(self.project()?));
        self.send(Method::POST, &self.at(kind.api, [kind.collection]), &body).await
    }

    /// Changes an object.
    pub(crate) async fn edit(&self, kind: &Kind, id: &str, body: &Value) -> Result<Value, Failure> {
        self.send(Method::PATCH, &self.object(kind, id), body).await
    }

    /// Deletes an object. An empty answer is null.
    pub(crate) async fn delete(&self, target: &Target) -> Result<Value, Failure> {
        let reply = self.client.call(Method::DELETE, target, None).await?;
        if reply.body.is_empty() { Ok(Value::Null) } else { reply.json() }
    }

    /// Every object that the filters leave, page by page.
    pub(crate) async fn list(&mut self, kind: &Kind, filters: &[(&str, &str)]) -> Result<Vec<Value>, Failure> {
        let mut target = self.at(kind.api, [kind.collection]);
        for (name, value) in filters {
            target = target.with(name, value);
        }
        if let Some(project) = &self.chosen_project
            && !matches!(kind.api, Api::Account | Api::Operator | Api::Partner)
        {
            target = target.with("project_id", project);
        }
        self.pages(target, kind.list_key).await
    }

    /// Every object of a list that the answers have below `key`.
    pub(crate) async fn pages(&mut self, target: Target, key: &str) -> Result<Vec<Value>, Failure> {
        let (objects, total) = self.first(target, key, PAGE * MAX_PAGES).await?;
        if total.is_some_and(|total| total > objects.len() as u64) {
            let count = objects.len();
            self.console.warn(&format!("only the first {count} objects are here; narrow the list with a filter"));
        }
        Ok(objects)
    }

    /// The first objects of a list, `most` at most, and how many there are, if the answers tell.
    pub(crate) async fn first(
        &self,
        target: Target,
        key: &str,
        most: usize,
    ) -> Result<(Vec<Value>, Option<u64>), Failure> {
        let mut objects = Vec::new();
        let size = most.clamp(1, PAGE);
        for page in 1_usize.. {
            let paged = target.clone().with("page", &page.to_string()).with("page_size", &size.to_string());
            let answer = self.get(&paged).await?;
            let total = answer.get("total_count").and_then(Value::as_u64);
            let found = items(answer, Some(key)).ok_or_else(|| Failure::Answer {
                what: target.as_str().to_owned(),
                why: "it has no list".to_owned(),
            })?;
            let count = found.len();
            objects.extend(found);
            let complete = total.map_or(count < size, |total| objects.len() as u64 >= total);
            if count == 0 || complete || objects.len() >= most {
                objects.truncate(most);
                return Ok((objects, total));
            }
        }
        Ok((objects, None))
    }

    /// The array in an answer that is no page of a longer list.
    pub(crate) async fn array(&self, target: &Target) -> Result<Vec<Value>, Failure> {
        let missing = || Failure::Answer { what: target.as_str().to_owned(), why: "it has no list".to_owned() };
        items(self.get(target).await?, None).ok_or_else(missing)
    }

    /// The object with this id or this exact name.
    pub(crate) async fn find(&mut self, kind: &Kind, name_or_id: &str) -> Result<Value, Failure> {
        if is_id(name_or_id) {
            self.get(&self.object(kind, name_or_id)).await
        } else {
            self.named(kind, name_or_id).await
        }
    }

    /// The id of the object with this id or this exact name. An id is taken as it is.
    pub(crate) async fn id(&mut self, kind: &Kind, name_or_id: &str) -> Result<String, Failure> {
        if is_id(name_or_id) {
            return Ok(name_or_id.to_owned());
        }
        let object = self.named(kind, name_or_id).await?;
        Ok(text(&object, "/id"))
    }

    async fn named(&mut self, kind: &Kind, name: &str) -> Result<Value, Failure> {
        let mut found = self.list(kind, &[("name", name)]).await?;
        // The API's filter finds substrings.
        found.retain(|object| object.get("name").and_then(Value::as_str) == Some(name));
        single(kind.noun, name, found)
    }

    /// Prints a list of what has this name in the plural.
    pub(crate) fn show_list(&mut self, nouns: &str, columns: &[Column], objects: Vec<Value>) -> Result<(), Failure> {
        if !self.is_table() {
            return Ok(self.console.document(self.format, &Value::Array(objects))?);
        }
        if objects.is_empty() {
            self.console.note(&format!("no {nouns}"));
            return Ok(());
        }
        Ok(self.console.verbatim(table(columns, &objects).as_bytes())?)
    }

    /// Prints an object.
    pub(crate) fn show(&mut self, object: &Value) -> Result<(), Failure> {
        if self.is_table() {
            Ok(self.console.verbatim(details(object).as_bytes())?)
        } else {
            Ok(self.console.document(self.format, object)?)
        }
    }

    /// Prints a document: for people as `shown` makes it.
    pub(crate) fn show_as(&mut self, document: &Value, shown: impl FnOnce(&Value) -> String) -> Result<(), Failure> {
        if self.is_table() {
            Ok(self.console.verbatim(shown(document).as_bytes())?)
        } else {
            Ok(self.console.document(self.format, document)?)
        }
    }

    /// Says what was done; programs get the document, if there is one.
    pub(crate) fn done(&mut self, message: &str, document: &Value) -> Result<(), Failure> {
        if self.is_table() {
            self.console.line(&crate::text::printable(message))?;
        } else if !document.is_null() {
            self.console.document(self.format, document)?;
        }
        Ok(())
    }

    /// Puts the reason of the object's state into it, for a table. Not knowing it is no error: the state is an extension of the API.
    pub(crate) async fn with_reason(&self, kind: &Kind, mut object: Value) -> Value {
        if self.is_table() {
            let id = text(&object, "/id");
            let state = self.get(&self.at(Api::Extension, [kind.collection, &id, "state"])).await;
            let reason = state.ok().as_ref().and_then(|state| state.get("reason")).map(reason).unwrap_or_default();
            set(&mut object, "reason", json!(reason));
        }
        object
    }

    /// Puts the codes of the reasons into the objects of a list, for a table.
    pub(crate) async fn with_reasons(&mut self, kind: &Kind, objects: Vec<Value>) -> Vec<Value> {
        if !self.is_table() || objects.is_empty() {
            return objects;
        }
        if objects.len() > MAX_REASONS {
            self.console.note(&format!(
                "more than {MAX_REASONS} rows, so no reasons are looked up; narrow the list with a filter"
            ));
            return objects;
        }
        let this = &*self;
        let codes: BTreeMap<String, String> = stream::iter(objects.iter().map(|object| text(object, "/id")))
            .map(|id| async move {
                let state = this.get(&this.at(Api::Extension, [kind.collection, &id, "state"])).await;
                let code = state.map(|state| text(&state, "/reason/code")).unwrap_or_default();
                (id, code)
            })
            .buffer_unordered(8)
            .collect()
            .await;
        objects
            .into_iter()
            .map(|mut object| {
                let code = codes.get(&text(&object, "/id")).cloned().unwrap_or_default();
                set(&mut object, "reason", json!(code));
                object
            })
            .collect()
    }
}

/// The one object; none and several are failures.
pub(crate) fn single(noun: &'static str, name: &str, mut found: Vec<Value>) -> Result<Value, Failure> {
    match (found.pop(), found.is_empty()) {
        (None, _) => Err(Failure::NoSuchName { noun, name: name.to_owned() }),
        (Some(object), true) => Ok(object),
        (Some(object), false) => {
            found.push(object);
            let ids = found.iter().map(|object| text(object, "/id")).collect();
            Err(Failure::Ambiguous { noun, name: name.to_owned(), ids })
        }
    }
}

/// Whether it can only be an id.
pub(crate) fn is_id(text: &str) -> bool {
    text.len() == uuid::fmt::Hyphenated::LENGTH && Uuid::try_parse(text).is_ok()
}

fn items(answer: Value, key: Option<&str>) -> Option<Vec<Value>> {
    let Value::Object(mut fields) = answer else { return None };
    let found = match key {
        Some(key) => fields.remove(key),
        None => fields.into_iter().map(|(_, value)| value).find(Value::is_array),
    };
    match found {
        Some(Value::Array(items)) => Some(items),
        _ => None,
    }
}

/// A string or number of a document; empty if it is not there.
pub(crate) fn text(document: &Value, pointer: &str) -> String {
    match document.pointer(pointer) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        Some(Value::Bool(value)) => value.to_string(),
        _ => String::new(),
    }
}

/// `code: message` of a reason.
pub(crate) fn reason(reason: &Value) -> String {
    match (text(reason, "/code"), text(reason, "/message")) {
        (code, message) if message.is_empty() => code,
        (code, message) => format!("{code}: {message}"),
    }
}

/// Sets a field of a document.
pub(crate) fn set(document: &mut Value, key: &str, value: Value) {
    if let Some(fields) = document.as_object_mut() {
        fields.insert(key.to_owned(), value);
    }
}

/// Sets a field of a document if there is something to set.
pub(crate) fn set_some<T: serde::Serialize>(document: &mut Value, key: &str, value: Option<T>) {
    if let Some(value) = value {
        set(document, key, json!(value));
    }
}
