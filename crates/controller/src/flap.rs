//! Damping of the history: what changes again and again does not push everything else out of it. Nothing but the history is damped:
//! statuses, routes and forwarding follow every change at once.
//!
//! Routes that are restless are told once as `flapping`, and their last change when they are calm. Everything else is told at once, always:
//! while it is restless, its last change takes the place of the one before and says what it stands for.
//!
//! The measure is RFC 2439's: every change adds to a penalty that decays by half in a fixed time.

use std::collections::BTreeMap;

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
/// Below this a topic is forgotten. Much less than one change, so that one each half minute adds up.
const FORGOTTEN: f64 = 0.1;
/// Topics that are looked at in one tick.
const BATCH: u32 = 1000;
/// How many changes before it a told one stands for, and which reasons they had.
const CHANGES: &str = "changes_not_told";
const REASONS: &str = "reasons_not_told";

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
    /// Whether the last word waits until all is calm: routes, which are many and have no reason of their own.
    pub(crate) may_wait: bool,
}

/// The penalty after `seconds` in which nothing happened.
fn decayed(penalty: f64, seconds: f64) -> f64 {
    penalty * (-seconds.max(0.0) / HALF_LIFE).exp2()
}

/// Whole seconds until `penalty` is no more than `goal`.
fn seconds_to(goal: f64, penalty: f64) -> i64 {
    // At most a few half-lives, since the penalty is bounded, so nothing is cut off.
    (HALF_LIFE * (penalty / goal).log2()).max(0.0).ceil() as i64
}

/// What becomes of a change in the history.
#[derive(Clone, Debug, PartialEq)]
enum Telling {
    /// It is added.
    Added(EventText),
    /// It takes the place of the last one that did.
    Folded(EventText),
    /// It waits.
    Waits,
}

/// What is known after one more change, and what is told of it.
fn after(known: Option<&Flap>, now: Timestamp, change: &Change) -> (Flap, Telling) {
    let rest = known.map_or(0.0, |known| decayed(known.penalty, now.seconds_since(known.at)));
    let penalty = (rest + change.weight).min(MOST);
    let mut last = change.text.clone();
    let before = known.and_then(|known| Some((known, known.untold?)));
    let (untold, telling) = match before {
        None if penalty <= RESTLESS => (None, Telling::Added(last.clone())),
        None if change.may_wait => {
            let subject = format!("{} flapping", change.topic);
            let mut text = EventText { subject, ..last.clone() };
            text.details.insert("now".to_owned(), last.subject.clone());
            (Some(0), Telling::Added(text))
        }
        None => (Some(0), Telling::Folded(last.clone())),
        Some((_, untold)) if change.may_wait => (Some(untold.saturating_add(1)), Telling::Waits),
        Some((known, untold)) => {
            let untold = untold.saturating_add(1);
            stand_for(&mut last, &known.last, untold);
            (Some(untold), Telling::Folded(last.clone()))
        }
    };
    // That routes are flapping does not say what they came to.
    let told = untold.is_none() || !change.may_wait;
    let calm_at = now.plus_seconds(seconds_to(if untold.is_some() { CALM } else { FORGOTTEN }, penalty));
    (Flap { penalty, at: now, untold, last, told, calm_at }, telling)
}

/// What is known of a restless topic that has become calm, and what is told of it; nothing if its last change was told.
fn calmed(flap: &Flap) -> (Flap, Option<EventText>) {
    let told = (!flap.told).then(|| {
        let mut text = flap.last.clone();
        text.details.insert(CHANGES.to_owned(), flap.untold.unwrap_or(0).to_string());
        text
    });
    let calm_at = flap.at.plus_seconds(seconds_to(FORGOTTEN, flap.penalty));
    (Flap { untold: None, told: true, calm_at, ..flap.clone() }, told)
}

