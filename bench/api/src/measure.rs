//! The measurements: each is repeated, and its median counts.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::client::{Client, Endpoint};
use crate::service::Service;
use crate::world::{World, per_second};

/// Requests of each kind whose median is taken.
const REQUESTS: usize = 201;
/// Rounds of each throughput, and how long each lasts.
const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_secs(2);
/// HTTP connections at once for throughput.
const READERS: usize = 16;
const WRITERS: usize = 64;
/// Objects on a page.
const PAGE: usize = 50;

/// One figure.
#[derive(Clone, Debug)]
pub struct Figure {
    /// Connections in the store.
    pub size: usize,
    /// What was measured.
    pub what: &'static str,
    /// Objects that match, where it is a list.
    pub matches: u64,
    /// The median.
    pub median: f64,
    /// The slowest of a hundred, or the worst round.
    pub worst: f64,
    /// Of both.
    pub unit: &'static str,
    /// What it should be: below it for a time, above it for a rate; 0: nothing is asked.
    pub goal: f64,
}

impl Figure {
    /// Whether the goal is met.
    #[must_use]
    pub fn meets(&self) -> bool {
        self.goal == 0.0 || if self.unit == "1/s" { self.median >= self.goal } else { self.median < self.goal }
    }
}

/// The lists: name and query. The goal depends on how many match.
fn lists(world: &World) -> Vec<(&'static str, String)> {
    vec![
        ("list by customer gateway", format!("customer_gateway_ids={}", world.a_customer())),
        ("list by VPN gateway, by status", format!("vpn_gateway_ids={}&order_by=status_desc", world.a_gateway())),
        ("list by tag, by name", "tags=town:Lille&order_by=name_asc".to_owned()),
        ("list by name search, newest first", "name=lyon&order_by=created_at_desc".to_owned()),
        ("list by name search, by name", "name=SITE%200&order_by=name_desc".to_owned()),
        ("list of all by name", "order_by=name_desc".to_owned()),
        ("list of all by name search, by status", "name=site&order_by=status_desc".to_owned()),
    ]
}

