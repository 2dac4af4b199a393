//! The pre-shared key of a connection.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::Method;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::arguments::{ChangePsk, KeyFormat, Psk, RenewPsk};
use super::{CONNECTION, finish};
use crate::command::label;
use crate::command::secret::{SECRET, access, print_data};
use crate::failure::Failure;
use crate::session::{Session, set, set_some, text};
use crate::text::{printable, shell_word};

pub(super) async fn print(session: &mut Session<'_>, wanted: Psk) -> Result<(), Failure> {
    let connection = session.find(&CONNECTION, &wanted.connection.object).await?;
    let (secret, revision) = (text(&connection, "/secret_id"), text(&connection, "/secret_revision"));
    let key = access(session, &secret, &revision).await?;
    let key = match wanted.format {
        KeyFormat::Raw => key,
        KeyFormat::Base64 => base64_line(&key),
    };
    if let Some(path) = &wanted.output_file {
        write_private(path, &key)?;
        session.console.note(&format!("wrote the pre-shared key to {}", path.display()));
        return Ok(());
    }
    let place = format!("revision {revision} of secret {secret}");
    session.console.warn(&printable(&format!(
        "this is the pre-shared key of {}, in clear ({place}); whoever has it can be the device",
        label(&connection)
    )));
    if session.is_table() && wanted.format == KeyFormat::Raw {
        print_data(session, &key)
    } else if session.is_table() {
        Ok(session.console.verbatim(&key)?)
    } else {
        let text = String::from_utf8_lossy(&key);
        let text = if wanted.format == KeyFormat::Raw { &*text } else { text.trim_end() };
        session.show(&json!({"secret_id": secret, "secret_revision": revision, "pre_shared_key": text}))
    }
}

/// The room is there from the start, so that no copy is left behind.
fn base64_line(key: &[u8]) -> Zeroizing<Vec<u8>> {
    let text = Zeroizing::new(STANDARD.encode(key));
    let mut line = Zeroizing::new(Vec::with_capacity(text.len() + 1));
    line.extend_from_slice(text.as_bytes());
    line.push(b'\n');
    line
}

/// Writes a file that only its owner can read. One that is there already keeps nothing of its content, but gets these rights first.
fn write_private(path: &Path, octets: &[u8]) -> Result<(), Failure> {
    let write = || {
        let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
        file.write_all(octets)
    };
    write().map_err(|error| Failure::File { verb: "write", path: path.display().to_string(), error })
}

pub(super) async fn renew(session: &mut Session<'_>, wanted: RenewPsk) -> Result<(), Failure> {
    let connection = session.find(&CONNECTION, &wanted.connection.object).await?;
    let target = session.object(&CONNECTION, &text(&connection, "/id")).join("renew-psk");
    let body = json!({"generate_revision": !wanted.in_place});
    let answer = session.send(Method::POST, &target, &body).await?;
    changed(session, &connection, wanted.wait, answer, "made a new pre-shared key for").await?;
    if wanted.in_place && session.is_table() {
        name_others(session, &connection).await?;
    }
    Ok(())
}

/// Says which other connections have got the new key with this one: their devices need it too.
async fn name_others(session: &mut Session<'_>, connection: &Value) -> Result<(), Failure> {
    let key = |connection: &Value| (text(connection, "/secret_id"), text(connection, "/secret_revision"));
    let all = session.list(&CONNECTION, &[]).await?;
    let others =
        all.iter().filter(|other| key(other) == key(connection) && text(other, "/id") != text(connection, "/id"));
    let others: Vec<String> = others.map(label).collect();
    if !others.is_empty() {
        let text = format!("the new key is also that of {}: configure it on their devices too", others.join(", "));
        session.console.warn(&printable(&text));
    }
    Ok(())
}

pub(super) async fn change(session: &mut Session<'_>, wanted: ChangePsk) -> Result<(), Failure> {
    let connection = session.find(&CONNECTION, &wanted.connection.object).await?;
    let mut secret = json!({"id": session.id(&SECRET, &wanted.secret).await?});
    set_some(&mut secret, "revision", wanted.revision);
    let mut body = json!({});
    set(&mut body, "secret", secret);
    let target = session.object(&CONNECTION, &text(&connection, "/id")).join("change-psk");
    let answer = session.send(Method::POST, &target, &body).await?;
    changed(session, &connection, wanted.wait, answer, "changed the pre-shared key of").await
}

async fn changed(
    session: &mut Session<'_>,
    before: &Value,
    wait: crate::wait::Wait,
    answer: Value,
    done: &str,
) -> Result<(), Failure> {
    let after = answer.get("connection").cloned().unwrap_or(answer);
    let place = format!("revision {} of secret {}", text(&after, "/secret_revision"), text(&after, "/secret_id"));
    finish(session, before, wait, &format!("{done} {}: {place}", label(before)), &after).await?;
    if session.is_table() {
        let name = shell_word(&text(before, "/id")).into_owned();
        session.console.hint(&format!(
            "configure it on the device (causeway connection psk {name}), then: causeway connection reauthenticate {name}"
        ));
    }
    Ok(())
}
