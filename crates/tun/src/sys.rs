//! The one system call that has no safe wrapper: `TUNSETIFF`.
#![expect(unsafe_code, reason = "ioctl with a structure argument")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Attaches the open driver `fd` to the device `name`, which the caller has checked to fit an `ifreq` with its terminator.
pub(crate) fn attach(fd: BorrowedFd<'_>, name: &str, exclusive: bool) -> io::Result<()> {
    // SAFETY: `ifreq` is plain C data for which all zeroes is a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from.cast_signed();
    }
    let mut flags = libc::IFF_TUN | libc::IFF_NO_PI;
    if exclusive {
        flags |= libc::IFF_TUN_EXCL;
    }
    // The kernel reads the flags as 16 bits unsigned; IFF_TUN_EXCL is the highest of them.
    request.ifr_ifru.ifru_flags = flags as libc::c_short;
    // SAFETY: `fd` is open for the duration of the call, and TUNSETIFF reads and writes one `ifreq`, which `request` is.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
