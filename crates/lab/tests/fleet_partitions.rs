//! Three gateway nodes of a zone with failover, of which one is parted from the others, stopped, killed or copied under traffic: its kernel ends
//! its forwarding by itself, and only then another node begins, or the copy.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use causeway_lab::{Capture, Family, Fleet, NewConnection, Scene, Stream, THIEF, eventually};
use serde_json::Value;

/// A judging interval is 7 s, a node may pause 20 s between two attempts to connect, and the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(90);

fn text<'a>(document: &'a Value, pointer: &str) -> &'a str {
    document.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// A VPN with traffic in both directions.
struct Play {
    scene: Scene,
    fleet: Fleet,
    connection: String,
    streams: Vec<Stream>,
    public: Vec<String>,
}

/// What two nodes send, towards the Internet and towards the Private Network.
struct Watched {
    old: [Capture; 2],
    new: Vec<[Capture; 2]>,
}

impl Play {
    async fn build(id: &str) -> Result<Self> {
        let (mut scene, fleet) = Scene::build_zone(id).await?;
        let ordered: Result<_> = async {
            let new = NewConnection { outer: Family::Ipv4, ..NewConnection::default() };
            let connection = scene.connect(&new, |text| text, None).await?;
            scene.lab.device.load().await?;
            scene.active(&connection).await?;
            let gateway = scene.public_addresses().await?;
            let host = scene.lab.host_addresses().first().context("the host is not attached")?.clone();
            let mut streams = Vec::new();
            for (from, to, target) in [
                (&scene.lab.host, &scene.lab.office, causeway_lab::addresses::OFFICE[0]),
                (&scene.lab.office, &scene.lab.host, host.as_str()),
            ] {
                let stream = Stream::start(from, to, target).await?;
                stream.steady(PATIENCE).await?;
                streams.push(stream);
            }
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

    async fn finish(self, outcome: Result<()>) -> Result<()> {
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

    async fn carrier(&self) -> Result<&'static str> {
        self.fleet.carrier(&self.scene.lab.service, &self.scene.site.gateway).await
    }

    fn marks(&self) -> Vec<u64> {
        self.streams.iter().map(Stream::mark).collect()
    }

    async fn nothing_lost(&self, marks: &[u64]) -> Result<()> {
        for (stream, mark) in self.streams.iter().zip(marks) {
            stream.nothing_lost(*mark, PATIENCE).await?;
        }
        Ok(())
    }

    async fn watch(&self, old: &'static str) -> Result<Watched> {
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

    /// The customers' packets that passed at each side.
    fn filters(&self) -> [String; 2] {
        let sources: Vec<String> = self.public.iter().map(|address| format!("src host {address}")).collect();
        [
            format!("udp and ({})", sources.join(" or ")),
            "udp and not port 500 and not port 4500 and not port 5353".to_owned(),
        ]
    }

    /// Waits until another node carries the gateway and its traffic is back, and proves by captures that the old one had sent its last packet
    /// before that one sent its first.
    async fn taken_over(&self, old: &'static str, watched: &Watched) -> Result<&'static str> {
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
    async fn in_turn(&self, watched: &Watched) -> Result<()> {
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
    async fn back(&self, old: &'static str, watched: &Watched) -> Result<()> {
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
    async fn twins(&self, heard: &str, refused: &str) -> Result<()> {
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
    async fn holds_addresses(&self, name: &str) -> Result<()> {
        for address in &self.public {
            ensure!(self.fleet.holders(address).await?.contains(&name), "{name} has lost {address}");
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root, strongSwan and BIRD; `make test` runs it"]
async fn a_node_that_is_parted_from_its_voters_stops_by_itself_before_another_one_begins() -> Result<()> {
    let play = Play::build("parted").await?;
    let outcome: Result<()> = async {
        let service = &play.scene.lab.service;
        // Without the controller alone nothing happens: two other nodes answer.
        let carrier = play.carrier().await?;
        let marks = play.marks();
        play.scene.lab.cut_between(&play.fleet.own_address(carrier), causeway_lab::CONTROL).await?;
        play.fleet.wait_state(service, carrier, "keepalive_fail").await?;
        play.nothing_lost(&marks).await.context("without the controller")?;
        ensure!(play.carrier().await? == carrier, "it was moved");
        play.scene.lab.heal().await?;
        play.fleet.wait_state(service, carrier, "up").await?;
        play.nothing_lost(&marks).await.context("with the controller again")?;

        // Without anybody; then heard by nobody; then hearing nobody.
        for (inwards, outwards) in [(true, true), (false, true), (true, false)] {
            let old = play.carrier().await?;
            let watched = play.watch(old).await?;
            play.fleet.part(old, inwards, outwards).await?;
            let what = format!("{old} parted, inwards {inwards}, outwards {outwards}");
            play.taken_over(old, &watched).await.with_context(|| what.clone())?;
            if inwards {
                // Otherwise it hears that it has nothing any more.
                play.holds_addresses(old).await.with_context(|| what.clone())?;
            }
            play.fleet.unite(old).await?;
            play.back(old, &watched).await.with_context(|| what)?;
        }
        Ok(())
    }
    .await;
    play.finish(outcome).await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root, strongSwan and BIRD; `make test` runs it"]
async fn a_stopped_or_killed_node_lets_nothing_through_when_its_lease_is_over() -> Result<()> {
    let mut play = Play::build("halted").await?;
    let outcome: Result<()> = async {
        let old = play.carrier().await?;
        let watched = play.watch(old).await?;
        play.fleet.signal(old, "STOP").await?;
        play.taken_over(old, &watched).await.context("after SIGSTOP")?;
        play.holds_addresses(old).await?;
        // What waits in its sockets does not leave when it goes on.
        play.fleet.signal(old, "CONT").await?;
        play.back(old, &watched).await.context("after SIGCONT")?;

        let old = play.carrier().await?;
        let watched = play.watch(old).await?;
        play.fleet.kill(old).await?;
        play.taken_over(old, &watched).await.context("after SIGKILL")?;
        play.holds_addresses(old).await?;
        play.fleet.run(old)?;
        play.back(old, &watched).await.context("after another start")
    }
    .await;
    play.finish(outcome).await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root, strongSwan and BIRD; `make test` runs it"]
async fn a_killed_node_forwards_again_without_the_controller_and_a_copy_of_it_never_beside_it() -> Result<()> {
    let mut play = Play::build("bound").await?;
    let outcome: Result<()> = async {
        let old = play.carrier().await?;
        // Its process alone is killed: it begins on the same machine, and its voters answer.
        play.scene.lab.service.kill().await;
        play.fleet.kill(old).await?;
        play.fleet.run(old)?;
        eventually("the node's process begins", PATIENCE, || async {
            let log = play.fleet.log_tail(old);
            ensure!(log.contains("closed until a majority"), "{log}");
            Ok(())
        })
        .await?;
        for stream in &play.streams {
            stream.steady(PATIENCE).await.context("a killed node, without the controller")?;
        }
        let marks = play.marks();
        play.scene.lab.start_service().await?;
        play.fleet.wait_state(&play.scene.lab.service, old, "up").await?;
        ensure!(play.carrier().await? == old, "it was moved");

        // A copy of it on another machine is refused while the controller hears the node, and forwards nothing.
        let watched = play.watch(old).await?;
        let (_thief, captures) = play.fleet.steal(&play.scene.lab, old).await?;
        let watched = Watched { new: vec![captures], ..watched };
        play.twins(old, THIEF).await?;
        play.nothing_lost(&marks).await.context("beside a copy")?;
        for (side, filter) in play.filters().iter().enumerate() {
            ensure!(watched.new[0][side].times(filter).await?.is_empty(), "side {side}: the copy has sent something");
        }

        // The controller hears the copy only: it takes over when the node's lease is over, and not before.
        let service = &play.scene.lab.service;
        play.scene.lab.cut_between(&play.fleet.own_address(old), causeway_lab::CONTROL).await?;
        eventually("the copy has taken over", PATIENCE, || async {
            let node = play.fleet.node(service, old).await?;
            let history = node.get("history").and_then(Value::as_array).cloned().unwrap_or_default();
            ensure!(history.iter().any(|event| text(event, "/subject") == "moved"), "{history:?}");
            Ok(())
        })
        .await?;
        eventually("the copy forwards", PATIENCE, || async {
            for (side, filter) in play.filters().iter().enumerate() {
                ensure!(!watched.new[0][side].times(filter).await?.is_empty(), "side {side}: nothing yet");
            }
            Ok(())
        })
        .await?;
        for stream in &play.streams {
            stream.steady(PATIENCE).await.context("on the other machine")?;
        }
        play.in_turn(&watched).await?;
        ensure!(play.carrier().await? == old, "it was moved to another node");
        // The node is heard again: now it is the one that is refused.
        let marks = play.marks();
        play.scene.lab.heal().await?;
        play.twins(THIEF, old).await?;
        play.nothing_lost(&marks).await.context("beside the machine that it was on")?;
        play.in_turn(&watched).await
    }
    .await;
    play.finish(outcome).await
}