/// The middle one.
#[must_use]
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn rank(mut values: Vec<f64>, of_hundred: usize) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get((values.len() * of_hundred / 100).min(values.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
}

/// Resident memory of a service that has just started, in MB.
///
/// # Errors
/// It does not start.
pub async fn idle(program: &std::path::Path) -> Result<Figure> {
    let mut values = Vec::new();
    for _ in 0..3 {
        let (service, _) = Service::start(program).await?;
        sleep(Duration::from_secs(5)).await;
        values.push(megabytes(service.resident()?));
        service.stop().await?;
    }
    let worst = rank(values.clone(), 100);
    Ok(Figure { size: 0, what: "idle memory", matches: 0, median: median(values), worst, unit: "MB", goal: 30.0 })
}

fn megabytes(kilobytes: u64) -> f64 {
    f64::from(u32::try_from(kilobytes).unwrap_or(u32::MAX)) * 1024.0 / 1e6
}

/// Everything that is measured of a store with the connections of `world`.
///
/// # Errors
/// A call failed.
pub async fn reads(endpoint: &Endpoint, world: &World) -> Result<Vec<Figure>> {
    let size = world.connections().len();
    let mut client = Client::connect(endpoint).await?;
    let mut figures = Vec::new();
    let single: Vec<String> = (0..REQUESTS)
        .filter_map(|index| world.connections().get(index * 7919 % size))
        .map(|id| endpoint.vpn(&format!("connections/{id}")))
        .collect();
    figures.push(timed(&mut client, size, "get", 0, 1.0, &single).await?);
    for (what, query) in lists(world) {
        let path = endpoint.vpn(&format!("connections?page_size={PAGE}&{query}"));
        let document = client.must("GET", &path, None).await?;
        let matches = document.get("total_count").and_then(Value::as_u64).context("no total_count")?;
        let goal = if matches <= 10_000 { 5.0 } else { 25.0 };
        figures.push(timed(&mut client, size, what, matches, goal, &vec![path; REQUESTS]).await?);
    }
    let single: Arc<Vec<String>> =
        Arc::new(world.connections().iter().map(|id| endpoint.vpn(&format!("connections/{id}"))).collect());
    figures.push(throughput(endpoint, size, "gets", 5000.0, single).await?);
    Ok(figures)
}

/// Durable creates per second: how the connections came that the store has more than at the last look, and customer gateways.
///
/// # Errors
/// A call failed.
pub async fn creates(endpoint: &Endpoint, world: &mut World, size: usize) -> Result<Vec<Figure>> {
    let first = world.connections().len();
    let mut figures = Vec::new();
    let mut rates = Vec::new();
    for round in 1..=ROUNDS {
        let until = first + (size - first) * round / ROUNDS;
        rates.push(world.grow(endpoint, WRITERS, until).await?.per_second());
    }
    figures.push(rate(size, "creates of connections", 1000.0, rates));
    let mut rates = Vec::new();
    for _ in 0..ROUNDS {
        rates.push(world.more_customers(endpoint, WRITERS, 1000).await?.per_second());
    }
    figures.push(rate(size, "creates of customer gateways", 1000.0, rates));
    Ok(figures)
}

/// Kills the service and measures how long it takes from its start until it is ready. Returns where it listens then.
///
/// # Errors
/// It does not start.
pub async fn start(service: &mut Service, size: usize) -> Result<(Figure, Endpoint)> {
    let begun = Instant::now();
    let endpoint = service.kill_and_restart().await?;
    let took = begun.elapsed().as_secs_f64() * 1000.0;
    let what = "start until ready";
    Ok((Figure { size, what, matches: 0, median: took, worst: took, unit: "ms", goal: 0.0 }, endpoint))
}

/// Memory and disk that the store takes.
///
/// # Errors
/// The service is gone.
pub fn space(service: &Service, size: usize) -> Result<Vec<Figure>> {
    let figure = |what, value| Figure { size, what, matches: 0, median: value, worst: value, unit: "MB", goal: 0.0 };
    Ok(vec![
        figure("memory", megabytes(service.resident()?)),
        figure("database file", megabytes(service.database() / 1024)),
    ])
}

fn rate(size: usize, what: &'static str, goal: f64, rates: Vec<f64>) -> Figure {
    let worst = rank(rates.clone(), 0);
    Figure { size, what, matches: 0, median: median(rates), worst, unit: "1/s", goal }
}

async fn timed(
    client: &mut Client,
    size: usize,
    what: &'static str,
    matches: u64,
    goal: f64,
    paths: &[String],
) -> Result<Figure> {
    let mut values = Vec::with_capacity(paths.len());
    for path in paths {
        let begun = Instant::now();
        let answer = client.call("GET", path, None).await?;
        values.push(begun.elapsed().as_secs_f64() * 1000.0);
        ensure!(answer.status == 200, "GET {path}: {}", answer.status);
    }
    let worst = rank(values.clone(), 99);
    Ok(Figure { size, what, matches, median: median(values), worst, unit: "ms", goal })
}

async fn throughput(
    endpoint: &Endpoint,
    size: usize,
    what: &'static str,
    goal: f64,
    paths: Arc<Vec<String>>,
) -> Result<Figure> {
    let mut rates = Vec::new();
    for _ in 0..ROUNDS {
        let next = Arc::new(AtomicUsize::new(0));
        let mut tasks = JoinSet::new();
        let begun = Instant::now();
        for _ in 0..READERS {
            let (paths, next, endpoint) = (Arc::clone(&paths), Arc::clone(&next), endpoint.clone());
            tasks.spawn(async move {
                let mut client = Client::connect(&endpoint).await?;
                let mut done = 0_usize;
                while begun.elapsed() < ROUND {
                    let index = next.fetch_add(7919, Ordering::Relaxed) % paths.len();
                    let Some(path) = paths.get(index) else { break };
                    let answer = client.call("GET", path, None).await?;
                    ensure!(answer.status == 200, "GET {path}: {}", answer.status);
                    done += 1;
                }
                Ok::<_, anyhow::Error>(done)
            });
        }
        let mut done = 0;
        while let Some(count) = tasks.join_next().await {
            done += count??;
        }
        rates.push(per_second(done, begun.elapsed()));
    }
    Ok(rate(size, what, goal, rates))
}

/// The figures as CSV, one a line.
#[must_use]
pub fn csv(figures: &[Figure]) -> String {
    let mut text = "connections,what,matches,median,worst,unit,goal\n".to_owned();
    for figure in figures {
        let Figure { size, what, matches, median, worst, unit, goal } = figure;
        // Writing to a text does not fail.
        let _ = writeln!(text, "{size},\"{what}\",{matches},{median:.3},{worst:.3},{unit},{goal}");
    }
    text
}

/// The figures as a table in Markdown.
#[must_use]
pub fn table(figures: &[Figure]) -> String {
    let mut text = "| connections | what | matches | goal | median | worst |\n|---|---|---|---|---|---|\n".to_owned();
    for figure in figures {
        let Figure { size, what, matches, median, worst, unit, goal } = figure;
        let digits = if *unit == "ms" { 2 } else { 0 };
        let sign = if *unit == "1/s" { "≥" } else { "<" };
        let goal = if *goal == 0.0 { String::new() } else { format!("{sign} {goal} {unit}") };
        let matches = if *matches == 0 { String::new() } else { matches.to_string() };
        let missed = if figure.meets() { "" } else { " (missed)" };
        // Writing to a text does not fail.
        let _ = writeln!(
            text,
            "| {size} | {what} | {matches} | {goal} | {median:.digits$} {unit}{missed} | {worst:.digits$} |"
        );
    }
    text
}
