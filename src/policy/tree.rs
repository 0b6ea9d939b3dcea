//! YAML (and so JSON) text as a tree in which every value knows its line and column, so that all that is wrong in a
//! file can be told at once, each with its place.
//!
//! Refuses duplicate keys, unknown tags and YAML 1.1's `yes` and `no` as booleans; caps size, depth, nodes and
//! aliases, so that no file outgrows its bytes. It knows nothing of policies.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::options::DuplicateKeyPolicy;
use serde_saphyr::{Error, Location, Spanned, UserMessageFormatter};

use super::problem::{At, Fault};

/// The most bytes a file may have; a ConfigMap has no more either.
pub(crate) const MAX_TEXT: usize = 1 << 20;
/// Policies are no deeper than ten levels; a list of ConfigMaps neither.
const MAX_DEPTH: usize = 32;
/// A megabyte of real policies has about 100,000.
const MAX_NODES: usize = 250_000;
/// What aliases may repeat: enough for shared signers, nothing for a bomb.
const MAX_REPLAYED: usize = 20_000;
const MAX_DOCUMENTS: usize = 16_384;

/// A value and where it stands.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) at: At,
    pub(crate) value: Value,
}

/// A value.
#[derive(Debug)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Number,
    Text(String),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

/// A key of a mapping and where it stands.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) at: At,
    pub(crate) text: String,
}

impl Node {
    /// What it is, for people.
    pub(crate) fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "nothing",
            Value::Bool(_) => "true or false",
            Value::Number => "a number",
            Value::Text(_) => "a string",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }

    /// A mapping's value, unless it is null: Kubernetes tells null and absent no more apart than this.
    pub(crate) fn get(&self, name: &str) -> Option<&Node> {
        self.entry(name).filter(|node| !node.is_null())
    }

    /// A mapping's value, be it null.
    pub(crate) fn entry(&self, name: &str) -> Option<&Node> {
        let Value::Map(entries) = &self.value else { return None };
        entries.iter().find(|(key, _)| key.text == name).map(|(_, node)| node)
    }

    pub(crate) fn is_null(&self) -> bool {
        matches!(self.value, Value::Null)
    }

    pub(crate) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// Reads all documents of a text. Empty documents are left out.
pub(crate) fn parse(text: &str) -> Result<Vec<Node>, (At, Fault)> {
    if text.len() > MAX_TEXT {
        return Err((At::START, Fault::TooLarge { limit: MAX_TEXT }));
    }
    let options = serde_saphyr::options! {
        with_snippet: false,
        strict_booleans: true,
        reject_unsupported_tags: true,
        duplicate_keys: DuplicateKeyPolicy::Error,
        non_finite_float_policy: serde_saphyr::NonFiniteFloatPolicy::PassThrough,
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: MAX_REPLAYED,
            max_replay_stack_depth: 8,
        },
        budget: serde_saphyr::budget! {
            max_depth: MAX_DEPTH,
            max_nodes: MAX_NODES,
            max_events: 4 * MAX_NODES,
            max_documents: MAX_DOCUMENTS,
            max_aliases: 1_000,
            max_anchors: 1_000,
            max_merge_keys: 100,
            max_recorded_anchor_events: 50_000,
            max_recorded_anchor_bytes: 4 * MAX_TEXT,
            max_total_scalar_bytes: 4 * MAX_TEXT,
        },
    };
    serde_saphyr::from_multiple_with_options::<Spanned<Value>>(text, options)
        .map(|documents| documents.into_iter().map(Node::from).collect())
        .map_err(|error| describe(&error))
}

/// The place and the words of a reader's error.
fn describe(error: &Error) -> (At, Fault) {
    let at = error.location().map_or(At::START, At::from);
    let fault = match error.without_snippet() {
        Error::DuplicateMappingKey { key: Some(key), .. } => Fault::DuplicateKey { key: key.clone() },
        other => {
            let words = other.render_with_formatter(&UserMessageFormatter);
            // The place is told once, in front.
            let suffix = format!(" at line {}, column {}", at.line, at.column);
            Fault::Yaml { message: words.strip_suffix(&suffix).unwrap_or(&words).to_owned() }
        }
    };
    (at, fault)
}

