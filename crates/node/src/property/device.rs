//! A customer's device that speaks BGP in hand-built octets to a session of ours.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Instant;

use causeway_bgp::{ConnKind, Policy, Route, Session, SessionConfig};
use causeway_model::Family;
use ipnet::IpNet;

/// Our AS number and the device's.
pub(crate) const OURS: u32 = 64512;
const THEIRS: u32 = 65001;

/// What a device says of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Attributes {
    /// 0: no community; else the lowest, the middle or the highest.
    pub(crate) tag: u8,
    /// AS numbers beyond the device's own.
    pub(crate) longer: u8,
    /// MED.
    pub(crate) med: u8,
}

impl Attributes {
    /// What the choice goes by, the better the smaller (system.md §2.4).
    pub(crate) fn rank(self) -> (u32, u8, u8) {
        let preference = [90, 50, 100, 200][usize::from(self.tag)];
        (u32::MAX - preference, self.longer, self.med)
    }

    fn octets(self) -> Vec<u8> {
        let asns: Vec<u32> = (0..=u32::from(self.longer)).map(|place| THEIRS + place).collect();
        let count = u8::try_from(asns.len()).expect("a short path");
        let path = [vec![2, count], asns.iter().flat_map(|asn| asn.to_be_bytes()).collect()].concat();
        let mut octets = [attribute(0x40, 1, &[0]), attribute(0x40, 2, &path)].concat();
        octets.extend(attribute(0x80, 4, &u32::from(self.med).to_be_bytes()));
        if self.tag > 0 {
            let value = [0, 42050, 42100, 42200][usize::from(self.tag)];
            octets.extend(attribute(0xc0, 8, &(OURS << 16 | value).to_be_bytes()));
        }
        octets
    }
}

/// Our session of one family, and the device at its other end.
pub(crate) struct Device {
    family: Family,
    restarts: bool,
    now: Instant,
    session: Session,
}

impl Device {
    /// A session that is up, without policy.
    pub(crate) fn new(family: Family, connection: u8) -> Self {
        Self::with(family, connection, false)
    }

    /// The same with a device that restarts gracefully (RFC 4724).
    pub(crate) fn restarting(family: Family, connection: u8) -> Self {
        Self::with(family, connection, true)
    }

    fn with(family: Family, connection: u8, restarts: bool) -> Self {
        let (local, peer) = inside(family, connection);
        let config = SessionConfig {
            family,
            local_asn: OURS,
            peer_asn: THEIRS,
            router_id: Ipv4Addr::new(10, 0, 0, 1),
            local,
            peer,
            hold_time: 0,
            send_hold: causeway_bgp::SEND_HOLD,
            max_prefixes: 100,
        };
        let now = Instant::now();
        let mut device = Self { family, restarts, now, session: Session::new(config, now) };
        device.set_tunnel(true);
        device
    }

    /// The tunnel comes or goes, and the session with it.
    pub(crate) fn set_tunnel(&mut self, up: bool) {
        if up == self.session.is_up() {
            return;
        }
        self.session.set_enabled(self.now, up);
        if up {
            self.session.handle_connected(self.now, ConnKind::Incoming);
            let family = if self.family.is_ipv6() { 2 } else { 1 };
            let mut capabilities = [&[1, 4, 0, family, 0, 1, 65, 4][..], &THEIRS.to_be_bytes()].concat();
            if self.restarts {
                // For two minutes at most, and its forwarding goes on meanwhile.
                capabilities.extend([64, 6, 0, 120, 0, family, 1, 0x80]);
            }
            let length = u8::try_from(capabilities.len()).expect("a few octets");
            let asn = u16::try_from(THEIRS).expect("two octets").to_be_bytes();
            let open = [&[4][..], &asn, &[0, 0, 10, 0, 0, 2, length + 2, 2, length], &capabilities].concat();
            self.hear(1, &open);
            self.hear(4, &[]);
            assert!(self.session.is_up(), "{:?}", self.session.fault());
        }
        self.drain();
    }

