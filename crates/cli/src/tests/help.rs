//! The help of every command, as a file that reviews can read. `UPDATE_HELP=1 cargo test -p causeway-cli help` writes it anew.

use clap::{Command, CommandFactory as _};

use super::Program;

fn all(command: &mut Command, path: &str, text: &mut String) {
    // The width does not depend on whose terminal the tests run in.
    let help = command.clone().term_width(100).bin_name(path).render_help().to_string();
    text.push_str(&format!("$ {path} -h\n{help}\n"));
    for inner in command.get_subcommands_mut() {
        let path = format!("{path} {}", inner.get_name());
        all(inner, &path, text);
    }
}

#[test]
fn help_is_as_reviewed() {
    let mut program = Program::command().disable_help_subcommand(true);
    program.build();
    let mut text = String::new();
    all(&mut program, "causeway", &mut text);
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/tests/help.txt");
    if std::env::var_os("UPDATE_HELP").is_some() {
        std::fs::write(path, &text).expect("the file is written");
    }
    let reviewed = std::fs::read_to_string(path).expect("a file");
    for (number, (now, then)) in text.lines().zip(reviewed.lines()).enumerate() {
        assert_eq!(now, then, "help.txt, line {}", number + 1);
    }
    assert_eq!(text.lines().count(), reviewed.lines().count());
}

#[test]
fn the_arguments_are_consistent() {
    Program::command().debug_assert();
}

#[test]
fn wrong_usage_is_refused_by_the_parser() {
    use clap::Parser as _;
    for line in [
        "vpc edit v",
        "vpc edit v --tag a --no-tags",
        "gateway create g",
        "gateway state g --wait=0",
        "connection create c --gateway g --customer-gateway o --ike aes256-",
        "connection create c --gateway g --customer-gateway o --secret-revision 1",
        "connection device-configuration c --list-formats -O f",
        "ip create",
        "vpc list -o xml",
        "vpc explain-route v",
        "vpc explain-route v --prefix 10.0.0.0/8 --source 10.0.0.1 --destination 10.0.0.2",
        "vpc explain-route v --source 10.0.0.1",
        "vpc explain-route v --source 10.0.0.1 --destination 10.0.0.2 --port 80",
    ] {
        let parsed = Program::try_parse_from(std::iter::once("causeway").chain(line.split_whitespace()));
        let Err(error) = parsed else { panic!("{line} was taken") };
        assert_eq!(error.exit_code(), 2, "{line}");
    }
}
