//! `docs/tutorial.md`, word for word: every command of it runs in one laboratory, in the page's order, and prints what the page shows.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use causeway_lab::{Lab, Scene, addresses};
use serde_json::Value;

const ATTACHED: &str = "<!-- A host is attached to the Private Network's bridge. -->";
const CONFIGURED: &str = "<!-- The device is configured as the head of device.conf says. -->";

/// What the page has for somebody to do or to see.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// Commands in the operator's shell, whose variables stay.
    Shell(String),
    /// Commands on a host of the Private Network.
    Host(String),
    Python(String),
    /// Lines that the step before has printed, each somewhere, in this order.
    Shown(Vec<String>),
    Attach,
    Configure,
}

fn steps(page: &str) -> Result<Vec<Step>> {
    let (mut steps, mut lines) = (Vec::new(), page.lines());
    while let Some(line) = lines.next() {
        match line {
            ATTACHED => steps.push(Step::Attach),
            CONFIGURED => steps.push(Step::Configure),
            _ => {}
        }
        let Some(kind) = line.strip_prefix("```") else { continue };
        let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        let text = block.join("\n") + "\n";
        steps.push(match kind {
            "sh" => Step::Shell(text),
            "sh host" => Step::Host(text),
            "python" => Step::Python(text),
            "text" => Step::Shown(block.into_iter().map(str::to_owned).collect()),
            // How a shell begins.
            "" => continue,
            _ => bail!("the page has a block of {kind}"),
        });
    }
    Ok(steps)
}

fn shown(lines: &[String], output: &str) -> Result<()> {
    let mut rest = output;
    for line in lines {
        let at = rest.find(line).with_context(|| format!("no `{line}` where it should be in:\n{output}"))?;
        rest = rest.get(at + line.len()..).unwrap_or_default();
    }
    Ok(())
}

/// The Python with the SDK in it.
fn python() -> Result<String> {
    let place = match std::env::var_os("SDK_VENV") {
        Some(place) => place.into(),
        None => std::env::current_exe()?.ancestors().nth(3).context("a target directory")?.join("sdk-venv"),
    };
    let suite = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/sdk/python/run");
    let output = Command::new(suite).arg("fetch").env("SDK_VENV", &place).output()?;
    ensure!(output.status.success(), "tests/sdk/python/run fetch: {}", String::from_utf8_lossy(&output.stderr));
    Ok(place.join("bin/python").display().to_string())
}

/// Plugs the host into the bridge of the network that the page has made.
async fn attach(lab: &mut Lab) -> Result<()> {
    let network: Value = serde_json::from_str(&lab.service.command_line("private-network get lan -o json").await?)?;
    let id = network.get("id").and_then(Value::as_str).context("no id")?.to_owned();
    let subnets = network.get("subnets").and_then(Value::as_array).context("no subnets")?;
    let subnet = |subnet: &Value| subnet.get("subnet").and_then(Value::as_str).map(str::to_owned);
    let subnets: Vec<String> = subnets.iter().filter_map(subnet).collect();
    lab.attach_host(&id, &subnets).await
}

async fn follow(lab: &mut Lab, page: &str) -> Result<()> {
    lab.start_service().await?;
    // Where the partner's port is on the node.
    lab.node.shell("ip link add eth1 type veth peer name far1; ip link set eth1 up; ip link set far1 up").await?;
    let (place, data) = (lab.folder().join("tutorial"), lab.service.data().display().to_string());
    std::fs::create_dir_all(&place)?;
    let (here, program) = (place.display().to_string(), Scene::program()?);
    let programs = program.parent().context("a folder")?.display().to_string();
    let begin = format!(
        "set -eu -a; cd {here}; PATH={programs}:$PATH; . {data}/operator.env; [ ! -f variables ] || . ./variables; "
    );
    let mut output = String::new();
    for step in steps(page)? {
        match step {
            Step::Shell(commands) => {
                let script = format!("{begin}\n{commands}\nexport -p > variables");
                output = lab.node.shell(&script).await.with_context(|| commands)?;
            }
            Step::Host(commands) => output = lab.host.shell(&commands).await.with_context(|| commands)?,
            Step::Python(program) => {
                std::fs::write(place.join("program.py"), &program)?;
                output =
                    lab.node.shell(&format!("{begin}\n{} -B program.py", python()?)).await.with_context(|| program)?;
            }
            Step::Shown(lines) => shown(&lines, &output)?,
            Step::Attach => attach(lab).await?,
            Step::Configure => {
                let configuration = std::fs::read_to_string(place.join("device.conf"))?;
                let key = std::fs::read_to_string(place.join("site.key"))?;
                // The second part begins with a device that knows nothing of the first.
                lab.device.stop().await;
                lab.device.install(&configuration, key.trim(), &addresses::SITE_PREFIXES).await?;
                lab.device.start().await?;
            }
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root, strongSwan and BIRD; `make test` runs it"]
async fn every_command_of_the_tutorial_does_what_it_says() -> Result<()> {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/tutorial.md"))?;
    let mut lab = Lab::start(Some("tutori"), &Scene::program()?).await?;
    let outcome = tokio::time::timeout(Duration::from_secs(900), follow(&mut lab, &page)).await;
    let outcome = outcome.context("the page is not done within 15 minutes").flatten();
    lab.finish(outcome).await
}

#[test]
fn a_page_has_steps() -> Result<()> {
    let page = format!("# A\n\n```\nno step\n```\n{ATTACHED}\n```sh\na\nb\n```\n\n```text\nx\ny\n```\n{CONFIGURED}\n");
    let shown_lines = vec!["x".to_owned(), "y".to_owned()];
    let found = steps(&page)?;
    let expected = [Step::Attach, Step::Shell("a\nb\n".to_owned()), Step::Shown(shown_lines.clone()), Step::Configure];
    ensure!(found == expected, "{found:?}");
    shown(&shown_lines, "1 x 2 y")?;
    ensure!(shown(&shown_lines, "y x").is_err(), "in this order");
    ensure!(steps("```ruby\n```\n").is_err(), "what nobody runs");
    Ok(())
}
