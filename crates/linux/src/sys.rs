//! The system calls that no safe wrapper offers.
#![expect(unsafe_code, reason = "system calls without a safe wrapper; each block says why it is sound")]

use std::io;
use std::mem;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use zeroize::Zeroize;

/// Gives the calling thread a network namespace of its own.
pub(crate) fn unshare_network() -> io::Result<()> {
    // SAFETY: CLONE_NEWNET does not touch the file descriptor table, which is what makes `unshare` unsafe.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) }.map_err(io::Error::from)
}

fn socket(domain: libc::c_int, kind: libc::c_int, protocol: libc::c_int) -> io::Result<OwnedFd> {
    // SAFETY: no memory is involved.
    let fd = unsafe { libc::socket(domain, kind | libc::SOCK_CLOEXEC, protocol) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just handed out `fd`, and nothing else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Sets the loopback device of the thread's namespace up.
pub(crate) fn loopback_up() -> io::Result<()> {
    let socket = socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
    // SAFETY: `ifreq` is plain old data for which all zeroes is a valid value.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: SIOCSIFFLAGS reads an `ifreq`, which lives until the call returns.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The number that the kernel has given the thread's namespace: no other one has it before the kernel starts anew.
pub(crate) fn namespace_cookie() -> io::Result<u64> {
    /// Of `asm-generic/socket.h`, since Linux 5.14.
    const SO_NETNS_COOKIE: libc::c_int = 71;
    let socket = socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
    let mut cookie = 0_u64;
    let mut length = libc::socklen_t::try_from(size_of_val(&cookie)).map_err(io::Error::other)?;
    // SAFETY: the kernel writes at most `length` octets to `cookie` and the length to `length`; both live until the call returns.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(cookie) }
}

/// A socket that sends whole Ethernet frames in the thread's namespace and receives none.
pub(crate) fn frame_socket() -> io::Result<OwnedFd> {
    // Protocol 0: the kernel queues no incoming frame for it.
    socket(libc::AF_PACKET, libc::SOCK_RAW, 0)
}

/// Sends one Ethernet frame out of the link with index `link`.
pub(crate) fn send_frame(socket: &OwnedFd, link: u32, frame: &[u8]) -> io::Result<()> {
    let index = libc::c_int::try_from(link).map_err(|_| io::Error::from_raw_os_error(libc::ENODEV))?;
    // SAFETY: `sockaddr_ll` is plain old data for which all zeroes is a valid value.
    let mut to: libc::sockaddr_ll = unsafe { mem::zeroed() };
    to.sll_family = libc::AF_PACKET as libc::c_ushort;
    to.sll_ifindex = index;
    // SAFETY: the buffer and the address are valid for the lengths given until the call returns.
    let sent = unsafe {
        libc::sendto(
            socket.as_raw_fd(),
            frame.as_ptr().cast(),
            frame.len(),
            0,
            (&raw const to).cast(),
            size_of::<libc::sockaddr_ll>() as libc::socklen_t,
        )
    };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// A TCP socket that is connected to nothing.
pub(crate) fn tcp_socket() -> io::Result<OwnedFd> {
    socket(libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_TCP)
}

/// `struct tcp_md5sig` of `linux/tcp.h`.
#[repr(C)]
struct Md5Signature {
    address: libc::sockaddr_storage,
    flags: u8,
    prefix_length: u8,
    key_length: u16,
    interface: libc::c_int,
    key: [u8; crate::tcp::MD5_KEY_MAX],
}

/// Sets the key for `peer`, of at most 80 octets; an empty one takes it away.
pub(crate) fn tcp_md5(socket: BorrowedFd<'_>, peer: IpAddr, key: &[u8]) -> io::Result<()> {
    // SAFETY: the structure is plain old data for which all zeroes is a valid value.
    let mut request: Md5Signature = unsafe { mem::zeroed() };
    match peer {
        IpAddr::V4(peer) => {
            // SAFETY: `sockaddr_storage` is as large and as aligned as any address.
            let address = unsafe { &mut *(&raw mut request.address).cast::<libc::sockaddr_in>() };
            address.sin_family = libc::AF_INET as libc::sa_family_t;
            address.sin_addr.s_addr = u32::from(peer).to_be();
        }
        IpAddr::V6(peer) => {
            // SAFETY: as above.
            let address = unsafe { &mut *(&raw mut request.address).cast::<libc::sockaddr_in6>() };
            address.sin6_family = libc::AF_INET6 as libc::sa_family_t;
            address.sin6_addr.s6_addr = peer.octets();
        }
    }
    request.key_length = u16::try_from(key.len()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    for (to, from) in request.key.iter_mut().zip(key) {
        *to = *from;
    }
    let result = set_option(socket, libc::IPPROTO_TCP, libc::TCP_MD5SIG, &request);
    request.key.zeroize();
    result
}

/// Sets the hop limit sent and the least one taken to 255; without `on`, to what they are by default.
pub(crate) fn hop_limits(socket: BorrowedFd<'_>, ipv6: bool, on: bool) -> io::Result<()> {
    /// Of `linux/in6.h`.
    const IPV6_MINHOPCOUNT: libc::c_int = 73;
    let (sent, taken): (libc::c_int, libc::c_int) = if on { (255, 255) } else { (-1, 0) };
    let (level, limit, least) = if ipv6 {
        (libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS, IPV6_MINHOPCOUNT)
    } else {
        (libc::IPPROTO_IP, libc::IP_TTL, libc::IP_MINTTL)
    };
    set_option(socket, level, limit, &sent)?;
    set_option(socket, level, least, &taken)
}

/// Packets that the kernel has dropped at a socket.
pub(crate) fn dropped(socket: BorrowedFd<'_>) -> io::Result<u32> {
    /// Of `linux/sock_diag.h`: the place of the drops among the figures, which are eight and this one.
    const SK_MEMINFO_DROPS: usize = 8;
    let mut figures = [0_u32; SK_MEMINFO_DROPS + 1];
    let mut length =
        libc::socklen_t::try_from(size_of_val(&figures)).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    // SAFETY: the kernel writes at most `length` octets to `figures` and the length to `length`; both live until the call returns.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            figures.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(figures[SK_MEMINFO_DROPS]) }
}

fn set_option<T>(socket: BorrowedFd<'_>, level: libc::c_int, name: libc::c_int, value: &T) -> io::Result<()> {
    let length = libc::socklen_t::try_from(size_of::<T>()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    // SAFETY: the kernel reads `length` octets of `value`, which lives until the call returns.
    let result = unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, std::ptr::from_ref(value).cast(), length) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
