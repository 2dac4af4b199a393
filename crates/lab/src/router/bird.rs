//! BIRD 2, which has the API's text as it is.

use anyhow::{Result, ensure};

use super::{BIRD, Files, Said, Seen, edited, family};
use crate::machine::Running;

pub(super) async fn start(files: &Files) -> Result<Vec<Running>> {
    files.machine.shell("rm -f /run/bird/bird.ctl").await?;
    let bird = files.start("bird", &["-f", "-u", "bird", "-g", "bird"], "bird.log")?;
    files.answers("BIRD", "birdc show status").await?;
    Ok(vec![bird])
}

async fn birdc(files: &Files, arguments: &[&str]) -> Result<String> {
    files.machine.run("birdc", arguments).await?.text()
}

async fn configure(files: &Files) -> Result<()> {
    let answer = birdc(files, &["configure"]).await?;
    ensure!(answer.contains("Reconfigur"), "{answer}");
    Ok(())
}

pub(super) async fn sessions(files: &Files) -> Result<Vec<Seen>> {
    let list = birdc(files, &["show", "protocols"]).await?;
    let sessions = list.lines().filter(|line| line.contains(" BGP ")).map(|line| Seen {
        name: line.split_whitespace().next().unwrap_or_default().to_owned(),
        established: line.contains("Established"),
        mark: line.to_owned(),
    });
    Ok(sessions.collect())
}

pub(super) async fn routes(files: &Files) -> Result<Vec<String>> {
    let shown = birdc(files, &["show", "route", "where", "source", "=", "RTS_BGP"]).await?;
    let prefixes = shown.lines().filter_map(|line| line.split_whitespace().next()).filter(|word| word.contains('/'));
    Ok(prefixes.map(str::to_owned).collect())
}

pub(super) async fn announce(files: &Files, family: &str, announced: bool) -> Result<()> {
    let word = if announced { "enable" } else { "disable" };
    birdc(files, &[word, &format!("own_{family}")]).await.map(drop)
}

pub(super) async fn add(files: &Files, prefix: &str, said: Said<'_>) -> Result<()> {
    let then = match said {
        Said::Plainly => None,
        Said::Through(asn) => Some(format!("bgp_path.prepend({asn})")),
        Said::At(address) => Some(format!("bgp_next_hop = {address}")),
    };
    if let Some(then) = then {
        let filter = format!("filter to_gateway_{} {{\n", family(prefix));
        let text = files.read(BIRD)?;
        let overruled = matches!(said, Said::At(_)) && text.contains("next hop self;");
        ensure!(
            !overruled,
            "`next hop self` overrules what the filter says: take it out of the configuration before the start"
        );
        let line = format!("{filter}  if net = {prefix} then {then};\n");
        files.write(BIRD, &edited(&text, text.replace(&filter, &line))?)?;
    }
    configure(files).await
}

pub(super) async fn shut(files: &Files, session: &str, words: &str) -> Result<()> {
    birdc(files, &["disable", session, &format!("\"{words}\"")]).await.map(drop)
}

pub(super) async fn open(files: &Files, session: &str) -> Result<()> {
    birdc(files, &["enable", session]).await.map(drop)
}

pub(super) async fn forget(files: &Files, session: &str) -> Result<()> {
    let text = files.read(BIRD)?;
    let head = format!("protocol bgp {session} {{");
    let mut inside = false;
    let kept = text.lines().filter(|line| {
        inside |= *line == head;
        let keep = !inside;
        inside &= *line != "}";
        keep
    });
    let after = kept.collect::<Vec<_>>().join("\n") + "\n";
    files.write(BIRD, &edited(&text, after)?)?;
    configure(files).await
}
