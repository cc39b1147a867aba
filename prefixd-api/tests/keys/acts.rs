//! Every key and every route has a test that it acts.
//!
//! `keys.txt` and `routes.txt` name it: the key or route, the test, and the word by which the test's file names what it is
//! about, when that is not the key itself; columns are two spaces apart. A test is `path/of/file.rs::name`, or the file and
//! the case of a decision table. Several lines for one key are several tests, such as one that shows that it comes to the
//! part that acts, and one that this part acts. That the test fails when the key is read and forgotten is for whoever writes
//! the line to see to.

use crate::places::{keys, root};
use std::collections::BTreeSet;
use std::path::Path;

/// What a decision table of policies starts from.
const BASE: &str = "prefixd/tests/decisions/base.yaml";
/// These make tests of functions they are given by name.
const MAKERS: [&str; 2] = ["on_both_stores!", "both!"];

struct Line {
    what: String,
    test: String,
    word: Option<String>,
}

fn table(text: &str) -> Vec<Line> {
    let lines = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let mut columns = line.split("  ").map(str::trim).filter(|text| !text.is_empty());
            let (Some(what), Some(test)) = (columns.next(), columns.next()) else {
                panic!("{line:?} names no test")
            };
            Line {
                what: what.to_owned(),
                test: test.to_owned(),
                word: columns.next().map(str::to_owned),
            }
        })
        .collect()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Whether a text has a word, not as a part of another.
fn has_word(text: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word).any(|(at, _)| {
        let (before, after) = (&text[..at], &text[at + word.len()..]);
        let glued =
            |edge: Option<char>, next: Option<char>| edge.is_some_and(is_part) && next.is_some_and(is_part);
        !glued(word.chars().next(), before.chars().next_back())
            && !glued(word.chars().next_back(), after.chars().next())
    })
}

/// Whether a function of this name is a test: by its attribute, or by a macro that makes tests of functions.
fn is_test(text: &str, name: &str) -> bool {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let Some(at) = lines
        .iter()
        .position(|line| line.contains(&format!("fn {name}(")) && !line.starts_with("//"))
    else {
        return false;
    };
    let above = lines[..at].iter().rev();
    let mut attributes = above.take_while(|line| line.starts_with("#[") || line.starts_with("//"));
    let marked = attributes.any(|line| line.starts_with("#[test]") || line.starts_with("#[tokio::test"));
    let made = MAKERS.iter().any(|maker| {
        let mut uses = text.split(maker).skip(1);
        uses.any(|rest| has_word(rest.split([')', '}']).next().unwrap_or_default(), name))
    });
    marked || made
}

/// What a test says: its function, and the file without the functions of other tests, as helpers and constants are its own too.
fn of_function(text: &str, name: &str) -> String {
    let mut kept = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        kept.push(line);
        let start = line.trim_start();
        let function = start.split_once("fn ").map(|(_, rest)| rest);
        let function = function.and_then(|rest| rest.split('(').next());
        if start.starts_with("//") || function.is_none_or(|own| own == name || !is_test(text, own)) {
            continue;
        }
        kept.pop();
        let end = format!("{}}}", &line[..line.len() - start.len()]);
        lines.by_ref().find(|line| *line == end);
    }
    kept.join("\n")
}

/// What a case of a decision table has: its own lines, those before the first case, and what all tables start from.
fn case(text: &str, name: &str) -> Option<String> {
    let mut parts = text.split("\n  - case: ");
    let head = parts.next()?;
    let own = parts.find(|part| part.lines().next() == Some(name))?;
    Some([head, own, &read(BASE)].join("\n"))
}

/// What is wrong with a line.
fn complaint(line: &Line) -> Option<String> {
    let (what, test) = (&line.what, &line.test);
    let Some((path, name)) = test.split_once("::") else {
        return Some(format!("{what}: {test} is no path/of/file::test"));
    };
    if !root().join(path).is_file() {
        return Some(format!("{what}: there is no {path}"));
    }
    let text = read(path);
    let of_test = match Path::new(path).extension().and_then(|ending| ending.to_str()) {
        Some("yaml") => case(&text, name),
        _ => is_test(&text, name).then(|| of_function(&text, name)),
    };
    let Some(of_test) = of_test else {
        return Some(format!("{what}: {path} has no test {name}"));
    };
    let own = what.rsplit('.').next().unwrap_or(what);
    let word = line.word.as_deref().unwrap_or(own);
    (!has_word(&of_test, word)).then(|| format!("{what}: {test} does not name {word:?}"))
}

/// What is wrong with a table of what there is.
fn complaints(there_is: &BTreeSet<String>, table: &[Line]) -> Vec<String> {
    let named: BTreeSet<&String> = table.iter().map(|line| &line.what).collect();
    let without = there_is.iter().filter(|what| !named.contains(what));
    let gone = named.iter().filter(|what| !there_is.contains(**what));
    without
        .map(|what| format!("{what} has no test that it acts"))
        .chain(gone.map(|what| format!("{what} does not exist")))
        .chain(table.iter().filter_map(complaint))
        .collect()
}

#[test]
fn every_key_has_a_test_that_it_acts() {
    let found = complaints(&keys(), &table(&read("prefixd-api/tests/keys/keys.txt")));
    assert!(found.is_empty(), "{} in keys.txt: {found:#?}", found.len());
}

/// docs/openapi.json is the daemon's own list, which prefixd/src/http/routes.rs tests.
#[test]
fn every_route_has_a_test_that_calls_it() {
    let document: serde_json::Value = serde_json::from_str(&read("docs/openapi.json")).unwrap();
    let mut routes = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in ["get", "post", "put", "delete"] {
            if item.get(method).is_some() {
                routes.insert(format!("{} {path}", method.to_uppercase()));
            }
        }
    }
    let found = complaints(&routes, &table(&read("prefixd-api/tests/keys/routes.txt")));
    assert!(found.is_empty(), "{} in routes.txt: {found:#?}", found.len());
}

#[test]
fn a_line_that_shows_nothing_is_refused() {
    let here = "prefixd-api/tests/keys/acts.rs";
    let line = |test: &str, word: Option<&str>| {
        complaint(&Line {
            what: "guardrails.max_ports".to_owned(),
            test: test.to_owned(),
            word: word.map(str::to_owned),
        })
    };
    let good = format!("{here}::a_line_that_shows_nothing_is_refused");
    assert_eq!(line(&good, None), None);
    for (test, word, part) in [
        (good.as_str(), Some(concat!("no_such", "_word")), "does not name"),
        ("prefixd-api/tests/keys/acts.rs::is_test", None, "has no test"),
        ("prefixd-api/tests/keys/acts.rs::max_ports", None, "has no test"),
        ("no/such/file.rs::x", None, "there is no"),
        (
            "prefixd/tests/decisions/configured.yaml::no such case",
            None,
            "has no test",
        ),
        ("nothing", None, "is no path"),
    ] {
        let told = line(test, word).unwrap_or_default();
        assert!(told.contains(part), "{test}: {told:?}");
    }
    let two =
        "fn helper() {\n    word;\n}\n#[test]\nfn one() {\n    own;\n}\n#[test]\nfn two() {\n    other;\n}\n";
    let says = of_function(two, "one");
    assert!(
        says.contains("word") && says.contains("own") && !says.contains("other"),
        "{says}"
    );
    let missing = complaints(&["a.b".to_owned()].into(), &table("a.c  x.rs::y\n"));
    assert!(missing[0].contains("a.b has no test") && missing[1].contains("a.c does not exist"));
    assert!(has_word("a max_ports: 1", "max_ports") && !has_word("max_portsx", "max_ports"));
}