/// Makes `text` say what it takes the place of: `before`, and what that stood for, `changes` in all.
fn stand_for(text: &mut EventText, before: &EventText, changes: u32) {
    text.details.insert(CHANGES.to_owned(), changes.to_string());
    let mut reasons: BTreeMap<&str, u32> = BTreeMap::new();
    for reason in before.details.get(REASONS).into_iter().flat_map(|list| list.split(", ")) {
        if let Some((code, count)) = reason.rsplit_once(' ') {
            reasons.insert(code, count.parse().unwrap_or(0));
        }
    }
    if let Some(fault) = &before.fault {
        let count = reasons.entry(fault.code.as_str()).or_default();
        *count = count.saturating_add(1);
    }
    if !reasons.is_empty() {
        let list: Vec<String> = reasons.iter().map(|(code, count)| format!("{code} {count}")).collect();
        text.details.insert(REASONS.to_owned(), list.join(", "));
    }
}

/// Tells a change as far as its topic's restlessness lets it.
pub(crate) async fn tell(writer: &mut Writer, object: Uuid, now: Timestamp, change: Change) -> Result<()> {
    let topic = Topic { object, kind: change.kind.to_owned(), name: change.topic.clone() };
    let known = writer.flap(&topic).await?;
    let (flap, telling) = after(known.as_ref(), now, &change);
    writer.set_flap(&topic, &flap).await?;
    match telling {
        Telling::Added(text) => writer.add_object_event(object, now, change.kind, &text).await?,
        Telling::Folded(text) => writer.fold_object_event(&topic, now, &text).await?,
        Telling::Waits => {}
    }
    Ok(())
}

/// Whether some topic has become calm, or can be forgotten.
pub(crate) async fn has_calmed(reader: &mut Reader, now: Timestamp) -> Result<bool> {
    Ok(reader.has_calmed(now).await?)
}

impl Controller {
    /// Tells what topics that were restless came to, and forgets those that have been calm for long.
    pub(crate) async fn tell_calmed(&self, writer: &mut Writer, now: Timestamp) -> Result<()> {
        for (topic, flap) in writer.calmed(now, BATCH).await? {
            let (flap, told) = calmed(&flap);
            match told {
                Some(text) => writer.add_object_event(topic.object, now, &topic.kind, &text).await?,
                None => writer.settle_object_event(&topic).await?,
            }
            writer.set_flap(&topic, &flap).await?;
        }
        Ok(writer.forget_flaps(now, BATCH).await?)
    }
}

#[cfg(test)]
mod tests {
    use causeway_model::{Fault, ReasonCode};

    use super::*;

    fn change(subject: &str) -> Change {
        let text = EventText { subject: subject.to_owned(), ..EventText::default() };
        Change { kind: "session", topic: "IPv4".to_owned(), text, weight: 1.0, may_wait: false }
    }

    fn routes(subject: &str) -> Change {
        Change { topic: "IPv4 routes".to_owned(), may_wait: true, ..change(subject) }
    }

    /// A history of one topic, with the ticks that tell and forget what has become calm.
    #[derive(Default)]
    struct History {
        known: Option<Flap>,
        told: Vec<EventText>,
        folds: bool,
    }

    impl History {
        fn change(&mut self, second: i64, change: &Change) {
            let now = Timestamp(0).plus_seconds(second);
            if let Some(flap) = self.known.take_if(|flap| flap.untold.is_some() && flap.calm_at <= now) {
                let (flap, told) = calmed(&flap);
                self.folds = false;
                self.told.extend(told);
                self.known = Some(flap);
            }
            self.known.take_if(|flap| flap.calm_at <= now);
            let (flap, telling) = after(self.known.as_ref(), now, change);
            self.known = Some(flap);
            match telling {
                Telling::Added(text) => self.told.push(text),
                Telling::Folded(text) => {
                    if std::mem::replace(&mut self.folds, true) {
                        self.told.pop();
                    }
                    self.told.push(text);
                }
                Telling::Waits => {}
            }
        }

        fn subjects(&self) -> Vec<&str> {
            self.told.iter().map(|text| text.subject.as_str()).collect()
        }
    }

