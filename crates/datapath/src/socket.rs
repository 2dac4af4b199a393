//! The UDP sockets of one public address.

use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use causeway_model::Family;
use rustix::net::sockopt;
use socket2::{Domain, Protocol, SockAddr, Type};

use crate::sys;

/// IKE without encapsulation (RFC 7296 §2).
pub const IKE_PORT: u16 = 500;
/// IKE and ESP encapsulated in UDP (RFC 3948).
pub const ENCAPSULATION_PORT: u16 = 4500;
/// What precedes an IKE message on port 4500 (RFC 3948 §2.2).
pub(crate) const NON_ESP_MARKER: [u8; 4] = [0; 4];
/// How often a call is made before its error counts. With `IP_RECVERR` an error that an earlier datagram met is reported once to
/// whoever sends next, and several may be on their way.
pub(crate) const SEND_ATTEMPTS: u32 = 4;
/// Kernel buffer in each direction, octets. It is a limit; an idle socket holds no memory for it.
const KERNEL_BUFFER: usize = 8 << 20;

/// One bound socket.
pub(crate) struct Socket {
    inner: socket2::Socket,
    pub(crate) token: u64,
    pub(crate) local: SocketAddr,
    pub(crate) family: Family,
    /// Whether ESP and the non-ESP marker are spoken here.
    pub(crate) encapsulates: bool,
    /// Whether it is one of the two of a public address.
    pub(crate) paired: bool,
    trains: AtomicBool,
}

impl Socket {
    /// Binds in the calling thread's network namespace.
    pub(crate) fn bind(address: IpAddr, port: u16, encapsulates: bool, token: u64) -> io::Result<Self> {
        let wanted = SocketAddr::new(address, port);
        let family = Family::of(address);
        let kind = Type::DGRAM.nonblocking().cloexec();
        let inner = socket2::Socket::new(Domain::for_address(wanted), kind, Some(Protocol::UDP))?;
        match family {
            Family::Ipv4 => {
                // Never DF, and no notice taken of path MTUs that ICMP claims: a router on the way fragments if it must. A tunnel
                // sized for an ordinary path never needs it, and nobody can shrink the tunnel with forged ICMP.
                sockopt::set_ip_mtu_discover(&inner, sockopt::Ipv4PathMtuDiscovery::OMIT)?;
            }
            Family::Ipv6 => {
                inner.set_only_v6(true)?;
                // IPv6 routers do not fragment, so here the path MTU is obeyed, by fragmenting at the source.
                sockopt::set_ipv6_mtu_discover(&inner, sockopt::Ipv6PathMtuDiscovery::DONT)?;
            }
        }
        // The forced sizes pass the system's limit but need CAP_NET_ADMIN; without it the limit will do.
        if sockopt::set_socket_recv_buffer_size_force(&inner, KERNEL_BUFFER).is_err() {
            inner.set_recv_buffer_size(KERNEL_BUFFER)?;
        }
        if sockopt::set_socket_send_buffer_size_force(&inner, KERNEL_BUFFER).is_err() {
            inner.set_send_buffer_size(KERNEL_BUFFER)?;
        }
        sys::enable_error_queue(inner.as_fd(), family.is_ipv6())?;
        if encapsulates && sys::enable_gro(inner.as_fd()).is_err() {
            tracing::info!("the kernel has no UDP_GRO; datagrams are received one by one");
        }
        inner.bind(&SockAddr::from(wanted))?;
        let local = inner.local_addr()?.as_socket().unwrap_or(wanted);
        Ok(Self { inner, token, local, family, encapsulates, paired: true, trains: AtomicBool::new(true) })
    }

    /// Binds as [`Self::bind`], alone and for encapsulated traffic.
    pub(crate) fn bind_alone(local: SocketAddr, token: u64) -> io::Result<Self> {
        Ok(Self { paired: false, ..Self::bind(local.ip(), local.port(), true, token)? })
    }

    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.as_fd()
    }

    /// Whether the kernel segments trains on this socket's way out, as far as is known.
    pub(crate) fn uses_trains(&self) -> bool {
        self.trains.load(Ordering::Relaxed)
    }

    pub(crate) fn give_up_trains(&self) {
        if self.trains.swap(false, Ordering::Relaxed) {
            tracing::info!(local = %self.local, "the kernel refuses UDP_SEGMENT here; packets are sent one by one");
        }
    }

    /// Sends an IKE message, with the marker where it belongs. Never blocks.
    pub(crate) fn send_ike(&self, remote: SocketAddr, message: &[u8]) -> io::Result<()> {
        let to = SockAddr::from(remote);
        let marker: &[u8] = if self.encapsulates { &NON_ESP_MARKER } else { &[] };
        let parts = [IoSlice::new(marker), IoSlice::new(message)];
        for _ in 1..SEND_ATTEMPTS {
            match self.inner.send_to_vectored(&parts, &to) {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(error),
                Err(_) => {}
            }
        }
        self.inner.send_to_vectored(&parts, &to).map(drop)
    }
}