    /// The tunnel goes, whether the session is up or not.
    pub(crate) fn cut(&mut self) {
        self.session.set_enabled(self.now, false);
        self.drain();
    }

    /// The TCP connection is closed.
    pub(crate) fn lose_connection(&mut self) {
        self.session.handle_closed(self.now, ConnKind::Incoming);
        self.drain();
    }

    /// What our side may accept.
    pub(crate) fn set_policy(&mut self, accept: &[IpNet], propagate: bool) {
        self.set(Policy { propagate, accept: accept.to_vec(), ..Policy::default() });
    }

    /// What our side may do.
    pub(crate) fn set(&mut self, policy: Policy) {
        self.session.set_policy(self.now, policy);
        self.drain();
    }

    /// Our side.
    pub(crate) fn session(&self) -> &Session {
        &self.session
    }

    pub(crate) fn announce(&mut self, prefix: IpNet, attributes: Attributes) {
        let octets = attributes.octets();
        match (prefix, self.session.config().peer) {
            (IpNet::V4(_), IpAddr::V4(hop)) => {
                let octets = [octets, attribute(0x40, 3, &hop.octets())].concat();
                self.update(&[], &octets, &nlri(prefix));
            }
            (_, IpAddr::V6(hop)) => {
                let reach = [&[0, 2, 1, 16][..], &hop.octets(), &[0], &nlri(prefix)].concat();
                self.update(&[], &[attribute(0x80, 14, &reach), octets].concat(), &[]);
            }
            _ => panic!("{prefix} is not of the session's family"),
        }
    }

    pub(crate) fn withdraw(&mut self, prefix: IpNet) {
        match prefix {
            IpNet::V4(_) => self.update(&nlri(prefix), &[], &[]),
            IpNet::V6(_) => {
                let unreach = [&[0, 2, 1][..], &nlri(prefix)].concat();
                self.update(&[], &attribute(0x80, 15, &unreach), &[]);
            }
        }
    }

    /// What passed the policy.
    pub(crate) fn accepted(&self) -> impl Iterator<Item = &Route> {
        self.session.accepted_routes()
    }

    fn update(&mut self, withdrawn: &[u8], attributes: &[u8], nlri: &[u8]) {
        let length = |part: &[u8]| u16::try_from(part.len()).expect("a short message").to_be_bytes();
        self.hear(2, &[&length(withdrawn)[..], withdrawn, &length(attributes), attributes, nlri].concat());
        assert!(self.session.is_up(), "{:?}", self.session.fault());
    }

    fn hear(&mut self, kind: u8, body: &[u8]) {
        let length = u16::try_from(19 + body.len()).expect("a short message");
        let octets = [&[0xff; 16][..], &length.to_be_bytes(), &[kind], body].concat();
        self.session.handle_bytes(self.now, ConnKind::Incoming, &octets);
        self.drain();
    }

    fn drain(&mut self) {
        while self.session.poll_action().is_some() {}
        while self.session.poll_event().is_some() {}
    }
}

/// Both inside addresses of a connection: ours and the device's.
pub(crate) fn inside(family: Family, connection: u8) -> (IpAddr, IpAddr) {
    match family {
        Family::Ipv4 => ([169, 254, connection, 1].into(), [169, 254, connection, 2].into()),
        Family::Ipv6 => {
            let address = |end| IpAddr::V6(Ipv6Addr::new(0xfd99, 0, 0, u16::from(connection), 0, 0, 0, end));
            (address(1), address(2))
        }
    }
}

fn attribute(flags: u8, kind: u8, value: &[u8]) -> Vec<u8> {
    [&[flags, kind, u8::try_from(value.len()).expect("short")], value].concat()
}

fn nlri(prefix: IpNet) -> Vec<u8> {
    let octets = match prefix {
        IpNet::V4(net) => net.network().octets().to_vec(),
        IpNet::V6(net) => net.network().octets().to_vec(),
    };
    let length = prefix.prefix_len();
    [&[length], &octets[..usize::from(length.div_ceil(8))]].concat()
}
