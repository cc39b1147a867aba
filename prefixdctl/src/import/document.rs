//! TOML, YAML and JSON as one tree, out of which settings are taken. What nobody took is reported in the end, so that
//! no setting is lost in silence.

use super::Language;
use super::reasons::{self, Reason};
use serde::Serialize;
use serde_json::{Map, Value};
use std::net::{IpAddr, Ipv4Addr};

/// Longest value that is shown.
const MAX_VALUE_CHARS: usize = 200;

/// Words in the name of a setting whose value is shown to nobody.
const SECRETS: [&str; 4] = ["password", "secret", "key", "token"];

/// Settings that are false where nobody set them.
const FALSE_BY_DEFAULT: [&str; 9] = [
    "allow-as-path-loop-local",
    "enabled",
    "mtu-discovery",
    "receive",
    "replace-peer-as",
    "route-flap-damping",
    "route-reflector-client",
    "route-server-client",
    "send-software-version",
];

/// A setting that was not taken over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    pub(super) path: String,
    pub(super) value: String,
    pub(super) why: &'static str,
}

/// What was not taken over, by what it means.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) no_equivalent: Vec<Finding>,
    pub(super) not_needed: Vec<Finding>,
}

impl Findings {
    /// Reports a setting by the table of reasons.
    pub(super) fn add(&mut self, path: &str, value: &Value) {
        match reasons::of(path) {
            Reason::Missing(why) => self.missing(path, value, why),
            Reason::Needless(why) => self.not_needed.push(Finding::new(path, value, why)),
        }
    }

    /// Reports a setting without an equivalent.
    pub(super) fn missing(&mut self, path: &str, value: &Value, why: &'static str) {
        self.no_equivalent.push(Finding::new(path, value, why));
    }

    pub(super) fn append(&mut self, mut other: Self) {
        self.no_equivalent.append(&mut other.no_equivalent);
        self.not_needed.append(&mut other.not_needed);
    }
}

impl Finding {
    fn new(path: &str, value: &Value, why: &'static str) -> Self {
        let value = if SECRETS.iter().any(|word| last(path).contains(word)) {
            "(not shown)".to_owned()
        } else {
            shown(value)
        };
        Self {
            path: path.to_owned(),
            value,
            why,
        }
    }
}

/// The name of the setting itself.
fn last(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path)
}

fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(MAX_VALUE_CHARS) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

/// Reads the text. Messages name the place and never quote the text: there are passwords in it.
pub(super) fn read(text: &str, language: Language) -> Result<Section, String> {
    let value = match language {
        Language::Toml => toml::from_str::<Value>(text).map_err(|error| {
            let line = error.span().map_or(1, |span| {
                text.get(..span.start)
                    .map_or(1, |before| before.matches('\n').count() + 1)
            });
            format!(
                "line {line} is no TOML: {}",
                error.message().lines().next().unwrap_or_default()
            )
        })?,
        Language::Yaml => serde_saphyr::from_str::<Value>(text).map_err(|error| {
            let line = error.location().map_or(1, |place| place.line());
            format!("line {line} is no YAML that could be read")
        })?,
        Language::Json => serde_json::from_str::<Value>(text)
            .map_err(|error| format!("line {} column {} is no JSON", error.line(), error.column()))?,
    };
    match value {
        Value::Object(entries) => Ok(Section::new(String::new(), entries)),
        _ => Err("holds no table of settings".to_owned()),
    }
}

/// A table of settings.
#[derive(Debug)]
#[must_use = "what is left in it must be reported"]
pub(super) struct Section {
    path: String,
    rest: Map<String, Value>,
}

impl Section {
    /// Names are compared without case, as gobgpd does.
    fn new(path: String, entries: Map<String, Value>) -> Self {
        let rest = entries
            .into_iter()
            .map(|(key, value)| (key.to_lowercase(), value))
            .collect();
        Self { path, rest }
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }

    /// Takes a table out; an absent one is empty.
    pub(super) fn table(&mut self, key: &str) -> Result<Self, String> {
        let path = self.path_of(key);
        match self.rest.remove(key) {
            None | Some(Value::Null) => Ok(Self::new(path, Map::new())),
            Some(Value::Object(entries)) => Ok(Self::new(path, entries)),
            Some(_) => Err(format!("{path} is no table")),
        }
    }

