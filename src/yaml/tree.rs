//! YAML (and so JSON) text as a tree in which every value knows its line and column, so that all that is wrong in a
//! file can be told at once, each with its place.
//!
//! Refuses duplicate keys, unknown tags and YAML 1.1's `yes` and `no` as booleans; caps size, depth, nodes and
//! aliases, so that no file outgrows its bytes. It knows nothing of policies.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::options::DuplicateKeyPolicy;
use serde_saphyr::{Error, Location, MessageFormatter as _, Spanned, UserMessageFormatter};

use crate::text::printable;

/// How much one text may hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caps {
    pub(crate) bytes: usize,
    pub(crate) depth: usize,
    pub(crate) nodes: usize,
    pub(crate) documents: usize,
}

/// The most bytes a file of ours may have; a ConfigMap has no more either.
pub(crate) const MAX_TEXT: usize = 1 << 20;

impl Caps {
    /// A file of ours. A megabyte of real policies has about 100,000 nodes, and they are no deeper than ten levels; a
    /// list of ConfigMaps neither.
    pub(crate) const FILE: Self = Self { bytes: MAX_TEXT, depth: 32, nodes: 250_000, documents: 16_384 };

    /// A whole cluster's manifests (`kubectl get -A`): ten thousand workloads have about two million nodes.
    pub(crate) const CLUSTER: Self = Self { bytes: 256 << 20, depth: 64, nodes: 4_000_000, documents: 20_000 };
}

/// What aliases may repeat: enough for shared signers, nothing for a bomb.
const MAX_REPLAYED: usize = 20_000;

/// A line and a column, both from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct At {
    pub(crate) line: usize,
    pub(crate) column: usize,
}

impl At {
    pub(crate) const START: Self = Self { line: 1, column: 1 };
}

/// Why a text could not be read, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TreeError {
    pub(crate) at: At,
    pub(crate) fault: TreeFault,
}

/// Why a text could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TreeFault {
    /// More bytes than there may be.
    TooLarge { limit: usize },
    /// More of anything else than there may be.
    TooMuch,
    /// A key stands twice in one mapping.
    DuplicateKey { key: String },
    /// Not YAML; the reader's words.
    Syntax { message: String },
}

impl fmt::Display for TreeFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { limit } => write!(f, "there are more than {limit} bytes"),
            Self::TooMuch => f.write_str("there is too much in it to be read at once"),
            Self::DuplicateKey { key } => write!(f, "\"{}\" stands twice in one mapping", printable(key, 60)),
            Self::Syntax { message } => f.write_str(&printable(message, 300)),
        }
    }
}

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
    /// `None` for one that JSON does not have, such as `.inf`.
    Number(Option<serde_json::Number>),
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
    /// What stands where nothing stands.
    pub(crate) const NOTHING: Self = Self { at: At::START, value: Value::Null };

    /// What it is, for people.
    pub(crate) fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "nothing",
            Value::Bool(_) => "true or false",
            Value::Number(_) => "a number",
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
pub(crate) fn parse(text: &str, caps: Caps) -> Result<Vec<Node>, TreeError> {
    if text.len() > caps.bytes {
        return Err(TreeError { at: At::START, fault: TreeFault::TooLarge { limit: caps.bytes } });
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
            max_depth: caps.depth,
            max_nodes: caps.nodes,
            max_events: 4 * caps.nodes,
            max_documents: caps.documents,
            max_aliases: 1_000,
            max_anchors: 1_000,
            max_merge_keys: 100,
            max_recorded_anchor_events: 50_000,
            max_recorded_anchor_bytes: 4 * caps.bytes,
            max_total_scalar_bytes: 4 * caps.bytes,
        },
    };
    serde_saphyr::from_multiple_with_options::<Spanned<Value>>(text, options)
        .map(|documents| documents.into_iter().map(Node::from).collect())
        .map_err(|error| describe(&error))
}

/// The place and the words of a reader's error. Its own rendering, with snippets of the text, is never used.
fn describe(error: &Error) -> TreeError {
    let error = error.without_snippet();
    let at = error.location().map_or(At::START, At::from);
    let fault = match error {
        Error::DuplicateMappingKey { key: Some(key), .. } => TreeFault::DuplicateKey { key: key.clone() },
        Error::Budget { .. } => TreeFault::TooMuch,
        other => TreeFault::Syntax { message: UserMessageFormatter.format_message(other).into_owned() },
    };
    TreeError { at, fault }
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

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Number(Some(number.into())))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(Value::Number(Some(number.into())))
    }

    fn visit_i128<E>(self, number: i128) -> Result<Value, E> {
        Ok(Value::Number(serde_json::Number::from_i128(number)))
    }

    fn visit_u128<E>(self, number: u128) -> Result<Value, E> {
        Ok(Value::Number(serde_json::Number::from_u128(number)))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(Value::Number(serde_json::Number::from_f64(number)))
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

    fn read(text: &str) -> Result<Vec<Node>, TreeError> {
        parse(text, Caps::FILE)
    }

    #[test]
    fn every_key_and_value_knows_its_place() {
        let documents = read("# c\na: 1\n---\nb:\n  - x: y\n    z:\n").unwrap();
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
        let documents = read("{\n\t\"a\": [true, null, \"x\\/\\u00e9\", 1.5]\n}\n").unwrap();
        let Value::List(items) = &documents[0].get("a").unwrap().value else { panic!() };
        assert!(matches!(items[0].value, Value::Bool(true)));
        assert!(items[1].is_null());
        assert_eq!(items[2].text(), Some("x/é"));
        assert!(matches!(items[3].value, Value::Number(_)));
    }

    #[test]
    fn only_true_and_false_are_booleans() {
        for text in ["yes", "on", "no", "off", "y"] {
            assert_eq!(read(&format!("a: {text}")).unwrap()[0].get("a").unwrap().text(), Some(text));
        }
    }

    #[test]
    fn empty_documents_are_left_out() {
        for text in ["", "# only a comment\n", "---\n---\n", "\u{feff}", "--- ~\n"] {
            assert_eq!(read(text).unwrap().len(), 0, "{text:?}");
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
            assert!(read(bad).is_err(), "{}", bad.chars().take(40).collect::<String>());
        }
        let error = read("x: 1\na: 1\na: 2").unwrap_err();
        assert_eq!((error.at.line, error.at.column), (3, 1));
        assert_eq!(error.fault, TreeFault::DuplicateKey { key: "a".to_owned() });
    }
}
