//! Secrets and their versions. Data never comes from the command line itself, which every user of the machine can read.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, Subcommand};
use hyper::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::{Filters, New, Object, Objects, delete, edit, edits, get, list};
use crate::client::Target;
use crate::failure::Failure;
use crate::output::{Column, inline};
use crate::session::{Api, Kind, Session, set, set_some, text};

pub(crate) const SECRET: Kind = Kind { noun: "secret", api: Api::Secret, collection: "secrets", list_key: "secrets" };

/// Octets of data at most, as the API has it.
const MAX_DATA: usize = 65_536;

const COLUMNS: &[Column] = &[
    Column { title: "NAME", cell: |secret| text(secret, "/name") },
    Column { title: "ID", cell: |secret| text(secret, "/id") },
    Column { title: "STATUS", cell: |secret| text(secret, "/status") },
    Column { title: "VERSIONS", cell: |secret| text(secret, "/version_count") },
    Column { title: "TYPE", cell: |secret| text(secret, "/type") },
    Column { title: "USED BY", cell: |secret| secret.get("used_by").map(inline).unwrap_or_default() },
];

const VERSION_COLUMNS: &[Column] = &[
    Column { title: "REVISION", cell: |version| text(version, "/revision") },
    Column { title: "STATUS", cell: |version| text(version, "/status") },
    Column { title: "LATEST", cell: |version| text(version, "/latest") },
    Column { title: "CREATED", cell: |version| text(version, "/created_at") },
    Column { title: "DESCRIPTION", cell: |version| text(version, "/description") },
];

/// What can be done with secrets.
#[derive(Subcommand)]
pub enum Action {
    /// List secrets
    List(Filters),
    /// Show a secret, but not its data
    Get(Object),
    /// Create a secret, with a first version if data is given
    Create(Create),
    /// Change a secret's name, description or tags
    Edit(Edit),
    /// Delete secrets
    Delete(Objects),
    /// List the versions of a secret
    Versions(Object),
    /// Add a version
    AddVersion(AddVersion),
    /// Print the data of a version
    Access(Access),
    /// Enable a version
    EnableVersion(Version),
    /// Disable a version: its data cannot be read
    DisableVersion(Version),
    /// Change a version's description
    EditVersion(EditVersion),
    /// Delete a version
    DeleteVersion(Version),
    /// Protect a secret against deletion
    Protect(Object),
    /// Allow the deletion of a secret again
    Unprotect(Object),
}

/// `secret create`
#[derive(Args)]
pub struct Create {
    #[command(flatten)]
    new: New,
    /// What it is for
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Refuse to delete it until it is unprotected
    #[arg(long)]
    protected: bool,
    /// A file with the data of the first version; `-` reads standard input
    #[arg(long, value_name = "FILE")]
    data_file: Option<PathBuf>,
    #[command(flatten)]
    newline: Newline,
}

#[derive(Args)]
struct Newline {
    /// Keep the newline at the end of data that is one line; without this it goes, since no key ends with one
    #[arg(long)]
    keep_newline: bool,
}

/// `secret edit`
#[derive(Args)]
pub struct Edit {
    #[command(flatten)]
    secret: Object,
    #[command(flatten)]
    changes: Changes,
}

#[derive(Args)]
#[group(required = true, multiple = true)]
struct Changes {
    /// Its new name
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// What it is for
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Its tags from now on; may be given several times
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// Take all tags away
    #[arg(long, conflicts_with = "tags")]
    no_tags: bool,
}

/// `secret add-version`
#[derive(Args)]
pub struct AddVersion {
    #[command(flatten)]
    secret: Object,
    /// A file with the data; `-` reads standard input
    #[arg(long, value_name = "FILE", default_value = "-")]
    data_file: PathBuf,
    #[command(flatten)]
    newline: Newline,
    /// What it is for
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Disable the version before it
    #[arg(long)]
    disable_previous: bool,
}

/// `secret access`
#[derive(Args)]
pub struct Access {
    #[command(flatten)]
    secret: Object,
    /// Which version: a number, `latest` or `latest_enabled`
    #[arg(long, value_name = "REVISION", default_value = "latest_enabled")]
    revision: String,
}

