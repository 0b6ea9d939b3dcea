//! YAML (and so JSON) text as a tree in which every value has its line and column, so that all problems of a file can be
//! reported at once, each with its place.
//!
//! It refuses duplicate keys, unknown tags and line breaks that editors do not show. It does not read `yes` and `no` as
//! booleans, as YAML 1.1 does. It caps size, depth, nodes and aliases, so that the tree of a small file is small. It knows
//! nothing of policies.

use std::fmt;

use granit_parser::{Marker, Parser};
use serde_json::Value as Json;

use super::builder::Builder;
use portreeve_verify::text::printable;

/// Limits of one text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caps {
    pub(crate) bytes: usize,
    pub(crate) depth: usize,
    /// Values, with those that aliases repeat.
    pub(crate) nodes: usize,
    /// Bytes of all strings, with those that aliases repeat.
    pub(crate) strings: usize,
    pub(crate) documents: usize,
    /// Aliases (`*name`). One repeats a value of any size in a few bytes.
    pub(crate) aliases: usize,
}

/// Most bytes of a configuration or policy file. A ConfigMap has the same limit.
pub(crate) const MAX_TEXT: usize = 1 << 20;

/// Most aliases of a text.
const MAX_ALIASES: usize = 1_000;

impl Caps {
    /// A configuration or policy file. A megabyte of real policies has about 100,000 nodes in at most ten levels. A list of
    /// ConfigMaps is no deeper.
    pub(crate) const FILE: Self = Self {
        bytes: MAX_TEXT,
        depth: 32,
        nodes: 250_000,
        strings: 4 * MAX_TEXT,
        documents: 16_384,
        aliases: MAX_ALIASES,
    };

    /// A policy file that somebody else than the site's operators writes: what is read takes no more than what is written. A
    /// value of two bytes takes about a hundred in memory. The most rules of a namespace, with a key each, make about 4,000 values.
    pub(crate) const WITHOUT_ALIASES: Self = Self { aliases: 0, nodes: 20_000, ..Self::FILE };

    /// The manifests of a whole cluster (`kubectl get -A`). Ten thousand workloads have about two million nodes.
    pub(crate) const CLUSTER: Self = Self {
        bytes: 256 << 20,
        depth: 64,
        nodes: 4_000_000,
        strings: 1 << 30,
        documents: 20_000,
        aliases: MAX_ALIASES,
    };
}

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
    /// More bytes than the limit.
    TooLarge { limit: usize },
    /// More values, levels, aliases or documents than the limit.
    TooMuch,
    /// A key is there twice in one mapping.
    DuplicateKey { key: String },
    /// Not YAML, or a part of YAML that is not supported.
    Syntax { message: String },
}

impl fmt::Display for TreeFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { limit } => write!(f, "there are more than {limit} bytes"),
            Self::TooMuch => f.write_str("there are too many values, aliases or levels in it"),
            Self::DuplicateKey { key } => write!(f, "\"{}\" stands twice in one mapping", printable(key, 60)),
            Self::Syntax { message } => f.write_str(&printable(message, 300)),
        }
    }
}

/// A value and its place. The value of an alias has the place where it is written, because that is where it is corrected.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) at: At,
    pub(crate) value: Value,
}

/// A value.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    /// `None` for a number that JSON does not have, such as `.inf`.
    Number(Option<serde_json::Number>),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

/// A key of a mapping and its place.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    pub(crate) at: At,
    pub(crate) text: String,
}

impl Node {
    /// The value of an empty text.
    pub(crate) const NOTHING: Self = Self { at: At::START, value: Value::Null };

    /// The kind of the value, for messages.
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

    /// The value of a field; `None` for null, which Kubernetes treats like an absent field.
    pub(crate) fn get(&self, name: &str) -> Option<&Node> {
        self.entry(name).filter(|node| !node.is_null())
    }

    /// The value of a field, also null.
    pub(crate) fn entry(&self, name: &str) -> Option<&Node> {
        let Value::Map(entries) = &self.value else { return None };
        entries.iter().find(|(key, _)| key.text == name).map(|(_, node)| node)
    }

    pub(crate) fn is_null(&self) -> bool {
        matches!(self.value, Value::Null)
    }

    /// Is it null, or a list or mapping without an entry?
    pub(crate) fn is_empty(&self) -> bool {
        match &self.value {
            Value::Null => true,
            Value::List(items) => items.is_empty(),
            Value::Map(entries) => entries.is_empty(),
            Value::Bool(_) | Value::Number(_) | Value::Text(_) => false,
        }
    }

    pub(crate) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// A whole number that is not negative.
    pub(crate) fn count(&self) -> Option<usize> {
        match &self.value {
            Value::Number(number) => number.as_ref()?.as_u64()?.try_into().ok(),
            _ => None,
        }
    }

