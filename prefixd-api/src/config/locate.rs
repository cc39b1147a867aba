//! From a key's path to its line and column, and other things of YAML.

use super::validate::Step;
use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;
use std::fmt;

/// A document as nothing but places.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub(super) struct Node(Spanned<Kind>);

#[derive(Clone, Debug)]
enum Kind {
    Scalar,
    Map(Vec<(String, Node)>),
    List(Vec<Node>),
}

impl Node {
    /// Line and column of a path, or of the last part of it that is there.
    pub(super) fn place_of(&self, path: &[Step]) -> (u64, u64) {
        let next = match (path.first(), &self.0.value) {
            (Some(Step::Key(key)), Kind::Map(entries)) => {
                entries.iter().find(|(name, _)| name == key).map(|(_, node)| node)
            }
            (Some(Step::Index(index)), Kind::List(items)) => items.get(*index),
            _ => None,
        };
        match next {
            Some(node) => node.place_of(&path[1..]),
            None => (self.0.referenced.line(), self.0.referenced.column()),
        }
    }
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Places)
    }
}

struct Places;

macro_rules! scalars {
    ($($visit:ident: $type:ty),*) => {
        $(fn $visit<E: de::Error>(self, _: $type) -> Result<Kind, E> { Ok(Kind::Scalar) })*
    };
}

impl<'de> Visitor<'de> for Places {
    type Value = Kind;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("YAML")
    }

    scalars!(visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_i128: i128, visit_u128: u128, visit_f64: f64, visit_str: &str);

    fn visit_unit<E: de::Error>(self) -> Result<Kind, E> {
        Ok(Kind::Scalar)
    }

    fn visit_none<E: de::Error>(self) -> Result<Kind, E> {
        Ok(Kind::Scalar)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Kind, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Kind, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Kind::Map(entries))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Kind, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Kind::List(items))
    }
}

/// Replaces `${NAME}` by the variable's value. A value may not hold a newline or a quote: it is put into the text
/// of a document, and must not become more than a value there.
///
/// # Errors
/// Line, column and what is wrong.
pub(super) fn expand_environment(
    text: &str,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<String, (u64, u64, String)> {
    let mut expanded = String::with_capacity(text.len());
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let mut rest = line;
        while let Some(start) = rest.find("${").filter(|_| !line.trim_start().starts_with('#')) {
            let column = line.len() - rest.len() + start + 1;
            let refused = |message: String| (index as u64 + 1, column as u64, message);
            let after = &rest[start + 2..];
            let end = after
                .find('}')
                .ok_or_else(|| refused("${ has no } on its line".to_owned()))?;
            let name = &after[..end];
            let value = variable(name)
                .ok_or_else(|| refused(format!("the environment variable {name} is not set")))?;
            if value
                .chars()
                .any(|c| c.is_control() || matches!(c, '"' | '\'' | '#' | '{' | '}'))
            {
                return Err(refused(format!(
                    "the value of {name} has quotes, braces, # or control characters"
                )));
            }
            expanded.push_str(&rest[..start]);
            expanded.push_str(&value);
            rest = &after[end + 1..];
        }
        expanded.push_str(rest);
    }
    Ok(expanded)
}

/// The message of a parse error without the place, which the caller writes in front, and with the nearest key.
pub(super) fn plain_message(error: &serde_saphyr::Error) -> String {
    let text = error.without_snippet().to_string();
    let text = text.lines().next().unwrap_or_default();
    let text = text
        .split(" at line ")
        .next()
        .unwrap_or(text)
        .trim_start_matches("error: ");
    if let Some(plain) = in_words(text) {
        return plain;
    }
    match nearest(text) {
        Some(key) => format!("{text}; did you mean `{key}`?"),
        None => text.to_owned(),
    }
}

/// What the parser says to whoever programs with it, said to whoever writes the file.
fn in_words(message: &str) -> Option<String> {
    let whole = |most: u64| Some(format!("must be a whole number from 0 to {most}"));
    match message {
        "invalid u8" => whole(u8::MAX.into()),
        "invalid u16" => whole(u16::MAX.into()),
        "invalid u32" => whole(u32::MAX.into()),
        "invalid u64" => whole(u64::MAX),
        "expected mapping start" => Some("must be keys with values (`key: value`)".to_owned()),
        _ if message.starts_with("multiple YAML documents") => {
            Some("begins a second YAML document; keep one in the file".to_owned())
        }
        _ => {
            let key = message
                .strip_prefix("duplicate mapping key: ")?
                .split(',')
                .next()?;
            Some(format!("the key {key} is there twice; keep one"))
        }
    }
}

/// The known key that is nearest to the unknown one which a message names.
fn nearest(message: &str) -> Option<&str> {
    let (_, rest) = message.split_once("unknown field `")?;
    let (unknown, known) = rest.split_once('`')?;
    let known = known.rsplit("expected ").next()?.trim_start_matches("one of ");
    known
        .split(", ")
        .map(|name| name.trim_matches('`'))
        .map(|name| (distance(unknown, name), name))
        .min()
        .filter(|(far, _)| *far <= 1 + unknown.len() / 3)
        .map(|(_, name)| name)
}

/// Levenshtein's distance, with a swap of neighbours counted as two.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let change = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = change.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::playbooks::Playbooks;

    #[test]
    fn the_parser_speaks_to_who_writes_the_file() {
        for (text, message) in [
            (
                "default_playbook: { steps: [{ action: police, rate_bps: -1, ttl_seconds: 300 }] }",
                "must be a whole number from 0 to 18446744073709551615",
            ),
            (
                "playbooks: []\n---\nplaybooks: []",
                "begins a second YAML document; keep one in the file",
            ),
            (
                "playbooks: []\nplaybooks: []",
                "the key playbooks is there twice; keep one",
            ),
            ("[]", "must be keys with values (`key: value`)"),
        ] {
            let error = serde_saphyr::from_str::<Playbooks>(text).unwrap_err();
            assert_eq!(plain_message(&error), message, "{text}");
        }
    }

    #[test]
    fn a_path_has_a_place() {
        let node: Node = serde_saphyr::from_str("a: 1\nb:\n  - c: x\n  - c: null\n    d: 1.5\n").unwrap();
        let path = [Step::Key("b".into()), Step::Index(1), Step::Key("d".into())];
        assert_eq!(node.place_of(&path), (5, 8));
        assert_eq!(node.place_of(&path[..2]), (4, 5));
    }

    #[test]
    fn variables_are_put_in_as_values_only() {
        let known = |name: &str| match name {
            "HOST" => Some("db.example".to_owned()),
            "EVIL" => Some("x\ny: 1".to_owned()),
            _ => None,
        };
        assert_eq!(
            expand_environment("u: postgres://${HOST}/p # ${HOST}\n# ${NO}\n", known).unwrap(),
            "u: postgres://db.example/p # db.example\n# ${NO}\n"
        );
        assert_eq!(expand_environment("a: 1\nb: ${NO}\n", known).unwrap_err().0, 2);
        assert!(expand_environment("a: ${EVIL}", known).is_err());
        assert!(expand_environment("a: ${HOST", known).is_err());
    }

    #[test]
    fn the_nearest_key_is_named() {
        assert_eq!(
            nearest("unknown field `ttl_secnods`, expected one of action, ttl_seconds"),
            Some("ttl_seconds")
        );
        assert_eq!(nearest("unknown field `zzz`, expected `action`"), None);
    }
}
