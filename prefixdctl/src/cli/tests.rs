use super::command;
use clap::Command;

/// Every command of the tree with its full name.
fn all(command: &Command, names: &[&str], found: &mut Vec<(Vec<String>, Command)>) {
    let names: Vec<&str> = names.iter().copied().chain([command.get_name()]).collect();
    found.push((names.iter().map(ToString::to_string).collect(), command.clone()));
    for subcommand in command.get_subcommands() {
        all(subcommand, &names, found);
    }
}

fn tree() -> Vec<(Vec<String>, Command)> {
    let mut root = command().term_width(100);
    root.build();
    let mut found = Vec::new();
    all(&root, &[], &mut found);
    found
}

/// Splits an example as a shell does, up to a pipe.
fn words(example: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for c in example.chars() {
        match c {
            '"' => quoted = !quoted,
            '|' if !quoted => break,
            ' ' if !quoted => words.push(String::new()),
            c => words.last_mut().unwrap().push(c),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[test]
fn the_tree_is_consistent() {
    command().debug_assert();
}

#[test]
fn every_help_ends_with_two_examples_that_parse() {
    for (names, command) in tree() {
        let help = command
            .get_after_help()
            .map(ToString::to_string)
            .unwrap_or_default();
        let examples: Vec<_> = help
            .lines()
            .map(str::trim)
            .filter(|line| line.starts_with("prefixdctl "))
            .collect();
        assert_eq!(examples.len(), 2, "{names:?} has other than two examples: {help}");
        for example in examples {
            let parsed = super::command().try_get_matches_from(words(example));
            assert!(parsed.is_ok(), "{example}: {}", parsed.unwrap_err());
        }
    }
}

#[test]
fn help_of_every_command() {
    let help: String = tree()
        .into_iter()
        .map(|(names, mut command)| {
            let shown = command.render_help().to_string();
            format!("=== {} -h\n{shown}\n", names.join(" "))
        })
        .collect();
    insta::assert_snapshot!(help);
}

#[test]
fn long_help_of_the_program() {
    let (_, mut root) = tree().into_iter().next().unwrap();
    insta::assert_snapshot!(root.render_long_help().to_string());
}