    /// The value without places. A number that JSON does not have is null.
    pub(crate) fn to_json(&self) -> Json {
        match &self.value {
            Value::Null | Value::Number(None) => Json::Null,
            Value::Bool(truth) => Json::Bool(*truth),
            Value::Number(Some(number)) => Json::Number(number.clone()),
            Value::Text(text) => Json::String(text.clone()),
            Value::List(items) => Json::Array(items.iter().map(Self::to_json).collect()),
            Value::Map(entries) => {
                let mut object = serde_json::Map::new();
                for (key, value) in entries {
                    object.insert(key.text.clone(), value.to_json());
                }
                Json::Object(object)
            }
        }
    }
}

/// Reads all documents of a text. Empty documents are left out.
pub(crate) fn parse(text: &str, mut caps: Caps) -> Result<Vec<Node>, TreeError> {
    parse_within(text, &mut caps)
}

/// The same. Takes the values and strings of this text off the limits, so that several texts can share them.
pub(crate) fn parse_within(text: &str, caps: &mut Caps) -> Result<Vec<Node>, TreeError> {
    if text.len() > caps.bytes {
        return Err(TreeError { at: At::START, fault: TreeFault::TooLarge { limit: caps.bytes } });
    }
    refuse_hidden_line_breaks(text)?;
    let mut builder = Builder::new(*caps);
    let read = build(text, &mut builder);
    (caps.nodes, caps.strings) = builder.left();
    read.map(|()| builder.into_documents())
}

fn build(text: &str, builder: &mut Builder) -> Result<(), TreeError> {
    for event in Parser::new_from_str(text.strip_prefix('\u{feff}').unwrap_or(text)) {
        let (event, span) = event.map_err(|error| TreeError {
            at: error.marker().into(),
            fault: TreeFault::Syntax { message: error.info().to_string() },
        })?;
        let at = At::from(&span.start);
        builder.take(event, at).map_err(|fault| builder.placed(fault, at))?;
    }
    Ok(())
}

/// YAML 1.2.2 §5.4 ends a line, and a comment, at a carriage return without a line feed. YAML 1.1, which kubectl reads, also
/// ends it at three characters of Unicode. Many editors and `git diff` do neither: they would show as the rest of a comment
/// what Portreeve or kubectl reads as a line. JSON has no comments, and its strings may contain the three characters.
fn refuse_hidden_line_breaks(text: &str) -> Result<(), TreeError> {
    let is_json = text.trim_start().starts_with(['{', '[']) && !text.contains('#');
    let is_hidden = |&(at, found): &(usize, &str)| match found {
        "\r" => !text.get(at + 1..).is_some_and(|rest| rest.starts_with('\n')),
        _ => !is_json,
    };
    let breaks = ['\r', '\u{85}', '\u{2028}', '\u{2029}'];
    let Some((end, found)) = text.match_indices(breaks).find(is_hidden) else { return Ok(()) };
    let before = text.get(..end).unwrap_or_default();
    let line = before.rsplit('\n').next().unwrap_or_default();
    let at = At { line: before.matches('\n').count() + 1, column: line.chars().count() + 1 };
    let what = match found {
        "\r" => "a carriage return without a line feed",
        _ => "a line break of Unicode (U+0085, U+2028 or U+2029)",
    };
    let message =
        format!("{what} is in this line: YAML begins a new line there, which most editors do not show; remove it");
    Err(TreeError { at, fault: TreeFault::Syntax { message } })
}

impl From<&Marker> for At {
    fn from(marker: &Marker) -> Self {
        Self { line: marker.line().max(1), column: marker.col().saturating_add(1) }
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

    /// Text that an editor shows as the rest of a comment must not be read as another line.
    #[test]
    fn a_lone_carriage_return_is_refused_with_its_line() {
        for (text, line, column) in [
            ("a: 1\r\n# no rule:\rb: 2\r\n", 2, 11),
            ("# é\ra: 1\n", 1, 4),
            ("a: \"x\ry\"\n", 1, 6),
            ("a: |\n  x\r  y\n", 2, 4),
            ("a: 1\r", 1, 5),
            ("a: 1\r\r\n", 1, 5),
        ] {
            let error = read(text).unwrap_err();
            assert_eq!((error.at.line, error.at.column), (line, column), "{text:?}");
            assert!(error.fault.to_string().contains("carriage return"), "{error:?}");
        }
        assert_eq!(read("# c\r\na: 1\r\nb: \"x\\ry\"\r\n").unwrap().len(), 1);
    }

    /// kubectl begins a new line at them: an image behind one would be applied, and not be reviewed.
    #[test]
    fn unicodes_line_breaks_are_refused_with_their_line() {
        for hidden in ['\u{85}', '\u{2028}', '\u{2029}'] {
            for text in [
                format!("a: 1\n# é{hidden}b: 2\n"),
                format!("a: 1\nb: {hidden}2"),
                format!("{{a: 1,\n# {hidden}b: 2}}"),
            ] {
                let error = read(&text).unwrap_err();
                assert_eq!(error.at.line, 2, "{text:?}");
                assert!(error.fault.to_string().contains("line break of Unicode"), "{error:?}");
            }
            assert_eq!(read(&format!("{{\"a\": \"x{hidden}y\"}}")).unwrap().len(), 1);
            assert_eq!(read("a: \"x\\u2028y\"").unwrap().len(), 1);
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
