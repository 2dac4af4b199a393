//! Secret manager bodies (wire-api.md §7).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use causeway_model::Error;
use causeway_model::command::{NewSecret, NewSecretVersion, Rename, RevisionRef};
use zeroize::Zeroizing;

use super::{Body, Fields, MAX_DESCRIPTION, MAX_NAME};

/// Octets of a version's data at most.
pub const MAX_SECRET_DATA: usize = 65_536;
/// Types that are known; any other becomes `opaque`.
pub const SECRET_TYPES: [&str; 6] =
    ["opaque", "certificate", "key_value", "basic_credentials", "database_credentials", "ssh_key"];

/// Products that can be let use a secret.
const PRODUCTS: [&str; 2] = ["edge_services", "s2s_vpn"];

/// What an update of a secret asks for; `None` = unchanged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpdateSecret {
    /// Name and tags.
    pub rename: Rename,
    /// Free text.
    pub description: Option<String>,
    /// Folder.
    pub path: Option<String>,
}

impl Body {
    /// Create a secret.
    ///
    /// # Errors
    /// Every invalid field.
    pub fn new_secret(&self) -> Result<NewSecret, Error> {
        self.read(|fields| {
            fields.not_offered("ephemeral_policy");
            fields.not_offered("key_id");
            let kind = fields.text("type").filter(|kind| SECRET_TYPES.contains(kind)).unwrap_or("opaque");
            NewSecret {
                meta: fields.meta(),
                description: fields.bounded_text("description", MAX_DESCRIPTION).unwrap_or_default(),
                kind: kind.to_owned(),
                path: path(fields).unwrap_or_else(|| "/".to_owned()),
                protected: fields.boolean("protected").unwrap_or(false),
            }
        })
    }

    /// Update a secret.
    ///
    /// # Errors
    /// Every invalid field.
    pub fn update_secret(&self) -> Result<UpdateSecret, Error> {
        self.read(|fields| {
            fields.not_offered("ephemeral_policy");
            UpdateSecret {
                rename: fields.rename(),
                description: fields.bounded_text("description", MAX_DESCRIPTION),
                path: path(fields),
            }
        })
    }

    /// Create a version of a secret. The checksum, if there is one, has been verified.
    ///
    /// # Errors
    /// Every invalid field.
    pub fn new_secret_version(&self) -> Result<NewSecretVersion, Error> {
        self.read(|fields| {
            let data = fields.required("data", data(fields), "give the secret's data in base64");
            let data_crc32 = fields.number("data_crc32", 0, u32::MAX);
            if let (Some(data), Some(expected)) = (&data, data_crc32)
                && crc32(data) != expected
            {
                fields.constraint("data_crc32", "is not the CRC32 of the decoded `data`");
            }
            NewSecretVersion {
                data: data.unwrap_or_default(),
                description: fields.bounded_text("description", MAX_DESCRIPTION),
                disable_previous: fields.boolean("disable_previous").unwrap_or(false),
                data_crc32,
            }
        })
    }

    /// Add an owner: the product.
    ///
    /// # Errors
    /// Every invalid field.
    pub fn secret_owner(&self) -> Result<&'static str, Error> {
        self.read(|fields| {
            let product = fields.word("product", PRODUCTS.into_iter().map(|product| (product, product)));
            fields.required("product", product, "say which product may use the secret").unwrap_or_default()
        })
    }

    /// Update a version of a secret: its description.
    ///
    /// # Errors
    /// Every invalid field.
    pub fn update_secret_version(&self) -> Result<Option<String>, Error> {
        self.read(|fields| {
            fields.not_offered("ephemeral_properties");
            fields.bounded_text("description", MAX_DESCRIPTION)
        })
    }
}

/// `{revision}` of a path: a number from 1, `latest` or `latest_enabled`.
#[must_use]
pub fn revision(text: &str) -> Option<RevisionRef> {
    match text {
        "latest" => Some(RevisionRef::Latest),
        "latest_enabled" => Some(RevisionRef::LatestEnabled),
        // Digits and nothing else: one version has one address, but for leading zeros.
        number if number.bytes().all(|octet| octet.is_ascii_digit()) => {
            number.parse().ok().filter(|number| *number > 0).map(RevisionRef::Number)
        }
        _ => None,
    }
}

fn path(fields: &Fields<'_>) -> Option<String> {
    let path = fields.bounded_text("path", MAX_NAME)?;
    if !path.starts_with('/') {
        fields.constraint("path", "must begin with `/`");
        return None;
    }
    Some(path)
}

fn data(fields: &Fields<'_>) -> Option<Zeroizing<Vec<u8>>> {
    let text = fields.text("data")?;
    let Ok(data) = STANDARD.decode(text).map(Zeroizing::new) else {
        fields.format("data", "is not base64 (standard alphabet, with padding)");
        return None;
    };
    if data.len() > MAX_SECRET_DATA {
        fields.constraint("data", format!("must not be longer than {MAX_SECRET_DATA} octets"));
        return None;
    }
    Some(data)
}

/// CRC-32 (IEEE 802.3, reflected), which the API uses as a checksum of transport, bit by bit: data is small and rare.
fn crc32(data: &[u8]) -> u32 {
    const POLYNOMIAL: u32 = 0xedb8_8320;
    let crc = data.iter().fold(u32::MAX, |crc, octet| {
        (0..8).fold(crc ^ u32::from(*octet), |crc, _| if crc & 1 == 1 { crc >> 1 ^ POLYNOMIAL } else { crc >> 1 })
    });
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_value_of_crc32() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(crc32(b""), 0);
    }

    #[test]
    fn revisions_are_numbers_from_one_or_two_words() {
        assert_eq!(revision("7"), Some(RevisionRef::Number(7)));
        assert_eq!(revision("latest"), Some(RevisionRef::Latest));
        assert_eq!(revision("latest_enabled"), Some(RevisionRef::LatestEnabled));
        for text in ["0", "-1", "+7", "", "newest", "4294967296", "1.0"] {
            assert_eq!(revision(text), None, "{text}");
        }
    }
}
