//! What can go wrong between this crate and the kernel.

use std::io;

/// A failed operation, with the words needed to find out why.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel, or the file system, refused.
    #[error("{action}: {source}")]
    Os {
        /// What was tried, with the names concerned.
        action: String,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// The netlink connection is gone: its runtime stopped, or the socket failed.
    #[error("{action}: the netlink connection is closed")]
    Closed {
        /// What was tried.
        action: String,
    },
    /// The kernel did not answer in time, or its answer was lost because the receive buffer overflowed.
    #[error("{action}: no answer from the kernel")]
    NoAnswer {
        /// What was tried.
        action: String,
    },
    /// The tables changed during every attempt to read them.
    #[error("{action}: the kernel's table kept changing while it was read")]
    Unstable {
        /// What was tried.
        action: String,
    },
    /// There is no such link.
    #[error("no link is named `{0}`")]
    NoLink(String),
    /// A name that the kernel or `nft` would not take, or that could be read as something else.
    #[error("`{name}` is not a usable {what} name")]
    Name {
        /// Of what.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// A route that can't be.
    #[error("route {destination}: {problem}")]
    Route {
        /// Its destination.
        destination: ipnet::IpNet,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// An access list that can't be.
    #[error("{family} access list, rule {rule}: {problem}")]
    Acl {
        /// Which list.
        family: causeway_model::Family,
        /// Which rule, the first being 1.
        rule: usize,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// `nft` is not installed, or not for this user.
    #[error("the program `nft` is not installed; install Debian's package `nftables`")]
    NftMissing,
    /// `nft` refused a ruleset or printed what can't be understood.
    #[error("nft: {0}")]
    Nft(String),
    /// `nft` did not end in time. It was killed; what it was to do may be done.
    #[error("nft does not end")]
    NftHangs,
}

impl Error {
    pub(crate) fn os(action: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self::Os { action: action.into(), source: source.into() }
    }

    /// The kernel's error number, where it gave one.
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Os { source, .. } => source.raw_os_error(),
            _ => None,
        }
    }

    /// Whether the object exists already.
    #[must_use]
    pub fn is_exists(&self) -> bool {
        self.errno() == Some(libc::EEXIST)
    }

    /// Whether this kernel cannot do it at all.
    #[must_use]
    pub fn is_unsupported(&self) -> bool {
        self.errno() == Some(libc::EOPNOTSUPP)
    }

    /// Whether the object, or the link or table it would be in, does not exist.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NoLink(_))
            || matches!(
                self.errno(),
                Some(libc::ENOENT | libc::ESRCH | libc::ENODEV | libc::ENXIO | libc::EADDRNOTAVAIL)
            )
    }
}

/// Whether `name` may name a link: 1 to 15 characters that neither the kernel, nor sysctl paths, nor `nft` read as anything else.
#[must_use]
pub fn is_link_name(name: &str) -> bool {
    (1..=15).contains(&name.len()) && is_plain(name)
}

/// Letters, digits, `_`, `-` and `.`, not starting with a dot or a hyphen.
pub(crate) fn is_plain(name: &str) -> bool {
    !name.starts_with(['.', '-'])
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
}

pub(crate) fn check_link_name(name: &str) -> Result<(), Error> {
    if is_link_name(name) { Ok(()) } else { Err(Error::Name { what: "link", name: name.to_owned() }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_be_something_else_are_refused() {
        for good in ["lo", "cwgw-1a2b3c4d", "eth0.100", "a_b", "123456789012345"] {
            assert!(is_link_name(good), "{good}");
        }
        for bad in ["", ".", "..", "-f", "a/b", "a b", "a\"b", "a\nb", "1234567890123456", "é"] {
            assert!(!is_link_name(bad), "{bad}");
        }
    }
}
