//! Errors of the domain, one variant for each type of the public API (wire-api.md §2.2).

/// What a call can end with when it does not succeed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// 400: fields are missing or wrong; all of them at once.
    #[error("invalid argument(s): {}", .0.iter().map(|argument| argument.name.as_str()).collect::<Vec<_>>().join(", "))]
    InvalidArguments(Vec<ArgumentError>),
    /// 401.
    #[error("authentication is denied")]
    DeniedAuthentication {
        /// `invalid_argument`, `not_found` or `expired`.
        reason: &'static str,
    },
    /// 403.
    #[error("insufficient permissions")]
    PermissionsDenied {
        /// `read`, `write`, …
        action: String,
        /// The kind of resource.
        resource: String,
    },
    /// 403: a quota or the gateway type's limit.
    #[error("quota(s) exceeded")]
    QuotasExceeded {
        /// What is limited.
        resource: String,
        /// The limit.
        quota: u64,
        /// What is used.
        current: u64,
    },
    /// 404; also for what the caller is not allowed to know.
    #[error("resource is not found")]
    NotFound {
        /// The API's name of the kind.
        resource: &'static str,
        /// The id that was asked for.
        id: String,
    },
    /// 409: the object is changing.
    #[error("resource is in a transient state")]
    TransientState {
        /// The API's name of the kind.
        resource: &'static str,
        /// The id.
        id: String,
        /// The status that forbids the change.
        current_state: String,
    },
    /// 409: a duplicate.
    #[error("resource already exists")]
    AlreadyExists {
        /// The API's name of the kind.
        resource: &'static str,
        /// The id of the one that exists.
        id: String,
        /// What to do.
        help: String,
    },
    /// 412.
    #[error("precondition is not respected")]
    PreconditionFailed {
        /// `resource_still_in_use`, `attribute_must_be_set`, `protected_resource`, `unknown_precondition`.
        precondition: &'static str,
        /// What to do.
        help: String,
    },
    /// 423.
    #[error("resource is locked")]
    Locked {
        /// The API's name of the kind.
        resource: &'static str,
        /// The id.
        id: String,
    },
    /// 501.
    #[error("not implemented")]
    NotImplemented {
        /// What is not offered.
        help: String,
    },
    /// 503: pools or capacity exhausted.
    #[error("resource is out of stock")]
    OutOfStock {
        /// What ran out.
        resource: String,
    },
    /// 503: the service has more to do than it can, or cannot store anything at present. Nothing was changed.
    #[error("service is unavailable: {help}")]
    Unavailable {
        /// Why, and what to do.
        help: String,
        /// When to try again, seconds from now.
        retry_after: u32,
    },
    /// 500. The text goes to the log; the caller gets the request id.
    #[error("internal error: {0}")]
    Internal(String),
}

/// One invalid field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArgumentError {
    /// The field's path in the request: `name`, `bgp_config_ipv4.private_ip`.
    pub name: String,
    /// Its kind.
    pub reason: ArgumentReason,
    /// What is wrong and how to mend it.
    pub help: String,
}

/// The API's kinds of invalid field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArgumentReason {
    /// Missing.
    Required,
    /// Not of the form.
    Format,
    /// Well-formed, but not allowed.
    Constraint,
    /// Not one that is known.
    Unknown,
}

impl ArgumentReason {
    /// The API's word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Required => "required",
            Self::Format => "format",
            Self::Constraint => "constraint",
            Self::Unknown => "unknown",
        }
    }
}

/// Collects every field error of a request before answering.
#[derive(Debug, Default)]
pub struct ArgumentErrors(Vec<ArgumentError>);

impl ArgumentErrors {
    /// An empty collection.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Records one.
    pub fn push(&mut self, name: impl Into<String>, reason: ArgumentReason, help: impl Into<String>) {
        self.0.push(ArgumentError { name: name.into(), reason, help: help.into() });
    }

    /// Whether nothing was recorded.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many were recorded.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// `Ok` if nothing was recorded.
    ///
    /// # Errors
    /// [`Error::InvalidArguments`] with everything recorded.
    pub fn finish(self) -> Result<(), Error> {
        if self.0.is_empty() { Ok(()) } else { Err(Error::InvalidArguments(self.0)) }
    }
}

impl Error {
    /// A single constraint violation.
    #[must_use]
    pub fn constraint(name: impl Into<String>, help: impl Into<String>) -> Self {
        Self::InvalidArguments(vec![ArgumentError {
            name: name.into(),
            reason: ArgumentReason::Constraint,
            help: help.into(),
        }])
    }
}
