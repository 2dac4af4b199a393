//! What the data of a secret look like that has a type. The data are looked at where they are: nothing is copied, and no error names them.

use std::collections::BTreeMap;

use causeway_model::Error;
use causeway_model::error::ArgumentReason;
use serde_json::value::RawValue;

use crate::Result;

/// The members of a type that is a JSON object of texts: name, and whether it has to be there. Without any: whatever names there are.
fn members(kind: &str) -> Option<&'static [(&'static str, bool)]> {
    match kind {
        "key_value" => Some(&[]),
        "basic_credentials" => Some(&[("password", true), ("username", false)]),
        "database_credentials" => Some(&[
            ("dbname", true),
            ("engine", true),
            ("host", true),
            ("password", true),
            ("port", true),
            ("username", true),
        ]),
        "ssh_key" => Some(&[("ssh_private_key", true)]),
        _ => None,
    }
}

fn refuse(kind: &str, help: &str) -> Error {
    let help = format!("not the data of a secret of the type `{kind}`: {help}");
    let error = causeway_model::error::ArgumentError { name: "data".to_owned(), reason: ArgumentReason::Format, help };
    Error::InvalidArguments(vec![error])
}

/// Refuses data that a secret of this type cannot have; `opaque` ones can be anything.
pub(crate) fn check(kind: &str, data: &[u8]) -> Result<()> {
    match members(kind) {
        Some(members) => object(kind, members, data),
        None if kind == "certificate" => pem(data).map_err(|help| refuse(kind, help)),
        None => Ok(()),
    }
}

fn object(kind: &str, members: &[(&str, bool)], data: &[u8]) -> Result<()> {
    let names = || members.iter().map(|(name, _)| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let Ok(found) = serde_json::from_slice::<BTreeMap<String, &RawValue>>(data) else {
        return Err(refuse(kind, "it has to be a JSON object, in base64"));
    };
    if !found.values().all(|value| value.get().starts_with('"')) {
        return Err(refuse(kind, "every value has to be a string"));
    }
    if found.is_empty() {
        return Err(refuse(kind, "the JSON object is empty"));
    }
    for (name, needed) in members {
        if *needed && found.get(*name).is_none_or(|value| value.get() == "\"\"") {
            return Err(refuse(kind, &format!("`{name}` is missing or empty; it has {}", names())));
        }
    }
    if !members.is_empty() && found.keys().any(|name| !members.iter().any(|(member, _)| member == name)) {
        return Err(refuse(kind, &format!("it has no members beside {}", names())));
    }
    let port = found.get("port").filter(|_| !members.is_empty());
    if port.is_some_and(|port| port.get().trim_matches('"').parse().ok().is_none_or(|port: u16| port == 0)) {
        return Err(refuse(kind, "`port` has to be a number from 1 to 65535, as a string"));
    }
    Ok(())
}

/// PEM blocks one after another (RFC 7468): certificates, keys, or others.
fn pem(data: &[u8]) -> std::result::Result<(), &'static str> {
    const HELP: &str = "it has to be PEM blocks, one after another";
    let text = std::str::from_utf8(data).map_err(|_| HELP)?;
    let (mut open, mut blocks, mut digits) = (None, 0_u32, 0_usize);
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let marker = |word: &str| line.strip_prefix(word).and_then(|rest| rest.strip_suffix("-----"));
        match (open, marker("-----BEGIN "), marker("-----END ")) {
            (None, Some(label), None) => (open, digits) = (Some(label), 0),
            (Some(label), None, Some(end)) if label == end => {
                if digits == 0 || digits % 4 != 0 {
                    return Err("a PEM block is empty or cut off");
                }
                (open, blocks) = (None, blocks + 1);
            }
            (Some(_), None, None) => {
                // Headers of encrypted keys (RFC 1421).
                if digits == 0 && line.contains(':') {
                    continue;
                }
                if !line.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"+/=".contains(&octet)) {
                    return Err("a PEM block is not base64");
                }
                digits += line.len();
            }
            _ => return Err(HELP),
        }
    }
    if open.is_some() || blocks == 0 { Err(HELP) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_type_has_its_form() {
        const BLOCK: &str = "-----BEGIN CERTIFICATE-----\nMIIB\nAAA=\n-----END CERTIFICATE-----\n";
        let two = format!(
            "{BLOCK}\r\n-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nMIIB\n-----END RSA PRIVATE KEY-----"
        );
        let database =
            r#"{"engine":"mysql","username":"u","password":"p","host":"h","dbname":"d","port":"3306"}"#.to_owned();
        for (kind, data) in [
            ("opaque", ""),
            ("opaque", "\u{0}"),
            ("key_value", r#"{"a":"b","c":"\u0064"}"#),
            ("basic_credentials", r#" {"username":"u","password":"p"} "#),
            ("basic_credentials", r#"{"password":"p"}"#),
            ("database_credentials", &database),
            ("ssh_key", r#"{"ssh_private_key":"-----BEGIN"}"#),
            ("certificate", BLOCK),
            ("certificate", &two),
        ] {
            assert!(check(kind, data.as_bytes()).is_ok(), "{kind}: {data}");
        }
        for (kind, data) in [
            ("key_value", ""),
            ("key_value", "{}"),
            ("key_value", "[]"),
            ("key_value", r#"{"a":1}"#),
            ("key_value", r#"{"a":{"b":"c"}}"#),
            ("basic_credentials", r#"{"username":"u"}"#),
            ("basic_credentials", r#"{"password":""}"#),
            ("basic_credentials", r#"{"password":"p","user":"u"}"#),
            ("database_credentials", &database.replace("3306", "0")),
            ("database_credentials", &database.replace("3306", "65536")),
            ("database_credentials", &database.replace("\"3306\"", "3306")),
            ("database_credentials", &database.replace("host", "hostname")),
            ("ssh_key", "-----BEGIN OPENSSH PRIVATE KEY-----"),
            ("certificate", "MIIB"),
            ("certificate", &BLOCK.replace("END CERTIFICATE", "END KEY")),
            ("certificate", &BLOCK.replace("AAA=", "AA=")),
            ("certificate", &BLOCK.replace("AAA=", "A*A=")),
            ("certificate", &BLOCK.replace("MIIB\nAAA=\n", "")),
            ("certificate", BLOCK.trim_end().trim_end_matches('-')),
        ] {
            assert!(check(kind, data.as_bytes()).is_err(), "{kind}: {data}");
        }
        assert!(check("certificate", &[0xff]).is_err());
    }

    #[test]
    fn errors_do_not_tell_the_data() {
        let Err(error) = check("basic_credentials", br#"{"password":"","hunter2":"hunter2"}"#) else {
            panic!("no password");
        };
        assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
    }
}