/// `secret enable-version` and its like
#[derive(Args)]
pub struct Version {
    #[command(flatten)]
    secret: Object,
    /// Which version: a number, or `latest`
    #[arg(value_name = "REVISION")]
    revision: String,
}

/// `secret edit-version`
#[derive(Args)]
pub struct EditVersion {
    #[command(flatten)]
    version: Version,
    /// What it is for
    #[arg(long, value_name = "TEXT")]
    description: String,
}

/// The part of a version's access that is wanted.
#[derive(Deserialize, Zeroize, ZeroizeOnDrop)]
struct Payload {
    data: String,
}

/// The body of a new version.
#[derive(Serialize)]
struct NewVersion<'a> {
    data: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    disable_previous: bool,
}

fn version_target(session: &Session<'_>, secret: &str, revision: &str) -> Target {
    session.object(&SECRET, secret).join("versions").join(revision)
}

/// The data of a version.
pub(crate) async fn access(session: &Session<'_>, secret: &str, revision: &str) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let target = version_target(session, secret, revision).join("access");
    let payload: Payload = session.fetch(&target).await?.typed()?;
    let why = |error: base64::DecodeError| Failure::Answer { what: target.as_str().to_owned(), why: error.to_string() };
    Ok(Zeroizing::new(STANDARD.decode(&payload.data).map_err(why)?))
}

/// The data of a file, within the API's bound.
fn read_data(path: &Path, keep_newline: bool) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let failed = |error| Failure::File { verb: "read", path: path.display().to_string(), error };
    let source: Box<dyn std::io::Read> = if path == Path::new("-") {
        Box::new(std::io::stdin())
    } else {
        Box::new(std::fs::File::open(path).map_err(failed)?)
    };
    // The room is there from the start, so that no copy is left behind.
    let mut data = Zeroizing::new(Vec::with_capacity(MAX_DATA + 1));
    source.take(u64::try_from(MAX_DATA + 1).unwrap_or(u64::MAX)).read_to_end(&mut data).map_err(failed)?;
    if data.len() > MAX_DATA {
        return Err(Failure::Usage(format!("{} is longer than {MAX_DATA} octets", path.display())));
    }
    if !keep_newline {
        strip_newline(&mut data);
    }
    if data.is_empty() {
        return Err(Failure::Usage(format!("{} is empty", path.display())));
    }
    Ok(data)
}

/// Takes the newline from the end of data that is a single line.
fn strip_newline(data: &mut Vec<u8>) {
    if data.iter().filter(|octet| **octet == b'\n').count() == 1 && data.last() == Some(&b'\n') {
        data.pop();
        if data.last() == Some(&b'\r') {
            data.pop();
        }
    }
}

async fn add_version(
    session: &Session<'_>,
    secret: &str,
    data: &[u8],
    description: Option<&str>,
    disable_previous: bool,
) -> Result<Value, Failure> {
    let data = Zeroizing::new(STANDARD.encode(data));
    let new = NewVersion { data: &data, description, disable_previous };
    // Room for the data, for a description whose every octet is escaped, and for the keys.
    let mut body = Zeroizing::new(Vec::with_capacity(data.len() + 6 * description.map_or(0, str::len) + 128));
    let target = session.object(&SECRET, secret).join("versions");
    serde_json::to_writer(&mut *body, &new).map_err(std::io::Error::from)?;
    session.send_octets(Method::POST, &target, body).await
}

