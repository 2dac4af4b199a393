//! Linux TUN devices: packets between a network namespace's routing and this process.
//!
//! A device belongs to the network namespace of the thread that opens it, and stays there: its descriptor can be handed to
//! any other thread. The device exists as long as the descriptor is open.

mod sys;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};

/// Longest interface name, octets (`IFNAMSIZ` without the terminator).
pub const MAX_NAME: usize = 15;

/// Why a device could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The name is empty, too long, or holds characters that the kernel refuses.
    #[error("{0:?} is not an interface name")]
    Name(String),
    /// `/dev/net/tun` can't be opened: no driver, or not permitted.
    #[error("cannot open /dev/net/tun")]
    Driver(#[source] io::Error),
    /// The kernel refused the device: the name is taken by another kind of interface or attached elsewhere, or we lack `CAP_NET_ADMIN`.
    #[error("cannot make the TUN device {name}")]
    Device {
        /// The name asked for.
        name: String,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
}

/// How a device is opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TunOptions {
    /// Fail if an interface of that name exists already, instead of attaching to a persistent TUN device.
    pub exclusive: bool,
}

impl TunOptions {
    /// The defaults with [`TunOptions::exclusive`] as given.
    #[must_use]
    pub const fn exclusive(mut self, exclusive: bool) -> Self {
        self.exclusive = exclusive;
        self
    }
}

/// An open TUN device. Reads and writes never block; every one moves one IP packet without any header before it.
#[derive(Debug)]
pub struct Tun {
    fd: OwnedFd,
    name: String,
}

impl Tun {
    /// Opens, and so makes, the device `name` in the calling thread's network namespace.
    ///
    /// The device is down and has no addresses; its MTU is 1500.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(name: &str) -> Result<Self, OpenError> {
        Self::open_with(name, TunOptions::default())
    }

    /// As [`Tun::open`], with options.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open_with(name: &str, options: TunOptions) -> Result<Self, OpenError> {
        // '%' is left out on purpose: the kernel would take it for a pattern and choose the name itself.
        let fits = |octet: u8| octet.is_ascii_graphic() && !matches!(octet, b'/' | b':' | b'%');
        if name.is_empty() || name.len() > MAX_NAME || matches!(name, "." | "..") || !name.bytes().all(fits) {
            return Err(OpenError::Name(name.to_owned()));
        }
        let fd = rustix::fs::open("/dev/net/tun", OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())
            .map_err(|error| OpenError::Driver(error.into()))?;
        sys::attach(fd.as_fd(), name, options.exclusive)
            .map_err(|source| OpenError::Device { name: name.to_owned(), source })?;
        Ok(Self { fd, name: name.to_owned() })
    }

    /// Takes over a descriptor that moves one IP packet per read and write: a TUN device that another process opened, or one end
    /// of a `SOCK_SEQPACKET` pair in a test.
    ///
    /// # Errors
    /// If it can't be made non-blocking.
    pub fn from_fd(fd: OwnedFd, name: &str) -> io::Result<Self> {
        let flags = rustix::fs::fcntl_getfl(&fd)?;
        rustix::fs::fcntl_setfl(&fd, flags | OFlags::NONBLOCK)?;
        Ok(Self { fd, name: name.to_owned() })
    }

    /// The interface's name at the time it was opened.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Takes the next packet that the kernel routed into the device. A packet longer than `buffer` is cut.
    ///
    /// # Errors
    /// `WouldBlock` when there is none; `EBADFD` once the device is gone (its namespace was deleted), as is one that gives 0 octets.
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::io::read(&self.fd, buffer)?)
    }

    /// Hands a packet to the kernel as received on the device. The kernel takes whole packets only.
    ///
    /// # Errors
    /// `EIO` while the device is down, `EINVAL` if the packet is neither IPv4 nor IPv6, `EBADFD` once the device is gone.
    pub fn write(&self, packet: &[u8]) -> io::Result<()> {
        rustix::io::write(&self.fd, packet)?;
        Ok(())
    }
}

impl AsFd for Tun {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_the_kernel_would_reinterpret_are_refused_before_any_call() {
        for name in ["", "sixteen-octets-x", "a/b", "a:b", "tun%d", "a b", "..", "t\u{e9}"] {
            assert!(matches!(Tun::open(name), Err(OpenError::Name(refused)) if refused == name), "{name:?}");
        }
    }
}
