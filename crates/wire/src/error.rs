//! Error bodies (wire-api.md §2.2): always JSON, keys alphabetical, `message` and `type` always there.

use causeway_model::Error;
use serde::Serialize;

/// An HTTP status and its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorResponse {
    /// HTTP status.
    pub status: u16,
    /// The JSON text.
    pub body: String,
}

/// The keys of every type of error, in wire order. A type uses those that the catalogue gives it.
#[derive(Default, Serialize)]
struct Body<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    current_state: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<Vec<Detail<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    help_message: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<Limit>,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    precondition: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reset_seconds: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource_id: Option<&'a str>,
    r#type: &'a str,
}

#[derive(Serialize)]
struct Limit {
    quota: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    window_seconds: Option<u32>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Detail<'a> {
    Argument { argument_name: &'a str, help_message: &'a str, reason: &'static str },
    Permission { action: &'a str, resource: &'a str },
    Quota { current: u64, quota: u64, resource: &'a str },
}

impl ErrorResponse {
    /// The answer to a call that ended in `error`. The text of an internal error is not in it.
    #[must_use]
    pub fn new(error: &Error) -> Self {
        match error {
            Error::InvalidArguments(arguments) => {
                let details = arguments
                    .iter()
                    .map(|argument| Detail::Argument {
                        argument_name: &argument.name,
                        help_message: &argument.help,
                        reason: argument.reason.as_str(),
                    })
                    .collect();
                let body = Body { details: Some(details), ..Body::of("invalid_arguments", "invalid argument(s)") };
                body.with(400)
            }
            Error::DeniedAuthentication { reason } => Body {
                method: Some("api_key"),
                reason: Some(reason),
                ..Body::of("denied_authentication", "authentication is denied")
            }
            .with(401),
            Error::PermissionsDenied { action, resource } => Body {
                details: Some(vec![Detail::Permission { action, resource }]),
                ..Body::of("permissions_denied", "insufficient permissions")
            }
            .with(403),
            Error::QuotasExceeded { resource, quota, current } => Body {
                details: Some(vec![Detail::Quota { current: *current, quota: *quota, resource }]),
                ..Body::of("quotas_exceeded", "quota(s) exceeded")
            }
            .with(403),
            Error::NotFound { resource, id } => Body {
                resource: Some(resource),
                resource_id: Some(id),
                ..Body::of("not_found", "resource is not found")
            }
            .with(404),
            Error::TransientState { resource, id, current_state } => Body {
                current_state: Some(current_state),
                resource: Some(resource),
                resource_id: Some(id),
                ..Body::of("transient_state", "resource is in a transient state")
            }
            .with(409),
            Error::AlreadyExists { resource, id, help } => Body {
                help_message: Some(help),
                resource: Some(resource),
                resource_id: Some(id),
                ..Body::of("already_exists", "resource already exists")
            }
            .with(409),
            Error::PreconditionFailed { precondition, help } => Body {
                help_message: Some(help),
                precondition: Some(precondition),
                ..Body::of("precondition_failed", "precondition is not respected")
            }
            .with(412),
            Error::Locked { resource, id } => {
                Body { resource: Some(resource), resource_id: Some(id), ..Body::of("locked", "resource is locked") }
                    .with(423)
            }
            Error::NotImplemented { help } => {
                Body { help_message: Some(help), ..Body::of("not_implemented", "not implemented") }.with(501)
            }
            Error::OutOfStock { resource } => {
                Body { resource: Some(resource), ..Body::of("out_of_stock", "resource is out of stock") }.with(503)
            }
            Error::Unavailable { help, .. } => Self::unavailable(help),
            Error::Internal(_) => Body::of("internal", "internal error").with(500),
        }
    }

    /// The path exists, the method does not.
    #[must_use]
    pub fn method_not_allowed() -> Self {
        Body::of("method_not_allowed", "method not allowed").with(405)
    }

    /// More requests than the `quota` of each second, and for longer than a burst; in `reset_seconds` one is taken again.
    #[must_use]
    pub fn too_many_requests(help: &str, quota: u32, reset_seconds: u64) -> Self {
        Body {
            help_message: Some(help),
            limit: Some(Limit { quota, window_seconds: Some(1) }),
            reset_seconds: Some(reset_seconds),
            ..Body::of("too_many_requests", "too many requests")
        }
        .with(429)
    }

    /// More at the same time than the `quota`, whatever their rate.
    #[must_use]
    pub fn too_many_at_once(help: &str, quota: u32) -> Self {
        Body {
            help_message: Some(help),
            limit: Some(Limit { quota, window_seconds: None }),
            ..Body::of("too_many_requests", "too many requests")
        }
        .with(429)
    }

    /// The server has as much to do as it takes on.
    #[must_use]
    pub fn unavailable(help: &str) -> Self {
        Body { help_message: Some(help), ..Body::of("unavailable", "service is unavailable") }.with(503)
    }
}

impl<'a> Body<'a> {
    fn of(r#type: &'a str, message: &'a str) -> Self {
        Self { r#type, message, ..Self::default() }
    }

    fn with(&self, status: u16) -> ErrorResponse {
        // Strings and integers always serialise; the fallback keeps the answer JSON all the same.
        let body = serde_json::to_string(self)
            .unwrap_or_else(|_| r#"{"message":"internal error","type":"internal"}"#.to_owned());
        ErrorResponse { status, body }
    }
}

#[cfg(test)]
mod tests {
    use causeway_model::error::{ArgumentError, ArgumentReason};

    use super::*;

    #[test]
    fn too_many_requests_say_how_many_are_too_many() {
        let body = r#"{"help_message":"text","limit":{"quota":50,"window_seconds":1},"message":"too many requests","reset_seconds":2,"type":"too_many_requests"}"#;
        let expected = ErrorResponse { status: 429, body: body.to_owned() };
        assert_eq!(ErrorResponse::too_many_requests("text", 50, 2), expected);
        let body =
            r#"{"help_message":"text","limit":{"quota":16},"message":"too many requests","type":"too_many_requests"}"#;
        assert_eq!(ErrorResponse::too_many_at_once("text", 16), ErrorResponse { status: 429, body: body.to_owned() });
    }

    #[test]
    fn every_type_of_the_catalogue_is_rendered_byte_for_byte() {
        let id = "0ae4cf90-0405-4318-a169-e45b3bef7676".to_owned();
        let text = || "text".to_owned();
        let cases = [
            (
                Error::InvalidArguments(vec![ArgumentError {
                    name: "data".to_owned(),
                    reason: ArgumentReason::Format,
                    help: text(),
                }]),
                400,
                r#"{"details":[{"argument_name":"data","help_message":"text","reason":"format"}],"message":"invalid argument(s)","type":"invalid_arguments"}"#,
            ),
            (
                Error::DeniedAuthentication { reason: "not_found" },
                401,
                r#"{"message":"authentication is denied","method":"api_key","reason":"not_found","type":"denied_authentication"}"#,
            ),
            (
                Error::PermissionsDenied { action: "read".to_owned(), resource: "server".to_owned() },
                403,
                r#"{"details":[{"action":"read","resource":"server"}],"message":"insufficient permissions","type":"permissions_denied"}"#,
            ),
            (
                Error::QuotasExceeded { resource: "connections".to_owned(), quota: 10, current: 10 },
                403,
                r#"{"details":[{"current":10,"quota":10,"resource":"connections"}],"message":"quota(s) exceeded","type":"quotas_exceeded"}"#,
            ),
            (
                Error::NotFound { resource: "connection", id: id.clone() },
                404,
                r#"{"message":"resource is not found","resource":"connection","resource_id":"0ae4cf90-0405-4318-a169-e45b3bef7676","type":"not_found"}"#,
            ),
            (
                Error::TransientState {
                    resource: "gateway",
                    id: "<uuid>".to_owned(),
                    current_state: "configuring".to_owned(),
                },
                409,
                r#"{"current_state":"configuring","message":"resource is in a transient state","resource":"gateway","resource_id":"<uuid>","type":"transient_state"}"#,
            ),
            (
                Error::AlreadyExists { resource: "MnqSQSNamespace", id: "<uuid>".to_owned(), help: text() },
                409,
                r#"{"help_message":"text","message":"resource already exists","resource":"MnqSQSNamespace","resource_id":"<uuid>","type":"already_exists"}"#,
            ),
            (
                Error::PreconditionFailed {
                    precondition: "protected_resource",
                    help: "cannot delete a protected secret".to_owned(),
                },
                412,
                r#"{"help_message":"cannot delete a protected secret","message":"precondition is not respected","precondition":"protected_resource","type":"precondition_failed"}"#,
            ),
            (
                Error::Locked { resource: "vpn_gateway", id },
                423,
                r#"{"message":"resource is locked","resource":"vpn_gateway","resource_id":"0ae4cf90-0405-4318-a169-e45b3bef7676","type":"locked"}"#,
            ),
            (
                Error::NotImplemented { help: text() },
                501,
                r#"{"help_message":"text","message":"not implemented","type":"not_implemented"}"#,
            ),
            (
                Error::OutOfStock { resource: "public_ipv4".to_owned() },
                503,
                r#"{"message":"resource is out of stock","resource":"public_ipv4","type":"out_of_stock"}"#,
            ),
            (
                Error::Unavailable { help: text(), retry_after: 5 },
                503,
                r#"{"help_message":"text","message":"service is unavailable","type":"unavailable"}"#,
            ),
            (
                Error::Internal("disk I/O error on /secret/path".to_owned()),
                500,
                r#"{"message":"internal error","type":"internal"}"#,
            ),
        ];
        for (error, status, body) in cases {
            assert_eq!(ErrorResponse::new(&error), ErrorResponse { status, body: body.to_owned() });
        }
    }
}
