//! YAML (and so JSON) as operators write it: read strictly, with line, column and a hint in every error.

use std::fmt;

use serde::de::DeserializeOwned;
use serde_saphyr::{DuplicateKeyPolicy, Error, Options};

use crate::text::{nearest, printable};

/// Streams are whole clusters (`kubectl get -A`): ten thousand workloads have about two million values.
const MANY_NODES: usize = 4_000_000;
const MANY_DOCUMENTS: usize = 20_000;

/// Reads one document.
pub fn read<T: DeserializeOwned>(text: &str) -> Result<T, YamlError> {
    serde_saphyr::from_str_with_options(text, options()).map_err(|error| YamlError::of(&error))
}

/// Reads a stream of documents, separated by `---`.
pub fn read_all<T: DeserializeOwned>(text: &str) -> Result<Vec<T>, YamlError> {
    let mut options = options();
    options.budget = serde_saphyr::budget! {
        max_documents: MANY_DOCUMENTS,
        max_nodes: MANY_NODES,
        max_events: 4 * MANY_NODES,
    };
    serde_saphyr::from_multiple_with_options(text, options).map_err(|error| YamlError::of(&error))
}

/// Strict where YAML is loose: a key that stands twice is an error, and only `true` and `false` are booleans. The
/// reader's own budgets against alias bombs and depth stay on.
fn options() -> Options {
    serde_saphyr::options! {
        duplicate_keys: DuplicateKeyPolicy::Error,
        strict_booleans: true,
        with_snippet: false,
    }
}

/// What is wrong in a text, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct YamlError {
    /// From 1; 0 where it is not known.
    pub line: u64,
    /// From 1; 0 where it is not known.
    pub column: u64,
    /// What is wrong.
    pub message: String,
    /// What was perhaps meant.
    pub hint: Option<String>,
}

impl YamlError {
    fn of(error: &Error) -> Self {
        let error = error.without_snippet();
        let (line, column) = error.location().map_or((0, 0), |at| (at.line(), at.column()));
        let (message, hint) = match error {
            Error::SerdeUnknownField { field, expected, .. } => {
                (format!("unknown field \"{}\"", printable(field, 60)), suggestion(field, expected))
            }
            Error::SerdeUnknownVariant { variant, expected, .. } => {
                (format!("unknown value \"{}\"", printable(variant, 60)), suggestion(variant, expected))
            }
            Error::DuplicateMappingKey { key: Some(key), .. } => {
                (format!("\"{}\" stands twice in one mapping", printable(key, 60)), None)
            }
            Error::Budget { .. } => ("there is too much in it to be read at once".to_owned(), None),
            Error::SerdeMissingField { field, .. } => (format!("the field \"{field}\" is missing"), None),
            other => (printable(&strip_location(&other.to_string()), 300), None),
        };
        Self { line, column, message, hint }
    }
}

/// The nearest known word, or all that are known.
fn suggestion(typed: &str, known: &[&'static str]) -> Option<String> {
    match nearest(typed, known.iter().copied()) {
        Some(word) => Some(format!("did you mean \"{word}\"?")),
        None if known.is_empty() => None,
        None => Some(format!("known here: {}", known.join(", "))),
    }
}

/// The reader ends some messages with a place that we print in front.
fn strip_location(message: &str) -> String {
    match message.rsplit_once(" at line ") {
        Some((words, place)) if place.bytes().all(|b| b.is_ascii_digit() || b" ,column".contains(&b)) => {
            words.to_owned()
        }
        _ => message.to_owned(),
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

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        #[expect(dead_code, reason = "only read")]
        trust: Option<bool>,
        #[expect(dead_code, reason = "only read")]
        mode: Option<u8>,
    }

    #[test]
    fn a_whole_cluster_is_one_stream() {
        let document = format!("---\n[{}]\n", "a,".repeat(100));
        let documents = read_all::<Vec<String>>(&document.repeat(3_000)).unwrap();
        assert_eq!(documents.len(), 3_000);
        let error = read_all::<Vec<String>>(&"--- []\n".repeat(MANY_DOCUMENTS + 1)).unwrap_err();
        assert_eq!(error.message, "there is too much in it to be read at once");
    }

    #[test]
    fn errors_name_the_place_and_what_was_meant() {
        for (text, expected) in [
            ("mode: 1\ntust: true\n", "2:1: unknown field \"tust\": did you mean \"trust\"?"),
            ("vulnerability: 1\n", "1:1: unknown field \"vulnerability\": known here: trust, mode"),
            ("trust: true\ntrust: false\n", "2:1: \"trust\" stands twice in one mapping"),
        ] {
            assert_eq!(read::<Sample>(text).unwrap_err().to_string(), expected);
        }
        for text in
            ["trust: yes\n", "trust: true\ntrust: false\n", "mode: -1", "- a", "trust: [", "mode: 1\n---\nmode: 2"]
        {
            let error = read::<Sample>(text).unwrap_err();
            assert!(error.line > 0, "{text}: {error:?}");
            assert!(!error.message.contains("line"), "{text}: {error:?}");
        }
    }
}
