//! Damping of the history: what changes again and again is told once as `flapping`, and its last change when it is calm. Nothing but
//! the history waits: statuses, routes and forwarding follow every change at once.
//!
//! The measure is RFC 2439's: every change adds to a penalty that decays by half in a fixed time.

use causeway_model::Timestamp;
use causeway_store::{EventText, Flap, Reader, Topic, Writer};
use uuid::Uuid;

use crate::{Controller, Result};

/// A penalty above this is flapping: six changes within seconds, or one every half minute for long.
const RESTLESS: f64 = 6.0;
/// Below this it is calm again.
const CALM: f64 = 2.0;
/// No penalty grows beyond: what was restless for a day is calm after the same five minutes.
const MOST: f64 = 12.0;
/// Seconds in which a penalty halves.
const HALF_LIFE: f64 = 120.0;
/// Seconds of rest after which the last change of anything but routes is told: that a tunnel is down must not wait until it is calm.
const QUIET: i64 = 30;
/// Topics that are looked at in one tick.
const BATCH: u32 = 1000;

/// Something that changed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Change {
    /// The kind of event.
    pub(crate) kind: &'static str,
    /// What of the object; empty where there is one topic.
    pub(crate) topic: String,
    /// What is told of it.
    pub(crate) text: EventText,
    /// What it adds to the penalty.
    pub(crate) weight: f64,
    /// Whether the last word may wait until all is calm: routes, which are many and have no reason of their own.
    pub(crate) may_wait: bool,
}

/// The penalty after `seconds` in which nothing happened.
fn decayed(penalty: f64, seconds: f64) -> f64 {
    penalty * (-seconds.max(0.0) / HALF_LIFE).exp2()
}

/// Whole seconds until `penalty` is calm.
fn seconds_to_calm(penalty: f64) -> i64 {
    // At most a few half-lives, since the penalty is bounded, so nothing is cut off.
    (HALF_LIFE * (penalty / CALM).log2()).max(0.0).ceil() as i64
}

/// What is known after one more change, and what is told of it.
fn after(known: Option<&Flap>, now: Timestamp, change: &Change) -> (Flap, Option<EventText>) {
    let rest = known.map_or(0.0, |known| decayed(known.penalty, now.seconds_since(known.at)));
    let penalty = (rest + change.weight).min(MOST);
    let (untold, told) = match known.and_then(|known| known.untold) {
        Some(untold) => (Some(untold.saturating_add(1)), None),
        None if penalty > RESTLESS => {
            let subject = format!("{} flapping", change.topic).trim_start().to_owned();
            let mut text = EventText { subject, ..change.text.clone() };
            text.details.insert("now".to_owned(), change.text.subject.clone());
            (Some(0), Some(text))
        }
        None => (None, Some(change.text.clone())),
    };
    let calm_at = now.plus_seconds(seconds_to_calm(penalty));
    let calm_at = if untold.is_some() && !change.may_wait { calm_at.min(now.plus_seconds(QUIET)) } else { calm_at };
    (Flap { penalty, at: now, untold, last: change.text.clone(), calm_at }, told)
}

/// Tells a change, unless its topic changes all the time.
pub(crate) async fn tell(writer: &mut Writer, object: Uuid, now: Timestamp, change: Change) -> Result<()> {
    let topic = Topic { object, kind: change.kind.to_owned(), name: change.topic.clone() };
    let known = writer.flap(&topic).await?;
    let (flap, told) = after(known.as_ref(), now, &change);
    writer.set_flap(&topic, &flap).await?;
    if let Some(text) = told {
        writer.add_object_event(object, now, change.kind, &text).await?;
    }
    Ok(())
}

/// Whether some topic has become calm.
pub(crate) async fn has_calmed(reader: &mut Reader, now: Timestamp) -> Result<bool> {
    Ok(!reader.calmed(now, 1).await?.is_empty())
}

impl Controller {
    /// Tells what topics that were flapping came to, and forgets them.
    pub(crate) async fn tell_calmed(&self, writer: &mut Writer, now: Timestamp) -> Result<()> {
        for (topic, flap) in writer.calmed(now, BATCH).await? {
            if let Some(untold) = flap.untold {
                let mut text = flap.last;
                text.details.insert("changes_not_told".to_owned(), untold.to_string());
                writer.add_object_event(topic.object, now, &topic.kind, &text).await?;
            }
            writer.delete_flap(&topic).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(subject: &str) -> Change {
        let text = EventText { subject: subject.to_owned(), ..EventText::default() };
        Change { kind: "session", topic: "IPv4".to_owned(), text, weight: 1.0, may_wait: false }
    }

    /// What is told of changes every `pause` seconds.
    fn told(pause: i64, count: u32) -> Vec<String> {
        let (mut known, mut told) = (None, Vec::new());
        for number in 0..count {
            let now = Timestamp(0).plus_seconds(pause * i64::from(number));
            let subject = if number % 2 == 0 { "IPv4 down" } else { "IPv4 up" };
            let (flap, text) = after(known.as_ref(), now, &change(subject));
            told.extend(text.map(|text| text.subject));
            known = Some(flap);
        }
        told
    }

    #[test]
    fn a_few_changes_are_told_and_a_flood_is_told_once() {
        assert_eq!(told(1, 4), ["IPv4 down", "IPv4 up", "IPv4 down", "IPv4 up"]);
        let flood = told(1, 1000);
        assert_eq!((flood.len(), flood.last().map(String::as_str)), (7, Some("IPv4 flapping")));
        assert_eq!(told(60, 100).len(), 100, "what changes once a minute is told each time");
    }

    #[test]
    fn the_penalty_is_bounded_and_decays() {
        assert!((decayed(8.0, HALF_LIFE) - 4.0).abs() < 1e-9);
        assert_eq!(seconds_to_calm(1.0), 0);
        assert_eq!(seconds_to_calm(4.0), 120);
        assert!(seconds_to_calm(MOST) < 320);
        let (mut flap, _) = after(None, Timestamp(0), &change("IPv4 up"));
        for _ in 0..1000 {
            flap = after(Some(&flap), Timestamp(0), &change("IPv4 up")).0;
        }
        assert!(flap.penalty <= MOST);
        assert_eq!(flap.untold, Some(1000 - 6));
        // A clock that goes back does not make it worse.
        assert!(after(Some(&flap), Timestamp(-1_000_000), &change("IPv4 up")).0.penalty <= MOST);
    }

    #[test]
    fn an_outage_is_told_half_a_minute_after_the_last_change_and_routes_when_they_are_calm() {
        let flood = |may_wait: bool| {
            let mut known = None;
            for second in 0..60 {
                let now = Timestamp(0).plus_seconds(second);
                known = Some(after(known.as_ref(), now, &Change { may_wait, ..change("IPv4 down") }).0);
            }
            known.expect("a flap").calm_at
        };
        assert_eq!(flood(false), Timestamp(0).plus_seconds(59 + QUIET));
        assert!(flood(true) > Timestamp(0).plus_seconds(59 + 4 * QUIET));
    }
}
