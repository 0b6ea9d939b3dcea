//! YAML (and so JSON) as operators write it: read strictly, with line, column and a hint in every error.
//!
//! There is one reader, [`tree`]. Policies are read from the tree itself, so that all problems of a file can be reported at
//! once. The configuration is held against its [`shape`] first, which reports the first problem with its place.

mod builder;
pub(crate) mod list;
mod scalar;
pub(crate) mod shape;
pub(crate) mod tree;

use std::fmt;

use crate::base::text::nearest;
use shape::Shape;
use tree::{At, Caps, Node, TreeError};

/// Reads one document, which is null or has the shape. A text without a document, or with comments alone, is null.
pub(crate) fn read(text: &str, shape: &Shape) -> Result<Node, YamlError> {
    if text.lines().any(|line| line.starts_with("-----BEGIN ") && line.ends_with("PRIVATE KEY-----")) {
        return Err(YamlError::at(At::START, "this is a private key, and no configuration".to_owned()));
    }
    let mut documents = tree::parse(text, Caps::FILE)?.into_iter();
    let first = documents.next().unwrap_or(Node::NOTHING);
    match documents.next() {
        Some(second) => Err(YamlError::at(second.at, "there is more than one document in the file".to_owned())),
        None if first.is_null() => Ok(first),
        None => shape.check(&first).map(|()| first),
    }
}

/// The documents of a stream of manifests, without their places.
pub fn read_all(text: &str) -> Result<Vec<serde_json::Value>, YamlError> {
    Ok(documents(text)?.iter().map(Node::to_json).collect())
}

/// The documents of a stream of manifests, separated by `---`. Empty documents are left out.
pub(crate) fn documents(text: &str) -> Result<Vec<Node>, YamlError> {
    Ok(tree::parse(text, Caps::CLUSTER)?)
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
    fn at(at: At, message: String) -> Self {
        Self { line: at.line, column: at.column, message, hint: None }
    }
}

impl From<TreeError> for YamlError {
    fn from(TreeError { at, fault }: TreeError) -> Self {
        Self::at(at, fault.to_string())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_is_one_document() {
        const SHAPE: Shape = Shape::Mapping(&[("mode", Shape::Count), ("trust", Shape::Truth)]);
        const KEY: &str = "-----BEGIN EC PRIVATE KEY-----\r\nMHcCAQEEIA==\r\n-----END EC PRIVATE KEY-----\r\n";
        for (text, expected) in [
            ("mode: 1\n---\nmode: 2", "3:1: there is more than one document in the file"),
            ("trust: true\ntrust: false\n", "2:1: \"trust\" stands twice in one mapping"),
            // Nothing of a secret is quoted if its file is named by mistake.
            (KEY, "1:1: this is a private key, and no configuration"),
            (&["Bag Attributes\n", KEY].concat(), "1:1: this is a private key, and no configuration"),
            ("hunter2", "1:1: invalid type: string, expected a mapping"),
            ("mode: hunter2", "1:7: invalid type: string, expected usize"),
        ] {
            assert_eq!(read(text, &SHAPE).unwrap_err().to_string(), expected);
        }
        let error = read("trust: [", &SHAPE).unwrap_err();
        assert!(error.line > 0 && !error.message.contains("line"), "{error:?}");
    }

    #[test]
    fn manifests_are_a_stream() {
        let text = "a: [1, -2, 1.5, null, yes, {b: \"x\"}, .nan]\n---\n---\n7\n";
        let values = read_all(text).unwrap();
        assert_eq!(values, [serde_json::json!({ "a": [1, -2, 1.5, null, "yes", { "b": "x" }, null] }), 7.into()]);
    }
}
