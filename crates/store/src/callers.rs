//! The API keys that were shown lately, so that a request does not begin with a transaction of its own.
//!
//! A key that was found is remembered; that there is none is not, so that a new key is good at once, whichever process made it. SQLite says
//! when a transaction touches keys or projects (its update hook), and all of them are forgotten right after its commit, before anybody is
//! told that it is done: a key that was revoked is never taken again. What was read before a commit is not remembered after it, since the
//! generation has changed meanwhile. Whether a key has expired is for whoever asks to see, each time.
//!
//! All this is of one process. With several controllers over one database, each has to forget when another touches keys: by the outbox, as
//! the index of lists does, or by a revision that is read with the key.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::ApiKey;

/// Keys that are remembered at most: more are forgotten all at once.
const MOST: usize = 10_000;

/// Tables that a key is read from.
pub(crate) const TABLES: [&str; 2] = ["api_key", "project"];

/// SHA-256 of a secret key.
pub(crate) type Hash = [u8; 32];

/// What is remembered.
#[derive(Debug, Default)]
pub(crate) struct Callers(Mutex<Remembered>);

#[derive(Debug, Default)]
struct Remembered {
    generation: u64,
    keys: HashMap<Hash, ApiKey>,
}

impl Callers {
    fn lock(&self) -> MutexGuard<'_, Remembered> {
        // A map is whole whatever panicked beside it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The key with this hash, or else the generation to remember it with.
    pub(crate) fn find(&self, hash: &Hash) -> Result<ApiKey, u64> {
        let remembered = self.lock();
        remembered.keys.get(hash).cloned().ok_or(remembered.generation)
    }

    /// Remembers a key that was read since `generation` was told.
    pub(crate) fn remember(&self, generation: u64, hash: Hash, key: ApiKey) {
        let mut remembered = self.lock();
        if remembered.generation != generation {
            return;
        }
        if remembered.keys.len() >= MOST {
            remembered.keys.clear();
        }
        remembered.keys.insert(hash, key);
    }

    /// Forgets all keys.
    pub(crate) fn forget(&self) {
        let mut remembered = self.lock();
        remembered.generation += 1;
        remembered.keys.clear();
    }
}

#[cfg(test)]
mod tests {
    use causeway_model::resource::Role;
    use causeway_model::{OrganizationId, ProjectId, Timestamp};

    use super::*;

    fn key() -> ApiKey {
        ApiKey {
            access_key: "SCW".to_owned(),
            role: Role::Tenant,
            project_id: ProjectId::random(),
            organization_id: OrganizationId::random(),
            partner_id: None,
            description: String::new(),
            created_at: Timestamp(0),
            expires_at: None,
            revoked_at: None,
        }
    }

    #[test]
    fn what_was_read_before_a_change_is_not_remembered_after_it() {
        let callers = Callers::default();
        let (hash, key) = ([1; 32], key());
        let before = callers.find(&hash).expect_err("not known yet");
        callers.forget();
        callers.remember(before, hash, key.clone());
        let after = callers.find(&hash).expect_err("it may be revoked by now");
        callers.remember(after, hash, key.clone());
        assert_eq!(callers.find(&hash), Ok(key));
        callers.forget();
        assert!(callers.find(&hash).is_err());
    }

    #[test]
    fn a_flood_of_keys_takes_bounded_memory() {
        let callers = Callers::default();
        for number in 0..=u16::try_from(MOST).expect("few") {
            let mut hash = [0; 32];
            hash[..2].copy_from_slice(&number.to_be_bytes());
            callers.remember(0, hash, key());
        }
        assert_eq!(callers.lock().keys.len(), 1);
    }
}
