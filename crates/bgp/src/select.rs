//! Choice between routes to one prefix (system.md §2.4). The longest prefix is the routing table's business.

use std::cmp::Ordering;
use std::fmt;
use std::time::Instant;

/// Routes to one prefix that share load at most.
pub const MAX_ECMP: usize = 8;

const LOW: (u16, u32) = (42050, 50);
const MEDIUM: (u16, u32) = (42100, 100);
const HIGH: (u16, u32) = (42200, 200);

/// What a route came in through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkKind {
    /// A Site-to-Site VPN connection.
    Vpn,
    /// An InterLink link.
    InterLink,
}

/// The communities that [`preference`] looks for, the highest first; none for an `asn` over 65535.
pub(crate) fn tags(asn: u32) -> Vec<u32> {
    let asn = u16::try_from(asn).ok();
    let tag = |asn: u16| [HIGH, MEDIUM, LOW].map(|(value, _)| u32::from(asn) << 16 | u32::from(value));
    asn.map(tag).into_iter().flatten().collect()
}

/// The preference of a route: the highest of the communities `<asn>:42050` (50), `<asn>:42100` (100) and `<asn>:42200` (200), else
/// 90 for a VPN and 100 for an InterLink. An `asn` over 65535 has no standard communities (RFC 1997), so nothing can be tagged with it.
#[must_use]
pub fn preference(kind: LinkKind, asn: u32, communities: &[u32]) -> u32 {
    let tags = tags(asn).into_iter().zip([HIGH, MEDIUM, LOW]);
    let tagged = tags.filter(|(tag, _)| communities.contains(tag)).map(|(_, (_, preference))| preference).next();
    tagged.unwrap_or(match kind {
        LinkKind::Vpn => 90,
        LinkKind::InterLink => 100,
    })
}

/// One of several routes to the same prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// See [`preference`]; the higher wins.
    pub preference: u32,
    /// AS numbers in the path; the shorter wins.
    pub as_path_length: usize,
    /// The lower wins, whoever the neighbour is; none counts as 0 (RFC 4271 §9.1.2.2 c).
    pub med: Option<u32>,
    /// Since when the route is held unchanged; the older wins when more than [`MAX_ECMP`] are equal.
    pub received_at: Instant,
}

/// The step that decided against a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Lower preference.
    Preference,
    /// Longer AS path.
    AsPathLength,
    /// Higher MED.
    Med,
    /// Equal, but [`MAX_ECMP`] older ones share the load already.
    Age,
}

/// Why a candidate lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beaten {
    /// Index of the loser.
    pub index: usize,
    /// Index of the best route, which beat it.
    pub by: usize,
    /// The first step in which they differ.
    pub step: Step,
    /// The loser's value and the winner's; for [`Step::Age`] the places in line and the limit.
    pub values: (u64, u64),
}

impl fmt::Display for Beaten {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (loser, winner) = self.values;
        match self.step {
            Step::Preference => write!(f, "preference {loser} is lower than {winner}"),
            Step::AsPathLength => write!(f, "AS path of {loser} is longer than {winner}"),
            Step::Med => write!(f, "MED {loser} is higher than {winner}"),
            Step::Age => write!(f, "{winner} older routes share the load already"),
        }
    }
}

/// Winners and losers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Indices of the routes to install, best (then oldest) first; at most [`MAX_ECMP`].
    pub best: Vec<usize>,
    /// The others, best first.
    pub beaten: Vec<Beaten>,
}

/// Chooses, and says why each loser lost.
#[must_use]
pub fn select(candidates: &[Candidate]) -> Selection {
    let mut order: Vec<(usize, &Candidate)> = candidates.iter().enumerate().collect();
    order.sort_by(|(i, a), (j, b)| compare(a, b).then(a.received_at.cmp(&b.received_at)).then(i.cmp(j)));
    let Some(&(by, winner)) = order.first() else { return Selection::default() };
    let mut selection = Selection::default();
    for (place, (index, candidate)) in order.into_iter().enumerate() {
        let (step, loser, best) = if candidate.preference != winner.preference {
            (Step::Preference, u64::from(candidate.preference), u64::from(winner.preference))
        } else if candidate.as_path_length != winner.as_path_length {
            (Step::AsPathLength, candidate.as_path_length as u64, winner.as_path_length as u64)
        } else if candidate.med.unwrap_or(0) != winner.med.unwrap_or(0) {
            (Step::Med, u64::from(candidate.med.unwrap_or(0)), u64::from(winner.med.unwrap_or(0)))
        } else if selection.best.len() < MAX_ECMP {
            selection.best.push(index);
            continue;
        } else {
            (Step::Age, place as u64 + 1, MAX_ECMP as u64)
        };
        selection.beaten.push(Beaten { index, by, step, values: (loser, best) });
    }
    selection
}

/// The winners of [`select`] alone.
#[must_use]
pub fn best_paths(candidates: &[Candidate]) -> Vec<usize> {
    select(candidates).best
}

/// `Less` is better.
fn compare(a: &Candidate, b: &Candidate) -> Ordering {
    b.preference
        .cmp(&a.preference)
        .then(a.as_path_length.cmp(&b.as_path_length))
        .then(a.med.unwrap_or(0).cmp(&b.med.unwrap_or(0)))
}
