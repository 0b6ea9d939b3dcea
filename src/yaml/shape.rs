//! The shape of a document: what each of its values must be. One function reads all shapes, so that a key costs a line of a
//! table, and no code.

use serde::de::Unexpected;

use super::tree::{Node, Value};
use super::{YamlError, suggestion};
use portreeve_verify::text::printable;

/// What a value must be.
pub(crate) enum Shape {
    /// A boolean.
    Truth,
    /// A whole number that is not negative.
    Count,
    /// A string.
    Text,
    /// A string that is a path.
    Path,
    /// A whole number that is not negative, or a string; and what is said of anything else.
    CountOrText(&'static str),
    /// One of these words; and what is said of a value that is no string.
    Word(&'static [&'static str], &'static str),
    /// A list of values of one shape.
    List(&'static Shape),
    /// A list of strings, or a mapping with these keys.
    TextsOr(&'static [(&'static str, Shape)]),
    /// A mapping with any keys, of values of one shape.
    Map(&'static Shape),
    /// A mapping with these keys. Each of them may be absent, and null is the same as absent.
    Mapping(&'static [(&'static str, Shape)]),
}

impl Shape {
    /// The first problem of a value, in the order of the text.
    pub(super) fn check(&self, node: &Node) -> Result<(), YamlError> {
        let expected = match (self, &node.value) {
            (Self::Truth, Value::Bool(_)) | (Self::Text | Self::Path | Self::CountOrText(_), Value::Text(_)) => {
                return Ok(());
            }
            (Self::Count | Self::CountOrText(_), _) if node.count().is_some() => return Ok(()),
            (Self::Word(known, _), Value::Text(word)) => return check_word(node, word, known),
            (Self::List(shape), Value::List(items)) => return items.iter().try_for_each(|item| shape.check(item)),
            (Self::Map(shape), Value::Map(entries)) => {
                return entries.iter().try_for_each(|(_, value)| shape.check(value));
            }
            (Self::TextsOr(_), Value::List(items)) => return items.iter().try_for_each(|item| Self::Text.check(item)),
            (Self::Mapping(known) | Self::TextsOr(known), Value::Map(entries)) => {
                return entries.iter().try_for_each(|(key, value)| {
                    match known.iter().find(|(name, _)| *name == key.text) {
                        Some(_) if value.is_null() => Ok(()),
                        Some((_, shape)) => shape.check(value),
                        None => {
                            let names: Vec<_> = known.iter().map(|&(name, _)| name).collect();
                            let message = format!("unknown field \"{}\"", printable(&key.text, 60));
                            Err(YamlError { hint: suggestion(&key.text, &names), ..YamlError::at(key.at, message) })
                        }
                    }
                });
            }
            // No author means the fields of a mapping, in their order, by a list.
            (Self::Mapping(_), Value::List(_)) => {
                return Err(YamlError::at(node.at, "expected a mapping, found a list".to_owned()));
            }
            (Self::CountOrText(otherwise), _) => return Err(YamlError::at(node.at, (*otherwise).to_owned())),
            (Self::Truth, _) => "a boolean",
            (Self::Count, _) => "usize",
            (Self::Text, _) => "a string",
            (Self::Path, _) => "path string",
            (Self::Word(_, expected), _) => expected,
            (Self::List(_), _) => "a sequence",
            (Self::Map(_), _) => "a map",
            (Self::Mapping(_), _) => "a mapping",
            (Self::TextsOr(_), _) => "a list or a mapping",
        };
        let found = unexpected(&node.value);
        let what = match (self, &found) {
            (Self::Count, Unexpected::Signed(_)) => "value",
            _ => "type",
        };
        let message = format!("invalid {what}: {found}, expected {expected}");
        Err(YamlError::at(node.at, printable(&message, 300)))
    }

    /// Is there such a key, with dots?
    pub(crate) fn has(&self, key: &str) -> bool {
        let inner = key.split('.').try_fold(self, |shape, part| match shape {
            Self::Mapping(known) | Self::TextsOr(known) => {
                known.iter().find(|(name, _)| *name == part).map(|(_, shape)| shape)
            }
            _ => None,
        });
        inner.is_some()
    }
}

/// The most characters of a word that are quoted: enough to see a typing error.
const QUOTED: usize = 20;

