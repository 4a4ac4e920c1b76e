//! `--help` of every command, and what else is made from the same source.

use std::collections::BTreeSet;

use clap::{Command, CommandFactory};
use serde_json::json;

use crate::harness::Person;

/// Gives every command with the words that call it.
fn commands() -> Vec<(Vec<String>, Command)> {
    let mut found = Vec::new();
    let mut to_do = vec![(Vec::new(), labrun::cli::Arguments::command())];
    while let Some((words, command)) = to_do.pop() {
        for part in command.get_subcommands() {
            let words = [words.clone(), vec![part.get_name().to_owned()]].concat();
            to_do.push((words, part.clone()));
        }
        found.push((words, command));
    }
    assert!(found.len() > 30, "the commands are where this test looks");
    found
}

#[test]
fn the_help_texts_are_as_they_were_meant() {
    let person = Person::new().with("COLUMNS", "100");
    for (words, _) in commands() {
        let name = if words.is_empty() { "help".to_owned() } else { format!("help_{}", words.join("_")) };
        let mut command = person.command(&[words, vec!["--help".to_owned()]].concat());
        // It shows what the variables are set to.
        let output = command.env_remove("LABRUN_CONFIG_DIR").output().expect("the binary can be started");
        assert!(output.status.success(), "{output:?}");
        insta::assert_snapshot!(name, String::from_utf8(output.stdout).expect("help is text"));
    }
    let version = person.run(&["--version"]).expect(0);
    assert_eq!(version.out.trim(), concat!("labrun ", env!("CARGO_PKG_VERSION")));
}

#[test]
fn no_argument_takes_the_place_of_one_that_all_commands_share() {
    fn walk(command: &Command, shared: &BTreeSet<String>, path: &str) {
        let path = format!("{path} {}", command.get_name());
        let mut beneath = shared.clone();
        for argument in command.get_arguments() {
            let id = argument.get_id().to_string();
            assert!(!shared.contains(&id), "{path}: the argument {id} would be read as the shared one of that name");
            if argument.is_global_set() {
                beneath.insert(id);
            }
        }
        command.get_subcommands().for_each(|part| walk(part, &beneath, &path));
    }
    walk(&labrun::cli::Arguments::command(), &BTreeSet::new(), "");
}

#[test]
fn shells_and_manuals_know_every_command() {
    let person = Person::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let completions = person.run(&["completions", shell]).expect(0).out;
        assert!(completions.contains("idempotency-key") && completions.contains("whoami"), "{shell}: {completions}");
    }
    let syntax = std::process::Command::new("bash").arg("-n").stdin(std::process::Stdio::piped()).spawn();
    let mut syntax = syntax.expect("bash runs");
    let text = person.run(&["completions", "bash"]).out;
    std::io::Write::write_all(&mut syntax.stdin.take().expect("it is piped"), text.as_bytes()).expect("bash reads");
    assert!(syntax.wait().expect("bash ends").success());
    assert!(person.run(&["man"]).expect(0).out.contains(".TH labrun 1"));
    person.run(&["man", "pages"]).expect(0);
    for page in ["labrun.1", "labrun-serve.1", "labrun-job.1", "labrun-job-submit.1"] {
        let text = std::fs::read_to_string(person.folder().join("pages").join(page)).expect(page);
        assert!(text.contains(".SH NAME"), "{page}");
    }
    person.run(&["completions", "tcsh"]).fails(2, "invalid value");
}

#[test]
fn without_a_command_the_help_is_shown_and_it_is_an_error() {
    Person::new().run(&[""; 0]).fails(2, "Usage: labrun");
    Person::new().run(&["job"]).fails(2, "Usage: labrun job");
    Person::new().run(&["job", "frobnicate"]).fails(2, "unrecognized subcommand");
}

/// Gives the names behind `Fields:` in what `--help` says of an argument of `labrun job list`.
fn fields_in_the_help_of(argument: &str) -> Vec<String> {
    let (_, list) = commands().into_iter().find(|(words, _)| words == &["job", "list"]).expect("the command");
    let argument = list.get_arguments().find(|found| found.get_long() == Some(argument)).expect("the argument");
    let help = argument.get_long_help().or(argument.get_help()).expect("it has help").to_string();
    let (_, names) = help.split_once("Fields: ").unwrap_or_else(|| panic!("no fields in {help:?}"));
    let names = names.split_once(". ").map_or(names, |(names, _)| names);
    names.trim_end_matches('.').split([',', ';']).map(|name| name.trim().to_owned()).collect()
}

#[test]
fn the_fields_in_the_help_of_conditions_and_orders_are_those_of_a_job() {
    let check = |request: serde_json::Value| labrun::filter::parse(&request, &labrun::store::filter::JOBS).map(drop);
    let own = schemars::schema_for!(labrun::wire::Job);
    let own: Vec<&String> =
        own.get("properties").and_then(|fields| fields.as_object()).expect("fields").keys().collect();
    let conditions = fields_in_the_help_of("where");
    for name in &conditions {
        let test = json!({"expressions": [{"type": "isnull", "field": name.replace("NAME", "plate")}]});
        assert_eq!(check(test), Ok(()), "{name}");
    }
    let orders = fields_in_the_help_of("order");
    let order = |name: &str| json!({"order_by": [{"field": name.replace("NAME", "plate")}]});
    for name in &orders {
        assert_eq!(check(order(name)), Ok(()), "{name}");
    }
    for name in own {
        let leads_there = |named: &String| named == name || named.split('.').next() == Some(name);
        assert!(conditions.iter().any(leads_there), "--where does not name {name}");
        assert!(orders.iter().any(leads_there) || check(order(name)).is_err(), "--order does not name {name}");
    }
}
