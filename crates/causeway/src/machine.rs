//! Asks the operator's own means whether the machines of nodes run: one command for each zone (docs/fleet.md).

use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;
use std::time::Duration;

use causeway_controller::{Controller, NodeRecord};
use causeway_model::watch::MachineState;
use tokio::process::Command;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// A command that takes longer says nothing.
const PATIENCE: Duration = Duration::from_secs(10);
/// Commands at once.
const AT_ONCE: usize = 8;

/// Asks about every node of a zone with a command, once in each `period`, until `shutdown`.
pub(crate) async fn watch(
    controller: Controller,
    commands: BTreeMap<String, String>,
    period: Duration,
    shutdown: CancellationToken,
) {
    let zones: BTreeSet<String> = commands.keys().cloned().collect();
    let mut ticks = tokio::time::interval(period);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let nodes = match controller.machines(&zones).await {
            Ok(nodes) => nodes,
            Err(error) => {
                tracing::error!(?error, "the machines of nodes could not be looked at");
                continue;
            }
        };
        let mut asked = JoinSet::new();
        for node in nodes {
            let Some(command) = commands.get(&node.zone).cloned() else { continue };
            if asked.len() >= AT_ONCE {
                asked.join_next().await;
            }
            let controller = controller.clone();
            asked.spawn(async move {
                let state = ask(&command, &node).await;
                if let Err(error) = controller.node_machine(node.id, state).await {
                    tracing::error!(node = %node.id, ?error, "the state of a node's machine could not be stored");
                }
            });
        }
        while asked.join_next().await.is_some() {}
    }
}

/// What the command says of a node's machine; whatever it does not say clearly is unknown.
async fn ask(command: &str, node: &NodeRecord) -> MachineState {
    let mut shell = Command::new("sh");
    shell.args(["-c", command]).stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    shell.env("CAUSEWAY_NODE_ID", node.id.to_string());
    shell.env("CAUSEWAY_NODE_NAME", &node.name).env("CAUSEWAY_NODE_ZONE", &node.zone);
    let output = match tokio::time::timeout(PATIENCE, shell.output()).await {
        Ok(Ok(output)) if output.status.success() => output.stdout,
        Ok(Ok(output)) => {
            tracing::warn!(node = %node.id, status = %output.status, "the command of fleet.machine_state failed");
            return MachineState::Unknown;
        }
        Ok(Err(error)) => {
            tracing::warn!(node = %node.id, %error, "the command of fleet.machine_state cannot be run");
            return MachineState::Unknown;
        }
        Err(_) => {
            let seconds = PATIENCE.as_secs();
            tracing::warn!(node = %node.id, seconds, "the command of fleet.machine_state takes too long");
            return MachineState::Unknown;
        }
    };
    match output.trim_ascii() {
        b"running" => MachineState::Running,
        b"stopped" => MachineState::Stopped,
        _ => MachineState::Unknown,
    }
}
