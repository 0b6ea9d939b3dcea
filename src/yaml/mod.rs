//! YAML (and so JSON) as operators write it: read strictly, with line, column and a hint in every error.
//!
//! There is one reader, [`tree`]. Policies are read from the tree itself, so that all problems of a file can be reported at
//! once. Configuration and manifests are read from the tree by serde, which reports the first problem with its place.

mod builder;
mod de;
pub(crate) mod list;
mod scalar;
pub(crate) mod tree;

use std::fmt;

use serde::de::DeserializeOwned;

use crate::base::text::nearest;
use portreeve_verify::text::printable;
use tree::{Caps, Node, TreeError};

/// Reads one document. A text without a document, or with comments alone, is `null`.
pub fn read<T: DeserializeOwned>(text: &str) -> Result<T, YamlError> {
    let mut documents = tree::parse(text, Caps::FILE)?.into_iter();
    let first = documents.next().unwrap_or(Node::NOTHING);
    match documents.next() {
        Some(second) => Err(YamlError::at(&second, "there is more than one document in the file".to_owned())),
        None => de::read(&first),
    }
}

/// Reads all documents of a stream of manifests.
pub fn read_all<T: DeserializeOwned>(text: &str) -> Result<Vec<T>, YamlError> {
    documents(text)?.iter().map(of_node).collect()
}

/// The documents of a stream of manifests, separated by `---`. Empty documents are left out.
pub(crate) fn documents(text: &str) -> Result<Vec<Node>, YamlError> {
    Ok(tree::parse(text, Caps::CLUSTER)?)
}

/// Reads a part of a document.
pub(crate) fn of_node<T: DeserializeOwned>(node: &Node) -> Result<T, YamlError> {
    de::read(node)
}

/// A problem in a text, and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct YamlError {
    /// From 1; 0 if the place is not known.
    pub line: usize,
    /// From 1; 0 if the place is not known.
    pub column: usize,
    /// The problem.
    pub message: String,
    /// What may have been meant.
    pub hint: Option<String>,
}

impl YamlError {
    fn at(node: &Node, message: String) -> Self {
        Self { line: node.at.line, column: node.at.column, message, hint: None }
    }
}

impl From<TreeError> for YamlError {
    fn from(TreeError { at, fault }: TreeError) -> Self {
        Self { line: at.line, column: at.column, message: fault.to_string(), hint: None }
    }
}

/// Suggests the known word that is nearest, or else lists all known words.
fn suggestion(typed: &str, known: &[&'static str]) -> Option<String> {
    match nearest(typed, known.iter().copied()) {
        Some(word) => Some(format!("did you mean \"{word}\"?")),
        None if known.is_empty() => None,
        None => Some(format!("known here: {}", known.join(", "))),
    }
}

impl fmt::Display for YamlError {
    /// `7:3: unknown field "tust": did you mean "trust"?`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 {
            write!(f, "{}:{}: ", self.line, self.column)?;
        }
        f.write_str(&self.message)?;
        self.hint.as_ref().map_or(Ok(()), |hint| write!(f, ": {hint}"))
    }
}

impl std::error::Error for YamlError {}

impl serde::de::Error for YamlError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self { line: 0, column: 0, message: printable(&message.to_string(), 300), hint: None }
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        Self {
            hint: suggestion(field, expected),
            ..Self::custom(format!("unknown field \"{}\"", printable(field, 60)))
        }
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        let message = format!("unknown value \"{}\"", printable(variant, 60));
        Self { hint: suggestion(variant, expected), ..Self::custom(message) }
    }

    fn missing_field(field: &'static str) -> Self {
        Self::custom(format!("the field \"{field}\" is missing"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        trust: Option<bool>,
        mode: Option<u8>,
        word: Option<Word>,
        inner: Option<Box<Sample>>,
        list: Option<Vec<String>>,
    }

    #[derive(Debug, serde::Deserialize, PartialEq)]
    #[serde(rename_all = "camelCase")]
    enum Word {
        Enforce,
        Warn,
    }

    #[test]
    fn values_are_read() {
        let sample: Sample =
            read("trust: true\nmode: 7\nword: warn\ninner: { word: enforce }\nlist: [a, \"1\"]\n").unwrap();
        assert_eq!((sample.trust, sample.mode, sample.word), (Some(true), Some(7), Some(Word::Warn)));
        assert_eq!(sample.inner.unwrap().word, Some(Word::Enforce));
        assert_eq!(sample.list.unwrap(), ["a", "1"]);
        assert_eq!(read::<Option<Sample>>("# nothing\n").unwrap(), None);
        let text = "a: [1, -2, 1.5, null, yes, {b: \"x\"}]\n---\n---\n7\n";
        let values = read_all::<serde_json::Value>(text).unwrap();
        assert_eq!(values, [serde_json::json!({ "a": [1, -2, 1.5, null, "yes", { "b": "x" }] }), 7.into()]);
    }

    #[test]
    fn errors_name_the_place_and_what_was_meant() {
        for (text, expected) in [
            ("mode: 1\ntust: true\n", "2:1: unknown field \"tust\": did you mean \"trust\"?"),
            ("vulnerability: 1\n", "1:1: unknown field \"vulnerability\": known here: trust, mode, word, inner, list"),
            ("inner:\n  word: wran\n", "2:9: unknown value \"wran\": did you mean \"warn\"?"),
            ("inner:\n  inner:\n    tust: 1\n", "3:5: unknown field \"tust\": did you mean \"trust\"?"),
            ("trust: yes\n", "1:8: invalid type: string \"yes\", expected a boolean"),
            ("mode: -1", "1:7: invalid value: integer `-1`, expected u8"),
            ("mode: 1\n---\nmode: 2", "3:1: there is more than one document in the file"),
            ("list: [a, 1]", "1:11: invalid type: integer `1`, expected a string"),
            ("trust: true\ntrust: false\n", "2:1: \"trust\" stands twice in one mapping"),
        ] {
            assert_eq!(read::<Sample>(text).unwrap_err().to_string(), expected);
        }
        for text in ["- a", "trust: [", "word: { warn: 1 }"] {
            let error = read::<Sample>(text).unwrap_err();
            assert!(error.line > 0, "{text}: {error:?}");
            assert!(!error.message.contains("line"), "{text}: {error:?}");
        }
    }
}
