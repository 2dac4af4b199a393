//! What can go wrong, and how it is told: one line that says what, a line for each detail, a hint where there is something to do.

use std::fmt::Write as _;
use std::io;

use serde_json::Value;

use crate::flags::flag_of;
use crate::text::printable;

/// Longest part of a body that is no JSON, characters.
const EXCERPT: usize = 200;

/// Why a command did not succeed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The environment lacks variables.
    #[error("the environment lacks {}", .0.join(", "))]
    Environment(Vec<&'static str>),
    /// A variable of the environment is wrong.
    #[error("{name} {why}")]
    Variable {
        /// Its name.
        name: &'static str,
        /// A phrase that goes after the name.
        why: &'static str,
    },
    /// What was asked for makes no sense; found after the parser was through.
    #[error("{0}")]
    Usage(String),
    /// No answer.
    #[error("cannot reach the API at {url}: {cause}")]
    Unreachable {
        /// Where it should be.
        url: String,
        /// Why not.
        cause: String,
    },
    /// An answer that is not what the API promises.
    #[error("the answer to {what} is not what the API promises: {why}")]
    Answer {
        /// The path.
        what: String,
        /// What is the matter.
        why: String,
    },
    /// An error of the API.
    #[error("{}", .0.headline())]
    Api(Box<ApiError>),
    /// No object has that name.
    #[error("no {noun} is named {name:?}")]
    NoSuchName {
        /// What kind.
        noun: &'static str,
        /// The name.
        name: String,
    },
    /// Several objects have that name.
    #[error("the {noun} name {name:?} is ambiguous: {} have it", .ids.len())]
    Ambiguous {
        /// What kind.
        noun: &'static str,
        /// The name.
        name: String,
        /// Their ids.
        ids: Vec<String>,
    },
    /// What was waited for did not come.
    #[error("{what}: {seen}")]
    NotReached {
        /// What was awaited, and for how long.
        what: String,
        /// What is there instead.
        seen: String,
        /// What to do about it.
        remedy: Option<String>,
    },
    /// Something is the matter, which has been shown.
    #[error("{0}")]
    Ailing(String),
    /// A stream was ended by the service.
    #[error("the events of {what} were ended by the service: {why}")]
    Ended {
        /// Whose.
        what: String,
        /// Why.
        why: String,
    },
    /// A file.
    #[error("cannot {verb} {path}: {error}")]
    File {
        /// `read` or `write`.
        verb: &'static str,
        /// Which.
        path: String,
        /// Why.
        error: io::Error,
    },
    /// Standard output or error.
    #[error("cannot write the output: {0}")]
    Output(#[from] io::Error),
}

impl Failure {
    /// 2 for what the caller of the program has to change about the call, else 1.
    pub(crate) const fn exit_code(&self) -> u8 {
        match self {
            Self::Environment(_) | Self::Variable { .. } | Self::Usage(_) => 2,
            _ => 1,
        }
    }

    /// Whether the reader of our output has gone, which nobody needs to be told.
    pub(crate) fn is_closed_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }

    /// The HTTP status, if this is an error of the API.
    pub(crate) fn status(&self) -> Option<u16> {
        match self {
            Self::Api(error) => Some(error.status),
            _ => None,
        }
    }

    /// Whether the object is changing and the same call works when it has done so.
    pub(crate) fn is_transient(&self) -> bool {
        matches!(self, Self::Api(error) if error.kind == "transient_state")
    }

    /// Whether the same call may work later, without anybody doing anything about the call.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Api(error) => error.status == 429 || error.status >= 500,
            _ => false,
        }
    }

    /// Lines that go below the first.
    pub(crate) fn details(&self) -> Vec<String> {
        match self {
            Self::Api(error) => error.details.clone(),
            Self::Ambiguous { ids, .. } => ids.clone(),
            _ => Vec::new(),
        }
    }

    /// What to do about it.
    pub(crate) fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Environment(_) => "run: . DIR/operator.env (DIR is the data directory of `causeway serve`)",
            Self::Variable { name: "SCW_API_URL" | "SCW_SECRET_KEY", .. } => "run: . DIR/operator.env",
            Self::Unreachable { cause, .. } if cause.contains("certificate") => {
                "the service's certificate is of nobody whom this machine trusts, or for another name; \
                 for one of its own making: export SSL_CERT_FILE=DIR/tls-certificate.pem"
            }
            Self::Unreachable { .. } => "is `causeway serve` running, and is SCW_API_URL its address?",
            Self::Ambiguous { .. } => "give the id instead of the name, or narrow with --project-id",
            Self::NotReached { remedy, .. } => return remedy.clone(),
            Self::Ended { .. } => {
                "is SCW_SECRET_KEY still a valid key? `causeway key list` tells whoever operates the service"
            }
            Self::Api(error) => return error.hint.clone(),
            _ => return None,
        };
        Some(hint.to_owned())
    }

    /// The request's id, for whoever reads the service's log.
    pub(crate) fn request_id(&self) -> Option<&str> {
        match self {
            Self::Api(error) => error.request_id.as_deref(),
            _ => None,
        }
    }
}

