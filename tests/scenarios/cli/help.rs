//! `--help` of every command, and what else is made from the same source.

use std::collections::BTreeSet;

use clap::{Command, CommandFactory};

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
