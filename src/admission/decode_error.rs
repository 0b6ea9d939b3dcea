//! Why a JSON text cannot be read as what it should be, with the path of the value that is wrong.

use std::fmt;

use crate::base::json_text::path_of;
use portreeve_verify::text::printable;

/// The path of the object in a review. What follows is the path in a manifest.
const OBJECT: &str = "request.object.";

/// A value that cannot be read.
#[derive(Debug)]
pub struct DecodeError {
    /// The path of the value: `spec.containers[0]`; empty for the whole text.
    at: String,
    source: serde_json::Error,
}

impl DecodeError {
    /// An error in this text.
    pub(crate) fn of(text: &str, source: serde_json::Error) -> Self {
        Self::at(&path_of(text, &source), source)
    }

    /// An error at this path.
    pub(crate) fn at(path: &str, source: serde_json::Error) -> Self {
        Self { at: path.strip_prefix(OBJECT).unwrap_or(path).to_owned(), source }
    }
}

impl fmt::Display for DecodeError {
    /// The message is cut and printable: serde quotes the value that it did not expect. With a path, the place in the text is
    /// left out: the text is not what the user wrote.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let error = &self.source;
        let mut message = error.to_string();
        if !self.at.is_empty() {
            let place = format!(" at line {} column {}", error.line(), error.column());
            message.truncate(message.strip_suffix(&place).unwrap_or(&message).len());
            f.write_str(&self.at)?;
            f.write_str(": ")?;
        }
        f.write_str(&printable(&message, 300))
    }
}

impl std::error::Error for DecodeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}