impl From<Location> for At {
    fn from(location: Location) -> Self {
        let number = |n: u64| usize::try_from(n).unwrap_or(usize::MAX).max(1);
        Self { line: number(location.line()), column: number(location.column()) }
    }
}

impl From<Spanned<Value>> for Node {
    fn from(spanned: Spanned<Value>) -> Self {
        // Behind an alias: where it is written, for that is where it must be mended.
        Self { at: spanned.defined.into(), value: spanned.value }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        Value::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Value, E> {
        Ok(Value::Number)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Value, E> {
        Ok(Value::Number)
    }

    fn visit_i128<E>(self, _: i128) -> Result<Value, E> {
        Ok(Value::Number)
    }

    fn visit_u128<E>(self, _: u128) -> Result<Value, E> {
        Ok(Value::Number)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Value, E> {
        Ok(Value::Number)
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(Value::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut out = Vec::new();
        while let Some(item) = list.next_element::<Spanned<Value>>()? {
            out.push(item.into());
        }
        Ok(Value::List(out))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut out = Vec::new();
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            let key = Key { at: key.defined.into(), text: key.value };
            out.push((key, map.next_value::<Spanned<Value>>()?.into()));
        }
        Ok(Value::Map(out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_and_value_knows_its_place() {
        let documents = parse("# c\na: 1\n---\nb:\n  - x: y\n    z:\n").unwrap();
        assert_eq!(documents.len(), 2);
        let Value::Map(entries) = &documents[1].value else { panic!() };
        assert_eq!((entries[0].0.at.line, entries[0].0.at.column), (4, 1));
        let Value::List(items) = &entries[0].1.value else { panic!() };
        let Value::Map(entries) = &items[0].value else { panic!() };
        assert_eq!((entries[0].0.at.line, entries[0].0.at.column), (5, 5));
        assert_eq!((entries[0].1.at.line, entries[0].1.at.column), (5, 8));
        assert!(entries[1].1.is_null());
        assert_eq!((entries[1].0.at.line, entries[1].0.at.column), (6, 5));
    }

    #[test]
    fn json_is_read_as_well() {
        let documents = parse("{\n\t\"a\": [true, null, \"x\\/\\u00e9\", 1.5]\n}\n").unwrap();
        let Value::List(items) = &documents[0].get("a").unwrap().value else { panic!() };
        assert!(matches!(items[0].value, Value::Bool(true)));
        assert!(items[1].is_null());
        assert_eq!(items[2].text(), Some("x/é"));
        assert!(matches!(items[3].value, Value::Number));
    }

    #[test]
    fn only_true_and_false_are_booleans() {
        for text in ["yes", "on", "no", "off", "y"] {
            assert_eq!(parse(&format!("a: {text}")).unwrap()[0].get("a").unwrap().text(), Some(text));
        }
    }

    #[test]
    fn empty_documents_are_left_out() {
        for text in ["", "# only a comment\n", "---\n---\n", "\u{feff}", "--- ~\n"] {
            assert_eq!(parse(text).unwrap().len(), 0, "{text:?}");
        }
    }

    #[test]
    fn refuses_what_is_ambiguous_or_hostile() {
        let bomb = format!(
            "a0: &a0 [x]\n{}",
            (1..12).fold(String::new(), |mut out, n| {
                out.push_str(&format!("a{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 10].join(",")));
                out
            })
        );
        let deep = "[".repeat(100_000);
        let blocks = "- ".repeat(10_000);
        let wide = format!("[{}]", "a,".repeat(300_000));
        let large = "a".repeat(MAX_TEXT + 1);
        for bad in [
            "a: 1\na: 2",
            "{\"a\": 1, \"a\": 2}",
            "a: [",
            "a: b: c",
            "a: !evil x",
            "a: &x [*x]",
            "a: *nobody",
            "a: \u{1}",
            &bomb,
            &deep,
            &blocks,
            &wide,
            &large,
        ] {
            assert!(parse(bad).is_err(), "{}", bad.chars().take(40).collect::<String>());
        }
        let (at, fault) = parse("x: 1\na: 1\na: 2").unwrap_err();
        assert_eq!((at.line, at.column), (3, 1));
        assert!(matches!(fault, Fault::DuplicateKey { .. }), "{fault}");
    }
}
