//! What a TCP socket asks of its peer below BGP: signatures (RFC 2385) and the hop limit of a neighbour (RFC 5082).
//!
//! What the kernel drops for one of these reasons does not reach the program: [`Refused`] counts it by reason for the whole namespace,
//! [`dropped`] counts it together with everything else for one socket.

use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;

use crate::{Namespace, Result, error::Error, sys};

/// Octets of a key at most (`TCP_MD5SIG_MAXKEYLEN`).
pub const MD5_KEY_MAX: usize = 80;

/// Signs every segment to `peer` with `key` and takes none from it that is not signed so (RFC 2385). On a listener it counts for the
/// connections accepted from then on. An empty key ends the signatures.
///
/// # Errors
/// `InvalidInput` if the key is longer than [`MD5_KEY_MAX`]; `ENOPROTOOPT` if the kernel has no `CONFIG_TCP_MD5SIG`; `ENOENT` if
/// there was no key to take away.
pub fn sign(socket: &impl AsFd, peer: IpAddr, key: &[u8]) -> io::Result<()> {
    if key.len() > MD5_KEY_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "an MD5 key has at most 80 octets"));
    }
    sys::tcp_md5(socket.as_fd(), peer, key)
}

/// Whether this kernel has TCP signatures.
///
/// # Errors
/// That of the attempt to use one.
pub fn can_sign() -> io::Result<()> {
    let socket = sys::tcp_socket()?;
    sign(&socket, IpAddr::from([127, 0, 0, 1]), b"k")
}

/// Sends with a hop limit of 255 and takes only what arrives with it: nothing that a router has forwarded (RFC 5082). `false` goes
/// back to the system's hop limit and takes anything. On a listener it counts for new connections from their first segment on.
///
/// # Errors
/// If the kernel refuses.
pub fn only_neighbours(socket: &impl AsFd, ipv6: bool, on: bool) -> io::Result<()> {
    sys::hop_limits(socket.as_fd(), ipv6, on)
}

/// Segments and connections that the kernel dropped unseen at this socket since it exists, for whatever reason; on a listener also those of
/// connections that it was to accept.
///
/// # Errors
/// If the kernel does not tell.
pub fn dropped(socket: &impl AsFd) -> io::Result<u32> {
    sys::dropped(socket.as_fd())
}

/// Segments that the kernel dropped unseen since the namespace exists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    /// Unsigned, from a peer whose segments must be signed.
    pub unsigned: u64,
    /// Signed, from a peer that has no key here.
    pub unexpected: u64,
    /// Signed with another key.
    pub wrong_signature: u64,
    /// With a hop limit under the one that a socket asks for.
    pub hop_limit: u64,
}

impl Refused {
    /// Of `namespace`, now.
    ///
    /// # Errors
    /// If the namespace cannot be entered or its counters cannot be read.
    pub fn of(namespace: &Namespace) -> Result<Self> {
        let text = namespace.run(|| std::fs::read_to_string("/proc/thread-self/net/netstat"))?;
        let text = text.map_err(|error| Error::os(format!("read the TCP counters of {}", namespace.name()), error))?;
        Ok(Self::parse(&text))
    }

    /// What came since `before`.
    #[must_use]
    pub const fn since(self, before: Self) -> Self {
        Self {
            unsigned: self.unsigned.saturating_sub(before.unsigned),
            unexpected: self.unexpected.saturating_sub(before.unexpected),
            wrong_signature: self.wrong_signature.saturating_sub(before.wrong_signature),
            hop_limit: self.hop_limit.saturating_sub(before.hop_limit),
        }
    }

    /// A line of names and a line of values, both beginning with `TcpExt:`. A counter that this kernel does not have is 0.
    fn parse(text: &str) -> Self {
        let mut refused = Self::default();
        let mut lines = text.lines().filter_map(|line| line.strip_prefix("TcpExt:"));
        let (Some(names), Some(values)) = (lines.next(), lines.next()) else { return refused };
        for (name, value) in names.split_whitespace().zip(values.split_whitespace()) {
            let value = value.parse().unwrap_or(0);
            match name {
                "TCPMD5NotFound" => refused.unsigned = value,
                "TCPMD5Unexpected" => refused.unexpected = value,
                "TCPMD5Failure" => refused.wrong_signature = value,
                "TCPMinTTLDrop" => refused.hop_limit = value,
                _ => {}
            }
        }
        refused
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_found_by_name() {
        let text = "TcpExt: A TCPMD5NotFound TCPMD5Unexpected TCPMD5Failure B TCPMinTTLDrop\nTcpExt: 9 1 2 3 9 4\nIpExt: X\nIpExt: 7\n";
        let refused = Refused { unsigned: 1, unexpected: 2, wrong_signature: 3, hop_limit: 4 };
        assert_eq!(Refused::parse(text), refused);
        assert_eq!(Refused::parse("TcpExt: TCPMD5Failure\nTcpExt: 5\n").wrong_signature, 5);
        for broken in ["", "TcpExt:", "TcpExt: TCPMD5Failure\n", "TcpExt: TCPMD5Failure\nTcpExt: many\n"] {
            assert_eq!(Refused::parse(broken), Refused::default());
        }
        let later = Refused { wrong_signature: 5, hop_limit: 4, ..refused };
        assert_eq!(later.since(refused), Refused { wrong_signature: 2, ..Refused::default() });
    }

    #[test]
    fn a_new_socket_has_dropped_nothing() {
        assert_eq!(dropped(&sys::tcp_socket().expect("a socket")).expect("the kernel tells"), 0);
    }

    #[test]
    fn keys_that_the_kernel_cannot_hold_are_refused_here() {
        let socket = sys::tcp_socket().expect("a socket");
        let error = sign(&socket, [127, 0, 0, 1].into(), &[b'k'; MD5_KEY_MAX + 1]).expect_err("too long");
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
}
