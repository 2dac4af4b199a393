//! Sealed packets on their way to one destination: laid out one behind the other, so that trains of equal size leave in one
//! piece (`UDP_SEGMENT`) and several trains in one call (`sendmmsg`).

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::SockAddr;

use crate::counters::{DropReason, FamilyCounters};
use crate::socket::Socket;
use crate::sys::{MAX_RUNS, Run, Sender};

/// Room for sealed packets, octets: stays in the L2 cache, and holds a batch of full-sized packets.
const CAPACITY: usize = 256 * 1024;
/// The largest train that the kernel takes, octets (a UDP datagram's limit).
const MAX_RUN_LEN: usize = 65_000;
/// The longest train that every kernel takes (`UDP_MAX_SEGMENTS`; newer ones take 128).
const MAX_SEGMENTS: u64 = 64;
/// How long to wait for a socket whose buffer is full. Meanwhile packets queue in the TUN devices.
const SEND_PATIENCE: Duration = Duration::from_millis(2);

/// A train and the inner packets in it.
#[derive(Clone, Copy, Debug, Default)]
struct Train {
    run: Run,
    packets: u64,
    inner_octets: u64,
}

/// The sending thread's buffer.
pub(crate) struct Batch {
    buffer: Vec<u8>,
    used: usize,
    trains: Vec<Train>,
    sender: Sender,
}

impl Batch {
    pub(crate) fn new() -> Self {
        Self { buffer: vec![0; CAPACITY], used: 0, trains: Vec::with_capacity(MAX_RUNS), sender: Sender::new() }
    }

    /// Whether a packet of `octets` can be added.
    pub(crate) fn has_room(&self, octets: usize) -> bool {
        self.buffer.len() - self.used >= octets && self.trains.len() < MAX_RUNS
    }

    /// Where the next packet is to be written.
    pub(crate) fn room(&mut self) -> &mut [u8] {
        self.buffer.get_mut(self.used..).unwrap_or_default()
    }

    /// Takes in the packet of `octets` that was written to [`Batch::room`] and carries `inner_octets`.
    pub(crate) fn push(&mut self, octets: usize, inner_octets: usize, trains_allowed: bool) {
        let start = self.used;
        self.used = (start + octets).min(self.buffer.len());
        if let Some(train) = self.trains.last_mut() {
            let run = &mut train.run;
            // Only the last packet of a train may be shorter than the others.
            let open = run.len == run.segment * usize::try_from(train.packets).unwrap_or(usize::MAX);
            if trains_allowed
                && open
                && octets <= run.segment
                && run.len + octets <= MAX_RUN_LEN
                && train.packets < MAX_SEGMENTS
            {
                run.len += octets;
                train.packets += 1;
                train.inner_octets += inner_octets as u64;
                return;
            }
        }
        let run = Run { start, len: octets, segment: octets };
        self.trains.push(Train { run, packets: 1, inner_octets: inner_octets as u64 });
    }

    /// Sends everything to `remote` and counts what became of it. The batch is empty afterwards.
    pub(crate) fn flush(&mut self, socket: &Socket, remote: SocketAddr, counters: &FamilyCounters) {
        let to = SockAddr::from(remote);
        let mut next = 0;
        let mut retried = false;
        while let Some(pending) = self.trains.get(next..).filter(|pending| !pending.is_empty()) {
            let sent = self.sender.send(socket.as_fd(), &to, &self.buffer, pending.iter().map(|train| train.run));
            let error = match sent {
                Ok(sent) if sent > 0 => {
                    for train in pending.iter().take(sent) {
                        counters.sent(train.packets, train.inner_octets);
                    }
                    next += sent;
                    retried = false;
                    continue;
                }
                Ok(_) => io::ErrorKind::WriteZero.into(),
                Err(error) => error,
            };
            if error.kind() == io::ErrorKind::Interrupted {
                continue;
            }
            // With IP_RECVERR an error that an earlier datagram met is reported once to whoever sends next.
            if !retried {
                retried = true;
                if error.kind() == io::ErrorKind::WouldBlock {
                    wait_writable(socket);
                }
                continue;
            }
            retried = false;
            let Some(train) = pending.first().copied() else { break };
            if train.packets > 1 && socket.uses_trains() && refuses_trains(&error) {
                socket.give_up_trains();
                self.split(next);
                continue;
            }
            let reason =
                if error.raw_os_error() == Some(libc::EMSGSIZE) { DropReason::TooBig } else { DropReason::SendFailed };
            counters.drops.add(reason, train.packets);
            next += 1;
        }
        self.used = 0;
        self.trains.clear();
    }

    /// Breaks the trains from `first` on into single packets.
    fn split(&mut self, first: usize) {
        let trains = self.trains.split_off(first.min(self.trains.len()));
        for train in trains {
            let (mut offset, mut inner_left) = (0, train.inner_octets);
            while offset < train.run.len {
                let len = train.run.segment.min(train.run.len - offset);
                let last = offset + len == train.run.len;
                // Every packet but the last has the same size, so an even share is right but for the last one's padding.
                let inner = if last { inner_left } else { inner_left.min(train.inner_octets / train.packets.max(1)) };
                inner_left -= inner;
                let run = Run { start: train.run.start + offset, len, segment: len };
                self.trains.push(Train { run, packets: 1, inner_octets: inner });
                offset += len;
            }
        }
    }
}

/// What kernels and devices answer when they can't segment.
fn refuses_trains(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EIO | libc::EINVAL | libc::EOPNOTSUPP | libc::ENOPROTOOPT))
}

fn wait_writable(socket: &Socket) {
    let patience = Timespec { tv_sec: 0, tv_nsec: i64::from(SEND_PATIENCE.subsec_nanos()) };
    let mut fds = [PollFd::from_borrowed_fd(socket.as_fd(), PollFlags::OUT)];
    // Whatever the outcome, the send that follows tells.
    let _ = poll(&mut fds, Some(&patience));
}