    /// Takes a list of tables out; an absent one is empty.
    pub(super) fn tables(&mut self, key: &str) -> Result<Vec<Self>, String> {
        let path = self.path_of(key);
        let items = match self.rest.remove(key) {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(items)) => items,
            Some(_) => return Err(format!("{path} is no list of tables")),
        };
        items
            .into_iter()
            .enumerate()
            .map(|(index, item)| match item {
                Value::Object(entries) => Ok(Self::new(format!("{path}[{index}]"), entries)),
                _ => Err(format!("{path}[{index}] is no table")),
            })
            .collect()
    }

    /// Takes a setting out.
    pub(super) fn take<T: Setting>(&mut self, key: &str) -> Result<Option<T>, String> {
        match self.rest.remove(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => T::read(&value).map(Some).ok_or_else(|| {
                format!(
                    "{} is {}, which is no {}",
                    self.path_of(key),
                    shown(&value),
                    T::WHAT
                )
            }),
        }
    }

    /// Puts a setting back that was understood and has no equivalent all the same.
    pub(super) fn put_back(&mut self, key: &str, value: impl Into<Value>) {
        self.rest.insert(key.to_owned(), value.into());
    }

    /// What is left of it.
    pub(super) fn into_value(self) -> Value {
        Value::Object(self.rest)
    }

    /// Reports every setting that is left.
    pub(super) fn report(self, findings: &mut Findings) {
        for (key, value) in &self.rest {
            leaves(&self.path_of(key), value, findings);
        }
    }
}

fn leaves(path: &str, value: &Value, findings: &mut Findings) {
    match value {
        Value::Object(entries) if is_off(entries) => {}
        Value::Object(entries) => {
            for (key, value) in entries {
                leaves(&format!("{path}.{}", key.to_lowercase()), value, findings);
            }
        }
        Value::Array(items) if items.iter().any(|item| item.is_object() || item.is_array()) => {
            for (index, item) in items.iter().enumerate() {
                leaves(&format!("{path}[{index}]"), item, findings);
            }
        }
        // What is empty or has its default loses nothing by being left out.
        Value::Null => {}
        Value::Array(items) if items.is_empty() => {}
        Value::Bool(false) if FALSE_BY_DEFAULT.contains(&last(path)) => {}
        value => findings.add(path, value),
    }
}

/// A feature that is switched off.
fn is_off(entries: &Map<String, Value>) -> bool {
    let off = |entries: &Map<String, Value>| {
        entries
            .iter()
            .any(|(key, value)| key.eq_ignore_ascii_case("enabled") && bool::read(value) == Some(false))
    };
    off(entries)
        || entries
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case("config"))
            .and_then(|(_, config)| config.as_object())
            .is_some_and(off)
}

/// A value that gobgpd takes, which may also be written as text.
pub(super) trait Setting: Sized {
    const WHAT: &'static str;
    fn read(value: &Value) -> Option<Self>;
}

impl Setting for bool {
    const WHAT: &'static str = "truth value";

    fn read(value: &Value) -> Option<Self> {
        match value {
            Value::Bool(truth) => Some(*truth),
            Value::Number(number) => number.as_i64().map(|number| number != 0),
            Value::String(text) => match text.as_str() {
                "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
                "" | "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
                _ => None,
            },
            _ => None,
        }
    }
}

impl Setting for i64 {
    const WHAT: &'static str = "whole number";

    fn read(value: &Value) -> Option<Self> {
        match value {
            Value::Number(number) => number.as_i64(),
            Value::String(text) => text.parse().ok(),
            _ => None,
        }
    }
}

impl Setting for f64 {
    const WHAT: &'static str = "number";

    fn read(value: &Value) -> Option<Self> {
        match value {
            Value::Number(number) => number.as_f64(),
            Value::String(text) => text.parse().ok(),
            _ => None,
        }
        .filter(|number: &f64| number.is_finite())
    }
}

impl Setting for u32 {
    const WHAT: &'static str = "AS number";

    fn read(value: &Value) -> Option<Self> {
        i64::read(value).and_then(|number| Self::try_from(number).ok())
    }
}

impl Setting for String {
    const WHAT: &'static str = "text";

    fn read(value: &Value) -> Option<Self> {
        match value {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        }
    }
}

impl Setting for Ipv4Addr {
    const WHAT: &'static str = "IPv4 address";

    fn read(value: &Value) -> Option<Self> {
        value.as_str()?.parse().ok()
    }
}

impl Setting for IpAddr {
    const WHAT: &'static str = "IP address";

    fn read(value: &Value) -> Option<Self> {
        value.as_str()?.parse().ok()
    }
}

impl Setting for Vec<IpAddr> {
    const WHAT: &'static str = "list of IP addresses";

    fn read(value: &Value) -> Option<Self> {
        value.as_array()?.iter().map(IpAddr::read).collect()
    }
}
