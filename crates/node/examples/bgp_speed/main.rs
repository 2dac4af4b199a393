//! One round of one row of `bench/bgp/run`: `bgp_speed MODE FROM TO PREFIXES`; prints `NAME<tab>VALUE` lines. FROM announces; TO is one of
//! `causeway`, `bird`, `frr`.
//!
//! - `start`: both begin at the same moment, FROM with one route; then it announces a second one. FROM is one of those three, too.
//! - `table`: FROM has a table when the session comes up. No kernel takes part.
//! - `replay`: the session is up, and UPDATEs come as fast as TO takes them: those that FROM (`bird`, `frr`) once sent for such a table,
//!   or one UPDATE for each prefix (`single`).

mod recording;
mod speaker;
mod world;

use std::time::{Duration, Instant};

use recording::Replay;
use speaker::Speaker;
use world::{Net, PATIENCE, Result, in_kernel, listens, resident, say};

const FIRST: &str = "10.1.0.0/24";
const SECOND: &str = "10.2.0.0/24";
/// Between two looks.
const LOOK: Duration = Duration::from_millis(1);

/// When our end, if there is one, says first that the session is up.
async fn until_in_kernel(
    net: &Net,
    speakers: &mut [Speaker; 2],
    route: &str,
    begun: Instant,
) -> Result<Option<Duration>> {
    let mut up = None;
    while !in_kernel(&net.sides[1], route)? {
        if begun.elapsed() > PATIENCE {
            return Err(format!("{route} does not come").into());
        }
        for speaker in speakers.iter_mut() {
            speaker.serve().await;
            if speaker.drain() {
                up.get_or_insert(begun.elapsed());
            }
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(up)
}

async fn start(from: &str, to: &str) -> Result<()> {
    let net = Net::new()?;
    let routes = [FIRST.to_owned()];
    let begun = Instant::now();
    // FRR's two daemons take a while to start: each side begins in a thread of its own.
    let runtime = tokio::runtime::Handle::current();
    let begin = |kind: &str, side: usize, routes: &[String]| -> std::result::Result<Speaker, String> {
        let _guard = runtime.enter();
        let speaker = Speaker::start(kind, &net, side, routes, true).map_err(|error| error.to_string())?;
        runtime.block_on(speaker.enable(routes)).map_err(|error| error.to_string())?;
        Ok(speaker)
    };
    let (watched, a, b) = std::thread::scope(|scope| {
        let (first, second) = (scope.spawn(|| begin(from, 0, &routes)), scope.spawn(|| begin(to, 1, &[])));
        let watch = scope.spawn(|| {
            while begun.elapsed() < PATIENCE {
                match (listens(&net.sides[0]), listens(&net.sides[1])) {
                    (Ok(true), Ok(true)) => return Some(begun.elapsed()),
                    _ => std::thread::sleep(LOOK),
                }
            }
            None
        });
        (watch.join(), first.join(), second.join())
    });
    let mut speakers = [a.map_err(|_| "panicked")??, b.map_err(|_| "panicked")??];
    let up = until_in_kernel(&net, &mut speakers, FIRST, begun).await?;
    let all = begun.elapsed().as_secs_f64();
    say(&format!("cold start to route in the kernel, {from} to {to}, s"), all, 3);
    if let Some(listening) = watched.map_err(|_| "panicked")?.map(|listening| listening.as_secs_f64()) {
        say(&format!("  of that until both ends listen, {from} to {to}, s"), listening, 3);
        say(&format!("  both listen to route in the kernel, {from} to {to}, s"), all - listening, 3);
    }
    if let Some(up) = up {
        say(&format!("  of that until our session is up, {from} to {to}, s"), up.as_secs_f64(), 3);
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let begun = Instant::now();
    speakers[0].announce(&[FIRST.to_owned(), SECOND.to_owned()]).await?;
    until_in_kernel(&net, &mut speakers, SECOND, begun).await?;
    say(&format!("announcement to route in the kernel, {from} to {to}, ms"), begun.elapsed().as_secs_f64() * 1000.0, 1);
    Ok(())
}

fn prefixes(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{}.{}.{}.0/24", 20 + n / 65536, n / 256 % 256, n % 256)).collect()
}

/// What was seen of a table that came.
struct Seen {
    /// When the first prefixes were there, and how many.
    first: (Instant, usize),
    /// When 99 of 100 were: BIRD keeps the last UPDATE of a table back for up to a second.
    most: (Instant, usize),
    all: Instant,
}

/// Looks until the last one of `speakers`, which learns, has all `count` prefixes.
async fn until_learned(speakers: &mut [Speaker], count: usize) -> Result<Seen> {
    let start = Instant::now();
    let (mut first, mut most) = (None, None);
    loop {
        for speaker in speakers.iter_mut() {
            speaker.serve().await;
        }
        let Some((learner, others)) = speakers.split_last_mut() else { return Err("nobody learns".into()) };
        for other in others {
            other.drain();
        }
        let learned = learner.learned();
        let now = Instant::now();
        if learned > 0 {
            first.get_or_insert((now, learned));
        }
        if learned >= count / 100 * 99 {
            most.get_or_insert((now, learned));
        }
        if let (Some(first), Some(most), true) = (first, most, learned >= count) {
            return Ok(Seen { first, most, all: now });
        }
        if start.elapsed() > PATIENCE {
            return Err(format!("{learned} of {count} prefixes").into());
        }
        tokio::time::sleep(2 * LOOK).await;
    }
}

async fn table(from: &str, to: &str, count: usize) -> Result<()> {
    let net = Net::new()?;
    let routes = prefixes(count);
    let before = resident("VmRSS:")?;
    // The one with the table first, so that reading its configuration is no part of the time.
    let a = Speaker::start(from, &net, 0, &routes, false)?;
    a.has_table(count).await?;
    let b = Speaker::start(to, &net, 1, &[], false)?;
    let mut speakers = [a, b];
    let spent = [speakers[0].cpu()?, speakers[1].cpu()?];
    for speaker in &speakers {
        speaker.enable(if from == "causeway" { &routes } else { &[] }).await?;
    }
    let start = Instant::now();
    let Seen { first, most, all } = until_learned(&mut speakers, count).await?;
    let name = format!("{count} prefixes, {from} to {to}");
    say(&format!("{name}, from both ready to all, s"), (all - start).as_secs_f64(), 3);
    say(&format!("{name}, from both ready to 99 %, s"), (most.0 - start).as_secs_f64(), 3);
    // Of a table that comes between two looks nothing is left to time.
    if first.1 < count / 2 {
        let rate = |(at, learned): (Instant, usize)| (learned - first.1) as f64 / (at - first.0).as_secs_f64();
        say(&format!("{name}, prefixes/s from the first seen to all"), rate((all, count)), 0);
        say(&format!("{name}, prefixes/s from the first seen to 99 %"), rate(most), 0);
    }
    say(&format!("{name}, CPU of {from}, s"), speakers[0].cpu()? - spent[0], 2);
    say(&format!("{name}, CPU of {to}, s"), speakers[1].cpu()? - spent[1], 2);
    if from == "causeway" || to == "causeway" {
        say(&format!("{name}, our resident MB before"), before, 1);
        say(&format!("{name}, our resident MB at most"), resident("VmHWM:")?, 1);
    }
    Ok(())
}

async fn replay(from: &str, to: &str, count: usize) -> Result<()> {
    let net = Net::new()?;
    let updates = match from {
        "single" => recording::one_each(count)?,
        _ => {
            let _source = Speaker::start(from, &net, 0, &prefixes(count), false)?;
            recording::take(&net, count)?
        }
    };
    let before = resident("VmRSS:")?;
    let octets = updates.len();
    let replay = Replay::start(&net.sides[0], updates)?;
    let mut learner = Speaker::start(to, &net, 1, &[], false)?;
    learner.enable(&[]).await?;
    let start = Instant::now();
    while !replay.is_up() {
        if start.elapsed() > PATIENCE {
            return Err("no session".into());
        }
        tokio::time::sleep(LOOK).await;
    }
    // What the start and the session itself cost is no part of it.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let spent = learner.cpu()?;
    let start = Instant::now();
    replay.go()?;
    let seen = until_learned(std::slice::from_mut(&mut learner), count).await?;
    let seconds = (seen.all - start).as_secs_f64();
    let name = format!("{count} prefixes replayed ({from}), to {to}");
    say(&format!("{name}, prefixes/s from the first octet"), count as f64 / seconds, 0);
    say(&format!("{name}, s"), seconds, 3);
    say(&format!("{name}, CPU of {to}, s"), learner.cpu()? - spent, 2);
    if to == "causeway" {
        say(&format!("{name}, octets sent"), octets as f64, 0);
        say(&format!("{name}, our resident MB before"), before, 1);
        say(&format!("{name}, our resident MB at most"), resident("VmHWM:")?, 1);
    }
    Ok(())
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [mode, from, to, count] = arguments.as_slice() else {
        return Err("usage: bgp_speed start|table|replay FROM TO PREFIXES".into());
    };
    match mode.as_str() {
        "start" => start(from, to).await,
        "table" => table(from, to, count.parse()?).await,
        "replay" => replay(from, to, count.parse()?).await,
        _ => Err("the mode is start, table or replay".into()),
    }
}
