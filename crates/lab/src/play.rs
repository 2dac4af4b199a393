//! A VPN under traffic in a zone with failover, and what has to hold whatever becomes of its nodes.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::api::{Family, NewConnection};
use crate::capture::Capture;
use crate::scene::Scene;
use crate::stream::Stream;
use crate::topology::{Fleet, THIEF};
use crate::wait::eventually;

/// A judging interval is 7 s, a node may pause 20 s between two attempts to connect, and the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(90);

fn text<'a>(document: &'a Value, pointer: &str) -> &'a str {
    document.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// A VPN with traffic in both directions, on one of three nodes of a zone with failover that have acknowledged their leases.
#[derive(Debug)]
pub struct Play {
    /// The service and the site.
    pub scene: Scene,
    /// Its nodes.
    pub fleet: Fleet,
    connection: String,
    /// What flows.
    pub streams: Vec<Stream>,
    public: Vec<String>,
}

/// What a node and those that may come after it send, towards the Internet and towards the Private Network.
#[derive(Debug)]
pub struct Watched {
    /// The node.
    pub old: [Capture; 2],
    /// The others.
    pub new: Vec<[Capture; 2]>,
}

impl Play {
    /// Builds all of it and waits until it flows.
    ///
    /// # Errors
    /// A step that failed.
    pub async fn build(id: &str) -> Result<Self> {
        let (mut scene, fleet) = Scene::build_zone(id).await?;
        let ordered: Result<_> = async {
            let new = NewConnection { outer: Family::Ipv4, ..NewConnection::default() };
            let connection = scene.connect(&new, |text| text, None).await?;
            scene.lab.device.load().await?;
            scene.active(&connection).await?;
            let gateway = scene.public_addresses().await?;
            let streams = scene.lab.streams(PATIENCE).await?;
            for name in fleet.names() {
                eventually(&format!("{name} has acknowledged its lease"), PATIENCE, || async {
                    let node = fleet.node(&scene.lab.service, name).await?;
                    let acknowledged = node.pointer("/lease/acknowledged").and_then(Value::as_bool);
                    let voters = node.pointer("/lease/voters").and_then(Value::as_array).map_or(0, Vec::len);
                    ensure!(acknowledged == Some(true) && voters == 4, "{node}");
                    Ok(())
                })
                .await?;
            }
            Ok((connection, gateway, streams))
        }
        .await;
        match ordered {
            Ok((connection, public, streams)) => Ok(Self { scene, fleet, connection, streams, public }),
            Err(error) => {
                scene.finish(Err(error)).await?;
                anyhow::bail!("an error stays one")
            }
        }
    }

    /// Takes everything down; an error comes with the ends of the nodes' logs.
    ///
    /// # Errors
    /// The outcome's.
    pub async fn finish(self, outcome: Result<()>) -> Result<()> {
        let mut logs = String::new();
        for name in self.fleet.names() {
            logs.push_str(&format!("\n--- {name}\n{}", self.fleet.log_tail(name)));
        }
        if let Ok(log) = std::fs::read_to_string(format!("{}.log", self.fleet.data(THIEF).replace("data-", ""))) {
            logs.push_str(&format!("\n--- {THIEF}\n{log}"));
        }
        drop(self.streams);
        self.scene.finish(outcome.context(logs)).await
    }

