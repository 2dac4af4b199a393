//! Sealed packets on their way to one destination: laid out one behind the other, so that trains of equal size leave in one
//! piece (`UDP_SEGMENT`) and several trains in one call (`sendmmsg`).

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::SockAddr;

use crate::counters::{DropReason, FamilyCounters};
use crate::socket::{SEND_ATTEMPTS, Socket};
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
        let mut attempts = 0;
        while let Some(pending) = self.trains.get(next..).filter(|pending| !pending.is_empty()) {
            let sent = self.sender.send(socket.as_fd(), &to, &self.buffer, pending.iter().map(|train| train.run));
            let error = match sent {
                Ok(sent) if sent > 0 => {
                    for train in pending.iter().take(sent) {
                        counters.sent(train.packets, train.inner_octets);
                    }
                    next += sent;
                    attempts = 0;
                    continue;
                }
                Ok(_) => io::ErrorKind::WriteZero.into(),
                Err(error) => error,
            };
            if error.kind() == io::ErrorKind::Interrupted {
                continue;
            }
            attempts += 1;
            if error.kind() == io::ErrorKind::WouldBlock {
                if attempts == 1 {
                    wait_writable(socket);
                    continue;
                }
                // The way out is jammed for everybody. Packets to come wait in the devices; these have waited enough.
                let packets = pending.iter().map(|train| train.packets).sum();
                counters.drops.add(DropReason::SendFailed, packets);
                break;
            }
            let Some(train) = pending.first().copied() else { break };
            let too_big = error.raw_os_error() == Some(libc::EMSGSIZE);
            if too_big && train.packets > 1 {
                // A train is never fragmented, its packets are: this says something of the path, not of trains.
                self.split(next);
                continue;
            }
            if attempts < SEND_ATTEMPTS {
                continue;
            }
            attempts = 0;
            if train.packets > 1 && refuses_trains(&error) {
                socket.give_up_trains();
                self.split(next);
                continue;
            }
            let reason = if too_big { DropReason::TooBig } else { DropReason::SendFailed };
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

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, UdpSocket};

    use super::*;

    fn lay_out(sizes: &[usize]) -> Batch {
        let mut batch = Batch::new();
        for (index, &size) in sizes.iter().enumerate() {
            batch.room().get_mut(..size).expect("room").fill(index as u8);
            batch.push(size, size - 10, true);
        }
        batch
    }

    fn layout(batch: &Batch) -> Vec<(usize, usize, u64)> {
        batch.trains.iter().map(|train| (train.run.len, train.run.segment, train.packets)).collect()
    }

    #[test]
    fn a_train_has_equal_packets_and_at_most_a_shorter_last_one() {
        assert_eq!(layout(&lay_out(&[100, 100, 60])), [(260, 100, 3)]);
        assert_eq!(layout(&lay_out(&[100, 60, 60])), [(160, 100, 2), (60, 60, 1)]);
        assert_eq!(layout(&lay_out(&[60, 100, 100])), [(60, 60, 1), (200, 100, 2)]);
        assert_eq!(layout(&lay_out(&[1400; 47])), [(46 * 1400, 1400, 46), (1400, 1400, 1)]);
        assert_eq!(layout(&lay_out(&[100; 65])), [(6400, 100, 64), (100, 100, 1)]);
    }

    #[test]
    fn breaking_trains_up_keeps_every_packet_and_octet() {
        let mut batch = lay_out(&[100, 100, 60, 80]);
        batch.split(0);
        assert_eq!(layout(&batch), [(100, 100, 1), (100, 100, 1), (60, 60, 1), (80, 80, 1)]);
        assert_eq!(batch.trains.iter().map(|train| train.run.start).collect::<Vec<_>>(), [0, 100, 200, 260]);
        assert_eq!(batch.trains.iter().map(|train| train.inner_octets).sum::<u64>(), 300);
    }

    #[test]
    fn what_is_flushed_arrives_packet_by_packet_with_trains_and_without() {
        let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let receiver = UdpSocket::bind((local, 0)).expect("a socket");
        receiver.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
        let to = receiver.local_addr().expect("an address");
        for trains in [true, false] {
            let socket = Socket::bind(local, 0, true, 1).expect("a socket");
            if !trains {
                socket.give_up_trains();
            }
            let sizes = [1300, 1300, 700, 90, 1300, 20];
            let mut batch = Batch::new();
            for (index, &size) in sizes.iter().enumerate() {
                batch.room().get_mut(..size).expect("room").fill(index as u8);
                batch.push(size, size, socket.uses_trains());
            }
            assert_eq!(batch.trains.len(), if trains { 3 } else { 6 });
            let counters = FamilyCounters::default();
            batch.flush(&socket, to, &counters);
            let mut sums = causeway_model::observed::TunnelCounters::default();
            counters.add_to(&mut sums);
            assert_eq!((sums.packets_out, sums.bytes_out), (6, 4710));
            assert!(sums.drops.is_empty(), "{:?}", sums.drops);
            for (index, &size) in sizes.iter().enumerate() {
                let mut buffer = [0; 2000];
                let (length, _) = receiver.recv_from(&mut buffer).expect("a datagram");
                assert_eq!(buffer.get(..length), Some(&vec![index as u8; size][..]));
            }
            assert!(batch.trains.is_empty() && batch.has_room(CAPACITY));
        }
    }

    #[test]
    fn what_the_kernel_refuses_is_counted_and_does_not_hold_up_the_rest() {
        let socket = Socket::bind(IpAddr::V4(Ipv4Addr::LOCALHOST), 0, true, 1).expect("a socket");
        let counters = FamilyCounters::default();
        let mut batch = lay_out(&[70_000, 100]);
        batch.flush(&socket, socket.local, &counters);
        let mut sums = causeway_model::observed::TunnelCounters::default();
        counters.add_to(&mut sums);
        assert_eq!((sums.packets_out, sums.drops.get("too_big")), (1, Some(&1)), "{sums:?}");
    }
}