impl Action {
    pub(crate) async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        match self {
            Self::List(filters) => list(session, &SECRET, "secrets", COLUMNS, &filters.query()).await,
            Self::Get(wanted) => get(session, &SECRET, &wanted.object).await,
            Self::Create(new) => create(session, new).await,
            Self::Edit(Edit { secret, changes }) => {
                let mut body = edits(changes.name.as_ref(), &changes.tags, changes.no_tags);
                set_some(&mut body, "description", changes.description);
                edit(session, &SECRET, &secret.object, &body).await
            }
            Self::Delete(wanted) => delete(session, &SECRET, &wanted.objects).await,
            Self::Versions(wanted) => {
                let id = session.id(&SECRET, &wanted.object).await?;
                let found = session.pages(session.object(&SECRET, &id).join("versions"), "versions").await?;
                session.show_list("versions", VERSION_COLUMNS, found)
            }
            Self::AddVersion(add) => {
                let id = session.id(&SECRET, &add.secret.object).await?;
                let data = read_data(&add.data_file, add.newline.keep_newline)?;
                let version =
                    add_version(session, &id, &data, add.description.as_deref(), add.disable_previous).await?;
                session.show(&version)
            }
            Self::Access(wanted) => {
                let id = session.id(&SECRET, &wanted.secret.object).await?;
                if session.is_table() {
                    let data = access(session, &id, &wanted.revision).await?;
                    return print_data(session, &data);
                }
                let document = session.get(&version_target(session, &id, &wanted.revision).join("access")).await?;
                session.show(&document)
            }
            Self::EnableVersion(version) => version.act(session, "enable", "enabled").await,
            Self::DisableVersion(version) => version.act(session, "disable", "disabled").await,
            Self::EditVersion(EditVersion { version, description }) => {
                let id = session.id(&SECRET, &version.secret.object).await?;
                let target = version_target(session, &id, &version.revision);
                let answer = session.send(Method::PATCH, &target, &json!({"description": description})).await?;
                session.show(&answer)
            }
            Self::DeleteVersion(version) => {
                let id = session.id(&SECRET, &version.secret.object).await?;
                let answer = session.delete(&version_target(session, &id, &version.revision)).await?;
                session.done(&format!("deleted version {} of secret {id}", version.revision), &answer)
            }
            Self::Protect(wanted) => protect(session, &wanted.object, true).await,
            Self::Unprotect(wanted) => protect(session, &wanted.object, false).await,
        }
    }
}

async fn create(session: &mut Session<'_>, new: Create) -> Result<(), Failure> {
    // What cannot be read must not leave a secret without a version behind.
    let data = match &new.data_file {
        Some(path) => Some(read_data(path, new.newline.keep_newline)?),
        None => None,
    };
    let mut body = new.new.body();
    set(&mut body, "type", json!("opaque"));
    set(&mut body, "protected", json!(new.protected));
    set_some(&mut body, "description", new.description);
    let mut secret = session.create(&SECRET, body).await?;
    if let Some(data) = data {
        let id = text(&secret, "/id");
        if let Err(failure) = add_version(session, &id, &data, None, false).await {
            session.console.warn(&format!("secret {id} was created, but without a version"));
            return Err(failure);
        }
        secret = session.get(&session.object(&SECRET, &id)).await?;
    }
    session.show(&secret)
}

/// Data as it is. On a terminal a newline helps; anywhere else it would be part of the data.
pub(crate) fn print_data(session: &mut Session<'_>, data: &[u8]) -> Result<(), Failure> {
    session.console.verbatim(data)?;
    if session.console.is_terminal {
        session.console.line("")?;
    }
    Ok(())
}

async fn protect(session: &mut Session<'_>, name: &str, on: bool) -> Result<(), Failure> {
    let id = session.id(&SECRET, name).await?;
    let verb = if on { "protect" } else { "unprotect" };
    let secret = session.act(&session.object(&SECRET, &id).join(verb)).await?;
    session.done(&format!("{verb}ed secret {id}"), &secret)
}

impl Version {
    async fn act(&self, session: &mut Session<'_>, verb: &str, done: &str) -> Result<(), Failure> {
        let id = session.id(&SECRET, &self.secret.object).await?;
        let version = session.act(&version_target(session, &id, &self.revision).join(verb)).await?;
        session.done(&format!("{done} version {} of secret {id}", self.revision), &version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_newline_of_a_single_line_goes() {
        for (given, kept) in
            [("k\n", "k"), ("k\r\n", "k"), ("k", "k"), ("a\nb\n", "a\nb\n"), ("\n", ""), ("a\nb", "a\nb")]
        {
            let mut data = given.as_bytes().to_vec();
            strip_newline(&mut data);
            assert_eq!(data, kept.as_bytes(), "{given:?}");
        }
    }
}
