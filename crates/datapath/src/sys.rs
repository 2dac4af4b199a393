//! Batched datagram calls and the socket options that have no safe wrapper.
#![expect(unsafe_code, reason = "recvmmsg, sendmmsg and control messages take raw pointers")]

use std::io;
use std::mem::{size_of, zeroed};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use socket2::SockAddr;

/// Datagrams (or trains of equal datagrams, with `UDP_GRO`) taken by one call.
pub(crate) const RECV_SLOTS: usize = 64;
/// Room of one slot, octets: the largest datagram or train.
pub(crate) const RECV_SLOT_LEN: usize = 65_536;
/// Runs sent by one call.
pub(crate) const MAX_RUNS: usize = 64;
/// Room for the control messages of one datagram, octets: one `int` or one `sock_extended_err` with its address fit well.
const CONTROL_LEN: usize = 128;

#[derive(Clone, Copy)]
#[repr(C, align(16))]
struct Control([u8; CONTROL_LEN]);

fn set_option(fd: BorrowedFd<'_>, level: libc::c_int, name: libc::c_int) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the option takes one `int`, whose address and size are passed; `fd` is open for the duration of the call.
    let result = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            level,
            name,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Lets the kernel hand over trains of equal datagrams of one flow as one.
pub(crate) fn enable_gro(fd: BorrowedFd<'_>) -> io::Result<()> {
    set_option(fd, libc::SOL_UDP, libc::UDP_GRO)
}

/// Queues ICMP errors for [`next_error`].
pub(crate) fn enable_error_queue(fd: BorrowedFd<'_>, ipv6: bool) -> io::Result<()> {
    if ipv6 {
        set_option(fd, libc::IPPROTO_IPV6, libc::IPV6_RECVERR)
    } else {
        set_option(fd, libc::IPPROTO_IP, libc::IP_RECVERR)
    }
}

/// The address in `storage`, if it is an internet address. Flow labels are dropped: they say nothing about who sent.
fn socket_address(storage: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match libc::c_int::from(storage.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says that the storage, which is large and aligned enough for every address, holds a `sockaddr_in`.
            let address = unsafe { &*ptr::from_ref(storage).cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(u32::from_be(address.sin_addr.s_addr));
            Some(SocketAddrV4::new(ip, u16::from_be(address.sin_port)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: as above, with `sockaddr_in6`.
            let address = unsafe { &*ptr::from_ref(storage).cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(address.sin6_addr.s6_addr);
            Some(SocketAddrV6::new(ip, u16::from_be(address.sin6_port), 0, address.sin6_scope_id).into())
        }
        _ => None,
    }
}

/// The buffers of a receiving thread.
pub(crate) struct Receiver {
    buffer: Vec<u8>,
    names: Vec<libc::sockaddr_storage>,
    controls: Vec<Control>,
    vectors: Vec<libc::iovec>,
    headers: Vec<libc::mmsghdr>,
}

/// One datagram, or one train of them.
pub(crate) struct Received<'a> {
    pub(crate) source: SocketAddr,
    pub(crate) bytes: &'a mut [u8],
    /// Length of each datagram in `bytes` but the last, which may be shorter; at least 1.
    pub(crate) segment: usize,
    /// The end was cut off.
    pub(crate) truncated: bool,
}

impl Receiver {
    pub(crate) fn new() -> Self {
        // SAFETY: these are plain C data for which all zeroes is a valid value.
        let (name, vector, header) = unsafe { (zeroed(), zeroed(), zeroed()) };
        Self {
            // Zeroed memory comes from the kernel untouched: only what datagrams fill is ever backed by pages.
            buffer: vec![0; RECV_SLOTS * RECV_SLOT_LEN],
            names: vec![name; RECV_SLOTS],
            controls: vec![Control([0; CONTROL_LEN]); RECV_SLOTS],
            vectors: vec![vector; RECV_SLOTS],
            headers: vec![header; RECV_SLOTS],
        }
    }

    /// Takes what waits on the socket, up to [`RECV_SLOTS`]; `WouldBlock` if nothing does.
    pub(crate) fn receive(&mut self, fd: BorrowedFd<'_>) -> io::Result<usize> {
        let slots = self.buffer.chunks_exact_mut(RECV_SLOT_LEN);
        for ((((header, vector), name), control), slot) in
            self.headers.iter_mut().zip(&mut self.vectors).zip(&mut self.names).zip(&mut self.controls).zip(slots)
        {
            *vector = libc::iovec { iov_base: slot.as_mut_ptr().cast(), iov_len: slot.len() };
            header.msg_len = 0;
            header.msg_hdr.msg_name = ptr::from_mut(name).cast();
            header.msg_hdr.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_control = control.0.as_mut_ptr().cast();
            header.msg_hdr.msg_controllen = CONTROL_LEN as _;
            header.msg_hdr.msg_flags = 0;
        }
        // SAFETY: every header was just pointed at buffers of this value with their lengths, which outlive the call and are
        // borrowed mutably by it; the count is that of the headers; no timeout is passed.
        let received = unsafe {
            libc::recvmmsg(
                fd.as_raw_fd(),
                self.headers.as_mut_ptr(),
                RECV_SLOTS as libc::c_uint,
                libc::MSG_DONTWAIT as _,
                ptr::null_mut(),
            )
        };
        usize::try_from(received).map_err(|_| io::Error::last_os_error())
    }

    /// What the last [`Receiver::receive`] put into `slot`.
    pub(crate) fn received(&mut self, slot: usize) -> Option<Received<'_>> {
        let header = self.headers.get(slot)?;
        let length = header.msg_len as usize;
        let source = socket_address(self.names.get(slot)?)?;
        let start = slot.checked_mul(RECV_SLOT_LEN)?;
        let segment = gro_segment(&header.msg_hdr).filter(|&segment| segment > 0).unwrap_or(length).max(1);
        let truncated = header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0;
        let bytes = self.buffer.get_mut(start..start.checked_add(length.min(RECV_SLOT_LEN))?)?;
        Some(Received { source, bytes, segment, truncated })
    }
}

/// The segment size that the kernel reports for a train.
fn gro_segment(header: &libc::msghdr) -> Option<usize> {
    // SAFETY: the control buffer and its length are those that the kernel filled in; the macros stay within them, and a
    // UDP_GRO message carries one `int`.
    unsafe {
        let mut message = libc::CMSG_FIRSTHDR(header);
        while !message.is_null() {
            if (*message).cmsg_level == libc::SOL_UDP && (*message).cmsg_type == libc::UDP_GRO {
                let size = ptr::read_unaligned(libc::CMSG_DATA(message).cast::<libc::c_int>());
                return usize::try_from(size).ok();
            }
            message = libc::CMSG_NXTHDR(header, message);
        }
    }
    None
}

/// Consecutive datagrams in a buffer that go out as one train: all of `segment` octets, the last one of at most that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) start: usize,
    pub(crate) len: usize,
    pub(crate) segment: usize,
}

/// The message headers of a sending thread.
pub(crate) struct Sender {
    controls: Vec<Control>,
    vectors: Vec<libc::iovec>,
    headers: Vec<libc::mmsghdr>,
}

impl Sender {
    pub(crate) fn new() -> Self {
        // SAFETY: these are plain C data for which all zeroes is a valid value.
        let (vector, header) = unsafe { (zeroed(), zeroed()) };
        Self {
            controls: vec![Control([0; CONTROL_LEN]); MAX_RUNS],
            vectors: vec![vector; MAX_RUNS],
            headers: vec![header; MAX_RUNS],
        }
    }

    /// Sends up to [`MAX_RUNS`] runs of `buffer` to `to`; the result is how many the socket took.
    pub(crate) fn send(
        &mut self,
        fd: BorrowedFd<'_>,
        to: &SockAddr,
        buffer: &[u8],
        runs: impl Iterator<Item = Run>,
    ) -> io::Result<usize> {
        let mut count: libc::c_uint = 0;
        for (((run, header), vector), control) in
            runs.zip(&mut self.headers).zip(&mut self.vectors).zip(&mut self.controls)
        {
            let bytes = run.start.checked_add(run.len).and_then(|end| buffer.get(run.start..end));
            let Some(bytes) = bytes else { return Err(io::ErrorKind::InvalidInput.into()) };
            *vector = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
            header.msg_hdr.msg_name = to.as_ptr().cast_mut().cast();
            header.msg_hdr.msg_namelen = to.len();
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_control = ptr::null_mut();
            header.msg_hdr.msg_controllen = 0;
            header.msg_hdr.msg_flags = 0;
            if run.len > run.segment {
                let Ok(segment) = u16::try_from(run.segment) else { return Err(io::ErrorKind::InvalidInput.into()) };
                set_segment(&mut header.msg_hdr, control, segment);
            }
            count += 1;
        }
        if count == 0 {
            return Ok(0);
        }
        // SAFETY: the first `count` headers point at the address, at bytes of `buffer` and at this value's control messages, all
        // of which outlive the call; the kernel reads through those pointers and writes only the headers' lengths.
        let sent = unsafe { libc::sendmmsg(fd.as_raw_fd(), self.headers.as_mut_ptr(), count, libc::MSG_DONTWAIT as _) };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }
}

/// Attaches the segment size to a message.
fn set_segment(header: &mut libc::msghdr, control: &mut Control, segment: u16) {
    header.msg_control = control.0.as_mut_ptr().cast();
    // SAFETY: the buffer is zeroed or holds an earlier message of the same shape, is aligned for `cmsghdr`, and is larger than
    // one message with a `u16`; so CMSG_FIRSTHDR is not null and CMSG_DATA lies within it.
    unsafe {
        header.msg_controllen = libc::CMSG_SPACE(size_of::<u16>() as u32) as _;
        let message = libc::CMSG_FIRSTHDR(header);
        (*message).cmsg_level = libc::SOL_UDP;
        (*message).cmsg_type = libc::UDP_SEGMENT;
        (*message).cmsg_len = libc::CMSG_LEN(size_of::<u16>() as u32) as _;
        ptr::write_unaligned(libc::CMSG_DATA(message).cast::<u16>(), segment);
    }
}

/// One entry of a socket's error queue.
pub(crate) struct Report {
    /// Where the datagram that caused it went.
    pub(crate) remote: SocketAddr,
    /// ICMP says that the destination can't be reached (not: that a datagram was too large).
    pub(crate) unreachable: bool,
}

/// The next entry of the error queue: `Ok(None)` for one that says nothing of use, `WouldBlock` at the end.
pub(crate) fn next_error(fd: BorrowedFd<'_>) -> io::Result<Option<Report>> {
    // SAFETY: plain C data for which all zeroes is a valid value.
    let (mut name, mut header): (libc::sockaddr_storage, libc::msghdr) = unsafe { (zeroed(), zeroed()) };
    let mut control = Control([0; CONTROL_LEN]);
    header.msg_name = (&raw mut name).cast();
    header.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    header.msg_control = control.0.as_mut_ptr().cast();
    header.msg_controllen = CONTROL_LEN as _;
    // SAFETY: the header points at local buffers with their lengths and has no data vector; `fd` is open during the call.
    let result = unsafe { libc::recvmsg(fd.as_raw_fd(), &raw mut header, libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    let Some(remote) = socket_address(&name) else { return Ok(None) };
    // SAFETY: the macros stay within the control buffer that the kernel filled in; both kinds of message carry a
    // `sock_extended_err` first.
    unsafe {
        let mut message = libc::CMSG_FIRSTHDR(&raw const header);
        while !message.is_null() {
            let kind = ((*message).cmsg_level, (*message).cmsg_type);
            if kind == (libc::IPPROTO_IP, libc::IP_RECVERR) || kind == (libc::IPPROTO_IPV6, libc::IPV6_RECVERR) {
                let error = ptr::read_unaligned(libc::CMSG_DATA(message).cast::<libc::sock_extended_err>());
                let unreachable = match error.ee_origin {
                    // Type 3 is unreachable (RFC 792); its code 4 asks for smaller packets.
                    libc::SO_EE_ORIGIN_ICMP => error.ee_type == 3 && error.ee_code != 4,
                    // Type 1 is unreachable (RFC 4443 §3.1); smaller packets are asked for by type 2.
                    libc::SO_EE_ORIGIN_ICMP6 => error.ee_type == 1,
                    _ => false,
                };
                return Ok(Some(Report { remote, unreachable }));
            }
            message = libc::CMSG_NXTHDR(&raw const header, message);
        }
    }
    Ok(None)
}