fn check_word(node: &Node, word: &str, known: &[&'static str]) -> Result<(), YamlError> {
    if known.contains(&word) {
        return Ok(());
    }
    let message = format!("unknown value \"{}\"", printable(word, QUOTED));
    Err(YamlError { hint: suggestion(word, known), ..YamlError::at(node.at, message) })
}

/// A value in the words in which serde tells what it found. A string is not quoted: the file may be another one than was meant, and
/// hold a secret.
fn unexpected(value: &Value) -> Unexpected<'_> {
    match value {
        Value::Null => Unexpected::Unit,
        Value::Bool(truth) => Unexpected::Bool(*truth),
        Value::Number(None) => Unexpected::Float(f64::NAN),
        Value::Number(Some(number)) => match (number.as_u64(), number.as_i64()) {
            (Some(number), _) => Unexpected::Unsigned(number),
            (None, Some(number)) => Unexpected::Signed(number),
            (None, None) => Unexpected::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Value::Text(_) => Unexpected::Other("string"),
        Value::List(_) => Unexpected::Seq,
        Value::Map(_) => Unexpected::Map,
    }
}

#[cfg(test)]
mod tests {
    use super::super::read;
    use super::*;

    const INNER: Shape = Shape::Mapping(&[("tust", Shape::Text), ("word", WORD)]);
    const WORD: Shape = Shape::Word(&["enforce", "warn"], "enforce or warn");
    const SAMPLE: Shape = Shape::Mapping(&[
        ("trust", Shape::Truth),
        ("mode", Shape::Count),
        ("word", WORD),
        ("inner", INNER),
        ("list", Shape::List(&Shape::Text)),
        ("map", Shape::Map(&Shape::Path)),
        ("size", Shape::CountOrText("expected a size")),
        ("texts", Shape::TextsOr(&[("add", Shape::List(&Shape::Text))])),
    ]);

    #[test]
    fn values_of_the_shape_are_taken() {
        let text =
            "trust: true\nmode: 7\nword: warn\ninner: { word: enforce }\nlist: [a, \"1\"]\nmap: { k: v }\nsize: 1\n";
        let sample = read(text, &SAMPLE).unwrap();
        assert_eq!(sample.get("mode").unwrap().count(), Some(7));
        assert_eq!(sample.get("inner").unwrap().get("word").unwrap().text(), Some("enforce"));
        for text in [
            "# nothing\n",
            "{}",
            "trust:\nmode: ~\nword:\ninner: null\nlist:\nmap:\nsize:\n",
            "size: 1KiB",
            "texts: [a]",
            "texts: { add: [a] }",
            "texts: {}",
            "texts:",
        ] {
            assert!(read(text, &SAMPLE).is_ok(), "{text}");
        }
        assert!(SAMPLE.has("inner.word") && SAMPLE.has("map") && SAMPLE.has("texts.add"));
        assert!(!SAMPLE.has("inner.list") && !SAMPLE.has("map.k") && !SAMPLE.has("innr"));
    }

    #[test]
    fn errors_name_the_place_and_what_was_meant() {
        for (text, expected) in [
            ("mode: 1\ntust: true\n", "2:1: unknown field \"tust\": did you mean \"trust\"?"),
            (
                "vulnerability: 1\n",
                "1:1: unknown field \"vulnerability\": known here: trust, mode, word, inner, list, map, size, texts",
            ),
            ("inner:\n  word: wran\n", "2:9: unknown value \"wran\": did you mean \"warn\"?"),
            ("inner:\n  trust: 1\n", "2:3: unknown field \"trust\": did you mean \"tust\"?"),
            ("trust: yes\n", "1:8: invalid type: string, expected a boolean"),
            ("trust: {}\n", "1:8: invalid type: map, expected a boolean"),
            ("mode: -1", "1:7: invalid value: integer `-1`, expected usize"),
            ("mode: 1.0", "1:7: invalid type: floating point `1.0`, expected usize"),
            ("mode: .nan", "1:7: invalid type: floating point `NaN`, expected usize"),
            ("mode: x", "1:7: invalid type: string, expected usize"),
            ("list: [a, 1]", "1:11: invalid type: integer `1`, expected a string"),
            ("list: [a, ~]", "1:11: invalid type: unit value, expected a string"),
            ("list: a", "1:7: invalid type: string, expected a sequence"),
            ("map: { a: -2 }", "1:11: invalid type: integer `-2`, expected path string"),
            ("map: []", "1:6: invalid type: sequence, expected a map"),
            ("size: -1", "1:7: expected a size"),
            ("size: []", "1:7: expected a size"),
            ("texts: a", "1:8: invalid type: string, expected a list or a mapping"),
            ("texts: [1]", "1:9: invalid type: integer `1`, expected a string"),
            ("texts: { add: a }", "1:15: invalid type: string, expected a sequence"),
            ("texts: { ad: [a] }", "1:10: unknown field \"ad\": did you mean \"add\"?"),
            ("word: { warn: 1 }", "1:7: invalid type: map, expected enforce or warn"),
            ("- a", "1:1: expected a mapping, found a list"),
            ("a", "1:1: invalid type: string, expected a mapping"),
            ("mode: \"a\\eb\"", "1:7: invalid type: string, expected usize"),
            ("trust: 1\nunknown: 1", "1:8: invalid type: integer `1`, expected a boolean"),
        ] {
            assert_eq!(read(text, &SAMPLE).unwrap_err().to_string(), expected);
        }
    }
}
