//! Bodies of the extension API (wire-ext.md).

use causeway_model::Error;

use super::{Body, MAX_DESCRIPTION};

impl Body {
    /// lock: why.
    ///
    /// # Errors
    /// Every invalid field.
    pub fn lock_reason(&self) -> Result<String, Error> {
        self.read(|fields| {
            let reason = fields.bounded_text("reason", MAX_DESCRIPTION);
            fields.required("reason", reason, "say why; the audit record keeps it").unwrap_or_default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_has_a_reason() {
        let body = |text: &str| Body::parse(text.as_bytes()).expect("a JSON object");
        assert_eq!(body(r#"{"reason":"abuse"}"#).lock_reason(), Ok("abuse".to_owned()));
        for text in ["{}", r#"{"reason":""}"#, r#"{"reason":1}"#] {
            assert!(matches!(body(text).lock_reason(), Err(Error::InvalidArguments(_))), "{text}");
        }
    }
}