/// An error of the API (wire-api.md §2), as far as people want to read it.
#[derive(Debug)]
pub(crate) struct ApiError {
    /// HTTP status.
    status: u16,
    /// `type` of the body; empty if it has none.
    kind: String,
    message: String,
    details: Vec<String>,
    hint: Option<String>,
    request_id: Option<String>,
}

impl ApiError {
    pub(crate) fn new(status: u16, body: &[u8], request_id: Option<String>) -> Self {
        let request_id = request_id.map(|id| printable(&id).into_owned());
        let Ok(document) = serde_json::from_slice::<Value>(body) else {
            let text: String = String::from_utf8_lossy(body).trim().chars().take(EXCERPT).collect();
            let message =
                if text.is_empty() { "an error without a body".to_owned() } else { printable(&text).into_owned() };
            return Self { status, kind: String::new(), message, details: Vec::new(), hint: None, request_id };
        };
        let field = |name: &str| printable(document.get(name).and_then(Value::as_str).unwrap_or_default()).into_owned();
        let kind = field("type");
        let mut message = field("message");
        if message.is_empty() {
            "an error without a message".clone_into(&mut message);
        }
        let object = [field("resource"), field("resource_id")].join(" ").trim().to_owned();
        let details = document.get("details").and_then(Value::as_array).into_iter().flatten().map(detail).collect();
        let mut hint = Some(field("help_message")).filter(|help| !help.is_empty());
        match kind.as_str() {
            "not_found" if object == "unknown" => {
                hint.get_or_insert_with(|| "this service does not offer that call".to_owned());
            }
            "not_found" | "already_exists" | "out_of_stock" => add(&mut message, &object),
            "transient_state" => {
                add(&mut message, &format!("{object} is {}", field("current_state")));
                hint.get_or_insert_with(|| {
                    "try again when that is over; the `state` command says where it stands".to_owned()
                });
            }
            "locked" => {
                add(&mut message, &object);
                hint.get_or_insert_with(|| "whoever operates the service has locked it and can unlock it".to_owned());
            }
            "precondition_failed" => add(&mut message, &field("precondition")),
            "denied_authentication" => {
                add(&mut message, &field("reason"));
                hint.get_or_insert_with(|| {
                    "is SCW_SECRET_KEY a key of this service? run: . DIR/operator.env".to_owned()
                });
            }
            "too_many_requests" => {
                if let Some(seconds) = document.get("reset_seconds").and_then(Value::as_u64) {
                    hint = Some(format!("try again in {seconds} s"));
                }
            }
            _ => {}
        }
        Self { status, kind, message, details, hint, request_id }
    }

    fn headline(&self) -> String {
        let mut text = self.message.clone();
        // Where the type is one of the catalogue the message says as much; else the status is the best there is.
        if self.kind.is_empty() {
            let _ = write!(text, " (HTTP {})", self.status);
        }
        text
    }
}

fn add(message: &mut String, what: &str) {
    if !what.is_empty() {
        message.push_str(": ");
        message.push_str(what);
    }
}

/// One entry of `details`: an argument, a permission or a quota.
fn detail(entry: &Value) -> String {
    let field = |name: &str| entry.get(name).and_then(Value::as_str).unwrap_or_default();
    let number = |name: &str| entry.get(name).and_then(Value::as_u64);
    let text = if let Some(argument) = entry.get("argument_name").and_then(Value::as_str) {
        let argument = flag_of(argument);
        match (field("help_message"), field("reason")) {
            ("", reason) => format!("{argument}: {reason}"),
            (help, "" | "unknown") => format!("{argument}: {help}"),
            (help, reason) => format!("{argument}: {help} ({reason})"),
        }
    } else if let (Some(quota), Some(current)) = (number("quota"), number("current")) {
        format!("{}: {current} of {quota} used", field("resource"))
    } else if entry.get("action").is_some() {
        format!("{} {} is not allowed with this key", field("action"), field("resource"))
    } else {
        entry.to_string()
    };
    printable(&text).into_owned()
}
