//! That nothing was forgotten: every action of every group of commands is driven by these tests.

use std::process::Command;

const DRIVEN: &str = concat!(
    include_str!("link.rs"),
    include_str!("network.rs"),
    include_str!("nodes.rs"),
    include_str!("operator.rs"),
    include_str!("process.rs"),
    include_str!("vpn.rs")
);
/// What is no resource command has tests elsewhere.
const OTHERS: [&str; 6] = ["serve", "check", "operator-key", "rotate-key", "lab", "help"];

/// The commands in a help.
fn commands(words: &[&str]) -> Vec<String> {
    let output = Command::new(env!("CARGO_BIN_EXE_causeway")).args(words).arg("--help").output().expect("it starts");
    let help = String::from_utf8(output.stdout).expect("UTF-8");
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    // A line that is indented further goes on with the one before.
    let names = listed.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    names.filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

#[test]
fn every_command_is_driven() {
    let source: String = DRIVEN.split_whitespace().collect::<Vec<_>>().join(" ");
    let groups = commands(&[]);
    assert!(groups.len() > 20, "{groups:?}");
    let mut missing = Vec::new();
    for group in groups.iter().filter(|group| !OTHERS.contains(&group.as_str())) {
        let actions = commands(&[group]);
        assert!(!actions.is_empty(), "{group} has no actions");
        for action in actions.iter().filter(|action| *action != "help") {
            if !source.contains(&format!("\"{group}\", \"{action}\"")) {
                missing.push(format!("{group} {action}"));
            }
        }
    }
    assert!(missing.is_empty(), "no test drives: {}", missing.join(", "));
}
