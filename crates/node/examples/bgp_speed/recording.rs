//! UPDATEs that are sent as fast as TCP takes them, so that the receiver's speed is measured and not the sender's: those that a daemon once
//! sent, or one for each prefix.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use causeway_linux::Namespace;

use crate::world::{ASNS, Net, PATIENCE, Result, address};

const OPEN: u8 = 1;
const UPDATE: u8 = 2;
const KEEPALIVE: u8 = 4;
const PORT: u16 = 179;

fn message(kind: u8, body: &[u8]) -> Result<Vec<u8>> {
    let length = u16::try_from(19 + body.len())?;
    Ok([&[0xff; 16][..], &length.to_be_bytes(), &[kind], body].concat())
}

/// Hold time 180 s, IPv4 unicast, 4-octet AS numbers.
fn open(side: usize) -> Result<Vec<u8>> {
    let asn = ASNS[side];
    let mut body = vec![4];
    body.extend(u16::try_from(asn)?.to_be_bytes());
    body.extend([0, 180]);
    body.extend(address(side).octets());
    body.extend([14, 2, 12, 1, 4, 0, 1, 0, 1, 65, 4]);
    body.extend(asn.to_be_bytes());
    message(OPEN, &body)
}

/// The next message, its header included, and its kind.
fn receive(stream: &mut TcpStream) -> Result<(u8, Vec<u8>)> {
    let mut octets = vec![0; 19];
    stream.read_exact(&mut octets)?;
    let length = usize::from(u16::from_be_bytes([octets[16], octets[17]]));
    octets.resize(length, 0);
    stream.read_exact(octets.get_mut(19..).ok_or("a length under 19")?)?;
    Ok((octets[18], octets))
}

fn expect(stream: &mut TcpStream, wanted: u8) -> Result<()> {
    let (kind, octets) = receive(stream)?;
    if kind == wanted { Ok(()) } else { Err(format!("message {kind} instead of {wanted}: {octets:?}").into()) }
}

/// Brings the session up as the end `side`.
fn handshake(stream: &mut TcpStream, side: usize) -> Result<()> {
    stream.write_all(&open(side)?)?;
    expect(stream, OPEN)?;
    stream.write_all(&message(KEEPALIVE, &[])?)?;
    expect(stream, KEEPALIVE)
}

/// Prefixes of length 24 that an UPDATE announces.
fn announced(octets: &[u8]) -> Result<usize> {
    let length = |at: usize| -> Result<usize> {
        let octets = octets.get(at..at + 2).ok_or("a short UPDATE")?;
        Ok(usize::from(octets[0]) << 8 | usize::from(octets[1]))
    };
    let withdrawn = length(19)?;
    let attributes = length(21 + withdrawn)?;
    Ok((octets.len() - 23 - withdrawn - attributes) / 4)
}

/// Everything that side 0, a daemon, tells us of `count` prefixes.
pub(crate) fn take(net: &Net, count: usize) -> Result<Vec<u8>> {
    let attempt = || -> Result<TcpStream> {
        let mut stream = net.sides[1].run(|| TcpStream::connect((address(0), PORT)))??;
        handshake(&mut stream, 1)?;
        Ok(stream)
    };
    let start = Instant::now();
    let mut stream = loop {
        match attempt() {
            Ok(stream) => break stream,
            Err(error) if start.elapsed() > PATIENCE => return Err(error),
            Err(_) => thread::sleep(Duration::from_millis(100)),
        }
    };
    let (mut recorded, mut prefixes) = (Vec::new(), 0);
    while prefixes < count {
        let (kind, octets) = receive(&mut stream)?;
        if kind == UPDATE {
            prefixes += announced(&octets)?;
            recorded.extend(octets);
        }
    }
    Ok(recorded)
}

/// `count` prefixes, each in an UPDATE of its own with a path of its own.
pub(crate) fn one_each(count: usize) -> Result<Vec<u8>> {
    let mut updates = Vec::new();
    for n in 0..u32::try_from(count)? {
        let path = [2, 2].into_iter().chain(ASNS[0].to_be_bytes()).chain((100_000 + n).to_be_bytes());
        let mut attributes = vec![0x40, 1, 1, 0, 0x40, 2, 10];
        attributes.extend(path);
        attributes.extend([0x40, 3, 4]);
        attributes.extend(address(0).octets());
        let [_, a, b, c] = ((20 << 16) + n).to_be_bytes();
        let mut body = vec![0, 0];
        body.extend(u16::try_from(attributes.len())?.to_be_bytes());
        body.extend(attributes);
        body.extend([24, a, b, c]);
        updates.extend(message(UPDATE, &body)?);
    }
    Ok(updates)
}

/// Side 0, which waits for side 1 to connect and then for the word to send.
pub(crate) struct Replay {
    ready: mpsc::Receiver<()>,
    go: mpsc::Sender<()>,
}

impl Replay {
    pub(crate) fn start(namespace: &Namespace, updates: Vec<u8>) -> Result<Self> {
        let listener = namespace.run(|| TcpListener::bind((address(0), PORT)))??;
        let (ready_tx, ready) = mpsc::channel();
        let (go, go_rx) = mpsc::channel::<()>();
        thread::spawn(move || {
            // A daemon may give a connection up and come again.
            while let Ok((mut stream, _)) = listener.accept() {
                if handshake(&mut stream, 0).is_err() {
                    continue;
                }
                let _ = ready_tx.send(());
                let Ok(mut reader) = stream.try_clone() else { return };
                thread::spawn(move || while receive(&mut reader).is_ok() {});
                if go_rx.recv().is_err() || stream.write_all(&updates).is_err() {
                    return;
                }
                // The session stays until nobody is interested any more.
                let _ = go_rx.recv();
            }
        });
        Ok(Self { ready, go })
    }

    /// Whether the session has come up since it was asked last.
    pub(crate) fn is_up(&self) -> bool {
        self.ready.try_recv().is_ok()
    }

    pub(crate) fn go(&self) -> Result<()> {
        Ok(self.go.send(())?)
    }
}