    /// The history of changes every `pause` seconds.
    fn every(pause: i64, count: i64, of: fn(&str) -> Change) -> History {
        let mut history = History::default();
        for number in 0..count {
            history.change(pause * number, &of(if number % 2 == 0 { "IPv4 down" } else { "IPv4 up" }));
        }
        history
    }

    #[test]
    fn a_few_changes_are_told_and_a_flood_of_routes_is_told_once() {
        for of in [change, routes] {
            assert_eq!(every(1, 4, of).subjects(), ["IPv4 down", "IPv4 up", "IPv4 down", "IPv4 up"]);
            assert_eq!(every(60, 100, of).told.len(), 100, "what changes once a minute is told each time");
        }
        let flood = every(1, 1000, routes);
        assert_eq!((flood.told.len(), flood.subjects().last().copied()), (7, Some("IPv4 routes flapping")));
        assert_eq!(flood.known.expect("known").untold, Some(1000 - 7));
    }

    #[test]
    fn one_change_each_half_minute_adds_up_to_flapping() {
        let slow = every(30, 200, routes);
        assert!(slow.told.len() < 100, "{}", slow.told.len());
        assert!(slow.subjects().contains(&"IPv4 routes flapping"), "{:?}", slow.subjects());
        let slow = every(30, 200, change);
        assert!(slow.told.len() < 100, "{}", slow.told.len());
    }

    #[test]
    fn an_outage_is_told_at_once_and_stands_for_what_it_replaces() {
        let mut history = History::default();
        let down = |code: ReasonCode| {
            let mut change = change("IPv4 down");
            change.text.fault = Some(Fault::from(code));
            change
        };
        for second in 0..20 {
            let code = if second % 4 == 0 { ReasonCode::DpdTimeout } else { ReasonCode::PeerDeletedSa };
            let of = if second % 2 == 0 { down(code) } else { change("IPv4 up") };
            history.change(second, &of);
            assert_eq!(history.told.last().map(|text| &text.subject), Some(&of.text.subject), "second {second}");
            assert_eq!(history.told.last().and_then(|text| text.fault.as_ref()), of.text.fault.as_ref());
            assert!(history.told.len() <= 7);
        }
        let last = history.told.last().expect("told");
        // Six are told one by one; the seventh is the first that makes room for the next.
        assert_eq!((history.told.len(), last.details[CHANGES].as_str()), (7, "13"));
        assert_eq!(last.details[REASONS], "dpd_timeout 3, peer_deleted_sa 4");
        // What it came to stays when it is calm, and the next is told beside it.
        history.change(1000, &down(ReasonCode::DpdTimeout));
        assert_eq!((history.told.len(), history.told.last().expect("told").details.get(CHANGES)), (8, None));
    }

    #[test]
    fn the_penalty_is_bounded_and_decays() {
        assert!((decayed(8.0, HALF_LIFE) - 4.0).abs() < 1e-9);
        assert_eq!(seconds_to(CALM, 1.0), 0);
        assert_eq!(seconds_to(CALM, 4.0), 120);
        assert!(seconds_to(CALM, MOST) < 320 && seconds_to(FORGOTTEN, MOST) < 900);
        let mut flap = after(None, Timestamp(0), &change("IPv4 up")).0;
        for _ in 0..1000 {
            flap = after(Some(&flap), Timestamp(0), &change("IPv4 up")).0;
        }
        assert!(flap.penalty <= MOST);
        assert_eq!(flap.untold, Some(1001 - 7));
        // A clock that goes back does not make it worse.
        assert!(after(Some(&flap), Timestamp(-1_000_000), &change("IPv4 up")).0.penalty <= MOST);
    }

    #[test]
    fn the_last_change_of_routes_waits_until_they_are_calm() {
        let mut history = every(1, 60, routes);
        let calm = history.known.as_ref().expect("known").calm_at;
        assert!(calm > Timestamp(0).plus_seconds(59 + 240) && calm < Timestamp(0).plus_seconds(59 + 320));
        let before = history.told.len();
        history.change(59 + 320, &routes("IPv4 down"));
        assert_eq!(history.told.len(), before + 2);
    }
}
