//! Changing the key that wraps all secrets at rest.

use causeway_crypto::Kek;
use causeway_model::Error;
use causeway_store::{EnvelopeOf, Store};

use crate::{Result, door, psk, secret, webhook};

/// The setting that says which key the secrets are wrapped by, once that was changed.
const KEY_ID: &str = "master_key";

/// Which key the secrets are wrapped by, as the store says it; `None`: by the first one, which never changed.
///
/// # Errors
/// If the store fails.
pub async fn master_key_id(store: &Store) -> Result<Option<u32>> {
    let id = store.read().await?.setting(KEY_ID).await?;
    let parse = |text: String| {
        u32::from_str_radix(&text, 16).map_err(|error| Error::Internal(format!("setting {KEY_ID}: {error}")))
    };
    id.map(parse).transpose()
}

/// Wraps everything that `old` wraps by `new`, all or nothing, and says how much it was. Whoever opens the store afterwards needs `new`.
///
/// # Errors
/// If the store fails, or holds an envelope that `old` does not open or that is not known here; then nothing has changed.
pub async fn rotate_master_key(store: &Store, old: &Kek, new: &Kek) -> Result<u64> {
    let mut writer = store.write().await?;
    let count = writer
        .replace_envelopes(|of, envelope| {
            let context = match of {
                EnvelopeOf::SecretVersion(id, revision) => secret::context(id, revision),
                EnvelopeOf::PreviousKey(id) => psk::previous_context(id),
                EnvelopeOf::Webhook(id) => webhook::context(id),
                EnvelopeOf::NodeAuthority(id) => door::context(id),
            };
            old.rewrap(new, &context, envelope).map_err(|error| Error::Internal(format!("{context}: {error}")))
        })
        .await?;
    // An envelope that is forgotten here would be lost with the old key.
    let overlooked = writer.tables_with_octets(&old.mark()).await?;
    if !overlooked.is_empty() {
        return Err(Error::Internal(format!("the tables {} still need the old key", overlooked.join(", "))));
    }
    writer.set_setting(KEY_ID, &format!("{:08x}", new.id())).await?;
    writer.commit().await?;
    // What the old key opens must not stay in the file's free space.
    store.compact().await?;
    Ok(count)
}