    /// The node that carries the gateway.
    ///
    /// # Errors
    /// None does.
    pub async fn carrier(&self) -> Result<&'static str> {
        self.fleet.carrier(&self.scene.lab.service, &self.scene.site.gateway).await
    }

    /// Where the streams are, for [`Self::nothing_lost`].
    #[must_use]
    pub fn marks(&self) -> Vec<u64> {
        self.streams.iter().map(Stream::mark).collect()
    }

    /// Every packet since these marks has arrived.
    ///
    /// # Errors
    /// One was lost.
    pub async fn nothing_lost(&self, marks: &[u64]) -> Result<()> {
        for (stream, mark) in self.streams.iter().zip(marks) {
            stream.nothing_lost(*mark, PATIENCE).await?;
        }
        Ok(())
    }

    /// Captures what all nodes send from now on.
    ///
    /// # Errors
    /// A capture does not start, or sees nothing.
    pub async fn watch(&self, old: &'static str) -> Result<Watched> {
        let mut new = Vec::new();
        for name in self.fleet.names().filter(|name| *name != old) {
            new.push(self.fleet.watch(&self.scene.lab, name).await?);
        }
        let watched = Watched { old: self.fleet.watch(&self.scene.lab, old).await?, new };
        // What happens next happens to a node that is seen to forward.
        for (side, filter) in self.filters().iter().enumerate() {
            eventually("the captures see the node's packets", PATIENCE, || async {
                ensure!(!watched.old[side].times(filter).await?.is_empty(), "side {side}: none yet");
                Ok(())
            })
            .await?;
        }
        Ok(watched)
    }

    /// The customers' packets that passed at each side, as a filter of captures.
    #[must_use]
    pub fn filters(&self) -> [String; 2] {
        let sources: Vec<String> = self.public.iter().map(|address| format!("src host {address}")).collect();
        [
            format!("udp and ({})", sources.join(" or ")),
            "udp and not port 500 and not port 4500 and not port 5353".to_owned(),
        ]
    }

    /// Waits until another node carries the gateway and its traffic is back, and proves by captures that the old one had sent its last packet
    /// before that one sent its first.
    ///
    /// # Errors
    /// No other node does, or one sent before that.
    pub async fn taken_over(&self, old: &'static str, watched: &Watched) -> Result<&'static str> {
        let new = eventually("another node carries the gateway", PATIENCE, || async {
            let carrier = self.carrier().await?;
            ensure!(carrier != old, "{old} does");
            Ok(carrier)
        })
        .await?;
        for stream in &self.streams {
            stream.steady(PATIENCE).await?;
        }
        self.scene.active(&self.connection).await?;
        self.in_turn(watched).await?;
        let node = self.fleet.node(&self.scene.lab.service, old).await?;
        let history = node.get("history").and_then(Value::as_array).cloned().unwrap_or_default();
        ensure!(history.iter().any(|event| text(event, "/subject") == "replaced"), "{history:?}");
        Ok(new)
    }

    /// Every packet of the old node came before every packet of the new one.
    ///
    /// # Errors
    /// One did not.
    pub async fn in_turn(&self, watched: &Watched) -> Result<()> {
        for (side, filter) in self.filters().iter().enumerate() {
            let last = watched.old[side].times(filter).await?.into_iter().fold(f64::MIN, f64::max);
            let mut first = f64::MAX;
            for captures in &watched.new {
                first = captures[side].times(filter).await?.into_iter().fold(first, f64::min);
            }
            ensure!(last > f64::MIN, "side {side}: the old node has sent nothing, so that nothing is proven");
            ensure!(first < f64::MAX, "side {side}: the new node has sent nothing");
            ensure!(last < first, "side {side}: the old node sent at {last}, the new one from {first} on");
        }
        Ok(())
    }

    /// The old node is heard again: it is told that it has nothing, and no packet is lost by that.
    ///
    /// # Errors
    /// A packet was, or it keeps an address.
    pub async fn back(&self, old: &'static str, watched: &Watched) -> Result<()> {
        let marks = self.marks();
        self.fleet.wait_state(&self.scene.lab.service, old, "up").await?;
        for address in &self.public {
            eventually("the old node lets go of the addresses", PATIENCE, || async {
                let holders = self.fleet.holders(address).await?;
                ensure!(holders.len() == 1 && !holders.contains(&old), "{holders:?}");
                Ok(())
            })
            .await?;
        }
        self.nothing_lost(&marks).await?;
        self.in_turn(watched).await
    }

    /// The controller says that two speak for the node, that it hears one of them and refuses the other.
    ///
    /// # Errors
    /// It does not say so.
    pub async fn twins(&self, heard: &str, refused: &str) -> Result<()> {
        let (heard, refused) = (self.fleet.own_address(heard), self.fleet.own_address(refused));
        let service = &self.scene.lab.service;
        eventually("two speak for one node", PATIENCE, || async {
            for name in self.fleet.names() {
                let node = self.fleet.node(service, name).await?;
                let address = |key: &str| text(&node, &format!("/reason/evidence/{key}")).to_owned();
                let is_told = text(&node, "/reason/code") == "duplicate_identity" && text(&node, "/state") == "up";
                if is_told && address("superseded").starts_with(&refused) && address("speaks_now").starts_with(&heard) {
                    return Ok(());
                }
            }
            anyhow::bail!("no node says that {refused} is refused and {heard} heard")
        })
        .await
    }

    /// Whatever keeps a node's kernel from forwarding leaves its addresses where they are.
    ///
    /// # Errors
    /// One is gone.
    pub async fn holds_addresses(&self, name: &str) -> Result<()> {
        for address in &self.public {
            ensure!(self.fleet.holders(address).await?.contains(&name), "{name} has lost {address}");
        }
        Ok(())
    }
}
